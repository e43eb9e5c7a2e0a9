//! IQ4_XS: blocks of 256 in eight parts of 32, `d (s - 32) n[q]` with an f16 scale d of the block, 6-bit s of the part,
//! and 4-bit q that choose one of IQ4_NL's integers n.
//!
//! Layout of a block (136 bytes): d, 16 bits of the upper two bits of each s, 4 bytes of the lower four bits, then for
//! each part 16 bytes as in Q4_0.

use super::iq4_nl::INTEGERS;
use super::{Storage, f16};
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 136;
/// A part.
const UNIT: usize = 32;

pub(super) struct Iq4Xs;

impl Storage for Iq4Xs {
    fn name(&self) -> &'static str {
        "iq4_xs"
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
        let (part, within) = (i % LEN / UNIT, i % UNIT);
        let lower = if part.is_multiple_of(2) { block[4 + part / 2] & 15 } else { block[4 + part / 2] >> 4 };
        let upper = block[2 + part / 4] >> (part % 4 * 2) & 3;
        let byte = block[8 + 16 * part + within % 16];
        let q = if within < 16 { byte & 15 } else { byte >> 4 };
        f16::F16.at(block, 0) * (f32::from(lower | upper << 4) - 32.0) * INTEGERS[q as usize]
    }
}

simd_fn! {
    fn widen(blocks: &[[u8; BYTES]], first: usize, out: &mut [f32]) {
        for (i, out) in out.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let (block, part) = (&blocks[(first + i) / 8], (first + i) % 8);
            let lower = block[4 + part / 2] >> (part % 2 * 4) & 15;
            let upper = block[2 + part / 4] >> (part % 4 * 2) & 3;
            let scale = f16::one([block[0], block[1]]) * ((lower | upper << 4) as i32 - 32) as f32;
            let (low, high) = out.split_at_mut(UNIT / 2);
            for ((l, u), q) in low.iter_mut().zip(high).zip(&block[8 + 16 * part..][..16]) {
                *l = scale * INTEGERS[(q & 15) as usize];
                *u = scale * INTEGERS[(q >> 4) as usize];
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
            (0, -2.6469421),
            (33, 0.89294434),
            (100, -1.1719894),
            (255, 0.103645325),
            (256, 0.13049698),
            (4000, 2.1349678),
        ];
        check_golden_blocks(Format::Iq4Xs, &[0], 0x5e40_5901_2e93_77d9, &some);
    }
}
