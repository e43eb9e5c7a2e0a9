//! Q4_K: blocks of 256 in eight parts of 32, `d s q - e m` with f16 scales d and e of the block, 6-bit s and m of the
//! part, and 4-bit q.
//!
//! Layout of a block (144 bytes): d, e, 12 bytes of s and m, then four times 32 bytes: the lower halves are the numbers
//! of an even part, the upper halves those of the odd one behind it.

use super::{Storage, f16};
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 144;
/// Two parts, which share their bytes.
const UNIT: usize = 64;

pub(super) struct Q4K;

impl Storage for Q4K {
    fn name(&self) -> &'static str {
        "q4_k"
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
        let byte = block[16 + part / 2 * 32 + i % 32];
        let q = if part.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
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
            for ((l, u), q) in even.iter_mut().zip(odd).zip(&block[16 + 32 * pair..][..32]) {
                *l = s0 * (q & 15) as f32 - m0;
                *u = s1 * (q >> 4) as f32 - m1;
            }
        }
    }
}

/// s and m of a part, from the 12 bytes of them.
#[inline(always)]
pub(super) fn scales(six: &[u8], part: usize) -> (f32, f32) {
    let (s, m) = if part < 4 {
        (six[part] & 63, six[part + 4] & 63)
    } else {
        let upper = (six[part - 4] >> 6 << 4, six[part] >> 6 << 4);
        (six[part + 4] & 15 | upper.0, six[part + 4] >> 4 | upper.1)
    };
    (s as f32, m as f32)
}

/// The same by the definition of the format.
pub(super) fn scales_by_definition(packed: &[u8], part: usize) -> (u8, u8) {
    // Of the first four parts s and m have a byte each, of the others their upper two bits lie in those bytes.
    let six = |byte: usize| packed[byte] & 63;
    let spread = |four: u8, upper: usize| four | packed[upper] >> 6 << 4;
    if part < 4 {
        return (six(part), six(part + 4));
    }
    let both = packed[part + 4];
    (spread(both & 15, part - 4), spread(both >> 4, part))
}

#[cfg(test)]
mod tests {
    use crate::elements::Format;
    use crate::elements::tests::check_golden_blocks;

    /// `gguf.quants.dequantize` of gguf 0.19 on the same bytes.
    #[test]
    fn golden() {
        let some = [
            (0, -0.01301384),
            (33, 1.11695),
            (100, 0.02583313),
            (255, 0.5502987),
            (256, 0.3210373),
            (4000, 0.41419458),
        ];
        check_golden_blocks(Format::Q4K, &[0, 2], 0x0e2b_41d3_623b_8ac7, &some);
    }
}
