//! A straight line through points, by least squares.

use serde::Serialize;

/// `y = intercept + slope · x`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// y at x = 0.
    pub intercept: f64,
    /// Rise of y for each unit of x.
    pub slope: f64,
    /// Largest distance of a point from the line, as a share of the point.
    pub worst_relative_error: f64,
    /// Points fitted.
    pub n: usize,
}

/// The least-squares line; `None` for fewer than two different x.
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / n;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    if points.len() < 2 || spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    let intercept = mean_y - slope * mean_x;
    let error = |p: &(f64, f64)| (p.1 - intercept - slope * p.0).abs() / p.1.abs().max(f64::MIN_POSITIVE);
    let worst_relative_error = points.iter().map(error).fold(0.0, f64::max);
    Some(Line { intercept, slope, worst_relative_error, n: points.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_point_is_not_a_line() {
        let fit = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).unwrap();
        assert!((fit.intercept - 3.0).abs() < 1e-9 && (fit.slope - 2.0).abs() < 1e-9);
        assert!(fit.worst_relative_error < 1e-9);
        assert!(line(&[(1.0, 5.0), (1.0, 6.0)]).is_none() && line(&[]).is_none());
    }
}
