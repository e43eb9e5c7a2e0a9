//! Passes without gradients: a batch of rows to its logits, or of language models to the likelihood of its words.

use super::{Loads, Rate, RowShape, Setting, Tuned, median, rate, within};
use crate::adapter::Tuning;
use crate::error::{Error, Result};
use crate::load::Summary;
use crate::meter::memory;
use crate::model::{self, Forward};
use crate::train::Source;
use serde::Serialize;
use std::time::Instant;
use tenfold_tensor::{Cpu, without_gradients};

/// Passes that are not timed.
const WARM_UP: usize = 2;

/// What to measure.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// The model and the method.
    pub tuned: Tuned,
    /// Whether the method is folded into the base model's weights.
    pub merged: bool,
    /// Rows of a pass, and their tokens.
    pub rows: RowShape,
    /// Timed passes.
    pub passes: usize,
    /// Loads under which to measure it besides; a request is a pass.
    pub loads: Loads,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct InferReport {
    /// What it ran on.
    #[serde(flatten)]
    pub setting: Setting,
    /// Whether the method was folded into the base model's weights.
    pub merged: bool,
    /// Rows of a pass.
    pub batch_size: usize,
    /// Tokens of a pass, answers counted.
    pub tokens_per_pass: u64,
    /// Tokens in a second.
    pub tokens_per_second: Rate,
    /// Rows in a second.
    pub examples_per_second: Rate,
    /// Seconds of the median pass.
    pub seconds: f64,
    /// Seconds of each timed pass.
    pub pass_seconds: Vec<f64>,
    /// What came of each load; none if none was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<Summary>,
    /// Peak of the process, as the operating system counts it.
    pub peak_memory_bytes: Option<u64>,
}

/// Times passes over one batch of random tokens.
pub fn infer(request: &InferRequest) -> Result<InferReport> {
    let InferRequest { tuned, merged, rows: shape, passes, loads } = request;
    within("batch", shape.rows, usize::MAX)?;
    within("passes", *passes, usize::MAX)?;
    loads.check()?;
    let backend = Cpu::new();
    let model = tuned.load(&backend)?;
    let tuning = fold(tuned.tuning(&*model, &backend)?, *merged, &*model)?;
    let rows = tuned.rows(&*model, *shape)?;
    let source = Source::new(&*model, &rows);
    let picks: Vec<usize> = (0..rows.len()).collect();
    let pass = || {
        let forward = Forward::evaluation(&tuning);
        match model.task().is_language_modelling() {
            true => model::foretell(&*model, &forward, &rows.batch(&picks)).map(drop),
            false => source.logits(&forward, &picks).map(drop),
        }
    };
    memory::reset_process_peak();
    let mut seconds = Vec::with_capacity(*passes);
    for number in 0..WARM_UP + passes {
        let began = Instant::now();
        without_gradients(pass)?;
        if number >= WARM_UP {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    let tokens = picks.iter().map(|row| rows.tokens(*row) as u64).sum();
    let peak_memory_bytes = memory::process_peak_bytes();
    Ok(InferReport {
        loads: loads.run(tuned.seed, &|_, _| without_gradients(pass))?,
        setting: tuned.setting(&*model),
        merged: *merged,
        batch_size: rows.len(),
        tokens_per_pass: tokens,
        tokens_per_second: rate(tokens, &seconds),
        examples_per_second: rate(rows.len() as u64, &seconds),
        seconds: median(&seconds),
        pass_seconds: seconds,
        peak_memory_bytes,
    })
}

/// The tuning, folded into the base model's weights if that is asked for.
pub(super) fn fold(tuning: Tuning, merged: bool, model: &dyn model::Model) -> Result<Tuning> {
    if !merged {
        return Ok(tuning);
    }
    let backend = model.word_embeddings().tensor.backend();
    tuning.merged(model, backend)?.ok_or_else(|| {
        let why = format!("{} cannot be folded into the base model's weights", tuning.method().title);
        Error::Unsupported { what: "merged".into(), why }
    })
}
