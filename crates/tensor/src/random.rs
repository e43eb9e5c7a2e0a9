//! Random numbers that are functions of a key, a stream and a counter: no order of calls, no number
//! of threads and no interruption changes them.

pub use tenfold_kernels::random::unit_f64;
use tenfold_kernels::random::{fill_normal, fill_uniform, philox};

/// A key for one purpose, derived from a seed and words that name the purpose.
pub fn key(seed: u64, purpose: &str) -> u64 {
    let mut key = seed;
    for chunk in purpose.as_bytes().chunks(8) {
        let word = chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        key = mix(key, word);
    }
    mix(key, purpose.len() as u64)
}

/// One key out of two numbers.
pub fn mix(key: u64, number: u64) -> u64 {
    let [low, high, ..] = philox(key, (number, 0x7e4f_01d5));
    u64::from(high) << 32 | u64::from(low)
}

/// `len` numbers from the normal distribution with mean 0 and the given deviation.
pub fn normal(key: u64, len: usize, deviation: f32) -> Vec<f32> {
    let mut numbers = vec![0.0; len];
    fill_normal(key, 0, &mut numbers);
    numbers.iter_mut().for_each(|x| *x *= deviation);
    numbers
}

/// `len` numbers from the uniform distribution over -bound .. bound.
pub fn uniform(key: u64, len: usize, bound: f32) -> Vec<f32> {
    let mut numbers = vec![0.0; len];
    fill_uniform(key, 0, &mut numbers);
    numbers.iter_mut().for_each(|x| *x = (*x * 2.0 - 1.0) * bound);
    numbers
}

/// The numbers 0..n in an order that the key decides (Fisher-Yates).
pub fn permutation(key: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let [low, high, ..] = philox(key, (last as u64, 0));
        // Multiply-shift maps 64 random bits to 0..=last with a bias below 2^-32.
        let random = u64::from(high) << 32 | u64::from(low);
        order.swap(last, ((u128::from(random) * (last as u128 + 1)) >> 64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once_and_depends_on_the_key() {
        let (a, b) = (permutation(1, 100), permutation(2, 100));
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_ne!(a, b);
        assert_eq!(a, permutation(1, 100));
    }

    #[test]
    fn keys_differ_by_seed_and_by_purpose() {
        let keys = [key(0, "shuffle"), key(1, "shuffle"), key(0, "dropout"), key(0, "shuffle\0")];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn numbers_have_the_moments_of_their_distribution() {
        let x = normal(3, 100_000, 2.0);
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64 - mean * mean;
        assert!(mean.abs() < 0.03 && (variance - 4.0).abs() < 0.1, "{mean} {variance}");
        let u = uniform(3, 10_000, 0.5);
        assert!(
            u.iter().all(|u| u.abs() <= 0.5) && u.iter().any(|u| *u < -0.45) && u.iter().any(|u| *u > 0.45)
        );
    }
}
