//! Deterministic random numbers for drawing anew: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

use statrs::function::factorial::ln_factorial;
use tenfold_tensor::random::unit_f64;

/// A small generator whose whole state is one counter.
#[derive(Debug, Clone)]
pub struct SplitMix {
    state: u64,
}

impl SplitMix {
    /// A generator that gives the same numbers for the same seed, everywhere.
    pub fn new(seed: u64) -> SplitMix {
        SplitMix { state: seed }
    }

    /// The generator of one of many draws: a function of the two numbers alone, so that draws may be made in any
    /// order, and two methods meet the same draw of rows.
    pub fn stream(seed: u64, index: u64) -> SplitMix {
        SplitMix::new(SplitMix::new(seed ^ SplitMix::new(index).bits()).bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        unit_f64(self.bits())
    }

    /// Uniform in `0..n`; the bias of the multiplication is below 2⁻⁴⁰ for any `n` met here.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// How many of `n` come out that way if each does with probability `p`, 0 to 1. By the gaps between them where few do
    /// (Devroye, *Non-Uniform Random Variate Generation*, 1986, X.4.3), else by rejection (BTRS: Hörmann, *Journal of
    /// Statistical Computation and Simulation* 46, 1993).
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        if n as f64 * p < 10.0 { self.binomial_by_gaps(n, p) } else { self.binomial_by_rejection(n, p) }
    }

    fn binomial_by_gaps(&mut self, n: u64, p: f64) -> u64 {
        let (mut met, mut place) = (0, 0.0);
        loop {
            place += ((1.0 - self.uniform()).ln() / (-p).ln_1p()).floor() + 1.0;
            // Without any chance the gap is no number.
            if place.is_nan() || place > n as f64 {
                return met;
            }
            met += 1;
        }
    }

    fn binomial_by_rejection(&mut self, n: u64, p: f64) -> u64 {
        let (count, odds) = (n as f64, p / (1.0 - p));
        let deviation = (count * p * (1.0 - p)).sqrt();
        let b = 1.15 + 2.53 * deviation;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let (centre, alpha) = (count * p + 0.5, (2.83 + 5.1 / b) * deviation);
        let mode = ((count + 1.0) * p).floor() as u64;
        let ways = |k: u64| ln_factorial(k) + ln_factorial(n - k);
        loop {
            let (u, v) = (self.uniform() - 0.5, self.uniform());
            let room = 0.5 - u.abs();
            let k = ((2.0 * a / room + b) * u + centre).floor();
            if !(0.0..=count).contains(&k) {
                continue;
            }
            if room >= 0.07 && v <= 0.92 - 4.2 / b {
                return k as u64;
            }
            let height = (v * alpha / (a / (room * room) + b)).ln();
            if height <= ways(mode) - ways(k as u64) + (k - mode as f64) * odds.ln() {
                return k as u64;
            }
        }
    }

    /// Student's t with a whole number of degrees of freedom, at least one.
    pub fn student(&mut self, freedom: usize) -> f64 {
        self.normal() * self.student_scale(freedom)
    }

    /// What makes Student's t of a normal number, or of several that share one estimate of the deviation.
    pub fn student_scale(&mut self, freedom: usize) -> f64 {
        let square: f64 = (0..freedom).map(|_| self.normal().powi(2)).sum();
        (freedom as f64 / square).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // First outputs for seed 1234567 of the reference implementation.
        let mut random = SplitMix::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn streams_side_by_side_have_nothing_in_common() {
        let first: Vec<u64> = (0..1000).map(|index| SplitMix::stream(7, index).bits()).collect();
        let ones: u32 = first.windows(2).map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
        assert!((f64::from(ones) / 999.0 - 32.0).abs() < 0.5);
        assert_eq!(SplitMix::stream(7, 3).bits(), first[3]);
        assert_ne!(SplitMix::stream(8, 3).bits(), first[3]);
    }

    #[test]
    fn binomial_numbers_have_the_binomial_law() {
        use statrs::distribution::{Binomial, DiscreteCDF};
        let mut random = SplitMix::new(8);
        for (n, p) in [(20, 0.1), (20, 0.97), (60, 0.4), (1_000_000, 0.001_024), (5000, 0.5)] {
            let law = Binomial::new(p, n).unwrap();
            let mut draws: Vec<u64> = (0..20_000).map(|_| random.binomial(n, p)).collect();
            draws.sort_unstable();
            // Kolmogorov's distance: 0.0138 is left behind once in a thousand times.
            for part in 1..20 {
                let value = draws[part * 1000];
                let found = draws.partition_point(|x| *x <= value) as f64 / 20_000.0;
                assert!((found - law.cdf(value)).abs() < 0.0138, "{n} {p}: {value} {found}");
            }
        }
        assert_eq!([random.binomial(9, 0.0), random.binomial(9, 1.0), random.binomial(0, 0.3)], [0, 9, 0]);
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut random = SplitMix::new(1);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
