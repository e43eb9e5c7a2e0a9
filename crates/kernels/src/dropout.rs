//! Dropout with a mask that is a function of a key, a stream, a row and an element of it (Srivastava et al. 2014).
//!
//! A row is named by the sequence that it is of and its position there, not by where it lies: whatever else is in the batch,
//! and wherever the batch is cut, a token meets the same mask.

use crate::parallel;
use crate::random::{BLOCK, philox, words};
use crate::simd::{Level, level, simd_fn};
use std::sync::Arc;

/// Which elements are dropped: each with `probability`, the others scaled by `1 / (1 - probability)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// Probability that an element is dropped, in [0, 1].
    pub probability: f32,
    /// Key of the random numbers: the seed of a run and its step.
    pub key: u64,
    /// Stream under the key: one for each place in the model.
    pub stream: u32,
    /// What each row is of: \[rows\].
    pub rows: Arc<[Row]>,
}

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sequence.
    pub sequence: u32,
    /// The place in it.
    pub position: u32,
}

/// Where the random words of a row begin: Philox's counter is a quarter of the element, the position, the stream and the
/// sequence, 32 bits each, and every counter gives four words.
#[derive(Clone, Copy)]
struct Words {
    stream: u64,
    first: u64,
}

impl Dropout {
    /// What an element of row `row` is multiplied by: 0 or `1 / (1 - probability)`.
    pub fn keep_scale(&self, row: usize, element: u64) -> f32 {
        let Words { stream, first } = self.words(row);
        let kept = (self.word(stream, first, element) >> 8) >= self.threshold();
        if kept { self.scale() } else { 0.0 }
    }

    /// The factors of elements `first..first + out.len()` of a row; `first` must be a multiple of four.
    pub(crate) fn factors(&self, level: Level, row: usize, first: u64, out: &mut [f32]) {
        assert_eq!(first % 4, 0, "the first of a run of factors");
        let Words { stream, first: counter } = self.words(row);
        write_factors(level, self, stream, counter + first / 4, out);
    }

    fn word(&self, stream: u64, first: u64, element: u64) -> u32 {
        philox(self.key, (first + element / 4, stream))[(element % 4) as usize]
    }

    #[inline(always)]
    fn words(&self, row: usize) -> Words {
        let Row { sequence, position } = self.rows[row];
        Words { stream: u64::from(sequence) << 32 | u64::from(self.stream), first: u64::from(position) << 32 }
    }

    /// Words whose upper 24 bits are below this are dropped.
    #[inline(always)]
    fn threshold(&self) -> u32 {
        (self.probability as f64 * 16_777_216.0).ceil() as u32
    }

    #[inline(always)]
    fn scale(&self) -> f32 {
        if self.probability < 1.0 { 1.0 / (1.0 - self.probability) } else { 0.0 }
    }
}

simd_fn! {
    fn write_factors(d: &Dropout, stream: u64, first_counter: u64, out: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        let mut w = [0; BLOCK];
        for (i, o) in out.chunks_mut(BLOCK).enumerate() {
            words(d.key, stream, first_counter + (i * BLOCK / 4) as u64, &mut w);
            for (o, w) in o.iter_mut().zip(&w) {
                *o = if (w >> 8) >= threshold { scale } else { 0.0 };
            }
        }
    }
}

simd_fn! {
    fn apply_rows(d: &Dropout, first_row: usize, cols: usize, x: &[f32], out: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        let mut w = [0; BLOCK];
        for (row, (x, out)) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)).enumerate() {
            let Words { stream, first } = d.words(first_row + row);
            for (i, (x, o)) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate() {
                words(d.key, stream, first + (i * BLOCK / 4) as u64, &mut w);
                for ((o, x), w) in o.iter_mut().zip(x).zip(&w) {
                    *o = if (w >> 8) >= threshold { x * scale } else { 0.0 };
                }
            }
        }
    }
}

/// The width of a row; all rows are as wide.
fn width(d: &Dropout, x: &[f32], out: &[f32]) -> usize {
    assert_eq!(x.len(), out.len(), "input and output lengths");
    assert!(x.len().is_multiple_of(d.rows.len().max(1)), "{} numbers in {} rows", x.len(), d.rows.len());
    x.len() / d.rows.len().max(1)
}

/// `out[row][i] = x[row][i] * keep_scale(row, i)`; the gradient goes back through the same function.
///
/// A dropped element is zero even where `x` is not finite.
pub fn apply(d: &Dropout, x: &[f32], out: &mut [f32]) {
    let (level, cols) = (level(), width(d, x, out));
    parallel::rows(out, cols, |first, o| {
        apply_rows(level, d, first, cols, &x[first * cols..first * cols + o.len()], o);
    });
}

/// Plain loops.
pub mod reference {
    use super::{Dropout, width};

    /// See [`super::apply`].
    pub fn apply(d: &Dropout, x: &[f32], out: &mut [f32]) {
        let cols = width(d, x, out);
        for (i, (o, x)) in out.iter_mut().zip(x).enumerate() {
            let factor = d.keep_scale(i / cols, (i % cols) as u64);
            *o = if factor == 0.0 { 0.0 } else { x * factor };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values};

    /// Rows of sequences of seven tokens.
    fn dropout(probability: f32, rows: usize) -> Dropout {
        let row = |row: usize| Row { sequence: row as u32 / 7, position: row as u32 % 7 };
        Dropout { probability, key: 11, stream: 4, rows: (0..rows).map(row).collect() }
    }

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for (rows, cols) in [(0, 5), (1, 1), (3, 5), (9, 64), (4, 250), (301, 130), (2, 70_003)] {
                let (d, x) = (dropout(0.1, rows), values(1, rows * cols));
                let (mut a, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                apply(&d, &x, &mut a);
                reference::apply(&d, &x, &mut b);
                assert_eq!(a, b);
            }
            let (d, mut f) = (dropout(0.1, 9), vec![0.0; 150]);
            d.factors(level(), 8, 400, &mut f);
            assert!(f.iter().enumerate().all(|(i, f)| *f == d.keep_scale(8, 400 + i as u64)));
        });
    }

    #[test]
    fn a_row_meets_the_same_mask_wherever_it_lies() {
        let (d, cols) = (dropout(0.3, 50), 37);
        let (x, mut whole) = (vec![1.0; 50 * cols], vec![0.0; 50 * cols]);
        apply(&d, &x, &mut whole);
        let picks = [49, 3, 3, 20];
        let some = Dropout { rows: picks.iter().map(|row| d.rows[*row]).collect(), ..d };
        let mut out = vec![0.0; picks.len() * cols];
        apply(&some, &x[..out.len()], &mut out);
        for (row, out) in picks.iter().zip(out.chunks_exact(cols)) {
            assert_eq!(out, &whole[row * cols..][..cols]);
        }
        // Other tokens, sequences, streams and keys have other masks.
        let masks: std::collections::BTreeSet<Vec<u32>> =
            whole.chunks_exact(cols).map(|row| row.iter().map(|x| x.to_bits()).collect()).collect();
        assert_eq!(masks.len(), 50);
        for other in [Dropout { stream: 5, ..some.clone() }, Dropout { key: 12, ..some.clone() }] {
            let mut moved = vec![0.0; out.len()];
            apply(&other, &x[..out.len()], &mut moved);
            assert_ne!(out, moved);
        }
    }

    #[test]
    fn drops_the_stated_share_of_every_row_and_column_and_keeps_the_mean() {
        let (rows, cols) = (400, 500);
        let (x, mut y) = (vec![1.0; rows * cols], vec![0.0; rows * cols]);
        for probability in [0.0, 0.1, 0.3, 0.5, 1.0] {
            apply(&dropout(probability, rows), &x, &mut y);
            let share = |dropped: usize, of: usize| (dropped as f32 / of as f32 - probability).abs();
            let dropped = y.iter().filter(|v| **v == 0.0).count();
            assert!(share(dropped, y.len()) < 0.004, "{dropped} at {probability}");
            // Five standard deviations of a binomial share of 400 are 0.125 at the most.
            for row in y.chunks_exact(cols) {
                assert!(share(row.iter().filter(|v| **v == 0.0).count(), cols) < 0.125);
            }
            for col in 0..cols {
                let dropped = y.iter().skip(col).step_by(cols).filter(|v| **v == 0.0).count();
                assert!(share(dropped, rows) < 0.125, "column {col} at {probability}");
            }
            let mean = y.iter().sum::<f32>() / y.len() as f32;
            assert!(probability == 1.0 || (mean - 1.0).abs() < 0.01, "{mean} at {probability}");
        }
    }

    #[test]
    fn is_its_own_backward() {
        let (d, x, dy) = (dropout(0.1, 5), values(2, 50), values(3, 50));
        let mut dx = vec![0.0; 50];
        reference::apply(&d, &dy, &mut dx);
        assert_gradient(&x, &dx, |x| {
            let mut y = vec![0.0; 50];
            reference::apply(&d, x, &mut y);
            dot(&y, &dy)
        });
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (d, mut y) = (dropout(0.1, 999), vec![0.0; 99_900]);
            apply(&d, &values(1, 99_900), &mut y);
            y
        });
    }
}
