//! A probe: one method in a process of its own, beside which the study runs nothing. Speed, memory, latency, energy, and
//! what else used the processors meanwhile.

mod points;
mod requests;

use super::config::{Probing, Study};
use super::local::measured;
use super::plan::{Job, TrialSettings, parts};
use super::session::{Session, backend};
use super::store::RunFolder;
use crate::adapter::{Method, Tuning};
use crate::error::{Error, Result};
use crate::eval;
use crate::meter::disturbance::{self, Watch};
use crate::meter::energy::{self, Meter};
use crate::meter::{POWERCAP, gpu, memory};
use crate::model::Forward;
use crate::progress::Progress;
use crate::record::{
    Disturbance, Energy, Load, Measured, Memory, Outcome, Probed, Record, Repeat, Role, SCHEMA, Speed, Trial,
};
use crate::train::{
    EVALUATION_BATCH, Features, Order, Progressed, Rows, Source, TrainSettings, Trainer, Training,
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

/// Measures the trial `name` of a run, and writes its record. Meant to be all that its process does.
pub fn probe(run_folder: &Path, name: &str, progress: &dyn Progress) -> Result<()> {
    let folder = RunFolder::new(run_folder);
    let study = Study::read(&folder.file("study.toml"), &[])?;
    let job = folder.job(name)?;
    let idle_energy = idle(study.energy.idle_seconds, study.probe.retries)?;
    let gpus = gpu::Watch::start(Path::new(gpu::NVIDIA_SMI));
    let backend = backend();
    let session = Session::open(&study, &backend, progress)?;
    let (method, settings, how) = parts(&job.trial)?;
    let fit = match session.fit(&job.trial, study.train.memory_limit)? {
        Ok(fit) => fit,
        Err(reason) => return keep(&folder, &job, Outcome::Failed { reason }, measured()),
    };
    let how = how.fitted(&fit);
    let (seed, retries) = (job.trial.seed, study.probe.retries);
    let bench = Bench { session: &session, backend, method, settings, how, seed, retries, progress };
    let (probed, losses) = bench.measure(&study.probe)?;
    let probe = Probed { idle_energy, gpu: gpus.and_then(gpu::Watch::stop), ..probed };
    let outcome = Outcome::Probed(repeat(&losses, &reference(&folder, &job)?));
    keep(&folder, &job, outcome, Measured { fit: Some(fit), probe: Some(Box::new(probe)), ..measured() })
}

fn keep(folder: &RunFolder, job: &Job, outcome: Outcome, measured: Measured) -> Result<()> {
    folder.keep(job, &Record { schema: SCHEMA, trial: job.trial.clone(), outcome, measured })
}

/// Energy of the idle machine, where it can be measured.
fn idle(seconds: f64, retries: usize) -> Result<Option<Energy>> {
    let (energy, disturbance) = disturbance::least_disturbed(retries, || {
        let watch = Watch::start(1);
        Ok((energy::idle(Path::new(POWERCAP), seconds), watch.stop()))
    })?;
    Ok(energy.map(|energy| Energy { disturbance: Some(disturbance), ..energy }))
}

/// The losses of the trial that a probe repeats the first steps of.
fn reference(folder: &RunFolder, job: &Job) -> Result<Vec<f32>> {
    let mut trial = Trial { role: Role::Main, ..job.trial.clone() };
    if let Value::Object(train) = &mut trial.train {
        train.remove("probe");
    }
    Ok(match folder.record(&Job::of(trial))?.map(|record| record.outcome) {
        Some(Outcome::Trained(trained)) => trained.losses,
        _ => Vec::new(),
    })
}

/// What came of timed steps, and the losses of all of them.
type TimedTraining = (Speed, Memory, Energy, Vec<f32>);

struct Bench<'a> {
    session: &'a Session,
    backend: Arc<dyn Backend>,
    method: &'static Method,
    settings: Value,
    how: TrialSettings,
    seed: u64,
    /// How often a disturbed part is measured again.
    retries: usize,
    progress: &'a dyn Progress,
}

impl Bench<'_> {
    /// What is measured, and the losses of the steps that were trained.
    fn measure(&self, probing: &Probing) -> Result<(Probed, Vec<f32>)> {
        let tuning = self.tuning()?;
        let loading_peak_bytes = memory::process_peak_bytes();
        let (inference, inference_questions, inference_memory, inference_energy) = self.inference(&tuning)?;
        let inference_points = self.inference_points(&tuning, probing)?;
        let mut loads = self.loads(&tuning, probing)?;
        let merged = without_gradients(|| tuning.merged(&*self.session.model, &self.backend))?;
        if let Some(merged) = &merged {
            let under = self.loads(merged, probing)?;
            loads.extend(under.into_iter().map(|load| Load { merged: true, ..load }));
        }
        drop((merged, tuning));
        let (training, training_memory, training_energy, losses) = self.training(probing.steps)?;
        let points = self.training_points(probing)?;
        let probed = Probed {
            threads: self.threads(),
            loading_peak_bytes,
            training,
            inference,
            inference_questions,
            training_memory,
            inference_memory,
            points,
            inference_points,
            loads,
            training_energy,
            inference_energy,
            idle_energy: None,
            gpu: None,
        };
        Ok((probed, losses))
    }

    fn tuning(&self) -> Result<Tuning> {
        self.session.tuning(self.method, &self.settings, self.seed, &self.backend)
    }

    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    /// Times a part on which so many threads compute, again while it is disturbed.
    fn least_disturbed<T>(&self, threads: usize, part: impl Fn() -> Result<T>) -> Result<(T, Disturbance)> {
        disturbance::least_disturbed(self.retries, || {
            let watch = Watch::start(threads);
            let measured = part()?;
            Ok((measured, watch.stop()))
        })
    }

    fn go_on(&self) -> Result<()> {
        if self.progress.stop_requested() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Scores rows of the first test domain in batches of whole questions; with the speed how many questions.
    fn inference(&self, tuning: &Tuning) -> Result<(Speed, u64, Memory, Energy)> {
        let rows = self.session.tests.first().map(|(_, rows)| rows).unwrap_or(&self.session.train);
        let batches: Vec<Rows> = rows.question_batches(EVALUATION_BATCH).take(INFERENCE_BATCHES).collect();
        // What a request would take: of rows that are asked about, the loss of what is right is left out.
        let score = |rows: &Rows| -> Result<()> {
            let source = Source::new(&*self.session.model, rows);
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
        let ((batch_seconds, memory, energy), disturbance) = self.least_disturbed(self.threads(), timed)?;
        let disturbance = Some(disturbance);
        let speed = Speed {
            examples: batches.iter().map(|rows| rows.len() as u64).sum(),
            tokens: batches.iter().map(tokens).sum(),
            batch_seconds,
            disturbance,
        };
        let questions = batches.iter().map(|rows| rows.questions() as u64).sum();
        Ok((speed, questions, memory, Energy { disturbance, ..energy }))
    }

    /// The first steps of the trial. A method with cached features is run to its end, and the time
    /// to compute them is shared out among its steps.
    fn training(&self, steps: usize) -> Result<TimedTraining> {
        let cached = self.tuning()?.adapter().leaves_features_alone();
        let planned = Order::new(&self.how.train, &self.session.train, self.seed).steps();
        let warm_up = if cached { 0 } else { WARM_UP.min(planned.saturating_sub(1)) };
        let count = if cached { planned } else { planned.min(warm_up + steps) };
        let timed = || self.timed_training(cached, warm_up, count);
        let ((speed, memory, energy, losses), disturbance) =
            disturbance::least_disturbed(self.retries, timed)?;
        let disturbance = Some(disturbance);
        Ok((Speed { disturbance, ..speed }, memory, Energy { disturbance, ..energy }, losses))
    }

    /// So many steps, the first `warm_up` of which are not timed.
    fn timed_training(
        &self,
        cached: bool,
        warm_up: usize,
        count: usize,
    ) -> Result<(TimedTraining, Disturbance)> {
        let begin = || (Watch::start(self.threads()), Meter::start(Path::new(POWERCAP)));
        let meters = Mutex::new((warm_up == 0).then(begin));
        let steps = Mutex::new(Vec::new());
        self.start_peak();
        let start = Instant::now();
        let before_steps = Mutex::new(None);
        let training = self.train(
            &self.session.train,
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
        let (energy, disturbance) = (meter.stop(), watch.stop());
        let steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ahead = before_steps.into_inner().unwrap_or_else(PoisonError::into_inner).filter(|_| cached);
        let speed = of_steps(&steps[warm_up.min(count)..], ahead.unwrap_or_default());
        Ok(((speed, self.peak(), energy, training.losses), disturbance))
    }

    fn train(
        &self,
        rows: &Rows,
        settings: &TrainSettings,
        count: usize,
        ready: &dyn Fn(),
        on_step: &(dyn Fn(&Progressed) + Sync),
    ) -> Result<Training> {
        let tuning = self.tuning()?;
        let none = Rows::default();
        let source = Source::new(&*self.session.model, rows);
        let source =
            source.cache_features(&Forward::evaluation(&tuning), &Features::default(), || self.go_on())?;
        ready();
        let trainer = Trainer {
            backend: self.backend.clone(),
            tuning: &tuning,
            settings,
            learning_rate: self.how.learning_rate,
            seed: self.seed,
            train: &source,
            validation: &Source::new(&*self.session.model, &none),
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

/// Whether the repeated steps gave the same bits.
fn repeat(losses: &[f32], reference: &[f32]) -> Repeat {
    let steps = losses.len().min(reference.len());
    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
    Repeat { steps, first_difference: losses.iter().zip(reference).position(differs) }
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
