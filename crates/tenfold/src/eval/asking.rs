//! Questions put to a language model: from texts to tokens, and from what the model says to answers.

use super::likelihood::{Continuation, Likelihood, Weigher};
use crate::adapter::Tuning;
use crate::data::language::Question;
use crate::error::{Error, Result};
use crate::generate::{FinishReason, Generated, Generator, Sampling, Watch};
use crate::model::Model;
use crate::model::tokenizer::Tokenizer;
use crate::score;
use crate::task::{QuestionMetric, QuestionSet, Questions};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a language model said to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// Of each choice.
    Choice {
        /// ln p of each choice behind its context.
        log_likelihoods: Vec<f64>,
        /// Whether each choice is what the model would say by itself.
        is_greedy: Vec<bool>,
        /// ln p of each choice behind nothing, where that is scored.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unconditional: Vec<f64>,
        /// The likeliest choice.
        chosen: usize,
        /// The right ones.
        golds: Vec<usize>,
    },
    /// Of a text.
    Text {
        /// ln p of it.
        log_likelihood: f64,
        /// Whether it is what the model would say by itself.
        is_greedy: bool,
        /// Words that count.
        words: usize,
        /// Bytes that count.
        bytes: usize,
    },
    /// A text of the model's own.
    Generated {
        /// The text.
        text: String,
    },
}

/// An answer, and what the model saw of its question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// What was said.
    #[serde(flatten)]
    pub answer: Answer,
    /// Tokens of the prompt that the model had no room for, of several prompts of one question the most.
    #[serde(default, skip_serializing_if = "crate::record::is_zero")]
    pub cut: usize,
}

/// A language model to be asked.
pub struct Asker<'a> {
    /// The base model.
    pub model: &'a dyn Model,
    /// What is on it.
    pub tuning: &'a Tuning,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
}

impl Asker<'_> {
    /// Asks some of the questions. `go_on` is asked before each pass through the model; `token` is called for each token
    /// of texts of the model's own, those of answers side by side at once.
    pub fn ask(
        &self,
        asked: &Questions,
        set: &QuestionSet,
        range: Range<usize>,
        go_on: &dyn Fn() -> Result<()>,
        token: &mut dyn FnMut(),
    ) -> Result<Vec<Said>> {
        let prompts: Vec<Prompt> = range.map(|row| Prompt::new(asked, set, row)).collect();
        if prompts.iter().any(|prompt| matches!(prompt.question, Question::Answer { .. }))
            && asked.output_type == crate::task::OutputType::GenerateUntil
        {
            return self.generated(asked, &prompts, go_on, token);
        }
        asked.check_weighable()?;
        let weigher = Weigher::new(self.model, self.tuning)?;
        let mut texts = Vec::new();
        let mut parts = Vec::new();
        for prompt in &prompts {
            let before = texts.len();
            self.texts(asked, prompt, weigher.room(), &mut texts)?;
            let own = &texts[before..];
            parts.push((own.len(), own.iter().map(|text| weigher.cut(text)).max().unwrap_or(0)));
        }
        let weighed = weigher.weigh(&texts, go_on)?;
        let mut rest = weighed.as_slice();
        let mut said = Vec::new();
        for (prompt, (count, cut)) in prompts.iter().zip(parts) {
            let (own, later) = rest.split_at(count);
            rest = later;
            said.push(Said { answer: answer(prompt.question, own), cut });
        }
        Ok(said)
    }

    /// The texts to be weighed for one question.
    fn texts(
        &self,
        asked: &Questions,
        prompt: &Prompt,
        room: usize,
        out: &mut Vec<Continuation>,
    ) -> Result<()> {
        match prompt.question {
            Question::Choice { contexts, choices, .. } => {
                let delimiter = &asked.form.delimiter;
                for choice in 0..contexts.len().max(choices.len()) {
                    let context = contexts.get(choice).unwrap_or(&contexts[0]);
                    let said = choices.get(choice).unwrap_or(&choices[0]);
                    let context = format!("{}{context}", prompt.before);
                    out.push(self.pair(&context, &format!("{delimiter}{said}"))?);
                }
                if asked.metrics.contains(&QuestionMetric::AccMutualInfo) {
                    for said in choices {
                        out.push(self.pair("", &format!("{delimiter}{said}"))?);
                    }
                }
            }
            Question::Answer { context, references } => {
                let said = references.first().map_or("", String::as_str);
                let context = format!("{}{context}", prompt.before);
                out.push(self.pair(&context, &format!("{}{said}", asked.form.delimiter))?);
            }
            Question::Text { text, .. } => out.extend(windows(self.words(text)?, self.first(), room)),
        }
        Ok(())
    }

    /// Tokens of a text behind another, told apart as lm-evaluation-harness does: blanks at the context's end belong to
    /// the text, and the text's tokens are those of both together behind as many as the context has alone.
    fn pair(&self, context: &str, text: &str) -> Result<Continuation> {
        let bare = context.trim_end();
        let text = format!("{}{text}", &context[bare.len()..]);
        if bare.is_empty() {
            let mut tokens = self.tokenizer.words(&text)?;
            let first = self.first();
            let context = match tokens.first() {
                Some(token) if *token == first && tokens.len() > 1 => vec![tokens.remove(0)],
                _ => vec![first],
            };
            return Ok(Continuation { context, tokens });
        }
        if self.model.decoder_start().is_some() {
            return Ok(Continuation { context: self.words(bare)?, tokens: self.tokenizer.words(&text)? });
        }
        let mut context = self.words(bare)?;
        let whole = self.words(&format!("{bare}{text}"))?;
        let mut tokens: Vec<u32> = whole.get(context.len()..).unwrap_or_default().to_vec();
        if tokens.is_empty() {
            // Both together have no more tokens than the context alone: its last token is part of the text.
            tokens.extend(whole.last());
            context = whole[..whole.len().saturating_sub(1)].to_vec();
        }
        Ok(Continuation { context, tokens })
    }

    /// A text as the model reads it by itself.
    fn words(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.prompt(text)
    }

    /// What stands before a text that nothing stands before.
    fn first(&self) -> u32 {
        self.tokenizer.bos_id().or(self.tokenizer.eos_ids().first().copied()).unwrap_or(0)
    }

    fn generated(
        &self,
        asked: &Questions,
        prompts: &[Prompt],
        go_on: &dyn Fn() -> Result<()>,
        token: &mut dyn FnMut(),
    ) -> Result<Vec<Said>> {
        let end = self.tokenizer.eos_ids().first().copied();
        let end = end.map(|id| self.tokenizer.decode(&[id], false)).transpose()?;
        let stop_strings = asked.until.iter().cloned().chain(end).filter(|stop| !stop.is_empty()).collect();
        let sampling = Sampling { max_new_tokens: asked.max_gen_toks, stop_strings, ..Sampling::default() };
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, true);
        let generator =
            Generator::new(self.model, self.tuning, &sampling, self.tokenizer.eos_ids(), &decode)?;
        let room = Weigher::new(self.model, self.tuning)?.room();
        let room = match self.model.decoder_start() {
            Some(_) => room,
            None => room.saturating_sub(asked.max_gen_toks),
        };
        if room == 0 {
            let found = format!("{} of {}", asked.max_gen_toks, self.model.extents().max_positions);
            return Err(Error::malformed(
                "task",
                "max_gen_toks",
                "fewer than the model has positions",
                found,
            ));
        }
        let mut answers = Vec::new();
        for prompts in prompts.chunks(SIDE_BY_SIDE) {
            go_on()?;
            let (ids, cuts): (Vec<Vec<u32>>, Vec<usize>) = (prompts.iter())
                .map(|prompt| {
                    let Question::Answer { context, .. } = prompt.question else {
                        return Ok((Vec::new(), 0));
                    };
                    let mut ids = self.words(&format!("{}{context}", prompt.before))?;
                    let cut = ids.len().saturating_sub(room);
                    ids.drain(..cut);
                    Ok((ids, cut))
                })
                .collect::<Result<_>>()?;
            let said = generator.generate(&ids, &mut Onlooker { go_on, token })?;
            if said.iter().any(|said| said.finish_reason == FinishReason::Interrupted) {
                go_on()?;
            }
            let text =
                |(said, cut): (Generated, usize)| Said { answer: Answer::Generated { text: said.text }, cut };
            answers.extend(said.into_iter().zip(cuts).map(text));
        }
        Ok(answers)
    }
}

/// Prompts that are answered side by side.
const SIDE_BY_SIDE: usize = 8;

struct Onlooker<'a> {
    go_on: &'a dyn Fn() -> Result<()>,
    token: &'a mut dyn FnMut(),
}

impl Watch for Onlooker<'_> {
    fn token(&mut self) {
        (self.token)();
    }

    fn go_on(&self) -> bool {
        (self.go_on)().is_ok()
    }
}

/// A question and what stands before its own context.
struct Prompt<'a> {
    question: &'a Question,
    before: String,
}

impl<'a> Prompt<'a> {
    fn new(asked: &Questions, set: &'a QuestionSet, row: usize) -> Prompt<'a> {
        let mut before = set.description.clone();
        for shot in set.shots.get(row).or(set.shots.first()).into_iter().flatten() {
            let (context, said) = shot.worked(&asked.form.delimiter);
            before.push_str(&context);
            before.push_str(&said);
            before.push_str(&asked.fewshot_delimiter);
        }
        Prompt { question: &set.questions[row], before }
    }
}

fn answer(question: &Question, weighed: &[Likelihood]) -> Answer {
    let sum = || weighed.iter().map(|one| one.log_likelihood).sum();
    match question {
        Question::Choice { contexts, choices, golds, .. } => {
            let (own, alone) = weighed.split_at(contexts.len().max(choices.len()).min(weighed.len()));
            let log_likelihoods: Vec<f64> = own.iter().map(|one| one.log_likelihood).collect();
            Answer::Choice {
                chosen: score::argmax(&log_likelihoods).unwrap_or(0),
                log_likelihoods,
                is_greedy: own.iter().map(|one| one.is_greedy).collect(),
                unconditional: alone.iter().map(|one| one.log_likelihood).collect(),
                golds: golds.clone(),
            }
        }
        Question::Answer { references, .. } => {
            let text = references.first().map_or("", String::as_str);
            let (words, bytes) = (score::count_words(text), score::count_bytes(text));
            let is_greedy = weighed.iter().all(|one| one.is_greedy);
            Answer::Text { log_likelihood: sum(), is_greedy, words, bytes }
        }
        Question::Text { counted, .. } => Answer::Text {
            log_likelihood: sum(),
            is_greedy: weighed.iter().all(|one| one.is_greedy),
            words: score::count_words(counted),
            bytes: score::count_bytes(counted),
        },
    }
}

/// A text of any length as pieces that the model has room for; each token is weighed once, behind as many tokens before
/// it as there is room for (lm-evaluation-harness's rolling windows with one token of context).
fn windows(ids: Vec<u32>, first: u32, room: usize) -> Vec<Continuation> {
    let mut windows = Vec::new();
    let mut done = 0;
    while done < ids.len() {
        let end = ids.len().min(done + room);
        // What does not fill a window reaches back for its context.
        let from = (end.saturating_sub(room)).min(done);
        let context = match done {
            0 => vec![first],
            _ => ids[from.saturating_sub(1)..done].to_vec(),
        };
        windows.push(Continuation { context, tokens: ids[done..end].to_vec() });
        done = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_the_harness() {
        let ids: Vec<u32> = (1..=10).collect();
        let pieces: Vec<(Vec<u32>, Vec<u32>)> =
            windows(ids, 0, 4).into_iter().map(|window| (window.context, window.tokens)).collect();
        // lm_eval.utils.get_rolling_token_windows(range(1, 11), 0, 4, 1) through make_disjoint_window.
        assert_eq!(
            pieces,
            [(vec![0], vec![1, 2, 3, 4]), (vec![4], vec![5, 6, 7, 8]), (vec![6, 7, 8], vec![9, 10]),]
        );
        assert_eq!(windows(vec![7], 0, 4).len(), 1);
        assert!(windows(Vec::new(), 0, 4).is_empty());
    }
}
