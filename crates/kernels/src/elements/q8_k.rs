//! Q8_K: blocks of 256, `d q` with an f32 scale d and 8-bit integers q. ggml makes it of activations; few files hold it.
//!
//! Layout of a block (292 bytes): d, 256 × i8, and 16 × i16 sums of 16 integers each, which products of integers use and
//! nothing here reads.

use super::Storage;
use crate::simd::{Level, simd_fn};

const LEN: usize = 256;
const BYTES: usize = 292;
const UNIT: usize = 64;

pub(super) struct Q8K;

impl Storage for Q8K {
    fn name(&self) -> &'static str {
        "q8_k"
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
        f32::from_le_bytes([0, 1, 2, 3].map(|byte| block[byte])) * f32::from(block[4 + i % LEN] as i8)
    }
}

simd_fn! {
    fn widen(blocks: &[[u8; BYTES]], first: usize, out: &mut [f32]) {
        for (i, out) in out.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let (block, quarter) = (&blocks[(first + i) / 4], (first + i) % 4);
            let d = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            for (o, q) in out.iter_mut().zip(&block[4 + UNIT * quarter..][..UNIT]) {
                *o = d * (*q as i8) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::elements::{Elements, Format};

    #[test]
    fn a_block_by_hand() {
        let mut bytes = vec![0; super::BYTES];
        bytes[..4].copy_from_slice(&0.5f32.to_le_bytes());
        (bytes[4], bytes[5], bytes[259], bytes[260]) = (1, 0x80, 7, 99);
        let numbers = Elements::new(Format::Q8K, 256, &bytes).to_f32();
        assert_eq!((numbers[0], numbers[1], numbers[2], numbers[255]), (0.5, -64.0, 0.0, 3.5));
    }
}
