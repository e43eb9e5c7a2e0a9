//! Generation: how fast prompts are read, and how fast answers are written.

use super::infer::fold;
use super::{Loads, Rate, RowShape, Setting, Tuned, limit, rate, too_large, within};
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::generate::{Generator, Sampling, Watch};
use crate::histogram::Histogram;
use crate::load::{Quantiles, Summary};
use crate::meter::disturbance;
use crate::meter::memory;
use crate::record::Disturbance;
use serde::Serialize;
use std::time::Instant;

/// Tokens that are written before anything is timed.
const WARM_UP: usize = 4;

/// What to measure.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The model and the method; a language model.
    pub tuned: Tuned,
    /// Whether the method is folded into the base model's weights.
    pub merged: bool,
    /// Prompts that are answered side by side.
    pub prompts: usize,
    /// Tokens of each.
    pub prompt_tokens: usize,
    /// Tokens of each answer.
    pub new_tokens: usize,
    /// How often all of it is done.
    pub repetitions: usize,
    /// Loads under which to measure it besides; a request is all prompts with their answers.
    pub loads: Loads,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct GenerateReport {
    /// What it ran on.
    #[serde(flatten)]
    pub setting: Setting,
    /// Whether the method was folded into the base model's weights.
    pub merged: bool,
    /// Prompts that were answered side by side.
    pub batch_size: usize,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens of each answer.
    pub new_tokens: usize,
    /// Tokens of prompts read in a second, the first word of each answer included.
    pub prompt_tokens_per_second: Rate,
    /// Tokens of answers written in a second after the first, over all prompts; of whole answers.
    pub new_tokens_per_second: Rate,
    /// Seconds until the first token of each repetition.
    pub first_token_seconds: Vec<f64>,
    /// Seconds for the rest.
    pub rest_seconds: Vec<f64>,
    /// Seconds until the first token.
    pub first_token: Option<Quantiles>,
    /// Seconds from each token to the next, of all repetitions.
    pub next_token: Option<Quantiles>,
    /// Seconds of a whole answer.
    pub whole: Option<Quantiles>,
    /// What came of each load; none if none was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<Summary>,
    /// What disturbed the answers.
    pub disturbance: Disturbance,
    /// Peak of the process since it began, loading included, as the operating system counts it.
    pub peak_memory_bytes: Option<u64>,
    /// Its peak over the answers alone, with what loading left in it.
    pub answer_peak_memory_bytes: Option<u64>,
}

/// Answers random prompts with the likeliest tokens.
pub fn generate(request: &GenerateRequest) -> Result<GenerateReport> {
    let GenerateRequest { tuned, merged, prompts, prompt_tokens, new_tokens, repetitions, loads } = request;
    within("batch", *prompts, usize::MAX)?;
    within("prompt-tokens", *prompt_tokens, usize::MAX)?;
    within("new-tokens", *new_tokens, usize::MAX)?;
    within("repetitions", *repetitions, usize::MAX)?;
    loads.check()?;
    let backend = tuned.device.backend();
    let model = tuned.load(&backend)?;
    if *new_tokens < 2 {
        return Err(Error::malformed("the request", "new-tokens", "2 or more", new_tokens.to_string()));
    }
    let tuning = fold(tuned.tuning(&*model, &backend)?, *merged, &*model)?;
    let extents = model.extents();
    // What the cache holds of every token, for all layers.
    let token = 8 * (extents.num_layers * extents.kv_size) as u64;
    let tokens = (prompt_tokens.saturating_add(*new_tokens) as u64).saturating_mul(*prompts as u64);
    let (needed, limit) = (Bytes(tokens.saturating_mul(token)), limit(None));
    if needed > limit {
        let shape = RowShape { rows: *prompts, sequence: *prompt_tokens, target_sequence: *new_tokens };
        return Err(too_large(&shape, needed, limit, "their keys and values"));
    }
    let ids: Vec<Vec<u32>> =
        (0..*prompts).map(|row| tuned.ids("prompt", row, *prompt_tokens, &extents)).collect();
    // No token ends an answer, and none becomes text.
    let decode = |_: &[u32]| Ok(String::new());
    let answer = |new_tokens: usize, token: &mut dyn FnMut()| -> Result<()> {
        let sampling = Sampling { max_new_tokens: new_tokens, ..Sampling::default() };
        let generator = Generator::new(&*model, &tuning, &sampling, &[], &decode)?;
        generator.generate(&ids, &mut Tokens(token))?;
        Ok(())
    };
    answer(WARM_UP.min(*new_tokens), &mut || {})?;
    let loading = memory::process_peak_bytes();
    memory::reset_process_peak();
    let watch = disturbance::Watch::start(rayon::current_num_threads());
    let mut times = Times::default();
    for _ in 0..*repetitions {
        let began = Instant::now();
        let mut seconds = Vec::with_capacity(*new_tokens);
        answer(*new_tokens, &mut || seconds.push(began.elapsed().as_secs_f64()))?;
        times.take(&seconds);
    }
    let disturbed = watch.stop();
    let answer_peak_memory_bytes = memory::process_peak_bytes();
    Ok(GenerateReport {
        loads: loads.run(tuned.seed, &|_, token| answer(*new_tokens, token))?,
        setting: tuned.setting(&*model),
        merged: *merged,
        batch_size: *prompts,
        prompt_tokens: *prompt_tokens,
        new_tokens: *new_tokens,
        prompt_tokens_per_second: rate((prompts * prompt_tokens) as u64, &times.first),
        new_tokens_per_second: rate((prompts * (new_tokens - 1)) as u64, &times.rest),
        first_token: Quantiles::of(&times.first_token),
        next_token: Quantiles::of(&times.next_token),
        whole: Quantiles::of(&times.whole),
        first_token_seconds: times.first,
        rest_seconds: times.rest,
        disturbance: disturbed,
        peak_memory_bytes: loading.max(answer_peak_memory_bytes),
        answer_peak_memory_bytes,
    })
}

/// Seconds of answers that came one after the other.
#[derive(Default)]
struct Times {
    first: Vec<f64>,
    rest: Vec<f64>,
    first_token: Histogram,
    next_token: Histogram,
    whole: Histogram,
}

impl Times {
    /// Takes the seconds of each token of an answer since it was asked for.
    fn take(&mut self, seconds: &[f64]) {
        let [Some(first), Some(last)] = [seconds.first(), seconds.last()] else { return };
        self.first.push(*first);
        self.rest.push(last - first);
        self.first_token.record(*first);
        self.whole.record(*last);
        seconds.windows(2).for_each(|pair| self.next_token.record(pair[1] - pair[0]));
    }
}

/// Calls for each token.
struct Tokens<'a>(&'a mut dyn FnMut());

impl Watch for Tokens<'_> {
    fn token(&mut self) {
        (self.0)();
    }
}
