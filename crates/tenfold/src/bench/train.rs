//! Training steps.

use super::matmul::{self, Timed};
use super::{LABELS, Rate, RowShape, Setting, Tuned, WORD, median, rate, within};
use crate::error::{Error, Result};
use crate::meter::disturbance::Watch;
use crate::meter::memory;
use crate::record::Disturbance;
use crate::train::{self, CrossEntropy, Fitted, Rows, Source, Subject, TrainSettings, Trainer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tenfold_tensor::{Class, Meta, Product, Tally, Usage};

/// Steps that are not timed.
const WARM_UP: usize = 2;

/// What to measure.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// The model and the method, which must be there.
    pub tuned: Tuned,
    /// Tokens of a row.
    pub sequence: usize,
    /// Tokens of the answer to a row, for encoder-decoders.
    pub target_sequence: usize,
    /// Optimizer steps, the first two of which are not timed.
    pub steps: usize,
    /// How to train: rows of a step, recomputation, limit of memory.
    pub train: TrainSettings,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// What it ran on.
    #[serde(flatten)]
    pub setting: Setting,
    /// Trained numbers.
    pub trainable_parameters: u64,
    /// Rows of a step.
    pub batch_size: usize,
    /// Tokens of a pass at the most.
    pub pass_tokens: Option<usize>,
    /// Whether blocks were computed again.
    pub gradient_checkpointing: bool,
    /// What the limit of memory changed.
    pub changed: Option<String>,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Tokens, answers counted, in a second.
    pub tokens_per_second: Rate,
    /// Rows in a second.
    pub examples_per_second: Rate,
    /// Seconds of each timed step.
    pub step_seconds: Vec<f64>,
    /// Mean loss of each step, in nats; of regressions the squared error.
    pub losses: Vec<f32>,
    /// Arithmetic of a step's matrix products, in operations (two for each multiplication with its addition).
    pub matmul_operations: f64,
    /// The machine's own rate at these products: each alone, in f32, over and over, in operations a second.
    pub matmul_operations_per_second: f64,
    /// Part of that rate that the median step reaches: 1 would be a step of nothing but products at their best.
    pub fraction_of_matmul_rate: f64,
    /// What disturbed the steps and the products that they are held against.
    pub disturbance: Disturbance,
    /// Peak of the process since it began, loading included, as the operating system counts it.
    pub peak_memory_bytes: Option<u64>,
    /// Its peak in training alone, with what loading left in it.
    pub training_peak_memory_bytes: Option<u64>,
    /// The engine's own account at the peak of training, by class: it explains the process's.
    pub memory_by_class: BTreeMap<&'static str, u64>,
    /// What was foreseen of the account, by class.
    pub foreseen_by_class: BTreeMap<&'static str, u64>,
    /// What was foreseen of the process.
    pub foreseen_bytes: u64,
}

/// Trains a few steps on rows of random tokens, all of whose labels count.
pub fn train(request: &TrainRequest) -> Result<TrainReport> {
    let TrainRequest { tuned, steps, .. } = request;
    let Foreseen { rows, fitted, products } = foresee(request)?;
    let backend = tuned.device.backend();
    let mut model = tuned.load(&backend)?;
    let tuning = tuned.tuning(&*model, &backend)?;
    if tuning.trains_all_of(&*model) {
        // Nobody asks for the base's own numbers again: what is left of it are names and shapes.
        model = tuned.load(&Meta::new())?;
    }
    backend.ledger().reset_peak();
    let loading = memory::process_peak_bytes();
    memory::reset_process_peak();
    let settings = TrainSettings { num_train_epochs: *steps as f64, max_steps: *steps, ..fitted.train };
    let seconds = Mutex::new(Vec::new());
    let source = Source::new(&*model, &rows);
    let trainer = Trainer {
        backend: backend.clone(),
        tuning: &tuning,
        objective: &CrossEntropy { label_smoothing_factor: settings.label_smoothing_factor },
        settings: &settings,
        learning_rate: 1e-5,
        seed: tuned.seed,
        train: &source,
        looks: None,
        stops: &[],
        snapshot: None,
        snapshot_every: Duration::MAX,
        go_on: &|| Ok(()),
        on_step: &|step| seconds.lock().unwrap_or_else(PoisonError::into_inner).push(step.seconds),
    };
    let watch = Watch::start(rayon::current_num_threads());
    let training = trainer.first_steps(*steps)?;
    let training_peak_memory_bytes = memory::process_peak_bytes();
    let peak_memory_bytes = loading.max(training_peak_memory_bytes);
    let mut seconds = seconds.into_inner().unwrap_or_else(PoisonError::into_inner);
    seconds.drain(..WARM_UP.min(seconds.len() - 1));
    let timed = matmul::time(tuned.device, &products)?;
    let disturbance = watch.stop();
    let (operations, alone) = (Timed::operations(&timed), Timed::seconds(&timed));
    let tokens_per_step = (0..rows.len()).map(|row| rows.tokens(row) as u64).sum();
    Ok(TrainReport {
        setting: tuned.setting(&*model),
        trainable_parameters: tuning.len() as u64,
        batch_size: settings.batch_size,
        pass_tokens: settings.pass_tokens,
        gradient_checkpointing: settings.gradient_checkpointing,
        changed: fitted.changed,
        tokens_per_step,
        tokens_per_second: rate(tokens_per_step, &seconds),
        examples_per_second: rate(rows.len() as u64, &seconds),
        losses: training.losses,
        matmul_operations: operations,
        matmul_operations_per_second: operations / alone,
        fraction_of_matmul_rate: alone / median(&seconds),
        step_seconds: seconds,
        disturbance,
        peak_memory_bytes,
        training_peak_memory_bytes,
        memory_by_class: by_class(&backend.ledger().peak()),
        foreseen_by_class: by_class(&fitted.foreseen),
        foreseen_bytes: train::total(&fitted.foreseen),
    })
}

/// What is known of training before it is done.
pub(super) struct Foreseen {
    rows: Rows,
    fitted: Fitted,
    /// The matrix products of a step, and how often each is done.
    pub products: Vec<(Product, u64)>,
}

/// Rows of random tokens, how they are trained on within the limit of memory, and of what products a step is made.
pub(super) fn foresee(request: &TrainRequest) -> Result<Foreseen> {
    let TrainRequest { tuned, sequence, target_sequence, steps, train } = request;
    let Some((method, settings)) = tuned.method()? else {
        return Err(Error::malformed("the request", "method", "a method", "none"));
    };
    within("steps", *steps, usize::MAX)?;
    let faults = train.faults();
    if !faults.is_empty() {
        return Err(Error::Faults { file: "the request".into(), faults });
    }
    let tally = Arc::new(Tally::default());
    let model = tuned.load(&Meta::tallying(&tally))?;
    let shape =
        RowShape { rows: train.rows_per_step(), sequence: *sequence, target_sequence: *target_sequence };
    let limit = super::limit(train.memory_limit);
    let rows = tuned.rows(&*model, shape, limit)?;
    let subject = Subject {
        model: &*model,
        method,
        settings: &settings,
        labels: LABELS,
        rows: &rows,
        tokenize: &|_| Ok(vec![WORD]),
        keeps_base: false,
    };
    let fitted = train::fit(&subject, train, limit)?;
    let products = train::products(&subject, &fitted.train, &tally)?;
    Ok(Foreseen { rows, fitted, products })
}

fn by_class(usage: &Usage) -> BTreeMap<&'static str, u64> {
    usage.by_class().map(|(class, bytes): (Class, u64)| (class.name(), bytes)).collect()
}
