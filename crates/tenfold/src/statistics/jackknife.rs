//! A score without a part of the rows, for every part in turn: what single rows add to a score that is no mean of them.

use super::Runs;
use rayon::prelude::*;

/// Parts that rows are left out in; with fewer rows than this one by one.
const PARTS: usize = 1000;

/// `score` of the rows that remain without each part: row `i` is of part `i` modulo their number.
pub(super) fn without_each<T: Send>(rows: usize, score: impl Fn(&[u32]) -> T + Sync) -> Vec<T> {
    let parts = rows.min(PARTS);
    let kept = |part: usize| -> Vec<u32> {
        (0..rows).filter(|row| row % parts != part).map(|row| row as u32).collect()
    };
    (0..parts).into_par_iter().map(|part| score(&kept(part))).collect()
}

/// What each row (of more than 1,000, each part of them) adds to a score, as numbers whose mean is the score: Tukey's
/// pseudo-values (Efron, *The Jackknife, the Bootstrap and Other Resampling Plans*, 1982), moved to that mean. With
/// them tests that are made for means compare any score that is smooth in its rows.
///
/// `score(seed, rows)` is that of the rows with these indices. `None` without seeds or rows, or where a score is not
/// defined.
pub fn contributions(
    seeds: usize,
    rows: usize,
    score: impl Fn(usize, &[u32]) -> Option<f64> + Sync,
) -> Option<Runs> {
    let all: Vec<u32> = (0..u32::try_from(rows).ok()?).collect();
    let of_seed = |seed: usize| -> Option<Vec<f64>> {
        let whole = score(seed, &all)?;
        let without: Vec<f64> =
            without_each(rows, |kept| score(seed, kept)).into_iter().collect::<Option<_>>()?;
        let parts = without.len() as f64;
        let centre = without.iter().sum::<f64>() / parts;
        Some(without.iter().map(|without| whole + (parts - 1.0) * (centre - without)).collect())
    };
    Some(Runs::new(&(0..seeds).map(of_seed).collect::<Option<Vec<_>>>()?)?.unbounded())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64], rows: &[u32]) -> f64 {
        rows.iter().map(|row| values[*row as usize]).sum::<f64>() / rows.len() as f64
    }

    #[test]
    fn a_row_adds_to_a_mean_what_it_is_worth() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i % 7)).collect();
        let found = contributions(1, 40, |_, rows| Some(mean(&values, rows))).unwrap();
        for (found, value) in found.rows().iter().zip(&values) {
            assert!((found - value).abs() < 1e-9, "{found} {value}");
        }
    }

    #[test]
    fn many_rows_are_left_out_in_parts_and_keep_the_standard_error() {
        let mut random = super::super::SplitMix::new(5);
        let values: Vec<f64> = (0..5000).map(|_| 3.0 + random.normal()).collect();
        let found = contributions(1, 5000, |_, rows| Some(mean(&values, rows))).unwrap();
        assert_eq!(found.rows().len(), PARTS);
        let error = |values: &[f64]| super::super::standard_error(values).unwrap();
        assert!((error(found.rows()) / error(&values) - 1.0).abs() < 0.1);
        assert!((found.mean() / mean(&values, &(0..5000).collect::<Vec<_>>()) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_defined_has_none() {
        assert!(contributions(1, 3, |_, rows| (rows.len() == 3).then_some(0.5)).is_none());
        assert!(contributions(0, 3, |_, _| Some(0.5)).is_none());
        assert!(contributions(1, 0, |_, _| Some(0.5)).is_none());
    }
}
