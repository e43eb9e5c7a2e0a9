//! Q4_1: blocks of 32, `d q + m` with f16 scale d and least number m and 4-bit q.
//!
//! Layout of a block (20 bytes): d, m, then 16 bytes as in Q4_0.

#[cfg(target_arch = "x86_64")]
use super::turned::{Nibbles, Turned, Words};
use super::{Quantizer, Storage, by_blocks, f16};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::Level;

const LEN: usize = 32;
const BYTES: usize = 20;

pub(super) struct Q4_1;

impl Storage for Q4_1 {
    fn name(&self) -> &'static str {
        "q4_1"
    }

    fn block_len(&self) -> usize {
        LEN
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(BYTES)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        let (blocks, out) = (&bytes.as_chunks().0[first..], out.as_chunks_mut().0);
        match level {
            // SAFETY: a level above Scalar comes only from `detect`, which found its features on this machine.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::widen_512(blocks, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::widen_256(blocks, out) },
            _ => blocks.iter().zip(out).for_each(|(block, out)| widen(block, out)),
        }
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let block = &bytes[BYTES * (i / LEN)..][..BYTES];
        let q = block[4 + i % 16] >> (if i % LEN < 16 { 0 } else { 4 }) & 15;
        f16::F16.at(block, 0) * f32::from(q) + f16::F16.at(block, 1)
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Q4_1>() })
    }

    fn quantizer(&self) -> Option<Quantizer> {
        Some(|numbers| by_blocks(numbers, quantize))
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Q4_1 {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = (Nibbles<V>, V);

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let place = |i: usize| Self::place(positions[i], number);
        unsafe {
            let [scales, ..] = V::turned(bytes, place);
            let q = V::turned(bytes, |i| place(i) + 4);
            (Nibbles::new(q, V::half(scales)), V::half(V::shr(scales, 16)))
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>((dq, m): &Self::Block<V>, i: usize) -> V {
        unsafe { dq.scaled(i, 0).add(*m) }
    }
}

fn widen(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let [d0, d1, m0, m1, q @ ..] = block;
    let (d, m) = (f16::one([*d0, *d1]), f16::one([*m0, *m1]));
    let (lower, upper) = out.split_at_mut(LEN / 2);
    for ((l, u), q) in lower.iter_mut().zip(upper).zip(q) {
        *l = d * (q & 15) as f32 + m;
        *u = d * (q >> 4) as f32 + m;
    }
}

/// The processor's own widening of halves: in plain arithmetic it takes longer than all else of a block.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BYTES, LEN};
    use std::arch::x86_64::*;

    /// d and m, and the numbers' bytes, lower halves and upper ones.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn parts(block: &[u8; BYTES]) -> (__m128, [__m128i; 2]) {
        let [d0, d1, m0, m1, q @ ..] = block;
        let scales = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from_le_bytes([*d0, *d1, *m0, *m1])));
        // SAFETY: 16 bytes are read from 16.
        let q = unsafe { _mm_loadu_si128(q.as_ptr().cast()) };
        let low = _mm_set1_epi8(15);
        (scales, [_mm_and_si128(q, low), _mm_and_si128(_mm_srli_epi16::<4>(q), low)])
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
    pub(super) fn widen_512(blocks: &[[u8; BYTES]], out: &mut [[f32; LEN]]) {
        for (block, out) in blocks.iter().zip(out) {
            let (scales, halves) = parts(block);
            let (d, m) = (_mm512_broadcastss_ps(scales), _mm512_broadcastss_ps(_mm_movehdup_ps(scales)));
            for (q, out) in halves.into_iter().zip(out.as_chunks_mut::<16>().0) {
                let q = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(q));
                // SAFETY: 16 numbers are written to 16.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(_mm512_mul_ps(d, q), m)) };
            }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn widen_256(blocks: &[[u8; BYTES]], out: &mut [[f32; LEN]]) {
        for (block, out) in blocks.iter().zip(out) {
            let (scales, [lower, upper]) = parts(block);
            let (d, m) = (_mm256_broadcastss_ps(scales), _mm256_broadcastss_ps(_mm_movehdup_ps(scales)));
            let eights = [lower, _mm_srli_si128::<8>(lower), upper, _mm_srli_si128::<8>(upper)];
            for (q, out) in eights.into_iter().zip(out.as_chunks_mut::<8>().0) {
                let q = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q));
                // SAFETY: 8 numbers are written to 8.
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_add_ps(_mm256_mul_ps(d, q), m)) };
            }
        }
    }
}

/// As ggml does it: the least number becomes 0, the greatest 15; both figures are rounded only afterwards.
fn quantize(x: &[f32; LEN], block: &mut [u8; BYTES]) -> bool {
    let least = x.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (greatest - least) / 15.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let quantized = |x: f32| (((x - least) * inverse + 0.5) as u8).min(15);
    block[..2].copy_from_slice(&f16::narrow(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::narrow(least).to_le_bytes());
    for (i, q) in block[4..].iter_mut().enumerate() {
        *q = quantized(x[i]) | quantized(x[i + LEN / 2]) << 4;
    }
    f16::fits(d) && f16::fits(least) && x.iter().all(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::Format;
    use crate::elements::tests::{Golden, check_error};

    #[test]
    fn a_block_by_hand() {
        let mut x = [-1.0; LEN];
        (x[0], x[16], x[1], x[17]) = (14.0, 0.4, 2.0, 13.0);
        let mut block = [0; BYTES];
        assert!(quantize(&x, &mut block));
        assert_eq!(block[..7], [0x00, 0x3c, 0x00, 0xbc, 0x1f, 0xe3, 0x00]);
    }

    #[test]
    fn is_off_by_half_a_step_at_most() {
        // The scale and the least number are halves themselves.
        check_error(Format::Q4_1, LEN, |_, largest| largest / 15.0 + 3.0 * largest / 2048.0);
    }

    /// `gguf.quants.quantize` and `dequantize` of gguf 0.19.
    #[test]
    fn golden() {
        Golden {
            format: Format::Q4_1,
            first_bytes: "ae2f9cba63ba6cb6a583a00b3dccddfc5a4e8bf3",
            bytes: 0x19fa_1ca1_079e_17a8,
            numbers: 0x9bee_4ef4_47e9_be0a,
        }
        .check();
    }
}
