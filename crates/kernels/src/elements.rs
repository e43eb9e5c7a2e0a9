//! How the elements of a matrix are stored, and the one place where they are widened to f32.

use crate::simd::{Level, simd_fn};

/// Stored elements of a matrix, row-major.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16: the upper 16 bits of an f32.
    Bf16(&'a [u16]),
}

impl<'a> Elements<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::F32(x) => x.len(),
            Elements::Bf16(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements `start..start + out.len()` as f32. A new storage format joins here, and nowhere else.
    pub(crate) fn widen(&self, level: Level, start: usize, out: &mut [f32]) {
        match self {
            Elements::F32(x) => out.copy_from_slice(&x[start..start + out.len()]),
            Elements::Bf16(x) => widen_bf16(level, &x[start..start + out.len()], out),
        }
    }

    /// All elements as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.widen(crate::simd::level(), 0, &mut out);
        out
    }

    /// The elements themselves when they are f32 already.
    pub(crate) fn as_f32(&self) -> Option<&'a [f32]> {
        match self {
            Elements::F32(x) => Some(x),
            Elements::Bf16(_) => None,
        }
    }
}

simd_fn! {
    fn widen_bf16(x: &[u16], out: &mut [f32]) {
        for (o, &v) in out.iter_mut().zip(x) {
            *o = f32::from_bits((v as u32) << 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_widens_exactly() {
        crate::testing::on_every_level(|| {
            let mut out = [0.0; 3];
            Elements::Bf16(&[9, 0x3F80, 0xC040, 0x7F80]).widen(crate::simd::level(), 1, &mut out);
            assert_eq!(out, [1.0, -3.0, f32::INFINITY]);
        });
    }
}
