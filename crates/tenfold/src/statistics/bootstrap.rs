//! Bootstrap over seeds and examples: what another seed and another test set could have given.
//!
//! Every seed of a method is scored on the same test rows, so the two sources of chance are crossed.
//! One replicate draws the rows anew, with replacement and the same rows for every seed (Efron and
//! Tibshirani, 1993), and moves the result by what other seeds could have done. Three seeds are too
//! few to be drawn from directly: their bootstrap never leaves the range of the three and covers
//! the truth in under 80 % of cases (Hesterberg, *The American Statistician* 69, 2015). So the seeds'
//! part is drawn from Student's t around their mean, with the standard error that the seeds show
//! beyond what single rows explain (the two-way analysis of variance without replication: Searle,
//! Casella and McCulloch, *Variance Components*, 1992); drawing rows accounts for the rest.
//! The interval is the middle 95 % of the replicates.

use super::random::SplitMix;
use super::{CONFIDENCE, Estimate, quantile_of_sorted, standard_deviation};

const REPLICATES: usize = 2000;
const SEED: u64 = 0x7E4F_01D5;

/// Outcomes of one method on one test set: one number for each row (1 right, 0 wrong), for each seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    /// Mean over seeds, for each row.
    rows: Vec<f64>,
    /// Mean over rows, for each seed.
    seeds: Vec<f64>,
    /// Standard error of the mean over seeds, net of what single rows explain.
    seed_error: Option<f64>,
}

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
        let seed_error = seed_error(outcomes, &rows, &seeds);
        Some(Runs { rows, seeds, seed_error })
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

    fn replicate(&self, drawn: &[u32], random: &mut SplitMix) -> f64 {
        let sum: f64 = drawn.iter().map(|i| self.rows[*i as usize]).sum();
        let shift = self.seed_error.map_or(0.0, |error| error * random.student(self.seeds.len() - 1));
        (sum / drawn.len() as f64 + shift).clamp(0.0, 1.0)
    }
}

/// Mean score with its interval. With one seed the interval is over rows alone (`n` is then 1).
pub fn score(runs: &Runs) -> Estimate {
    let (value, n) = (runs.mean(), runs.seeds.len());
    if let Some((low, high)) = all_alike(runs) {
        return Estimate { value, low: Some(low), high: Some(high), n };
    }
    let mut replicates = replicates(runs.rows.len(), |drawn, random| Some(runs.replicate(drawn, random)));
    interval(value, n, &mut replicates)
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
    let value = Some(f(a.mean(), b.mean())).filter(|x| x.is_finite())?;
    let mut other = Vec::new();
    let mut replicates = replicates(a.rows.len(), |drawn, random| {
        let first = a.replicate(drawn, random);
        let second = match rows {
            Rows::Same => b.replicate(drawn, random),
            Rows::Own => {
                other.clear();
                other.extend((0..b.rows.len()).map(|_| random.below(b.rows.len()) as u32));
                b.replicate(&other, random)
            }
        };
        Some(f(first, second)).filter(|x| x.is_finite())
    });
    Some(interval(value, a.seeds.len().min(b.seeds.len()), &mut replicates))
}

/// Two-way analysis of variance, seeds by rows: the seeds' own component over the number of seeds.
fn seed_error(outcomes: &[Vec<f64>], rows: &[f64], seeds: &[f64]) -> Option<f64> {
    let total = standard_deviation(seeds)?.powi(2);
    let (count, n) = (seeds.len() as f64, rows.len() as f64);
    let mean = seeds.iter().sum::<f64>() / count;
    let mut squares = 0.0;
    for (run, seed) in outcomes.iter().zip(seeds) {
        squares += run.iter().zip(rows).map(|(x, row)| (x - row - seed + mean).powi(2)).sum::<f64>();
    }
    let residual = squares / ((count - 1.0) * (n - 1.0).max(1.0));
    Some(((total - residual / n).max(0.0) / count).sqrt())
}

fn replicates(rows: usize, mut one: impl FnMut(&[u32], &mut SplitMix) -> Option<f64>) -> Vec<f64> {
    let mut random = SplitMix::new(SEED);
    let mut drawn = vec![0u32; rows];
    (0..REPLICATES)
        .filter_map(|_| {
            drawn.iter_mut().for_each(|i| *i = random.below(rows) as u32);
            one(&drawn, &mut random)
        })
        .collect()
}

fn interval(value: f64, n: usize, replicates: &mut [f64]) -> Estimate {
    replicates.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let low = quantile_of_sorted(replicates, tail).map(|x| x.min(value));
    let high = quantile_of_sorted(replicates, 1.0 - tail).map(|x| x.max(value));
    Estimate { value, low, high, n }
}

/// Where every row came out alike, drawing rows shows no chance at all; the exact binomial bound
/// (Clopper and Pearson, 1934) does.
fn all_alike(runs: &Runs) -> Option<(f64, f64)> {
    let bound = ((1.0 - CONFIDENCE) / 2.0).powf(1.0 / runs.rows.len() as f64);
    if runs.rows.iter().all(|x| *x == 1.0) {
        Some((bound, 1.0))
    } else if runs.rows.iter().all(|x| *x == 0.0) {
        Some((0.0, 1.0 - bound))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of differing difficulty, seeds of differing luck; `own` is the share of chance that
    /// each seed has to itself on each row (seeds of a real model agree on most rows).
    fn simulate(random: &mut SplitMix, seeds: usize, rows: usize, luck: f64, own: f64) -> Runs {
        let shared: Vec<f64> = (0..rows).map(|_| random.uniform()).collect();
        let outcomes: Vec<Vec<f64>> = (0..seeds)
            .map(|_| {
                let skill = 0.75 + luck * random.normal();
                let mut draw = |u: f64| if random.uniform() < own { random.uniform() } else { u };
                shared.iter().map(|u| f64::from(u8::from(draw(*u) < skill))).collect()
            })
            .collect();
        Runs::new(&outcomes).unwrap()
    }

    fn coverage(luck: f64, seeds: usize, own: f64) -> f64 {
        let mut random = SplitMix::new(11);
        let trials = 600;
        let covered = (0..trials)
            .filter(|_| {
                let e = score(&simulate(&mut random, seeds, 150, luck, own));
                e.low.unwrap() <= 0.75 && 0.75 <= e.high.unwrap()
            })
            .count();
        covered as f64 / f64::from(trials)
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        for (luck, seeds, own) in
            [(0.0, 1, 0.1), (0.0, 3, 0.1), (0.01, 3, 0.1), (0.02, 3, 0.1), (0.02, 5, 0.2), (0.04, 3, 0.2)]
        {
            let c = coverage(luck, seeds, own);
            assert!((0.93..=0.975).contains(&c), "luck {luck}, {seeds} seeds, own {own}: covered {c}");
        }
    }

    #[test]
    fn the_same_runs_give_the_same_interval_and_a_ratio_of_one() {
        let runs = simulate(&mut SplitMix::new(5), 3, 100, 0.02, 0.1);
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
