//! Q6_K: blocks of 256 in sixteen parts of 16, `d s (q - 32)` with an f16 scale d of the block, an 8-bit scale s of the
//! part and 6-bit q.
//!
//! Layout of a block (210 bytes): for each half of the block 64 bytes of the lower four bits, then for each half 32
//! bytes of the upper two, 16 × s, d. In a half of 128 elements, element i has its four bits in byte i % 64, the lower
//! half for i < 64, and its two bits in byte i % 32, the lowest for i < 32, and so on.

use super::{Storage, f16};
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 210;
/// Half of a half, which shares its bits' places.
const UNIT: usize = 64;

pub(super) struct Q6K;

impl Storage for Q6K {
    fn name(&self) -> &'static str {
        "q6_k"
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
        let four = block[64 * half + place % 64] >> (place / 64 * 4) & 15;
        let two = block[128 + 32 * half + place % 32] >> (place / 32 * 2) & 3;
        let s = block[192 + i % LEN / 16] as i8;
        f16::F16.at(block, 104) * f32::from(s) * (f32::from(four | two << 4) - 32.0)
    }
}

simd_fn! {
    fn widen(blocks: &[[u8; BYTES]], first: usize, out: &mut [f32]) {
        for (i, out) in out.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let (block, quarter) = (&blocks[(first + i) / 4], (first + i) % 4);
            let (half, upper) = (quarter / 2, quarter % 2 * 4);
            let d = f16::one([block[208], block[209]]);
            let four = &block[64 * half..][..64];
            let two = &block[128 + 32 * half..][..32];
            let s = &block[192 + 4 * quarter..][..4];
            for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * (s[part] as i8) as f32;
                let (four, two) = (&four[16 * part..][..16], &two[part % 2 * 16..][..16]);
                let shift = upper + part / 2 * 2;
                for ((o, four), two) in out.iter_mut().zip(four).zip(two) {
                    let q = four >> upper & 15 | (two >> shift & 3) << 4;
                    *o = scale * (q as i32 - 32) as f32;
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
            (0, 5.333313),
            (33, 1.7368355),
            (100, -6.175415),
            (255, 0.28070068),
            (256, 0.72753334),
            (4000, -1.4686584),
        ];
        check_golden_blocks(Format::Q6K, &[208], 0x9104_7c28_1b0c_64fc, &some);
    }
}
