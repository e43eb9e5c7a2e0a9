//! A product of two operands in tile-ready form, on one thread; attention builds on it too.

use super::tile::{Job, Shape, select};
use crate::simd::Level;

/// Terms of a sum added in registers before they go to memory; one for all levels, so that AVX2 and AVX-512 agree.
pub(crate) const KC: usize = 384;

/// The left operand `[rows, k]`: its elements are broadcast.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// Element (i, p) at `i * stride + p`.
    Rows { ptr: *const f32, stride: usize },
    /// Strips of a tile's rows: element (i, p) of strip s at `s * strip + p * step + i`.
    Columns { ptr: *const f32, step: usize, strip: usize },
}

impl Left {
    /// A row-major `[k, rows]` matrix with rows `step` apart, read as it lies.
    pub(crate) fn columns(level: Level, ptr: *const f32, step: usize) -> Left {
        Left::Columns { ptr, step, strip: Shape::of(level).rows }
    }
}

/// The right operand `[k, cols]`: panels of a tile's columns, element (p, j) of panel s at `s * panel + p * step + j`.
///
/// Whole vectors are read, so the last one must be readable beyond the columns that exist.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub ptr: *const f32,
    pub step: usize,
    pub panel: usize,
}

impl Right {
    /// A row-major `[k, cols]` matrix with rows `step` apart, read as it lies; cols must be whole vectors.
    pub(crate) fn rows(level: Level, ptr: *const f32, step: usize) -> Right {
        Right { ptr, step, panel: Shape::of(level).cols() }
    }
}

/// The output: element (i, j) at `i * row + j * col`, receives `alpha * left * right` plus bias plus, when
/// `accumulate`, what was there.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    pub ptr: *mut f32,
    pub row: usize,
    pub col: usize,
    pub alpha: f32,
    pub accumulate: bool,
    /// Whether `[rows, cols]` here is the transpose of the matrix that is written; otherwise `col` is 1.
    pub exchanged: bool,
    /// Null, or one number a column, or one a row if `exchanged`.
    pub bias: *const f32,
}

impl Out {
    /// A plain row-major output with rows `row` apart.
    pub(crate) fn rows(ptr: *mut f32, row: usize, alpha: f32, accumulate: bool) -> Out {
        Out { ptr, row, col: 1, alpha, accumulate, exchanged: false, bias: std::ptr::null() }
    }
}

/// `[rows, k] x [k, cols]`. Each output element is the same chain of operations wherever it stands.
///
/// # Safety
/// The machine has `level`; the operands are valid for the elements their forms name, the output for its own and
/// not read or written elsewhere meanwhile.
pub(crate) unsafe fn multiply(
    level: Level,
    rows: usize,
    cols: usize,
    k: usize,
    left: Left,
    right: Right,
    out: Out,
) {
    let shape = Shape::of(level);
    for from in (0..k).step_by(KC) {
        for (panel, j) in (0..cols).step_by(shape.cols()).enumerate() {
            let width = (cols - j).min(shape.cols());
            // SAFETY: panel and block lie inside the operands.
            unsafe {
                let at = right.ptr.add(panel * right.panel + from * right.step);
                let job = Job {
                    k: (k - from).min(KC),
                    left: std::ptr::null(),
                    left_stride: 0,
                    right: at,
                    right_step: right.step,
                    out: out.ptr.add(j * out.col),
                    out_row: out.row,
                    out_col: out.col,
                    cols: width,
                    alpha: out.alpha,
                    exchanged: out.exchanged,
                    load: out.accumulate || from > 0,
                    bias: bias(&out, j, from),
                };
                column_of_tiles(level, rows, from, left, job);
            }
        }
    }
}

/// The bias from column `j`, with the first terms of the sums only.
///
/// # Safety
/// `j` is a column of the output.
unsafe fn bias(out: &Out, j: usize, from: usize) -> *const f32 {
    if out.bias.is_null() || from > 0 {
        std::ptr::null()
    } else if out.exchanged {
        out.bias
    } else {
        // SAFETY: the bias has a number for every column.
        unsafe { out.bias.add(j) }
    }
}

/// All rows against one panel, for the terms `from..from + job.k`.
///
/// # Safety
/// As [`multiply`].
unsafe fn column_of_tiles(level: Level, rows: usize, from: usize, left: Left, mut job: Job) {
    let shape = Shape::of(level);
    let columns = matches!(left, Left::Columns { .. });
    let vectors = job.cols.div_ceil(shape.lanes);
    let full = select(level, shape.rows, vectors, columns);
    let (out, bias) = (job.out, job.bias);
    for (strip, i) in (0..rows).step_by(shape.rows).enumerate() {
        let height = (rows - i).min(shape.rows);
        // SAFETY: strip, rows and block lie inside the operands.
        unsafe {
            (job.left, job.left_stride) = match left {
                Left::Rows { ptr, stride } => (ptr.add(i * stride + from), stride),
                Left::Columns { ptr, step, strip: size } => (ptr.add(strip * size + from * step), step),
            };
            job.out = out.add(i * job.out_row);
            if job.exchanged && !bias.is_null() {
                job.bias = bias.add(i);
            }
            let run = if height == shape.rows { full } else { select(level, height, vectors, columns) };
            run(&job);
        }
    }
}
