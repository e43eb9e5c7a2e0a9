//! One vector register of f32, for each instruction set the tiles are written for.

use super::tile::{self, BUFFER, Job};

/// A vector of `LANES` f32.
///
/// # Safety
/// Every method needs the instruction set of the implementing type at run time; pointers must be valid for the
/// lanes they touch, at any alignment.
pub(crate) trait Lanes: Copy {
    const LANES: usize;
    unsafe fn splat(v: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    /// `self * b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// [`tile::write_elements`] with the arithmetic of [`Lanes::fma`].
    unsafe fn write_elements(job: &Job, sums: &[f32; BUFFER], rows: usize, width: usize);
}

/// Four lanes in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

// The methods below do what their names say on memory that the trait's contract makes valid.
impl Lanes for Portable {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Portable([v; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Portable(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut v = self.0;
        for (v, o) in v.iter_mut().zip(&other.0) {
            *v += o;
        }
        Portable(v)
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        let mut v = c.0;
        for ((v, a), b) in v.iter_mut().zip(&self.0).zip(&b.0) {
            *v = multiply_add(*a, *b, *v);
        }
        Portable(v)
    }
    unsafe fn write_elements(job: &Job, sums: &[f32; BUFFER], rows: usize, width: usize) {
        // SAFETY: the caller's promise.
        unsafe { tile::write_elements(job, sums, rows, width, multiply_add) }
    }
}

/// `a * b + c`; without the instruction `mul_add` would be a slow library call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::tile::{self, BUFFER, Job};
    use super::Lanes;
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`tile::write_elements`], on a machine with AVX2 and FMA.
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn fused_elements(job: &Job, sums: &[f32; BUFFER], rows: usize, width: usize) {
        // SAFETY: the caller's promise.
        unsafe { tile::write_elements(job, sums, rows, width, f32::mul_add) }
    }

    // SAFETY (all methods): the trait's contract gives the instruction set and valid memory.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Lanes for __m256 {
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn splat(v: f32) -> Self {
            unsafe { _mm256_set1_ps(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm256_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn write_elements(job: &Job, sums: &[f32; BUFFER], rows: usize, width: usize) {
            unsafe { fused_elements(job, sums, rows, width) }
        }
    }

    // SAFETY (all methods): the trait's contract gives the instruction set and valid memory.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Lanes for __m512 {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn splat(v: f32) -> Self {
            unsafe { _mm512_set1_ps(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn write_elements(job: &Job, sums: &[f32; BUFFER], rows: usize, width: usize) {
            unsafe { fused_elements(job, sums, rows, width) }
        }
    }
}
