//! The register tiles: a few rows of the left operand times a few vectors of the right one.

use super::lanes::{Lanes, Portable};
use crate::simd::Level;

/// Rows and vectors of the full tile, and lanes of a vector, on each level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub rows: usize,
    pub vectors: usize,
    pub lanes: usize,
}

impl Shape {
    /// The full tile: 24 accumulators of 32 registers, 12 of 16, 8 of 16.
    pub(crate) const fn of(level: Level) -> Shape {
        match level {
            Level::Avx512 => Shape { rows: 8, vectors: 3, lanes: 16 },
            Level::Avx2 => Shape { rows: 6, vectors: 2, lanes: 8 },
            Level::Scalar => Shape { rows: 4, vectors: 2, lanes: 4 },
        }
    }

    /// Columns of the full tile.
    pub(crate) const fn cols(&self) -> usize {
        self.vectors * self.lanes
    }
}

/// One tile's operands: `out = alpha * left * right + base`, base being what is there (`load`), the bias, or zero.
pub(crate) struct Job {
    /// Length of the sums.
    pub k: usize,
    /// Element (i, p) of the left operand is at `i * left_stride + p`, or at `i + p * left_stride` (`COLUMNS`).
    pub left: *const f32,
    pub left_stride: usize,
    /// Element (p, j) of the right operand is at `p * right_step + j`; whole vectors are read.
    pub right: *const f32,
    pub right_step: usize,
    /// Element (i, j) of the output is at `i * out_row + j * out_col`.
    pub out: *mut f32,
    pub out_row: usize,
    /// 1 unless `exchanged`.
    pub out_col: usize,
    /// Columns that exist: at least one of the last vector's.
    pub cols: usize,
    pub alpha: f32,
    pub load: bool,
    /// Whether the output is the transpose of the matrix that is written.
    pub exchanged: bool,
    /// Null, or one number a column, or one a row if `exchanged`.
    pub bias: *const f32,
}

/// Numbers of the largest tile.
pub(crate) const BUFFER: usize = 8 * 48;

pub(super) type Tile = unsafe fn(&Job);

/// Repeats a statement for the constants `$i < $n`, at most 8. Loops over the accumulators must be gone before LLVM
/// decides what lives in registers: left to its own unrolling, it stores every accumulator in every step.
macro_rules! unrolled {
    ($i:ident < $n:tt, $body:expr) => {
        unrolled!(@ $i $n $body; 0 1 2 3 4 5 6 7)
    };
    (@ $i:ident $n:tt $body:expr; $($value:literal)*) => {
        $(if $value < $n {
            const $i: usize = $value;
            $body;
        })*
    };
}
pub(crate) use unrolled;

/// `MR` rows by `NV` vectors.
///
/// # Safety
/// The machine has `V`'s instructions, and the job's pointers are valid for the elements it names.
#[inline(always)]
unsafe fn tile<V: Lanes, const MR: usize, const NV: usize, const COLUMNS: bool>(job: &Job) {
    // SAFETY: the caller's promise; every offset stays within the tile's rows, columns and k.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        let mut left = [job.left; MR];
        unrolled!(I < MR, left[I] = job.left.add(if COLUMNS { I } else { I * job.left_stride }));
        let step = if COLUMNS { job.left_stride } else { 1 };
        let mut right = job.right;
        for p in 0..job.k {
            let mut b = [V::splat(0.0); NV];
            unrolled!(J < NV, b[J] = V::load(right.add(J * V::LANES)));
            unrolled!(I < MR, {
                let a = V::splat(*if COLUMNS { left[0].add(p * step + I) } else { left[I].add(p) });
                unrolled!(J < NV, sums[I][J] = a.fma(b[J], sums[I][J]));
            });
            right = right.add(job.right_step);
        }
        if !job.exchanged && job.cols == NV * V::LANES {
            write_whole(job, sums);
        } else {
            let mut buffer = [0.0f32; BUFFER];
            unrolled!(I < MR, {
                unrolled!(J < NV, sums[I][J].store(buffer.as_mut_ptr().add((I * NV + J) * V::LANES)));
            });
            V::write_elements(job, &buffer, MR, NV * V::LANES);
        }
    }
}

/// Writes a tile all of whose columns exist.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn write_whole<V: Lanes, const MR: usize, const NV: usize>(job: &Job, sums: [[V; NV]; MR]) {
    // SAFETY: the caller's promise.
    unsafe {
        let alpha = V::splat(job.alpha);
        let mut bias = [V::splat(0.0); NV];
        if !job.bias.is_null() {
            unrolled!(J < NV, bias[J] = V::load(job.bias.add(J * V::LANES)));
        }
        let at = |i: usize, j: usize| job.out.add(i * job.out_row + j * V::LANES);
        if job.load {
            unrolled!(I < MR, {
                unrolled!(J < NV, alpha.fma(sums[I][J], V::load(at(I, J)).add(bias[J])).store(at(I, J)));
            });
        } else {
            unrolled!(I < MR, {
                unrolled!(J < NV, alpha.fma(sums[I][J], bias[J]).store(at(I, J)));
            });
        }
    }
}

/// Writes a tile of which only some columns exist, or whose output is the transpose: there elements may stand anywhere
/// and biases belong to rows. The operations are those of [`write_whole`].
///
/// # Safety
/// As [`tile`]; `sums` is `[rows, width]`.
#[inline(always)]
pub(super) unsafe fn write_elements(
    job: &Job,
    sums: &[f32; BUFFER],
    rows: usize,
    width: usize,
    fma: impl Fn(f32, f32, f32) -> f32,
) {
    let write = |i: usize, j: usize| {
        // SAFETY: the caller's promise.
        unsafe {
            let out = job.out.add(i * job.out_row + j * job.out_col);
            let mut base = 0.0;
            if !job.bias.is_null() {
                base = *job.bias.add(if job.exchanged { i } else { j });
            }
            if job.load {
                base += *out;
            }
            *out = fma(job.alpha, sums[i * width + j], base);
        }
    };
    // Neighbours in memory one after the other: columns are pages apart, and drive each other out of the cache.
    if job.exchanged {
        (0..job.cols).for_each(|j| (0..rows).for_each(|i| write(i, j)));
    } else {
        (0..rows).for_each(|i| (0..job.cols).for_each(|j| write(i, j)));
    }
}

/// # Safety
/// As [`tile`].
unsafe fn portable<const MR: usize, const NV: usize, const COLUMNS: bool>(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { tile::<Portable, MR, NV, COLUMNS>(job) }
}

/// # Safety
/// As [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const MR: usize, const NV: usize, const COLUMNS: bool>(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { tile::<std::arch::x86_64::__m256, MR, NV, COLUMNS>(job) }
}

/// # Safety
/// As [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<const MR: usize, const NV: usize, const COLUMNS: bool>(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { tile::<std::arch::x86_64::__m512, MR, NV, COLUMNS>(job) }
}

/// The instance of `$f` for run-time rows, vectors and form.
macro_rules! instance {
    ($f:ident, $rows:expr, $vectors:expr, $columns:expr, $all:tt, [$($nv:literal)*]) => {
        match ($vectors, $columns) {
            $(($nv, false) => instance!(@rows $f, $rows, $nv, false, $all),)*
            $(($nv, true) => instance!(@rows $f, $rows, $nv, true, $all),)*
            _ => unreachable!("no tile of {} vectors", $vectors),
        }
    };
    (@rows $f:ident, $rows:expr, $nv:literal, $columns:literal, [$($mr:literal)*]) => {
        match $rows {
            $($mr => $f::<$mr, $nv, $columns> as Tile,)*
            _ => unreachable!("no tile of {} rows", $rows),
        }
    };
}

/// The tile of `rows` by `vectors`, both at most those of [`Shape::of`]; `columns` tells the left operand's form.
pub(super) fn select(level: Level, rows: usize, vectors: usize, columns: bool) -> Tile {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => instance!(avx512, rows, vectors, columns, [1 2 3 4 5 6 7 8], [1 2 3]),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => instance!(avx2, rows, vectors, columns, [1 2 3 4 5 6], [1 2]),
        _ => instance!(portable, rows, vectors, columns, [1 2 3 4], [1 2]),
    }
}
