//! Passes without gradients: a batch of rows to its logits, or of language models to the likelihood of its words.

use super::{Loads, Rate, RowShape, Setting, Tuned, limit, median, rate, too_large, within};
use crate::adapter::Tuning;
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::load::Summary;
use crate::meter::disturbance::Watch;
use crate::meter::memory;
use crate::model::{self, Forward, Model};
use crate::record::Disturbance;
use crate::train::{self, Rows, Source};
use serde::Serialize;
use std::time::Instant;
use tenfold_tensor::{Meta, without_gradients};

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
    /// What disturbed the passes.
    pub disturbance: Disturbance,
    /// Peak of the process since it began, loading included, as the operating system counts it.
    pub peak_memory_bytes: Option<u64>,
    /// Its peak over the passes alone, with what loading left in it.
    pub pass_peak_memory_bytes: Option<u64>,
}

/// Times passes over one batch of random tokens.
pub fn infer(request: &InferRequest) -> Result<InferReport> {
    let InferRequest { tuned, merged, rows: shape, passes, loads } = request;
    within("batch", shape.rows, usize::MAX)?;
    within("passes", *passes, usize::MAX)?;
    loads.check()?;
    let limit = limit(None);
    let needed = Bytes(foresee(request)?);
    if needed > limit {
        return Err(too_large(shape, needed, limit, "the base model and what a pass holds"));
    }
    let backend = tuned.device.backend();
    let model = tuned.load(&backend)?;
    let tuning = fold(tuned.tuning(&*model, &backend)?, *merged, &*model)?;
    let rows = tuned.rows(&*model, *shape, limit)?;
    let pass = || pass(&*model, &tuning, &rows);
    let loading = memory::process_peak_bytes();
    memory::reset_process_peak();
    let watch = Watch::start(rayon::current_num_threads());
    let mut seconds = Vec::with_capacity(*passes);
    for number in 0..WARM_UP + passes {
        let began = Instant::now();
        without_gradients(pass)?;
        if number >= WARM_UP {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    let tokens = (0..rows.len()).map(|row| rows.tokens(row) as u64).sum();
    let disturbance = watch.stop();
    let pass_peak_memory_bytes = memory::process_peak_bytes();
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
        disturbance,
        peak_memory_bytes: loading.max(pass_peak_memory_bytes),
        pass_peak_memory_bytes,
    })
}

/// One pass over all rows.
fn pass(model: &dyn Model, tuning: &Tuning, rows: &Rows) -> Result<()> {
    let forward = Forward::evaluation(tuning);
    let picks: Vec<usize> = (0..rows.len()).collect();
    match model.task().is_language_modelling() {
        true => model::foretell(model, &forward, &rows.batch(&picks)).map(drop),
        false => Source::new(model, rows).logits(&forward, &picks).map(drop),
    }
}

/// Tokens of the passes that are done without numbers: more than a pass has logits of a vocabulary at a time.
const FORESEEN_TOKENS: usize = 1024;

/// Bytes of the process at the peak of a pass, from passes of few rows without numbers: memory grows with the rows.
fn foresee(request: &InferRequest) -> Result<u64> {
    let InferRequest { tuned, merged, rows: shape, .. } = request;
    let backend = Meta::new();
    let model = tuned.load(&backend)?;
    let tuning = fold(tuned.tuning(&*model, &backend)?, *merged, &*model)?;
    let peak = |rows: usize| -> Result<u64> {
        let rows = tuned.rows(&*model, RowShape { rows, ..*shape }, Bytes(u64::MAX))?;
        backend.ledger().reset_peak();
        without_gradients(|| pass(&*model, &tuning, &rows))?;
        Ok(train::total(&backend.ledger().peak()))
    };
    let few = (FORESEEN_TOKENS / shape.sequence.max(1)).max(1);
    if shape.rows <= 2 * few {
        return peak(shape.rows);
    }
    let (few_rows, twice) = (peak(few)?, peak(2 * few)?);
    let of_a_row = twice.saturating_sub(few_rows) as f64 / few as f64;
    Ok(few_rows.saturating_add((of_a_row * (shape.rows - few) as f64) as u64).saturating_add(shape.bytes()))
}

/// The tuning, folded into the base model's weights if that is asked for.
pub(super) fn fold(tuning: Tuning, merged: bool, model: &dyn Model) -> Result<Tuning> {
    if !merged {
        return Ok(tuning);
    }
    let backend = model.word_embeddings().tensor.backend();
    tuning.merged(model, backend)?.ok_or_else(|| {
        let why = format!("{} cannot be folded into the base model's weights", tuning.method().title);
        Error::Unsupported { what: "merged".into(), why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Base;
    use serde_json::Map;
    use std::path::Path;

    fn request(family: &str, rows: usize) -> InferRequest {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
        InferRequest {
            tuned: Tuned {
                base: Base::Drawn(golden.join(family).join("model").join("config.json")),
                task: None,
                weights: None,
                device: crate::device::usual(),
                method: Some("lora".into()),
                settings: Map::new(),
                seed: 0,
            },
            merged: false,
            rows: RowShape { rows, sequence: 16, target_sequence: 8 },
            passes: 1,
            loads: Loads::default(),
        }
    }

    #[test]
    fn what_many_rows_take_is_foreseen_from_few() {
        for family in ["bert", "llama"] {
            let (few, many) = (2 * FORESEEN_TOKENS / 16, 8 * FORESEEN_TOKENS / 16);
            let exactly = |rows| foresee(&request(family, rows)).unwrap() - train::PROCESS_BYTES;
            // As if the many were few: all of them without numbers.
            let backend = Meta::new();
            let InferRequest { tuned, rows, .. } = request(family, many);
            let model = tuned.load(&backend).unwrap();
            let tuning = tuned.tuning(&*model, &backend).unwrap();
            let made = tuned.rows(&*model, rows, Bytes(u64::MAX)).unwrap();
            backend.ledger().reset_peak();
            without_gradients(|| pass(&*model, &tuning, &made)).unwrap();
            let whole = backend.ledger().peak().total();
            let foreseen = exactly(many) - rows.bytes();
            assert!(foreseen.abs_diff(whole) * 100 <= whole, "{family}: {foreseen} {whole}");
            assert!(exactly(few) < whole);
        }
    }

    #[test]
    fn rows_that_no_machine_holds_are_refused_before_any_is_made() {
        let error = infer(&request("bert", usize::MAX / 2)).unwrap_err().to_string();
        assert!(error.contains("batch: expected rows that fit into the"), "{error}");
        let InferRequest { tuned, rows, .. } = request("bert", 1 << 40);
        let model = tuned.load(&Meta::new()).unwrap();
        let error = tuned.rows(&*model, rows, Bytes(1 << 30)).unwrap_err().to_string();
        assert!(
            error.contains("the 1.00 GiB that are allowed") && error.contains("(the rows alone)"),
            "{error}"
        );
    }
}
