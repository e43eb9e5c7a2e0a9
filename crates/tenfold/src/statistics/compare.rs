//! Which methods the data can tell apart: every pair on the same test rows, corrected for many looks.
//!
//! A pair's difference is taken row by row (each method's mean over its seeds), so that rows which
//! are hard for both cancel out. Its standard error joins the spread over rows with each method's
//! spread over seeds; Student's t with Welch's and Satterthwaite's degrees of freedom gives the
//! p-value. A bootstrap would need many thousand replicates to resolve the small p-values that many
//! pairs call for; for a difference of means this is its limit. No p-value is below what the exact permutation test
//! could give of as many rows: five rows that all say the same are no certainty. Holm's correction (1979) over all
//! pairs keeps the chance of any false claim at 5 %.
//!
//! The result is shown as a compact letter display (Piepho, 2004): methods that share a letter
//! cannot be told apart. "Tied with the best" alone would hide that two methods may each be tied
//! with a third and yet differ from one another.

use super::bootstrap::{Runs, bounded};
use super::{CONFIDENCE, Estimate, ROUNDING, t_p_value, t_quantile};

/// Every pair of methods, and the groups that follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// All pairs that could be compared.
    pub pairs: Vec<Pair>,
    /// For each method, in the order given, its letters: "a", "ab", "b". "a" holds the best.
    pub letters: Vec<String>,
}

/// Two methods on the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Index of the one.
    pub first: usize,
    /// Index of the other.
    pub second: usize,
    /// Mean of `first` minus mean of `second`, with Student's t interval, which is not corrected for many looks.
    pub difference: Estimate,
    /// Probability of such a difference if there were none, corrected for the number of pairs.
    pub p: f64,
}

impl Comparison {
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

    /// True if the data can tell the two apart.
    pub fn differ(&self, a: usize, b: usize) -> bool {
        self.pair(a, b).is_some_and(|pair| pair.p < 1.0 - CONFIDENCE)
    }
}

/// Compares every pair. All methods must have been scored on the same rows; pairs that were not are left out.
pub fn compare(methods: &[Runs]) -> Comparison {
    let mut pairs = Vec::new();
    for first in 0..methods.len() {
        for second in first + 1..methods.len() {
            let (a, b) = (&methods[first], &methods[second]);
            if a.rows().len() == b.rows().len() {
                let (difference, p) = difference(a, b);
                pairs.push(Pair { first, second, difference, p });
            }
        }
    }
    let corrected = holm(&pairs.iter().map(|pair| pair.p).collect::<Vec<_>>());
    pairs.iter_mut().zip(corrected).for_each(|(pair, p)| pair.p = p);
    let means: Vec<f64> = methods.iter().map(Runs::mean).collect();
    let mut comparison = Comparison { pairs, letters: Vec::new() };
    comparison.letters = letters(&means, |a, b| comparison.differ(a, b));
    comparison
}

/// Compact letter display by insertion and absorption: `a` marks the group of the highest mean.
pub fn letters(means: &[f64], differ: impl Fn(usize, usize) -> bool) -> Vec<String> {
    let n = means.len();
    let mut columns: Vec<Vec<bool>> = vec![vec![true; n]];
    for a in 0..n {
        for b in a + 1..n {
            if differ(a, b) {
                columns = split(columns, a, b);
            }
        }
    }
    let best = |column: &Vec<bool>| {
        let members = (0..n).filter(|i| column[*i]).map(|i| means[i]);
        let (high, sum, count) = members.fold((f64::MIN, 0.0, 0.0), |s, m| (s.0.max(m), s.1 + m, s.2 + 1.0));
        (high, sum / f64::max(count, 1.0))
    };
    columns.sort_by(|x, y| {
        let (x, y) = (best(x), best(y));
        y.0.total_cmp(&x.0).then(y.1.total_cmp(&x.1))
    });
    (0..n)
        .map(|i| columns.iter().enumerate().filter(|(_, c)| c[i]).map(|(k, _)| letter(k)).collect())
        .collect()
}

fn split(columns: Vec<Vec<bool>>, a: usize, b: usize) -> Vec<Vec<bool>> {
    let mut parts: Vec<Vec<bool>> = Vec::new();
    for column in columns {
        if column[a] && column[b] {
            for out in [a, b] {
                let mut part = column.clone();
                part[out] = false;
                parts.push(part);
            }
        } else {
            parts.push(column);
        }
    }
    let within = |x: &Vec<bool>, y: &Vec<bool>| x.iter().zip(y).all(|(x, y)| !x || *y);
    let kept = |i: usize| {
        let covers = |j: usize| i != j && within(&parts[i], &parts[j]) && (parts[i] != parts[j] || j < i);
        !(0..parts.len()).any(covers)
    };
    (0..parts.len()).filter(|i| kept(*i)).map(|i| parts[i].clone()).collect()
}

fn letter(index: usize) -> char {
    char::from_u32('a' as u32 + index as u32).filter(char::is_ascii_lowercase).unwrap_or('*')
}

fn difference(a: &Runs, b: &Runs) -> (Estimate, f64) {
    let n = a.rows().len() as f64;
    let value = a.mean() - b.mean();
    let squares: f64 = a.rows().iter().zip(b.rows()).map(|(x, y)| (x - y - value).powi(2)).sum();
    let mut parts = vec![(squares / (n - 1.0).max(1.0) / n, n - 1.0)];
    for runs in [a, b] {
        if let Some(error) = runs.seed_error() {
            parts.push((error * error, runs.seeds().len() as f64 - 1.0));
        }
    }
    let variance: f64 = parts.iter().map(|p| p.0).sum();
    let count = a.seeds().len().min(b.seeds().len());
    // However even the rows, so few cannot speak more surely: two of the 2ⁿ ways to exchange their outcomes show this.
    let least = 2f64.powf(1.0 - n);
    let bare = Estimate { value, low: None, high: None, n: count };
    if variance.sqrt() <= ROUNDING || n < 2.0 {
        let p = if value.abs() <= ROUNDING { 1.0 } else { least };
        return (bounded(bare, a.rows().len(), a.range_of_difference(b)), p);
    }
    let freedom = variance.powi(2) / parts.iter().map(|(v, f)| v * v / f.max(1.0)).sum::<f64>();
    let margin = t_quantile(freedom) * variance.sqrt();
    let estimate = Estimate { low: Some(value - margin), high: Some(value + margin), ..bare };
    (estimate, t_p_value(value / variance.sqrt(), freedom).max(least))
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
        assert_eq!(comparison.letters, ["a", "a", "b"]);
        assert!(comparison.differ(2, 0) && !comparison.differ(0, 1));
        assert!(comparison.pair(2, 0).unwrap().difference.value < 0.0);
    }

    #[test]
    fn rows_that_all_say_the_same_are_as_sure_as_their_number_and_no_surer() {
        let of = |rows: &[f64], seeds: usize| Runs::new(&vec![rows.to_vec(); seeds]).unwrap();
        let pair = |a: &[f64], b: &[f64], seeds| compare(&[of(a, seeds), of(b, seeds)]).pairs[0].clone();
        // All signs of five differences: 2 of 32.
        let five = pair(&[1.0; 5], &[0.0; 5], 1);
        assert_eq!(five.p, super::super::swap_rows(&of(&[1.0; 5], 1), &of(&[0.0; 5], 1)).unwrap().p);
        assert_eq!((five.p, five.difference.high), (0.0625, Some(1.0)));
        assert!(five.difference.low.unwrap() < 0.0);
        // Nearly alike, or alike but for rounding, is no more.
        assert_eq!(pair(&[1.0, 1.0, 1.0, 1.0, 0.99], &[0.0; 5], 3).p, 0.0625);
        assert_eq!(pair(&[1.0, 1.0 / 3.0, 1.0], &[2.0 / 3.0, 0.0, 2.0 / 3.0], 1).p, 0.25);
        let one = pair(&[1.0], &[0.0], 3);
        assert_eq!((one.p, one.difference.low, one.difference.high), (1.0, None, None));
        assert_eq!(pair(&[0.5; 9], &[0.5; 9], 2).p, 1.0);
    }

    #[test]
    fn false_claims_stay_rare_over_all_pairs() {
        let mut random = SplitMix::new(9);
        let studies = 300;
        let wrong = (0..studies)
            .filter(|_| {
                let hardness = rows(&mut random, 200);
                let methods: Vec<Runs> = (0..5).map(|_| runs(&mut random, &hardness, 0.7, 0.01)).collect();
                compare(&methods).letters.iter().any(|l| l != "a")
            })
            .count();
        assert!(wrong <= studies * 7 / 100, "{wrong} of {studies}");
    }

    #[test]
    fn overlapping_groups_get_overlapping_letters() {
        let found = letters(&[0.9, 0.85, 0.8], |a, b| (a, b) == (0, 2));
        assert_eq!(found, ["a", "ab", "b"]);
        assert_eq!(letters(&[0.1, 0.9], |_, _| true), ["b", "a"]);
        assert!(letters(&[], |_, _| true).is_empty());
    }

    #[test]
    fn holm_never_lets_a_larger_p_overtake() {
        let corrected = holm(&[0.04, 0.01, 0.03]);
        assert_eq!(corrected, [0.06, 0.03, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
