//! F32: IEEE 754 single precision, little-endian.

#[cfg(target_arch = "x86_64")]
use super::turned::{Turned, Words};
use super::{Quantizer, Storage};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::{Level, simd_fn};

pub(crate) struct F32;

impl Storage for F32 {
    fn name(&self) -> &'static str {
        "f32"
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        blocks.checked_mul(4)
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        widen(level, &bytes[4 * first..], out);
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        f32::from_le_bytes(bytes.as_chunks().0[i])
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<F32>() })
    }

    fn quantizer(&self) -> Option<Quantizer> {
        Some(|numbers| Some(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for F32 {
    const TERMS: usize = 4;
    const BYTES: usize = 16;
    type Block<V: Words> = [V::Word; 4];

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        unsafe { V::turned(bytes, |i| Self::place(positions[i], number)) }
    }

    #[inline(always)]
    unsafe fn term<V: Words>(words: &Self::Block<V>, i: usize) -> V {
        unsafe { V::bits(words[i]) }
    }
}

/// The numbers where they lie, if the processor can read them there.
pub(super) fn in_place(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every bit pattern is a valid f32.
    let (before, numbers, after) = unsafe { bytes.align_to::<f32>() };
    (cfg!(target_endian = "little") && before.is_empty() && after.is_empty()).then_some(numbers)
}

/// The bytes of numbers where they lie.
#[cfg(target_arch = "x86_64")]
pub(crate) fn bytes_of(numbers: &[f32]) -> &[u8] {
    // SAFETY: an f32 is four bytes without padding, each of which is valid.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

simd_fn! {
    fn widen(bytes: &[u8], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(bytes.as_chunks().0) {
            *o = f32::from_le_bytes(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::{Elements, Format};

    #[test]
    fn numbers_that_lie_askew_are_read_all_the_same() {
        let bytes = [&[9][..], &F32.quantizer().unwrap()(&[1.0, -2.5]).unwrap()].concat();
        let elements: Vec<Elements> = vec![
            Elements::new(Format::F32, 2, &bytes[1..]),
            Elements::Stored(crate::elements::Stored { format: Format::F32, len: 2, bytes: &bytes[1..] }),
        ];
        for elements in elements {
            assert_eq!(elements.to_f32(), [1.0, -2.5]);
            assert_eq!(elements.at(1), -2.5);
        }
    }
}
