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
use crate::ragged::Ragged;
use crate::simd::{Level, simd_fn};
use cut::{Block, Chunk, Key};
use rows::Rows;

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

/// How a model attends: `softmax(scale q kᵀ) v` for each head of each sequence.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values; divides `heads`: `heads / kv_heads` neighbouring query heads share one
    /// (grouped-query attention, Ainslie et al. 2023).
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor of the scores, usually 1 / √head_dim.
    pub scale: f32,
    /// Whether a token sees only itself, earlier tokens of its sequence, and the prefix, which counts as tokens before.
    pub causal: bool,
    /// How many tokens a query sees at most, itself and those just before it, the prefix's among them (sliding window,
    /// Beltagy et al. 2020). Only with `causal`.
    pub window: Option<usize>,
    /// Scaled scores become c · tanh(score / c) (Gemma 2).
    pub softcap: Option<f32>,
    /// Dropout on the probabilities: rows are the queries, elements see [`AttentionShape::dropout_element`].
    pub dropout: Option<Dropout>,
}

/// An [`Attention`] over given sequences: all of its geometry.
#[derive(Clone, Debug)]
pub struct AttentionShape {
    /// How they attend.
    pub form: Attention,
    /// Each sequence's queries, one sequence after the other. A sequence may ask for fewer tokens than it has keys: for
    /// its last if causal, for its first otherwise.
    pub queries: Ragged,
    /// Each sequence's keys and values; rows between sequences belong to none.
    pub keys: Ragged,
    /// Keys and values before every sequence, the same for all.
    pub prefix_len: usize,
    /// Where scores have a bias by distance, the distance that its first row belongs to:
    /// `bias[j - i - first][head]` is added to the capped score of the query at place i and the key at place j. Keys of
    /// the prefix stand at the places `-prefix_len..0`.
    pub bias_first: Option<isize>,
}

/// The numbers of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// `[queries, heads * head_dim]`.
    pub q: &'a [f32],
    /// `[keys, kv_heads * head_dim]`.
    pub k: &'a [f32],
    /// `[keys, kv_heads * head_dim]`.
    pub v: &'a [f32],
    /// `[prefix_len, kv_heads * head_dim]`; empty if there is no prefix.
    pub prefix_k: &'a [f32],
    /// `[prefix_len, kv_heads * head_dim]`; empty if there is no prefix.
    pub prefix_v: &'a [f32],
    /// `[distances, heads]`; reaches over all distances between queries and keys they see. Empty if there is no bias.
    pub bias: &'a [f32],
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

impl AttentionShape {
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
        self.form.heads / self.form.kv_heads
    }

    /// Numbers between a token's queries, and between its keys, and those of the next.
    fn strides(&self) -> (usize, usize) {
        (self.form.heads * self.form.head_dim, self.form.kv_heads * self.form.head_dim)
    }

    /// Whether the whole job is worth spreading over threads.
    fn spread(&self) -> bool {
        let scores = |s: usize| self.queries.lengths[s] * (self.keys.lengths[s] + self.prefix_len);
        let work = (0..self.sequences()).map(scores).sum::<usize>() * self.form.heads * self.form.head_dim;
        work >= 1 << 18 && rayon::current_num_threads() > 1
    }

    /// Asserts the lengths of the operands and gives the number of queries.
    fn check(&self, operands: &Operands) -> usize {
        let Operands { q, k, v, prefix_k, prefix_v, bias } = operands;
        let (form, (wide, narrow)) = (&self.form, self.strides());
        let (heads, kv_heads) = (form.heads, form.kv_heads);
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "heads share keys evenly");
        assert!(form.head_dim > 0, "a head has a width");
        assert!(form.window.is_none_or(|window| window > 0 && form.causal), "a window looks back");
        assert_eq!(self.keys.sequences(), self.sequences(), "queries and keys of the same sequences");
        assert!(self.queries.is_apart() && self.keys.is_apart(), "sequences follow each other");
        let queries = self.queries.rows();
        assert!(self.queries.is_dense(), "queries leave no room");
        let fewer = |s: usize| self.queries.lengths[s] <= self.keys.lengths[s];
        assert!(
            !form.causal || (0..self.sequences()).all(fewer),
            "no causal sequence has more queries than keys"
        );
        assert_eq!((q.len(), k.len()), (queries * wide, v.len()), "queries, and as many keys as values");
        assert!(k.len() >= self.keys.rows() * narrow, "all keys are there");
        let masked = |dropout: &Dropout| {
            let most = self.keys.lengths().max().unwrap_or(0).max(self.prefix_len);
            dropout.rows.len() == queries && heads <= MOST_HEADS && most <= MOST_KEYS
        };
        assert!(
            form.dropout.as_ref().is_none_or(masked),
            "a mask has a row for every query, and elements for all keys"
        );
        let prefix = self.prefix_len * narrow;
        assert_eq!((prefix_k.len(), prefix_v.len()), (prefix, prefix), "prefix keys and values");
        assert!(self.bias_first.is_some() || bias.is_empty(), "a bias has a first distance");
        assert!(bias.len().is_multiple_of(heads), "a bias has a number for every head");
        queries
    }

    /// The bias table `[heads, distances]`: what a query adds to neighbouring keys lies together.
    fn bias_by_head(&self, table: &[f32]) -> Vec<f32> {
        let heads = self.form.heads;
        let by_head = |head: usize| table.iter().skip(head).step_by(heads).copied();
        (0..heads).flat_map(by_head).collect()
    }

    /// Caps visible scores and adds the bias; `bias` is [`AttentionShape::bias_by_head`], `key` the first visible key.
    fn adjust(&self, level: Level, scores: &mut [f32], bias: &[f32], head: usize, place: usize, key: Key) {
        if let Some(c) = self.form.softcap {
            crate::softcap::cap_in_place(level, c, scores);
        }
        self.add_bias(level, scores, bias, head, place, key);
    }

    fn add_bias(&self, level: Level, scores: &mut [f32], bias: &[f32], head: usize, place: usize, key: Key) {
        if let Some(first) = self.bias_first
            && !scores.is_empty()
        {
            let distances = bias.len() / self.form.heads;
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
