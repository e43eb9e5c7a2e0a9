//! Bringing stored matrices into tile-ready form: widening, transposing, and the scratch memory for both.

use crate::elements::Elements;
use crate::simd::{Level, simd_fn};
use std::cell::Cell;

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
pub(super) struct Source<'a> {
    pub elements: Elements<'a>,
    /// Rows of the left operand, columns of the right one.
    pub lanes: usize,
    /// Terms of the sums.
    pub k: usize,
    /// Whether storage runs along the terms (`[lanes, k]`) or along the lanes (`[k, lanes]`).
    pub along_k: bool,
}

impl Source<'_> {
    /// Writes lanes `lane..lane + count` of terms `from..from + terms` as `[terms, width]`, zeros beyond `count`.
    pub(super) fn pack(
        &self,
        level: Level,
        lane: usize,
        count: usize,
        from: usize,
        width: usize,
        out: &mut [f32],
    ) {
        if self.along_k {
            return self.pack_transposed(level, lane, count, from, width, out);
        }
        for (p, row) in out.chunks_exact_mut(width).enumerate() {
            self.elements.widen(level, (from + p) * self.lanes + lane, &mut row[..count]);
            row[count..].fill(0.0);
        }
    }

    /// Writes terms `from..from + terms` of lanes `lane..` as `[lanes, terms]`: widening alone, for runs along k.
    pub(super) fn widen_rows(&self, level: Level, lane: usize, from: usize, terms: usize, out: &mut [f32]) {
        for (i, row) in out.chunks_exact_mut(terms).enumerate() {
            self.elements.widen(level, (lane + i) * self.k + from, row);
        }
    }

    fn pack_transposed(
        &self,
        level: Level,
        lane: usize,
        count: usize,
        from: usize,
        width: usize,
        out: &mut [f32],
    ) {
        const RUN: usize = 64;
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

simd_fn! {
    /// `out[p * width + i] = runs[i * 64 + p]` for `i < lanes`, as many `p` as `out` holds.
    fn transpose(runs: &[f32; 512], lanes: usize, width: usize, out: &mut [f32]) {
        if lanes == 8 {
            for (p, row) in out.chunks_mut(width).enumerate().take(64) {
                for i in 0..8 {
                    row[i] = runs[i * 64 + p];
                }
            }
        } else {
            for (p, row) in out.chunks_mut(width).enumerate().take(64) {
                for i in 0..lanes {
                    row[i] = runs[i * 64 + p];
                }
            }
        }
    }
}
