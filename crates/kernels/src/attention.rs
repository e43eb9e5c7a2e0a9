//! Attention over ragged sequences: many heads, shared keys (grouped queries), an optional prefix, dropout.
//!
//! Softmax runs online over blocks of keys and the backward recomputes it from the saved log-sum-exp (Dao et al. 2022,
//! "FlashAttention"), so no seq x seq matrix is ever written. The products are the tiles of [`crate::matmul`].

mod backward;
mod forward;
pub mod reference;
#[cfg(test)]
mod tests;

pub use backward::backward;
pub use forward::forward;

use crate::dropout::Dropout;
use crate::matmul::tile::Shape;
use crate::parallel;
use crate::simd::{Level, simd_fn};
use std::ops::Range;

/// Queries handled together.
const QUERIES: usize = 64;
/// Keys handled together; whole panels on every level.
const KEYS: usize = 240;

/// The form of an attention: `softmax(scale q k^T) v` for each head of each sequence.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values; `heads / kv_heads` neighbouring query heads share one.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether a token sees only itself, earlier tokens of its sequence, and the prefix.
    pub causal: bool,
    /// The queries of sequence i are rows `offsets[i]..offsets[i + 1]`. A sequence may ask for fewer tokens than it
    /// has keys; a causal one then asks for its last.
    pub offsets: &'a [usize],
    /// The keys and values of sequence i are rows `key_offsets[i]..key_offsets[i + 1]`.
    pub key_offsets: &'a [usize],
    /// Keys and values before every sequence, the same for all, seen by every query.
    pub prefix_len: usize,
    /// Dropout on the probabilities, see [`Attention::dropout_index`].
    pub dropout: Option<Dropout>,
}

/// Where [`backward`] writes the gradients; shapes are those of the forward's inputs.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[queries, heads * head_dim]`.
    pub dq: &'a mut [f32],
    /// `[keys, kv_heads * head_dim]`.
    pub dk: &'a mut [f32],
    /// `[keys, kv_heads * head_dim]`.
    pub dv: &'a mut [f32],
    /// `[prefix_len, kv_heads * head_dim]`, summed over sequences.
    pub dprefix_k: &'a mut [f32],
    /// `[prefix_len, kv_heads * head_dim]`, summed over sequences.
    pub dprefix_v: &'a mut [f32],
}

impl Attention<'_> {
    /// Index of a probability in the dropout mask: `key` counts from the first key of the prefix.
    pub fn dropout_index(&self, token: usize, head: usize, key: usize) -> u64 {
        ((token * self.heads + head) as u64) << 32 | key as u64
    }

    fn sequences(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Rows of a sequence's queries.
    fn tokens(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }

    /// Rows of a sequence's keys and values.
    fn key_tokens(&self, sequence: usize) -> Range<usize> {
        self.key_offsets[sequence]..self.key_offsets[sequence + 1]
    }

    /// Numbers between a token's queries, and between its keys, and those of the next.
    fn strides(&self) -> (usize, usize) {
        (self.heads * self.head_dim, self.kv_heads * self.head_dim)
    }

    /// How many of `keys` keys (prefix included) the query `token` sees, `tokens` being its sequence's queries.
    fn visible(&self, token: usize, tokens: &Range<usize>, keys: usize) -> usize {
        if self.causal { keys + token + 1 - tokens.end } else { keys }
    }

    /// Whether the whole job is worth spreading over threads.
    fn spread(&self) -> bool {
        let scores = |s: usize| self.tokens(s).len() * (self.key_tokens(s).len() + self.prefix_len);
        let work = (0..self.sequences()).map(scores).sum::<usize>() * self.heads * self.head_dim;
        work >= 1 << 18 && rayon::current_num_threads() > 1
    }

    /// Asserts the lengths of the inputs and gives the number of queries.
    fn check(&self, q: &[f32], k: &[f32], v: &[f32], prefix_k: &[f32], prefix_v: &[f32]) -> usize {
        let (wide, narrow) = self.strides();
        assert!(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), "heads share keys evenly");
        assert!(self.head_dim > 0, "a head has a width");
        for offsets in [self.offsets, self.key_offsets] {
            assert!(offsets.is_sorted(), "offsets rise");
            assert!(offsets.first().is_none_or(|first| *first == 0), "offsets start at zero");
        }
        assert_eq!(self.offsets.len(), self.key_offsets.len(), "queries and keys of the same sequences");
        let fewer = |s: usize| self.tokens(s).len() <= self.key_tokens(s).len();
        assert!((0..self.sequences()).all(fewer), "no sequence has more queries than keys");
        let [tokens, keys] = [self.offsets, self.key_offsets].map(|o| o.last().copied().unwrap_or(0));
        assert_eq!((q.len(), k.len(), v.len()), (tokens * wide, keys * narrow, keys * narrow), "q, k, v");
        let prefix = self.prefix_len * narrow;
        assert_eq!((prefix_k.len(), prefix_v.len()), (prefix, prefix), "prefix keys and values");
        tokens
    }
}

/// One head's keys or values of one sequence, prefix first.
struct Rows<'a> {
    prefix: &'a [f32],
    own: &'a [f32],
    /// Numbers between rows.
    stride: usize,
    /// Where the head starts in a row.
    start: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    fn of(p: &Attention, prefix: &'a [f32], own: &'a [f32], sequence: usize, kv_head: usize) -> Rows<'a> {
        let (stride, tokens) = (p.kv_heads * p.head_dim, p.key_tokens(sequence));
        let own = &own[tokens.start * stride..tokens.end * stride];
        Rows { prefix, own, stride, start: kv_head * p.head_dim, width: p.head_dim }
    }

    fn iter(&self) -> impl Iterator<Item = &'a [f32]> {
        let (start, width) = (self.start, self.width);
        let row = move |row: &'a [f32]| &row[start..start + width];
        self.prefix.chunks_exact(self.stride).chain(self.own.chunks_exact(self.stride)).map(row)
    }

    /// As a right operand `[keys, width]`: rows of `padded` numbers, zeros behind the width.
    fn copy_padded(&self, padded: usize, out: &mut [f32]) {
        for (row, out) in self.iter().zip(out.chunks_exact_mut(padded)) {
            out[..self.width].copy_from_slice(row);
            out[self.width..].fill(0.0);
        }
    }

    /// As a right operand `[width, keys]`: panels of a tile's columns, zeros behind the keys.
    fn copy_transposed(&self, level: Level, out: &mut [f32]) {
        let cols = Shape::of(level).cols();
        let count = (self.prefix.len() + self.own.len()) / self.stride;
        for (key, row) in self.iter().enumerate() {
            let panel = &mut out[key / cols * cols * self.width..];
            for (d, v) in row.iter().enumerate() {
                panel[d * cols + key % cols] = *v;
            }
        }
        for key in count..count.next_multiple_of(cols) {
            let panel = &mut out[key / cols * cols * self.width..];
            (0..self.width).for_each(|d| panel[d * cols + key % cols] = 0.0);
        }
    }
}

/// Keys up to whole vectors: scores of the zeros behind the keys are computed too, which is faster than leaving them out.
fn whole_vectors(level: Level, keys: usize) -> usize {
    keys.next_multiple_of(Shape::of(level).lanes)
}

/// Cuts pieces of the given lengths off a scratch buffer.
fn pieces<const N: usize>(mut buffer: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (piece, rest) = std::mem::take(&mut buffer).split_at_mut(length);
        buffer = rest;
        piece
    })
}

simd_fn! {
    fn scale_in_place(x: &mut [f32], alpha: f32) {
        x.iter_mut().for_each(|v| *v *= alpha);
    }
}

simd_fn! {
    fn multiply_in_place(x: &mut [f32], factors: &[f32]) {
        x.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
    }
}
