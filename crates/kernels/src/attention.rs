//! Attention over ragged sequences: many heads, shared keys (grouped queries), an optional prefix, a sliding window, capped
//! scores, a bias by distance, dropout.
//!
//! Softmax runs online over blocks of keys and the backward recomputes it from the saved log-sum-exp (Dao et al. 2022,
//! "FlashAttention"), so no seq x seq matrix is ever written. The products are the tiles of [`crate::matmul`].
//!
//! Work is cut into chunks of queries and blocks of keys by the shape alone. A query's sums run over its blocks of keys in
//! order, a key's gradients over the chunks of queries in order, whichever threads work on them.

mod backward;
mod cut;
mod forward;
pub mod reference;
mod rows;
#[cfg(test)]
mod tests;

pub use backward::backward;
pub use forward::forward;

use crate::dropout::Dropout;
use crate::matmul::tile::Shape;
use crate::simd::{Level, simd_fn};
use cut::{Block, Chunk, Key};
use rows::Rows;
use std::ops::Range;

/// Queries of a head handled together.
const QUERIES: usize = 64;
/// Keys handled together; whole panels on every level.
const KEYS: usize = 240;
/// Rows of one task, counting each query once for every head that shares its keys.
const CHUNK_ROWS: usize = 256;
/// Heads, and keys of one, whose dropout has random words of its own: together with the prefix all that a row has.
const MOST_HEADS: usize = 1 << 9;
const MOST_KEYS: usize = 1 << 24;
/// Fewest queries of one task.
const CHUNK_QUERIES: usize = 32;

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
    /// Whether a token sees only itself, earlier tokens of its sequence, and the prefix, which counts as tokens before.
    pub causal: bool,
    /// How many tokens a query sees at most, itself and those just before it, the prefix's among them; only if causal.
    pub window: Option<usize>,
    /// Scaled scores become `c tanh(score / c)`.
    pub softcap: Option<f32>,
    /// Added to what the scores are then.
    pub bias: Option<Bias<'a>>,
    /// Each sequence's queries, one sequence after the other. A sequence may ask for fewer tokens than it has keys: for
    /// its last if causal, for its first otherwise.
    pub queries: Spans<'a>,
    /// Each sequence's keys and values; rows between sequences belong to none.
    pub keys: Spans<'a>,
    /// Keys and values before every sequence, the same for all, seen by every query.
    pub prefix_len: usize,
    /// Dropout on the probabilities: rows are the queries, elements see [`Attention::dropout_element`].
    pub dropout: Option<&'a Dropout>,
}

/// Rows of sequences: the `lengths[i]` rows from `starts[i]` on are sequence i.
#[derive(Clone, Copy, Debug)]
pub struct Spans<'a> {
    /// First row of each sequence.
    pub starts: &'a [usize],
    /// Rows of each sequence.
    pub lengths: &'a [usize],
}

/// A bias on the scores by distance: `table[j - i - first][head]` for the query at place i and the key at place j. Keys of
/// a prefix stand at the places `-prefix_len..0`.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// `[distances, heads]`; reaches over all distances between queries and keys they see.
    pub table: &'a [f32],
    /// Distance of the first row.
    pub first: isize,
}

/// Where [`backward`] writes the gradients; shapes are those of the forward's inputs.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[queries, heads * head_dim]`.
    pub dq: &'a mut [f32],
    /// `[keys, kv_heads * head_dim]`, zero in rows that belong to no sequence.
    pub dk: &'a mut [f32],
    /// `[keys, kv_heads * head_dim]`, zero in rows that belong to no sequence.
    pub dv: &'a mut [f32],
    /// `[prefix_len, kv_heads * head_dim]`, summed over sequences.
    pub dprefix_k: &'a mut [f32],
    /// `[prefix_len, kv_heads * head_dim]`, summed over sequences.
    pub dprefix_v: &'a mut [f32],
    /// `[distances, heads]`, where asked for.
    pub dbias: Option<&'a mut [f32]>,
}

impl Spans<'_> {
    fn rows(&self, sequence: usize) -> Range<usize> {
        self.starts[sequence]..self.starts[sequence] + self.lengths[sequence]
    }

    /// One past the last row of all.
    fn end(&self) -> usize {
        (0..self.lengths.len()).map(|sequence| self.rows(sequence).end).max().unwrap_or(0)
    }
}

impl Attention<'_> {
    /// The random word of a query's probability, in its row of the dropout mask: which key, from the sequence's first, of
    /// which head; keys of the prefix are as many behind.
    pub fn dropout_element(&self, head: usize, key: usize, is_prefix: bool) -> u64 {
        let head = if is_prefix { MOST_HEADS + head } else { head };
        (head * MOST_KEYS + key) as u64
    }

    /// The same of a key.
    fn element_in_mask(&self, head: usize, key: Key) -> u64 {
        match key {
            Key::Prefix(key) => self.dropout_element(head, key, true),
            Key::Own(key) => self.dropout_element(head, key, false),
        }
    }

    fn sequences(&self) -> usize {
        self.queries.lengths.len()
    }

    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Numbers between a token's queries, and between its keys, and those of the next.
    fn strides(&self) -> (usize, usize) {
        (self.heads * self.head_dim, self.kv_heads * self.head_dim)
    }

    /// Whether the whole job is worth spreading over threads.
    fn spread(&self) -> bool {
        let scores = |s: usize| self.queries.lengths[s] * (self.keys.lengths[s] + self.prefix_len);
        let work = (0..self.sequences()).map(scores).sum::<usize>() * self.heads * self.head_dim;
        work >= 1 << 18 && rayon::current_num_threads() > 1
    }

    /// Asserts the lengths of the inputs and gives the number of queries.
    fn check(&self, q: &[f32], k: &[f32], v: &[f32], prefix_k: &[f32], prefix_v: &[f32]) -> usize {
        let (wide, narrow) = self.strides();
        assert!(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), "heads share keys evenly");
        assert!(self.head_dim > 0, "a head has a width");
        assert!(self.window.is_none_or(|window| window > 0 && self.causal), "a window looks back");
        for spans in [self.queries, self.keys] {
            assert_eq!(
                (spans.starts.len(), spans.lengths.len()),
                (self.sequences(), self.sequences()),
                "spans"
            );
            let apart = |s: usize| spans.rows(s - 1).end <= spans.starts[s];
            assert!((1..self.sequences()).all(apart), "sequences follow each other");
        }
        let queries = self.queries.end();
        assert_eq!(queries, self.queries.lengths.iter().sum::<usize>(), "queries leave no room");
        let fewer = |s: usize| self.queries.lengths[s] <= self.keys.lengths[s];
        assert!(
            !self.causal || (0..self.sequences()).all(fewer),
            "no causal sequence has more queries than keys"
        );
        assert_eq!((q.len(), k.len()), (queries * wide, v.len()), "queries, and as many keys as values");
        assert!(k.len() >= self.keys.end() * narrow, "all keys are there");
        let masked = |dropout: &Dropout| {
            let most = self.keys.lengths.iter().copied().max().unwrap_or(0).max(self.prefix_len);
            dropout.rows.len() == queries && self.heads <= MOST_HEADS && most <= MOST_KEYS
        };
        assert!(
            self.dropout.is_none_or(masked),
            "a mask has a row for every query, and elements for all keys"
        );
        let prefix = self.prefix_len * narrow;
        assert_eq!((prefix_k.len(), prefix_v.len()), (prefix, prefix), "prefix keys and values");
        let whole = |bias: Bias| bias.table.len().is_multiple_of(self.heads);
        assert!(self.bias.is_none_or(whole), "a bias has a number for every head");
        queries
    }

    /// The bias table `[heads, distances]`, empty if there is none: what a query adds to neighbouring keys lies together.
    fn bias_by_head(&self) -> Vec<f32> {
        let table = self.bias.map_or(&[][..], |bias| bias.table);
        let by_head = |head: usize| table.iter().skip(head).step_by(self.heads).copied();
        (0..self.heads).flat_map(by_head).collect()
    }

    /// Caps visible scores and adds the bias; `bias` is [`Attention::bias_by_head`], `key` the first visible key.
    fn adjust(&self, level: Level, scores: &mut [f32], bias: &[f32], head: usize, place: usize, key: Key) {
        if let Some(c) = self.softcap {
            crate::softcap::cap_in_place(level, c, scores);
        }
        self.add_bias(level, scores, bias, head, place, key);
    }

    fn add_bias(&self, level: Level, scores: &mut [f32], bias: &[f32], head: usize, place: usize, key: Key) {
        if let Some(Bias { first, .. }) = self.bias
            && !scores.is_empty()
        {
            let distances = bias.len() / self.heads;
            let at = usize::try_from(self.key_place(key) - place as isize - first)
                .expect("the bias reaches over all distances");
            add_in_place(level, scores, &bias[head * distances..][at..at + scores.len()]);
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

simd_fn! {
    fn add_in_place(x: &mut [f32], terms: &[f32]) {
        x.iter_mut().zip(terms).for_each(|(x, t)| *x += t);
    }
}
