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
pub(super) struct Job {
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

pub(super) type Tile = unsafe fn(&Job);

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
        for (i, l) in left.iter_mut().enumerate() {
            *l = job.left.add(if COLUMNS { i } else { i * job.left_stride });
        }
        let step = if COLUMNS { job.left_stride } else { 1 };
        let mut right = job.right;
        for p in 0..job.k {
            let mut b = [V::splat(0.0); NV];
            for (j, b) in b.iter_mut().enumerate() {
                *b = V::load(right.add(j * V::LANES));
            }
            for i in 0..MR {
                let a = V::splat(*if COLUMNS { left[0].add(p * step + i) } else { left[i].add(p) });
                for j in 0..NV {
                    sums[i][j] = a.fma(b[j], sums[i][j]);
                }
            }
            right = right.add(job.right_step);
        }
        if job.exchanged { scatter(job, &sums) } else { write_rows(job, &sums) }
    }
}

/// Writes a tile whose output rows are contiguous.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn write_rows<V: Lanes, const MR: usize, const NV: usize>(job: &Job, sums: &[[V; NV]; MR]) {
    // SAFETY: the caller's promise; the last vector touches only the columns that exist.
    unsafe {
        let alpha = V::splat(job.alpha);
        for (i, sums) in sums.iter().enumerate() {
            let row = job.out.add(i * job.out_row);
            for (j, sum) in sums.iter().enumerate() {
                let at = j * V::LANES;
                let exist = job.cols - at;
                let whole = exist >= V::LANES;
                let read =
                    |p: *const f32| if whole { V::load(p.add(at)) } else { V::load_first(p.add(at), exist) };
                let mut base = V::splat(0.0);
                if job.load {
                    base = read(row);
                }
                if !job.bias.is_null() {
                    base = base.add(read(job.bias));
                }
                let value = alpha.fma(*sum, base);
                if whole { value.store(row.add(at)) } else { value.store_first(row.add(at), exist) }
            }
        }
    }
}

/// Writes a tile whose output is the transpose: elements may stand anywhere, biases belong to rows.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn scatter<V: Lanes, const MR: usize, const NV: usize>(job: &Job, sums: &[[V; NV]; MR]) {
    // SAFETY: the caller's promise; `row` holds the widest vectors there are.
    unsafe {
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let mut row = [0.0f32; 16];
                sum.store(row.as_mut_ptr());
                let at = j * V::LANES;
                for (lane, value) in row.iter().enumerate().take((job.cols - at).min(V::LANES)) {
                    let out = job.out.add(i * job.out_row + (at + lane) * job.out_col);
                    let mut base = if job.load { *out } else { 0.0 };
                    if !job.bias.is_null() {
                        base += *job.bias.add(i);
                    }
                    *out = V::multiply_add(job.alpha, *value, base);
                }
            }
        }
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
