//! Log-likelihoods of texts behind others, each token computed once: sequences that begin alike share what the model
//! remembers of their beginning, as questions with the same examples before them do.

use crate::adapter::{self, Tuning};
use crate::error::{Error, Result};
use crate::model::{Batch, Cache, Forward, Labels, Model, Vocabulary, Wanted};
use crate::score::argmax;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tenfold_tensor::{Ragged, without_gradients};

/// A text to weigh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The tokens before it; of an encoder-decoder, what its encoder reads. At least one.
    pub context: Vec<u32>,
    /// Its tokens; at least one.
    pub tokens: Vec<u32>,
}

/// How likely a text is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// ln p of all its tokens together.
    pub log_likelihood: f64,
    /// Whether each of them is the likeliest of all, the first of those that tie.
    pub is_greedy: bool,
}

/// Sequences side by side, unless they are long.
const SLOTS: usize = 64;
/// Tokens of a pass, about.
const PASS_TOKENS: usize = 4096;
/// Rows of logits that exist at a time.
const LOGIT_ROWS: usize = 64;

/// A language model that weighs texts.
pub struct Weigher<'a> {
    model: &'a dyn Model,
    vocabulary: Vocabulary<'a>,
    tuning: &'a Tuning,
    /// Tokens that a sequence may have.
    room: usize,
}

/// A sequence that goes through the model, and what is looked at behind its last tokens.
struct Sequence<'a> {
    input: &'a [u32],
    /// The longest text that ends with the token after the input.
    reach: usize,
    /// Texts by their place among those asked for.
    asked: Vec<usize>,
}

impl<'a> Weigher<'a> {
    /// A base model with a tuning.
    pub fn new(model: &'a dyn Model, tuning: &'a Tuning) -> Result<Weigher<'a>> {
        let Some(vocabulary) = model.vocabulary() else {
            let why = format!("the model was read for {}", model.task().name());
            return Err(Error::Unsupported { what: "weighing texts".into(), why });
        };
        let virtual_tokens = adapter::virtual_tokens(&tuning.adapter().config()?);
        let room = model.extents().max_positions.saturating_sub(virtual_tokens);
        Ok(Weigher { model, vocabulary, tuning, room })
    }

    /// Tokens of context and text together that the model has room for; of longer ones the beginning is left out, of a
    /// context that an encoder reads the end.
    pub fn room(&self) -> usize {
        self.room
    }

    /// How many tokens of its context are left out.
    pub fn cut(&self, text: &Continuation) -> usize {
        let read = match self.model.decoder_start() {
            // The last token is foretold and not read.
            None => (text.context.len() + text.tokens.len()).saturating_sub(1),
            Some(_) => text.context.len(),
        };
        read.saturating_sub(self.room)
    }

    /// Weighs texts. `go_on` is asked before each pass.
    pub fn weigh(&self, texts: &[Continuation], go_on: impl Fn() -> Result<()>) -> Result<Vec<Likelihood>> {
        for (number, text) in texts.iter().enumerate() {
            if text.context.is_empty() || text.tokens.is_empty() || text.tokens.len() > self.room {
                let expected = format!("a token or more before it and 1 to {} of its own", self.room);
                let found = format!("{} and {}", text.context.len(), text.tokens.len());
                return Err(Error::malformed("texts", format!("text {}", number + 1), expected, found));
            }
        }
        match self.model.decoder_start() {
            Some(start) => self.answers(start, texts, go_on),
            None => self.sequences(texts, go_on),
        }
    }

    fn sequences(&self, texts: &[Continuation], go_on: impl Fn() -> Result<()>) -> Result<Vec<Likelihood>> {
        // All but the last token of each, the beginning cut off where the model has no room.
        let inputs: Vec<Vec<u32>> = (texts.iter())
            .map(|text| {
                let mut ids = [text.context.as_slice(), &text.tokens].concat();
                ids.pop();
                ids.drain(..self.cut(text));
                ids
            })
            .collect();
        let mut alike: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
        for (place, input) in inputs.iter().enumerate() {
            alike.entry(input).or_default().push(place);
        }
        let sequences: Vec<Sequence> = (alike.into_iter())
            .map(|(input, asked)| {
                let reach = asked.iter().map(|place| texts[*place].tokens.len()).max().unwrap_or(1);
                Sequence { input, reach, asked }
            })
            .collect();
        let mut found = vec![None; texts.len()];
        let longest = sequences.iter().map(|sequence| sequence.input.len()).max().unwrap_or(0);
        let slots = (PASS_TOKENS / longest.max(1)).clamp(1, SLOTS).min(sequences.len().max(1));
        // Neighbours in the order of their tokens share most: each slot has a run of them.
        let runs: Vec<&[Sequence]> = sequences.chunks(sequences.len().div_ceil(slots).max(1)).collect();
        let extents = self.model.extents();
        let room = longest + (extents.max_positions - self.room);
        let cache = Cache::new(self.model.word_embeddings().tensor.backend(), &extents, runs.len(), room)?;
        let forward = Forward::evaluation(self.tuning).continuing(&cache);
        let mut known: Vec<&[u32]> = vec![&[]; runs.len()];
        for step in 0..runs.iter().map(|run| run.len()).max().unwrap_or(0) {
            go_on()?;
            let current: Vec<Option<&Sequence>> = runs.iter().map(|run| run.get(step)).collect();
            let shared: Vec<usize> = (known.iter().zip(&current))
                .map(|(known, now)| now.map_or(known.len(), |now| now.shared(known)))
                .collect();
            let by: Vec<usize> =
                known.iter().zip(&shared).map(|(known, shared)| known.len() - shared).collect();
            lock(&cache).forget(&by);
            let feed: Vec<&[u32]> = current
                .iter()
                .zip(&shared)
                .map(|(now, shared)| now.map_or(&[][..], |now| &now.input[*shared..]))
                .collect();
            let reach: Vec<usize> = current.iter().map(|now| now.map_or(0, |now| now.reach)).collect();
            let batch = batch(feed.concat(), Ragged::from_lengths(feed.iter().map(|ids| ids.len())), None);
            let rows = Wanted::Last(reach.clone());
            let hidden = without_gradients(|| self.model.hidden_states(&forward, &batch, &rows))?;
            lock(&cache).advance();
            for (known, now) in known.iter_mut().zip(&current) {
                *known = now.map_or(*known, |now| now.input);
            }
            let mut row = 0;
            let mut wanted = Vec::new();
            for sequence in current.into_iter().flatten() {
                for place in &sequence.asked {
                    let tokens = &texts[*place].tokens;
                    let first = row + sequence.reach - tokens.len();
                    wanted.extend(tokens.iter().enumerate().map(|(i, token)| (first + i, *token, *place)));
                }
                row += sequence.reach;
            }
            self.look(&forward, &hidden, wanted, &mut found)?;
        }
        Ok(found.into_iter().map(|found| found.unwrap_or(NOTHING)).collect())
    }

    /// An encoder-decoder reads each context once for each text.
    fn answers(
        &self,
        start: u32,
        texts: &[Continuation],
        go_on: impl Fn() -> Result<()>,
    ) -> Result<Vec<Likelihood>> {
        let forward = Forward::evaluation(self.tuning);
        let mut found = vec![None; texts.len()];
        for (first, texts) in (0..).step_by(SLOTS).zip(texts.chunks(SLOTS)) {
            go_on()?;
            let contexts: Vec<&[u32]> =
                texts.iter().map(|text| &text.context[..text.context.len() - self.cut(text)]).collect();
            let shifted: Vec<u32> = (texts.iter())
                .flat_map(|text| {
                    std::iter::once(start).chain(text.tokens.iter().copied()).take(text.tokens.len())
                })
                .collect();
            let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
            let decoder = Some((shifted, Ragged::from_lengths(lengths.iter().copied())));
            let ragged = Ragged::from_lengths(contexts.iter().map(|ids| ids.len()));
            let batch = batch(contexts.concat(), ragged, decoder);
            let hidden =
                without_gradients(|| self.model.hidden_states(&forward, &batch, &Wanted::Last(lengths)))?;
            let places = texts
                .iter()
                .enumerate()
                .flat_map(|(i, text)| text.tokens.iter().map(move |token| (i, token)));
            let wanted = places.enumerate().map(|(row, (i, token))| (row, *token, first + i)).collect();
            self.look(&forward, &hidden, wanted, &mut found)?;
        }
        Ok(found.into_iter().map(|found| found.unwrap_or(NOTHING)).collect())
    }

    /// Adds up what the rows of `hidden` say of tokens: (row, token, the text that it belongs to).
    fn look(
        &self,
        forward: &Forward,
        hidden: &tenfold_tensor::Tensor,
        wanted: Vec<(usize, u32, usize)>,
        found: &mut [Option<Likelihood>],
    ) -> Result<()> {
        let rows = hidden.rows();
        for first in (0..rows).step_by(LOGIT_ROWS) {
            let here = first..(first + LOGIT_ROWS).min(rows);
            let of_these: Vec<&(usize, u32, usize)> =
                wanted.iter().filter(|(row, ..)| here.contains(row)).collect();
            if of_these.is_empty() {
                continue;
            }
            let picks: Vec<u32> = here.clone().map(|row| row as u32).collect();
            let logits = without_gradients(|| self.vocabulary.logits(forward, &hidden.select_rows(&picks)?))?;
            let (numbers, words) = (logits.numbers()?, logits.cols());
            let sums: Vec<(f64, usize)> = numbers.par_chunks_exact(words).map(log_sum_exp).collect();
            for (row, token, text) in of_these {
                let (sum, likeliest) = sums[row - first];
                let logit = numbers[(row - first) * words + *token as usize];
                let likelihood = found[*text].get_or_insert(NOTHING);
                likelihood.log_likelihood += f64::from(logit) - sum;
                likelihood.is_greedy &= likeliest == *token as usize;
            }
        }
        Ok(())
    }
}

/// Of no token.
const NOTHING: Likelihood = Likelihood { log_likelihood: 0.0, is_greedy: true };

impl Sequence<'_> {
    /// Tokens at the beginning that need not be computed again: those whose hidden states are looked at must be.
    fn shared(&self, known: &[u32]) -> usize {
        let fresh = &self.input[..self.input.len() - self.reach];
        known.iter().zip(fresh).take_while(|(known, id)| known == id).count()
    }
}

/// ln of the sum of exp of all numbers, and the place of the highest.
fn log_sum_exp(logits: &[f32]) -> (f64, usize) {
    let Some(best) = argmax(logits) else { return (f64::NAN, 0) };
    let highest = f64::from(logits[best]);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
    (highest + sum.ln(), best)
}

fn batch(ids: Vec<u32>, ragged: Ragged, decoder: Option<(Vec<u32>, Ragged)>) -> Batch {
    Batch { type_ids: vec![0; ids.len()], ids, ragged, labels: Labels::none(), decoder }
}

fn lock(cache: &Arc<Mutex<Cache>>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
