//! Means, deviations and quantiles of one sample, with intervals.

use super::{CONFIDENCE, Estimate, ROUNDING, t_quantile};
use crate::histogram::Histogram;
use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF};

/// Mean with Student's t interval. One observation has no interval, nor have several that are all alike, which show
/// nothing of further ones; none has no mean.
pub fn mean(values: &[f64]) -> Option<Estimate> {
    let n = values.len();
    let value = average(values)?;
    let spread = standard_deviation(values).filter(|spread| *spread > 0.0);
    let margin = spread.map(|s| t_quantile(n as f64 - 1.0) * s / (n as f64).sqrt());
    Some(Estimate { value, low: margin.map(|m| value - m), high: margin.map(|m| value + m), n })
}

/// Geometric mean of positive numbers, with the interval of Student's t for the mean of their logarithms; `None` of nothing.
pub fn geometric_mean(values: &[f64]) -> Option<Estimate> {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    Some(mean(&logs)?.map(f64::exp))
}

/// Standard deviation (n − 1), 0 where they are alike but for rounding; `None` for fewer than two observations: one run
/// has no deviation.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let centre = average(values)?;
    let squares: f64 = values.iter().map(|x| (x - centre).powi(2)).sum();
    let largest = values.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let found = (squares / (values.len() as f64 - 1.0)).sqrt();
    Some(if found <= ROUNDING * largest { 0.0 } else { found })
}

/// Standard error of the mean, in the values' unit: lm-evaluation-harness's `mean_stderr`, the deviation (n − 1) over
/// √n. `None` for fewer than two observations.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    Some(standard_deviation(values)? / (values.len() as f64).sqrt())
}

/// Standard error of a mean over groups that is weighted by their sizes, from each group's own (size, error):
/// lm-evaluation-harness's `pooled_sample_stderr`, for MMLU and its like. It takes the groups' means to be alike.
/// `None` without groups, or if each has one row.
pub fn pooled_error(groups: &[(usize, f64)]) -> Option<f64> {
    let rows: usize = groups.iter().map(|(size, _)| size).sum();
    let freedom = rows.checked_sub(groups.len()).filter(|freedom| *freedom > 0)? as f64;
    let squares = |(size, error): &(usize, f64)| (*size as f64 - 1.0) * error * error * *size as f64;
    Some((groups.iter().map(squares).sum::<f64>() / freedom / rows as f64).sqrt())
}

/// Standard deviation with its chi-squared interval, which for three runs is wide: that is the truth. Runs that are all
/// alike have none.
pub fn deviation(values: &[f64]) -> Option<Estimate> {
    let value = standard_deviation(values)?;
    let freedom = values.len() as f64 - 1.0;
    let law = ChiSquared::new(freedom).ok()?;
    let of = |p: f64| value * (freedom / law.inverse_cdf(p)).sqrt();
    let end = |p: f64| Some(of(p)).filter(|x| x.is_finite() && value > 0.0);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some(Estimate { value, low: end(1.0 - tail), high: end(tail), n: values.len() })
}

/// Quantile `q` of counted times, in seconds, with the interval between two order statistics.
///
/// The value is that of the nearest rank. The interval makes no assumption about the distribution: the number of
/// observations below the true quantile is binomial (David and Nagaraja, *Order Statistics*, section 7.1). Where there are
/// too few to bound the quantile on one side (p99 of 200 requests), that side is `None`. Requests that queue behind one
/// another are not independent: under load the interval is too narrow.
pub fn quantile(times: &Histogram, q: f64) -> Option<Estimate> {
    let (value, n) = (times.quantile(q)?, times.count());
    let law = Binomial::new(q, n).ok()?;
    let tail = (1.0 - CONFIDENCE) / 2.0;
    // X(l) <= quantile <= X(u), 1-based, with P(Bin < l) <= tail and P(Bin < u) >= 1 - tail; rank 0 stands for no bound.
    let lower = last_below(n, |rank| law.cdf(rank - 1) <= tail);
    let upper = last_below(n, |rank| law.cdf(rank - 1) < 1.0 - tail) + 1;
    let at = |rank: u64| (1..=n).contains(&rank).then(|| times.at_rank(rank)).flatten();
    Some(Estimate { value, low: at(lower), high: at(upper), n: n as usize })
}

/// The last rank of 1 to `n` that is fine, where all before it are; 0 if none is.
fn last_below(n: u64, fine: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fine(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// Quantile `q` of values that already stand in rising order.
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    Some(sorted[below] * (1.0 - share) + sorted[above] * share)
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::SplitMix;
    use super::*;

    fn counted(seconds: impl Iterator<Item = f64>) -> Histogram {
        let mut histogram = Histogram::default();
        seconds.for_each(|seconds| histogram.record(seconds));
        histogram
    }

    #[test]
    fn one_observation_has_a_value_and_no_interval() {
        let one = mean(&[3.0]).unwrap();
        assert_eq!((one.value, one.low, one.high, one.n), (3.0, None, None, 1));
        assert!(mean(&[]).is_none() && standard_deviation(&[3.0]).is_none() && deviation(&[3.0]).is_none());
    }

    #[test]
    fn observations_that_are_all_alike_promise_nothing() {
        let alike = [0.81 - 0.79, 0.83 - 0.81, 0.85 - 0.83];
        let (centre, spread) = (mean(&alike).unwrap(), deviation(&alike).unwrap());
        assert_eq!((centre.low, centre.high, centre.n), (None, None, 3));
        assert_eq!((spread.value, spread.low, spread.high), (0.0, None, None));
    }

    #[test]
    fn the_t_interval_is_the_textbook_one() {
        let e = mean(&[1.0, 2.0, 3.0]).unwrap();
        assert!((e.margin().unwrap() - 4.3027 / 3f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn too_few_requests_leave_p99_open_above() {
        let values = counted((1..=200).map(|ms| f64::from(ms) / 1e3));
        let near = |found: Option<f64>, rank: f64| (found.unwrap() * 1e3 - rank).abs() < 0.1;
        let p50 = quantile(&values, 0.5).unwrap();
        // For n = 200 the tables give the 86th and the 115th.
        assert!(near(Some(p50.value), 100.0) && near(p50.low, 86.0) && near(p50.high, 115.0), "{p50:?}");
        let p99 = quantile(&values, 0.99).unwrap();
        assert!(p99.high.is_none() && near(p99.low, 195.0), "{p99:?}");
        assert!(quantile(&Histogram::default(), 0.5).is_none());
        let small = quantile(&counted([1.0].into_iter()), 0.5).unwrap();
        assert_eq!((small.low, small.high), (None, None));
    }

    #[test]
    fn quantile_intervals_cover_the_true_quantile() {
        let mut random = SplitMix::new(3);
        let covered = (0..1000)
            .filter(|_| {
                let draws = counted((0..400).map(|_| random.uniform()));
                let e = quantile(&draws, 0.95).unwrap();
                e.low.unwrap() <= 0.95 && 0.95 <= e.high.unwrap()
            })
            .count();
        assert!((930..=980).contains(&covered), "{covered} of 1000");
    }

    #[test]
    fn t_intervals_cover_the_true_mean() {
        let mut random = SplitMix::new(4);
        let covered = (0..4000)
            .filter(|_| {
                let e = mean(&[random.normal(), random.normal(), random.normal()]).unwrap();
                e.low.unwrap() <= 0.0 && 0.0 <= e.high.unwrap()
            })
            .count();
        assert!((3720..=3880).contains(&covered), "{covered} of 4000");
    }
}
