//! How work is spread over rayon's current pool without the number of threads showing in the results.

use rayon::prelude::*;
use std::ops::Range;

/// Elements below which spreading a job costs more than it saves.
pub(crate) const SMALL: usize = 1 << 15;
/// Elements of one piece of an elementwise job: three arrays of it stay in a core's L2 cache.
const PIECE: usize = 1 << 14;
/// Rows summed together before partial sums are combined; fixed, so that sums do not depend on threads.
pub(crate) const SUM_ROWS: usize = 64;

/// Whether a job of `elements` elements is worth spreading over the current pool.
pub(crate) fn worthwhile(elements: usize) -> bool {
    elements >= SMALL && rayon::current_num_threads() > 1
}

/// Calls `f` for every task, on the pool when `spread`, in order on this thread otherwise.
pub(crate) fn tasks(count: usize, spread: bool, f: impl Fn(usize) + Sync + Send) {
    if spread && count > 1 {
        (0..count).into_par_iter().with_max_len(1).for_each(f);
    } else {
        (0..count).for_each(f);
    }
}

/// `f(out)` over pieces of `out`; `f` also gets the piece's first index.
pub(crate) fn fill(out: &mut [f32], f: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if worthwhile(out.len()) {
        out.par_chunks_mut(PIECE).enumerate().for_each(|(i, o)| f(i * PIECE, o));
    } else {
        f(0, out);
    }
}

/// `f(x, out)` over matching pieces; `f` must treat each element alone.
pub(crate) fn unary(x: &[f32], out: &mut [f32], f: impl Fn(&[f32], &mut [f32]) + Sync + Send) {
    assert_eq!(x.len(), out.len(), "input and output lengths");
    fill(out, |i, o| f(&x[i..i + o.len()], o));
}

/// `f(a, b, out)` over matching pieces; `f` must treat each element alone.
pub(crate) fn binary(
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync + Send,
) {
    assert_eq!(a.len(), out.len(), "first input and output lengths");
    assert_eq!(b.len(), out.len(), "second input and output lengths");
    fill(out, |i, o| f(&a[i..i + o.len()], &b[i..i + o.len()], o));
}

/// `f(first_row, rows_of_out)` over blocks of whole rows of a `[rows, cols]` output; rows must be independent.
pub(crate) fn rows(out: &mut [f32], cols: usize, f: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if cols == 0 {
        return;
    }
    let block = (PIECE / cols).max(1);
    if worthwhile(out.len()) {
        out.par_chunks_mut(block * cols).enumerate().for_each(|(i, o)| f(i * block, o));
    } else {
        f(0, out);
    }
}

/// Writes to `out` the sum over rows of what `add(rows, partial)` adds to zeroed partial sums.
///
/// `elements` is the size of the whole job.
pub(crate) fn sum_over_rows(
    count: usize,
    elements: usize,
    out: &mut [f32],
    add: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) {
    out.fill(0.0);
    let width = out.len();
    if width == 0 || count == 0 {
        return;
    }
    let mut partials = vec![0.0; count.div_ceil(SUM_ROWS) * width];
    let one = |(i, partial): (usize, &mut [f32])| add(i * SUM_ROWS..((i + 1) * SUM_ROWS).min(count), partial);
    if worthwhile(elements) {
        partials.par_chunks_mut(width).enumerate().for_each(one);
    } else {
        partials.chunks_mut(width).enumerate().for_each(one);
    }
    combine(&partials, out);
}

/// Adds rows of partial sums to `out` in order.
pub(crate) fn combine(partials: &[f32], out: &mut [f32]) {
    for partial in partials.chunks_exact(out.len().max(1)) {
        out.iter_mut().zip(partial).for_each(|(o, p)| *o += p);
    }
}

/// A pointer that tasks may share; each task touches only its own elements.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: the tasks that share the pointer write disjoint elements; each use says why.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Shared(slice.as_mut_ptr())
    }

    /// The element at `index`, to hand on as a raw pointer; a method, so that closures capture the whole wrapper.
    ///
    /// # Safety
    /// `index` must lie inside the slice or just behind it.
    pub(crate) unsafe fn at(self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// `range` must lie inside the slice, which must outlive the result, and no other task may hold these elements.
    pub(crate) unsafe fn slice<'a>(self, range: Range<usize>) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}
