//! Scores that are no function of sums over rows: each is worked out anew from the rows themselves.

use crate::score::Sums;
use std::fmt;

/// Any score of whole runs by the rows with these indices, which may repeat. Its sums are how often each row counts.
pub(crate) struct Picked<F> {
    runs: usize,
    rows: usize,
    score: F,
}

impl<F: Fn(usize, &[u32]) -> Option<f64>> Picked<F> {
    /// `None` for more rows than can be numbered, or none.
    pub(crate) fn new(runs: usize, rows: usize, score: F) -> Option<Picked<F>> {
        (rows > 0 && u32::try_from(rows).is_ok()).then_some(Picked { runs, rows, score })
    }
}

impl<F> fmt::Debug for Picked<F> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Picked").field("runs", &self.runs).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<F: Fn(usize, &[u32]) -> Option<f64> + Sync + Send> Sums for Picked<F> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        self.rows
    }

    fn add(&self, start: usize, weights: &[f64], sums: &mut [f64]) {
        sums[start..].iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
    }

    fn by_run(&self, _: &[f64]) -> Option<Vec<Vec<f64>>> {
        None
    }

    fn score(&self, _: &[f64]) -> Option<f64> {
        None
    }

    fn scores(&self, sums: &[f64]) -> Option<Vec<f64>> {
        let often = |(row, count): (u32, &f64)| std::iter::repeat_n(row, *count as usize);
        let rows: Vec<u32> = (0..).zip(sums).flat_map(often).collect();
        (0..self.runs).map(|run| (self.score)(run, &rows)).collect()
    }
}
