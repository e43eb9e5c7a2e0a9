//! Q5_0: blocks of 32, `d (q - 16)` with an f16 scale d and 5-bit q.
//!
//! Layout of a block (22 bytes): d, 4 bytes of which bit i is the fifth bit of element i, then 16 bytes as in Q4_0: the
//! lower half of byte i belongs to element i, the upper half to element i + 16.

#[cfg(target_arch = "x86_64")]
use super::turned::{Nibbles, Turned, Words};
use super::{Storage, f16};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

const LEN: usize = 32;
const BYTES: usize = 22;

pub(super) struct Q5_0;

impl Storage for Q5_0 {
    fn name(&self) -> &'static str {
        "q5_0"
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
        f16::F16.at(block, 0) * (f32::from(five_bits(&block[2..], i % LEN)) - 16.0)
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Q5_0>() })
    }
}

/// Element `i` of 4 bytes of fifth bits and 16 bytes of lower bits, plainly.
pub(super) fn five_bits(packed: &[u8], i: usize) -> u8 {
    let four = packed[4 + i % 16] >> (if i < 16 { 0 } else { 4 }) & 15;
    four | (packed[i / 8] >> (i % 8) & 1) << 4
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Q5_0 {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = (Nibbles<V>, V::Word);

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let place = |i: usize| Self::place(positions[i], number);
        unsafe {
            let [scale, ..] = V::turned(bytes, place);
            let [fifth, ..] = V::turned(bytes, |i| place(i) + 2);
            (Nibbles::new(V::turned(bytes, |i| place(i) + 6), V::half(scale)), fifth)
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>((dq, fifth): &Self::Block<V>, i: usize) -> V {
        unsafe { dq.scaled_with_fifth(i, *fifth, 16) }
    }
}

simd_fn! {
    fn widen(block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let [low, high, h0, h1, h2, h3, q @ ..] = block;
        let d = f16::one([*low, *high]);
        let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        let (lower, upper) = out.split_at_mut(LEN / 2);
        for (i, ((l, u), q)) in lower.iter_mut().zip(upper).zip(q).enumerate() {
            let (low, high) = (fifth >> i & 1, fifth >> (i + 16) & 1);
            *l = d * ((q & 15) as i32 + 16 * low as i32 - 16) as f32;
            *u = d * ((q >> 4) as i32 + 16 * high as i32 - 16) as f32;
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
            (0, 0.0),
            (1, 0.003189087),
            (17, -0.017539978),
            (31, 0.023918152),
            (32, -0.0028762817),
            (500, 0.032226562),
        ];
        check_golden_blocks(Format::Q5_0, &[0], 0xb569_c197_6952_326a, &some);
    }
}
