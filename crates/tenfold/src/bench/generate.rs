//! Generation: how fast prompts are read, and how fast answers are written.

use super::infer::fold;
use super::{Rate, Setting, Tuned, rate, within};
use crate::error::{Error, Result};
use crate::generate::{Generator, Sampling, Watch};
use crate::meter::memory;
use serde::Serialize;
use std::cell::RefCell;
use std::time::Instant;
use tenfold_tensor::Cpu;

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
    /// Peak of the process, as the operating system counts it.
    pub peak_memory_bytes: Option<u64>,
}

/// Answers random prompts with the likeliest tokens.
pub fn generate(request: &GenerateRequest) -> Result<GenerateReport> {
    let GenerateRequest { tuned, merged, prompts, prompt_tokens, new_tokens, repetitions } = request;
    within("batch", *prompts, usize::MAX)?;
    within("prompt-tokens", *prompt_tokens, usize::MAX)?;
    within("new-tokens", *new_tokens, usize::MAX)?;
    within("repetitions", *repetitions, usize::MAX)?;
    let backend = Cpu::new();
    let model = tuned.load(&backend)?;
    if *new_tokens < 2 {
        return Err(Error::malformed("the request", "new-tokens", "2 or more", new_tokens.to_string()));
    }
    let tuning = fold(tuned.tuning(&*model, &backend)?, *merged, &*model)?;
    let extents = model.extents();
    let ids: Vec<Vec<u32>> =
        (0..*prompts).map(|row| tuned.ids("prompt", row, *prompt_tokens, &extents)).collect();
    // No token ends an answer, and none becomes text.
    let decode = |_: &[u32]| Ok(String::new());
    let answer = |new_tokens: usize| -> Result<[f64; 2]> {
        let sampling = Sampling { max_new_tokens: new_tokens, ..Sampling::default() };
        let mut clock = Clock(RefCell::new(Vec::new()));
        Generator::new(&*model, &tuning, &sampling, &[], &decode)?.generate(&ids, &mut clock)?;
        let (passes, end) = (clock.0.into_inner(), Instant::now());
        let [began, first] = [passes[0], *passes.get(1).unwrap_or(&end)];
        Ok([(first - began).as_secs_f64(), (end - first).as_secs_f64()])
    };
    answer(WARM_UP.min(*new_tokens))?;
    memory::reset_process_peak();
    let times = (0..*repetitions).map(|_| answer(*new_tokens)).collect::<Result<Vec<_>>>()?;
    let [first, rest] = [0, 1].map(|which| times.iter().map(|times| times[which]).collect::<Vec<f64>>());
    Ok(GenerateReport {
        setting: tuned.setting(&*model),
        merged: *merged,
        batch_size: *prompts,
        prompt_tokens: *prompt_tokens,
        new_tokens: *new_tokens,
        prompt_tokens_per_second: rate((prompts * prompt_tokens) as u64, &first),
        new_tokens_per_second: rate((prompts * (new_tokens - 1)) as u64, &rest),
        first_token_seconds: first,
        rest_seconds: rest,
        peak_memory_bytes: memory::process_peak_bytes(),
    })
}

/// Notes when each pass begins.
struct Clock(RefCell<Vec<Instant>>);

impl Watch for Clock {
    fn go_on(&self) -> bool {
        self.0.borrow_mut().push(Instant::now());
        true
    }
}
