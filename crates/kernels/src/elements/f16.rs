//! F16: IEEE 754 half precision, little-endian. Block formats keep their scales in it.

#[cfg(target_arch = "x86_64")]
use super::turned::{Turned, Words};
use super::{Quantizer, Storage};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

pub(super) struct F16;

impl Storage for F16 {
    fn name(&self) -> &'static str {
        "f16"
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(2)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        widen(level, &bytes[2 * first..], out);
    }

    /// By the fields of the standard.
    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let bits = u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff) / 1024.0);
        let magnitude = match exponent {
            0 => fraction * 2f32.powi(-14),
            31 if fraction == 0.0 => f32::INFINITY,
            31 => f32::NAN,
            _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<F16>() })
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
impl Turned for F16 {
    const TERMS: usize = 8;
    const BYTES: usize = 16;
    type Block<V: Words> = [V::Word; 4];

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        unsafe { V::turned(bytes, |i| Self::place(positions[i], number)) }
    }

    #[inline(always)]
    unsafe fn term<V: Words>(words: &Self::Block<V>, i: usize) -> V {
        unsafe { V::half(V::shr(words[i / 2], 16 * (i % 2) as u32)) }
    }
}

simd_fn! {
    fn widen(bytes: &[u8], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(bytes.as_chunks().0) {
            *o = one(*x);
        }
    }
}

/// A half as f32, without branches.
///
/// A half's fields, moved to their places in a single, are a number 2^112 too small, subnormal halves included;
/// infinities and not-a-numbers then still lack the upper bits of their exponent.
#[inline(always)]
pub(super) fn one(bytes: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bytes) as u32;
    let finite = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(finite.to_bits() | special | (bits & 0x8000) << 16)
}

/// Whether a number is still finite as a half.
pub(super) fn fits(x: f32) -> bool {
    x.abs() < LARGEST
}

/// Half of the way from the largest half to the power of two beyond it.
const LARGEST: f32 = 65520.0;

/// The nearest half, ties to even; not-a-numbers stay so.
pub(super) fn narrow(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = x.abs().to_bits();
    let half = if x.is_nan() {
        0x7e00
    } else if x.abs() >= LARGEST {
        0x7c00
    } else if x.abs() < 2f32.powi(-14) {
        // The last bit of 0.5 is worth 2^-24, that of a subnormal half: the addition rounds.
        (x.abs() + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13
    };
    sign | half as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::Format;
    use crate::elements::tests::Golden;

    #[test]
    fn every_half_widens_by_its_definition_and_comes_back() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            let (fast, plain) = (one(bytes), F16.at(&bytes, 0));
            if plain.is_nan() {
                assert!(fast.is_nan() && narrow(fast) & 0x7fff > 0x7c00, "{bits:#x}");
            } else {
                assert_eq!(fast.to_bits(), plain.to_bits(), "{bits:#x}");
                assert_eq!(narrow(fast), bits, "{bits:#x}");
            }
        }
    }

    #[test]
    fn narrows_to_the_nearest_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (one(bits.to_le_bytes()), one((bits + 1).to_le_bytes()));
            let middle = (low + high) / 2.0;
            assert_eq!(narrow(middle), bits + (bits & 1), "the middle above {bits:#x}");
            assert_eq!(narrow(-middle.next_down()), bits | 0x8000);
            assert_eq!(narrow(middle.next_up()), bits + 1);
        }
        assert_eq!((narrow(65519.9), narrow(65520.0)), (0x7bff, 0x7c00));
        assert!(fits(65519.9) && !fits(-65520.0) && !fits(f32::NAN));
    }

    #[test]
    fn refuses_what_would_become_infinite() {
        let quantize = F16.quantizer().unwrap();
        assert_eq!(quantize(&[1.0, -2.0]), Some(vec![0, 0x3c, 0, 0xc0]));
        assert_eq!(quantize(&[1.0, 70000.0]), None);
    }

    /// `gguf.quants.quantize` and `dequantize` of gguf 0.19.
    #[test]
    fn golden() {
        Golden {
            format: Format::F16,
            first_bytes: "18b798359a38c0ac",
            bytes: 0xc47e_29df_ad11_a354,
            numbers: 0xc421_1dad_56ee_8775,
        }
        .check();
    }
}
