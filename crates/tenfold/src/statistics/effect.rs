//! How large a difference is, in units that do not grow with the number of rows.

use super::{CONFIDENCE, Estimate, normal_quantile, sample};
use statrs::function::gamma::ln_gamma;

/// Cohen's d of paired differences (d_z: their mean over their standard deviation; Cohen, 1988, section 2.3.5),
/// corrected for few pairs by Hedges' exact factor J (1981). No unit; 0 is no difference, and its sign is that of
/// the differences. The interval is the large-sample one of Borenstein (2009, *Handbook of Research Synthesis*,
/// chapter 12): rough below ten pairs.
///
/// `None` for fewer than three differences, for whose one degree of freedom J is 0, or if they are all alike.
pub fn cohens_d(differences: &[f64]) -> Option<Estimate> {
    let n = Some(differences.len()).filter(|n| *n > 2)?;
    let deviation = sample::standard_deviation(differences).filter(|deviation| *deviation > 0.0)?;
    let d = differences.iter().sum::<f64>() / n as f64 / deviation;
    let correction = hedges_correction(n as f64 - 1.0);
    let error = correction * (1.0 / n as f64 + d * d / (2.0 * n as f64)).sqrt();
    let (value, margin) = (correction * d, error * normal_quantile(0.5 + CONFIDENCE / 2.0));
    Some(Estimate { value, low: Some(value - margin), high: Some(value + margin), n })
}

/// J = Γ(f/2) / (√(f/2) Γ((f − 1)/2)), of more than one degree of freedom.
fn hedges_correction(freedom: f64) -> f64 {
    (ln_gamma(freedom / 2.0) - ln_gamma((freedom - 1.0) / 2.0)).exp() / (freedom / 2.0).sqrt()
}

/// Cohen's h of two shares: 2 asin √a − 2 asin √b (Cohen, 1988, chapter 6). No unit, −π to π; 0.2 is small, 0.5
/// medium, 0.8 large. Unlike their difference it weighs 98 % against 99 % more than 50 % against 51 %.
///
/// `None` unless both are of 0 to 1.
pub fn cohens_h(a: f64, b: f64) -> Option<f64> {
    let angle = |share: f64| (0.0..=1.0).contains(&share).then(|| 2.0 * share.sqrt().asin());
    Some(angle(a)? - angle(b)?)
}

/// Probability that a run of the one scores higher than a run of the other, a tie counting half: A of Vargha and
/// Delaney (2000), the common-language effect size. 0 to 1; ½ is no difference. For scores of seeds, where a mean and
/// a standard deviation would claim too much.
///
/// `None` if either has no scores.
pub fn superiority(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let one = |x: f64, y: f64| f64::from(u8::from(x > y)) + 0.5 * f64::from(u8::from(x == y));
    let sum: f64 = a.iter().map(|x| b.iter().map(|y| one(*x, *y)).sum::<f64>()).sum();
    Some(sum / (a.len() * b.len()) as f64)
}

/// Cliff's delta (1993): [`superiority`] stretched to −1 to 1; 0 is no difference.
pub fn cliffs_delta(a: &[f64], b: &[f64]) -> Option<f64> {
    superiority(a, b).map(|share| 2.0 * share - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_is_the_textbooks_and_shrinks_for_few_pairs() {
        // Mean 2, deviation 1: d is 2; J(2) = 1 / (√1 · Γ(½)) = 0.5642.
        let found = cohens_d(&[1.0, 2.0, 3.0]).unwrap();
        assert!((found.value - 2.0 / std::f64::consts::PI.sqrt()).abs() < 1e-12);
        assert!((hedges_correction(10.0) - 0.92275).abs() < 1e-5);
        assert!((hedges_correction(1000.0) - 1.0).abs() < 1e-3);
        let alike = [0.81 - 0.79, 0.83 - 0.81, 0.85 - 0.83];
        for none in [&[][..], &[1.0], &[0.02, 0.03], &[1.0; 3], &[0.1; 3], &alike] {
            assert_eq!(cohens_d(none), None, "{none:?}");
        }
    }

    #[test]
    fn h_weighs_the_ends_more() {
        assert!((cohens_h(0.7, 0.5).unwrap() - 0.411_516_846).abs() < 1e-8);
        assert!(cohens_h(0.99, 0.98).unwrap() > cohens_h(0.51, 0.50).unwrap());
        assert!((cohens_h(1.0, 0.0).unwrap() - std::f64::consts::PI).abs() < 1e-12);
        assert!(cohens_h(1.1, 0.5).is_none() && cohens_h(f64::NAN, 0.5).is_none());
    }

    #[test]
    fn superiority_counts_ties_half() {
        assert_eq!(superiority(&[3.0, 2.0], &[1.0, 2.0]), Some(0.875));
        assert_eq!(cliffs_delta(&[1.0, 2.0], &[3.0]), Some(-1.0));
        assert_eq!(superiority(&[], &[1.0]), None);
    }
}
