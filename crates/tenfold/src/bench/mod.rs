//! How fast the engine is, and in how much memory: on made-up rows, so that any model can be measured, if need be from
//! its configuration alone.

mod generate;
mod infer;
mod matmul;
mod train;

pub use generate::{GenerateReport, GenerateRequest, generate};
pub use infer::{InferReport, InferRequest, infer};
pub use matmul::{MatmulReport, Timed, matmul};
pub use train::{TrainReport, TrainRequest, train};

use crate::adapter::{self, Context, Method, Tuning};
use crate::bytes::Bytes;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::load::{self, Answer, Length, MOST_SIDE_BY_SIDE, Plan, RATES, Summary, Wall};
use crate::meter::disturbance::Watch;
use crate::meter::memory;
use crate::model::tokenizer::Encoding;
use crate::model::{self, Extents, Model, ModelFiles, TaskType};
use crate::record::{Arrivals, Load};
use crate::train::{Rows, Target};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use tenfold_tensor::{Backend, Dtype, random};

/// Labels of a task that has labels.
const LABELS: usize = 2;
/// Token id of the texts that methods start from.
const WORD: u32 = 5;

/// What is measured: a model with a method on.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The base model.
    pub base: Base,
    /// The task; none: what the model is usually for.
    pub task: Option<TaskType>,
    /// Format of frozen matrices; none: as the file has each.
    pub weights: Option<Dtype>,
    /// What it is computed on.
    pub device: &'static Device,
    /// The method's name in the registry; none: the base model as it is.
    pub method: Option<String>,
    /// The method's settings, as given.
    pub settings: Map<String, Value>,
    /// Seed of weights, rows and the method's start.
    pub seed: u64,
}

/// Where a base model comes from.
#[derive(Debug, Clone)]
pub enum Base {
    /// Its files.
    Files(ModelFiles),
    /// A configuration, by which weights are drawn.
    Drawn(PathBuf),
}

/// Extents of made-up rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// Rows.
    pub rows: usize,
    /// Tokens of each.
    pub sequence: usize,
    /// Tokens of the answer to each, for encoder-decoders.
    pub target_sequence: usize,
}

impl RowShape {
    /// Bytes of such rows at the least: the id, the type and the target of every token.
    fn bytes(&self) -> u64 {
        const TOKEN: u64 = 9;
        const ROW: u64 = 96;
        let tokens = (self.sequence + self.target_sequence) as u64;
        tokens.saturating_mul(TOKEN).saturating_add(ROW).saturating_mul(self.rows as u64)
    }
}

/// Memory that a measurement may take: what is stated, or nine tenths of what this process may have.
fn limit(stated: Option<Bytes>) -> Bytes {
    stated.or_else(|| memory::limit_bytes().map(|all| Bytes(all / 10 * 9))).unwrap_or(Bytes(u64::MAX))
}

/// The error of rows that do not fit, with what takes so much.
fn too_large(shape: &RowShape, needed: Bytes, limit: Bytes, what: &str) -> Error {
    let RowShape { rows, sequence, .. } = shape;
    let expected = format!("rows that fit into the {} that are allowed", limit.words());
    let found = format!(
        "{rows} rows of {sequence} tokens, {} of memory ({what}); take fewer or shorter ones",
        needed.words()
    );
    Error::malformed("the request", "batch", expected, found)
}

/// Loads under which requests are measured: none, unless clients or rates are given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loads {
    /// Closed loads of so many clients.
    pub clients: Vec<usize>,
    /// Open loads of so many requests a second.
    pub rates: Vec<f64>,
    /// Requests that are worked on side by side.
    pub servers: usize,
    /// Requests that are counted under each.
    pub requests: usize,
    /// Requests before them that are not.
    pub warm_up: usize,
    /// Seconds of each load instead of a number of requests.
    pub seconds: Option<f64>,
}

/// A rate over repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Of the fastest.
    pub best: f64,
    /// Of the median.
    pub median: f64,
}

/// What the measuring ran on.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// The model's family.
    pub family: &'static str,
    /// PEFT's name of the task.
    pub task: &'static str,
    /// The method's name in the registry; none: the base model as it is.
    pub method: Option<String>,
    /// Format of frozen matrices.
    pub weights: &'static str,
    /// Numbers of the base model.
    pub base_parameters: u64,
    /// Threads that computed.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub simd: &'static str,
    /// Version of this program.
    pub version: &'static str,
}

impl Loads {
    /// Refuses loads that cannot be made.
    fn check(&self) -> Result<()> {
        let wrong = |name, expected: &str, found: String| {
            Err(Error::malformed("the request", name, expected.to_owned(), found))
        };
        if self.clients.is_empty() && self.rates.is_empty() {
            return Ok(());
        }
        within("servers", self.servers, MOST_SIDE_BY_SIDE)?;
        within("requests", self.requests, usize::MAX)?;
        self.clients.iter().try_for_each(|clients| within("clients", *clients, MOST_SIDE_BY_SIDE))?;
        if let Some(rate) = self.rates.iter().find(|rate| !RATES.contains(*rate)) {
            return wrong("rate", "0.001 to 1,000,000 requests a second", rate.to_string());
        }
        match self.seconds.filter(|seconds| !(0.001..=3600.0).contains(seconds)) {
            Some(seconds) => wrong("seconds", "0.001 to 3,600", seconds.to_string()),
            None => Ok(()),
        }
    }

    /// Measures all of them, one after the other.
    fn run(&self, seed: u64, answer: &Answer) -> Result<Vec<Summary>> {
        let closed = self.clients.iter().map(|clients| Arrivals::Closed { clients: *clients });
        let open = self.rates.iter().map(|rate| Arrivals::Open { rate: *rate, share: None });
        let length = self.seconds.map_or(Length::Requests(self.requests), Length::Seconds);
        let Loads { servers, warm_up, .. } = *self;
        let plans = closed.chain(open).map(|arrivals| Plan { arrivals, servers, warm_up, length, seed });
        let measured = plans.map(|plan| {
            let watch = Watch::start(rayon::current_num_threads().max(servers));
            let load = load::run(&plan, answer, &Wall::start())?;
            Ok(Summary::of(Load { disturbance: Some(watch.stop()), ..load }))
        });
        measured.collect()
    }
}

impl Tuned {
    /// The model on a backend.
    fn load(&self, backend: &Arc<dyn Backend>) -> Result<Arc<dyn Model>> {
        let task = self.task()?;
        match &self.base {
            Base::Files(files) => Ok(files.load(task, backend, self.weights)?.model),
            Base::Drawn(config) => model::load_random(config, task, self.seed, backend, self.weights),
        }
    }

    fn task(&self) -> Result<TaskType> {
        match (self.task, &self.base) {
            (Some(task), _) => Ok(task),
            (None, Base::Files(files)) => files.usual_task(),
            (None, Base::Drawn(config)) => model::usual_task(config),
        }
    }

    /// The method with all its settings; none for the base model as it is.
    fn method(&self) -> Result<Option<(&'static Method, Value)>> {
        let Some(name) = &self.method else { return Ok(None) };
        let method = adapter::method(name)?;
        Ok(Some((method, adapter::resolve(method, &self.settings)?)))
    }

    /// The method as it starts.
    fn tuning(&self, model: &dyn Model, backend: &Arc<dyn Backend>) -> Result<Tuning> {
        let context = Context { model, backend, seed: self.seed, tokenize: &|_| Ok(vec![WORD]) };
        match self.method()? {
            Some((method, settings)) => Tuning::new(method, &settings, &context, LABELS),
            None if model.task().is_language_modelling() => Ok(Tuning::untouched(model)),
            // A head and nothing else.
            None => {
                Tuning::new(adapter::method("linear_probe")?, &Value::Object(Map::new()), &context, LABELS)
            }
        }
    }

    fn setting(&self, model: &dyn Model) -> Setting {
        Setting {
            family: model.family(),
            task: model.task().name(),
            method: self.method.clone(),
            weights: self.weights.map_or("stored", Dtype::name),
            base_parameters: model.weights().iter().map(|weight| weight.tensor.len() as u64).sum(),
            threads: rayon::current_num_threads(),
            simd: tenfold_tensor::simd_level(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Rows of random tokens, all of whose labels count. Refuses, before any is made, more than `limit` bytes hold.
    fn rows(&self, model: &dyn Model, shape: RowShape, limit: Bytes) -> Result<Rows> {
        let extents = model.extents();
        within("seq", shape.sequence, extents.max_positions)?;
        within("target-seq", shape.target_sequence, extents.max_positions)?;
        let needed = Bytes(shape.bytes());
        if needed > limit {
            return Err(too_large(&shape, needed, limit, "the rows alone"));
        }
        let target = |row: usize| match model.task() {
            TaskType::SequenceClassification => Target::Label((row % LABELS) as u32),
            TaskType::TokenClassification => {
                Target::Tokens((0..shape.sequence).map(|place| ((row + place) % LABELS) as u32).collect())
            }
            TaskType::QuestionAnswering => Target::Span([0, shape.sequence as u32 - 1]),
            TaskType::CausalLm => Target::Next(vec![true; shape.sequence]),
            TaskType::Seq2SeqLm => {
                let ids = self.ids("target", row, shape.target_sequence, &extents);
                Target::Answer { start: model.decoder_start().unwrap_or_default(), ids }
            }
        };
        let encoding = |row: usize| {
            let ids = self.ids("row", row, shape.sequence, &extents);
            Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }
        };
        Ok(Rows::of((0..shape.rows).map(encoding).collect(), (0..shape.rows).map(target).collect()))
    }

    /// Random token ids of one row.
    fn ids(&self, name: &str, row: usize, len: usize, extents: &Extents) -> Vec<u32> {
        let key = random::mix(random::key(self.seed, name), row as u64);
        let of = |share: f32| ((share + 1.0) / 2.0 * extents.vocab_size as f32) as u32;
        let last = extents.vocab_size as u32 - 1;
        random::uniform(key, len, 1.0).into_iter().map(|share| of(share).min(last)).collect()
    }
}

/// Refuses a number of the request that is zero or too large.
fn within(name: &str, number: usize, most: usize) -> Result<()> {
    match (1..=most).contains(&number) {
        true => Ok(()),
        false => Err(Error::malformed("the request", name, format!("1 to {most}"), number.to_string())),
    }
}

/// The rate of so much work a repetition.
fn rate(count: u64, seconds: &[f64]) -> Rate {
    let of = |seconds: f64| count as f64 / seconds;
    Rate { best: of(seconds.iter().copied().fold(f64::INFINITY, f64::min)), median: of(median(seconds)) }
}

/// The middle of some numbers, the upper of two; infinite if there are none.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::INFINITY)
}
