//! Bf16 (bfloat16): the upper 16 bits of an f32, little-endian.

#[cfg(target_arch = "x86_64")]
use super::turned::{Turned, Words};
use super::{Quantizer, Storage};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

pub(super) struct Bf16;

impl Storage for Bf16 {
    fn name(&self) -> &'static str {
        "bf16"
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(2)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        widen(level, &bytes[2 * first..], out);
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        f32::from_le_bytes([0, 0, bytes[2 * i], bytes[2 * i + 1]])
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Bf16>() })
    }

    fn quantizer(&self) -> Option<Quantizer> {
        Some(|numbers| {
            numbers
                .iter()
                .all(|x| fits(*x))
                .then(|| numbers.iter().flat_map(|x| narrow(*x).to_le_bytes()).collect())
        })
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Bf16 {
    const TERMS: usize = 8;
    const BYTES: usize = 16;
    type Block<V: Words> = [V::Word; 4];

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        unsafe { V::turned(bytes, |i| Self::place(positions[i], number)) }
    }

    #[inline(always)]
    unsafe fn term<V: Words>(words: &Self::Block<V>, i: usize) -> V {
        let word = words[i / 2];
        unsafe { V::bits(V::shl(if i.is_multiple_of(2) { word } else { V::shr(word, 16) }, 16)) }
    }
}

simd_fn! {
    fn widen(bytes: &[u8], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(bytes.as_chunks().0) {
            *o = f32::from_bits((u16::from_le_bytes(*x) as u32) << 16);
        }
    }
}

/// Whether a number is still finite as a bf16.
fn fits(x: f32) -> bool {
    x.abs() < LARGEST
}

/// Half of the way from the largest bf16 to the power of two beyond it.
const LARGEST: f32 = f32::from_bits(0x7f7f_8000);

/// The nearest bf16, ties to even; not-a-numbers stay so.
fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::tests::Golden;
    use crate::elements::{Elements, Format};

    #[test]
    fn widens_exactly() {
        crate::testing::on_every_level(|| {
            let mut out = [0.0; 3];
            let bytes = [9, 9, 0x80, 0x3F, 0x40, 0xC0, 0x80, 0x7F];
            Elements::new(Format::Bf16, 4, &bytes).widen(crate::simd::level(), 1, &mut out);
            assert_eq!(out, [1.0, -3.0, f32::INFINITY]);
        });
    }

    #[test]
    fn narrows_to_the_nearest_even() {
        for (x, expected) in [(1.0, 0x3f80), (257.0 / 256.0, 0x3f80), (259.0 / 256.0, 0x3f82), (-2.0, 0xc000)]
        {
            assert_eq!(narrow(x), expected, "{x}");
        }
        assert_eq!(narrow(f32::INFINITY), 0x7f80);
        assert!(f32::from_bits(u32::from(narrow(f32::NAN)) << 16).is_nan());
    }

    #[test]
    fn refuses_what_would_become_infinite() {
        let quantize = Bf16.quantizer().unwrap();
        let largest = LARGEST.next_down();
        assert_eq!(quantize(&[1.0, -largest]), Some(vec![0x80, 0x3f, 0x7f, 0xff]));
        assert_eq!(narrow(LARGEST), 0x7f80, "the next number rounds to infinity");
        for beyond in [LARGEST, -f32::MAX, f32::INFINITY, f32::NAN] {
            assert_eq!(quantize(&[1.0, beyond]), None, "{beyond}");
        }
    }

    /// `gguf.quants.quantize` and `dequantize` of gguf 0.19.
    #[test]
    fn golden() {
        Golden {
            format: Format::Bf16,
            first_bytes: "e3beb33e133f98bd",
            bytes: 0x53f9_c41e_5f22_fb12,
            numbers: 0x274d_cab1_4d54_d492,
        }
        .check();
    }
}
