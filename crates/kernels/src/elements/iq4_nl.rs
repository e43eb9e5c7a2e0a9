//! IQ4_NL: blocks of 32, `d n[q]` with an f16 scale d and 4-bit q that choose one of 16 integers n, denser around 0.
//!
//! Layout of a block (18 bytes): as Q4_0.

#[cfg(target_arch = "x86_64")]
use super::turned::{Turned, Words};
use super::{Storage, f16};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

const LEN: usize = 32;
const BYTES: usize = 18;

/// ggml's integers (`kvalues_iq4nl`).
pub(super) const INTEGERS: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];

pub(super) struct Iq4Nl;

impl Storage for Iq4Nl {
    fn name(&self) -> &'static str {
        "iq4_nl"
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
        let q = block[2 + i % 16] >> (if i % LEN < 16 { 0 } else { 4 }) & 15;
        f16::F16.at(block, 0) * INTEGERS[q as usize]
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Iq4Nl>() })
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Iq4Nl {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = ([V::Word; 4], V);

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let place = |i: usize| Self::place(positions[i], number);
        unsafe {
            let [scale, ..] = V::turned(bytes, place);
            (V::turned(bytes, |i| place(i) + 2), V::half(scale))
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>((q, d): &Self::Block<V>, i: usize) -> V {
        let shift = 8 * (i % 4) + i / 16 * 4;
        unsafe { d.mul(V::look_up(&INTEGERS, V::shr(q[i % 16 / 4], shift as u32))) }
    }
}

simd_fn! {
    fn widen(bytes: &[u8], out: &mut [f32]) {
        for ([low, high, q @ ..], out) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = f16::one([*low, *high]);
            let (lower, upper) = out.split_at_mut(LEN / 2);
            for ((l, u), q) in lower.iter_mut().zip(upper).zip(q) {
                *l = d * INTEGERS[(q & 15) as usize];
                *u = d * INTEGERS[(q >> 4) as usize];
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
            (0, -0.015945435),
            (1, -0.015945435),
            (17, 0.06059265),
            (31, 0.14191437),
            (32, -0.020160675),
            (500, -0.069775105),
        ];
        check_golden_blocks(Format::Iq4Nl, &[0], 0xa63c_8943_2948_da3f, &some);
    }
}
