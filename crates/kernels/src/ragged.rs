//! Sequences of different lengths in one batch, without padding.

use std::ops::Range;
use std::sync::Arc;

/// Where sequences lie in a batch without padding: sequence `i` is the `lengths[i]` rows from `starts[i]` on. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    pub(crate) starts: Arc<[usize]>,
    pub(crate) lengths: Arc<[usize]>,
    rows: usize,
}

impl Ragged {
    /// Sequences of the given lengths, one after the other.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Ragged {
        let lengths: Arc<[usize]> = lengths.into_iter().collect();
        let mut rows = 0;
        let starts = lengths.iter().map(|length| {
            rows += length;
            rows - length
        });
        Ragged { starts: starts.collect(), lengths, rows }
    }

    /// Sequences that may each grow to `room` rows: sequence `i` starts at row `i · room`. For the keys in a cache.
    pub fn with_room(lengths: impl IntoIterator<Item = usize>, room: usize) -> Ragged {
        let lengths: Arc<[usize]> = lengths.into_iter().collect();
        let starts = (0..lengths.len()).map(|sequence| sequence * room).collect();
        Ragged { starts, rows: lengths.len() * room, lengths }
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.lengths.len()
    }

    /// How many rows all sequences take together, with their room.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of each sequence.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.lengths.iter().copied()
    }

    /// First row of each sequence.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The rows of a sequence, without its room.
    pub fn span(&self, sequence: usize) -> Range<usize> {
        self.starts[sequence]..self.starts[sequence] + self.lengths[sequence]
    }

    /// Whether the sequences follow each other without room between them.
    pub fn is_dense(&self) -> bool {
        self.lengths().sum::<usize>() == self.rows
    }

    /// Whether no sequence reaches into the next one, or beyond the last row.
    pub fn is_apart(&self) -> bool {
        let ends = self.starts.iter().skip(1).copied().chain([self.rows]);
        (0..self.sequences()).zip(ends).all(|(sequence, end)| self.span(sequence).end <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_lie_one_after_the_other_or_with_room_between_them() {
        let dense = Ragged::from_lengths([2, 0, 3]);
        assert_eq!((dense.starts(), dense.rows(), dense.span(2)), (&[0, 2, 2][..], 5, 2..5));
        assert!(dense.is_dense() && dense.is_apart());
        let cache = Ragged::with_room([2, 4], 4);
        assert_eq!((cache.starts(), cache.rows(), cache.span(1)), (&[0, 4][..], 8, 4..8));
        assert!(!cache.is_dense() && cache.is_apart());
        assert!(!Ragged::with_room([5, 1], 4).is_apart() && !Ragged::with_room([1, 5], 4).is_apart());
    }
}
