//! A straight line through points, by least squares, with what the points leave open.

use super::{Estimate, t_quantile};
use serde::Serialize;

/// `y = intercept + slope · x`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// y at x = 0, in y's unit, with its 95 % interval.
    pub intercept: Estimate,
    /// Rise of y for each unit of x, with its 95 % interval.
    pub slope: Estimate,
    /// Standard error of the intercept.
    pub intercept_error: f64,
    /// Standard error of the slope.
    pub slope_error: f64,
    /// Standard deviation of the points around the line (n − 2 degrees of freedom), in y's unit.
    pub residual_error: f64,
    /// Share of y's variance that the line explains, 0 to 1; 1 where y does not vary and the line is flat.
    pub r_squared: f64,
    /// Largest distance of a point from the line, as a share of the point.
    pub worst_relative_error: f64,
    /// Points fitted.
    pub n: usize,
}

/// The least-squares line (Draper and Smith, *Applied Regression Analysis*, 1998, chapter 1). The intervals are
/// Student's t's: they hold for errors that are independent, normal and of one size.
///
/// `None` for fewer than three points, since two leave no error to be told, for one x alone, or where a number is
/// not finite.
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len();
    if n < 3 || points.iter().any(|p| !(p.0.is_finite() && p.1.is_finite())) {
        return None;
    }
    let (count, freedom) = (n as f64, n as f64 - 2.0);
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    // Around the means, where it loses less than through the intercept.
    let residual = |p: &(f64, f64)| p.1 - mean_y - slope * (p.0 - mean_x);
    let squares: f64 = points.iter().map(|p| residual(p).powi(2)).sum();
    let total: f64 = points.iter().map(|p| (p.1 - mean_y).powi(2)).sum();
    let residual_error = (squares / freedom).sqrt();
    let slope_error = residual_error / spread.sqrt();
    let intercept_error = residual_error * (1.0 / count + mean_x * mean_x / spread).sqrt();
    let with = |value: f64, error: f64| {
        let margin = t_quantile(freedom) * error;
        Estimate { value, low: Some(value - margin), high: Some(value + margin), n }
    };
    let relative = |p: &(f64, f64)| residual(p).abs() / p.1.abs().max(f64::MIN_POSITIVE);
    Some(Line {
        intercept: with(mean_y - slope * mean_x, intercept_error),
        slope: with(slope, slope_error),
        intercept_error,
        slope_error,
        residual_error,
        r_squared: if total > 0.0 { (1.0 - squares / total).max(0.0) } else { 1.0 },
        worst_relative_error: points.iter().map(relative).fold(0.0, f64::max),
        n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_fewer_than_three_points_are_none() {
        let fit = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).unwrap();
        assert!((fit.intercept.value - 3.0).abs() < 1e-9 && (fit.slope.value - 2.0).abs() < 1e-9);
        assert!(fit.worst_relative_error < 1e-9 && fit.residual_error < 1e-9 && fit.r_squared > 1.0 - 1e-12);
        assert!(line(&[(1.0, 5.0), (2.0, 7.0)]).is_none() && line(&[]).is_none());
        assert!(line(&[(1.0, 5.0), (1.0, 6.0), (1.0, 7.0)]).is_none());
        assert!(line(&[(1.0, 5.0), (2.0, f64::NAN), (3.0, 7.0)]).is_none());
        assert_eq!(line(&[(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)]).unwrap().r_squared, 1.0);
    }

    #[test]
    fn intervals_cover_the_true_slope() {
        let studies = 1000;
        let covered = (0..studies)
            .filter(|study| {
                let mut random = super::super::SplitMix::stream(8, *study);
                let points: Vec<(f64, f64)> =
                    (1..6).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x) + random.normal())).collect();
                let slope = line(&points).unwrap().slope;
                slope.low.unwrap() <= 2.0 && 2.0 <= slope.high.unwrap()
            })
            .count();
        assert!((930..=970).contains(&covered), "{covered} of {studies}");
    }
}
