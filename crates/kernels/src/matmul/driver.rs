//! Decides the roles of the operands and how the work is cut, packs, and spreads the tiles over threads.

use super::block::{self, KC, Left, Out, Right};
#[cfg(target_arch = "x86_64")]
use super::few::Few;
use super::pack::{Source, with_scratch};
use super::tile::Shape;
use crate::parallel::{self, Shared};
use crate::simd::{Level, level};
use std::ops::Range;

/// Multiply-adds below which spreading a product costs more than it saves.
const SMALL: usize = 1 << 19;
/// Floats of one packed operand that are held at a time (1 MB: half of a common L2 cache).
const PACKED: usize = 1 << 18;
/// Most terms of the sums at a time: of operands larger than the caches, tasks then read the same part. A multiple of
/// `KC`.
const DEEP: usize = 4 * KC;
/// Rows of the left operand whose terms between two cuts one task holds in its L2 cache.
const TASK_ROWS: usize = 256;
/// Numbers of a page of memory: rows of a multiple of them drive each other out of the caches.
const PAGE: usize = 1024;
/// Lanes of the other operand from which on one that could stay where it lies may be worth packing.
const OFTEN: usize = 160;
/// Up to this many lanes a left operand stored along its lanes is read where it lies.
const NARROW: usize = 32;

/// A product ready to run.
#[derive(Clone, Copy)]
struct Product<'a> {
    level: Level,
    shape: Shape,
    left: Source<'a>,
    right: Source<'a>,
    out: Out,
    pack_left: bool,
    pack_right: bool,
    /// Whether a block of the right operand is packed as one panel, of which the tiles read their columns: widening alone.
    wide: bool,
    spread: bool,
}

// SAFETY: tasks write through the output pointer, each its own elements.
unsafe impl Sync for Product<'_> {}

/// Raw views that tasks share: operands are only read, each output element belongs to one task.
#[derive(Clone, Copy)]
struct Views {
    left: Left,
    right: Right,
    out: Out,
}

// SAFETY: tasks read the operands and write disjoint parts of the output.
unsafe impl Send for Views {}
// SAFETY: as above.
unsafe impl Sync for Views {}

impl Views {
    /// The views themselves; a method, so that closures capture the whole.
    fn get(&self) -> Views {
        *self
    }
}

/// Runs a product whose lengths have been checked and are not zero.
pub(super) fn run(
    alpha: f32,
    left: Source,
    right: Source,
    bias: Option<&[f32]>,
    accumulate: bool,
    out: &mut [f32],
) {
    let level = level();
    let shape = Shape::of(level);
    let n = right.lanes;
    #[cfg(target_arch = "x86_64")]
    if let Some(few) = Few::of(level, alpha, &left, &right, bias, accumulate) {
        return few.run(out);
    }
    let spread = left.lanes * n * left.k >= SMALL && rayon::current_num_threads() > 1;
    let bias = bias.map_or(std::ptr::null(), |b| b.as_ptr());
    let out = Out { ptr: out.as_mut_ptr(), row: n, col: 1, alpha, accumulate, exchanged: false, bias };
    let scatter = (left.lanes * n) as f64;
    let exchange = cost(&shape, &right, &left) + scatter < cost(&shape, &left, &right);
    let (left, right, out) = if exchange {
        (right, left, Out { row: 1, col: n, exchanged: true, ..out })
    } else {
        (left, right, out)
    };
    let product = Product {
        level,
        shape,
        left,
        right,
        out,
        pack_left: packs_left(&left, &right),
        pack_right: packs_right(&shape, &left, &right),
        wide: !right.along_k && is_few(&shape, &left),
        spread,
    };
    product.run();
}

/// Rough cycles of a product with these roles.
fn cost(shape: &Shape, left: &Source, right: &Source) -> f64 {
    let (l, r, k) = (left.lanes, right.lanes, left.k);
    let tiles = (l * r.div_ceil(shape.lanes) * k) as f64 * 0.5;
    let packing = |source: &Source, needed: bool| {
        let each = if source.along_k { 1.0 } else { 0.4 };
        if needed { each * (source.lanes * source.k) as f64 } else { 0.0 }
    };
    tiles + packing(left, packs_left(left, right)) + packing(right, packs_right(shape, left, right))
}

/// What tiles could read where it lies is packed too if it is the larger operand and read often: the processor fetches
/// it ahead in one run, where tiles would ask for a little of many rows.
fn packs_left(left: &Source, right: &Source) -> bool {
    let lies = if left.along_k { !is_streamed(left, right) } else { left.lanes <= NARROW };
    left.elements.as_f32().is_none() || !lies
}

/// See [`packs_left`]; the right operand may stay only if its vectors do, and if its rows are not whole pages apart,
/// which share few sets of the caches.
fn packs_right(shape: &Shape, left: &Source, right: &Source) -> bool {
    let aliased = right.lanes.is_multiple_of(PAGE) && left.lanes > OFTEN;
    let lies =
        !right.along_k && right.lanes.is_multiple_of(shape.lanes) && !aliased && !is_streamed(right, left);
    right.elements.as_f32().is_none() || !lies
}

/// Whether an operand is the larger one and read by many tiles.
fn is_streamed(operand: &Source, other: &Source) -> bool {
    operand.lanes > other.lanes && other.lanes >= OFTEN
}

/// Whether the left operand has too few rows for a widened right one to profit from being brought into panels.
fn is_few(shape: &Shape, left: &Source) -> bool {
    left.lanes <= 2 * shape.rows
}

impl Product<'_> {
    /// Where packing is much of the work, every thread packs its own part of the larger operand and multiplies it: memory
    /// that one core has just written is slow to read for another.
    fn run(&self) {
        let (rows, cols) = (0..self.left.lanes, 0..self.right.lanes);
        let packs = |side: &Source, packs: bool| if packs { side.lanes } else { 0 };
        let [left, right] = [packs(&self.left, self.pack_left), packs(&self.right, self.pack_right)];
        let alone = Product { spread: false, ..*self };
        if !self.spread || left.max(right) < rows.end.max(cols.end) {
            self.part(rows, cols);
        } else if right >= left {
            let groups = groups(cols.end, self.shape.cols());
            parallel::tasks(groups.len(), true, |task| alone.part(rows.clone(), groups[task].clone()));
        } else {
            let groups = groups(rows.end, self.shape.rows);
            parallel::tasks(groups.len(), true, |task| alone.part(groups[task].clone(), cols.clone()));
        }
    }

    /// Some rows and columns of the product.
    fn part(&self, rows: Range<usize>, cols: Range<usize>) {
        let (l, r, k) = (rows.len(), cols.len(), self.left.k);
        let (first_row, first_col) = (rows.start, cols.start);
        let deep = DEEP.min(k);
        let block = |lanes: usize, unit: usize, packs: bool| {
            if packs { (PACKED / deep / unit).max(1) * unit } else { lanes }
        };
        let rows = block(l, self.shape.rows, self.pack_left).min(l);
        let cols = block(r, self.shape.cols(), self.pack_right).min(r);
        let right_size = if self.pack_right { deep * cols.next_multiple_of(self.shape.cols()) } else { 0 };
        let left_size = if self.pack_left { deep * rows.next_multiple_of(self.shape.rows) } else { 0 };
        with_scratch(right_size + left_size, |scratch| {
            let (right, left) = scratch.split_at_mut(right_size);
            for j in (0..r).step_by(cols) {
                for from in (0..k).step_by(deep) {
                    let terms = from..(from + deep).min(k);
                    for i in (0..l).step_by(rows) {
                        // The right panels serve all blocks of rows.
                        let fresh = self.pack_right && i == 0;
                        self.block(
                            first_row + i..first_row + (i + rows).min(l),
                            first_col + j..first_col + (j + cols).min(r),
                            terms.clone(),
                            left,
                            right,
                            fresh,
                        );
                    }
                }
            }
        });
    }

    /// One block: packs what is to be packed, then multiplies.
    fn block(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        terms: Range<usize>,
        left: &mut [f32],
        right: &mut [f32],
        fresh: bool,
    ) {
        let (k, height, width) = (terms.len(), self.shape.rows, self.right_width(cols.len()));
        let panels = if fresh { cols.len().div_ceil(width) } else { 0 };
        let strips = if self.pack_left { rows.len().div_ceil(height) } else { 0 };
        let (left_ptr, right_ptr) = (Shared::new(left), Shared::new(right));
        let of_right = pieces(&self.right, panels, k);
        let size = (panels * width + strips * height) * k;
        let tasks = of_right + pieces(&self.left, strips, k);
        parallel::tasks(tasks, self.spread && size >= parallel::SMALL, |task| {
            // SAFETY: the scratch memory holds all panels and strips, and every piece is one task's.
            unsafe {
                if task < of_right {
                    self.right_piece(task, &cols, &terms, right_ptr);
                } else {
                    self.left_piece(task - of_right, &rows, &terms, left_ptr);
                }
            }
        });
        let views = self.views(&rows, &cols, &terms, left, right);
        self.multiply(rows.len(), cols.len(), terms.len(), views);
    }

    /// Columns of a packed panel of a block of `cols` columns.
    fn right_width(&self, cols: usize) -> usize {
        let width = self.shape.cols();
        if self.wide { cols.next_multiple_of(width) } else { width }
    }

    /// # Safety
    /// `out` holds all panels of the block, and no other task has this piece.
    unsafe fn right_piece(&self, piece: usize, cols: &Range<usize>, terms: &Range<usize>, out: Shared<f32>) {
        let width = self.right_width(cols.len());
        // SAFETY: the caller's promise.
        unsafe {
            if self.right.along_k {
                let out = panel(piece, width * terms.len(), out);
                let first = cols.start + piece * width;
                let count = (cols.end - first).min(width);
                self.right.pack_transposed(self.level, first, count, terms.start, width, out);
            } else {
                pack_run(self.level, &self.right, piece, cols, terms, width, out);
            }
        }
    }

    /// # Safety
    /// `out` holds all strips of the block, and no other task has this piece.
    unsafe fn left_piece(&self, piece: usize, rows: &Range<usize>, terms: &Range<usize>, out: Shared<f32>) {
        let height = self.shape.rows;
        // SAFETY: the caller's promise.
        unsafe {
            if self.left.along_k {
                let out = panel(piece, height * terms.len(), out);
                let first = rows.start + piece * height;
                let count = (rows.end - first).min(height);
                let out = &mut out[..count * terms.len()];
                self.left.widen_rows(self.level, first, terms.start, terms.len(), out);
            } else {
                pack_run(self.level, &self.left, piece, rows, terms, height, out);
            }
        }
    }

    /// The operands and the output of a block, packed or as they lie.
    fn views(
        &self,
        rows: &Range<usize>,
        cols: &Range<usize>,
        terms: &Range<usize>,
        left: &[f32],
        right: &[f32],
    ) -> Views {
        let (k, height, width) = (terms.len(), self.shape.rows, self.right_width(cols.len()));
        let left = match (self.left.along_k, self.left.elements.as_f32()) {
            (true, Some(x)) => {
                Left::Rows { ptr: x[rows.start * self.left.k + terms.start..].as_ptr(), stride: self.left.k }
            }
            (true, None) => Left::Rows { ptr: left.as_ptr(), stride: k },
            (false, Some(x)) if !self.pack_left => {
                let lanes = self.left.lanes;
                Left::columns(self.level, x[terms.start * lanes + rows.start..].as_ptr(), lanes)
            }
            (false, _) => Left::Columns { ptr: left.as_ptr(), step: height, strip: height * k },
        };
        let right = match self.right.elements.as_f32() {
            Some(x) if !self.pack_right => {
                let lanes = self.right.lanes;
                Right::rows(self.level, x[terms.start * lanes + cols.start..].as_ptr(), lanes)
            }
            _ if self.wide => Right::rows(self.level, right.as_ptr(), width),
            _ => Right { ptr: right.as_ptr(), step: width, panel: width * k },
        };
        let mut out = self.out;
        // SAFETY: the block lies inside the output, the bias has a number for each of the matrix's columns.
        unsafe {
            out.ptr = out.ptr.add(rows.start * out.row + cols.start * out.col);
            if !out.bias.is_null() {
                out.bias = out.bias.add(if out.exchanged { rows.start } else { cols.start });
            }
        }
        if terms.start > 0 {
            (out.accumulate, out.bias) = (true, std::ptr::null());
        }
        Views { left, right, out }
    }

    /// Spreads a block's tiles over tasks of some strips by some panels. The longer side is cut first: what is read of the
    /// larger operand is then one task's, and read once for all that its cache holds of the other.
    fn multiply(&self, rows: usize, cols: usize, k: usize, views: Views) {
        let (height, width) = (self.shape.rows, self.shape.cols());
        let (strips, panels) = (rows.div_ceil(height), cols.div_ceil(width));
        let wanted = if self.spread { 2 * rayon::current_num_threads() } else { 1 };
        let first = wanted.min(if rows > cols { strips } else { panels });
        let rest = wanted.div_ceil(first);
        let (down, across) = if rows > cols { (first, rest) } else { (rest, first) };
        let high = strips.div_ceil(down).min(TASK_ROWS / height);
        let wide = panels.div_ceil(across);
        let down = strips.div_ceil(high);
        parallel::tasks(down * panels.div_ceil(wide), self.spread, |task| {
            let (i, j) = ((task % down) * high, (task / down) * wide);
            let views = views.get().part(&self.shape, i, j);
            let (rows, cols) = (rows - i * height, cols - j * width);
            let (rows, cols) = (rows.min(high * height), cols.min(wide * width));
            // SAFETY: the level was detected; the views cover the block, and tasks cover disjoint parts of it.
            unsafe { block::multiply(self.level, rows, cols, k, views.left, views.right, views.out) };
        });
    }
}

/// Cuts lanes into whole units, two parts for each thread.
fn groups(lanes: usize, unit: usize) -> Vec<Range<usize>> {
    let each = lanes.div_ceil(unit).div_ceil(2 * rayon::current_num_threads()) * unit;
    (0..lanes).step_by(each).map(|first| first..lanes.min(first + each)).collect()
}

/// Terms that are packed together where storage runs along the lanes.
const TERMS: usize = 32;

/// In how many pieces `panels` panels, or strips, of `k` terms are packed: one each where storage runs along the terms,
/// else some terms of them all.
fn pieces(source: &Source, panels: usize, k: usize) -> usize {
    match panels {
        0 => 0,
        _ if source.along_k => panels,
        _ => k.div_ceil(TERMS),
    }
}

/// # Safety
/// `out` holds the panels, of `size` each, and nobody else has this one.
unsafe fn panel<'a>(number: usize, size: usize, out: Shared<f32>) -> &'a mut [f32] {
    // SAFETY: the caller's promise.
    unsafe { out.slice(number * size..(number + 1) * size) }
}

/// # Safety
/// `out` holds all panels of the block, of `width` lanes each, and no other task has this piece.
unsafe fn pack_run(
    level: Level,
    source: &Source,
    piece: usize,
    lanes: &Range<usize>,
    terms: &Range<usize>,
    width: usize,
    out: Shared<f32>,
) {
    let from = terms.start + piece * TERMS;
    let run = from..(from + TERMS).min(terms.end);
    // SAFETY: the caller's promise.
    unsafe { source.pack_terms(level, lanes, run, terms.start, (width, width * terms.len()), out) };
}

impl Views {
    /// The views from strip `i` and panel `j` on.
    fn part(mut self, shape: &Shape, i: usize, j: usize) -> Views {
        let (row, col) = (i * shape.rows, j * shape.cols());
        // SAFETY: strip and panel lie inside the block.
        unsafe {
            match &mut self.left {
                Left::Rows { ptr, stride } => *ptr = ptr.add(row * *stride),
                Left::Columns { ptr, strip, .. } => *ptr = ptr.add(i * *strip),
            }
            self.right.ptr = self.right.ptr.add(j * self.right.panel);
            self.out.ptr = self.out.ptr.add(row * self.out.row + col * self.out.col);
            if !self.out.bias.is_null() {
                self.out.bias = self.out.bias.add(if self.out.exchanged { row } else { col });
            }
        }
        self
    }
}
