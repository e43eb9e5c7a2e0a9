//! Q4_0: blocks of 32, `d (q - 8)` with an f16 scale d and 4-bit q.
//!
//! Layout of a block (18 bytes): d, then 16 bytes; the lower half of byte i is element i, the upper one element i + 16.

#[cfg(target_arch = "x86_64")]
use super::turned::{Nibbles, Turned, Words};
use super::{Quantizer, Storage, by_blocks, f16};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

const LEN: usize = 32;
const BYTES: usize = 18;

pub(super) struct Q4_0;

impl Storage for Q4_0 {
    fn name(&self) -> &'static str {
        "q4_0"
    }

    fn block_len(&self) -> usize {
        LEN
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(BYTES)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        // One call a block: of a loop over blocks the compiler would make vectors across them, which is slow.
        let blocks = &bytes.as_chunks().0[first..];
        blocks.iter().zip(out.as_chunks_mut().0).for_each(|(block, out)| widen(level, block, out));
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let block = &bytes[BYTES * (i / LEN)..][..BYTES];
        let q = block[2 + i % 16] >> (if i % LEN < 16 { 0 } else { 4 }) & 15;
        f16::F16.at(block, 0) * (f32::from(q) - 8.0)
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Q4_0>() })
    }

    fn quantizer(&self) -> Option<Quantizer> {
        Some(|numbers| by_blocks(numbers, quantize))
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Q4_0 {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = Nibbles<V>;

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let place = |i: usize| Self::place(positions[i], number);
        unsafe {
            let [scale, ..] = V::turned(bytes, place);
            Nibbles::new(V::turned(bytes, |i| place(i) + 2), V::half(scale))
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>(dq: &Self::Block<V>, i: usize) -> V {
        unsafe { dq.scaled(i, 8) }
    }
}

simd_fn! {
    fn widen(block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let [low, high, q @ ..] = block;
        let d = f16::one([*low, *high]);
        let (lower, upper) = out.split_at_mut(LEN / 2);
        for ((l, u), q) in lower.iter_mut().zip(upper).zip(q) {
            *l = d * ((q & 15) as i32 - 8) as f32;
            *u = d * ((q >> 4) as i32 - 8) as f32;
        }
    }
}

/// As ggml does it: the number of the largest magnitude becomes -8, the scale is rounded only afterwards.
fn quantize(x: &[f32; LEN], block: &mut [u8; BYTES]) -> bool {
    let largest = x.iter().fold(0f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    let d = largest / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let quantized = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    block[..2].copy_from_slice(&f16::narrow(d).to_le_bytes());
    for (i, q) in block[2..].iter_mut().enumerate() {
        *q = quantized(x[i]) | quantized(x[i + LEN / 2]) << 4;
    }
    f16::fits(d) && x.iter().all(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::Format;
    use crate::elements::tests::{Golden, check_error};

    #[test]
    fn a_block_by_hand() {
        let mut x = [0.0; LEN];
        (x[0], x[16], x[1], x[17]) = (8.0, -8.0, -1.0, 2.4);
        let mut block = [0; BYTES];
        assert!(quantize(&x, &mut block));
        // The scale is -1, so that 8 becomes -8; -8 would become 8 and is held to 7.
        assert_eq!(block[..5], [0x00, 0xbc, 0xf0, 0x69, 0x88]);
    }

    #[test]
    fn is_off_by_a_step_at_most() {
        check_error(Format::Q4_0, LEN, |x, largest| largest / 8.0 + x.abs() / 1024.0);
    }

    /// `gguf.quants.quantize` and `dequantize` of gguf 0.19.
    #[test]
    fn golden() {
        Golden {
            format: Format::Q4_0,
            first_bytes: "caaf8c459349597b5fe4c2332203a5b1740c",
            bytes: 0x6b8c_19ad_3416_9669,
            numbers: 0x60b0_5f2f_2514_7a4f,
        }
        .check();
    }
}
