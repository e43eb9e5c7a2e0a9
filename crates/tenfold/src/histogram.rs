//! Times counted in buckets of three significant digits, from a microsecond to an hour: an HDR histogram, kept sparse.
//!
//! The buckets are those of G. Tene's HdrHistogram: below 2,048 µs each microsecond has its own; above, each power of two
//! is cut into 1,024. Only those that hold something are kept, so a record stores the histogram as it is.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Buckets of each power of two; half of a power of ten to the third digit, rounded up to a power of two.
const HALF: u32 = 10;
/// The longest time that is told apart: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// How often each time was met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// Counts by the lowest microsecond of their bucket.
    counts: BTreeMap<u64, u64>,
}

impl Histogram {
    /// Counts a time; below a microsecond it is one, above an hour an hour.
    pub fn record(&mut self, seconds: f64) {
        // `as` saturates, and makes 0 of what is no number.
        let microseconds = ((seconds * 1e6).round() as u64).clamp(1, LONGEST);
        *self.counts.entry(lowest(microseconds)).or_default() += 1;
    }

    /// Counts all times of another one, too.
    pub fn add(&mut self, other: &Histogram) {
        for (lowest, count) in &other.counts {
            let own = self.counts.entry(*lowest).or_default();
            *own = own.saturating_add(*count);
        }
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Seconds at the middle of each bucket and how many fell there, in rising order.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> {
        self.counts.iter().map(|(lowest, count)| (middle(*lowest), *count))
    }

    /// Seconds of the `rank`-th shortest time, the first of rank 1. `None` if there are fewer.
    pub fn at_rank(&self, rank: u64) -> Option<f64> {
        let mut seen = 0u64;
        self.buckets()
            .find(|(_, count)| {
                seen = seen.saturating_add(*count);
                seen >= rank.max(1)
            })
            .map(|(seconds, _)| seconds)
    }

    /// Seconds that a share `q` of the times keeps to: the nearest rank. `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.at_rank((q * self.count() as f64).ceil() as u64)
    }

    /// Mean seconds, to half a bucket. `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.buckets().map(|(s, n)| s * n as f64).sum::<f64>() / count as f64)
    }

    /// Seconds of the longest time, to half a bucket.
    pub fn max(&self) -> Option<f64> {
        self.buckets().next_back().map(|(seconds, _)| seconds)
    }
}

/// The bits of a number that its bucket leaves open.
fn open_bits(microseconds: u64) -> u32 {
    (u64::BITS - microseconds.leading_zeros()).saturating_sub(HALF + 1)
}

fn lowest(microseconds: u64) -> u64 {
    let open = open_bits(microseconds);
    microseconds >> open << open
}

fn middle(lowest: u64) -> f64 {
    (lowest as f64 + ((1u64 << open_bits(lowest)) - 1) as f64 / 2.0) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenfold_tensor::random;

    #[test]
    fn buckets_and_ranks_are_those_of_the_reference_implementation() {
        let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, LONGEST, 3).unwrap();
        let mut ours = Histogram::default();
        for number in 0..20_000 {
            // From a microsecond to an hour, as many in each decade.
            let share = random::mix(7, number) as f64 / u64::MAX as f64;
            let microseconds = 10f64.powf(share * 9.556).round() as u64;
            theirs.record(microseconds).unwrap();
            ours.record(microseconds as f64 / 1e6);
            assert_eq!(lowest(microseconds), theirs.lowest_equivalent(microseconds));
        }
        assert_eq!(ours.count(), theirs.len());
        for q in [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let found = (ours.quantile(q).unwrap() * 1e6) as u64;
            assert!(theirs.equivalent(found, theirs.value_at_quantile(q)), "{q}: {found}");
        }
        assert!((ours.mean().unwrap() * 1e6 / theirs.mean() - 1.0).abs() < 1e-3);
        assert!(theirs.equivalent((ours.max().unwrap() * 1e6) as u64, theirs.max()));
    }

    #[test]
    fn every_time_is_kept_to_a_thousandth_and_nothing_falls_out() {
        for seconds in [1e-6, 0.002_047, 0.002_049, 0.033_333, 1.0, 59.9, 3599.0] {
            let mut one = Histogram::default();
            one.record(seconds);
            assert!((one.max().unwrap() / seconds - 1.0).abs() < 1e-3, "{seconds}");
        }
        let mut all = Histogram::default();
        [f64::NAN, -1.0, 0.0, 1e9, f64::INFINITY].into_iter().for_each(|seconds| all.record(seconds));
        assert_eq!((all.count(), all.at_rank(3), all.at_rank(6)), (5, Some(1e-6), None));
        assert!((all.max().unwrap() / 3600.0 - 1.0).abs() < 1e-3);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn it_is_stored_sparse_and_reads_back() {
        let mut histogram = Histogram::default();
        [0.001, 0.001, 0.5].into_iter().for_each(|seconds| histogram.record(seconds));
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(text, r#"{"1000":2,"499968":1}"#);
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
    }
}
