//! Counter-based random numbers, Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

use crate::parallel;
use crate::simd::{level, simd_fn};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Philox counters computed side by side; each gives four words.
const LANES: usize = 16;
/// Random words per step of the vector loop.
pub(crate) const BLOCK: usize = 4 * LANES;

/// The four random words at `counter` under `key`; both low half first.
pub fn philox(key: u64, counter: (u64, u64)) -> [u32; 4] {
    let mut c = [counter.0 as u32, (counter.0 >> 32) as u32, counter.1 as u32, (counter.1 >> 32) as u32];
    let mut k = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        let p0 = MULTIPLIERS[0] as u64 * c[0] as u64;
        let p1 = MULTIPLIERS[1] as u64 * c[2] as u64;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// Word `index` of `stream` under `key`.
pub(crate) fn word(key: u64, stream: u64, index: u64) -> u32 {
    philox(key, (index / 4, stream))[(index % 4) as usize]
}

/// Words `4 * first_counter ..` of `stream` under `key`, as [`word`] gives them one by one.
#[inline(always)]
pub(crate) fn words(key: u64, stream: u64, first_counter: u64, out: &mut [u32; BLOCK]) {
    let (mut c0, mut c1) = ([0u32; LANES], [0u32; LANES]);
    let (mut c2, mut c3) = ([stream as u32; LANES], [(stream >> 32) as u32; LANES]);
    for i in 0..LANES {
        let counter = first_counter.wrapping_add(i as u64);
        c0[i] = counter as u32;
        c1[i] = (counter >> 32) as u32;
    }
    let mut k = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        for i in 0..LANES {
            let p0 = MULTIPLIERS[0] as u64 * c0[i] as u64;
            let p1 = MULTIPLIERS[1] as u64 * c2[i] as u64;
            c0[i] = (p1 >> 32) as u32 ^ c1[i] ^ k[0];
            c1[i] = p1 as u32;
            c2[i] = (p0 >> 32) as u32 ^ c3[i] ^ k[1];
            c3[i] = p0 as u32;
        }
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    for i in 0..LANES {
        out[4 * i] = c0[i];
        out[4 * i + 1] = c1[i];
        out[4 * i + 2] = c2[i];
        out[4 * i + 3] = c3[i];
    }
}

/// The upper 24 bits as a number in [0, 1).
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The upper 53 bits as a number in [0, 1), a multiple of 2^-53: every such number comes with the same probability.
#[inline(always)]
pub fn unit_f64(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// Uniform number in [0, 1), a multiple of 2^-24.
pub fn uniform(key: u64, stream: u64, index: u64) -> f32 {
    unit(word(key, stream, index))
}

simd_fn! {
    fn uniform_blocks(key: u64, stream: u64, first_counter: u64, out: &mut [f32]) {
        let mut w = [0; BLOCK];
        for (i, o) in out.chunks_mut(BLOCK).enumerate() {
            words(key, stream, first_counter + (i * LANES) as u64, &mut w);
            for (o, w) in o.iter_mut().zip(&w) {
                *o = unit(*w);
            }
        }
    }
}

/// `out[i] = uniform(key, stream, i)`.
pub fn fill_uniform(key: u64, stream: u64, out: &mut [f32]) {
    let level = level();
    parallel::fill(out, |first, o| uniform_blocks(level, key, stream, (first / 4) as u64, o));
}

/// Standard normal numbers by Box and Muller's transform (1958) of neighbouring uniform ones.
///
/// `out[i]` depends on `key`, `stream` and `i` alone, not on the length of `out`.
pub fn fill_normal(key: u64, stream: u64, out: &mut [f32]) {
    parallel::fill(out, |first, o| {
        for (i, pair) in o.chunks_mut(2).enumerate() {
            let index = (first + 2 * i) as u64;
            // 1 - u lies in (0, 1], so the logarithm is finite.
            let radius = (-2.0 * (1.0 - uniform(key, stream, index) as f64).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * uniform(key, stream, index + 1) as f64).sin_cos();
            pair[0] = (radius * cos) as f32;
            if let Some(second) = pair.get_mut(1) {
                *second = (radius * sin) as f32;
            }
        }
    });
}

/// Plain loops.
pub mod reference {
    /// See [`super::fill_uniform`].
    pub fn fill_uniform(key: u64, stream: u64, out: &mut [f32]) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = super::uniform(key, stream, i as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_bits_on_any_threads, on_every_level};

    /// The known answers published with the paper's Random123 library (`kat_vectors`).
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox(0, (0, 0)), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u64::MAX;
        assert_eq!(philox(ones, (ones, ones)), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = (0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e);
        let key = 0x299f_31d0_a409_3822;
        assert_eq!(philox(key, counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn bits_become_numbers_from_0_to_below_1() {
        assert_eq!((unit_f64(0), unit_f64(1 << 63), unit_f64(0x7ff)), (0.0, 0.5, 0.0));
        assert_eq!((unit_f64(u64::MAX), unit_f64(0x800)), (1.0 - f64::EPSILON / 2.0, f64::EPSILON / 2.0));
        // The division that stood here before gives the same bits: both are exact.
        for number in 0..10_000u64 {
            let bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            assert_eq!(unit_f64(bits), (bits >> 11) as f64 / (1u64 << 53) as f64);
        }
    }

    #[test]
    fn filling_matches_the_single_numbers() {
        on_every_level(|| {
            for n in [0, 1, 63, 64, 65, 40_000] {
                let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
                fill_uniform(7, u64::MAX - 3, &mut a);
                reference::fill_uniform(7, u64::MAX - 3, &mut b);
                assert_eq!(a, b);
            }
        });
    }

    #[test]
    fn normal_numbers_have_normal_moments() {
        let mut x = vec![0.0; 200_000];
        fill_normal(3, 5, &mut x);
        let n = x.len() as f64;
        let moment = |p: i32| x.iter().map(|v| (*v as f64).powi(p)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.01 && moment(3).abs() < 0.04, "{} {}", moment(1), moment(3));
        assert!((moment(2) - 1.0).abs() < 0.015 && (moment(4) - 3.0).abs() < 0.1);
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let mut x = vec![0.0; 100_001];
            fill_uniform(1, 2, &mut x);
            let mut y = vec![0.0; 100_001];
            fill_normal(1, 2, &mut y);
            x.extend(y);
            x
        });
    }
}
