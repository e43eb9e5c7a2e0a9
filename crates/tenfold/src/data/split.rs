//! Which rows go where: the validation split held out of training, a test split out of a single file, and nested small draws.
//!
//! All follow from hashes of the rows' own words, so neither the order of a file nor a random generator's version
//! decides anything.

use super::{Example, Row};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Where a task has no validation file, one training row in this many becomes one …
const VALIDATION_SHARE: usize = 10;
/// … but no more than this many: a validation split is looked at many times.
const VALIDATION_MOST: usize = 1000;

/// The rows of a small draw: `n` indices (all rows if there are fewer), the same for the same `draw`, and the first
/// ones of any longer list of that draw. Each class comes once before any comes twice, and which of them come first is
/// the draw's luck, by their shares; from there on the shares of the classes are those of all rows, as nearly as `n`
/// allows.
pub fn subset(examples: &[Example], n: usize, draw: u64) -> Vec<usize> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, example) in examples.iter().enumerate() {
        classes.entry(example.label).or_default().push(index);
    }
    let purpose = format!("subset {draw}");
    let place = |index: usize| (row_hash(&purpose, &examples[index]), index);
    let mut queues: Vec<(Vec<usize>, usize)> = classes.into_values().map(|rows| (rows, 0)).collect();
    for (rows, _) in &mut queues {
        rows.sort_by_cached_key(|&index| place(index));
    }
    // As the classes would turn up if all rows were drawn one by one: that of the lowest hash first.
    queues.sort_by_cached_key(|(rows, _)| rows.first().copied().map(place));
    (1..=n.min(examples.len())).filter_map(|drawn| next_row(&mut queues, drawn, examples.len())).collect()
}

/// Takes a validation split out of `train`: a tenth of the rows, at most 1,000. Rows that share a text, a prompt or a
/// passage stay together, and every class that `class` tells apart keeps a row in training.
pub(crate) fn hold_out<T: Row>(train: Vec<T>, class: impl Fn(&T) -> u32) -> (Vec<T>, Vec<T>) {
    let wanted = (train.len() / VALIDATION_SHARE).min(VALIDATION_MOST);
    let classes: Vec<u32> = train.iter().map(class).collect();
    let mut taken = 0;
    let picked = pick(&train, "validation", &classes, |group| {
        let wants_more = taken < wanted;
        taken += if wants_more { group.len() } else { 0 };
        wants_more
    });
    parted(train, &picked)
}

/// Which share of a file's rows is its test, and which of the many such splits it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TestShare {
    pub fraction: f64,
    pub seed: u64,
}

impl TestShare {
    /// The rows to train on and those to test on. Each class that `class` tells apart has its share of both, at least a row
    /// where it has two; rows that share a text, a prompt or a passage stay together.
    pub(crate) fn split<T: Row>(&self, rows: Vec<T>, class: impl Fn(&T) -> u32) -> (Vec<T>, Vec<T>) {
        let picked = self.picked(&rows, class);
        parted(rows, &picked)
    }

    /// Which of the rows are the test's.
    pub(crate) fn picked<T: Row>(&self, rows: &[T], class: impl Fn(&T) -> u32) -> Vec<bool> {
        let classes: Vec<u32> = rows.iter().map(class).collect();
        let share = |count: usize| {
            let wanted = (count as f64 * self.fraction).round() as usize;
            wanted.max(1).min(count.saturating_sub(1))
        };
        let mut wanted = counts(classes.iter().copied());
        wanted.values_mut().for_each(|count| *count = share(*count));
        pick(rows, &format!("test {}", self.seed), &classes, |group| {
            let left = wanted.get_mut(&classes[group[0]]);
            let wants_more = left.as_ref().is_some_and(|left| **left > 0);
            if let Some(left) = left {
                *left = left.saturating_sub(group.len());
            }
            wants_more
        })
    }
}

/// Goes through the groups of rows that stay together, in the order of their hashes, and picks those that `wanted` takes,
/// unless one would be the last of a class. `wanted` is asked about no others.
fn pick<T: Row>(
    rows: &[T],
    purpose: &str,
    classes: &[u32],
    mut wanted: impl FnMut(&[usize]) -> bool,
) -> Vec<bool> {
    let hashes: Vec<[u8; 32]> = rows.iter().map(|row| row.split_hash(purpose)).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| hashes[row]);
    let mut left = counts(classes.iter().copied());
    let mut picked = vec![false; rows.len()];
    for group in order.chunk_by(|&one, &other| hashes[one] == hashes[other]) {
        let own = counts(group.iter().map(|&row| classes[row]));
        if own.iter().all(|(class, count)| left[class] > *count) && wanted(group) {
            group.iter().for_each(|&row| picked[row] = true);
            own.iter().for_each(|(class, count)| *left.entry(*class).or_default() -= count);
        }
    }
    picked
}

fn counts(classes: impl Iterator<Item = u32>) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    classes.for_each(|class| *counts.entry(class).or_default() += 1);
    counts
}

/// The rows that are not picked, and those that are.
fn parted<T>(rows: Vec<T>, picked: &[bool]) -> (Vec<T>, Vec<T>) {
    let (part, rest): (Vec<_>, Vec<_>) = rows.into_iter().zip(picked).partition(|(_, picked)| **picked);
    let rows = |part: Vec<(T, _)>| part.into_iter().map(|(row, _)| row).collect();
    (rows(rest), rows(part))
}

/// The next row: of the first class that had none yet, else of the one that is furthest behind its share.
fn next_row(queues: &mut [(Vec<usize>, usize)], drawn: usize, all: usize) -> Option<usize> {
    // Behind by: share of the class times rows drawn, minus rows taken of it; times `all` to stay in whole numbers.
    let behind = |rows: usize, taken: usize| (rows * drawn) as i128 - (taken * all) as i128;
    let next = queues.iter().position(|(_, taken)| *taken == 0).or_else(|| {
        let left = (0..queues.len()).rev().filter(|class| queues[*class].1 < queues[*class].0.len());
        left.max_by_key(|class| behind(queues[*class].0.len(), queues[*class].1))
    })?;
    let (rows, taken) = &mut queues[next];
    *taken += 1;
    rows.get(*taken - 1).copied()
}

fn row_hash(purpose: &str, example: &Example) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(text_hash(purpose, example));
    hash.update(example.label.to_le_bytes());
    hash.finalize().into()
}

pub(super) fn text_hash(purpose: &str, example: &Example) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [purpose, &example.text, example.pair.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::SplitMix;

    fn rows(counts: &[usize]) -> Vec<Example> {
        let of_class = |(label, &count): (usize, &usize)| {
            (0..count).map(move |i| Example {
                text: format!("{label}-{i}"),
                pair: None,
                label: label as u32,
                weight: None,
            })
        };
        counts.iter().enumerate().flat_map(of_class).collect()
    }

    fn taken(examples: &[Example], indices: &[usize], label: u32) -> usize {
        indices.iter().filter(|&&index| examples[index].label == label).count()
    }

    #[test]
    fn draws_are_nested_stratified_and_without_repeats() {
        let examples = rows(&[700, 250, 50]);
        for draw in 0..3 {
            let whole = subset(&examples, 2000, draw);
            assert_eq!(whole.len(), 1000);
            assert_eq!(whole.iter().collect::<std::collections::BTreeSet<_>>().len(), 1000);
            for n in [0, 1, 3, 16, 32, 100, 999] {
                assert_eq!(subset(&examples, n, draw), whole[..n]);
            }
            assert_eq!([0, 1, 2].map(|label| taken(&examples, &whole[..3], label)), [1, 1, 1]);
            assert_eq!([0, 1, 2].map(|label| taken(&examples, &whole[..100], label)), [70, 25, 5]);
        }
        assert_ne!(subset(&examples, 16, 0), subset(&examples, 16, 1));
    }

    #[test]
    fn whatever_the_classes_every_draw_is_nested_and_as_near_to_their_shares_as_whole_rows_allow() {
        for case in 0..60 {
            let mut random = SplitMix::stream(11, case);
            let counts: Vec<usize> = (0..2 + random.below(5)).map(|_| 1 + random.below(120)).collect();
            let examples = rows(&counts);
            let (all, draw) = (examples.len(), random.below(7) as u64);
            let mut smaller: Vec<usize> = Vec::new();
            for n in [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024] {
                let drawn = subset(&examples, n, draw);
                assert_eq!(drawn.len(), n.min(all), "{counts:?}");
                assert_eq!(drawn[..smaller.len()], smaller, "{counts:?}");
                let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
                assert_eq!(distinct.len(), drawn.len());
                for (label, count) in counts.iter().enumerate() {
                    let (had, due) = (taken(&examples, &drawn, label as u32), count * drawn.len());
                    assert!(n < counts.len() || had > 0, "class {label} of {counts:?} has no row of {n}");
                    // A row each comes first, which takes from the others at most one row for each class.
                    let off = (had * all).abs_diff(due) as f64 / all as f64;
                    assert!(off <= counts.len() as f64, "{had} of class {label} of {counts:?} at {n}");
                }
                smaller = drawn;
            }
        }
    }

    #[test]
    fn fewer_rows_than_classes_are_of_other_classes_in_every_draw() {
        let examples = rows(&[3; 77]);
        let labels = |draw| -> std::collections::BTreeSet<u32> {
            subset(&examples, 16, draw).into_iter().map(|index| examples[index].label).collect()
        };
        let seen: std::collections::BTreeSet<u32> = (0..40).flat_map(labels).collect();
        assert_eq!((labels(0).len(), seen.len()), (16, 77));
        // A class of nine tenths of the rows comes first about nine times in ten.
        let uneven = rows(&[900, 50, 50]);
        let first = (0..200).filter(|draw| uneven[subset(&uneven, 1, *draw)[0]].label == 0).count();
        assert!((165..195).contains(&first), "{first} of 200");
    }

    #[test]
    fn a_draw_takes_the_same_rows_whatever_the_order_of_the_file() {
        let examples = rows(&[60, 40]);
        let turned: Vec<Example> = examples.iter().rev().cloned().collect();
        let texts = |examples: &[Example]| -> Vec<String> {
            subset(examples, 20, 7).into_iter().map(|index| examples[index].text.clone()).collect()
        };
        assert_eq!(texts(&examples), texts(&turned));
    }

    #[test]
    fn the_validation_split_is_a_tenth_and_keeps_equal_texts_together() {
        let mut examples = rows(&[500, 500]);
        examples.extend(rows(&[500, 500]));
        let (train, validation) = hold_out(examples.clone(), Row::class);
        assert_eq!((train.len(), validation.len()), (1800, 200));
        assert!(validation.iter().all(|row| !train.contains(row)));
        assert_eq!(hold_out(examples, Row::class), (train, validation));
        assert_eq!(hold_out(rows(&[5, 4]), Row::class).1, []);
    }

    /// As it was before classes counted: the tenth with the lowest hashes.
    fn lowest(examples: &[Example]) -> Vec<Example> {
        let mut order: Vec<[u8; 32]> = examples.iter().map(|row| row.split_hash("validation")).collect();
        order.sort_unstable();
        let last = order[examples.len() / VALIDATION_SHARE - 1];
        examples.iter().filter(|row| row.split_hash("validation") <= last).cloned().collect()
    }

    #[test]
    fn no_class_is_held_out_to_its_last_row_and_other_splits_are_as_they_were() {
        let mut lost = 0;
        for case in 0..40 {
            let mut random = SplitMix::stream(17, case);
            let counts: Vec<usize> = (0..3).map(|_| 1 + random.below(4) * random.below(30)).collect();
            let mut examples = rows(&[&[40][..], &counts].concat());
            examples.iter_mut().for_each(|row| row.text = format!("{case} {}", row.text));
            let (train, validation) = hold_out(examples.clone(), Row::class);
            let before = lowest(&examples);
            let keeps_all = |held: &[Example]| {
                let all = |of: u32| examples.iter().filter(|row| row.label == of).count();
                (0..4).all(|of| held.iter().filter(|row| row.label == of).count() < all(of))
            };
            assert!(keeps_all(&validation), "{counts:?}");
            assert_eq!(validation.len(), examples.len() / VALIDATION_SHARE);
            assert_eq!(train.len() + validation.len(), examples.len());
            lost += usize::from(!keeps_all(&before));
            assert_eq!(validation == before, keeps_all(&before), "{counts:?}");
        }
        assert!(lost > 3, "{lost} of the cases would have lost a class");
    }

    #[test]
    fn a_test_share_has_each_class_and_other_seeds_have_other_rows() {
        let mut examples = rows(&[60, 30, 2, 1]);
        examples.extend(rows(&[5]));
        let share = |seed| TestShare { fraction: 0.2, seed };
        let (train, test) = share(0).split(examples.clone(), Row::class);
        let of = |rows: &[Example], label: u32| rows.iter().filter(|row| row.label == label).count();
        assert!((13..=14).contains(&of(&test, 0)), "{}", of(&test, 0));
        assert_eq!([1, 2, 3].map(|label| of(&test, label)), [6, 1, 0]);
        assert_eq!(train.len() + test.len(), examples.len());
        assert!(test.iter().all(|row| !train.contains(row)));
        assert_eq!(share(0).split(examples.clone(), Row::class).1, test);
        assert_ne!(share(1).split(examples.clone(), Row::class).1, test);
        // Numbers are no classes.
        assert_eq!(share(0).split(rows(&[1; 50]), |_| 0).1.len(), 10);
    }
}
