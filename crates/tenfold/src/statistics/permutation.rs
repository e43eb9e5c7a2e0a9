//! Permutation tests between two methods on the same rows: how rare the difference is if names are exchanged.
//!
//! There are two questions, and one permutation cannot answer both: rows whose outcomes are exchanged mix the
//! luck of the seeds, so the test of that would be too bold. Who claims that the methods differ, on other rows and
//! after other trainings, claims both: the larger of the two p-values is that claim's (Berger, *Technometrics* 24,
//! 1982). All arrangements are gone through where they are few; else they are drawn, and the one that was seen
//! counts among them, (b + 1) / (m + 1), so that no p-value is 0 (Phipson and Smyth, 2010).

use super::bootstrap::Runs;
use super::random::SplitMix;
use rayon::prelude::*;

/// As many arrangements are gone through one by one.
const EXACT: u64 = 1 << 16;
/// As many are drawn where there are more.
const DRAWN: u64 = 9_999;
/// Answers that a test of whole scores may look at: 10,000 rows of ten runs take 999 arrangements.
const ANSWERS: u64 = 100_000_000;
/// Fewer arrangements than this are not drawn: the least p would outlive no correction.
const FEWEST: u64 = 999;
pub(super) const SEED: u64 = 0x51B2_AA17;

/// Outcome of a permutation test, two-sided.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Permutation {
    /// Share of the arrangements with a mean difference as large as the one seen, 0 to 1; lower speaks for a
    /// difference.
    pub p: f64,
    /// The smallest p-value that so few rows or seeds could have given: no claim is possible where this is not
    /// below what was asked for.
    pub smallest: f64,
    /// Arrangements looked at.
    pub arrangements: u64,
    /// True if these are all there are.
    pub exact: bool,
}

/// Both tests of two methods, and what they say of the claim that the methods differ.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Permuted {
    /// Of the rows' outcomes: would it show on other rows?
    pub rows: Permutation,
    /// Of the runs: would it show after other trainings?
    pub seeds: Permutation,
    /// The claim's p-value, the larger of the two; of many pairs, after Holm's correction over them.
    pub p: f64,
}

impl Permuted {
    /// Both together, not corrected for many pairs.
    pub fn new(rows: Permutation, seeds: Permutation) -> Permuted {
        Permuted { rows, seeds, p: rows.p.max(seeds.p) }
    }

    /// The smallest p-value that so few rows and seeds could have given, before any correction.
    pub fn smallest(&self) -> f64 {
        self.rows.smallest.max(self.seeds.smallest)
    }
}

/// Do these trained models differ on other rows? Were they alike, a row's two outcomes could stand the other way
/// round: the signs of the rows' differences are flipped (Fisher, *The Design of Experiments*, 1935; for systems
/// that process language: Noreen, 1989; Dror et al., ACL 2018). Each method is its mean over seeds.
///
/// `None` if the rows differ in number.
pub fn swap_rows(a: &Runs, b: &Runs) -> Option<Permutation> {
    if a.rows().len() != b.rows().len() {
        return None;
    }
    let differences: Vec<f64> =
        a.rows().iter().zip(b.rows()).map(|(a, b)| a - b).filter(|d| *d != 0.0).collect();
    let (seen, scale) = (differences.iter().sum::<f64>(), differences.iter().map(|d| d.abs()).sum());
    let flipped = |bits: u64| -> f64 {
        differences.iter().enumerate().map(|(i, d)| if bits >> i & 1 == 1 { -d } else { *d }).sum()
    };
    Some(match 1u64.checked_shl(differences.len() as u32).filter(|count| *count <= EXACT) {
        Some(count) => exact(seen, scale, (0..count).map(flipped)),
        // Both meet the same signs, by which a row that is alike in both adds nothing to the difference.
        None => {
            let sums = signed(a).iter().zip(signed(b)).map(|(a, b)| a - b);
            counted(seen, scale, DRAWN, sums)
        }
    })
}

/// Sums of the rows with signs at random, which are those of every method on so many rows.
fn signed(runs: &Runs) -> &[f64] {
    runs.signed(|| {
        let firsts: Vec<u64> = (0..DRAWN).step_by(SIGNED_AT_ONCE).collect();
        let of = |first: &u64| signed_sums(runs.rows(), *first..DRAWN.min(first + SIGNED_AT_ONCE as u64));
        firsts.par_iter().map(of).collect::<Vec<_>>().concat()
    })
}

/// Arrangements that meet the same tables.
const SIGNED_AT_ONCE: usize = 2500;

/// The sum of `rows` with each arrangement's signs. Eight rows have 256 patterns of signs: their sums are looked up
/// ("Four Russians": Arlazarov, Dinic, Kronrod and Faradzhev, 1970), so that an arrangement adds once for eight rows.
fn signed_sums(rows: &[f64], arrangements: std::ops::Range<u64>) -> Vec<f64> {
    const PATTERNS: usize = 256;
    let mut states: Vec<(SplitMix, f64)> = arrangements.map(|i| (SplitMix::stream(SEED, i), 0.0)).collect();
    let mut tables = [[0.0; PATTERNS]; 8];
    for word in rows.chunks(64) {
        tables.iter_mut().for_each(|table| table.fill(0.0));
        for (table, rows) in tables.iter_mut().zip(word.chunks(8)) {
            table[0] = rows.iter().sum();
            for pattern in 1..PATTERNS {
                // The lowest row that is exchanged, beside a pattern that is known.
                let row = rows.get(pattern.trailing_zeros() as usize).copied().unwrap_or(0.0);
                table[pattern] = table[pattern & (pattern - 1)] - 2.0 * row;
            }
        }
        for (random, sum) in &mut states {
            let bytes = random.bits().to_le_bytes();
            *sum += tables.iter().zip(bytes).map(|(table, byte)| table[byte as usize]).sum::<f64>();
        }
    }
    states.into_iter().map(|(_, sum)| sum).collect()
}

/// The same of a score that is no mean of rows: approximate randomization (Noreen, *Computer-Intensive Methods for
/// Testing Hypotheses*, 1989; Yeh, COLING 2000). The two methods' whole answers to a row stand the other way round,
/// in all seeds at once, and the scores are worked out anew. In all at once, since a row's answers by several seeds
/// of a method are alike: rows are what was sampled, and swaps seed by seed would take each answer for a row of its
/// own and be too bold. Of a mean it is [`swap_rows`].
///
/// `rows` is how many rows the methods answer unlike; `difference(swapped)` that of their scores (means over seeds)
/// where those marked are swapped, `None` where it is not defined: such an arrangement counts against the claim.
/// `scale` is how large the scores are, for rounding, and `answers` what one arrangement has to look at (rows by
/// runs): it says how many are affordable, at least 999 and at most 9,999.
///
/// `None` if the difference that was seen is not defined.
pub fn swap_answers(
    rows: usize,
    answers: usize,
    scale: f64,
    difference: impl Fn(&[bool]) -> Option<f64> + Sync,
) -> Option<Permutation> {
    let seen = difference(&vec![false; rows])?;
    let swapped = |signs: &mut dyn FnMut() -> u64| {
        let mut marks = vec![false; rows];
        for chunk in marks.chunks_mut(64) {
            let bits = signs();
            chunk.iter_mut().enumerate().for_each(|(i, mark)| *mark = bits >> i & 1 == 1);
        }
        difference(&marks).unwrap_or(f64::INFINITY)
    };
    let affordable = affordable(answers);
    Some(match 1u64.checked_shl(rows as u32).filter(|count| *count <= affordable) {
        Some(count) => exact(seen, scale, (0..count).map(|bits| swapped(&mut || bits))),
        None => drawn(seen, scale, affordable, |random| swapped(&mut || random.bits())),
    })
}

/// Would other trainings differ on these rows? Were the methods alike, it would be chance which runs bear whose
/// name: the runs' scores, of any kind, are regrouped (Pitman, 1937). Three seeds of each give 20 arrangements and no p-value
/// below 0.1, four 0.029, five 0.008.
///
/// `None` if either has no runs.
pub fn regroup_seeds(a: &[f64], b: &[f64]) -> Option<Permutation> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (first, all) = (a.len(), [a, b].concat());
    let total: f64 = all.iter().sum();
    // The difference of the groups' means, of which one group's sum decides.
    let of_sum = |sum: f64| sum / first as f64 - (total - sum) / (all.len() - first) as f64;
    let (seen, scale) = (of_sum(a.iter().sum()), all.iter().map(|x| x.abs()).sum());
    Some(match choices(all.len(), first).filter(|count| *count <= EXACT && all.len() < 64) {
        Some(_) => exact(seen, scale, subsets(all.len(), first).map(|set| of_sum(sum_of(&all, set)))),
        None => drawn(seen, scale, DRAWN, |random| {
            let mut order: Vec<usize> = (0..all.len()).collect();
            let chosen = (0..first).map(|i| {
                let other = i + random.below(all.len() - i);
                order.swap(i, other);
                all[order[i]]
            });
            of_sum(chosen.sum())
        }),
    })
}

/// How many arrangements are drawn if each has to look at so many answers.
pub(super) fn affordable(answers: usize) -> u64 {
    (ANSWERS / answers.max(1) as u64).clamp(FEWEST, DRAWN)
}

pub(super) fn exact(seen: f64, scale: f64, all: impl Iterator<Item = f64>) -> Permutation {
    let sizes: Vec<f64> = all.map(f64::abs).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let share = |least: f64| {
        let least = least - slack(scale);
        sizes.iter().filter(|size| **size >= least).count() as f64 / sizes.len() as f64
    };
    Permutation {
        p: share(seen.abs()),
        smallest: share(largest),
        arrangements: sizes.len() as u64,
        exact: true,
    }
}

fn drawn(seen: f64, scale: f64, count: u64, one: impl Fn(&mut SplitMix) -> f64 + Sync) -> Permutation {
    let all: Vec<f64> = (0..count).into_par_iter().map(|i| one(&mut SplitMix::stream(SEED, i))).collect();
    counted(seen, scale, count, all.into_iter())
}

/// The outcome of so many arrangements that were drawn.
pub(super) fn counted(seen: f64, scale: f64, count: u64, all: impl Iterator<Item = f64>) -> Permutation {
    let least = seen.abs() - slack(scale);
    let as_large = all.filter(|found| found.abs() >= least).count();
    let of = |found: usize| (found + 1) as f64 / (count + 1) as f64;
    Permutation { p: of(as_large), smallest: of(0), arrangements: count, exact: false }
}

/// Sums in another order differ by rounding: equal ones must count as equal.
fn slack(scale: f64) -> f64 {
    1e-9 * scale
}

/// How many ways there are to choose `k` of `n`; `None` if there are too many to count.
fn choices(n: usize, k: usize) -> Option<u64> {
    let mut count = 1u64;
    for i in 0..k {
        count = count.checked_mul((n - i) as u64)? / (i as u64 + 1);
    }
    Some(count)
}

/// All sets of `k` of `n`, as bits in rising order (Gosper's step, HAKMEM 175); `n` is below 64 and `k` above 0.
fn subsets(n: usize, k: usize) -> impl Iterator<Item = u64> {
    let next = |set: &u64| {
        let lowest = set & set.wrapping_neg();
        let carried = set + lowest;
        Some((((carried ^ set) >> 2) / lowest) | carried)
    };
    std::iter::successors(Some((1u64 << k) - 1), next).take_while(move |set| *set < 1 << n)
}

fn sum_of(all: &[f64], set: u64) -> f64 {
    all.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, x)| x).sum()
}

#[cfg(test)]
mod tests {
    use super::super::weighted::{Signs, Weights};
    use super::*;

    fn runs(outcomes: &[&[u8]]) -> Runs {
        let outcomes: Vec<Vec<f64>> =
            outcomes.iter().map(|run| run.iter().map(|x| f64::from(*x)).collect()).collect();
        Runs::new(&outcomes).unwrap()
    }

    /// Scores of runs of 20 rows of which so many are right.
    fn right(counts: &[usize]) -> Vec<f64> {
        counts.iter().map(|n| *n as f64 / 20.0).collect()
    }

    #[test]
    fn swapped_rows_are_the_sign_test_where_outcomes_are_right_or_wrong() {
        // Six rows to one: 2 · (1 + 7) / 2⁷.
        let a = runs(&[&[1, 1, 1, 1, 1, 1, 0, 1, 0]]);
        let b = runs(&[&[0, 0, 0, 0, 0, 0, 1, 1, 0]]);
        let found = swap_rows(&a, &b).unwrap();
        assert_eq!((found.p, found.arrangements, found.exact), (0.125, 128, true));
        assert_eq!(found.smallest, 2.0 / 128.0);
        assert_eq!(swap_rows(&b, &a), Some(found));
        assert_eq!(swap_rows(&a, &a).unwrap().p, 1.0);
    }

    #[test]
    fn swapped_answers_of_a_mean_are_swapped_rows() {
        let (a, b) = ([1.0, 0.4, 0.9, 1.0, 0.2, 0.7, 0.8], [0.1, 0.5, 0.3, 0.0, 0.4, 0.6, 0.2]);
        let difference = |swapped: &[bool]| {
            let each = a.iter().zip(&b).zip(swapped);
            Some(each.map(|((a, b), swap)| if *swap { b - a } else { a - b }).sum::<f64>() / 7.0)
        };
        let of = |values: &[f64]| Runs::new(&[values.to_vec()]).unwrap();
        let found = swap_answers(7, 14, 1.0, difference).unwrap();
        assert_eq!(Some(found), swap_rows(&of(&a), &of(&b)));
        // What is not defined speaks for no difference, and what was seen must be defined.
        let rare = |swapped: &[bool]| (!swapped[0]).then(|| difference(swapped)).flatten();
        assert!(swap_answers(7, 14, 1.0, rare).unwrap().p >= 0.5);
        assert_eq!(swap_answers(7, 14, 1.0, |_| None), None);
        // Large tests draw fewer arrangements.
        let count = |answers| swap_answers(20, answers, 1.0, |_| Some(0.5)).unwrap().arrangements;
        assert_eq!([1_000, 50_000, 1_000_000].map(count), [9_999, 2_000, 999]);
    }

    #[test]
    fn regrouped_seeds_are_gone_through_one_by_one() {
        let found = regroup_seeds(&right(&[15, 16, 17]), &right(&[10, 11, 12])).unwrap();
        assert_eq!((found.p, found.smallest, found.arrangements), (0.1, 0.1, 20));
        let five = regroup_seeds(&right(&[15, 16, 17, 18, 19]), &right(&[5, 6, 7, 8, 9])).unwrap();
        assert_eq!((five.p, five.arrangements), (2.0 / 252.0, 252));
        assert_eq!(regroup_seeds(&right(&[15]), &right(&[3])).unwrap().p, 1.0);
        assert_eq!(subsets(4, 2).count() as u64, choices(4, 2).unwrap());
        assert_eq!(choices(200, 100), None);
        // One run against seventy: more than a set of bits holds.
        assert!(!regroup_seeds(&right(&[3]), &right(&[4; 70])).unwrap().exact);
    }

    #[test]
    fn drawn_arrangements_come_near_to_all_of_them() {
        // 40 rows differ, 26 to 14: twice the binomial tail P(X >= 26 of 40) is 0.0807.
        let a: Vec<u8> = (0..60).map(|i| u8::from(i < 26)).collect();
        let b: Vec<u8> = (0..60).map(|i| u8::from((26..40).contains(&i))).collect();
        let found = swap_rows(&runs(&[&a]), &runs(&[&b])).unwrap();
        assert!(!found.exact && (found.p - 0.0807).abs() < 0.01, "{found:?}");
        // 12 and 12 seeds, 2,704,156 arrangements.
        let many = |shift: usize| right(&(0..12).map(|i| (i + shift) % 20).collect::<Vec<_>>());
        let found = regroup_seeds(&many(0), &many(0)).unwrap();
        assert!(!found.exact && found.p > 0.99);
        assert!(regroup_seeds(&many(0), &many(8)).unwrap().p < 0.001);
    }

    #[test]
    fn equal_methods_are_seldom_called_different() {
        let studies = 400;
        let below = (0..studies)
            .filter(|study| {
                let mut random = SplitMix::stream(31, *study);
                let mut draw = || {
                    let runs: Vec<Vec<f64>> = (0..4)
                        .map(|_| {
                            let skill = 0.7 + 0.03 * random.normal();
                            (0..60).map(|_| f64::from(u8::from(random.uniform() < skill))).collect()
                        })
                        .collect();
                    Runs::new(&runs).unwrap()
                };
                let (a, b) = (draw(), draw());
                let seeds = regroup_seeds(a.seeds(), b.seeds()).unwrap();
                Permuted::new(swap_rows(&a, &b).unwrap(), seeds).p < 0.05
            })
            .count();
        assert!(below <= 28, "{below} of {studies}");
    }

    #[test]
    fn signed_sums_are_those_of_the_signs_on_any_number_of_threads() {
        let mut random = SplitMix::new(12);
        let rows: Vec<f64> = (0..203).map(|_| random.uniform()).collect();
        let runs = || Runs::new(std::slice::from_ref(&rows)).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let (alone, three) = (runs(), runs());
        let found = signed(&alone);
        assert_eq!(found, pool.install(|| signed(&three)));
        for place in [0, 1, 2499, 2500, 9998] {
            let mut signs = vec![0.0; rows.len()];
            Signs(SplitMix::stream(SEED, place as u64)).next(&mut signs);
            let wanted: f64 = signs.iter().zip(&rows).map(|(sign, row)| sign * row).sum();
            assert!((found[place] - wanted).abs() < 1e-12, "{} {wanted}", found[place]);
        }
    }

    #[test]
    fn unequal_rows_are_refused() {
        let (a, b) = (runs(&[&[1]]), runs(&[&[1, 0]]));
        assert!(swap_rows(&a, &b).is_none() && regroup_seeds(a.seeds(), &[]).is_none());
    }
}
