//! Rows of text as a model reads them, and batches of them.

use super::Joined;
use crate::data::Example;
use crate::data::language::{Question, Sequence};
use crate::error::Result;
use crate::model::tokenizer::{Encoding, Tokenizer};
use crate::model::{Batch, IGNORE, Labels};
use crate::score::{Kind, Scoring, usual};
use crate::task::Questions;
use rayon::prelude::*;
use std::sync::Arc;
use tenfold_tensor::Ragged;

/// Encoded rows, each with what is to be said of it.
#[derive(Debug, Clone)]
pub struct Rows {
    encodings: Vec<Encoding>,
    targets: Vec<Target>,
    /// What each row weighs in the loss that is trained on; none: all the same.
    weights: Option<Vec<f32>>,
    scoring: &'static Scoring,
    asked: Option<Asked>,
    joined: Option<Joined>,
}

/// What a language model is asked about rows, besides the loss of what is right.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// A question for each row, and how it is asked and what is made of the answer: rows of several tasks may stand
    /// together.
    pub rows: Vec<(Arc<Questions>, Question)>,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::of(Vec::new(), Vec::new())
    }
}

/// What is to be said of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Its label.
    Label(u32),
    /// Its number.
    Number(f32),
    /// A label for each of its tokens, [`IGNORE`] where none counts.
    Tokens(Vec<u32>),
    /// First and last token of the answer in it.
    Span([u32; 2]),
    /// Which of its own tokens are to be foretold from those before them.
    Next(Vec<bool>),
    /// What a decoder answers to it.
    Answer {
        /// The token that the decoder starts from.
        start: u32,
        /// The tokens of the answer, its end among them.
        ids: Vec<u32>,
    },
}

impl Target {
    /// What kind of answer it is held against.
    fn kind(&self) -> Kind {
        match self {
            Target::Label(_) => Kind::Labels,
            Target::Number(_) => Kind::Numbers,
            Target::Span(_) => Kind::Matches,
            Target::Tokens(_) | Target::Next(_) | Target::Answer { .. } => Kind::Nats,
        }
    }

    /// How many labels the loss is over.
    fn labels(&self) -> usize {
        match self {
            Target::Label(_) | Target::Number(_) | Target::Span(_) => 1,
            Target::Tokens(labels) => labels.iter().filter(|label| **label != IGNORE).count(),
            Target::Next(labelled) => labelled.iter().skip(1).filter(|labelled| **labelled).count(),
            Target::Answer { ids, .. } => ids.len(),
        }
    }

    /// Its number, if it is one.
    fn number(&self) -> Option<f32> {
        match self {
            Target::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The labels as a batch has them, of a row of these ids; none of a number.
    fn write(&self, ids: &[u32], labels: &mut Vec<u32>) {
        match self {
            Target::Label(label) => labels.push(*label),
            Target::Number(_) => {}
            Target::Tokens(own) => labels.extend(own),
            Target::Span(span) => labels.extend(span),
            Target::Next(labelled) => {
                let next = ids.iter().zip(labelled).skip(1);
                labels.extend(next.map(|(id, labelled)| if *labelled { *id } else { IGNORE }));
                labels.extend((!ids.is_empty()).then_some(IGNORE));
            }
            Target::Answer { ids, .. } => labels.extend(ids),
        }
    }
}

impl Rows {
    /// Encodes examples, each cut to `max_length` tokens.
    pub fn encode(tokenizer: &Tokenizer, examples: &[Example], max_length: usize) -> Result<Rows> {
        Rows::encode_as(tokenizer, examples, max_length, Target::Label)
    }

    /// The same where a label stands for something else.
    pub fn encode_as(
        tokenizer: &Tokenizer,
        examples: &[Example],
        max_length: usize,
        target: impl Fn(u32) -> Target,
    ) -> Result<Rows> {
        let encodings = (examples.par_iter())
            .map(|example| tokenizer.encode(&example.text, example.pair.as_deref(), max_length))
            .collect::<Result<_>>()?;
        let rows = Rows::of(encodings, examples.iter().map(|example| target(example.label)).collect());
        let is_weighted = examples.iter().any(|example| example.weight.is_some());
        let weights = || examples.iter().map(|example| example.weight.unwrap_or(1.0)).collect();
        Ok(if is_weighted { rows.weighing(weights()) } else { rows })
    }

    /// Sequences of a decoder, or of an encoder-decoder whose answers start from the token `start`: its encoder reads
    /// what does not count.
    pub fn sequences(sequences: Vec<Sequence>, start: Option<u32>) -> Rows {
        let row = |Sequence { mut ids, labelled }: Sequence| {
            let target = match start {
                None => Target::Next(labelled),
                Some(start) => {
                    let given = labelled.iter().position(|labelled| *labelled).unwrap_or(labelled.len());
                    Target::Answer { start, ids: ids.split_off(given) }
                }
            };
            (Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }, target)
        };
        let (encodings, targets) = sequences.into_iter().map(row).unzip();
        Rows::of(encodings, targets)
    }

    /// Rows that are encoded already, scored as is usual for what is to be said of them.
    pub fn of(encodings: Vec<Encoding>, targets: Vec<Target>) -> Rows {
        assert_eq!(encodings.len(), targets.len(), "a target for each row");
        let kind = targets.first().map_or(Kind::Labels, Target::kind);
        Rows { encodings, targets, weights: None, scoring: usual(kind), asked: None, joined: None }
    }

    /// The same rows, each of which counts so much in the loss that is trained on: numbers above 0.
    pub fn weighing(self, weights: Vec<f32>) -> Rows {
        assert_eq!(weights.len(), self.len(), "a weight for each row");
        Rows { weights: Some(weights), ..self }
    }

    /// The same rows, scored so.
    pub fn scored_by(self, scoring: &'static Scoring) -> Rows {
        Rows { scoring, ..self }
    }

    /// The same rows, which a language model is asked about.
    pub fn asked_as(self, asked: Asked) -> Rows {
        assert_eq!(asked.rows.len(), self.len(), "a question for each row");
        Rows { asked: Some(asked), ..self }
    }

    /// What a language model is asked about them.
    pub fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// The same rows, of which several make up an answer.
    pub(super) fn joined_as(self, joined: Joined) -> Rows {
        assert_eq!(joined.of.len(), self.len(), "a part for each row");
        Rows { joined: Some(joined), ..self }
    }

    /// What several of them make up; `None` where each is answered by itself.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_ref()
    }

    /// How many questions the rows are of: as many as they make answers. Rows that are answered each by itself are one each.
    pub fn questions(&self) -> usize {
        self.joined.as_ref().map_or(self.len(), |joined| joined.questions().len())
    }

    /// The rows of the questions `picks`, by their places among all; of rows that are answered each by itself these.
    pub fn select_questions(&self, picks: &[usize]) -> Rows {
        match &self.joined {
            None => self.select(picks),
            Some(joined) => {
                let all = joined.questions();
                self.select(
                    &picks.iter().flat_map(|question| all[*question].1.iter().copied()).collect::<Vec<_>>(),
                )
            }
        }
    }

    /// The rows of the first `count` questions, or of all.
    pub fn first_questions(&self, count: usize) -> Rows {
        self.select_questions(&(0..count.min(self.questions())).collect::<Vec<_>>())
    }

    /// Rows of whole questions in their order, about `count` rows at a time.
    pub fn question_batches(&self, count: usize) -> impl Iterator<Item = Rows> {
        let all: Vec<usize> = (0..self.questions()).collect();
        let questions = (count * all.len() / self.len().max(1)).max(1);
        (0..all.len().div_ceil(questions)).map(move |batch| {
            let first = batch * questions;
            self.select_questions(&all[first..all.len().min(first + questions)])
        })
    }

    /// How answers to them are scored.
    pub fn scoring(&self) -> &'static Scoring {
        self.scoring
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The label of every row that has one label.
    pub fn labels(&self) -> Vec<u32> {
        let label = |target: &Target| match target {
            Target::Label(label) => Some(*label),
            _ => None,
        };
        self.targets.iter().filter_map(label).collect()
    }

    /// The number of every row that has one.
    pub fn numbers(&self) -> Vec<f64> {
        self.targets.iter().filter_map(Target::number).map(f64::from).collect()
    }

    /// How many labels the loss over the rows `picks` is over.
    pub fn label_count(&self, picks: &[usize]) -> usize {
        picks.iter().map(|row| self.targets[*row].labels()).sum()
    }

    /// What the rows `picks` weigh together in the loss: the number of their labels, each times its row's weight.
    pub fn label_weight(&self, picks: &[usize]) -> f64 {
        match &self.weights {
            None => self.label_count(picks) as f64,
            Some(weights) => {
                picks.iter().map(|row| self.targets[*row].labels() as f64 * f64::from(weights[*row])).sum()
            }
        }
    }

    /// What each of the rows `picks` weighs; none where all weigh the same.
    pub(super) fn weights(&self, picks: &[usize]) -> Option<Vec<f32>> {
        let weights = self.weights.as_ref()?;
        let chosen: Vec<f32> = picks.iter().map(|row| weights[*row]).collect();
        chosen.iter().any(|weight| *weight != chosen[0]).then_some(chosen)
    }

    /// Tokens of a row, special tokens and those of its answer included.
    pub fn tokens(&self, row: usize) -> usize {
        self.encodings[row].ids.len() + self.answer_tokens(row)
    }

    /// Those of the answer alone that a decoder gives to it; 0 without one.
    pub fn answer_tokens(&self, row: usize) -> usize {
        match &self.targets[row] {
            Target::Answer { ids, .. } => ids.len(),
            _ => 0,
        }
    }

    /// How many rows were cut.
    pub fn truncated(&self) -> usize {
        self.encodings.iter().filter(|encoding| encoding.truncated).count()
    }

    /// The rows `picks`, in that order.
    pub fn select(&self, picks: &[usize]) -> Rows {
        Rows {
            encodings: picks.iter().map(|row| self.encodings[*row].clone()).collect(),
            targets: picks.iter().map(|row| self.targets[*row].clone()).collect(),
            weights: self.weights.as_ref().map(|all| picks.iter().map(|row| all[*row]).collect()),
            scoring: self.scoring,
            asked: self.asked.as_ref().map(|asked| Asked {
                rows: picks.iter().map(|row| asked.rows[*row].clone()).collect(),
                tokenizer: asked.tokenizer.clone(),
            }),
            joined: self.joined.as_ref().map(|joined| joined.select(picks)),
        }
    }

    /// As many rows as `count` questions can have at the most, those with the most tokens, the longest first: no batch of
    /// rows of any `count` questions has more tokens than one of these.
    pub fn longest(&self, count: usize) -> Rows {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|row| std::cmp::Reverse(self.tokens(*row)));
        order.truncate(self.joined.as_ref().map_or(count, |joined| joined.most_rows(count)));
        self.select(&order)
    }

    /// `count` rows of exactly `length` tokens, each put together from rows one after the other and cut: what a batch of
    /// them costs. Whatever is to be said of a row's first part is to be said of the whole, and an answer stands whole
    /// beside the row. None if there are no rows.
    pub fn of_length(&self, count: usize, length: usize) -> Rows {
        let row = |first: usize| {
            let (mut encoding, mut target) = (self.encodings[first].clone(), self.targets[first].clone());
            let mut next = first;
            while encoding.ids.len() < length {
                next = (next + 1) % self.len();
                let (more, further) = (&self.encodings[next], &self.targets[next]);
                encoding.ids.extend(&more.ids);
                encoding.type_ids.extend(&more.type_ids);
                match (&mut target, further) {
                    (Target::Tokens(labels), Target::Tokens(more)) => labels.extend(more),
                    (Target::Next(labelled), Target::Next(more)) => labelled.extend(more),
                    _ => {}
                }
            }
            encoding.ids.truncate(length);
            encoding.type_ids.truncate(length);
            match &mut target {
                Target::Tokens(labels) => labels.truncate(length),
                Target::Next(labelled) => cut(labelled, length),
                Target::Span(span) => *span = span.map(|place| place.min(length.saturating_sub(1) as u32)),
                Target::Label(_) | Target::Number(_) | Target::Answer { .. } => {}
            }
            (encoding, target)
        };
        let is_empty = self.encodings.iter().all(|encoding| encoding.ids.is_empty());
        let count = if is_empty { 0 } else { count };
        let firsts = || (0..self.len()).cycle().take(count);
        let (encodings, targets) = firsts().map(row).unzip();
        let weights = self.weights.as_ref().map(|all| firsts().map(|row| all[row]).collect());
        Rows { weights, ..Rows::of(encodings, targets) }
    }

    /// What is to be said of a row.
    pub(super) fn target(&self, row: usize) -> &Target {
        &self.targets[row]
    }

    /// What a language model reads of a row before its own words begin; of a text that is all its own words the first
    /// half. `None` of rows that are no language model's.
    pub fn prompt(&self, row: usize) -> Option<&[u32]> {
        let ids = self.encoding(row).ids.as_slice();
        match self.target(row) {
            Target::Next(labelled) => {
                let own =
                    labelled.iter().skip(1).position(|labelled| *labelled).map_or(ids.len(), |at| at + 1);
                Some(if own > 1 { &ids[..own] } else { &ids[..ids.len().div_ceil(2)] })
            }
            Target::Answer { .. } => Some(ids),
            Target::Label(_) | Target::Number(_) | Target::Tokens(_) | Target::Span(_) => None,
        }
    }

    /// A row as the model reads it.
    pub fn encoding(&self, row: usize) -> &Encoding {
        &self.encodings[row]
    }

    /// The rows `picks` as one batch without padding.
    pub fn batch(&self, picks: &[usize]) -> Batch {
        let chosen = || picks.iter().map(|row| (&self.encodings[*row], &self.targets[*row]));
        let answers: Vec<(u32, &[u32])> = (chosen())
            .filter_map(|(_, target)| match target {
                Target::Answer { start, ids } => Some((*start, ids.as_slice())),
                _ => None,
            })
            .collect();
        // A decoder reads its answer one place later, and does not read the answer's end.
        let shifted = |(start, ids): &(u32, &[u32])| -> Vec<u32> {
            [*start].into_iter().chain(ids.iter().copied()).take(ids.len()).collect()
        };
        let decoder = (!answers.is_empty()).then(|| {
            let ids = answers.iter().flat_map(shifted).collect();
            (ids, Ragged::from_lengths(answers.iter().map(|(_, ids)| ids.len())))
        });
        Batch {
            ids: chosen().flat_map(|(encoding, _)| &encoding.ids).copied().collect(),
            type_ids: chosen().flat_map(|(encoding, _)| &encoding.type_ids).copied().collect(),
            ragged: Ragged::from_lengths(chosen().map(|(encoding, _)| encoding.ids.len())),
            labels: self.batch_labels(picks),
            decoder,
        }
    }

    /// What is to be said of the rows `picks`: numbers where the first row has one, which all of them then have.
    fn batch_labels(&self, picks: &[usize]) -> Labels {
        if picks.first().is_some_and(|row| self.targets[*row].number().is_some()) {
            return Labels::Numbers(picks.iter().filter_map(|row| self.targets[*row].number()).collect());
        }
        let mut labels = Vec::new();
        picks.iter().for_each(|row| self.targets[*row].write(&self.encodings[*row].ids, &mut labels));
        Labels::Ids(labels)
    }
}

/// Leaves the first `length` tokens of a row. Where these are all given, as many at their end are to be foretold as of the
/// whole row, in shares: a batch without a label costs less than any that is trained on.
fn cut(labelled: &mut Vec<bool>, length: usize) {
    let labels = |labelled: &[bool]| labelled.iter().skip(1).filter(|labelled| **labelled).count();
    let (all, tokens) = (labels(labelled), labelled.len());
    labelled.truncate(length);
    if labels(labelled) == 0 && all > 0 {
        let wanted = (all * length).div_ceil(tokens).min(length.saturating_sub(1));
        labelled[length - wanted..].fill(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_length_have_it_and_the_first_rows_target() {
        let encoding =
            |ids: &[u32]| Encoding { ids: ids.to_vec(), type_ids: vec![0; ids.len()], truncated: false };
        let rows =
            Rows::of(vec![encoding(&[1, 2]), encoding(&[3, 4, 5])], vec![Target::Label(0), Target::Label(1)]);
        let stretched = rows.of_length(3, 4);
        assert_eq!(stretched.labels(), [0, 1, 0]);
        assert_eq!(stretched.encoding(0).ids, [1, 2, 3, 4]);
        assert_eq!(stretched.encoding(1).ids, [3, 4, 5, 1]);
        assert_eq!(
            (stretched.encoding(2).type_ids.len(), rows.of_length(1, 1).encoding(0).ids.len()),
            (4, 1)
        );
        assert!(Rows::default().of_length(3, 4).is_empty());
        let next = Rows::of(vec![encoding(&[7, 8, 9])], vec![Target::Next(vec![false, true, true])]);
        assert_eq!(next.of_length(1, 5).label_count(&[0]), 3);
        // A long prompt leaves no label in its first part: a batch of such rows still has some, in the row's shares.
        let prompt = (0..12).map(|place| place >= 8).collect();
        let next = Rows::of(vec![encoding(&[7; 12])], vec![Target::Next(prompt)]);
        assert_eq!((next.of_length(1, 6).label_count(&[0]), next.of_length(1, 2).label_count(&[0])), (2, 1));
        assert_eq!(next.of_length(1, 10).label_count(&[0]), 2);
    }

    #[test]
    fn numbers_reach_a_batch_as_numbers() {
        let encoding = || Encoding { ids: vec![1, 2], type_ids: vec![0; 2], truncated: false };
        let targets = [0.5, -1e-40, f32::MAX].map(Target::Number).to_vec();
        let rows = Rows::of(vec![encoding(), encoding(), encoding()], targets);
        assert_eq!(rows.batch(&[2, 0, 1]).labels, Labels::Numbers(vec![f32::MAX, 0.5, -1e-40]));
        assert_eq!(rows.numbers(), [0.5, f64::from(-1e-40f32), f64::from(f32::MAX)]);
        // No label can be taken for a number, nor a number for a label.
        assert!(rows.batch(&[0]).labels.ids().unwrap_err().to_string().contains("found numbers"));
    }

    #[test]
    fn an_encoder_reads_what_does_not_count_and_a_decoder_answers_the_rest() {
        let sequence = |ids: &[u32], given| Sequence {
            ids: ids.to_vec(),
            labelled: (0..ids.len()).map(|place| place >= given).collect(),
        };
        let rows =
            Rows::sequences(vec![sequence(&[5, 6, 1, 7, 1], 3), sequence(&[8, 1, 9, 9, 1], 2)], Some(0));
        let batch = rows.batch(&[0, 1]);
        assert_eq!((batch.ids, batch.labels), (vec![5, 6, 1, 8, 1], Labels::Ids(vec![7, 1, 9, 9, 1])));
        let (ids, ragged) = batch.decoder.unwrap();
        assert_eq!((ids, ragged), (vec![0, 7, 0, 9, 9], Ragged::from_lengths([2, 3])));
        assert_eq!((rows.tokens(0), rows.label_count(&[0, 1])), (5, 5));
        // Rows of a length are as long without their answers.
        let stretched = rows.of_length(2, 4);
        assert_eq!([0, 1].map(|row| (stretched.tokens(row), stretched.answer_tokens(row))), [(6, 2), (7, 3)]);
        // A decoder alone foretells each token that counts from those before it.
        let rows = Rows::sequences(vec![sequence(&[5, 6, 1, 7, 1], 3)], None);
        let batch = rows.batch(&[0]);
        assert_eq!(batch.labels, Labels::Ids(vec![IGNORE, IGNORE, 7, 1, IGNORE]));
        assert!(batch.decoder.is_none());
    }
}
