//! Means over seeds and rows with their bootstrap intervals; how they are drawn is told in `resampled.rs`.

use super::resampled::{Chance, Resampled, seed_error};
use super::{CONFIDENCE, Estimate};

/// Outcomes of one method on one test set: one number for each row (1 right, 0 wrong), for each seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    /// Mean over seeds, for each row.
    rows: Vec<f64>,
    /// Mean over rows, for each seed.
    seeds: Vec<f64>,
    /// Standard error of the mean over seeds, net of what single rows explain.
    seed_error: Option<f64>,
    /// What the mean cannot leave.
    range: (f64, f64),
}

/// What means of outcomes, each 0 to 1, cannot leave.
const SHARE: (f64, f64) = (0.0, 1.0);

impl Runs {
    /// From `outcomes[seed][row]`; `None` if there are none or the seeds saw different numbers of rows.
    pub fn new(outcomes: &[Vec<f64>]) -> Option<Runs> {
        let n = outcomes.first()?.len();
        if n == 0 || outcomes.iter().any(|run| run.len() != n) {
            return None;
        }
        let count = outcomes.len() as f64;
        let rows: Vec<f64> = (0..n).map(|i| outcomes.iter().map(|run| run[i]).sum::<f64>() / count).collect();
        let seeds: Vec<f64> = outcomes.iter().map(|run| run.iter().sum::<f64>() / n as f64).collect();
        let seed_error = seed_error(&seeds, residual(outcomes, &rows, &seeds));
        Some(Runs { rows, seeds, seed_error, range: SHARE })
    }

    /// The same of numbers that may be any.
    pub(super) fn unbounded(self) -> Runs {
        Runs { range: (f64::NEG_INFINITY, f64::INFINITY), ..self }
    }

    /// Mean over seeds and rows.
    pub fn mean(&self) -> f64 {
        self.seeds.iter().sum::<f64>() / self.seeds.len() as f64
    }

    /// Mean over rows, for each seed.
    pub fn seeds(&self) -> &[f64] {
        &self.seeds
    }

    /// Mean over seeds, for each row.
    pub fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// Standard error of the mean over seeds, net of what single rows explain. `None` with one seed,
    /// whose spread nobody knows.
    pub fn seed_error(&self) -> Option<f64> {
        self.seed_error
    }

    pub(super) fn resampled(&self, rows: Rows) -> Resampled {
        Resampled::of_means(&self.seeds, &self.rows, self.seed_error, self.range, Chance::of(rows))
    }
}

/// Mean score with its interval. With one seed the interval is over rows alone (`n` is then 1).
pub fn score(runs: &Runs) -> Estimate {
    if let Some((low, high)) = all_alike(runs) {
        return Estimate { value: runs.mean(), low: Some(low), high: Some(high), n: runs.seeds.len() };
    }
    runs.resampled(Rows::Same).estimate()
}

/// Ratio of two methods' mean scores on the same rows; `None` if the rows differ or the lower is 0.
pub fn ratio(over: &Runs, under: &Runs) -> Option<Estimate> {
    let paired = over.rows.len() == under.rows.len();
    paired.then(|| combined(over, under, Rows::Same, |a, b| a / b)).flatten()
}

/// Which rows two scores were taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Both on the same, in the same order: they are drawn together.
    Same,
    /// Each on its own, as in two domains: they are drawn apart.
    Own,
}

/// Any function of two mean scores, with its interval; `None` where it is not finite.
pub fn combined(a: &Runs, b: &Runs, rows: Rows, f: impl Fn(f64, f64) -> f64) -> Option<Estimate> {
    a.resampled(Rows::Same).combined(&b.resampled(rows), rows, f)
}

/// Mean of `a` minus mean of `b` on the same rows; `None` if the rows differ.
pub fn difference(a: &Runs, b: &Runs) -> Option<Estimate> {
    let paired = a.rows.len() == b.rows.len();
    paired.then(|| combined(a, b, Rows::Same, |a, b| a - b)).flatten()
}

/// The largest share of rows that may behave as none of `rows` did, at the confidence of every interval: the exact
/// binomial bound (Clopper and Pearson, 1934). Drawing rows anew cannot show it.
pub(super) fn unseen(rows: usize) -> f64 {
    1.0 - ((1.0 - CONFIDENCE) / 2.0).powf(1.0 / rows as f64)
}

/// Two-way analysis of variance, seeds by rows: the variance that rows alone give a seed's mean.
fn residual(outcomes: &[Vec<f64>], rows: &[f64], seeds: &[f64]) -> f64 {
    let (count, n) = (seeds.len() as f64, rows.len() as f64);
    let mean = seeds.iter().sum::<f64>() / count;
    let mut squares = 0.0;
    for (run, seed) in outcomes.iter().zip(seeds) {
        squares += run.iter().zip(rows).map(|(x, row)| (x - row - seed + mean).powi(2)).sum::<f64>();
    }
    squares / ((count - 1.0) * (n - 1.0).max(1.0)) / n
}

fn all_alike(runs: &Runs) -> Option<(f64, f64)> {
    let bound = unseen(runs.rows.len());
    if runs.range != SHARE {
        None
    } else if runs.rows.iter().all(|x| *x == 1.0) {
        Some((1.0 - bound, 1.0))
    } else if runs.rows.iter().all(|x| *x == 0.0) {
        Some((0.0, bound))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_runs_give_the_same_interval_and_a_ratio_of_one() {
        let outcomes: Vec<Vec<f64>> =
            (2..5).map(|k| (0..100).map(|i| f64::from(u8::from(i % k > 0))).collect()).collect();
        let runs = Runs::new(&outcomes).unwrap();
        assert_eq!(score(&runs), score(&runs));
        assert_eq!(ratio(&runs, &runs).unwrap().value, 1.0);
    }

    #[test]
    fn a_faultless_score_is_not_certain() {
        let e = score(&Runs::new(&[vec![1.0; 100]]).unwrap());
        assert!((e.low.unwrap() - 0.9638).abs() < 1e-3 && e.high == Some(1.0));
    }

    #[test]
    fn unequal_rows_are_refused() {
        assert!(Runs::new(&[vec![1.0], vec![1.0, 0.0]]).is_none());
        assert!(Runs::new(&[]).is_none() && Runs::new(&[vec![]]).is_none());
    }
}
