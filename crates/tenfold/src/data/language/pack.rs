//! Which sequences share a micro-batch.
//!
//! A batch is ragged: each sequence attends to itself alone and starts at position 0. Packing is therefore only a matter
//! of grouping, and nothing leaks from one sequence to another.

use tenfold_tensor::random::{key, mix, permutation};

/// Batches' worth of tokens that are sorted by length together: enough that a batch's lengths are alike, few enough that
/// an epoch stays well mixed.
const GROUPED_BATCHES: usize = 50;

/// The rows of each micro-batch of one epoch: every index of `lengths` (in tokens) once, in an order that `seed` and
/// `epoch` decide, at most `max_tokens` a batch. A sequence that is longer than that stands alone.
///
/// With `group_by_length` (Hugging Face's name) batches hold sequences of like length, in shuffled order, so that their
/// number of tokens and of sequences varies little.
pub fn micro_batches(
    lengths: &[usize],
    max_tokens: usize,
    seed: u64,
    epoch: usize,
    group_by_length: bool,
) -> Vec<Vec<usize>> {
    let stream = mix(key(seed, "micro-batches"), epoch as u64);
    let order = permutation(stream, lengths.len());
    if !group_by_length {
        return fill(order, lengths, max_tokens);
    }
    let window = max_tokens.saturating_mul(GROUPED_BATCHES);
    let mut batches = Vec::new();
    for mut group in fill(order, lengths, window) {
        group.sort_by_key(|row| std::cmp::Reverse(lengths[*row]));
        batches.extend(fill(group, lengths, max_tokens));
    }
    let order = permutation(mix(stream, 1), batches.len());
    order.into_iter().map(|batch| std::mem::take(&mut batches[batch])).collect()
}

/// Cuts `order` into runs of at most `most` tokens, or of one row that has more.
pub fn fill(order: Vec<usize>, lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for row in order {
        match runs.last_mut() {
            Some(run) if lengths[row] <= room => run.push(row),
            _ => {
                runs.push(vec![row]);
                room = most;
            }
        }
        room = room.saturating_sub(lengths[row]);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        (0..997).map(|i| 1 + (i * 37) % 120).collect()
    }

    #[test]
    fn every_sequence_comes_once_an_epoch_within_the_budget() {
        let lengths = lengths();
        for group_by_length in [false, true] {
            let batches = micro_batches(&lengths, 256, 7, 0, group_by_length);
            let mut rows: Vec<usize> = batches.concat();
            rows.sort_unstable();
            assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            let tokens = |batch: &Vec<usize>| batch.iter().map(|row| lengths[*row]).sum::<usize>();
            assert!(batches.iter().all(|batch| tokens(batch) <= 256));
            assert!(batches.len() < 2 * lengths.iter().sum::<usize>() / 256, "half empty batches");
            assert_eq!(batches, micro_batches(&lengths, 256, 7, 0, group_by_length));
            assert_ne!(batches, micro_batches(&lengths, 256, 7, 1, group_by_length));
            assert_ne!(batches, micro_batches(&lengths, 256, 8, 0, group_by_length));
        }
    }

    #[test]
    fn grouped_batches_hold_like_lengths_in_mixed_order() {
        let lengths = lengths();
        let spread = |group_by_length| -> usize {
            let range = |batch: &Vec<usize>| {
                let of = || batch.iter().map(|row| lengths[*row]);
                of().max().unwrap() - of().min().unwrap()
            };
            micro_batches(&lengths, 256, 7, 0, group_by_length).iter().map(range).sum()
        };
        assert!(spread(true) * 5 < spread(false));
        let longest: Vec<usize> =
            micro_batches(&lengths, 256, 7, 0, true).iter().map(|batch| lengths[batch[0]]).collect();
        assert!(!longest.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_sequence_over_the_budget_stands_alone_and_nothing_makes_no_batch() {
        let mut batches = micro_batches(&[3, 50, 3], 10, 0, 0, false);
        batches.sort();
        assert!(batches.contains(&vec![1]));
        assert!(micro_batches(&[], 10, 0, 0, true).is_empty());
    }
}
