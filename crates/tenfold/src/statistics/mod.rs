//! Estimates with intervals, and which differences the data can carry.
//!
//! Everything here is a pure function of its input: the random numbers of the bootstrap start from a
//! fixed seed, so the same evidence always gives the same figures. All intervals are at 95 %.

mod agreement;
mod bootstrap;
mod compare;
#[cfg(test)]
mod coverage;
mod discordance;
mod effect;
mod exchanged;
mod fit;
mod jackknife;
mod permutation;
mod picked;
mod random;
mod resampled;
mod sample;
mod seeds;
mod student;
mod verdict;
mod weighted;

pub use agreement::{cohens_kappa, fleiss_kappa, raw_agreement};
pub use bootstrap::{Rows, Runs, combined, difference, ratio, score};
pub use compare::{Comparison, Pair, compare, compare_with_constant, groups, holm};
pub use discordance::{Discordance, discordance};
pub use effect::{cliffs_delta, cohens_d, cohens_h, superiority};
pub use exchanged::swap_sums;
pub use fit::{Line, line};
pub use jackknife::contributions;
pub use permutation::{Permutation, Permuted, regroup_seeds, swap_answers, swap_rows};
pub(crate) use picked::Picked;
pub use random::SplitMix;
pub use resampled::Resampled;
pub use sample::{
    deviation, geometric_mean, mean, pooled_error, quantile, quantile_of_sorted, standard_deviation,
    standard_error,
};
pub use seeds::{Basis, FEW, seeds_for};
pub use verdict::{Judgement, Verdict};

use serde::Serialize;
use student::{t_p_value, t_quantile, t_quantile_at};

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// What differs by no more than this part of its size differs by rounding.
const ROUNDING: f64 = 1e-12;

/// A figure, the interval that holds it, and how many observations it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure itself.
    pub value: f64,
    /// Lower end of the 95 % interval; `None` where the observations cannot bound it.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval; `None` where the observations cannot bound it.
    pub high: Option<f64>,
    /// Independent observations behind it: seeds, draws, batches, requests.
    pub n: usize,
}

impl Estimate {
    /// A figure that is counted, not sampled, or observed only once: it has no interval.
    pub fn exact(value: f64) -> Estimate {
        Estimate { value, low: None, high: None, n: 1 }
    }

    /// Half the width of the interval, where there is one.
    pub fn margin(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }

    /// The same estimate in another unit; a negative or decreasing `map` turns the interval round.
    pub fn map(&self, map: impl Fn(f64) -> f64) -> Estimate {
        let (mut low, mut high) = (self.low.map(&map), self.high.map(&map));
        let falling = match (self.low, self.high) {
            (Some(a), Some(b)) => map(a) > map(b),
            (Some(a), None) => map(a) > map(self.value),
            (None, Some(b)) => map(self.value) > map(b),
            (None, None) => false,
        };
        if falling {
            std::mem::swap(&mut low, &mut high);
        }
        Estimate { value: map(self.value), low, high, n: self.n }
    }

    /// True if every number in it is finite.
    pub fn is_finite(&self) -> bool {
        self.value.is_finite() && self.low.is_none_or(f64::is_finite) && self.high.is_none_or(f64::is_finite)
    }
}

/// Quantile of the standard normal distribution.
fn normal_quantile(p: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().inverse_cdf(p)
}

/// Share of the standard normal distribution below `x`.
fn normal_share(x: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().cdf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decreasing_map_turns_the_interval_round() {
        let e = Estimate { value: 2.0, low: Some(1.0), high: Some(4.0), n: 3 }.map(|x| 1.0 / x);
        assert_eq!((e.low, e.value, e.high), (Some(0.25), 0.5, Some(1.0)));
        let open = Estimate { value: 2.0, low: Some(1.0), high: None, n: 3 }.map(|x| -x);
        assert_eq!((open.low, open.high), (None, Some(-1.0)));
    }
}
