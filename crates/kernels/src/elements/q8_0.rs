//! Q8_0: blocks of 32, `d q` with an f16 scale d and 8-bit integers q.
//!
//! Layout of a block (34 bytes): d, then 32 × i8.

#[cfg(target_arch = "x86_64")]
use super::turned::{Turned, Words};
use super::{Quantizer, Storage, by_blocks, f16};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

const LEN: usize = 32;
const BYTES: usize = 34;

pub(super) struct Q8_0;

impl Storage for Q8_0 {
    fn name(&self) -> &'static str {
        "q8_0"
    }

    fn block_len(&self) -> usize {
        LEN
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(BYTES)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        widen(level, &bytes[BYTES * first..], out);
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let block = &bytes[BYTES * (i / LEN)..][..BYTES];
        f16::F16.at(block, 0) * f32::from(block[2 + i % LEN] as i8)
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Q8_0>() })
    }

    fn quantizer(&self) -> Option<Quantizer> {
        Some(|numbers| by_blocks(numbers, quantize))
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Q8_0 {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = ([[V::Word; 4]; 2], V);

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let place = |i: usize| Self::place(positions[i], number);
        unsafe {
            let [scale, ..] = V::turned(bytes, place);
            let halves = [V::turned(bytes, |i| place(i) + 2), V::turned(bytes, |i| place(i) + 18)];
            (halves, V::half(scale))
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>((q, d): &Self::Block<V>, i: usize) -> V {
        unsafe { d.mul(V::upper_byte(V::shl(q[i / 16][i % 16 / 4], 24 - 8 * (i % 4) as u32))) }
    }
}

simd_fn! {
    fn widen(bytes: &[u8], out: &mut [f32]) {
        for ([low, high, q @ ..], out) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = f16::one([*low, *high]);
            for (o, q) in out.iter_mut().zip(q) {
                *o = d * (*q as i8) as f32;
            }
        }
    }
}

/// As ggml does it: the largest magnitude becomes 127, the scale is rounded only afterwards.
fn quantize(x: &[f32; LEN], block: &mut [u8; BYTES]) -> bool {
    let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&f16::narrow(d).to_le_bytes());
    for (q, x) in block[2..].iter_mut().zip(x) {
        *q = (x * inverse).round() as i8 as u8;
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
        (x[0], x[1], x[2], x[31]) = (127.0, -1.0, 2.5, -126.6);
        let mut block = [0; BYTES];
        assert!(quantize(&x, &mut block));
        assert_eq!(block[..5], [0x00, 0x3c, 127, 255, 3]);
        assert_eq!(block[33] as i8, -127);
    }

    #[test]
    fn is_off_by_half_a_step_at_most() {
        check_error(Format::Q8_0, LEN, |x, largest| largest / 254.0 + x.abs() / 2048.0);
    }

    /// `gguf.quants.quantize` and `dequantize` of gguf 0.19.
    #[test]
    fn golden() {
        Golden {
            format: Format::Q8_0,
            first_bytes: "da1fc62e4bf6e9cb943a64565c4c37733bc1f939ee4736142d9bbc51607ee1d6117f",
            bytes: 0x2c77_c79d_e0a6_0020,
            numbers: 0x608f_112d_d4fa_d226,
        }
        .check();
    }
}
