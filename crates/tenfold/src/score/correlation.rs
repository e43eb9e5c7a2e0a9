//! Correlations of predicted with true numbers, as SciPy computes them.

/// Pearson's r: −1 to 1, higher is better; how near predictions are to a straight line over the truth. STS-B.
///
/// `None` for fewer than two rows, unequal lengths, a number that is not finite, or where either side is constant.
pub fn pearson(predictions: &[f64], truth: &[f64]) -> Option<f64> {
    let finite = predictions.iter().chain(truth).all(|x| x.is_finite());
    if predictions.len() != truth.len() || truth.len() < 2 || !finite {
        return None;
    }
    let (x, y) = (direction(predictions)?, direction(truth)?);
    Some(x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>().clamp(-1.0, 1.0))
}

/// Spearman's rho: Pearson's r of the ranks, ties by their average rank; −1 to 1, higher is better; how far
/// predictions rise with the truth. `None` as for [`pearson`].
pub fn spearman(predictions: &[f64], truth: &[f64]) -> Option<f64> {
    if predictions.iter().chain(truth).any(|x| !x.is_finite()) {
        return None;
    }
    pearson(&ranks(predictions), &ranks(truth))
}

/// Distances from the mean, of length 1 together. `None` for a constant.
fn direction(values: &[f64]) -> Option<Vec<f64>> {
    if values.iter().all(|x| *x == values[0]) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    // Scaled first: squares of very large or small numbers would leave the range.
    let largest = values.iter().map(|x| (x - mean).abs()).fold(0.0, f64::max);
    let scaled: Vec<f64> = values.iter().map(|x| (x - mean) / largest).collect();
    let norm = scaled.iter().map(|x| x * x).sum::<f64>().sqrt();
    Some(scaled.iter().map(|x| x / norm).collect()).filter(|_| largest > 0.0 && largest.is_finite())
}

/// Rank of each value from 1; equal ones share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(f64, usize)> = values.iter().copied().zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0.0;
    for alike in order.chunk_by(|a, b| a.0 == b.0) {
        let count = alike.len() as f64;
        alike.iter().for_each(|(_, i)| ranks[*i] = before + (count + 1.0) / 2.0);
        before += count;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_correlation_has_none() {
        for (x, y) in [
            (&[][..], &[][..]),
            (&[1.0][..], &[1.0][..]),
            (&[1.0, 2.0][..], &[1.0][..]),
            (&[1.0, 1.0][..], &[1.0, 2.0][..]),
            (&[1.0, f64::NAN][..], &[1.0, 2.0][..]),
            (&[1.0, f64::INFINITY][..], &[1.0, 2.0][..]),
        ] {
            assert_eq!((pearson(x, y), spearman(x, y)), (None, None), "{x:?} {y:?}");
        }
    }

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
    }
}
