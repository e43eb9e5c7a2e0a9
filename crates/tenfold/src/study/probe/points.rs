//! Memory and speed at several sizes of the batch.

use super::bench::Bench;
use super::part::Size;
use crate::adapter::Tuning;
use crate::error::Result;
use crate::eval;
use crate::record::Point;
use crate::train::{Rows, Source, TrainSettings};
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Steps of a training run that are not timed, and those that are.
const WARM_UP: usize = 1;
const TIMED: usize = 1;

impl Bench<'_> {
    /// Peak of the engine's own account, and seconds of a pass, for scoring a batch of rows of one length. Rows are
    /// weighed or classified, not asked about: what a model writes has lengths of its own.
    pub(super) fn inference_point(&self, tuning: &Tuning, size: Size) -> Result<Point> {
        let rows = self.session.task.train.of_length(size.rows, size.length);
        let source = Source::new(&*self.session.base.model, &rows);
        let pass = || -> Result<f64> {
            let start = Instant::now();
            std::hint::black_box(eval::score(tuning, &source, || self.go_on())?);
            Ok(start.elapsed().as_secs_f64())
        };
        self.backend.ledger().reset_peak();
        pass()?;
        let peak_bytes = self.backend.ledger().peak().total();
        let (seconds, disturbance) = self.watched(self.threads(), || Ok(vec![pass()?]))?;
        Ok(Point {
            batch_size: size.rows,
            length: size.length,
            answer_tokens: answer_tokens(&rows),
            peak_bytes,
            seconds,
            disturbance: Some(disturbance),
        })
    }

    /// Peak of the engine's own account, and seconds of a training step, for a batch of rows of one length.
    pub(super) fn training_point(&self, size: Size) -> Result<Point> {
        let rows = self.session.task.train.of_length(size.rows, size.length);
        let steps = WARM_UP + TIMED;
        let settings = TrainSettings {
            batch_size: size.rows,
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
            Ok(seconds.into_iter().skip(WARM_UP).map(|step: f64| step + ahead).collect())
        };
        let (seconds, disturbance) = self.watched(self.threads(), timed)?;
        let peak_bytes = self.backend.ledger().peak().total();
        Ok(Point {
            batch_size: size.rows,
            length: size.length,
            answer_tokens: answer_tokens(&rows),
            peak_bytes,
            seconds,
            disturbance: Some(disturbance),
        })
    }
}

fn answer_tokens(rows: &Rows) -> usize {
    (0..rows.len()).map(|row| rows.answer_tokens(row)).sum()
}
