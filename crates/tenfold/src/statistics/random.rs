//! Deterministic random numbers for drawing anew: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

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
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut random = SplitMix::new(1);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
