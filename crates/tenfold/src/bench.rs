//! Speed and memory of training steps on made-up rows: any model, any method, nothing to download but a configuration.

use crate::adapter::{self, Context, Tuning};
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::meter::memory;
use crate::model::tokenizer::Encoding;
use crate::model::{self, Model, TaskType};
use crate::train::{self, Rows, Source, Subject, Target, TrainSettings, Trainer};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tenfold_tensor::{Backend, Class, Cpu, Dry, Dtype, Usage, random};

/// Steps that are not timed.
const WARM_UP: usize = 2;
/// Labels of a task that has labels.
const LABELS: usize = 2;
/// Token id of the texts that methods start from.
const WORD: u32 = 5;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Request {
    /// A model's folder; with `random_weights`, or a configuration.
    pub model: PathBuf,
    /// Draw the weights instead of reading them.
    pub random_weights: bool,
    /// The task; none: what the model is usually for.
    pub task: Option<TaskType>,
    /// Format of frozen matrices.
    pub weights: Option<Dtype>,
    /// The method's name in the registry.
    pub method: String,
    /// Its settings, as given.
    pub settings: Map<String, Value>,
    /// Tokens of a row.
    pub sequence: usize,
    /// Tokens of the answer to a row, for encoder-decoders.
    pub target_sequence: usize,
    /// Optimizer steps, the first two of which are not timed.
    pub steps: usize,
    /// How to train: rows of a step, recomputation, limit of memory.
    pub train: TrainSettings,
    /// Seed of weights and rows.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The model's family.
    pub family: &'static str,
    /// PEFT's name of the task.
    pub task: &'static str,
    /// The method's name in the registry.
    pub method: String,
    /// Format of frozen matrices.
    pub weights: &'static str,
    /// Numbers of the base model.
    pub base_parameters: u64,
    /// Trained numbers.
    pub trainable_parameters: u64,
    /// Rows of a pass.
    pub batch_size: usize,
    /// Passes of a step.
    pub gradient_accumulation_steps: usize,
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
    /// Mean loss of each step, in nats.
    pub losses: Vec<f32>,
    /// Peak of the process in training, as the operating system counts it.
    pub peak_memory_bytes: Option<u64>,
    /// The engine's own account at the peak, by class.
    pub memory_by_class: BTreeMap<&'static str, u64>,
    /// What was foreseen of the account, by class.
    pub foreseen_by_class: BTreeMap<&'static str, u64>,
    /// What was foreseen of the process.
    pub foreseen_bytes: u64,
    /// Threads that computed.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub simd: &'static str,
    /// Version of this program.
    pub version: &'static str,
}

/// A rate over steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Of the fastest step.
    pub best: f64,
    /// Of the median step.
    pub median: f64,
}

/// Trains a few steps on rows of random tokens, all of whose labels count.
pub fn train(request: &Request) -> Result<Report> {
    let method = adapter::method(&request.method)?;
    let settings = adapter::resolve(method, &request.settings)?;
    let task = request.task.map_or_else(|| model::usual_task(&request.model), Ok)?;
    let load = |backend: &Arc<dyn Backend>| match request.random_weights {
        true => model::load_random(&request.configuration(), task, request.seed, backend, request.weights),
        false => model::load(&request.model, task, backend, request.weights),
    };
    let skeleton = load(&Dry::new())?;
    let rows = request.rows(&*skeleton)?;
    let tokenize = |_: &str| Ok(vec![WORD]);
    let subject = Subject {
        model: &*skeleton,
        method,
        settings: &settings,
        labels: LABELS,
        rows: &rows,
        tokenize: &tokenize,
        keeps_base: false,
    };
    let limit = request.train.memory_limit.or_else(|| memory::limit_bytes().map(|all| Bytes(all / 10 * 9)));
    let fitted = train::fit(&subject, &request.train, limit.unwrap_or(Bytes(u64::MAX)))?;

    let backend = Cpu::new();
    let mut model = load(&backend)?;
    let context = Context { model: &*model, backend: &backend, seed: request.seed, tokenize: &tokenize };
    let tuning = Tuning::new(method, &settings, &context, LABELS)?;
    if tuning.trains_all_of(&*model) {
        // Nobody asks for the base's own numbers again: what is left of it are names and shapes.
        model = load(&Dry::new())?;
    }
    backend.ledger().reset_peak();
    memory::reset_process_peak();
    let settings =
        TrainSettings { num_train_epochs: request.steps, max_steps: request.steps, ..fitted.train };
    let seconds = Mutex::new(Vec::new());
    let (source, none) = (Source::new(&*model, &rows), Rows::default());
    let trainer = Trainer {
        backend: backend.clone(),
        tuning: &tuning,
        settings: &settings,
        learning_rate: 1e-5,
        seed: request.seed,
        train: &source,
        validation: &Source::new(&*model, &none),
        snapshot: None,
        snapshot_every: Duration::MAX,
        go_on: &|| Ok(()),
        on_step: &|step| seconds.lock().unwrap_or_else(PoisonError::into_inner).push(step.seconds),
    };
    let training = trainer.first_steps(request.steps)?;
    let mut seconds = seconds.into_inner().unwrap_or_else(PoisonError::into_inner);
    seconds.drain(..WARM_UP.min(seconds.len() - 1));
    let tokens_per_step = (0..rows.len()).map(|row| rows.tokens(row) as u64).sum();
    Ok(Report {
        family: model.family(),
        task: task.name(),
        method: request.method.clone(),
        weights: request.weights.map_or("stored", Dtype::name),
        base_parameters: model.weights().iter().map(|weight| weight.tensor.len() as u64).sum(),
        trainable_parameters: tuning.len() as u64,
        batch_size: settings.batch_size,
        gradient_accumulation_steps: settings.gradient_accumulation_steps,
        gradient_checkpointing: settings.gradient_checkpointing,
        changed: fitted.changed,
        tokens_per_step,
        tokens_per_second: rate(tokens_per_step, &seconds),
        examples_per_second: rate(rows.len() as u64, &seconds),
        step_seconds: seconds,
        losses: training.losses,
        peak_memory_bytes: memory::process_peak_bytes(),
        memory_by_class: by_class(&backend.ledger().peak()),
        foreseen_by_class: by_class(&fitted.foreseen),
        foreseen_bytes: train::total(&fitted.foreseen),
        threads: rayon::current_num_threads(),
        simd: tenfold_tensor::simd_level(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn by_class(usage: &Usage) -> BTreeMap<&'static str, u64> {
    usage.by_class().map(|(class, bytes): (Class, u64)| (class.name(), bytes)).collect()
}

fn rate(count: u64, seconds: &[f64]) -> Rate {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |place: usize| count as f64 / sorted.get(place).copied().unwrap_or(f64::INFINITY);
    Rate { best: of(0), median: of(sorted.len() / 2) }
}

impl Request {
    fn configuration(&self) -> PathBuf {
        if self.model.is_dir() { self.model.join("config.json") } else { self.model.clone() }
    }

    /// Rows of one step.
    fn rows(&self, model: &dyn Model) -> Result<Rows> {
        let extents = model.extents();
        let least = |name: &str, number: usize, most: usize| match (1..=most).contains(&number) {
            true => Ok(()),
            false => Err(Error::malformed("the request", name, format!("1 to {most}"), number.to_string())),
        };
        least("seq", self.sequence, extents.max_positions)?;
        least("target-seq", self.target_sequence, extents.max_positions)?;
        least("steps", self.steps, usize::MAX)?;
        if let Some(fault) = self.train.faults().first() {
            return Err(Error::malformed("the request", "train", fault, "something else"));
        }
        let ids = |name: &str, row: usize, len: usize| -> Vec<u32> {
            let key = random::mix(random::key(self.seed, name), row as u64);
            let of = |share: f32| ((share + 1.0) / 2.0 * extents.vocab_size as f32) as u32;
            let last = extents.vocab_size as u32 - 1;
            random::uniform(key, len, 1.0).into_iter().map(|share| of(share).min(last)).collect()
        };
        let target = |row: usize| match model.task() {
            TaskType::SequenceClassification => Target::Label((row % LABELS) as u32),
            TaskType::TokenClassification => {
                Target::Tokens((0..self.sequence).map(|place| ((row + place) % LABELS) as u32).collect())
            }
            TaskType::QuestionAnswering => Target::Span([0, self.sequence as u32 - 1]),
            TaskType::CausalLm => Target::Next(vec![true; self.sequence]),
            TaskType::Seq2SeqLm => Target::Answer { start: 0, ids: ids("target", row, self.target_sequence) },
        };
        let encoding = |row: usize| {
            let ids = ids("row", row, self.sequence);
            Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }
        };
        let all = 0..self.train.rows_per_step();
        Ok(Rows::of(all.clone().map(encoding).collect(), all.map(target).collect()))
    }
}
