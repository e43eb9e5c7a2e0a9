//! The backward of attention: probabilities are recomputed from the saved log-sum-exp, block by block.
//!
//! A cell is a chunk of queries against a block of keys. Cells on one diagonal (chunk number + block number) share neither
//! queries nor keys, so they run side by side; diagonal after diagonal every sum grows in the same order on any number of
//! threads, and no partial sums of whole matrices are needed.

use super::*;
use crate::math::{exp, sum2};
use crate::matmul::block::{Left, Out, Right, multiply};
use crate::matmul::pack::with_scratch;
use crate::parallel::{self, Shared};
use crate::simd::level;

simd_fn! {
    /// From visible scores and the gradients of the dropped-out probabilities: `scores` becomes those probabilities,
    /// `grads` the gradient of the scores.
    fn score_gradients(scores: &mut [f32], grads: &mut [f32], factors: &[f32], lse: f32, delta: f32) {
        for ((s, g), f) in scores.iter_mut().zip(grads).zip(factors) {
            let probability = exp(*s - lse);
            *g = probability * (*g * f - delta);
            *s = probability * f;
        }
    }
}

simd_fn! {
    /// The slope of the cap `c tanh(x / c)` where its value is `capped`.
    fn cap_slopes(capped: &[f32], c: f32, slopes: &mut [f32]) {
        for (slope, y) in slopes.iter_mut().zip(capped) {
            let t = y / c;
            *slope = (1.0 - t) * (1.0 + t);
        }
    }
}

simd_fn! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        sum2(a, b, |a, b| a * b)
    }
}

/// What all tasks share.
struct Inputs<'a> {
    p: &'a AttentionShape,
    level: Level,
    q: &'a [f32],
    /// Keys and values: own, prefix, and the sums of their gradients, those of the prefix `[sequences, prefix_len, …]`.
    sides: [Side<'a>; 2],
    /// `[heads, distances]`.
    bias: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
    dq: Shared<f32>,
}

#[derive(Clone, Copy)]
struct Side<'a> {
    own: &'a [f32],
    prefix: &'a [f32],
    sums: Shared<f32>,
    shares: Shared<f32>,
}

/// One task: a chunk of queries of the heads that share a key head, against a block of keys.
#[derive(Clone, Copy)]
struct Cell {
    chunk: Chunk,
    kv_head: usize,
    block: Block,
}

/// A cell's scratch memory.
struct Work<'a> {
    /// Width of a head, up to whole vectors.
    padded: usize,
    /// `[KEYS, padded]`.
    k: &'a mut [f32],
    /// Panels of `[head_dim, KEYS]`.
    kt: &'a mut [f32],
    vt: &'a mut [f32],
    /// `[QUERIES, padded]`.
    q: &'a mut [f32],
    dout: &'a mut [f32],
    /// `[QUERIES, KEYS]`.
    scores: &'a mut [f32],
    grads: &'a mut [f32],
    factors: &'a mut [f32],
    slopes: &'a mut [f32],
    /// `[group, distances in the cell]` if the bias wants its gradient, else empty.
    dbias: &'a mut [f32],
}

/// Some queries of one head of a cell against the part of its block that they see.
#[derive(Clone, Copy)]
struct Part {
    head: usize,
    /// First query within the sequence, and how many.
    first: usize,
    count: usize,
    block: Block,
}

/// Gradients of [`super::forward`] from its inputs, `out` and `lse`, and the gradient `dout` of `out`; all written.
pub fn backward(
    p: &AttentionShape,
    operands: Operands,
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    gradients: Gradients,
) {
    let tokens = p.check(&operands);
    let Operands { q, k, v, prefix_k, prefix_v, bias } = operands;
    assert_eq!(
        (out.len(), dout.len(), lse.len()),
        (q.len(), q.len(), tokens * p.form.heads),
        "output and gradient"
    );
    let Gradients { dq, dk, dv, dprefix_k, dprefix_v, mut dbias } = gradients;
    assert_eq!((dq.len(), dk.len(), dv.len()), (q.len(), k.len(), v.len()), "gradients of q, k, v");
    let prefix = prefix_k.len();
    assert_eq!((dprefix_k.len(), dprefix_v.len()), (prefix, prefix), "gradients of the prefix");
    for sums in [&mut *dq, &mut *dk, &mut *dv] {
        sums.fill(0.0);
    }
    if let Some(dbias) = &mut dbias {
        assert_eq!(dbias.len(), bias.len(), "gradient of the bias");
        dbias.fill(0.0);
    }
    // Each sequence's share of the prefix gradients; added in order at the end.
    let [mut share_k, mut share_v] = [0; 2].map(|_| vec![0.0; prefix * p.sequences()]);
    let sides = [(k, prefix_k, dk, &mut share_k), (v, prefix_v, dv, &mut share_v)].map(
        |(own, prefix, sums, shares)| Side {
            own,
            prefix,
            sums: Shared::new(sums),
            shares: Shared::new(shares),
        },
    );
    let bias = p.bias_by_head(bias);
    let inputs = Inputs { p, level: level(), q, sides, bias: &bias, out, lse, dout, dq: Shared::new(dq) };
    let (spread, distances) = (p.spread(), dbias.as_ref().map_or(0, |_| cell_distances(p)));
    for cells in diagonals(p) {
        let mut partials = vec![0.0; cells.len() * distances];
        let shared = Shared::new(&mut partials);
        parallel::tasks(cells.len(), spread, |i| {
            // SAFETY: each cell has its own partial sums.
            let partial = unsafe { shared.slice(i * distances..(i + 1) * distances) };
            inputs.cell(cells[i], partial);
        });
        if let Some(dbias) = &mut dbias {
            let partials = partials.chunks_exact(distances);
            cells.iter().zip(partials).for_each(|(cell, partial)| add_to_bias(p, *cell, partial, dbias));
        }
    }
    for (share, out) in [(share_k, dprefix_k), (share_v, dprefix_v)] {
        out.fill(0.0);
        parallel::combine(&share, out);
    }
}

/// The cells by diagonal.
fn diagonals(p: &AttentionShape) -> Vec<Vec<Cell>> {
    let mut diagonals: Vec<Vec<Cell>> = Vec::new();
    for chunk in p.chunks() {
        for (number, block) in p.blocks(chunk) {
            let diagonal = chunk.number + number;
            if diagonals.len() <= diagonal {
                diagonals.resize_with(diagonal + 1, Vec::new);
            }
            diagonals[diagonal].extend((0..p.form.kv_heads).map(|kv_head| Cell { chunk, kv_head, block }));
        }
    }
    diagonals
}

/// Sums over distances that a cell may need, for all its heads.
fn cell_distances(p: &AttentionShape) -> usize {
    let queries = p.chunks().iter().map(|chunk| chunk.count).max().unwrap_or(0);
    p.group() * (queries + KEYS)
}

/// The distance that a cell's sums start at: from its last query to its first key.
fn lowest_distance(p: &AttentionShape, cell: Cell) -> isize {
    let last = cell.chunk.first + cell.chunk.count - 1;
    p.key_place(cell.block.first) - p.place(cell.chunk.sequence, last) as isize
}

fn add_to_bias(p: &AttentionShape, cell: Cell, partial: &[f32], dbias: &mut [f32]) {
    let Some(first) = p.bias_first else { return };
    let lowest = lowest_distance(p, cell) - first;
    for (head, sums) in partial.chunks_exact(partial.len() / p.group()).enumerate() {
        let column = cell.kv_head * p.group() + head;
        for (i, sum) in sums.iter().enumerate().take(cell.chunk.count + cell.block.here - 1) {
            // Distances beyond the table belong to pairs that do not see each other.
            let Ok(row) = usize::try_from(lowest + i as isize) else { continue };
            if let Some(d) = dbias.get_mut(row * p.form.heads + column) {
                *d += sum;
            }
        }
    }
}

impl Inputs<'_> {
    fn cell(&self, cell: Cell, dbias: &mut [f32]) {
        let (p, d) = (self.p, self.p.form.head_dim);
        let padded = d.next_multiple_of(Shape::of(self.level).lanes);
        let (panels, rows, block) = (KEYS * d, QUERIES * padded, QUERIES * KEYS);
        let lengths = [KEYS * padded, panels, panels, rows, rows, block, block, KEYS, KEYS];
        with_scratch(lengths.iter().sum(), |buffer| {
            let [k, kt, vt, q, dout, scores, grads, factors, slopes] = pieces(buffer, lengths);
            let [keys, values] = self.sides.map(|side| {
                Rows::of(p, side.own, side.prefix, cell.chunk.sequence, cell.kv_head, cell.block)
            });
            keys.copy_padded(padded, k);
            keys.copy_transposed(self.level, kt);
            values.copy_transposed(self.level, vt);
            factors.fill(1.0);
            let mut work = Work { padded, k, kt, vt, q, dout, scores, grads, factors, slopes, dbias };
            for head in cell.kv_head * p.group()..(cell.kv_head + 1) * p.group() {
                for first in (0..cell.chunk.count).step_by(QUERIES) {
                    let count = (cell.chunk.count - first).min(QUERIES);
                    let some = Chunk { first: cell.chunk.first + first, count, ..cell.chunk };
                    if let Some(block) = p.seen(cell.block, some) {
                        self.part(cell, Part { head, first: some.first, count, block }, &mut work);
                    }
                }
            }
        });
    }

    fn part(&self, cell: Cell, part: Part, work: &mut Work) {
        let (p, d) = (self.p, self.p.form.head_dim);
        let token = p.queries.starts[cell.chunk.sequence] + part.first;
        let mut deltas = [0.0; QUERIES];
        for (i, delta) in deltas.iter_mut().enumerate().take(part.count) {
            let at = ((token + i) * p.form.heads + part.head) * d;
            *delta = dot(self.level, &self.out[at..at + d], &self.dout[at..at + d]);
            for (from, to) in [(self.q, &mut work.q), (self.dout, &mut work.dout)] {
                let row = &mut to[i * work.padded..][..work.padded];
                row[..d].copy_from_slice(&from[at..at + d]);
                row[d..].fill(0.0);
            }
        }
        self.recompute(part, work);
        for (i, delta) in deltas.iter().enumerate().take(part.count) {
            self.row(cell, part, i, *delta, work);
        }
        self.accumulate(cell, part, token, work);
    }

    /// `scores = scale * q k^T`, `grads = dout v^T`.
    fn recompute(&self, part: Part, work: &mut Work) {
        let (d, cols) = (self.p.form.head_dim, Shape::of(self.level).cols());
        let products = [
            (&work.q, &work.kt, &mut work.scores, self.p.form.scale),
            (&work.dout, &work.vt, &mut work.grads, 1.0),
        ];
        let here = whole_vectors(self.level, part.block.here);
        for (left, right, out, alpha) in products {
            let left = Left::Rows { ptr: left.as_ptr(), stride: work.padded };
            let right = Right { ptr: right.as_ptr(), step: cols, panel: cols * d };
            let out = Out::rows(out.as_mut_ptr(), KEYS, alpha, false);
            // SAFETY: the level was detected; the queries, the zero-padded panels and the block exist.
            unsafe { multiply(self.level, part.count, here, d, left, right, out) };
        }
    }

    /// Query `i` of a part: probabilities and gradients of the scaled scores, zero where the query does not see.
    fn row(&self, cell: Cell, part: Part, i: usize, delta: f32, work: &mut Work) {
        let (p, sequence, query) = (self.p, cell.chunk.sequence, part.first + i);
        let visible = p.visible_in(part.block, sequence, query);
        let rows = [&mut *work.scores, &mut *work.grads].map(|all| &mut all[i * KEYS..][..part.block.here]);
        let [scores, grads] = rows.map(|row| {
            row[..visible.start].fill(0.0);
            row[visible.end..].fill(0.0);
            &mut row[visible.clone()]
        });
        let slopes = &mut work.slopes[..scores.len()];
        if let Some(c) = p.form.softcap {
            crate::softcap::cap_in_place(self.level, c, scores);
            cap_slopes(self.level, scores, c, slopes);
        }
        let (place, key) = (p.place(sequence, query), part.block.first.plus(visible.start));
        p.add_bias(self.level, scores, self.bias, part.head, place, key);
        let token = p.queries.starts[sequence] + query;
        if let Some(dropout) = &p.form.dropout {
            let first = p.element_in_mask(part.head, part.block.first);
            dropout.factors(self.level, token, first, &mut work.factors[..visible.end]);
        }
        let lse = self.lse[token * p.form.heads + part.head];
        score_gradients(self.level, scores, grads, &work.factors[visible.clone()], lse, delta);
        if !work.dbias.is_empty() && !visible.is_empty() {
            let sums = work.dbias.len() / p.group();
            let at = usize::try_from(p.key_place(key) - place as isize - lowest_distance(p, cell));
            let at = part.head % p.group() * sums + at.expect("the lowest distance is the lowest");
            add_in_place(self.level, &mut work.dbias[at..at + grads.len()], grads);
        }
        if p.form.softcap.is_some() {
            multiply_in_place(self.level, grads, slopes);
        }
    }

    /// `dq += grads k`, `dk += grads^T q`, `dv += probabilities^T dout`, the first two times the scale.
    fn accumulate(&self, cell: Cell, part: Part, token: usize, work: &mut Work) {
        let (p, level, d) = (self.p, self.level, self.p.form.head_dim);
        let (wide, narrow) = p.strides();
        let left = Left::Rows { ptr: work.grads.as_ptr(), stride: KEYS };
        let right = Right::rows(level, work.k.as_ptr(), work.padded);
        // SAFETY: no cell of this diagonal has these queries; keys are padded to whole vectors.
        unsafe {
            let out = Out::rows(self.dq.at(token * wide + part.head * d), wide, p.form.scale, true);
            multiply(level, part.count, d, part.block.here, left, right, out);
        }
        let row = p.key_row(cell.chunk.sequence, part.block.first);
        let at = row * narrow + cell.kv_head * d;
        let products = [(&work.grads, &work.q, p.form.scale), (&work.scores, &work.dout, 1.0)];
        for (side, (left, right, alpha)) in self.sides.iter().zip(products) {
            let left = Left::columns(level, left.as_ptr(), KEYS);
            let right = Right::rows(level, right.as_ptr(), work.padded);
            // SAFETY: no cell of this diagonal has these keys; the block and the padded queries exist.
            unsafe {
                let sums = match part.block.first {
                    Key::Own(_) => side.sums.at(at),
                    Key::Prefix(_) => side.shares.at(cell.chunk.sequence * p.prefix_len * narrow + at),
                };
                multiply(
                    level,
                    part.block.here,
                    d,
                    part.count,
                    left,
                    right,
                    Out::rows(sums, narrow, alpha, true),
                );
            }
        }
    }
}
