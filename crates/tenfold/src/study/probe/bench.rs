//! The parts of a probe, each timed by itself in the method's own process.

use super::part::{Answer, Part, Ready};
use crate::adapter::{Method, Tuning};
use crate::error::{Error, Result};
use crate::eval;
use crate::meter::disturbance::Watch;
use crate::meter::energy::Meter;
use crate::meter::{POWERCAP, memory};
use crate::model::Forward;
use crate::progress::Progress;
use crate::record::{Disturbance, Energy, Load, Memory, Speed, Stretch};
use crate::study::config::Probing;
use crate::study::plan::TrialSettings;
use crate::study::session::Session;
use crate::train::{
    CrossEntropy, EVALUATION_BATCH, Features, Order, Progressed, Rows, Source, TrainSettings, Trainer,
    Training,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenfold_tensor::{Backend, Class, without_gradients};

/// Steps and batches that are not timed: caches and branch predictors settle.
const WARM_UP: usize = 2;
/// Batches of the inference probe that are timed.
const INFERENCE_BATCHES: usize = 8;

/// A method that is measured.
pub(super) struct Bench<'a> {
    pub session: &'a Session,
    pub backend: Arc<dyn Backend>,
    pub method: &'static Method,
    pub settings: Value,
    pub how: TrialSettings,
    pub seed: u64,
    pub probing: &'a Probing,
    pub progress: &'a dyn Progress,
    /// The method as it starts, merged or not, between parts that ask for the same.
    pub tuned: Mutex<Option<(bool, Arc<Tuning>)>>,
}

impl Bench<'_> {
    /// What there is to measure. Called before anything is measured: a method that cannot be made is refused here.
    pub(super) fn ready(&self) -> Result<Ready> {
        self.tuned(false)?;
        let loading_peak_bytes = memory::process_peak_bytes();
        let is_merged = self.method.mergeable && self.answers_requests() && self.tuned(true)?.is_some();
        Ok(Ready {
            threads: self.threads(),
            loading_peak_bytes,
            answers_requests: self.answers_requests(),
            is_merged,
            longest: self.session.task.length,
        })
    }

    /// Measures one part.
    pub(super) fn measure(&self, part: &Part) -> Result<Answer> {
        match part {
            Part::Inference => {
                let (stretch, questions, memory) = self.inference(&*self.form(false)?)?;
                Ok(Answer::Inference { stretch, questions, memory })
            }
            Part::InferencePoint(size) => {
                Ok(Answer::Point(self.inference_point(&*self.form(false)?, *size)?))
            }
            Part::Load { arrivals, merged } => {
                let load = self.load(&*self.form(*merged)?, *arrivals)?;
                Ok(Answer::Load(Load { merged: *merged, ..load }))
            }
            Part::Training => {
                lock(&self.tuned).take();
                let (stretch, memory, losses) = self.training()?;
                Ok(Answer::Training { stretch, memory, losses })
            }
            Part::TrainingPoint(size) => {
                lock(&self.tuned).take();
                Ok(Answer::Point(self.training_point(*size)?))
            }
        }
    }

    fn form(&self, merged: bool) -> Result<Arc<Tuning>> {
        self.tuned(merged)?.ok_or_else(|| Error::Unsupported {
            what: format!("{} merged into the base", self.method.title),
            why: "its changes are not all of the base's weights".into(),
        })
    }

    /// The method as it starts, or merged into the base; `None` where it cannot be merged.
    fn tuned(&self, merged: bool) -> Result<Option<Arc<Tuning>>> {
        let known =
            lock(&self.tuned).as_ref().filter(|(is, _)| *is == merged).map(|(_, tuned)| tuned.clone());
        if known.is_some() {
            return Ok(known);
        }
        // The other form goes first: both at a time would be more memory than either takes.
        lock(&self.tuned).take();
        let tuning = self.tuning()?;
        let tuned = match merged {
            false => Some(tuning),
            true => without_gradients(|| tuning.merged(&*self.session.base.model, &self.backend))?,
        };
        let tuned = tuned.map(Arc::new);
        *lock(&self.tuned) = tuned.clone().map(|tuned| (merged, tuned));
        Ok(tuned)
    }

    pub(super) fn tuning(&self) -> Result<Tuning> {
        self.session.tuning(self.method, &self.settings, self.seed, &self.backend)
    }

    pub(super) fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    /// Times a part on which so many threads compute.
    pub(super) fn watched<T>(
        &self,
        threads: usize,
        part: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Disturbance)> {
        let watch = Watch::start(threads);
        let measured = part()?;
        Ok((measured, watch.stop()))
    }

    pub(super) fn go_on(&self) -> Result<()> {
        if self.progress.stop_requested() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Scores rows of the first test domain in batches of whole questions; with it how many questions.
    fn inference(&self, tuning: &Tuning) -> Result<(Stretch, u64, Memory)> {
        let rows = self.session.task.tests.first().map(|(_, rows)| rows).unwrap_or(&self.session.task.train);
        let batches: Vec<Rows> = rows.question_batches(EVALUATION_BATCH).take(INFERENCE_BATCHES).collect();
        // What a request would take: of rows that are asked about, the loss of what is right is left out.
        let score = |rows: &Rows| -> Result<()> {
            let source = Source::new(&*self.session.base.model, rows);
            if eval::answers(tuning, &source, &|| self.go_on(), &mut || {})?.is_none() {
                eval::score(tuning, &source, || self.go_on())?;
            }
            Ok(())
        };
        for rows in batches.iter().take(WARM_UP) {
            score(rows)?;
        }
        let timed = || {
            self.start_peak();
            let mut meter = Meter::start(Path::new(POWERCAP));
            let mut batch_seconds = Vec::new();
            for rows in &batches {
                let start = Instant::now();
                score(rows)?;
                batch_seconds.push(start.elapsed().as_secs_f64());
                meter.lap();
            }
            Ok((batch_seconds, self.peak(), meter.stop()))
        };
        let ((batch_seconds, memory, energy), disturbance) = self.watched(self.threads(), timed)?;
        let disturbance = Some(disturbance);
        let speed = Speed {
            examples: batches.iter().map(|rows| rows.len() as u64).sum(),
            tokens: batches.iter().map(tokens).sum(),
            batch_seconds,
            disturbance,
        };
        let questions = batches.iter().map(|rows| rows.questions() as u64).sum();
        Ok((Stretch { speed, energy: Energy { disturbance, ..energy } }, questions, memory))
    }

    /// The first steps of the trial, and their losses. A method with cached features is run to its end, and the time to
    /// compute them is shared out among its steps.
    fn training(&self) -> Result<(Stretch, Memory, Vec<f32>)> {
        let cached = self.tuning()?.adapter().leaves_features_alone();
        let planned = Order::new(&self.how.train, &self.session.task.train, self.seed).steps();
        let warm_up = if cached { 0 } else { WARM_UP.min(planned.saturating_sub(1)) };
        let steps = self.probing.steps.div_ceil(self.probing.rounds).max(1);
        let count = if cached { planned } else { planned.min(warm_up + steps) };
        self.timed_training(cached, warm_up, count)
    }

    /// So many steps, the first `warm_up` of which are not timed.
    fn timed_training(
        &self,
        cached: bool,
        warm_up: usize,
        count: usize,
    ) -> Result<(Stretch, Memory, Vec<f32>)> {
        let begin = || (Watch::start(self.threads()), Meter::start(Path::new(POWERCAP)));
        let meters = Mutex::new((warm_up == 0).then(begin));
        let steps = Mutex::new(Vec::new());
        self.start_peak();
        let start = Instant::now();
        let before_steps = Mutex::new(None);
        let training = self.train(
            &self.session.task.train,
            &self.how.train,
            count,
            &|| {
                lock(&before_steps).get_or_insert_with(|| start.elapsed());
            },
            &|progressed| {
                lock(&steps).push(progressed.clone());
                if progressed.step == warm_up {
                    *lock(&meters) = Some(begin());
                } else if !cached && let Some((_, meter)) = &mut *lock(&meters) {
                    // Features that were computed ahead are in no step.
                    meter.lap();
                }
            },
        )?;
        let meters = meters.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (watch, meter) = meters.unwrap_or_else(begin);
        let (energy, disturbance) = (meter.stop(), Some(watch.stop()));
        let steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ahead = before_steps.into_inner().unwrap_or_else(PoisonError::into_inner).filter(|_| cached);
        let speed = of_steps(&steps[warm_up.min(count)..], ahead.unwrap_or_default());
        let stretch =
            Stretch { speed: Speed { disturbance, ..speed }, energy: Energy { disturbance, ..energy } };
        Ok((stretch, self.peak(), training.losses))
    }

    pub(super) fn train(
        &self,
        rows: &Rows,
        settings: &TrainSettings,
        count: usize,
        ready: &dyn Fn(),
        on_step: &(dyn Fn(&Progressed) + Sync),
    ) -> Result<Training> {
        let tuning = self.tuning()?;
        let source = Source::new(&*self.session.base.model, rows);
        let source =
            source.cache_features(&Forward::evaluation(&tuning), &Features::default(), || self.go_on())?;
        ready();
        let trainer = Trainer {
            backend: self.backend.clone(),
            tuning: &tuning,
            objective: &CrossEntropy { label_smoothing_factor: settings.label_smoothing_factor },
            settings,
            learning_rate: self.how.learning_rate,
            seed: self.seed,
            train: &source,
            looks: None,
            stops: &[],
            snapshot: None,
            snapshot_every: Duration::MAX,
            go_on: &|| self.go_on(),
            on_step,
        };
        trainer.first_steps(count)
    }

    fn start_peak(&self) {
        self.backend.ledger().reset_peak();
        memory::reset_process_peak();
    }

    fn peak(&self) -> Memory {
        let usage = self.backend.ledger().peak();
        let by_class: BTreeMap<String, u64> =
            usage.by_class().map(|(class, bytes): (Class, u64)| (class.name().to_owned(), bytes)).collect();
        Memory { by_class, peak_bytes: usage.total(), process_peak_bytes: memory::process_peak_bytes() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Real tokens that pass through the model when the rows are answered. What is asked reads other tokens than the rows
/// have and writes its own, which nobody counts: 0.
fn tokens(rows: &Rows) -> u64 {
    let all = if rows.asked().is_some() { 0 } else { rows.len() };
    (0..all).map(|row| rows.tokens(row) as u64).sum()
}

/// What timed steps came to. The time `ahead` of them all is shared out among them.
fn of_steps(steps: &[Progressed], ahead: Duration) -> Speed {
    let share = ahead.as_secs_f64() / steps.len().max(1) as f64;
    Speed {
        examples: steps.iter().map(|step| step.examples).sum(),
        tokens: steps.iter().map(|step| step.tokens).sum(),
        batch_seconds: steps.iter().map(|step| step.seconds + share).collect(),
        disturbance: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_different_sizes_are_counted_row_by_row() {
        let step = |examples| Progressed {
            step: 1,
            steps: 3,
            loss: 0.0,
            learning_rate: 0.0,
            examples,
            tokens: 10 * examples,
            seconds: 0.5,
        };
        let speed = of_steps(&[step(3), step(2), step(3)], Duration::from_millis(1500));
        assert_eq!((speed.examples, speed.tokens, speed.batch_seconds), (8, 80, vec![1.0; 3]));
        assert_eq!(of_steps(&[], Duration::from_secs(1)).examples, 0);
    }
}
