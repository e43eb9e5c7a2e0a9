//! Student's t: quantiles and p-values, also far out, where pairs of many methods are told apart.

use super::{CONFIDENCE, normal_quantile};
use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

/// Two-sided quantile for `freedom` degrees of freedom at [`CONFIDENCE`].
pub(super) fn t_quantile(freedom: f64) -> f64 {
    t_quantile_at(freedom, 1.0 - CONFIDENCE)
}

/// The same where both tails together hold `tails`, by Newton's steps from the normal quantile, logarithms of both: the
/// tail falls ever faster, so that steps come from one side and do not pass the quantile. (statrs' own inverse takes a
/// thousand times as long, or has no end.)
pub(super) fn t_quantile_at(freedom: f64, tails: f64) -> f64 {
    let Ok(law) = StudentsT::new(0.0, 1.0, freedom.max(1.0)) else { return f64::INFINITY };
    if tails >= 1.0 || tails <= 0.0 {
        return if tails > 0.0 { 0.0 } else { f64::INFINITY };
    }
    let mut t = -normal_quantile(tails / 2.0);
    for _ in 0..50 {
        let held = law.cdf(-t);
        let step = ((2.0 * held).ln() - tails.ln()) * held / (t * law.pdf(t));
        if !step.is_finite() {
            break;
        }
        t *= step.exp();
        if step.abs() <= 1e-12 {
            break;
        }
    }
    t
}

/// Two-sided p-value of a t statistic.
pub(super) fn t_p_value(t: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom.max(1.0)).map_or(1.0, |law| (2.0 * law.cdf(-t.abs())).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_matches_the_printed_tables() {
        assert!((t_quantile(2.0) - 4.3027).abs() < 1e-3);
        assert!((t_quantile(30.0) - 2.0423).abs() < 1e-3);
        assert!((t_p_value(2.0423, 30.0) - 0.05).abs() < 1e-4);
        assert!((t_quantile_at(1.0, 0.5) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_hold_what_is_asked_of_them_also_far_out() {
        for freedom in [1.0, 2.0, 2.7, 14.0, 40.0, 240.0, 800.0, 1999.0, 1e6] {
            for tails in [0.999, 0.6, 0.05, 0.05 / 120.0, 1e-6, 1e-20, 1e-100, 1e-150] {
                let found = t_p_value(t_quantile_at(freedom, tails), freedom);
                assert!((found / tails - 1.0).abs() < 1e-6, "{freedom} {tails}: {found}");
            }
        }
        assert_eq!([t_quantile_at(3.0, 1.0), t_quantile_at(3.0, 0.0)], [0.0, f64::INFINITY]);
    }
}
