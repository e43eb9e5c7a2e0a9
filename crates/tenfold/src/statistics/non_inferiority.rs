//! Is a method as good as the yardstick, but for a margin that does not matter?

use super::Estimate;

/// What the data say of a method against the yardstick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is worse by less than the margin, if at all.
    NonInferior,
    /// It is worse by more than the margin.
    Inferior,
    /// The interval holds the margin, or there is none: more seeds or rows would be needed to tell.
    Undecided,
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct NonInferiority {
    /// What the data say.
    pub verdict: Verdict,
    /// Mean score of the method minus that of the yardstick, with its 95 % interval (paired bootstrap).
    pub difference: Estimate,
    /// How much worse still counts as as good, in the unit of the score; it must be set before the data are seen.
    pub margin: f64,
}

/// Tests a method against the yardstick (full fine-tuning), of which it is ahead by `difference`, on the same rows and with
/// the interval of the paired bootstrap.
///
/// The lower end of the 95 % interval is held against the margin, a one-sided test at 2.5 % (ICH E9, *Statistical
/// Principles for Clinical Trials*, 1998, section 3.3.2; Piaggio et al., *JAMA* 308, 2012). With one seed of either
/// the verdict is of these two models alone: `difference.n` says so.
///
/// `None` if the margin is negative or not a number.
pub fn non_inferiority(difference: Estimate, margin: f64) -> Option<NonInferiority> {
    if !(margin >= 0.0 && margin.is_finite()) {
        return None;
    }
    let verdict = if difference.low.is_some_and(|low| low > -margin) {
        Verdict::NonInferior
    } else if difference.high.is_some_and(|high| high < -margin) {
        Verdict::Inferior
    } else {
        Verdict::Undecided
    };
    Some(NonInferiority { verdict, difference, margin })
}

#[cfg(test)]
mod tests {
    use super::super::{Runs, SplitMix, difference};
    use super::*;

    fn runs(random: &mut SplitMix, rows: &[f64], skill: f64) -> Runs {
        let outcomes: Vec<Vec<f64>> = (0..5)
            .map(|_| {
                let skill = skill + 0.005 * random.normal();
                let own = |u: &f64, random: &mut SplitMix| {
                    if random.uniform() < 0.1 { random.uniform() } else { *u }
                };
                rows.iter().map(|u| f64::from(u8::from(own(u, random) < skill))).collect()
            })
            .collect();
        Runs::new(&outcomes).unwrap()
    }

    fn test(method: &Runs, yardstick: &Runs, margin: f64) -> NonInferiority {
        non_inferiority(difference(method, yardstick).unwrap(), margin).unwrap()
    }

    #[test]
    fn the_margin_decides_and_few_rows_do_not() {
        let mut random = SplitMix::new(17);
        let rows: Vec<f64> = (0..2000).map(|_| random.uniform()).collect();
        let (full, near, far) =
            (runs(&mut random, &rows, 0.9), runs(&mut random, &rows, 0.895), runs(&mut random, &rows, 0.8));
        let verdict = |method, margin| test(method, &full, margin).verdict;
        assert_eq!(verdict(&near, 0.03), Verdict::NonInferior);
        assert_eq!(verdict(&far, 0.03), Verdict::Inferior);
        assert_eq!(verdict(&full, 0.01), Verdict::NonInferior);
        let (few, other) = (runs(&mut random, &rows[..60], 0.9), runs(&mut random, &rows[..60], 0.89));
        assert_eq!(test(&other, &few, 0.01).verdict, Verdict::Undecided);
    }

    #[test]
    fn no_difference_on_few_rows_proves_little() {
        let same = Runs::new(&[vec![1.0; 20]]).unwrap();
        let found = test(&same, &same, 0.05);
        assert_eq!((found.verdict, found.difference.n), (Verdict::Undecided, 1));
        assert!((found.difference.low.unwrap() + 0.1684).abs() < 1e-4);
        let (right, wrong) = (Runs::new(&[vec![1.0]]).unwrap(), Runs::new(&[vec![0.0]]).unwrap());
        assert_eq!(test(&wrong, &right, 0.05).verdict, Verdict::Undecided);
    }

    #[test]
    fn an_inferior_method_passes_in_a_fortieth_of_the_studies() {
        let studies = 300;
        let passed = (0..studies)
            .filter(|study| {
                let mut random = SplitMix::stream(5, *study);
                let rows: Vec<f64> = (0..100).map(|_| random.uniform()).collect();
                let (full, worse) = (runs(&mut random, &rows, 0.85), runs(&mut random, &rows, 0.80));
                test(&worse, &full, 0.05).verdict == Verdict::NonInferior
            })
            .count();
        assert!(passed <= 15, "{passed} of {studies}");
    }

    #[test]
    fn nonsense_is_refused() {
        let (a, b) = (Runs::new(&[vec![1.0; 3]]).unwrap(), Runs::new(&[vec![1.0; 4]]).unwrap());
        assert!(difference(&a, &b).is_none());
        let same = difference(&a, &a).unwrap();
        assert!(non_inferiority(same, -0.1).is_none() && non_inferiority(same, f64::NAN).is_none());
    }
}
