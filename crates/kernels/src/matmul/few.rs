//! A few rows against a matrix stored along its terms, as every word that a language model writes asks for: the matrix
//! is read once, widened in the L1 cache and turned in registers, [`LANES`] of its rows at a time.
//!
//! The tiles would broadcast each of its numbers to sums of which most lanes are empty. The sums are the same chains of
//! multiply-adds here, so a row has the same bits alone and among many.

use super::block::KC;
use super::pack::Source;
use crate::parallel::{self, Shared};
use crate::simd::Level;
use std::ops::Range;

/// Rows at the most: from four on the tiles take no longer.
const ROWS: usize = 2;
/// Rows of the matrix that are summed side by side: two chains of vectors for each row of the left operand.
const LANES: usize = 16;
/// Terms widened at a time: they stay in the L1 cache, and are whole units of every format.
const RUN: usize = 192;

/// Vectors that cross no cache line.
#[repr(align(64))]
struct Aligned([f32; LANES * RUN]);

/// A product of this kind.
pub(super) struct Few<'a> {
    level: Level,
    alpha: f32,
    left: &'a [f32],
    rows: usize,
    right: Source<'a>,
    bias: Option<&'a [f32]>,
    accumulate: bool,
}

impl<'a> Few<'a> {
    /// The product, if it is one that is better done here.
    pub(super) fn of(
        level: Level,
        alpha: f32,
        left: &Source<'a>,
        right: &Source<'a>,
        bias: Option<&'a [f32]>,
        accumulate: bool,
    ) -> Option<Few<'a>> {
        let here = left.lanes <= ROWS && left.along_k && right.along_k && right.lanes >= LANES;
        if !(here && cfg!(target_arch = "x86_64") && level >= Level::Avx2) {
            return None;
        }
        let rows = left.lanes;
        Some(Few { level, alpha, left: left.elements.as_f32()?, rows, right: *right, bias, accumulate })
    }

    /// Computes it into `[rows, lanes of the right operand]`.
    pub(super) fn run(&self, spread: bool, out: &mut [f32]) {
        let lanes = self.right.lanes;
        let groups = lanes.div_ceil(LANES);
        let each = if spread { groups.div_ceil(4 * rayon::current_num_threads()) } else { groups };
        let out = Shared::new(out);
        parallel::tasks(groups.div_ceil(each), spread, |task| {
            for group in task * each..groups.min((task + 1) * each) {
                let first = group * LANES;
                // SAFETY: every group is one task's.
                unsafe { self.group(first..lanes.min(first + LANES), out) };
            }
        });
    }

    /// All rows against some lanes, [`LANES`] at the most.
    ///
    /// # Safety
    /// `out` is the whole output, and no other task writes these columns of it.
    unsafe fn group(&self, lanes: Range<usize>, out: Shared<f32>) {
        let k = self.right.k;
        let Aligned(buffer) = &mut Aligned([0.0; LANES * RUN]);
        for from in (0..k).step_by(KC) {
            let end = (from + KC).min(k);
            let mut sums = [[0.0; LANES]; ROWS];
            for at in (from..end).step_by(RUN) {
                let terms = (end - at).min(RUN);
                for (lane, run) in lanes.clone().zip(buffer.chunks_exact_mut(RUN)) {
                    self.right.elements.widen(self.level, lane * k + at, &mut run[..terms]);
                }
                self.multiply(buffer, at, terms, &mut sums);
            }
            for (row, sums) in sums.iter().take(self.rows).enumerate() {
                let row = row * self.right.lanes;
                // SAFETY: the caller's promise.
                let out = unsafe { out.slice(row + lanes.start..row + lanes.end) };
                self.write(sums, lanes.start, from, out);
            }
        }
    }

    /// Adds the sums of the terms from `from` on to what stands there, as the tiles do.
    fn write(&self, sums: &[f32; LANES], first: usize, from: usize, out: &mut [f32]) {
        for (i, out) in out.iter_mut().enumerate() {
            let mut base = 0.0;
            if let Some(bias) = self.bias.filter(|_| from == 0) {
                base = bias[first + i];
            }
            if self.accumulate || from > 0 {
                base += *out;
            }
            *out = self.alpha.mul_add(sums[i], base);
        }
    }

    /// `sums[i][j] += left[i, at + p] * buffer[j, p]` for all `p < terms`, one after the other.
    fn multiply(
        &self,
        buffer: &[f32; LANES * RUN],
        at: usize,
        terms: usize,
        sums: &mut [[f32; LANES]; ROWS],
    ) {
        let k = self.right.k;
        let left =
            std::array::from_fn(|i| if i < self.rows { &self.left[i * k + at..][..terms] } else { &[] });
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `of` asks for AVX2, which comes with FMA; every row has as many terms.
        unsafe {
            match self.rows {
                1 => x86::multiply::<1>(buffer, &left, terms, sums),
                _ => x86::multiply::<2>(buffer, &left, terms, sums),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _: (&[&[f32]; ROWS], _, _) = (&left, buffer, sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, ROWS, RUN};
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has AVX2 and FMA, and the first `M` rows of `left` have `terms` numbers, at most [`RUN`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn multiply<const M: usize>(
        buffer: &[f32; LANES * RUN],
        left: &[&[f32]; ROWS],
        terms: usize,
        sums: &mut [[f32; LANES]; ROWS],
    ) {
        // SAFETY: squares of 8 terms lie inside of the buffer's rows, and `p` is a term of every row of `left`.
        unsafe {
            let mut chains: [[__m256; M]; LANES / 8] =
                std::array::from_fn(|g| std::array::from_fn(|i| _mm256_loadu_ps(sums[i][8 * g..].as_ptr())));
            let whole = terms / 8 * 8;
            for p in (0..whole).step_by(8) {
                for (g, chains) in chains.iter_mut().enumerate() {
                    let square = turned(buffer.as_ptr().add(8 * g * RUN + p));
                    for (q, terms) in square.into_iter().enumerate() {
                        for (chain, left) in chains.iter_mut().zip(left) {
                            let x = _mm256_broadcast_ss(left.get_unchecked(p + q));
                            *chain = _mm256_fmadd_ps(x, terms, *chain);
                        }
                    }
                }
            }
            for p in whole..terms {
                let column: [f32; LANES] = std::array::from_fn(|j| buffer[j * RUN + p]);
                for (g, chains) in chains.iter_mut().enumerate() {
                    let terms = _mm256_loadu_ps(column[8 * g..].as_ptr());
                    for (chain, left) in chains.iter_mut().zip(left) {
                        let x = _mm256_broadcast_ss(left.get_unchecked(p));
                        *chain = _mm256_fmadd_ps(x, terms, *chain);
                    }
                }
            }
            for (g, chains) in chains.iter().enumerate() {
                for (chain, sums) in chains.iter().zip(sums.iter_mut()) {
                    _mm256_storeu_ps(sums[8 * g..].as_mut_ptr(), *chain);
                }
            }
        }
    }

    /// Eight terms of eight rows, `RUN` apart, as eight vectors of a term each.
    ///
    /// # Safety
    /// The machine has AVX2, and the square is valid.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn turned(from: *const f32) -> [__m256; 8] {
        // SAFETY: the caller's promise; the rest works on registers.
        unsafe {
            // Rows i and i + 4 side by side, so that no later step crosses the halves.
            let halves = |i: usize, p: usize| {
                let (low, high) =
                    (_mm_loadu_ps(from.add(i * RUN + p)), _mm_loadu_ps(from.add((i + 4) * RUN + p)));
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
            };
            let square = |p: usize| {
                let rows = [halves(0, p), halves(1, p), halves(2, p), halves(3, p)];
                let (a0, a1) = (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
                let (b0, b1) = (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
                [
                    _mm256_shuffle_ps::<0x44>(a0, b0),
                    _mm256_shuffle_ps::<0xEE>(a0, b0),
                    _mm256_shuffle_ps::<0x44>(a1, b1),
                    _mm256_shuffle_ps::<0xEE>(a1, b1),
                ]
            };
            let ([a, b, c, d], [e, f, g, h]) = (square(0), square(4));
            [a, b, c, d, e, f, g, h]
        }
    }
}
