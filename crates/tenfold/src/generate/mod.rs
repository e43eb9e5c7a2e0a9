//! Generation of text: prompts in, answers out, many at a time without padding, each token computed once.
//!
//! The first pass reads all prompts, each later one a token of every answer that goes on; an answer that is finished
//! costs nothing. Any tuning may be on, merged or not; encoder-decoders read a prompt once.

mod sampling;
mod text;

pub use sampling::Sampling;
use sampling::Seen;

use crate::adapter::{self, Tuning};
use crate::error::{Error, Result};
use crate::model::{Batch, Cache, Forward, Labels, Model, Vocabulary, Wanted};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tenfold_tensor::{Ragged, random, without_gradients};
use text::{Answer, Ends};

/// Why an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said so.
    Eos,
    /// A stop string came.
    StopString,
    /// As many tokens as were allowed.
    Length,
    /// Who asked has enough.
    Interrupted,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Generated {
    /// Its tokens, the end token included.
    pub ids: Vec<u32>,
    /// Its text, without the end token or what a stop string cut off.
    pub text: String,
    /// Why it is over.
    pub finish_reason: FinishReason,
    /// Seconds from the call to its last token.
    pub seconds: f64,
}

/// Who looks on while answers grow. `()` looks away.
pub trait Watch {
    /// The next piece of the answer to the prompt of that number: whole characters that nothing changes any more.
    fn piece(&mut self, _prompt: usize, _piece: &str) -> Result<()> {
        Ok(())
    }

    /// A pass is over: every answer that is not at its end has one token more.
    fn token(&mut self) {}

    /// Asked before each pass; if not, all answers end where they are.
    fn go_on(&self) -> bool {
        true
    }
}

impl Watch for () {}

/// A language model with a tuning, and how it is to answer.
pub struct Generator<'a> {
    model: &'a dyn Model,
    vocabulary: Vocabulary<'a>,
    tuning: &'a Tuning,
    virtual_tokens: usize,
    sampling: &'a Sampling,
    end_ids: &'a [u32],
    decode: &'a dyn Fn(&[u32]) -> Result<String>,
}

/// What a model remembers of sequences, to go on from with longer ones. It belongs to one generator.
#[derive(Default)]
pub struct Memory(Option<Remembered>);

struct Remembered {
    cache: Arc<Mutex<Cache>>,
    /// The tokens of each sequence that went through the model, virtual ones left out.
    ids: Vec<Vec<u32>>,
}

impl<'a> Generator<'a> {
    /// `end_ids`: tokens that end an answer; `decode`: the text that ids stand for, special tokens left out.
    pub fn new(
        model: &'a dyn Model,
        tuning: &'a Tuning,
        sampling: &'a Sampling,
        end_ids: &'a [u32],
        decode: &'a dyn Fn(&[u32]) -> Result<String>,
    ) -> Result<Generator<'a>> {
        let faults = sampling.faults();
        if !faults.is_empty() {
            return Err(Error::Faults { file: "settings of the generation".into(), faults });
        }
        let Some(vocabulary) = model.vocabulary() else {
            let why = format!(
                "the model was read for {}; read it for CAUSAL_LM or SEQ_2_SEQ_LM",
                model.task().name()
            );
            return Err(Error::Unsupported { what: "generation".into(), why });
        };
        let virtual_tokens = adapter::virtual_tokens(&tuning.adapter().config()?);
        Ok(Generator { model, vocabulary, tuning, virtual_tokens, sampling, end_ids, decode })
    }

    /// Answers prompts, given as token ids with whatever special tokens the model wants, in one batch.
    pub fn generate(&self, prompts: &[Vec<u32>], watch: &mut dyn Watch) -> Result<Vec<Generated>> {
        self.go_on(&mut Memory::default(), prompts, watch)
    }

    /// The same, without computing again what `memory` holds of the prompts' beginnings; it then holds the answers
    /// too.
    pub fn go_on(
        &self,
        memory: &mut Memory,
        prompts: &[Vec<u32>],
        watch: &mut dyn Watch,
    ) -> Result<Vec<Generated>> {
        let began = Instant::now();
        let start = self.model.decoder_start();
        let contexts: Vec<Vec<u32>> = match start {
            Some(id) => vec![vec![id]; prompts.len()],
            None => prompts.to_vec(),
        };
        let room = self.check(prompts, &contexts)?;
        let mut remembered = self.remembered(memory.0.take(), &contexts, room)?;
        let mut feed: Vec<Vec<u32>> = (contexts.iter().zip(&remembered.ids))
            .map(|(context, known)| context[known.len()..].to_vec())
            .collect();
        let forward = Forward::evaluation(self.tuning).continuing(&remembered.cache);
        let keys: Vec<u64> = prompts.iter().map(|prompt| key(self.sampling.seed, prompt)).collect();
        let mut seen: Vec<Seen> = contexts.iter().map(|ids| Seen::of(ids, self.sampling)).collect();
        let mut answers: Vec<Answer> = prompts.iter().map(|_| Answer::default()).collect();
        let mut seconds = vec![0.0; prompts.len()];
        let ends = Ends {
            ids: self.end_ids,
            strings: &self.sampling.stop_strings,
            tokens: self.sampling.max_new_tokens,
        };
        while feed.iter().any(|ids| !ids.is_empty()) && watch.go_on() {
            let logits = without_gradients(|| self.pass(&forward, prompts, &feed))?;
            remembered.advance(&feed);
            let mut rows = logits.chunks_exact(self.vocabulary.weight.tensor.rows());
            for (number, answer) in answers.iter_mut().enumerate() {
                let Some(row) = (!feed[number].is_empty()).then(|| rows.next()).flatten() else { continue };
                let step = answer.ids.len() as u64;
                let id = self.sampling.choose(row, &seen[number], || draw(keys[number], step))?;
                seen[number].push(id, self.sampling);
                answer.take(id, &ends, self.decode)?;
                feed[number] = if answer.finished.is_none() { vec![id] } else { Vec::new() };
                if let Some(piece) = answer.piece(&ends) {
                    watch.piece(number, &piece)?;
                }
                seconds[number] = began.elapsed().as_secs_f64();
            }
            watch.token();
        }
        for (number, answer) in answers.iter_mut().enumerate().filter(|(_, answer)| answer.finished.is_none())
        {
            answer.finish(FinishReason::Interrupted, self.decode)?;
            if let Some(piece) = answer.piece(&ends) {
                watch.piece(number, &piece)?;
            }
        }
        memory.0 = Some(remembered).filter(|_| start.is_none());
        Ok(answers.into_iter().zip(seconds).map(|(answer, seconds)| Generated::of(answer, seconds)).collect())
    }

    /// Refuses what the model has no positions for; gives the rows that the longest sequence needs in a cache.
    fn check(&self, prompts: &[Vec<u32>], contexts: &[Vec<u32>]) -> Result<usize> {
        let (most, new) = (self.model.extents().max_positions, self.sampling.max_new_tokens);
        let before = self.virtual_tokens;
        let mut room = 0;
        for (number, (prompt, context)) in prompts.iter().zip(contexts).enumerate() {
            let place = format!("prompt {}", number + 1);
            if prompt.is_empty() {
                return Err(Error::malformed("generation", place, "a token or more", "none"));
            }
            let needed = before + context.len() + new;
            if needed.max(before + prompt.len()) > most {
                let expected = format!("at most {most} tokens, as many as the model has positions");
                let own = if before == 0 { String::new() } else { format!("{before} virtual ones and ") };
                let found =
                    format!("{own}{} of the prompt, with max_new_tokens = {new} to come", prompt.len());
                return Err(Error::malformed("generation", place, expected, found));
            }
            room = room.max(needed);
        }
        Ok(room)
    }

    /// What is remembered of the sequences' beginnings, all but the last token at the most, with so much room.
    fn remembered(
        &self,
        known: Option<Remembered>,
        contexts: &[Vec<u32>],
        room: usize,
    ) -> Result<Remembered> {
        let outgrown = known.is_some();
        if let Some(mut known) = known.filter(|known| known.ids.len() == contexts.len()) {
            let fits = lock(&known.cache).room() >= room;
            let shared: Vec<usize> =
                known.ids.iter().zip(contexts).map(|(known, context)| shared(known, context)).collect();
            if fits && shared.iter().all(|shared| *shared > 0) {
                known.keep(&shared);
                return Ok(known);
            }
        }
        // What has outgrown its room once will do so again.
        let room = if outgrown { (2 * room).min(self.model.extents().max_positions) } else { room };
        let backend = self.model.word_embeddings().tensor.backend();
        let cache = Cache::new(backend, &self.model.extents(), contexts.len(), room)?;
        Ok(Remembered { cache, ids: vec![Vec::new(); contexts.len()] })
    }

    /// The logits of the token after the last that is fed, for each sequence that is fed any: \[sequences, vocab_size\].
    fn pass(&self, forward: &Forward, prompts: &[Vec<u32>], feed: &[Vec<u32>]) -> Result<Vec<f32>> {
        let fed = (feed.concat(), lengths(feed));
        let ((ids, ragged), decoder) = match self.model.decoder_start() {
            Some(_) => ((prompts.concat(), lengths(prompts)), Some(fed)),
            None => (fed, None),
        };
        let batch = Batch { type_ids: vec![0; ids.len()], ids, ragged, labels: Labels::none(), decoder };
        let last = feed.iter().map(|ids| ids.len().min(1)).collect();
        let hidden = self.model.hidden_states(forward, &batch, &Wanted::Last(last))?;
        Ok(self.vocabulary.logits(forward, &hidden)?.numbers()?)
    }
}

impl Remembered {
    /// Counts what a pass fed.
    fn advance(&mut self, feed: &[Vec<u32>]) {
        lock(&self.cache).advance();
        self.ids.iter_mut().zip(feed).for_each(|(ids, fed)| ids.extend(fed));
    }

    /// Forgets all but so many tokens of each sequence.
    fn keep(&mut self, lengths: &[usize]) {
        let by: Vec<usize> = self.ids.iter().zip(lengths).map(|(ids, length)| ids.len() - length).collect();
        lock(&self.cache).forget(&by);
        self.ids.iter_mut().zip(lengths).for_each(|(ids, length)| ids.truncate(*length));
    }
}

impl Generated {
    fn of(answer: Answer, seconds: f64) -> Generated {
        let finish_reason = answer.finished.unwrap_or(FinishReason::Interrupted);
        Generated { ids: answer.ids, text: answer.text, finish_reason, seconds }
    }
}

/// Tokens at the beginning of a sequence that are known; its last one is to be fed in any case.
fn shared(known: &[u32], context: &[u32]) -> usize {
    let fresh = &context[..context.len() - 1];
    known.iter().zip(fresh).take_while(|(known, id)| known == id).count()
}

fn lengths(sequences: &[Vec<u32>]) -> Ragged {
    Ragged::from_lengths(sequences.iter().map(Vec::len))
}

/// The key of a prompt's draws.
fn key(seed: u64, prompt: &[u32]) -> u64 {
    let prompt = prompt.iter().fold(random::key(seed, "prompt"), |key, id| random::mix(key, u64::from(*id)));
    random::key(prompt, "draws")
}

/// A number in 0 .. 1 for each step.
fn draw(key: u64, step: u64) -> f64 {
    random::unit_f64(random::mix(key, step))
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
