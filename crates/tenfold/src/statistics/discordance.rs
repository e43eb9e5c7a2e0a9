//! Rows on which two runs are not both right or both wrong: only these tell the two apart.

use super::CONFIDENCE;
use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};

/// The discordant rows of two runs, and what follows from them.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Discordance {
    /// Rows that only the first has right.
    pub first_only: u64,
    /// Rows that only the second has right.
    pub second_only: u64,
    /// The one over the other: the odds that a row which tells them apart speaks for the first. `None` where the
    /// second has no row of its own.
    pub odds_ratio: Option<f64>,
    /// Lower end of the odds ratio's exact 95 % interval (Clopper and Pearson, 1934, of the first's share).
    pub low: f64,
    /// Upper end; `None` where nothing bounds it.
    pub high: Option<f64>,
    /// McNemar's test (1947), exact and two-sided: the binomial probability of so uneven a split if it were even.
    pub p: f64,
}

/// Compares two runs, one seed of each, on the same rows (true where right).
///
/// `None` for no rows or unequal numbers of them.
pub fn discordance(first: &[bool], second: &[bool]) -> Option<Discordance> {
    if first.is_empty() || first.len() != second.len() {
        return None;
    }
    let count = |which: bool| first.iter().zip(second).filter(|(a, b)| a != b && **a == which).count() as u64;
    let (b, c) = (count(true), count(false));
    let odds = |share: f64| Some(share / (1.0 - share)).filter(|odds| odds.is_finite());
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let end = |x: u64, y: u64, p: f64| Some(Beta::new(x as f64, y as f64).ok()?.inverse_cdf(p));
    Some(Discordance {
        first_only: b,
        second_only: c,
        odds_ratio: (c > 0).then(|| b as f64 / c as f64),
        low: if b == 0 { 0.0 } else { end(b, c + 1, tail).and_then(odds)? },
        high: if c == 0 { None } else { end(b + 1, c, 1.0 - tail).and_then(odds) },
        p: mcnemar(b, c)?,
    })
}

fn mcnemar(b: u64, c: u64) -> Option<f64> {
    if b == c {
        return Some(1.0);
    }
    Some((2.0 * Binomial::new(0.5, b + c).ok()?.cdf(b.min(c))).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(b: usize, c: usize) -> Discordance {
        let first: Vec<bool> = (0..b + c + 3).map(|i| i < b || i == b + c).collect();
        let second: Vec<bool> = (0..b + c + 3).map(|i| (b..b + c + 1).contains(&i)).collect();
        discordance(&first, &second).unwrap()
    }

    #[test]
    fn the_split_of_the_discordant_rows_decides() {
        let found = of(6, 1);
        assert_eq!((found.first_only, found.second_only, found.odds_ratio), (6, 1, Some(6.0)));
        assert!((found.p - 0.125).abs() < 1e-12);
        // Clopper and Pearson of 6 in 7: 0.42128 to 0.99639.
        assert!((found.low - 0.42128 / 0.57872).abs() < 1e-3, "{found:?}");
        assert!((found.high.unwrap() - 0.99639 / 0.00361).abs() < 1.0, "{found:?}");
        assert!((of(1, 6).p - found.p).abs() < 1e-15);
        assert!((of(1, 6).high.unwrap() * found.low - 1.0).abs() < 1e-6);
    }

    #[test]
    fn runs_that_agree_cannot_be_told_apart() {
        let found = of(0, 0);
        assert_eq!((found.p, found.odds_ratio, found.low, found.high), (1.0, None, 0.0, None));
        assert_eq!(of(5, 0).high, None);
        assert!(discordance(&[], &[]).is_none() && discordance(&[true], &[]).is_none());
    }
}
