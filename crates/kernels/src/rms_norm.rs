//! Root-mean-square normalisation (Zhang and Sennrich 2019), with an offset on the weight as Gemma has it.

use crate::math::{sum, sum2};
use crate::parallel::{self, Shared};
use crate::simd::{level, simd_fn};

simd_fn! {
    fn forward_row(x: &[f32], weight: &[f32], eps: f32, offset: f32, y: &mut [f32]) -> f32 {
        let mean_square = sum(x, |v| v * v) / x.len() as f32;
        let rrms = 1.0 / (mean_square + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * rrms * (offset + w);
        }
        rrms
    }
}

simd_fn! {
    fn backward_row(x: &[f32], weight: &[f32], offset: f32, rrms: f32, dy: &[f32], dx: &mut [f32]) {
        // dx holds g = dy * (offset + weight) first: dx = rrms * (g - xhat * mean(g * xhat)).
        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(weight) {
            *dx = dy * (offset + w);
        }
        let along = sum2(dx, x, |g, x| g * x) / x.len() as f32 * rrms * rrms;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = (*dx - x * along) * rrms;
        }
    }
}

simd_fn! {
    fn weight_row(x: &[f32], rrms: f32, dy: &[f32], dweight: &mut [f32]) {
        for ((dw, x), dy) in dweight.iter_mut().zip(x).zip(dy) {
            *dw += dy * (x * rrms);
        }
    }
}

/// `y = x / sqrt(mean(x²) + eps) * (offset + weight)` for each row of `x` `[rows, cols]`.
///
/// `weight` is `[cols]`; `rrms = 1 / sqrt(mean(x²) + eps)` `[rows]` is kept for the backward.
pub fn forward(x: &[f32], weight: &[f32], eps: f32, offset: f32, y: &mut [f32], rrms: &mut [f32]) {
    let (rows, cols) = (rrms.len(), weight.len());
    assert_eq!((x.len(), y.len()), (rows * cols, rows * cols), "input and output are rows x cols");
    let level = level();
    let shared = Shared::new(rrms);
    parallel::rows(y, cols, |first, y| {
        for (i, y) in y.chunks_exact_mut(cols).enumerate() {
            let row = first + i;
            let r = forward_row(level, &x[row * cols..][..cols], weight, eps, offset, y);
            // SAFETY: `row < rows`, and every row belongs to one task.
            unsafe { shared.slice(row..row + 1)[0] = r };
        }
    });
}

/// Gradients of [`forward`] from its input and saved `rrms`, all written: `dx[rows, cols]` always, `dweight[cols]`
/// (a sum over rows) where asked for.
pub fn backward(
    x: &[f32],
    weight: &[f32],
    offset: f32,
    rrms: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
) {
    let (rows, cols) = (rrms.len(), weight.len());
    assert_eq!((x.len(), dy.len(), dx.len()), (rows * cols, rows * cols, rows * cols), "rows x cols");
    let level = level();
    parallel::rows(dx, cols, |first, dx| {
        for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let range = (first + i) * cols..(first + i + 1) * cols;
            backward_row(level, &x[range.clone()], weight, offset, rrms[first + i], &dy[range], dx);
        }
    });
    if let Some(dweight) = dweight {
        assert_eq!(dweight.len(), cols, "one gradient a weight");
        parallel::sum_over_rows(rows, x.len(), dweight, |rows, partial| {
            for row in rows {
                let range = row * cols..(row + 1) * cols;
                weight_row(level, &x[range.clone()], rrms[row], &dy[range], partial);
            }
        });
    }
}

/// Plain loops, f64 sums.
pub mod reference {
    /// See [`super::forward`].
    pub fn forward(x: &[f32], weight: &[f32], eps: f32, offset: f32, y: &mut [f32], rrms: &mut [f32]) {
        let cols = weight.len();
        for (row, rrms) in rrms.iter_mut().enumerate() {
            let x = &x[row * cols..][..cols];
            let mean_square = x.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() / cols as f64;
            let r = 1.0 / (mean_square + eps as f64).sqrt();
            for j in 0..cols {
                y[row * cols + j] = (x[j] as f64 * r * (offset as f64 + weight[j] as f64)) as f32;
            }
            *rrms = r as f32;
        }
    }

    /// See [`super::backward`].
    pub fn backward(
        x: &[f32],
        weight: &[f32],
        offset: f32,
        rrms: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dweight: Option<&mut [f32]>,
    ) {
        let cols = weight.len();
        let mut sums = vec![0.0f64; cols];
        for (row, r) in rrms.iter().map(|r| *r as f64).enumerate() {
            let at = |j: usize| {
                let (x, dy) = (x[row * cols + j] as f64, dy[row * cols + j] as f64);
                (x * r, dy, dy * (offset as f64 + weight[j] as f64))
            };
            let along = (0..cols).map(|j| at(j).2 * at(j).0).sum::<f64>() / cols as f64;
            for (j, sum) in sums.iter_mut().enumerate() {
                let (xhat, dy, g) = at(j);
                dx[row * cols + j] = (r * (g - xhat * along)) as f32;
                *sum += dy * xhat;
            }
        }
        if let Some(dweight) = dweight {
            dweight.iter_mut().zip(sums).for_each(|(o, s)| *o = s as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    const EPS: f32 = 1e-6;

    type Forward = fn(&[f32], &[f32], f32, f32, &mut [f32], &mut [f32]);

    fn run(f: Forward, rows: usize, x: &[f32], w: &[f32], offset: f32) -> [Vec<f32>; 2] {
        let mut out = [vec![7.0; x.len()], vec![7.0; rows]];
        let [y, rrms] = &mut out;
        f(x, w, EPS, offset, y, rrms);
        out
    }

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for (rows, cols, offset) in
                [(0, 4, 0.0), (1, 1, 0.0), (3, 7, 1.0), (150, 384, 0.0), (700, 64, 1.0)]
            {
                let (x, w) = (values(1, rows * cols), values(2, cols));
                let got = run(forward, rows, &x, &w, offset);
                let want = run(reference::forward, rows, &x, &w, offset);
                (0..2).for_each(|i| assert_close(&got[i], &want[i], 2e-6));
                let dy = values(4, x.len());
                let (mut dx, mut dw) = (vec![7.0; x.len()], vec![5.0; cols]);
                let (mut dx2, mut dw2) = (dx.clone(), dw.clone());
                backward(&x, &w, offset, &want[1], &dy, &mut dx, Some(&mut dw));
                reference::backward(&x, &w, offset, &want[1], &dy, &mut dx2, Some(&mut dw2));
                // A row of one number has no direction but its own: its gradient is the rounding of a difference.
                assert_close(&dx, &dx2, if cols == 1 { 2e-5 } else { 4e-6 });
                assert_close(&dw, &dw2, 5e-6);
                backward(&x, &w, offset, &want[1], &dy, &mut dx2, None);
                assert_eq!(dx, dx2);
            }
        });
    }

    #[test]
    fn rows_of_zeros_stay_finite() {
        let [y, rrms] = run(forward, 1, &[0.0; 8], &[1.0; 8], 0.0);
        let mut dx = [7.0; 8];
        backward(&[0.0; 8], &[1.0; 8], 0.0, &rrms, &[1e-3; 8], &mut dx, None);
        assert_eq!(y, [0.0; 8]);
        assert_close(&dx, &[1.0; 8], 1e-5);
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        for offset in [0.0, 1.0] {
            let (rows, cols) = (3, 6);
            let (x, w, dy) = (values(1, rows * cols), values(2, cols), values(4, rows * cols));
            let [_, rrms] = run(reference::forward, rows, &x, &w, offset);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; cols]);
            reference::backward(&x, &w, offset, &rrms, &dy, &mut dx, Some(&mut dw));
            let loss = |x: &[f32], w: &[f32]| dot(&run(reference::forward, rows, x, w, offset)[0], &dy);
            assert_gradient(&x, &dx, |x| loss(x, &w));
            assert_gradient(&w, &dw, |w| loss(&x, w));
        }
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (rows, cols) = (301, 200);
            let (x, w) = (values(1, rows * cols), values(2, cols));
            let [y, rrms] = run(forward, rows, &x, &w, 1.0);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; cols]);
            backward(&x, &w, 1.0, &rrms, &y, &mut dx, Some(&mut dw));
            [y, dx, dw].concat()
        });
    }
}
