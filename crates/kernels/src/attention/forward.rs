//! The forward of attention: online softmax over blocks of keys.

use super::*;
use crate::math::{exp, max, sum};
use crate::matmul::block::{Left, Out, Right, multiply};
use crate::matmul::pack::with_scratch;
use crate::parallel::{self, Shared};
use crate::simd::level;

simd_fn! {
    /// Turns a block's visible scores into `exp(score - top)`, `top` being the highest so far; gives the new top, the
    /// factor for what was summed under the old one, and the sum of the block.
    fn softmax_block(scores: &mut [f32], top: f32) -> (f32, f32, f32) {
        let highest = max(scores);
        let new = if highest > top { highest } else { top };
        for s in scores.iter_mut() {
            *s = exp(*s - new);
        }
        (new, exp(top - new), sum(scores, |v| v))
    }
}

/// What all tasks share.
struct Inputs<'a> {
    p: &'a AttentionShape,
    level: Level,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    prefix_k: &'a [f32],
    prefix_v: &'a [f32],
    /// `[heads, distances]`.
    bias: &'a [f32],
    out: Shared<f32>,
    lse: Shared<f32>,
}

/// What one task works on: a chunk of queries of the heads that share a key head.
struct Work<'a> {
    chunk: Chunk,
    kv_head: usize,
    /// Width of a head, up to whole vectors.
    padded: usize,
    /// Whether the queries are so few that keys are read where they lie.
    few: bool,
    /// Panels of `[head_dim, KEYS]`; the queries `[head_dim, lanes]` if they are few.
    turned: &'a mut [f32],
    /// `[KEYS, padded]`.
    values: &'a mut [f32],
    /// `[QUERIES, KEYS]` of one head, or all rows by `KEYS` if they are few.
    scores: &'a mut [f32],
    factors: &'a mut [f32],
    /// Of each row, head after head: the highest score so far, and the sum under it.
    tops: &'a mut [f32],
    sums: &'a mut [f32],
}

/// Some queries of one head against a block of keys.
#[derive(Clone, Copy)]
struct Part {
    /// Head within the group, first query within the chunk, and how many.
    head: usize,
    first: usize,
    count: usize,
    block: Block,
    /// Whether this is the first block these queries meet.
    fresh: bool,
}

/// Attention of every sequence.
///
/// `out` is `[queries, heads * head_dim]`; `lse` `[queries, heads]` receives each query's log-sum-exp of the scores for
/// the backward.
pub fn forward(p: &AttentionShape, operands: Operands, out: &mut [f32], lse: &mut [f32]) {
    let tokens = p.check(&operands);
    let Operands { q, k, v, prefix_k, prefix_v, bias } = operands;
    assert_eq!((out.len(), lse.len()), (q.len(), tokens * p.form.heads), "output and log-sum-exp");
    let (bias, chunks) = (p.bias_by_head(bias), p.chunks());
    let (level, out, lse) = (level(), Shared::new(out), Shared::new(lse));
    let inputs = Inputs { p, level, q, k, v, prefix_k, prefix_v, bias: &bias, out, lse };
    parallel::tasks(chunks.len() * p.form.kv_heads, p.spread(), |task| {
        inputs.chunk(chunks[task / p.form.kv_heads], task % p.form.kv_heads);
    });
}

impl Inputs<'_> {
    fn chunk(&self, chunk: Chunk, kv_head: usize) {
        let (p, shape) = (self.p, Shape::of(self.level));
        let (rows, padded) = (p.group() * chunk.count, p.form.head_dim.next_multiple_of(shape.lanes));
        let few = rows <= shape.lanes;
        let lengths = [KEYS * p.form.head_dim, KEYS * padded, QUERIES * KEYS, KEYS, rows, rows];
        with_scratch(lengths.iter().sum(), |buffer| {
            let [turned, values, scores, factors, tops, sums] = pieces(buffer, lengths);
            tops.fill(f32::NEG_INFINITY);
            sums.fill(0.0);
            let mut work = Work { chunk, kv_head, padded, few, turned, values, scores, factors, tops, sums };
            if few {
                self.turn_queries(&mut work);
            }
            for (met, (_, block)) in p.blocks(chunk).enumerate() {
                self.block(block, met == 0, &mut work);
            }
            for row in 0..rows {
                let (token, head) = self.token_and_head(&work, row / chunk.count, row % chunk.count);
                self.scale_output(token, head, 1.0 / work.sums[row]);
                let at = token * p.form.heads + head;
                // SAFETY: this token and head are this task's own.
                unsafe { self.lse.slice(at..at + 1)[0] = work.tops[row] + work.sums[row].ln() };
            }
        });
    }

    /// Row and head of a chunk's query `i` and head `head` of its group.
    fn token_and_head(&self, work: &Work, head: usize, i: usize) -> (usize, usize) {
        let first = self.p.queries.starts[work.chunk.sequence] + work.chunk.first;
        (first + i, work.kv_head * self.p.group() + head)
    }

    /// All queries of a chunk against one block of keys.
    fn block(&self, block: Block, fresh: bool, work: &mut Work) {
        let (p, chunk) = (self.p, work.chunk);
        let keys = Rows::of(p, self.k, self.prefix_k, chunk.sequence, work.kv_head, block);
        let values = Rows::of(p, self.v, self.prefix_v, chunk.sequence, work.kv_head, block);
        if work.few {
            self.scores_of_few(&keys, work);
        } else {
            keys.copy_transposed(self.level, work.turned);
        }
        // Rows of whole vectors can be read where they lie; for many queries a copy is faster.
        let values = if work.few && work.padded == p.form.head_dim {
            (values.ptr(), values.stride)
        } else {
            values.copy_padded(work.padded, work.values);
            (work.values.as_ptr(), work.padded)
        };
        for head in 0..p.group() {
            for first in (0..chunk.count).step_by(QUERIES) {
                let count = (chunk.count - first).min(QUERIES);
                let some = Chunk { first: chunk.first + first, count, ..chunk };
                let Some(block) = p.seen(block, some) else {
                    if fresh {
                        (first..first + count).for_each(|i| self.clear_output(work, head, i));
                    }
                    continue;
                };
                self.part(Part { head, first, count, block, fresh }, values, work);
            }
        }
    }

    fn part(&self, part: Part, values: (*const f32, usize), work: &mut Work) {
        let start = if work.few {
            part.head * work.chunk.count * KEYS
        } else {
            self.scores(part, work);
            0
        };
        for i in 0..part.count {
            self.row(part, i, start + i * KEYS, work);
        }
        let (p, (token, head)) = (self.p, self.token_and_head(work, part.head, part.first));
        let left = Left::Rows { ptr: work.scores[start..].as_ptr(), stride: KEYS };
        let right = Right::rows(self.level, values.0, values.1);
        let wide = p.form.heads * p.form.head_dim;
        // SAFETY: the queries' rows of this head are this task's own; values are whole vectors.
        unsafe {
            let out = Out::rows(self.out.at(token * wide + head * p.form.head_dim), wide, 1.0, !part.fresh);
            multiply(self.level, part.count, p.form.head_dim, part.block.here, left, right, out);
        }
    }

    /// Query `i` of a part: its scores become probabilities under its highest score so far.
    fn row(&self, part: Part, i: usize, at: usize, work: &mut Work) {
        let (p, query) = (self.p, work.chunk.first + part.first + i);
        let visible = p.visible_in(part.block, work.chunk.sequence, query);
        let scores = &mut work.scores[at..at + part.block.here];
        scores[..visible.start].fill(0.0);
        scores[visible.end..].fill(0.0);
        if visible.is_empty() {
            return;
        }
        let (token, head) = self.token_and_head(work, part.head, part.first + i);
        let scores = &mut work.scores[at..][visible.clone()];
        let key = part.block.first.plus(visible.start);
        p.adjust(self.level, scores, self.bias, head, p.place(work.chunk.sequence, query), key);
        let row = part.head * work.chunk.count + part.first + i;
        let (top, keep, sum) = softmax_block(self.level, scores, work.tops[row]);
        (work.tops[row], work.sums[row]) = (top, work.sums[row] * keep + sum);
        if let Some(dropout) = &p.form.dropout {
            let factors = &mut work.factors[..visible.end];
            dropout.factors(self.level, token, p.element_in_mask(head, part.block.first), factors);
            multiply_in_place(self.level, scores, &factors[visible.start..]);
        }
        if !part.fresh && keep != 1.0 {
            self.scale_output(token, head, keep);
        }
    }

    fn scale_output(&self, token: usize, head: usize, factor: f32) {
        let at = (token * self.p.form.heads + head) * self.p.form.head_dim;
        // SAFETY: this token and head are the calling task's own.
        scale_in_place(self.level, unsafe { self.out.slice(at..at + self.p.form.head_dim) }, factor);
    }

    fn clear_output(&self, work: &Work, head: usize, i: usize) {
        let (token, head) = self.token_and_head(work, head, i);
        let at = (token * self.p.form.heads + head) * self.p.form.head_dim;
        // SAFETY: this token and head are the calling task's own.
        unsafe { self.out.slice(at..at + self.p.form.head_dim) }.fill(0.0);
    }

    /// `scores[count, here] = scale * q k^T`.
    fn scores(&self, part: Part, work: &mut Work) {
        let (p, cols) = (self.p, Shape::of(self.level).cols());
        let (wide, (token, head)) =
            (p.form.heads * p.form.head_dim, self.token_and_head(work, part.head, part.first));
        let left = Left::Rows { ptr: self.q[token * wide + head * p.form.head_dim..].as_ptr(), stride: wide };
        let right = Right { ptr: work.turned.as_ptr(), step: cols, panel: cols * p.form.head_dim };
        let out = Out::rows(work.scores.as_mut_ptr(), KEYS, p.form.scale, false);
        let here = whole_vectors(self.level, part.block.here);
        // SAFETY: the level was detected; `count` queries, zero-padded panels and the score block exist.
        unsafe { multiply(self.level, part.count, here, p.form.head_dim, left, right, out) };
    }

    /// Few queries as the columns of a right operand.
    fn turn_queries(&self, work: &mut Work) {
        let (d, lanes) = (self.p.form.head_dim, Shape::of(self.level).lanes);
        work.turned[..d * lanes].fill(0.0);
        for row in 0..work.tops.len() {
            let (token, head) = self.token_and_head(work, row / work.chunk.count, row % work.chunk.count);
            let query = &self.q[(token * self.p.form.heads + head) * d..][..d];
            query.iter().enumerate().for_each(|(i, v)| work.turned[i * lanes + row] = *v);
        }
    }

    /// `scores[rows, here] = scale * q k^T` with the keys as they lie: the transposed product, the same sums.
    fn scores_of_few(&self, keys: &Rows, work: &mut Work) {
        let lanes = Shape::of(self.level).lanes;
        let left = Left::Rows { ptr: keys.ptr(), stride: keys.stride };
        let right = Right { ptr: work.turned.as_ptr(), step: lanes, panel: 0 };
        let scores = Out::rows(work.scores.as_mut_ptr(), 1, self.p.form.scale, false);
        let out = Out { col: KEYS, exchanged: true, ..scores };
        // SAFETY: the level was detected; the keys, one panel of queries and their scores exist.
        unsafe { multiply(self.level, keys.count, work.tops.len(), keys.width, left, right, out) };
    }
}
