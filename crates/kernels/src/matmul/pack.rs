//! Bringing stored matrices into tile-ready form: widening, transposing, and the scratch memory for both.

use crate::elements::Elements;
use crate::parallel::Shared;
use crate::simd::Level;
use std::cell::Cell;
use std::ops::Range;

/// Terms transposed together: enough of a lane that widening it is not many calls, few enough for the L1 cache.
const RUN: usize = 256;

/// A cache line of f32: keeps scratch memory aligned for the widest vectors.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as part of a slice")] [f32; 16]);

thread_local! {
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Runs `f` with `len` floats of scratch memory, aligned to 64 bytes, holding anything.
///
/// The memory stays with the thread for its next call. A nested call (rayon may run another job on this thread
/// while it waits) gets its own.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut lines = SCRATCH.take();
    let count = len.div_ceil(16);
    if lines.len() < count {
        lines.resize(count, Line([0.0; 16]));
    }
    // SAFETY: `Line` is exactly 16 f32 without padding, and the slice covers at most the vector's lines.
    let floats = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<f32>(), len) };
    let result = f(floats);
    SCRATCH.set(lines);
    result
}

/// An operand as stored: lanes (rows of the left, columns of the right operand) by terms of the sums.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub elements: Elements<'a>,
    /// Rows of the left operand, columns of the right one.
    pub lanes: usize,
    /// Terms of the sums.
    pub k: usize,
    /// Whether storage runs along the terms (`[lanes, k]`) or along the lanes (`[k, lanes]`).
    pub along_k: bool,
}

impl Source<'_> {
    /// Writes `terms` of `lanes`, of storage along the lanes, into panels of `width`: lane i of term p is at
    /// `i / width * size + p * width + i % width`, both counted from the block's first, `first` being its first term;
    /// the last panel is filled up with zeros. All panels at once, so that no block of a format is widened for each.
    ///
    /// # Safety
    /// `out` holds the panels, and no other task writes these terms.
    pub(super) unsafe fn pack_terms(
        &self,
        level: Level,
        lanes: &Range<usize>,
        terms: Range<usize>,
        first: usize,
        (width, size): (usize, usize),
        out: Shared<f32>,
    ) {
        if lanes.len() <= width {
            for term in terms {
                let at = (term - first) * width;
                // SAFETY: the caller's promise.
                let (out, rest) = unsafe { out.slice(at..at + width) }.split_at_mut(lanes.len());
                self.elements.widen(level, term * self.lanes + lanes.start, out);
                rest.fill(0.0);
            }
            return;
        }
        let mut buffer = [0.0; 1024];
        let wide = buffer.len() / width * width;
        for term in terms {
            for lane in lanes.clone().step_by(wide) {
                let buffer = &mut buffer[..wide.min(lanes.end - lane)];
                let run = self.elements.widened(level, term * self.lanes + lane, buffer);
                for (i, run) in run.chunks(width).enumerate() {
                    let at = ((lane - lanes.start) / width + i) * size + (term - first) * width;
                    // SAFETY: the caller's promise.
                    let out = unsafe { out.slice(at..at + width) };
                    out[..run.len()].copy_from_slice(run);
                    out[run.len()..].fill(0.0);
                }
            }
        }
    }

    /// Writes terms `from..from + terms` of lanes `lane..` as `[lanes, terms]`: widening alone, for runs along k.
    pub(super) fn widen_rows(&self, level: Level, lane: usize, from: usize, terms: usize, out: &mut [f32]) {
        for (i, row) in out.chunks_exact_mut(terms).enumerate() {
            self.elements.widen(level, (lane + i) * self.k + from, row);
        }
    }

    /// Writes lanes `lane..lane + count` of terms from `from` on as `[terms, width]`, zeros beyond `count`, of storage
    /// along the terms.
    pub(crate) fn pack_transposed(
        &self,
        level: Level,
        lane: usize,
        count: usize,
        from: usize,
        width: usize,
        out: &mut [f32],
    ) {
        let mut buffer = [0.0; 8 * RUN];
        for (block, out) in out.chunks_mut(RUN * width).enumerate() {
            let terms = out.len() / width;
            let at = from + block * RUN;
            for first in (0..width).step_by(8) {
                let here = count.saturating_sub(first).min(8);
                let lanes = (width - first).min(8);
                for (i, run) in buffer.chunks_exact_mut(RUN).enumerate() {
                    if i < here {
                        self.elements.widen(level, (lane + first + i) * self.k + at, &mut run[..terms]);
                    } else {
                        run.fill(0.0);
                    }
                }
                transpose(level, &buffer, lanes, width, &mut out[first..]);
            }
        }
    }
}

/// `out[p * width + i] = runs[i * RUN + p]` for `i < lanes`, as many `p` as `out` holds.
fn transpose(level: Level, runs: &[f32; 8 * RUN], lanes: usize, width: usize, out: &mut [f32]) {
    let terms = out.len().div_ceil(width);
    #[cfg(target_arch = "x86_64")]
    if lanes == 8 && level >= Level::Avx2 {
        let whole = terms / 8 * 8;
        for p in (0..whole).step_by(8) {
            assert!((p + 7) * width + 8 <= out.len() && p + 8 <= RUN, "an 8 x 8 square lies inside");
            // SAFETY: the level was detected, and the square lies inside both slices.
            unsafe { transpose_square(runs.as_ptr().add(p), out.as_mut_ptr().add(p * width), width) };
        }
        for p in whole..terms {
            (0..8).for_each(|i| out[p * width + i] = runs[i * RUN + p]);
        }
        return;
    }
    let _ = level;
    for (p, row) in out.chunks_mut(width).enumerate().take(terms) {
        row.iter_mut().take(lanes).enumerate().for_each(|(i, v)| *v = runs[i * RUN + p]);
    }
}

/// Transposes 8 x 8 numbers from rows `RUN` apart to rows `width` apart.
///
/// # Safety
/// The machine has AVX2, and both squares are valid.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn transpose_square(from: *const f32, to: *mut f32, width: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise; the rest works on registers.
    unsafe {
        let row = |i: usize| _mm256_loadu_ps(from.add(i * RUN));
        let pairs =
            |a: usize, b: usize| (_mm256_unpacklo_ps(row(a), row(b)), _mm256_unpackhi_ps(row(a), row(b)));
        let ((a0, a1), (a2, a3)) = (pairs(0, 1), pairs(2, 3));
        let ((b0, b1), (b2, b3)) = (pairs(4, 5), pairs(6, 7));
        let store = |p: usize, low: __m256, high: __m256| {
            _mm256_storeu_ps(to.add(p * width), _mm256_permute2f128_ps::<0x20>(low, high));
            _mm256_storeu_ps(to.add((p + 4) * width), _mm256_permute2f128_ps::<0x31>(low, high));
        };
        store(0, _mm256_shuffle_ps::<0x44>(a0, a2), _mm256_shuffle_ps::<0x44>(b0, b2));
        store(1, _mm256_shuffle_ps::<0xEE>(a0, a2), _mm256_shuffle_ps::<0xEE>(b0, b2));
        store(2, _mm256_shuffle_ps::<0x44>(a1, a3), _mm256_shuffle_ps::<0x44>(b1, b3));
        store(3, _mm256_shuffle_ps::<0xEE>(a1, a3), _mm256_shuffle_ps::<0xEE>(b1, b3));
    }
}
