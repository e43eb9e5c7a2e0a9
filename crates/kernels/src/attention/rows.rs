//! Keys and values of one head brought into the form of right operands.

use super::AttentionShape;
use super::cut::{Block, Key};
use crate::elements::Elements;
use crate::matmul::pack::Source;
use crate::matmul::tile::Shape;
use crate::simd::Level;

/// One head's keys or values in a block.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// All rows of where they come from.
    pub(super) source: &'a [f32],
    /// Numbers between rows.
    pub(super) stride: usize,
    /// First row, and how many.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Where the head starts in a row, and its width.
    pub(super) start: usize,
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn of(
        p: &AttentionShape,
        own: &'a [f32],
        prefix: &'a [f32],
        sequence: usize,
        kv_head: usize,
        block: Block,
    ) -> Rows<'a> {
        let source = if matches!(block.first, Key::Own(_)) { own } else { prefix };
        let (first, width) = (p.key_row(sequence, block.first), p.form.head_dim);
        let stride = p.form.kv_heads * width;
        Rows { source, stride, first, count: block.here, start: kv_head * width, width }
    }

    /// The first number.
    pub(super) fn ptr(&self) -> *const f32 {
        self.source[self.first * self.stride + self.start..].as_ptr()
    }

    /// As a right operand `[keys, width]`: rows of `padded` numbers, zeros behind the width.
    pub(super) fn copy_padded(&self, padded: usize, out: &mut [f32]) {
        let rows = self.source[self.first * self.stride..].chunks_exact(self.stride).take(self.count);
        for (row, out) in rows.zip(out.chunks_exact_mut(padded)) {
            out[..self.width].copy_from_slice(&row[self.start..self.start + self.width]);
            out[self.width..].fill(0.0);
        }
    }

    /// As a right operand `[width, keys]`: panels of a tile's columns, zeros behind the keys.
    pub(super) fn copy_transposed(&self, level: Level, out: &mut [f32]) {
        let cols = Shape::of(level).cols();
        let lanes = self.source.len() / self.stride;
        let source = Source { elements: Elements::F32(self.source), lanes, k: self.stride, along_k: true };
        let panels = out.chunks_exact_mut(cols * self.width);
        for (key, panel) in (0..self.count).step_by(cols).zip(panels) {
            let count = (self.count - key).min(cols);
            source.pack_transposed(level, self.first + key, count, self.start, cols, panel);
        }
    }
}
