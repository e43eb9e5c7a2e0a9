//! Q5_1: blocks of 32, `d q + m` with an f16 scale d, the least number m in f16 and 5-bit q.
//!
//! Layout of a block (24 bytes): d, m, then 20 bytes of q as in Q5_0.

use super::q5_0::five_bits;
#[cfg(target_arch = "x86_64")]
use super::turned::{Nibbles, Turned, Words};
use super::{Storage, f16};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

const LEN: usize = 32;
const BYTES: usize = 24;

pub(super) struct Q5_1;

impl Storage for Q5_1 {
    fn name(&self) -> &'static str {
        "q5_1"
    }

    fn block_len(&self) -> usize {
        LEN
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(BYTES)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        // One call per block, as in Q4_0.
        let blocks = &bytes.as_chunks().0[first..];
        blocks.iter().zip(out.as_chunks_mut().0).for_each(|(block, out)| widen(level, block, out));
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let block = &bytes[BYTES * (i / LEN)..][..BYTES];
        f16::F16.at(block, 0) * f32::from(five_bits(&block[4..], i % LEN)) + f16::F16.at(block, 1)
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Q5_1>() })
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Q5_1 {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = (Nibbles<V>, V::Word, V);

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let place = |i: usize| Self::place(positions[i], number);
        unsafe {
            let [scales, fifth, ..] = V::turned(bytes, place);
            let q = V::turned(bytes, |i| place(i) + 8);
            (Nibbles::new(q, V::half(scales)), fifth, V::half(V::shr(scales, 16)))
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>((dq, fifth, m): &Self::Block<V>, i: usize) -> V {
        unsafe { dq.scaled_with_fifth(i, *fifth, 0).add(*m) }
    }
}

simd_fn! {
    fn widen(block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let [d0, d1, m0, m1, h0, h1, h2, h3, q @ ..] = block;
        let (d, m) = (f16::one([*d0, *d1]), f16::one([*m0, *m1]));
        let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        let (lower, upper) = out.split_at_mut(LEN / 2);
        for (i, ((l, u), q)) in lower.iter_mut().zip(upper).zip(q).enumerate() {
            let (low, high) = (fifth >> i & 1, fifth >> (i + 16) & 1);
            *l = d * ((q & 15) as i32 + 16 * low as i32) as f32 + m;
            *u = d * ((q >> 4) as i32 + 16 * high as i32) as f32 + m;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::elements::Format;
    use crate::elements::tests::check_golden_blocks;

    /// `gguf.quants.dequantize` of gguf 0.19 on the same bytes.
    #[test]
    fn golden() {
        let some = [
            (0, 0.0050725937),
            (1, 0.025801659),
            (17, 0.0114507675),
            (31, 0.014639854),
            (32, 0.0092020035),
            (500, 0.028319359),
        ];
        check_golden_blocks(Format::Q5_1, &[0, 2], 0x943b_a048_12d4_8a42, &some);
    }
}
