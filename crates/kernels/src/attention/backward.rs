//! The backward of attention: probabilities are recomputed from the saved log-sum-exp, block by block.

use super::*;
use crate::math::{exp, sum2};
use crate::matmul::block::{Left, Out, Right, multiply};
use crate::matmul::pack::with_scratch;
use crate::parallel::Shared;
use crate::simd::level;

simd_fn! {
    /// From visible scores and the gradients of the dropped-out probabilities: `scores` becomes those probabilities,
    /// `grads` the gradient of the unscaled scores.
    fn score_gradients(scores: &mut [f32], grads: &mut [f32], factors: &[f32], lse: f32, delta: f32, scale: f32) {
        for ((s, g), f) in scores.iter_mut().zip(grads).zip(factors) {
            let probability = exp(*s - lse);
            *g = probability * (*g * f - delta) * scale;
            *s = probability * f;
        }
    }
}

simd_fn! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        sum2(a, b, |a, b| a * b)
    }
}

/// What all tasks read.
struct Inputs<'a> {
    p: &'a Attention<'a>,
    level: Level,
    q: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
    dq: Shared<f32>,
}

/// One sequence and key head, with its operands and sums in scratch memory.
struct Head<'a> {
    tokens: Range<usize>,
    /// Keys, prefix included.
    keys: usize,
    /// Width of a head, up to whole vectors.
    padded: usize,
    /// `[keys, padded]`.
    k: &'a mut [f32],
    /// Panels of `[head_dim, keys]`.
    kt: &'a mut [f32],
    vt: &'a mut [f32],
    /// `[keys, head_dim]`.
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// `[QUERIES, padded]`.
    q: &'a mut [f32],
    dout: &'a mut [f32],
    /// `[QUERIES, KEYS]`.
    scores: &'a mut [f32],
    grads: &'a mut [f32],
    factors: &'a mut [f32],
}

/// A block of scores: some queries of one head by some keys.
#[derive(Clone, Copy)]
struct Block {
    head: usize,
    /// First token row and number of queries.
    first: usize,
    count: usize,
    /// First key and number of keys.
    key: usize,
    here: usize,
}

/// Gradients of [`super::forward`] from its inputs, `out` and `lse`, and the gradient `dout` of `out`; all written.
pub fn backward(
    p: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    prefix_k: &[f32],
    prefix_v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    gradients: Gradients,
) {
    let tokens = p.check(q, k, v, prefix_k, prefix_v);
    assert_eq!(
        (out.len(), dout.len(), lse.len()),
        (q.len(), q.len(), tokens * p.heads),
        "output and gradient"
    );
    let Gradients { dq, dk, dv, dprefix_k, dprefix_v } = gradients;
    assert_eq!((dq.len(), dk.len(), dv.len()), (q.len(), k.len(), v.len()), "gradients of q, k, v");
    let prefix = prefix_k.len();
    assert_eq!((dprefix_k.len(), dprefix_v.len()), (prefix, prefix), "gradients of the prefix");
    // Each sequence's share of the prefix gradients; added in order at the end.
    let mut shares = [vec![0.0; prefix * p.sequences()], vec![0.0; prefix * p.sequences()]];
    let [share_k, share_v] = &mut shares;
    let targets = [(Shared::new(dk), Shared::new(share_k)), (Shared::new(dv), Shared::new(share_v))];
    let inputs = Inputs { p, level: level(), q, out, lse, dout, dq: Shared::new(dq) };
    parallel::tasks(p.sequences() * p.kv_heads, p.spread(), |task| {
        let (sequence, kv_head) = (task / p.kv_heads, task % p.kv_heads);
        let tokens = p.tokens(sequence);
        let keys = Rows::of(p, prefix_k, k, sequence, kv_head);
        let values = Rows::of(p, prefix_v, v, sequence, kv_head);
        let count = p.prefix_len + p.key_tokens(sequence).len();
        inputs.with_head(tokens, count, &keys, &values, |head| {
            inputs.head(kv_head, head);
            for ((own, share), from) in targets.iter().zip([&head.dk, &head.dv]) {
                // SAFETY: this sequence's rows and prefix share, at this key head, are this task's own.
                unsafe { inputs.hand_out(sequence, kv_head, from, *own, *share) };
            }
        });
    });
    for (share, out) in shares.iter().zip([dprefix_k, dprefix_v]) {
        out.fill(0.0);
        parallel::combine(share, out);
    }
}

impl Inputs<'_> {
    /// Calls `f` with the operands of one sequence and key head laid out in scratch memory.
    fn with_head(
        &self,
        tokens: Range<usize>,
        count: usize,
        keys: &Rows,
        values: &Rows,
        f: impl FnOnce(&mut Head),
    ) {
        let (shape, d) = (Shape::of(self.level), self.p.head_dim);
        let padded = d.next_multiple_of(shape.lanes);
        let (panels, block) = (count.next_multiple_of(shape.cols()) * d, QUERIES * KEYS);
        let rows = QUERIES * padded;
        let lengths = [panels, panels, count * padded, rows, rows, block, block, KEYS, count * d, count * d];
        with_scratch(lengths.iter().sum(), |buffer| {
            let [kt, vt, k, q, dout, scores, grads, factors, dk, dv] = pieces(buffer, lengths);
            keys.copy_padded(padded, k);
            keys.copy_transposed(self.level, kt);
            values.copy_transposed(self.level, vt);
            dk.fill(0.0);
            dv.fill(0.0);
            factors.fill(1.0);
            f(&mut Head { tokens, keys: count, padded, k, kt, vt, dk, dv, q, dout, scores, grads, factors });
        });
    }

    /// All queries of the heads that share a key head.
    fn head(&self, kv_head: usize, work: &mut Head) {
        let group = self.p.heads / self.p.kv_heads;
        for head in kv_head * group..(kv_head + 1) * group {
            for first in work.tokens.clone().step_by(QUERIES) {
                let count = (work.tokens.end - first).min(QUERIES);
                self.queries(Block { head, first, count, key: 0, here: 0 }, work);
            }
        }
    }

    /// Some queries of one head against all keys they see.
    fn queries(&self, mut block: Block, work: &mut Head) {
        let (p, d) = (self.p, self.p.head_dim);
        let mut deltas = [0.0; QUERIES];
        for i in 0..block.count {
            let at = ((block.first + i) * p.heads + block.head) * d;
            deltas[i] = dot(self.level, &self.out[at..at + d], &self.dout[at..at + d]);
            for (from, to) in [(self.q, &mut work.q), (self.dout, &mut work.dout)] {
                let row = &mut to[i * work.padded..][..work.padded];
                row[..d].copy_from_slice(&from[at..at + d]);
                row[d..].fill(0.0);
            }
        }
        let seen = p.visible(block.first + block.count - 1, &work.tokens, work.keys);
        for key in (0..seen).step_by(KEYS) {
            (block.key, block.here) = (key, (seen - key).min(KEYS));
            self.recompute(block, work);
            for (i, delta) in deltas.iter().enumerate().take(block.count) {
                self.row(block, i, *delta, work);
            }
            self.accumulate(block, work);
        }
    }

    /// `scores = scale * q k^T`, `grads = dout v^T`.
    fn recompute(&self, b: Block, work: &mut Head) {
        let (d, cols) = (self.p.head_dim, Shape::of(self.level).cols());
        let products = [
            (&work.q, &work.kt, &mut work.scores, self.p.scale),
            (&work.dout, &work.vt, &mut work.grads, 1.0),
        ];
        for (left, right, out, alpha) in products {
            let left = Left::Rows { ptr: left.as_ptr(), stride: work.padded };
            let right = Right { ptr: right[b.key * d..].as_ptr(), step: cols, panel: cols * d };
            let out = Out::rows(out.as_mut_ptr(), KEYS, alpha, false);
            // SAFETY: the level was detected; the queries, the zero-padded panels and the block exist.
            unsafe { multiply(self.level, b.count, whole_vectors(self.level, b.here), d, left, right, out) };
        }
    }

    /// Query `i` of a block: probabilities and gradients of the scores, zero where the query does not see.
    fn row(&self, b: Block, i: usize, delta: f32, work: &mut Head) {
        let token = b.first + i;
        let visible = self.p.visible(token, &work.tokens, work.keys).saturating_sub(b.key).min(b.here);
        let (scores, hidden_scores) = work.scores[i * KEYS..][..b.here].split_at_mut(visible);
        let (grads, hidden_grads) = work.grads[i * KEYS..][..b.here].split_at_mut(visible);
        let factors = &mut work.factors[..visible];
        if let Some(dropout) = &self.p.dropout {
            dropout.factors(self.level, self.p.dropout_index(token, b.head, b.key), factors);
        }
        let lse = self.lse[token * self.p.heads + b.head];
        score_gradients(self.level, scores, grads, factors, lse, delta, self.p.scale);
        hidden_scores.fill(0.0);
        hidden_grads.fill(0.0);
    }

    /// `dq += grads k`, `dk += grads^T q`, `dv += probabilities^T dout`.
    fn accumulate(&self, b: Block, work: &mut Head) {
        let (level, d) = (self.level, self.p.head_dim);
        let wide = self.p.heads * d;
        let left = Left::Rows { ptr: work.grads.as_ptr(), stride: KEYS };
        let right = Right::rows(level, work.k[b.key * work.padded..].as_ptr(), work.padded);
        // SAFETY: the queries' rows of this head are this task's own; keys are padded to whole vectors.
        unsafe {
            let out = Out::rows(self.dq.at(b.first * wide + b.head * d), wide, 1.0, b.key > 0);
            multiply(level, b.count, d, b.here, left, right, out);
        }
        let products = [(&work.grads, &work.q, &mut work.dk), (&work.scores, &work.dout, &mut work.dv)];
        for (left, right, out) in products {
            let left = Left::columns(level, left.as_ptr(), KEYS);
            let right = Right::rows(level, right.as_ptr(), work.padded);
            let out = Out::rows(out[b.key * d..].as_mut_ptr(), d, 1.0, true);
            // SAFETY: the block, the padded queries and these keys' rows of the sums exist.
            unsafe { multiply(level, b.here, d, b.count, left, right, out) };
        }
    }

    /// Copies a head's sums to the tokens' rows and to the sequence's share of the prefix.
    ///
    /// # Safety
    /// The rows of `sequence` at `kv_head` in both targets are the caller's alone.
    unsafe fn hand_out(
        &self,
        sequence: usize,
        kv_head: usize,
        sums: &[f32],
        own: Shared<f32>,
        share: Shared<f32>,
    ) {
        let (d, prefix, first) = (self.p.head_dim, self.p.prefix_len, self.p.key_offsets[sequence]);
        for (key, row) in sums.chunks_exact(d).enumerate() {
            let (target, row_index) =
                if key < prefix { (share, sequence * prefix + key) } else { (own, first + key - prefix) };
            let at = (row_index * self.p.kv_heads + kv_head) * d;
            // SAFETY: the caller's promise.
            unsafe { target.slice(at..at + d) }.copy_from_slice(row);
        }
    }
}
