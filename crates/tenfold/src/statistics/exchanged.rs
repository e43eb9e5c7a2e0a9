//! Approximate randomization of scores that are functions of sums over rows, for all pairs of methods at once.
//!
//! Where a pair's rows are exchanged by signs `s`, the one method's sums become `(A + B + S) / 2` and the other's
//! `(A + B − S) / 2`, with `A` and `B` the sums of all rows and `S` the difference of the signed sums. A method's signed
//! sums are the same in all of its pairs: rows are gone through once for each method, and not for each pair.

use super::permutation::{Permutation, SEED, affordable, counted, exact};
use super::random::SplitMix;
use super::weighted::{Signs, each, whole};
use crate::score::Sums;
use rayon::prelude::*;

/// Sums of each run.
type ByRun = Vec<Vec<f64>>;

/// [`swap_answers`](super::swap_answers) of each pair of methods (places in `samples`) on the same rows. `None` where a
/// score is not defined, or the sums of a method cannot be set beside those of another.
pub fn swap_sums(samples: &[&dyn Sums], pairs: &[(usize, usize)]) -> Vec<Option<Permutation>> {
    let Some((first, _)) = pairs.first() else { return Vec::new() };
    let rows = samples[*first].rows();
    let wholes: Vec<Option<ByRun>> = samples.iter().map(|sample| sample.by_run(&whole(*sample))).collect();
    let of = |(a, b): &(usize, usize)| {
        Pair::new([samples[*a], samples[*b]], [wholes[*a].as_ref()?, wholes[*b].as_ref()?])
    };
    let prepared: Vec<Option<Pair>> = pairs.iter().map(of).collect();
    let all: Vec<Option<Permutation>> =
        prepared.par_iter().map(|pair| pair.as_ref().and_then(Pair::all)).collect();
    // What is left is drawn.
    let left: Vec<usize> = (0..pairs.len()).filter(|i| prepared[*i].is_some() && all[*i].is_none()).collect();
    let most = left.iter().filter_map(|i| Some(prepared[*i].as_ref()?.affordable())).max().unwrap_or(0);
    let alike: Vec<&dyn Sums> = samples.iter().copied().filter(|sample| sample.rows() == rows).collect();
    let place = |index: usize| samples[..index].iter().filter(|sample| sample.rows() == rows).count();
    let drawn: Vec<Vec<f64>> = each(
        &alike,
        most,
        |i| Signs(SplitMix::stream(SEED, i)),
        |_, sums| {
            let signed: Vec<Option<ByRun>> =
                alike.iter().zip(sums).map(|(sample, sums)| sample.by_run(sums)).collect();
            let difference = |i: &usize| {
                let (a, b) = (signed[place(pairs[*i].0)].as_ref()?, signed[place(pairs[*i].1)].as_ref()?);
                prepared[*i].as_ref()?.difference(|run, sum| at(a, run, sum) - at(b, run, sum))
            };
            left.iter().map(|i| difference(i).unwrap_or(f64::INFINITY)).collect()
        },
    );
    let mut found = all;
    for (column, i) in left.iter().enumerate() {
        let Some(pair) = &prepared[*i] else { continue };
        let count = pair.affordable();
        let differences = drawn.iter().take(count as usize).map(|all| all[column]);
        found[*i] = Some(counted(pair.seen, pair.scale, count, differences));
    }
    found
}

/// Two methods whose rows are exchanged.
struct Pair<'a> {
    samples: [&'a dyn Sums; 2],
    wholes: [&'a ByRun; 2],
    /// As many runs as both have.
    runs: usize,
    /// The difference of their scores, means over runs.
    seen: f64,
    /// How large the scores are.
    scale: f64,
}

impl<'a> Pair<'a> {
    fn new(samples: [&'a dyn Sums; 2], wholes: [&'a ByRun; 2]) -> Option<Pair<'a>> {
        let runs = wholes[0].len().min(wholes[1].len());
        let mut pair = Pair { samples, wholes, runs, seen: 0.0, scale: 0.0 };
        pair.seen = pair.difference(|run, sum| at(wholes[0], run, sum) - at(wholes[1], run, sum))?;
        for (sample, whole) in samples.iter().zip(wholes) {
            let scores: Vec<f64> = whole.iter().map(|sums| sample.score(sums)).collect::<Option<_>>()?;
            pair.scale = pair.scale.max((scores.iter().sum::<f64>() / scores.len() as f64).abs());
        }
        Some(pair)
    }

    /// How many arrangements are drawn.
    fn affordable(&self) -> u64 {
        affordable(2 * self.samples[0].rows() * self.runs)
    }

    /// The difference of the scores for signed sums that differ by `signed(run, sum)`; `None` where one is not defined.
    fn difference(&self, signed: impl Fn(usize, usize) -> f64) -> Option<f64> {
        let (mut total, mut own, mut others) = (0.0, Vec::new(), Vec::new());
        for run in 0..self.runs {
            let width = self.wholes[0][run].len().max(self.wholes[1][run].len());
            own.clear();
            others.clear();
            for sum in 0..width {
                let both = at(self.wholes[0], run, sum) + at(self.wholes[1], run, sum);
                let signed = signed(run, sum);
                own.push((both + signed) / 2.0);
                others.push((both - signed) / 2.0);
            }
            total += self.samples[0].score(&own)? - self.samples[1].score(&others)?;
        }
        Some(total / self.runs as f64)
    }

    /// All arrangements one by one, where few rows are answered unlike; else `None`.
    fn all(&self) -> Option<Permutation> {
        let unlike = self.unlike(self.affordable().ilog2() as usize)?;
        let difference = |bits: u64| {
            let exchanged = || unlike.iter().enumerate().filter(|(row, _)| bits >> row & 1 == 1);
            let signed = |run: usize, sum: usize| {
                let less: f64 =
                    exchanged().map(|(_, rows)| at(&rows[0], run, sum) - at(&rows[1], run, sum)).sum();
                at(self.wholes[0], run, sum) - at(self.wholes[1], run, sum) - 2.0 * less
            };
            self.difference(signed).unwrap_or(f64::INFINITY)
        };
        Some(exact(self.seen, self.scale, (0..1 << unlike.len()).map(difference)))
    }

    /// The rows that the two answer unlike, as the sums of each; `None` if they are more than `most`.
    fn unlike(&self, most: usize) -> Option<Vec<[ByRun; 2]>> {
        let mut unlike = Vec::new();
        for row in 0..self.samples[0].rows() {
            let rows = [self.samples[0].of_row(row)?, self.samples[1].of_row(row)?];
            let differs = (0..self.runs).any(|run| {
                let width = rows[0][run].len().max(rows[1][run].len());
                (0..width).any(|sum| at(&rows[0], run, sum) != at(&rows[1], run, sum))
            });
            if differs {
                unlike.push(rows);
            }
            if unlike.len() > most {
                return None;
            }
        }
        Some(unlike)
    }
}

/// A sum of a run; none beyond those that it has.
fn at(by_run: &ByRun, run: usize, sum: usize) -> f64 {
    by_run[run].get(sum).copied().unwrap_or(0.0)
}
