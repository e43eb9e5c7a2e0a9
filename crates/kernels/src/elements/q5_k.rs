//! Q5_K: blocks of 256 in eight parts of 32, `d s q - e m` as Q4_K, with 5-bit q.
//!
//! Layout of a block (176 bytes): d, e and 12 bytes of s and m as in Q4_K, then 32 bytes of which bit p of byte i is the
//! fifth bit of element i of part p, then the lower four bits as in Q4_K.

use super::q4_k::{scales, scales_by_definition};
use super::{Storage, f16};
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 176;
/// Two parts, which share their bytes.
const UNIT: usize = 64;

pub(super) struct Q5K;

impl Storage for Q5K {
    fn name(&self) -> &'static str {
        "q5_k"
    }

    fn block_len(&self) -> usize {
        LEN
    }

    fn unit(&self) -> usize {
        UNIT
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(BYTES)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        widen(level, bytes.as_chunks().0, first, out);
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let block = &bytes[BYTES * (i / LEN)..][..BYTES];
        let part = i % LEN / 32;
        let (s, m) = scales_by_definition(&block[4..16], part);
        let byte = block[48 + part / 2 * 32 + i % 32];
        let four = if part.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
        let q = four | (block[16 + i % 32] >> part & 1) << 4;
        let (d, e) = (f16::F16.at(block, 0), f16::F16.at(block, 1));
        d * f32::from(s) * f32::from(q) - e * f32::from(m)
    }
}

simd_fn! {
    fn widen(blocks: &[[u8; BYTES]], first: usize, out: &mut [f32]) {
        for (i, out) in out.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let (block, pair) = (&blocks[(first + i) / 4], (first + i) % 4);
            let (d, e) = (f16::one([block[0], block[1]]), f16::one([block[2], block[3]]));
            let [(s0, m0), (s1, m1)] = [scales(&block[4..16], 2 * pair), scales(&block[4..16], 2 * pair + 1)];
            let (s0, m0, s1, m1) = (d * s0, e * m0, d * s1, e * m1);
            let (even, odd) = out.split_at_mut(UNIT / 2);
            let (fifth, four) = (&block[16..48], &block[48 + 32 * pair..][..32]);
            for (((l, u), q), fifth) in even.iter_mut().zip(odd).zip(four).zip(fifth) {
                let fifth = fifth >> (2 * pair);
                *l = s0 * (q & 15 | (fifth & 1) << 4) as f32 - m0;
                *u = s1 * (q >> 4 | (fifth & 2) << 3) as f32 - m1;
            }
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
            (0, -0.051282883),
            (33, 1.8057928),
            (100, 0.34155273),
            (255, 0.79904747),
            (256, 0.41406012),
            (4000, 1.6794376),
        ];
        check_golden_blocks(Format::Q5K, &[0, 2], 0x492f_c36e_a3e6_3ee8, &some);
    }
}
