//! A score without a part of the rows, for every part in turn: what single rows add to a score that is no mean of them.

use super::Runs;
use super::weighted::whole;
use crate::score::Sums;
use rayon::prelude::*;

/// Parts that rows are left out in; with fewer rows than this one by one.
const PARTS: usize = 1000;

/// The scores of each run by the rows that remain without each part: row `i` is of part `i` modulo their number.
pub(super) fn without_each(sample: &dyn Sums) -> Vec<Option<Vec<f64>>> {
    let (rows, whole) = (sample.rows(), whole(sample));
    let parts = rows.min(PARTS);
    let without = |part: usize| {
        let mut sums = whole.clone();
        (part..rows).step_by(parts).for_each(|row| sample.add(row, &[-1.0], &mut sums));
        sample.scores(&sums)
    };
    (0..parts).into_par_iter().map(without).collect()
}

/// What each row (of more than 1,000, each part of them) adds to a score, as numbers whose mean is the score: Tukey's
/// pseudo-values (Efron, *The Jackknife, the Bootstrap and Other Resampling Plans*, 1982), moved to that mean. With
/// them tests that are made for means compare any score that is smooth in its rows.
///
/// `None` without runs or rows, or where a score is not defined. `sign` is −1 for scores of which less is better.
pub fn contributions(sample: &dyn Sums, sign: f64) -> Option<Runs> {
    let wholes = sample.scores(&whole(sample))?;
    let without: Vec<Vec<f64>> = without_each(sample).into_iter().collect::<Option<_>>()?;
    let parts = without.len() as f64;
    let of_run = |(run, whole): (usize, &f64)| -> Vec<f64> {
        let centre = without.iter().map(|scores| scores[run]).sum::<f64>() / parts;
        without.iter().map(|scores| sign * (whole + (parts - 1.0) * (centre - scores[run]))).collect()
    };
    Some(Runs::new(&wholes.iter().enumerate().map(of_run).collect::<Vec<_>>())?.unbounded())
}

#[cfg(test)]
mod tests {
    use super::super::picked::Picked;
    use super::*;

    fn contributions_of(
        seeds: usize,
        rows: usize,
        score: impl Fn(usize, &[u32]) -> Option<f64> + Sync + Send,
    ) -> Option<Runs> {
        contributions(&Picked::new(seeds, rows, score)?, 1.0)
    }

    fn mean(values: &[f64], rows: &[u32]) -> f64 {
        rows.iter().map(|row| values[*row as usize]).sum::<f64>() / rows.len() as f64
    }

    #[test]
    fn a_row_adds_to_a_mean_what_it_is_worth() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i % 7)).collect();
        let found = contributions_of(1, 40, |_, rows| Some(mean(&values, rows))).unwrap();
        for (found, value) in found.rows().iter().zip(&values) {
            assert!((found - value).abs() < 1e-9, "{found} {value}");
        }
    }

    #[test]
    fn many_rows_are_left_out_in_parts_and_keep_the_standard_error() {
        let mut random = super::super::SplitMix::new(5);
        let values: Vec<f64> = (0..5000).map(|_| 3.0 + random.normal()).collect();
        let found = contributions_of(1, 5000, |_, rows| Some(mean(&values, rows))).unwrap();
        assert_eq!(found.rows().len(), PARTS);
        let error = |values: &[f64]| super::super::standard_error(values).unwrap();
        assert!((error(found.rows()) / error(&values) - 1.0).abs() < 0.1);
        assert!((found.mean() / mean(&values, &(0..5000).collect::<Vec<_>>()) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_defined_has_none() {
        assert!(contributions_of(1, 3, |_, rows| (rows.len() == 3).then_some(0.5)).is_none());
        assert!(contributions_of(0, 3, |_, _| Some(0.5)).is_none());
        assert!(contributions_of(1, 0, |_, _| Some(0.5)).is_none());
    }
}
