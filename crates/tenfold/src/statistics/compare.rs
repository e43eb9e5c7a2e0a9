//! Which methods the data can tell apart: every pair on the same test rows, with simultaneous intervals.
//!
//! A pair's difference is taken row by row (each method's mean over its seeds), so that rows which are hard for both
//! cancel out. Its spread has two parts: over rows, and over seeds ([`SeedSpread`]). Each part is multiplied by its own
//! quantile of Student's t, and the interval's half-width is the root of the sum of their squares. Bonferroni's correction
//! over all pairs makes the intervals simultaneous: all of them hold their true difference in 95 % of studies. The p-value
//! is the same statement read the other way: it is below 5 % exactly where the interval leaves out 0.
//!
//! Where fewer than about four rows tell two methods apart, Student's t is too sure. So an interval is at least as wide as
//! what the rows that were not drawn may hide: a share of them, at most the exact binomial bound (Clopper and Pearson,
//! 1934), may behave as none of those drawn did. Five rows that all say the same are no certainty.
//!
//! This test decides, and no other, because
//! - it is the only one here with an interval *and* a p-value that many pairs can be corrected by. The 2,000 replicates of
//!   the bootstrap do not reach the quantiles that 28 or 120 pairs call for; three seeds of each can be regrouped in 20
//!   ways, so that the permutation test over seeds can never claim anything;
//! - it holds what it says. Of 1,000 simulated studies of six methods (`the_table_of_verdicts` in `coverage/verdicts.rs`)
//!   all 15 intervals held the truth in 95 to 100 %, with 1 to 10 seeds and 100 or 400 rows; where one method's seeds
//!   varied six times as much as the others', in 91 % with two seeds and 95 to 99 % with more. A study of six equal
//!   methods made a false claim in 0 to 4 % (9 % and 1 to 5 %). Bootstrap intervals of single pairs did in 24 to 48 %.
//!   Welch's test with Satterthwaite's degrees of freedom, the usual choice, did in up to 20 % with two seeds and 14 %
//!   with three, as two or three seeds of a method often agree by accident. Of true differences of 3 to 15
//!   points over 400 rows, seeds 2 points apart, three seeds find 49 %, five 71 %, ten 89 %;
//! - Holm's step-down p-values (1979) have no intervals that agree with them.
//!
//! The bootstrap and the permutation tests are reported for reference. Neither makes a claim.
//!
//! The result is shown as a compact letter display (Piepho, 2004): two methods share a letter exactly where they are not
//! told apart. "Tied with the best" alone would hide that two methods may each be tied with a third and yet differ from one
//! another.

use super::bootstrap::Runs;
use super::verdict::{Judgement, Verdict};
use super::{CONFIDENCE, Estimate, ROUNDING, t_p_value, t_quantile_at};
use rayon::prelude::*;
use std::collections::HashSet;

/// Every pair of methods, and the groups that follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// All pairs that could be compared.
    pub pairs: Vec<Pair>,
    /// For each method, in the order given, the numbers of its groups: methods that share one are not told apart, and 0 holds
    /// the best.
    pub groups: Vec<Vec<usize>>,
}

/// Two methods on the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Index of the one.
    pub first: usize,
    /// Index of the other.
    pub second: usize,
    /// Mean of `first` minus mean of `second`, with the 95 % interval that is simultaneous over all pairs. No interval
    /// where the rows bound nothing.
    pub difference: Estimate,
    /// Probability of such a difference if there were none, after Bonferroni's correction over all pairs: below 0.05
    /// exactly where the interval leaves out 0.
    pub p: f64,
}

impl Pair {
    /// What the data say of the first against the second.
    pub fn judged(&self, margin: f64) -> Judgement {
        let verdict = Verdict::of(&self.difference, margin);
        Judgement { verdict, lead: self.difference, p: self.p, margin }
    }
}

impl Comparison {
    /// The groups of a method as letters: "a", "ab", "b". "a" holds the best.
    pub fn letters(&self, method: usize) -> Option<String> {
        self.groups.get(method).map(|groups| letters(groups))
    }

    /// The pair of two methods, in either order, with the difference read as `a` minus `b`.
    pub fn pair(&self, a: usize, b: usize) -> Option<Pair> {
        self.pairs.iter().find_map(|pair| {
            if (pair.first, pair.second) == (a, b) {
                Some(pair.clone())
            } else if (pair.first, pair.second) == (b, a) {
                Some(Pair { first: a, second: b, difference: pair.difference.map(|x| -x), p: pair.p })
            } else {
                None
            }
        })
    }
}

/// Compares every pair. All methods must have been scored on the same rows; pairs that were not are left out.
pub fn compare(methods: &[Runs]) -> Comparison {
    let all =
        (0..methods.len()).flat_map(|first| (first + 1..methods.len()).map(move |second| (first, second)));
    let paired: Vec<(usize, usize)> =
        all.filter(|(a, b)| methods[*a].rows().len() == methods[*b].rows().len()).collect();
    let spread = SeedSpread::of(methods);
    let pair = |(first, second): &(usize, usize)| {
        let (a, b) = (&methods[*first], &methods[*second]);
        let (difference, p) = difference(a, b, spread.of_means(&[a, b]), paired.len());
        Pair { first: *first, second: *second, difference, p }
    };
    let pairs: Vec<Pair> = paired.par_iter().map(pair).collect();
    let means: Vec<f64> = methods.iter().map(Runs::mean).collect();
    let mut comparison = Comparison { pairs, groups: Vec::new() };
    let told = comparison.pairs.iter().filter(|pair| pair.judged(0.0).verdict.tells_apart());
    let told: HashSet<(usize, usize)> = told.map(|pair| (pair.first, pair.second)).collect();
    comparison.groups = groups(&means, |a, b| told.contains(&(a, b)));
    comparison
}

/// What the data say of each method against answers that no training changes, by the same test as [`compare`]'s. `None` for
/// methods that were scored on other rows.
pub fn compare_with_constant(methods: &[Runs], constant: &Runs) -> Vec<Option<Judgement>> {
    let spread = SeedSpread::of(methods);
    let judged = |method: &Runs| {
        let seeds = spread.of_means(&[method]);
        let (difference, p) = difference(method, constant, seeds, methods.len());
        Pair { first: 0, second: 1, difference, p }.judged(0.0)
    };
    let paired = |method: &&Runs| method.rows().len() == constant.rows().len();
    methods.iter().map(|method| Some(method).filter(paired).map(judged)).collect()
}

/// How far seeds move the scores of a study's methods, beyond what rows explain.
///
/// Few seeds of one method tell little: three often agree by accident. So a method's variance is its own or the mean of
/// all methods' (weighted by degrees of freedom), whichever is larger, and Student's t has the degrees of freedom of all
/// together. A method with one seed is given the others' mean. Without any second seed nothing is known of seeds.
struct SeedSpread {
    /// Mean of the methods' variances.
    pooled: f64,
    /// Degrees of freedom of all methods' seeds.
    freedom: f64,
}

/// A variance of a difference, and the degrees of freedom behind it.
#[derive(Clone, Copy)]
struct Part {
    variance: f64,
    freedom: f64,
}

impl SeedSpread {
    fn of(methods: &[Runs]) -> SeedSpread {
        let each =
            methods.iter().filter_map(|runs| Some((runs.seed_variance()?, runs.seeds().len() as f64 - 1.0)));
        let (sum, freedom) = each
            .fold((0.0, 0.0), |(sum, all), (variance, freedom)| (sum + variance * freedom, all + freedom));
        SeedSpread { pooled: if freedom > 0.0 { (sum / freedom).max(0.0) } else { 0.0 }, freedom }
    }

    /// What seeds add to the variance of a sum or difference of these methods' means.
    fn of_means(&self, methods: &[&Runs]) -> Part {
        let of =
            |runs: &&Runs| runs.seed_variance().unwrap_or(0.0).max(self.pooled) / runs.seeds().len() as f64;
        Part { variance: methods.iter().map(of).sum(), freedom: self.freedom }
    }
}

/// The numbers of the groups that each method is in; 0 is that of the highest mean. Two methods share a group exactly where they
/// do not differ, and no group can be enlarged. Not all groups of that kind are listed, which insertion and absorption would
/// find, as they may be more than can be counted: only as many as it takes for every two that do not differ to be in one.
pub fn groups(means: &[f64], differ: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let n = means.len();
    let apart: Vec<Vec<bool>> =
        (0..n).map(|a| (0..n).map(|b| a != b && differ(a.min(b), a.max(b))).collect()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| means[*b].total_cmp(&means[*a]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, a) in order.iter().enumerate() {
        // The worst that does not differ first: those in between are likely to join. At last the method by itself.
        for b in order[place..].iter().rev().filter(|b| !apart[*a][**b]) {
            if !groups.iter().any(|group| group.contains(a) && group.contains(b)) {
                groups.push(enlarged(*a, *b, &order, &apart));
            }
        }
    }
    let rank = |group: &Vec<usize>| {
        let members = group.iter().map(|i| means[*i]);
        let (high, sum) = members.fold((f64::MIN, 0.0), |(high, sum), mean| (high.max(mean), sum + mean));
        (high, sum / group.len() as f64)
    };
    groups.sort_by(|x, y| {
        let (x, y) = (rank(x), rank(y));
        y.0.total_cmp(&x.0).then(y.1.total_cmp(&x.1))
    });
    let of = |i: usize| {
        groups.iter().enumerate().filter(|(_, group)| group.contains(&i)).map(|(k, _)| k).collect()
    };
    (0..n).map(of).collect()
}

/// Groups as a compact letter display: a letter for each, `a` for the first.
fn letters(groups: &[usize]) -> String {
    groups.iter().map(|group| letter(*group)).collect()
}

/// The group of `a` and `b` with all, the best first, that differ from none of its members.
fn enlarged(a: usize, b: usize, order: &[usize], apart: &[Vec<bool>]) -> Vec<usize> {
    let mut group = vec![a];
    if a != b {
        group.push(b);
    }
    for next in order {
        if !group.contains(next) && group.iter().all(|member| !apart[*member][*next]) {
            group.push(*next);
        }
    }
    group
}

/// No two groups have the same letter, however many there are.
fn letter(index: usize) -> char {
    let beyond = char::from_u32(0x0100 + index as u32);
    ('a'..='z').chain('A'..='Z').nth(index).or(beyond).unwrap_or('*')
}

/// Mean of `a` minus mean of `b`, with an interval and a p-value that are corrected for so many pairs; `seeds` is what they
/// add to its variance.
fn difference(a: &Runs, b: &Runs, seeds: Part, pairs: usize) -> (Estimate, f64) {
    let rows = a.rows().len();
    let value = a.mean() - b.mean();
    let bare = Estimate { value, low: None, high: None, n: a.seeds().len().min(b.seeds().len()) };
    let tails = (1.0 - CONFIDENCE) / pairs as f64;
    let (t, hidden) =
        (students(a, b, value, seeds, tails), hidden(value, rows, a.range_of_difference(b), tails));
    let (low, high, p) = match (t, hidden) {
        (Some(t), Some(hidden)) => (t.low.min(hidden.low), t.high.max(hidden.high), t.p.max(hidden.p)),
        // Without a spread over rows or seeds only a score with bounds has an interval.
        (None, Some(hidden)) if hidden.low.is_finite() && hidden.high.is_finite() => {
            (hidden.low, hidden.high, hidden.p)
        }
        _ => return (bare, 1.0),
    };
    let estimate = Estimate { low: Some(low), high: Some(high), ..bare };
    let corrected = (p * pairs as f64).min(1.0);
    // Both are one statement: neither may fall on the other side by rounding.
    let agreed = match Verdict::of(&estimate, 0.0).tells_apart() {
        true => corrected.min((1.0 - CONFIDENCE).next_down()),
        false => corrected.max(1.0 - CONFIDENCE),
    };
    (estimate, agreed)
}

/// An interval whose tails hold so much, and the p-value that belongs to it.
struct Interval {
    low: f64,
    high: f64,
    p: f64,
}

/// Student's t, paired by row, with the spread over seeds added; `None` without any spread.
fn students(a: &Runs, b: &Runs, value: f64, seeds: Part, tails: f64) -> Option<Interval> {
    let n = a.rows().len() as f64;
    let squares: f64 = a.rows().iter().zip(b.rows()).map(|(x, y)| (x - y - value).powi(2)).sum();
    let rows = Part { variance: squares / (n - 1.0).max(1.0) / n, freedom: n - 1.0 };
    let error = (rows.variance + seeds.variance).sqrt();
    if error <= ROUNDING || n <= 1.0 {
        return None;
    }
    let half_width = |tails: f64| {
        let squares = [rows, seeds].into_iter().filter(|part| part.variance > 0.0);
        squares.map(|part| t_quantile_at(part.freedom, tails).powi(2) * part.variance).sum::<f64>().sqrt()
    };
    let margin = half_width(tails);
    // The p-value is where the half-width is the difference itself; it lies between those of either part's t.
    let p = [rows, seeds].map(|part| t_p_value(value / error, part.freedom));
    let (low, high) = (p[0].min(p[1]), p[0].max(p[1]));
    let p = if seeds.variance <= 0.0 { p[0] } else { decreasing_root(half_width, value.abs(), low, high) };
    Some(Interval { low: value - margin, high: value + margin, p })
}

/// Where a positive function that falls from `low` to `high` has a value, to a millionth of itself: false position of
/// logarithms, by which both are nearly straight (the Illinois rule: Dowell and Jarratt, *BIT* 11, 1971).
fn decreasing_root(f: impl Fn(f64) -> f64, value: f64, low: f64, high: f64) -> f64 {
    let above = |x: f64| f(x.exp()).ln() - value.ln();
    // Smaller numbers have no product.
    let (mut left, mut right) = (low.max(1e-150).ln(), high.max(1e-150).ln());
    let (mut at_left, mut at_right) = (above(left), above(right));
    for _ in 0..100 {
        if right - left <= 1e-6 || at_left <= 0.0 || at_right >= 0.0 {
            break;
        }
        let next = (left * at_right - right * at_left) / (at_right - at_left);
        let at_next = above(next);
        if at_next.abs() <= 1e-9 {
            return next.exp();
        }
        // The end that stays counts half, or the other would come near without ever reaching.
        if at_next > 0.0 {
            (left, at_left, at_right) = (next, at_next, at_right / 2.0);
        } else {
            (right, at_right, at_left) = (next, at_next, at_left / 2.0);
        }
    }
    if at_left <= 0.0 { left.exp() } else { right.exp() }
}

/// What the rows that were not drawn may hide. Of a score without bounds no more is known than the signs of the rows'
/// differences: the exact permutation test of so many rows has no p-value below 2 in 2ⁿ, and where that does not suffice
/// there is no interval.
fn hidden(value: f64, rows: usize, (lowest, highest): (f64, f64), tails: f64) -> Option<Interval> {
    let n = rows as f64;
    let least = 2f64.powf(1.0 - n);
    if rows < 2 {
        return None;
    }
    if !(lowest.is_finite() && highest.is_finite()) {
        let nothing = Interval { low: f64::INFINITY, high: f64::NEG_INFINITY, p: least };
        return (least < tails).then_some(nothing);
    }
    let share = 1.0 - (tails / 2.0).powf(1.0 / n);
    let with = |rest: f64| (1.0 - share) * value + share * rest;
    let worst = if value > 0.0 { -lowest } else { highest };
    let p = if value.abs() <= ROUNDING { 1.0 } else { 2.0 * (worst / (worst + value.abs())).powf(n) };
    Some(Interval { low: with(lowest), high: with(highest), p: p.min(1.0) })
}

/// Holm's step-down correction (*Scandinavian Journal of Statistics* 6, 1979): p-values which, held against 5 %, keep
/// the chance of any false claim among all of them at 5 %, whatever their dependence.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|x, y| p[*x].total_cmp(&p[*y]));
    let (mut corrected, mut highest) = (vec![0.0; p.len()], 0.0f64);
    for (rank, index) in order.into_iter().enumerate() {
        highest = highest.max((p[index] * (p.len() - rank) as f64).min(1.0));
        corrected[index] = highest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::super::SplitMix;
    use super::*;

    fn runs(random: &mut SplitMix, hardness: &[f64], skill: f64, luck: f64) -> Runs {
        let outcomes: Vec<Vec<f64>> = (0..3)
            .map(|_| {
                let p = skill + luck * random.normal();
                hardness.iter().map(|h| f64::from(u8::from(0.5 * (h + random.uniform()) < p))).collect()
            })
            .collect();
        Runs::new(&outcomes).unwrap()
    }

    fn rows(random: &mut SplitMix, n: usize) -> Vec<f64> {
        (0..n).map(|_| random.uniform()).collect()
    }

    #[test]
    fn a_plain_difference_is_seen_and_equal_methods_share_a_letter() {
        let mut random = SplitMix::new(2);
        let hardness = rows(&mut random, 1000);
        let methods: Vec<Runs> =
            [0.8, 0.8, 0.5].iter().map(|s| runs(&mut random, &hardness, *s, 0.002)).collect();
        let comparison = compare(&methods);
        assert_eq!(comparison.groups, [vec![0], vec![0], vec![1]]);
        let judged = |a, b| comparison.pair(a, b).unwrap().judged(0.05);
        assert_eq!((judged(2, 0).verdict, judged(0, 2).verdict), (Verdict::Inferior, Verdict::Better));
        assert!(!judged(0, 1).verdict.tells_apart() && judged(2, 0).lead.value < 0.0);
    }

    #[test]
    fn rows_that_all_say_the_same_are_as_sure_as_their_number_and_no_surer() {
        let of = |rows: &[f64], seeds: usize| Runs::new(&vec![rows.to_vec(); seeds]).unwrap();
        let pair = |a: &[f64], b: &[f64], seeds| compare(&[of(a, seeds), of(b, seeds)]).pairs[0].clone();
        // All signs of five differences: 2 of 32.
        let five = pair(&[1.0; 5], &[0.0; 5], 1);
        assert!(
            (five.p - super::super::swap_rows(&of(&[1.0; 5], 1), &of(&[0.0; 5], 1)).unwrap().p).abs() < 1e-12
        );
        assert_eq!(five.difference.high, Some(1.0));
        assert!(five.difference.low.unwrap() < 0.0);
        assert!(pair(&[1.0; 6], &[0.0; 6], 1).difference.low.unwrap() > 0.0);
        // Nearly alike is no more, and a smaller difference less.
        assert!((pair(&[1.0, 1.0, 1.0, 1.0, 0.99], &[0.0; 5], 3).p - 0.0625).abs() < 1e-3);
        assert!(pair(&[1.0, 1.0 / 3.0, 1.0], &[2.0 / 3.0, 0.0, 2.0 / 3.0], 1).p > 0.25);
        let one = pair(&[1.0], &[0.0], 3);
        assert_eq!((one.p, one.difference.low, one.difference.high), (1.0, None, None));
        assert_eq!(pair(&[0.5; 9], &[0.5; 9], 2).p, 1.0);
    }

    #[test]
    fn scores_without_bounds_need_rows_enough_for_their_signs() {
        let of = |n: usize, by: f64| {
            Runs::new(&[(0..n).map(|i| by + i as f64 / 7.0).collect()]).unwrap().unbounded()
        };
        let pair = |n| compare(&[of(n, 40.0 + n as f64 * 1e-3), of(n, 0.0)]).pairs[0].clone();
        assert_eq!((pair(30).difference.low, pair(30).p), (None, 1.0), "no spread, no bounds");
        let noisy = |n: usize, by: f64| {
            Runs::new(&[(0..n).map(|i| by + (i * i % 5) as f64).collect()]).unwrap().unbounded()
        };
        let pair = |n| compare(&[noisy(n, 50.0), of(n, 0.0)]).pairs[0].clone();
        assert_eq!((pair(5).difference.low, pair(5).p), (None, 1.0));
        assert!(pair(7).difference.low.unwrap() > 0.0 && pair(7).p >= 2f64.powi(-6) && pair(7).p < 0.05);
    }

    #[test]
    fn false_claims_stay_rare_over_all_pairs() {
        let mut random = SplitMix::new(9);
        let studies = 300;
        let wrong = (0..studies)
            .filter(|_| {
                let hardness = rows(&mut random, 200);
                let methods: Vec<Runs> = (0..5).map(|_| runs(&mut random, &hardness, 0.7, 0.01)).collect();
                compare(&methods).groups.iter().any(|groups| groups[..] != [0])
            })
            .count();
        assert!(wrong <= studies * 7 / 100, "{wrong} of {studies}");
    }

    #[test]
    fn letters_p_values_and_intervals_say_the_same_of_every_pair() {
        for study in 0..300 {
            let mut random = SplitMix::stream(77, study);
            let (count, n) = (2 + random.below(7), 2 + random.below(120));
            let (hardness, luck) = (rows(&mut random, n), 0.1 * random.uniform());
            let methods: Vec<Runs> = (0..count)
                .map(|_| {
                    let skill = 0.3 + 0.9 * random.uniform();
                    runs(&mut random, &hardness, skill, luck)
                })
                .collect();
            let comparison = compare(&methods);
            assert_eq!(comparison.pairs.len(), count * (count - 1) / 2);
            for pair in &comparison.pairs {
                let (a, b) = (&comparison.groups[pair.first], &comparison.groups[pair.second]);
                let apart = pair.judged(0.01).verdict.tells_apart();
                assert_eq!(apart, pair.p < 0.05, "{pair:?}");
                assert_eq!(apart, !a.iter().any(|group| b.contains(group)), "{a:?} {b:?} {pair:?}");
                let (low, high) = (pair.difference.low.unwrap(), pair.difference.high.unwrap());
                assert!(low <= pair.difference.value && pair.difference.value <= high, "{pair:?}");
            }
        }
    }

    #[test]
    fn an_inferior_method_seldom_passes_for_as_good() {
        let studies = 300;
        let passed = (0..studies)
            .filter(|study| {
                let mut random = SplitMix::stream(5, *study);
                let hardness = rows(&mut random, 100);
                let (full, worse) =
                    (runs(&mut random, &hardness, 0.85, 0.005), runs(&mut random, &hardness, 0.80, 0.005));
                // Of skill p all but 2 (1 − p)² are right: the worse is truly 3.5 points worse.
                compare(&[worse, full]).pairs[0].judged(0.035).verdict.is_within_margin()
            })
            .count();
        assert!(passed <= 15, "{passed} of {studies}");
    }

    #[test]
    fn overlapping_groups_get_overlapping_letters() {
        let display = |groups: Vec<Vec<usize>>| groups.iter().map(|of| letters(of)).collect::<Vec<_>>();
        let letters = |means: &[f64], differ: fn(usize, usize) -> bool| display(groups(means, differ));
        let found = letters(&[0.9, 0.85, 0.8], |a, b| (a, b) == (0, 2));
        assert_eq!(found, ["a", "ab", "b"]);
        assert_eq!(letters(&[0.1, 0.9], |_, _| true), ["b", "a"]);
        assert!(letters(&[], |_, _| true).is_empty());
        // A ring: each is tied with its two neighbours alone.
        assert_eq!(letters(&[4.0, 3.0, 2.0, 1.0], |a, b| b - a == 2), ["ab", "ac", "cd", "bd"]);
        let many: Vec<f64> = (0..60).map(f64::from).collect();
        let apart: std::collections::BTreeSet<String> = letters(&many, |_, _| true).into_iter().collect();
        assert_eq!(apart.len(), 60);
    }

    #[test]
    fn any_pattern_of_sixty_methods_has_letters_that_say_the_same() {
        for share in [0.05, 0.5, 0.95] {
            let mut random = SplitMix::new(6);
            let n = 60;
            let means: Vec<f64> = (0..n).map(|_| random.uniform()).collect();
            let apart: Vec<bool> = (0..n * n).map(|_| random.uniform() < share).collect();
            let found = groups(&means, |a, b| apart[a * n + b]);
            for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
                let shared = found[a].iter().any(|group| found[b].contains(group));
                assert_eq!(shared, !apart[a * n + b], "{a} {b}");
            }
        }
    }

    #[test]
    fn holm_never_lets_a_larger_p_overtake() {
        let corrected = holm(&[0.04, 0.01, 0.03]);
        assert_eq!(corrected, [0.06, 0.03, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
