//! Memory and speed at several sizes of the batch.

use super::Bench;
use crate::adapter::Tuning;
use crate::error::Result;
use crate::eval;
use crate::record::Point;
use crate::study::config::Probing;
use crate::train::{Rows, Source, TrainSettings};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Steps that are timed at each size of the batch, after one that is not.
const TIMED_STEPS: usize = 2;
/// Passes of inference that are, which are shorter.
const TIMED_PASSES: usize = 3;

impl Bench<'_> {
    /// Inference at every size of the batch.
    pub(super) fn inference_points(&self, tuning: &Tuning, probing: &Probing) -> Result<Vec<Point>> {
        sizes(probing, self.session.length).map(|size| self.inference_point(tuning, size)).collect()
    }

    /// Training at every size of the batch.
    pub(super) fn training_points(&self, probing: &Probing) -> Result<Vec<Point>> {
        sizes(probing, self.session.length).map(|size| self.training_point(size)).collect()
    }

    /// Peak of the engine's own account, and seconds of a pass, for scoring a batch of rows of one length. Rows are
    /// weighed or classified, not asked about: what a model writes has lengths of its own.
    fn inference_point(&self, tuning: &Tuning, (batch_size, length): (usize, usize)) -> Result<Point> {
        let rows = self.session.train.of_length(batch_size, length);
        let source = Source::new(&*self.session.model, &rows);
        let pass = || -> Result<f64> {
            let start = Instant::now();
            std::hint::black_box(eval::score(tuning, &source, || self.go_on())?);
            Ok(start.elapsed().as_secs_f64())
        };
        self.backend.ledger().reset_peak();
        pass()?;
        let peak_bytes = self.backend.ledger().peak().total();
        let timed = || (0..TIMED_PASSES).map(|_| pass()).collect::<Result<Vec<f64>>>();
        let (seconds, disturbance) = self.least_disturbed(self.threads(), timed)?;
        Ok(Point {
            batch_size,
            length,
            answer_tokens: answer_tokens(&rows),
            peak_bytes,
            seconds,
            disturbance: Some(disturbance),
        })
    }

    /// Peak of the engine's own account, and seconds of a training step, for a batch of rows of one length.
    fn training_point(&self, (batch_size, length): (usize, usize)) -> Result<Point> {
        let rows = self.session.train.of_length(batch_size, length);
        let steps = TIMED_STEPS + 1;
        let settings = TrainSettings {
            batch_size,
            gradient_accumulation_steps: 1,
            max_tokens: 0,
            max_steps: 0,
            num_train_epochs: steps as f64,
            ..self.how.train.clone()
        };
        // Where the features are kept, every step is taken to have had to compute them.
        let computed = self.tuning()?.adapter().leaves_features_alone();
        self.backend.ledger().reset_peak();
        let timed = || {
            let (start, ahead, seconds) = (Instant::now(), Cell::new(0.0), Mutex::new(Vec::new()));
            let ready = || ahead.set(start.elapsed().as_secs_f64());
            self.train(&rows, &settings, steps, &ready, &|step| {
                seconds.lock().unwrap_or_else(PoisonError::into_inner).push(step.seconds);
            })?;
            let ahead = if computed { ahead.get() } else { 0.0 };
            let seconds = seconds.into_inner().unwrap_or_else(PoisonError::into_inner);
            Ok(seconds.into_iter().skip(1).map(|step: f64| step + ahead).collect())
        };
        let (seconds, disturbance) = self.least_disturbed(self.threads(), timed)?;
        let peak_bytes = self.backend.ledger().peak().total();
        Ok(Point {
            batch_size,
            length,
            answer_tokens: answer_tokens(&rows),
            peak_bytes,
            seconds,
            disturbance: Some(disturbance),
        })
    }
}

/// Every batch size with every length of rows, none longer than the study's.
fn sizes(probing: &Probing, longest: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let lengths: BTreeSet<usize> = probing.lengths.iter().map(|length| (*length).min(longest)).collect();
    let sizes: BTreeSet<usize> = probing.batch_sizes.iter().copied().collect();
    lengths.into_iter().flat_map(move |length| sizes.clone().into_iter().map(move |size| (size, length)))
}

fn answer_tokens(rows: &Rows) -> usize {
    (0..rows.len()).map(|row| rows.answer_tokens(row)).sum()
}
