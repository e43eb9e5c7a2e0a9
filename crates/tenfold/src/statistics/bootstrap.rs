//! Means over seeds and rows with their bootstrap intervals; how they are drawn is told in `resampled.rs`.

use super::resampled::{Resampled, scores_of_draws};
use super::{CONFIDENCE, Estimate, standard_deviation};
use crate::score::{Sums, dot};
use std::sync::{Arc, OnceLock};

/// Outcomes of one method on one test set: one number for each row (1 right, 0 wrong), for each seed.
#[derive(Debug, Clone)]
pub struct Runs {
    /// Mean over seeds, for each row.
    rows: Vec<f64>,
    /// Mean over rows, for each seed.
    seeds: Vec<f64>,
    /// Variance that rows alone give a seed's mean.
    residual: f64,
    /// What the mean cannot leave.
    range: (f64, f64),
    /// What was drawn of them already.
    known: Arc<Known>,
}

/// What pairs of methods ask for again and again.
#[derive(Debug, Default)]
struct Known {
    drawn: OnceLock<Resampled>,
    signed: OnceLock<Vec<f64>>,
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
        let residual = residual(outcomes, &rows, &seeds);
        Some(Runs { rows, seeds, residual, range: SHARE, known: Arc::default() })
    }

    /// The same of numbers that may be any.
    pub(super) fn unbounded(self) -> Runs {
        self.within((f64::NEG_INFINITY, f64::INFINITY))
    }

    /// The same of rows whose mean cannot leave `range`.
    pub fn within(self, range: (f64, f64)) -> Runs {
        Runs { range, known: Arc::default(), ..self }
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

    /// Variance between the scores of seeds, net of what single rows explain: below 0 where the rows explain more than
    /// the seeds differ. `None` with one seed, whose spread nobody knows.
    pub(super) fn seed_variance(&self) -> Option<f64> {
        Some(standard_deviation(&self.seeds)?.powi(2) - self.residual)
    }

    /// What `self` minus `other` cannot leave.
    pub(super) fn range_of_difference(&self, other: &Runs) -> (f64, f64) {
        (self.range.0 - other.range.1, self.range.1 - other.range.0)
    }

    /// What drawing rows anew makes of the mean.
    fn resampled(&self) -> &Resampled {
        self.known.drawn.get_or_init(|| {
            let draws = scores_of_draws(&[self]);
            self.resampled_by(draws.iter().map(|scores| mean_of_draw(&scores[0])).collect())
        })
    }

    fn resampled_by(&self, draws: Vec<f64>) -> Resampled {
        Resampled::of_means(&self.seeds, &self.rows, self.residual, self.range, draws)
    }

    /// Draws the rows of several methods once for all of them, so that it need not be done for each.
    pub fn draw_together(runs: &[&Runs]) {
        let unknown: Vec<&Runs> =
            runs.iter().copied().filter(|runs| runs.known.drawn.get().is_none()).collect();
        for alike in unknown.chunk_by(|a, b| a.rows.len() == b.rows.len()) {
            let samples: Vec<&dyn Sums> = alike.iter().map(|runs| *runs as &dyn Sums).collect();
            let draws = scores_of_draws(&samples);
            for (place, runs) in alike.iter().enumerate() {
                let draws = draws.iter().map(|scores| mean_of_draw(&scores[place])).collect();
                // Whoever was faster drew the same.
                let _ = runs.known.drawn.set(runs.resampled_by(draws));
            }
        }
    }

    /// The sums of rows with signs at random, once they are `found`.
    pub(super) fn signed(&self, found: impl FnOnce() -> Vec<f64>) -> &[f64] {
        self.known.signed.get_or_init(found)
    }
}

fn mean_of_draw(scores: &Option<Vec<f64>>) -> f64 {
    scores.as_ref().map_or(f64::NAN, |scores| scores[0])
}

impl Sums for Runs {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn width(&self) -> usize {
        1
    }

    fn add(&self, start: usize, weights: &[f64], sums: &mut [f64]) {
        sums[0] += dot(&self.rows[start..start + weights.len()], weights);
    }

    fn by_run(&self, sums: &[f64]) -> Option<Vec<Vec<f64>>> {
        Some(vec![sums.to_vec()])
    }

    fn score(&self, of_run: &[f64]) -> Option<f64> {
        Some(of_run[0] / self.rows.len() as f64)
    }
}

/// Mean score with its interval. With one seed the interval is over rows alone (`n` is then 1); one row has none.
pub fn score(runs: &Runs) -> Estimate {
    bounded(runs.resampled().estimate(), runs.rows.len(), runs.range)
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
    a.resampled().combined(b.resampled(), rows, f)
}

/// Mean of `a` minus mean of `b` on the same rows; `None` if the rows differ.
pub fn difference(a: &Runs, b: &Runs) -> Option<Estimate> {
    let paired = a.rows.len() == b.rows.len();
    let found = paired.then(|| combined(a, b, Rows::Same, |a, b| a - b)).flatten()?;
    Some(bounded(found, a.rows.len(), a.range_of_difference(b)))
}

/// An interval for a mean that no draw of its rows can move, as all are alike: a share of the rows may yet behave as
/// none of them did, at most the exact binomial bound (Clopper and Pearson, 1934), and lie anywhere within `range`. One
/// row, or a range without ends, bounds nothing. An estimate that has an interval keeps it.
pub(super) fn bounded(estimate: Estimate, rows: usize, range: (f64, f64)) -> Estimate {
    if estimate.low.is_some() || rows < 2 || !(range.0.is_finite() && range.1.is_finite()) {
        return estimate;
    }
    let unseen = 1.0 - ((1.0 - CONFIDENCE) / 2.0).powf(1.0 / rows as f64);
    let with = |rest: f64| Some((1.0 - unseen) * estimate.value + unseen * rest);
    Estimate { low: with(range.0), high: with(range.1), ..estimate }
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
    fn rows_that_are_all_alike_leave_what_none_of_them_showed_and_one_row_leaves_everything() {
        // Of 100 rows a share of 0.0362 may be unlike them.
        let e = score(&Runs::new(&[vec![0.5; 100]]).unwrap());
        assert!((e.low.unwrap() - 0.4819).abs() < 1e-4 && (e.high.unwrap() - 0.5181).abs() < 1e-4, "{e:?}");
        let (right, wrong) = (Runs::new(&[vec![1.0; 100]]).unwrap(), Runs::new(&[vec![0.0; 100]]).unwrap());
        let apart = difference(&right, &wrong).unwrap();
        assert!((apart.low.unwrap() - 0.9276).abs() < 1e-4 && apart.high == Some(1.0), "{apart:?}");
        for (value, other) in [(vec![1.0], vec![0.0]), (vec![0.3], vec![0.3])] {
            let (one, other) = (Runs::new(&[value]).unwrap(), Runs::new(&[other]).unwrap());
            let found = difference(&one, &other).unwrap();
            assert_eq!((score(&one).low, score(&one).high, found.low, found.high), (None, None, None, None));
        }
        // Three seeds on one row are a spread over seeds alone: no interval for other rows follows.
        let seeds = Runs::new(&[vec![1.0], vec![0.0], vec![1.0]]).unwrap();
        assert_eq!((score(&seeds).low, score(&seeds).n), (None, 3));
    }

    #[test]
    fn unequal_rows_are_refused() {
        assert!(Runs::new(&[vec![1.0], vec![1.0, 0.0]]).is_none());
        assert!(Runs::new(&[]).is_none() && Runs::new(&[vec![]]).is_none());
    }
}
