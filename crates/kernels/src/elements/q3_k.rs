//! Q3_K: blocks of 256 in sixteen parts of 16, `d (s - 32) (q - 4)` with an f16 scale d of the block, 6-bit s of the
//! part and 3-bit q.
//!
//! Layout of a block (110 bytes): 32 bytes of third bits, for each half of the block 32 bytes of the lower two bits, 12
//! bytes of s, d. In half h of 128 elements, element i has its two bits in byte i % 32, the lowest for i < 32, and so on,
//! and its third bit in byte i % 32 as bit 4 h + i / 32. Of part p, s has its lower four bits in byte p % 8 (the lower
//! half for p < 8) and its upper two in byte 8 + p % 4, the lowest for p < 4, and so on.

use super::{Storage, f16};
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 110;
/// Two parts: elements whose bits stand at the same place of their bytes.
const UNIT: usize = 32;

pub(super) struct Q3K;

impl Storage for Q3K {
    fn name(&self) -> &'static str {
        "q3_k"
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
        let (half, place, part) = (i % LEN / 128, i % 128, i % LEN / 16);
        let two = block[32 + 32 * half + place % 32] >> (place / 32 * 2) & 3;
        let third = block[place % 32] >> (4 * half + place / 32) & 1;
        let lower = if part < 8 { block[96 + part] & 15 } else { block[96 + part - 8] >> 4 };
        let upper = block[104 + part % 4] >> (part / 4 * 2) & 3;
        let s = f32::from(lower | upper << 4) - 32.0;
        f16::F16.at(block, 54) * s * (f32::from(two | third << 2) - 4.0)
    }
}

simd_fn! {
    fn widen(blocks: &[[u8; BYTES]], first: usize, out: &mut [f32]) {
        for (i, out) in out.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let (block, eighth) = (&blocks[(first + i) / 8], (first + i) % 8);
            let d = f16::one([block[108], block[109]]);
            let (two, shift) = (&block[32 + eighth / 4 * 32..][..32], eighth % 4 * 2);
            for (number, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let part = 2 * eighth + number;
                let lower = block[96 + part % 8] >> (part / 8 * 4) & 15;
                let upper = block[104 + part % 4] >> (part / 4 * 2) & 3;
                let scale = d * ((lower | upper << 4) as i32 - 32) as f32;
                let (two, third) = (&two[16 * number..][..16], &block[16 * number..][..16]);
                for ((o, two), third) in out.iter_mut().zip(two).zip(third) {
                    let q = two >> shift & 3 | (third >> eighth & 1) << 2;
                    *o = scale * (q as i32 - 4) as f32;
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
            (0, 0.20679474),
            (33, -0.30329895),
            (100, -0.0),
            (255, 0.0),
            (256, -0.0013780594),
            (4000, 0.009260178),
        ];
        check_golden_blocks(Format::Q3K, &[108], 0x5b53_ac71_da09_1158, &some);
    }
}
