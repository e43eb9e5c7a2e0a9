//! Q2_K: blocks of 256 in sixteen parts of 16, `d s q - e m` with f16 scales d and e of the block, 4-bit s and m of the
//! part, and 2-bit q.
//!
//! Layout of a block (84 bytes): 16 bytes of s (lower half) and m (upper half), for each half of the block 32 bytes of
//! q, d, e. In a half of 128 elements, element i has its two bits in byte i % 32, the lowest for i < 32, and so on.

use super::{Storage, f16};
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 84;
/// Two parts: elements whose bits stand at the same place of their bytes.
const UNIT: usize = 32;

pub(super) struct Q2K;

impl Storage for Q2K {
    fn name(&self) -> &'static str {
        "q2_k"
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
        let (half, place) = (i % LEN / 128, i % 128);
        let q = block[16 + 32 * half + place % 32] >> (place / 32 * 2) & 3;
        let both = block[i % LEN / 16];
        let (d, e) = (f16::F16.at(block, 40), f16::F16.at(block, 41));
        d * f32::from(both & 15) * f32::from(q) - e * f32::from(both >> 4)
    }
}

simd_fn! {
    fn widen(blocks: &[[u8; BYTES]], first: usize, out: &mut [f32]) {
        for (i, out) in out.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let (block, eighth) = (&blocks[(first + i) / 8], (first + i) % 8);
            let (d, e) = (f16::one([block[80], block[81]]), f16::one([block[82], block[83]]));
            let (q, shift) = (&block[16 + eighth / 4 * 32..][..32], eighth % 4 * 2);
            for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let both = block[2 * eighth + part];
                let (s, m) = (d * (both & 15) as f32, e * (both >> 4) as f32);
                for (o, q) in out.iter_mut().zip(&q[16 * part..][..16]) {
                    *o = s * (q >> shift & 3) as f32 - m;
                }
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
            (0, -0.013092041),
            (33, 0.054149628),
            (100, -0.009819031),
            (255, 0.04171753),
            (256, -0.010087013),
            (4000, 0.027161121),
        ];
        check_golden_blocks(Format::Q2K, &[80, 82], 0x8d18_463d_7da2_91c9, &some);
    }
}
