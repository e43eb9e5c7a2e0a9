//! Whether training changed what a language model answers, and not only how likely it finds the right answer: a loss may
//! fall while every greedy answer stays as it was.

use super::session::Session;
use crate::adapter::{self, Context, Tuning, file};
use crate::device;
use crate::error::{Error, Result};
use crate::generate::{Generator, Sampling, Watch};
use crate::progress::{Progress, told_if_slow};
use crate::train::Rows;
use serde::Serialize;
use std::path::Path;

/// Held-out prompts that are asked: enough to see whether anything changed, few enough to cost seconds.
const PROMPTS: usize = 4;
/// Tokens of each answer.
const NEW_TOKENS: usize = 24;

/// Greedy answers to held-out prompts, before and after training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// How many prompts were asked.
    pub asked: usize,
    /// How many were answered otherwise than before.
    pub changed: usize,
}

/// Asks the base model and the tuned one of an adapter's folder the same prompts. `None` of models that do not answer in
/// words, and where no rows are held out.
pub(super) fn compare(session: &Session, adapter: &Path, progress: &dyn Progress) -> Result<Option<Answers>> {
    if !session.base.model.task().is_language_modelling() {
        return Ok(None);
    }
    let tokenize = |text: &str| session.base.tokenizer.words(text);
    let backend = device::beside(&*session.base.model)?;
    let context = Context { model: &*session.base.model, backend: &backend, seed: 0, tokenize: &tokenize };
    let tuned = file::read(adapter, &context)?;
    let taken = adapter::virtual_tokens(&tuned.adapter().config()?) + NEW_TOKENS;
    let prompts = prompts(session, session.base.model.extents().max_positions.saturating_sub(taken));
    if prompts.is_empty() {
        return Ok(None);
    }
    told_if_slow(progress, "comparing answers before and after training", || {
        let before = answers(session, &Tuning::untouched(&*session.base.model), &prompts, progress)?;
        let after = answers(session, &tuned, &prompts, progress)?;
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        Ok(Some(Answers { asked: prompts.len(), changed }))
    })
}

/// The first prompts of the first test split, or of the validation split, each cut in front to `room` tokens.
fn prompts(session: &Session, room: usize) -> Vec<Vec<u32>> {
    let held_out = session.task.tests.first().map(|(_, rows)| rows).filter(|rows| !rows.is_empty());
    let rows: &Rows = held_out.unwrap_or(&session.task.validation);
    let all = (0..rows.len()).filter_map(|row| rows.prompt(row));
    let cut = all.map(|prompt| prompt[prompt.len().saturating_sub(room)..].to_vec());
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    // The choices of one question share a prompt.
    cut.filter(|prompt| !prompt.is_empty()).for_each(|prompt| {
        if prompts.len() < PROMPTS && !prompts.contains(&prompt) {
            prompts.push(prompt);
        }
    });
    prompts
}

fn answers(
    session: &Session,
    tuning: &Tuning,
    prompts: &[Vec<u32>],
    progress: &dyn Progress,
) -> Result<Vec<Vec<u32>>> {
    let sampling = Sampling { max_new_tokens: NEW_TOKENS, ..Sampling::default() };
    let known = session.base.tokenizer.vocab_size();
    let decode = |ids: &[u32]| {
        let words: Vec<u32> = ids.iter().copied().filter(|id| (*id as usize) < known).collect();
        session.base.tokenizer.decode(&words, true)
    };
    let ends = session.base.tokenizer.eos_ids();
    let generator = Generator::new(&*session.base.model, tuning, &sampling, ends, &decode)?;
    let answers = generator.generate(prompts, &mut UntilStopped(progress))?;
    if progress.stop_requested() {
        return Err(Error::Interrupted);
    }
    Ok(answers.into_iter().map(|answer| answer.ids).collect())
}

/// Nobody reads the answers as they grow, but Ctrl-C ends them.
struct UntilStopped<'a>(&'a dyn Progress);

impl Watch for UntilStopped<'_> {
    fn go_on(&self) -> bool {
        !self.0.stop_requested()
    }
}
