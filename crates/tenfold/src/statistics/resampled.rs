//! A score drawn anew many times, over seeds and rows: what another training and another test set could have given.
//!
//! Every seed of a method is scored on the same test rows, so the two sources of chance are crossed.
//! One replicate draws the rows anew, with replacement and the same rows for every seed (Efron and
//! Tibshirani, *An Introduction to the Bootstrap*, 1993), and moves the result by what other seeds could have
//! done. A few seeds cannot be drawn from directly: their bootstrap never leaves the range of the few. So the
//! seeds' part is drawn from Student's t around their mean, with the standard error that the seeds show beyond
//! what single rows explain (the two-way analysis of variance without replication: Searle, Casella and
//! McCulloch, *Variance Components*, 1992); drawing rows accounts for the rest. The interval is BCa (Efron, *JASA*
//! 82, 1987): where few rows tell two methods apart, the plain middle 95 % of the replicates is askew and too narrow
//! on the side that non-inferiority asks about. Only rows accelerate; the seeds' part is symmetric. `coverage.rs`
//! measures how often such intervals hold the truth: with five or ten seeds 94.6 to 96.6 % for scores and 94.1 to
//! 96.3 % for differences; with three 95.2 to 97.1 % for both, the price of knowing so little being width; with two 92.3
//! to 96.8 % and 94.9 to 98.0 %. Of Matthews' correlation, Pearson's r and perplexity, with one to five seeds, 93.2 to
//! 96.8 % (one standard error: 1 %); of drops between domains, with three seeds or more, 95.0 to 97.0 %. Drawing seeds and rows alike and keeping the middle 95 % sinks to 76 % with two
//! seeds, 84 with three, 91 with five, where the seeds' luck outweighs the rows'.
//!
//! Replicate `i` draws its rows as a function of `i` and the number of rows alone: two methods on the same rows
//! meet the same draws, which is what pairs them. Scores on rows of their own are paired with the next replicate's, whose
//! draws have nothing to do with the first's.

use super::jackknife::without_each;
use super::picked::Picked;
use super::random::SplitMix;
use super::weighted::{Drawn, each, whole};
use super::{
    CONFIDENCE, Estimate, ROUNDING, Rows, normal_quantile, normal_share, quantile_of_sorted,
    standard_deviation,
};
use crate::score::Sums;

const REPLICATES: u64 = 2000;
const SEED: u64 = 0x7E4F_01D5;
/// What a slope is taken over, in the score's unit.
const STEP: f64 = 1e-6;
/// A score that more than this share of the draws leaves undefined has no interval.
const UNDEFINED: f64 = 0.05;

/// What a random number decides; each has streams of its own.
#[derive(Debug, Clone, Copy)]
enum Chance {
    Rows = 0,
    Seeds = 2,
}

/// A method's score with what drawing its rows and seeds anew makes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampled {
    /// The score of each seed, on all rows.
    seeds: Vec<f64>,
    /// Mean over seeds for each draw of rows; not a number where the score is not defined on the draw.
    draws: Vec<f64>,
    /// Mean over seeds without each row, or each of the parts that many rows are left out in.
    without: Vec<f64>,
    /// Variance that rows alone give a seed's score.
    residual: f64,
    range: (f64, f64),
}

impl Resampled {
    /// Any score of whole runs: `score(seed, rows)` of the rows with these indices, which may repeat; `None` where it is
    /// not defined. `range` is what the score cannot leave.
    ///
    /// `None` without seeds or rows, or if the score is not defined on all rows or on 5 % of the draws.
    pub fn of(
        seeds: usize,
        rows: usize,
        range: (f64, f64),
        score: impl Fn(usize, &[u32]) -> Option<f64> + Sync + Send,
    ) -> Option<Resampled> {
        Resampled::of_sums(&Picked::new(seeds, rows, score)?, range)
    }

    /// The same of a score that is a function of sums over rows.
    pub fn of_sums(sample: &dyn Sums, range: (f64, f64)) -> Option<Resampled> {
        Resampled::together(&[sample], range).pop()?
    }

    /// The same of several methods on the same rows, which are drawn once for all of them.
    pub fn together(samples: &[&dyn Sums], range: (f64, f64)) -> Vec<Option<Resampled>> {
        let drawn = scores_of_draws(samples);
        let of = |(place, sample): (usize, &&dyn Sums)| {
            Resampled::of_scores(*sample, range, drawn.iter().map(|scores| scores[place].as_deref()))
        };
        samples.iter().enumerate().map(of).collect()
    }

    /// From the scores of each seed on each draw.
    fn of_scores<'s>(
        sample: &dyn Sums,
        range: (f64, f64),
        scores: impl Iterator<Item = Option<&'s [f64]>>,
    ) -> Option<Resampled> {
        let seeds = sample.scores(&whole(sample)).filter(|seeds| !seeds.is_empty())?;
        let (mut draws, mut residuals, mut defined) = (Vec::new(), 0.0, 0.0);
        for scores in scores {
            draws.push(scores.map_or(f64::NAN, average));
            let Some(scores) = scores else { continue };
            let moved: Vec<f64> = scores.iter().zip(&seeds).map(|(new, old)| new - old).collect();
            residuals += standard_deviation(&moved).unwrap_or(0.0).powi(2);
            defined += 1.0;
        }
        if defined < (1.0 - UNDEFINED) * REPLICATES as f64 {
            return None;
        }
        let mean = |scores: Option<Vec<f64>>| scores.as_deref().map_or_else(|| average(&seeds), average);
        let without = without_each(sample).into_iter().map(mean).collect();
        Some(Resampled { draws, without, residual: residuals / defined, range, seeds })
    }

    /// A mean over rows, by its means on each draw of them.
    pub(super) fn of_means(
        seeds: &[f64],
        rows: &[f64],
        residual: f64,
        range: (f64, f64),
        draws: Vec<f64>,
    ) -> Resampled {
        let (sum, others) = (rows.iter().sum::<f64>(), (rows.len() as f64 - 1.0).max(1.0));
        let without = rows.iter().map(|row| (sum - row) / others).collect();
        Resampled { seeds: seeds.to_vec(), draws, without, residual, range }
    }

    /// Mean over seeds.
    pub fn value(&self) -> f64 {
        average(&self.seeds)
    }

    /// Mean over seeds with its interval. With one seed the interval is over rows alone (`n` is then 1). No interval
    /// where there is one row, or where no draw can move the score: such draws know nothing of other rows.
    pub fn estimate(&self) -> Estimate {
        let error = self.seed_error();
        let draws: Vec<f64> = (0..self.draws.len()).map(|i| self.moved(i, error, || self.luck(i))).collect();
        let share = rows_share(&self.draws, &draws);
        let acceleration = acceleration(&self.without) * share.powi(3);
        self.spread(interval(self.value(), self.seeds.len(), draws, acceleration))
    }

    /// Standard error over rows alone, in the score's unit, seeds as they are: lm-evaluation-harness's `bootstrap_stderr`
    /// of scores that are no means, but for its random numbers.
    pub fn rows_error(&self) -> Option<f64> {
        let defined: Vec<f64> = self.draws.iter().copied().filter(|x| x.is_finite()).collect();
        standard_deviation(&defined)
    }

    /// Any function of two scores with its interval; `None` where it is not finite. On the same rows the scores are those
    /// of two methods, whose seeds have nothing to do with one another; on rows of their own they are one method's in two
    /// domains, where a seed that does well in the one may do well, or badly, in the other. `n` is the smaller number of
    /// seeds. No interval as for [`Resampled::estimate`], or where the draws leave it undefined.
    pub fn combined(&self, other: &Resampled, rows: Rows, f: impl Fn(f64, f64) -> f64) -> Option<Estimate> {
        let (a, b) = (self.value(), other.value());
        let value = Some(f(a, b)).filter(|x| x.is_finite())?;
        let all = 0..self.draws.len();
        // Which draw of the other goes with draw `i`.
        let beside = |i: usize| if rows == Rows::Same { i } else { (i + 1) % other.draws.len() };
        let draws: Vec<f64> = match rows {
            Rows::Same => {
                let (freedom, errors) =
                    (joint_freedom(self, other), [self, other].map(Resampled::seed_error));
                let draw = |i: usize| {
                    let mut random = stream(Chance::Seeds, i as u64);
                    let (first, second) = (random.normal(), random.normal());
                    let scale = random.student_scale(freedom);
                    let first = self.moved(i, errors[0], || first * scale);
                    f(first, other.moved(i, errors[1], || second * scale))
                };
                all.clone().map(draw).collect()
            }
            Rows::Own => {
                let error = self.error_beside(other, &f);
                let draw = |i: usize| f(self.draws[i], other.moved(beside(i), error, || self.luck(i)));
                all.clone().map(draw).collect()
            }
        };
        let of_rows: Vec<f64> = all.map(|i| f(self.draws[i], other.draws[beside(i)])).collect();
        let without: Vec<f64> = match rows {
            Rows::Same => self.without.iter().zip(&other.without).map(|(a, b)| f(*a, *b)).collect(),
            Rows::Own => {
                let (first, second) =
                    (self.without.iter().map(|a| f(*a, b)), other.without.iter().map(|b| f(a, *b)));
                first.chain(second).collect()
            }
        };
        let acceleration = acceleration(&without) * rows_share(&of_rows, &draws).powi(3);
        let found = interval(value, self.seeds.len().min(other.seeds.len()), draws, acceleration);
        Some(other.spread(self.spread(found)))
    }

    /// The estimate, without its interval if there is one row alone.
    fn spread(&self, estimate: Estimate) -> Estimate {
        if self.without.len() > 1 { estimate } else { Estimate { low: None, high: None, ..estimate } }
    }

    /// Draw `i` with what other seeds could have done, which is `luck` such errors.
    fn moved(&self, i: usize, error: Option<f64>, luck: impl Fn() -> f64) -> f64 {
        let shift = error.filter(|error| *error != 0.0).map_or(0.0, |error| error * luck());
        (self.draws[i] + shift).clamp(self.range.0, self.range.1)
    }

    fn luck(&self, i: usize) -> f64 {
        stream(Chance::Seeds, i as u64).student(self.seeds.len() - 1)
    }

    /// Standard error of the mean over seeds, net of what single rows explain; `None` with one seed.
    fn seed_error(&self) -> Option<f64> {
        seed_error(&self.seeds, self.residual)
    }

    /// How far the other's mean would have to move for what other seeds, the same ones in both, could have made of `f`: the
    /// spread of each seed's own `f`, net of what the rows of either explain (the delta method).
    fn error_beside(&self, other: &Resampled, f: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let (a, b) = (self.value(), other.value());
        let slope = |f: &dyn Fn(f64) -> f64| (f(STEP) - f(-STEP)) / (2.0 * STEP);
        let (of_a, of_b) = (slope(&|step| f(a + step, b)), slope(&|step| f(a, b + step)));
        let each: Vec<f64> = self.seeds.iter().zip(&other.seeds).map(|(a, b)| f(*a, *b)).collect();
        let of_rows = of_a * of_a * self.residual + of_b * of_b * other.residual;
        Some(seed_error(&each, of_rows)? / of_b)
    }
}

/// Degrees of freedom of two methods' seeds together (Welch, 1938; Satterthwaite, 1946), rounded down. Each drawn with
/// its own would make intervals of differences too wide.
fn joint_freedom(a: &Resampled, b: &Resampled) -> usize {
    let freedom = |one: &Resampled| (one.seeds.len() as f64 - 1.0).max(1.0);
    let parts = [a, b].map(|one| (one.seed_error().unwrap_or(0.0).powi(2), freedom(one)));
    let variance: f64 = parts.iter().map(|(v, _)| v).sum();
    let freedom = variance.powi(2) / parts.iter().map(|(v, f)| v * v / f).sum::<f64>();
    // Rounding must not cost a whole degree.
    if freedom.is_finite() { (freedom + 1e-9) as usize } else { 1 }
}

/// The seeds' own part of the spread, over their number, as a standard error: `residual` is the variance that rows
/// alone give a seed's score. `None` with one seed, whose spread nobody knows.
pub(super) fn seed_error(seeds: &[f64], residual: f64) -> Option<f64> {
    let own = standard_deviation(seeds)?.powi(2) - residual;
    // Not `max`, by which what is undefined for one seed would be no spread at all.
    let own = if own < 0.0 { 0.0 } else { own };
    Some((own / seeds.len() as f64).sqrt())
}

/// The scores of each sample's seeds on each draw of the rows that they share; `None` where one is not defined.
pub(super) fn scores_of_draws(samples: &[&dyn Sums]) -> Vec<Vec<Option<Vec<f64>>>> {
    let rows = samples.first().map_or(0, |sample| sample.rows());
    let drawn = |i| Drawn::new(stream(Chance::Rows, i), rows);
    each(samples, REPLICATES, drawn, |_, sums| {
        samples.iter().zip(sums).map(|(sample, sums)| sample.scores(sums)).collect()
    })
}

fn stream(chance: Chance, replicate: u64) -> SplitMix {
    SplitMix::stream(SEED + chance as u64, replicate)
}

/// Skewness of the rows' influence, a sixth of it: from the scores without each row (the jackknife).
fn acceleration(without: &[f64]) -> f64 {
    let centre = average(without);
    let sum = |power| without.iter().map(|x| (centre - x).powi(power)).sum::<f64>();
    let found = sum(3) / (6.0 * sum(2).powf(1.5));
    if found.is_finite() { found } else { 0.0 }
}

/// The rows' share of the spread, 0 to 1, by the middle two thirds: Student's t with few degrees of freedom has no
/// variance.
fn rows_share(rows: &[f64], all: &[f64]) -> f64 {
    let width = |draws: &[f64]| {
        let mut sorted: Vec<f64> = draws.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(quantile_of_sorted(&sorted, 5.0 / 6.0)? - quantile_of_sorted(&sorted, 1.0 / 6.0)?)
    };
    let share = width(rows).zip(width(all)).map_or(0.0, |(rows, all)| rows / all);
    if share.is_finite() { share.min(1.0) } else { 0.0 }
}

/// The BCa interval of draws; none where all are one but for rounding, or where more than a few are undefined.
fn interval(value: f64, n: usize, mut draws: Vec<f64>, acceleration: f64) -> Estimate {
    let all = draws.len() as f64;
    draws.retain(|x| x.is_finite());
    draws.sort_by(f64::total_cmp);
    let width = draws.first().zip(draws.last()).map_or(0.0, |(first, last)| last - first);
    if width <= ROUNDING * value.abs().max(1.0) || (draws.len() as f64) < (1.0 - UNDEFINED) * all {
        return Estimate { value, low: None, high: None, n };
    }
    let count = draws.len() as f64;
    let (below, above) = (draws.partition_point(|x| *x < value), draws.partition_point(|x| *x <= value));
    let share = (below + above) as f64 / 2.0 / count;
    let bias = normal_quantile(share.clamp(0.5 / count, 1.0 - 0.5 / count));
    let end = |p: f64| {
        let moved = bias + normal_quantile(p);
        let bent = 1.0 - acceleration * moved;
        let place = if bent > 0.0 { normal_share(bias + moved / bent) } else { p.round() };
        quantile_of_sorted(&draws, place)
    };
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let (low, high) = (end(tail).map(|x| x.min(value)), end(1.0 - tail).map(|x| x.max(value)));
    Estimate { value, low, high, n }
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::Runs;
    use super::*;

    #[test]
    fn a_mean_over_rows_comes_out_alike_by_either_way() {
        let mut random = SplitMix::new(3);
        let outcomes: Vec<Vec<f64>> = [0.8, 0.7, 0.75]
            .iter()
            .map(|skill| (0..120).map(|_| f64::from(u8::from(random.uniform() < *skill))).collect())
            .collect();
        let runs = Runs::new(&outcomes).unwrap();
        let any = Resampled::of(3, 120, (0.0, 1.0), |seed, rows| {
            Some(rows.iter().map(|row| outcomes[seed][*row as usize]).sum::<f64>() / rows.len() as f64)
        })
        .unwrap();
        let (own, any) = (super::super::score(&runs), any.estimate());
        assert!((own.value - any.value).abs() < 1e-12 && any.n == 3);
        assert!((own.low.unwrap() - any.low.unwrap()).abs() < 0.003, "{own:?} {any:?}");
        assert!((own.high.unwrap() - any.high.unwrap()).abs() < 0.003, "{own:?} {any:?}");
    }

    #[test]
    fn the_error_over_rows_of_a_mean_is_the_textbooks() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i % 7) / 7.0).collect();
        let mean =
            |_: usize, rows: &[u32]| Some(rows.iter().map(|row| values[*row as usize]).sum::<f64>() / 200.0);
        let found = Resampled::of(1, 200, (0.0, 1.0), mean).unwrap().rows_error().unwrap();
        assert!((found / super::super::standard_error(&values).unwrap() - 1.0).abs() < 0.04, "{found}");
    }

    #[test]
    fn each_row_is_left_out_once() {
        let sum = |_: usize, rows: &[u32]| Some(rows.iter().map(|row| f64::from(1 << row)).sum());
        let found = Resampled::of(1, 5, (0.0, 31.0), sum).unwrap();
        assert_eq!(found.without, [30.0, 29.0, 27.0, 23.0, 15.0]);
    }

    #[test]
    fn a_score_that_draws_leave_undefined_has_no_interval() {
        // Defined only where row 0 was drawn: about 63 % of the draws.
        let rare = |_: usize, rows: &[u32]| rows.contains(&0).then_some(0.5);
        assert!(Resampled::of(2, 50, (0.0, 1.0), rare).is_none());
        assert!(Resampled::of(2, 0, (0.0, 1.0), |_, _| Some(0.5)).is_none());
        assert!(Resampled::of(0, 9, (0.0, 1.0), |_, _| Some(0.5)).is_none());
    }

    #[test]
    fn seeds_that_are_lucky_in_both_domains_leave_the_drop_alone() {
        // A hundred thousand rows say all there is to know of each seed.
        let of = |scores: [f64; 3]| {
            let rows = vec![scores.iter().sum::<f64>() / 3.0; 2];
            Resampled::of_means(&scores, &rows, 0.0, (-100.0, 100.0), vec![rows[0]; REPLICATES as usize])
        };
        let home = of([0.80, 0.85, 0.90]);
        let width = |away: [f64; 3]| {
            let drop = home.combined(&of(away), Rows::Own, |home, away| home - away).unwrap();
            drop.margin()
        };
        assert!(width([0.70, 0.75, 0.80]).is_none_or(|margin| margin < 1e-6));
        // Twice as wide as one domain's, where the one's luck is the other's bad luck.
        let (one, both) = (home.estimate().margin().unwrap(), width([0.80, 0.75, 0.70]).unwrap());
        assert!((both / one - 2.0).abs() < 0.02, "{one} {both}");
    }

    #[test]
    fn what_many_draws_leave_undefined_has_no_ends() {
        let score = |_: usize, drawn: &[u32]| Some(f64::from(drawn.iter().sum::<u32>() % 10));
        let found = Resampled::of(1, 100, (0.0, 9.0), score).unwrap();
        let share = found.combined(&found, Rows::Own, |a, b| if b > 0.0 { a / b } else { f64::NAN });
        assert_eq!(share, None);
        let some = found.combined(&found, Rows::Own, |_, b| if b < 8.5 { b } else { f64::NAN }).unwrap();
        assert_eq!((some.value, some.low, some.high), (0.0, None, None));
    }

    #[test]
    fn methods_on_the_same_rows_are_paired() {
        let rows: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i % 3 > 0))).collect();
        let of = |range| {
            Resampled::of(1, 200, range, |_, drawn| {
                Some(drawn.iter().map(|row| rows[*row as usize]).sum::<f64>() / 200.0)
            })
        };
        let (a, b) = (of((0.0, 1.0)).unwrap(), of((0.0, 1.0)).unwrap());
        let difference = a.combined(&b, Rows::Same, |a, b| a - b).unwrap();
        assert_eq!((difference.value, difference.low, difference.high), (0.0, None, None));
        assert!(a.combined(&b, Rows::Same, |a, _| a / 0.0).is_none());
    }
}
