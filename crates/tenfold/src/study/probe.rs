//! A probe: one method alone on the machine, in a process of its own. Speed, memory, latency, energy.

use super::config::{Probing, Study};
use super::naming;
use super::plan::{Job, TrialSettings, parts};
use super::session::{Session, backend};
use super::store::RunFolder;
use crate::adapter::{Method, Tuning};
use crate::error::{Error, Result};
use crate::eval;
use crate::load::{self, Length, Plan, Wall};
use crate::meter::energy::{self, Meter};
use crate::meter::{POWERCAP, gpu, machine, memory};
use crate::model::Forward;
use crate::progress::Progress;
use crate::record::{
    Arrivals, Energy, Load, Memory, Outcome, Point, Probed, Record, Repeat, Role, SCHEMA, Speed, Trial,
};
use crate::train::{
    EVALUATION_BATCH, Features, Order, Progressed, Rows, Source, TrainSettings, Trainer, Training,
};
use serde_json::Value;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenfold_tensor::{Backend, Class, without_gradients};

/// Steps and batches that are not timed: caches and branch predictors settle.
const WARM_UP: usize = 2;
/// Steps that are timed at each size of the batch, after one that is not.
const TIMED_STEPS: usize = 2;
/// Passes of inference that are, which are shorter.
const TIMED_PASSES: usize = 3;
/// Batches of the inference probe that are timed.
const INFERENCE_BATCHES: usize = 8;

/// Measures the trial `name` of a run, and writes its record. Meant to be all that its process does.
pub fn probe(run_folder: &Path, name: &str, progress: &dyn Progress) -> Result<()> {
    let folder = RunFolder::new(run_folder);
    let study = Study::read(&folder.file("study.toml"), &[])?;
    let job = folder.job(name)?;
    let idle_energy = energy::idle(Path::new(POWERCAP), study.energy.idle_seconds);
    let gpus = gpu::Watch::start(Path::new(gpu::NVIDIA_SMI));
    let backend = backend();
    let session = Session::open(&study, &backend, progress)?;
    let (method, settings, how) = parts(&job.trial)?;
    let bench = Bench { session: &session, backend, method, settings, how, seed: job.trial.seed, progress };
    let probed = bench.measure(&study.probe, reference(&folder, &job)?)?;
    let gpu = gpus.and_then(gpu::Watch::stop);
    let outcome = Outcome::Probed(Box::new(Probed { idle_energy, gpu, ..probed }));
    let record = Record { schema: SCHEMA, trial: job.trial.clone(), machine: machine::describe(), outcome };
    folder.keep(&job, &record)
}

/// The losses of the trial that a probe repeats the first steps of.
fn reference(folder: &RunFolder, job: &Job) -> Result<Vec<f32>> {
    let mut trial = Trial { role: Role::Main, ..job.trial.clone() };
    if let Value::Object(train) = &mut trial.train {
        train.remove("probe");
    }
    let main = Job { name: naming::name(&trial), trial, fit: job.fit.clone() };
    Ok(match folder.record(&main)?.map(|record| record.outcome) {
        Some(Outcome::Trained(trained)) => trained.losses,
        _ => Vec::new(),
    })
}

struct Bench<'a> {
    session: &'a Session,
    backend: Arc<dyn Backend>,
    method: &'static Method,
    settings: Value,
    how: TrialSettings,
    seed: u64,
    progress: &'a dyn Progress,
}

impl Bench<'_> {
    fn measure(&self, probing: &Probing, reference: Vec<f32>) -> Result<Probed> {
        let tuning = self.tuning()?;
        let (inference, inference_questions, inference_memory, inference_energy) = self.inference(&tuning)?;
        let inference_points =
            sizes(probing, self.session.length).map(|size| self.inference_point(&tuning, size));
        let inference_points = inference_points.collect::<Result<Vec<Point>>>()?;
        let mut loads = self.loads(&tuning, probing)?;
        let merged = without_gradients(|| tuning.merged(&*self.session.model, &self.backend))?;
        if let Some(merged) = &merged {
            let under = self.loads(merged, probing)?;
            loads.extend(under.into_iter().map(|load| Load { merged: true, ..load }));
        }
        drop((merged, tuning));
        let (training, training_memory, training_energy, losses) = self.training(probing.steps)?;
        let points = sizes(probing, self.session.length).map(|size| self.point(size));
        let points = points.collect::<Result<Vec<Point>>>()?;
        Ok(Probed {
            threads: rayon::current_num_threads(),
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
            repeat: repeat(&losses, &reference),
        })
    }

    fn tuning(&self) -> Result<Tuning> {
        self.session.tuning(self.method, &self.settings, self.seed, &self.backend)
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
        self.start_peak();
        let mut meter = Meter::start(Path::new(POWERCAP));
        let (mut speed, mut questions) =
            (Speed { examples: 0, tokens: 0, batch_seconds: Vec::new(), disturbance: None }, 0);
        for rows in &batches {
            let start = Instant::now();
            score(rows)?;
            speed.batch_seconds.push(start.elapsed().as_secs_f64());
            meter.lap();
            speed.examples += rows.len() as u64;
            speed.tokens += tokens(rows);
            questions += rows.questions() as u64;
        }
        Ok((speed, questions, self.peak(), meter.stop()))
    }

    /// Whole requests under every load, the lightest first: clients, and then rates. A language model that is asked nothing
    /// answers nothing.
    fn loads(&self, tuning: &Tuning, probing: &Probing) -> Result<Vec<Load>> {
        if self.session.requests.is_empty() && self.asked().is_none() {
            return Ok(Vec::new());
        }
        let answer = |number: usize, token: &mut dyn FnMut()| self.answer(tuning, number, token);
        let seconds = (probing.seconds > 0.0).then_some(Length::Seconds(probing.seconds));
        let length = seconds.unwrap_or(Length::Requests(probing.requests));
        let measure = |arrivals: Arrivals| {
            let Probing { servers, warm_up, .. } = *probing;
            let plan = Plan { arrivals, servers, warm_up, length, seed: self.seed };
            load::run(&plan, &answer, &Wall::start())
        };
        // As many clients as servers find the capacity.
        let clients: BTreeSet<usize> =
            [1, probing.servers].into_iter().chain(probing.clients.clone()).collect();
        let closed = clients.into_iter().map(|clients| measure(Arrivals::Closed { clients }));
        let mut loads = closed.collect::<Result<Vec<Load>>>()?;
        let capacity = loads.iter().map(Load::rate).fold(0.0, f64::max);
        let mut open: Vec<(f64, Option<f64>)> = probing.rates.iter().map(|rate| (*rate, None)).collect();
        open.extend(probing.utilisations.iter().map(|share| (share * capacity, Some(*share))));
        open.sort_by(|a, b| a.0.total_cmp(&b.0));
        open.dedup();
        for (rate, share) in open {
            loads.push(measure(Arrivals::Open { rate, share })?);
        }
        Ok(loads)
    }

    /// Test rows that a language model is asked about.
    fn asked(&self) -> Option<&Rows> {
        self.session
            .tests
            .first()
            .map(|(_, rows)| rows)
            .filter(|rows| rows.asked().is_some() && !rows.is_empty())
    }

    /// One whole request: text in, label out; or a question in, and which choice out, or what the model writes, `token` by
    /// token.
    fn answer(&self, tuning: &Tuning, number: usize, token: &mut dyn FnMut()) -> Result<()> {
        self.go_on()?;
        if let Some(rows) = self.asked() {
            let row = rows.select(&[number % rows.len()]);
            let source = Source::new(&*self.session.model, &row);
            std::hint::black_box(eval::answers(tuning, &source, &|| self.go_on(), token)?);
            return Ok(());
        }
        if let Some(rows) = self.session.requests.rows(self.session, number)? {
            let source = Source::new(&*self.session.model, &rows);
            std::hint::black_box(eval::score(tuning, &source, || Ok(()))?.answers);
        }
        Ok(())
    }

    /// The first steps of the trial. A method with cached features is run to its end, and the time
    /// to compute them is shared out among its steps.
    fn training(&self, steps: usize) -> Result<(Speed, Memory, Energy, Vec<f32>)> {
        let cached = self.tuning()?.adapter().leaves_features_alone();
        let rows = &self.session.train;
        let planned = Order::new(&self.how.train, rows, self.seed).steps();
        let warm_up = if cached { 0 } else { WARM_UP.min(planned.saturating_sub(1)) };
        let count = if cached { planned } else { planned.min(warm_up + steps) };
        let meter: Mutex<Option<Meter>> = Mutex::new(None);
        let begin = || {
            *lock(&meter) = Some(Meter::start(Path::new(POWERCAP)));
        };
        let steps = Mutex::new(Vec::new());
        self.start_peak();
        if warm_up == 0 {
            begin();
        }
        let start = Instant::now();
        let before_steps = Mutex::new(None);
        let training = self.train(
            rows,
            &self.how.train,
            count,
            &|| {
                lock(&before_steps).get_or_insert_with(|| start.elapsed());
            },
            &|progressed| {
                lock(&steps).push(progressed.clone());
                if progressed.step == warm_up {
                    begin();
                } else if !cached && let Some(meter) = &mut *lock(&meter) {
                    // Features that were computed ahead are in no step.
                    meter.lap();
                }
            },
        )?;
        let energy = meter.into_inner().unwrap_or_else(PoisonError::into_inner);
        let energy = energy.unwrap_or_else(|| Meter::start(Path::new(POWERCAP))).stop();
        let steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ahead = before_steps.into_inner().unwrap_or_else(PoisonError::into_inner).filter(|_| cached);
        let speed = of_steps(&steps[warm_up.min(count)..], ahead.unwrap_or_default());
        Ok((speed, self.peak(), energy, training.losses))
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
        let seconds = (0..TIMED_PASSES).map(|_| pass()).collect::<Result<_>>()?;
        Ok(Point {
            batch_size,
            length,
            answer_tokens: answer_tokens(&rows),
            peak_bytes,
            seconds,
            disturbance: None,
        })
    }

    /// Peak of the engine's own account, and seconds of a training step, for a batch of rows of one length.
    fn point(&self, (batch_size, length): (usize, usize)) -> Result<Point> {
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
        let (start, ahead, seconds) = (Instant::now(), Cell::new(0.0), Mutex::new(Vec::new()));
        let ready = || ahead.set(start.elapsed().as_secs_f64());
        self.backend.ledger().reset_peak();
        self.train(&rows, &settings, steps, &ready, &|step| {
            seconds.lock().unwrap_or_else(PoisonError::into_inner).push(step.seconds);
        })?;
        let peak_bytes = self.backend.ledger().peak().total();
        // Where the features are kept, every step is taken to have had to compute them.
        let computed = self.tuning()?.adapter().leaves_features_alone();
        let ahead = if computed { ahead.get() } else { 0.0 };
        let seconds = seconds.into_inner().unwrap_or_else(PoisonError::into_inner);
        let seconds = seconds.into_iter().skip(1).map(|step: f64| step + ahead).collect();
        Ok(Point {
            batch_size,
            length,
            answer_tokens: answer_tokens(&rows),
            peak_bytes,
            seconds,
            disturbance: None,
        })
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

/// Every batch size with every length of rows, none longer than the study's.
fn sizes(probing: &Probing, longest: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let lengths: BTreeSet<usize> = probing.lengths.iter().map(|length| (*length).min(longest)).collect();
    let sizes: BTreeSet<usize> = probing.batch_sizes.iter().copied().collect();
    lengths.into_iter().flat_map(move |length| sizes.clone().into_iter().map(move |size| (size, length)))
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

fn answer_tokens(rows: &Rows) -> usize {
    (0..rows.len()).map(|row| rows.answer_tokens(row)).sum()
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
