//! Which rows each optimizer step sees: every row once in each epoch, in an order that the seed decides.

use super::rows::Rows;
use super::settings::TrainSettings;
use crate::data::language::{fill, micro_batches};
use tenfold_tensor::random;

/// The order of rows in a run.
pub struct Order<'a> {
    settings: &'a TrainSettings,
    lengths: Vec<usize>,
    seed: u64,
    /// The first step of each epoch, and one past the last step of the last.
    epochs: Vec<usize>,
    /// The epoch that was asked for last, and its batches.
    cached: Option<(usize, Vec<Vec<usize>>)>,
}

impl<'a> Order<'a> {
    /// The order of these rows.
    pub fn new(settings: &'a TrainSettings, rows: &Rows, seed: u64) -> Order<'a> {
        let lengths = (0..rows.len()).map(|row| rows.tokens(row)).collect();
        let mut order = Order { settings, lengths, seed, epochs: vec![0], cached: None };
        let mut steps = 0;
        for epoch in 0..settings.num_train_epochs.ceil() as usize {
            if settings.max_steps > 0 && steps >= settings.max_steps {
                break;
            }
            let share = (settings.num_train_epochs - epoch as f64).min(1.0);
            // 0.7 of 10 steps are 7, although 0.7 × 10 is a little more in floating point.
            steps += (share * order.steps_in(epoch) as f64 - 1e-6).ceil().max(1.0) as usize;
            order.epochs.push(steps);
        }
        order
    }

    /// Optimizer steps in all.
    pub fn steps(&self) -> usize {
        let all = self.epochs[self.epochs.len() - 1];
        if self.settings.max_steps == 0 { all } else { all.min(self.settings.max_steps) }
    }

    /// The epoch of a step, its place in the epoch, and how many steps the epoch has.
    pub fn place(&self, step: usize) -> (usize, usize, usize) {
        let epoch = self.epochs.partition_point(|first| *first <= step).clamp(1, self.epochs.len() - 1) - 1;
        (epoch, step - self.epochs[epoch], self.epochs[epoch + 1] - self.epochs[epoch])
    }

    /// The rows of each forward pass of a step. The batches of an epoch are worked out at its first step and kept.
    pub fn passes(&mut self, step: usize) -> Vec<Vec<usize>> {
        let (epoch, place, _) = self.place(step);
        let batches = match self.cached.take() {
            Some((cached, batches)) if cached == epoch => batches,
            _ => self.batches(epoch),
        };
        let most = self.settings.pass_tokens.unwrap_or(usize::MAX);
        let count = self.settings.gradient_accumulation_steps;
        let own = batches.iter().skip(place * count).take(count);
        let passes = own.flat_map(|batch| fill(batch.clone(), &self.lengths, most)).collect();
        self.cached = Some((epoch, batches));
        passes
    }

    /// The rows of each batch of an epoch.
    fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        if self.settings.max_tokens > 0 {
            return self.by_tokens(epoch);
        }
        let stream = random::mix(random::key(self.seed, "order"), epoch as u64);
        let order = random::permutation(stream, self.lengths.len());
        order.chunks(self.settings.batch_size).map(<[usize]>::to_vec).collect()
    }

    fn steps_in(&self, epoch: usize) -> usize {
        match self.settings.max_tokens {
            0 => self.settings.steps_per_epoch(self.lengths.len()),
            _ => self.by_tokens(epoch).len().div_ceil(self.settings.gradient_accumulation_steps).max(1),
        }
    }

    fn by_tokens(&self, epoch: usize) -> Vec<Vec<usize>> {
        let settings = self.settings;
        micro_batches(&self.lengths, settings.max_tokens, self.seed, epoch, settings.group_by_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::Encoding;
    use crate::train::Target;

    fn rows(count: usize) -> Rows {
        let row = |row: usize| Encoding {
            ids: vec![1; 1 + row % 5],
            type_ids: vec![0; 1 + row % 5],
            truncated: false,
        };
        Rows::of((0..count).map(row).collect(), vec![Target::Label(0); count])
    }

    #[test]
    fn every_epoch_has_every_row_once_however_passes_are_cut() {
        let rows = rows(23);
        for (batch_size, accumulation, max_tokens, pass_tokens) in [
            (4, 1, 0, None),
            (4, 3, 0, None),
            (4, 3, 0, Some(5)),
            (100, 1, 0, Some(512)),
            (100, 1, 0, Some(6)),
            (1, 1, 12, None),
            (1, 2, 12, None),
            (1, 2, 12, Some(7)),
        ] {
            let settings = TrainSettings {
                num_train_epochs: 3.0,
                batch_size,
                gradient_accumulation_steps: accumulation,
                max_tokens,
                pass_tokens,
                ..TrainSettings::default()
            };
            let mut order = Order::new(&settings, &rows, 7);
            let mut seen = vec![Vec::new(); 3];
            for step in 0..order.steps() {
                let (epoch, place, steps) = order.place(step);
                assert!(place < steps);
                let passes = order.passes(step);
                assert!(!passes.is_empty());
                match pass_tokens {
                    None => assert!(passes.len() <= accumulation),
                    Some(most) => assert!(passes.iter().all(|rows| {
                        rows.len() == 1 || rows.iter().map(|row| order.lengths[*row]).sum::<usize>() <= most
                    })),
                }
                seen[epoch].extend(passes.concat());
            }
            assert_ne!(seen[0], seen[1], "epochs differ");
            for mut epoch in seen {
                epoch.sort_unstable();
                assert_eq!(epoch, (0..23).collect::<Vec<_>>());
            }
        }
    }

    /// The passes of a step as they were worked out before epochs were kept: the whole epoch anew for every step.
    fn anew(order: &Order, rows: usize, step: usize) -> Vec<Vec<usize>> {
        let (settings, (epoch, place, _)) = (order.settings, order.place(step));
        let count = settings.gradient_accumulation_steps;
        let batches: Vec<Vec<usize>> = if settings.max_tokens > 0 {
            order.by_tokens(epoch).into_iter().skip(place * count).take(count).collect()
        } else {
            let stream = random::mix(random::key(order.seed, "order"), epoch as u64);
            let first = place * settings.rows_per_step();
            let whole = random::permutation(stream, rows);
            let chosen = &whole[first.min(rows)..rows.min(first + settings.rows_per_step())];
            chosen.chunks(settings.batch_size).map(<[usize]>::to_vec).collect()
        };
        let most = settings.pass_tokens.unwrap_or(usize::MAX);
        batches.into_iter().flat_map(|batch| fill(batch, &order.lengths, most)).collect()
    }

    #[test]
    fn keeping_an_epoch_changes_no_step_also_where_a_run_goes_on_in_its_middle() {
        let rows = rows(57);
        for (batch_size, accumulation, max_tokens, pass_tokens) in
            [(4, 1, 0, None), (5, 3, 0, Some(6)), (100, 1, 0, None), (1, 1, 12, None), (1, 3, 12, Some(7))]
        {
            let settings = TrainSettings {
                num_train_epochs: 2.5,
                batch_size,
                gradient_accumulation_steps: accumulation,
                max_tokens,
                pass_tokens,
                ..TrainSettings::default()
            };
            let steps = Order::new(&settings, &rows, 7).steps();
            for first in [0, steps / 2, steps - 1] {
                let mut order = Order::new(&settings, &rows, 7);
                for step in (first..steps).chain([0]) {
                    assert_eq!(order.passes(step), anew(&order, 57, step), "step {step} of {settings:?}");
                }
            }
        }
    }

    #[test]
    fn a_part_of_an_epoch_is_its_first_steps_rounded_up() {
        let rows = rows(40);
        let steps = |num_train_epochs: f64, max_tokens: usize| {
            let settings =
                TrainSettings { num_train_epochs, max_tokens, batch_size: 4, ..TrainSettings::default() };
            Order::new(&settings, &rows, 7).steps()
        };
        for (epochs, expected) in [(0.5, 5), (0.7, 7), (0.71, 8), (1.0, 10), (2.5, 25), (1e-9, 1)] {
            assert_eq!(steps(epochs, 0), expected, "{epochs}");
        }
        let whole = steps(1.0, 12);
        assert_eq!(steps(0.5, 12), whole.div_ceil(2));
        let settings = TrainSettings { num_train_epochs: 1.5, batch_size: 4, ..TrainSettings::default() };
        let mut order = Order::new(&settings, &rows, 7);
        assert_eq!(order.place(14), (1, 4, 5));
        let whole = TrainSettings { num_train_epochs: 2.0, ..settings.clone() };
        assert_eq!(order.passes(12), Order::new(&whole, &rows, 7).passes(12));
    }
}
