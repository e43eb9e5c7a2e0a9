//! The forward of attention: online softmax over blocks of keys.

use super::*;
use crate::math::{exp, max, sum};
use crate::matmul::block::{Left, Out, Right, multiply};
use crate::matmul::pack::with_scratch;
use crate::parallel::Shared;
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

/// What one task works on.
struct Head<'a> {
    p: &'a Attention<'a>,
    level: Level,
    head: usize,
    tokens: Range<usize>,
    keys: usize,
    /// Width of a head, up to whole vectors.
    padded: usize,
    q: &'a [f32],
    out: Shared<f32>,
    lse: Shared<f32>,
}

/// A task's scratch memory.
struct Buffers<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scores: &'a mut [f32],
    factors: &'a mut [f32],
}

/// Attention of every sequence.
///
/// `q` and `out` are `[queries, heads * head_dim]`, `k` and `v` `[keys, kv_heads * head_dim]`, `prefix_k` and
/// `prefix_v` `[prefix_len, kv_heads * head_dim]`; `lse` `[queries, heads]` receives each query's log-sum-exp of the
/// scaled scores for the backward.
pub fn forward(
    p: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    prefix_k: &[f32],
    prefix_v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    let tokens = p.check(q, k, v, prefix_k, prefix_v);
    assert_eq!((out.len(), lse.len()), (q.len(), tokens * p.heads), "output and log-sum-exp");
    let level = level();
    let (out, lse) = (Shared::new(out), Shared::new(lse));
    parallel::tasks(p.sequences() * p.heads, p.spread(), |task| {
        let (sequence, head) = (task / p.heads, task % p.heads);
        let tokens = p.tokens(sequence);
        let kv_head = head / (p.heads / p.kv_heads);
        let keys = Rows::of(p, prefix_k, k, sequence, kv_head);
        let values = Rows::of(p, prefix_v, v, sequence, kv_head);
        let shape = Shape::of(level);
        let padded = p.head_dim.next_multiple_of(shape.lanes);
        let count = p.prefix_len + p.key_tokens(sequence).len();
        let lengths =
            [count.next_multiple_of(shape.cols()) * p.head_dim, count * padded, QUERIES * KEYS, KEYS];
        with_scratch(lengths.iter().sum(), |buffer| {
            let [kt, vs, scores, factors] = pieces(buffer, lengths);
            keys.copy_transposed(level, kt);
            values.copy_padded(padded, vs);
            let work = Head { p, level, head, tokens: tokens.clone(), keys: count, padded, q, out, lse };
            let mut buffers = Buffers { keys: kt, values: vs, scores, factors };
            for first in tokens.clone().step_by(QUERIES) {
                work.queries(first, (tokens.end - first).min(QUERIES), &mut buffers);
            }
        });
    });
}

impl Head<'_> {
    /// Attention of queries `first..first + count` (token rows).
    fn queries(&self, first: usize, count: usize, buffers: &mut Buffers) {
        let p = self.p;
        let (mut tops, mut sums) = ([f32::NEG_INFINITY; QUERIES], [0.0; QUERIES]);
        let seen = p.visible(first + count - 1, &self.tokens, self.keys);
        for key in (0..seen).step_by(KEYS) {
            let here = (seen - key).min(KEYS);
            self.scores(first, count, key, here, buffers);
            for i in 0..count {
                let row = &mut buffers.scores[i * KEYS..][..here];
                let visible = p.visible(first + i, &self.tokens, self.keys).saturating_sub(key).min(here);
                let (row, hidden) = row.split_at_mut(visible);
                let (top, keep, sum) = softmax_block(self.level, row, tops[i]);
                hidden.fill(0.0);
                (tops[i], sums[i]) = (top, sums[i] * keep + sum);
                if let Some(dropout) = &p.dropout {
                    let factors = &mut buffers.factors[..visible];
                    dropout.factors(self.level, p.dropout_index(first + i, self.head, key), factors);
                    multiply_in_place(self.level, row, factors);
                }
                if key > 0 && keep != 1.0 {
                    self.scale_output(first + i, keep);
                }
            }
            self.add_values(first, count, key, here, buffers);
        }
        for i in 0..count {
            self.scale_output(first + i, 1.0 / sums[i]);
            let at = (first + i) * p.heads + self.head;
            // SAFETY: this token and head are this task's own.
            unsafe { self.lse.slice(at..at + 1)[0] = tops[i] + sums[i].ln() };
        }
    }

    /// Scales this head's output of a token.
    fn scale_output(&self, token: usize, factor: f32) {
        let at = (token * self.p.heads + self.head) * self.p.head_dim;
        // SAFETY: this token and head are this task's own.
        scale_in_place(self.level, unsafe { self.out.slice(at..at + self.p.head_dim) }, factor);
    }

    /// `scores[count, here] = scale * q k^T`.
    fn scores(&self, first: usize, count: usize, key: usize, here: usize, buffers: &mut Buffers) {
        let (p, cols) = (self.p, Shape::of(self.level).cols());
        let wide = p.heads * p.head_dim;
        let left = Left::Rows { ptr: self.q[first * wide + self.head * p.head_dim..].as_ptr(), stride: wide };
        let right =
            Right { ptr: buffers.keys[key * p.head_dim..].as_ptr(), step: cols, panel: cols * p.head_dim };
        let out = Out::rows(buffers.scores.as_mut_ptr(), KEYS, p.scale, false);
        // SAFETY: the level was detected; `count` queries, zero-padded panels and the score block exist.
        unsafe { multiply(self.level, count, whole_vectors(self.level, here), p.head_dim, left, right, out) };
    }

    /// `out[count, head_dim] += probabilities * values`, the first block overwriting.
    fn add_values(&self, first: usize, count: usize, key: usize, here: usize, buffers: &mut Buffers) {
        let p = self.p;
        let left = Left::Rows { ptr: buffers.scores.as_ptr(), stride: KEYS };
        let right = Right::rows(self.level, buffers.values[key * self.padded..].as_ptr(), self.padded);
        let wide = p.heads * p.head_dim;
        // SAFETY: the queries' rows of this head are this task's own; values are padded to whole vectors.
        unsafe {
            let out = Out::rows(self.out.at(first * wide + self.head * p.head_dim), wide, 1.0, key > 0);
            multiply(self.level, count, p.head_dim, here, left, right, out);
        }
    }
}
