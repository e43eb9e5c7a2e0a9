//! Rows of a table by index, and the scatter-add that is its gradient.

use crate::elements::Elements;
use crate::parallel;
use crate::simd::level;
use rayon::prelude::*;

/// `out[i] = table[ids[i]]`: rows of `cols` elements, `out` `[ids.len(), cols]`.
pub fn forward(table: Elements, cols: usize, ids: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), ids.len() * cols, "one row of {cols} for each index");
    let level = level();
    parallel::rows(out, cols, |first, out| {
        for (out, &id) in out.chunks_exact_mut(cols).zip(&ids[first..]) {
            table.widen(level, id as usize * cols, out);
        }
    });
}

/// `dtable[ids[i]] += dy[i]` in the order of `i`: rows of `cols` elements, `dy` `[ids.len(), cols]`.
pub fn backward(dy: &[f32], cols: usize, ids: &[u32], dtable: &mut [f32]) {
    assert_eq!(dy.len(), ids.len() * cols, "one row of {cols} for each index");
    if cols == 0 {
        return;
    }
    let rows = dtable.len() / cols;
    assert!(ids.iter().all(|id| (*id as usize) < rows), "an index is beyond the table's {rows} rows");
    // Each task owns some rows of the table and looks through all indices, so every row is added in one order.
    let add = |first: usize, table: &mut [f32]| {
        for (&id, dy) in ids.iter().zip(dy.chunks_exact(cols)) {
            let at = (id as usize).wrapping_sub(first).saturating_mul(cols);
            if at < table.len() {
                table[at..at + cols].iter_mut().zip(dy).for_each(|(t, d)| *t += d);
            }
        }
    };
    if parallel::worthwhile(dy.len()) {
        let block = rows.div_ceil(8 * rayon::current_num_threads()).max(1);
        dtable.par_chunks_mut(block * cols).enumerate().for_each(|(i, table)| add(i * block, table));
    } else {
        add(0, dtable);
    }
}

/// Plain loops, f64 sums.
pub mod reference {
    use crate::elements::Elements;

    /// See [`super::forward`].
    pub fn forward(table: Elements, cols: usize, ids: &[u32], out: &mut [f32]) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = table.at(ids[i / cols] as usize * cols + i % cols);
        }
    }

    /// See [`super::backward`].
    pub fn backward(dy: &[f32], cols: usize, ids: &[u32], dtable: &mut [f32]) {
        let mut sums: Vec<f64> = dtable.iter().map(|v| *v as f64).collect();
        for (i, dy) in dy.iter().enumerate() {
            sums[ids[i / cols] as usize * cols + i % cols] += *dy as f64;
        }
        dtable.iter_mut().zip(sums).for_each(|(t, s)| *t = s as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::{Format, quantize};
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    fn ids(count: usize, rows: usize) -> Vec<u32> {
        values(9, count).iter().map(|v| ((v + 1.0) / 2.0 * rows as f32) as u32).collect()
    }

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for (rows, cols, count) in [(1, 1, 0), (5, 3, 9), (300, 128, 400)] {
                let (table, ids) = (values(1, rows * cols), ids(count, rows));
                let bf16 = quantize(Format::Bf16, &table).unwrap();
                for table in [Elements::F32(&table), Elements::new(Format::Bf16, table.len(), &bf16)] {
                    let (mut a, mut b) = (vec![0.0; count * cols], vec![0.0; count * cols]);
                    forward(table, cols, &ids, &mut a);
                    reference::forward(table, cols, &ids, &mut b);
                    assert_eq!(a, b);
                }
                let dy = values(2, count * cols);
                let (mut a, mut b) = (table.clone(), table.clone());
                backward(&dy, cols, &ids, &mut a);
                reference::backward(&dy, cols, &ids, &mut b);
                assert_close(&a, &b, 1e-6);
            }
        });
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let (table, ids, dy) = (values(1, 12), [2, 0, 2, 3, 2], values(2, 15));
        let mut dtable = vec![0.0; 12];
        reference::backward(&dy, 3, &ids, &mut dtable);
        assert_gradient(&table, &dtable, |table| {
            let mut out = vec![0.0; 15];
            reference::forward(Elements::F32(table), 3, &ids, &mut out);
            dot(&out, &dy)
        });
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (ids, dy) = (ids(3000, 50), values(2, 3000 * 20));
            let mut dtable = vec![0.0; 50 * 20];
            backward(&dy, 20, &ids, &mut dtable);
            dtable
        });
    }
}
