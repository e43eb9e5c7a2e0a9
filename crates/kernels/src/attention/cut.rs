//! How attention is cut: chunks of queries, blocks of keys, and what sees what.

use super::{AttentionShape, CHUNK_QUERIES, CHUNK_ROWS, KEYS};
use std::ops::Range;

/// A key: in the prefix, or the sequence's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Prefix(usize),
    Own(usize),
}

/// Some queries of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) sequence: usize,
    /// Which of the sequence's chunks.
    pub(super) number: usize,
    /// First query within the sequence, and how many.
    pub(super) first: usize,
    pub(super) count: usize,
}

/// Some keys, all of the prefix or all a sequence's own.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The first, and how many.
    pub(super) first: Key,
    pub(super) here: usize,
}

impl AttentionShape {
    /// Place in its sequence of a sequence's query.
    pub(super) fn place(&self, sequence: usize, query: usize) -> usize {
        let first =
            if self.form.causal { self.keys.lengths[sequence] - self.queries.lengths[sequence] } else { 0 };
        first + query
    }

    /// Which of its sequence's keys a query sees.
    pub(super) fn visible(&self, sequence: usize, query: usize) -> Range<usize> {
        if !self.form.causal {
            return 0..self.keys.lengths[sequence];
        }
        let end = self.place(sequence, query) + 1;
        self.form.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Which keys of the prefix a query sees: a window counts them as the tokens before the first.
    fn visible_prefix(&self, sequence: usize, query: usize) -> Range<usize> {
        let end = self.prefix_len + self.place(sequence, query) + 1;
        self.form.window.map_or(0, |window| end.saturating_sub(window)).min(self.prefix_len)..self.prefix_len
    }

    /// The part of a block that a query sees, counted from the block's first key.
    pub(super) fn visible_in(&self, block: Block, sequence: usize, query: usize) -> Range<usize> {
        let (first, visible) = match block.first {
            Key::Own(first) => (first, self.visible(sequence, query)),
            Key::Prefix(first) => (first, self.visible_prefix(sequence, query)),
        };
        let inside = |key: usize| key.saturating_sub(first).min(block.here);
        inside(visible.start)..inside(visible.end)
    }

    /// The block up to the last key that any of these queries sees, if they see any of it.
    pub(super) fn seen(&self, block: Block, chunk: Chunk) -> Option<Block> {
        let start = self.visible_in(block, chunk.sequence, chunk.first).start;
        let end = self.visible_in(block, chunk.sequence, chunk.first + chunk.count - 1).end;
        (start < end).then_some(Block { here: end, ..block })
    }

    /// All chunks of queries.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let size = (CHUNK_ROWS / self.group()).max(CHUNK_QUERIES);
        let of_sequence = |sequence: usize| {
            let queries = self.queries.lengths[sequence];
            let chunk =
                move |(number, first)| Chunk { sequence, number, first, count: (queries - first).min(size) };
            (0..queries).step_by(size).enumerate().map(chunk)
        };
        (0..self.sequences()).flat_map(of_sequence).collect()
    }

    /// The blocks of keys of which these queries see any, each with its number in the sequence: prefix first.
    pub(super) fn blocks(&self, chunk: Chunk) -> impl Iterator<Item = (usize, Block)> {
        let keys = self.keys.lengths[chunk.sequence];
        let cut = |keys: usize| (0..keys).step_by(KEYS).map(move |first| (first, (keys - first).min(KEYS)));
        let prefix = cut(self.prefix_len).map(|(first, here)| Block { first: Key::Prefix(first), here });
        let own = cut(keys).map(|(first, here)| Block { first: Key::Own(first), here });
        let seen = move |(number, block)| Some((number, self.seen(block, chunk)?));
        prefix.chain(own).enumerate().filter_map(seen)
    }

    /// Row of a sequence's key among the keys, or of a prefix's in the prefix.
    pub(super) fn key_row(&self, sequence: usize, key: Key) -> usize {
        match key {
            Key::Prefix(key) => key,
            Key::Own(key) => self.keys.starts[sequence] + key,
        }
    }

    /// Place of a key, counted as those of queries are.
    pub(super) fn key_place(&self, key: Key) -> isize {
        match key {
            Key::Prefix(key) => key as isize - self.prefix_len as isize,
            Key::Own(key) => key as isize,
        }
    }
}

impl Key {
    pub(super) fn plus(self, count: usize) -> Key {
        match self {
            Key::Prefix(key) => Key::Prefix(key + count),
            Key::Own(key) => Key::Own(key + count),
        }
    }
}
