//! Rows of text as a model reads them, and batches of them.

use super::features::Features;
use crate::data::Example;
use crate::error::Result;
use crate::model::tokenizer::{Encoding, Tokenizer};
use crate::model::{Batch, Forward, Model};
use rayon::prelude::*;
use tenfold_tensor::{Class, Ragged, Tensor};

/// Encoded rows with their labels.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    encodings: Vec<Encoding>,
    labels: Vec<u32>,
}

impl Rows {
    /// Encodes examples, each cut to `max_length` tokens.
    pub fn encode(tokenizer: &Tokenizer, examples: &[Example], max_length: usize) -> Result<Rows> {
        let encodings = (examples.par_iter())
            .map(|example| tokenizer.encode(&example.text, example.pair.as_deref(), max_length))
            .collect::<Result<_>>()?;
        Ok(Rows { encodings, labels: examples.iter().map(|example| example.label).collect() })
    }

    /// Rows that are encoded already.
    pub fn of(encodings: Vec<Encoding>, labels: Vec<u32>) -> Rows {
        assert_eq!(encodings.len(), labels.len(), "a label for each row");
        Rows { encodings, labels }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The label of every row.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Tokens of a row, special tokens included.
    pub fn tokens(&self, row: usize) -> usize {
        self.encodings[row].ids.len()
    }

    /// How many rows were cut.
    pub fn truncated(&self) -> usize {
        self.encodings.iter().filter(|encoding| encoding.truncated).count()
    }

    /// The rows `picks`, in that order.
    pub fn select(&self, picks: &[usize]) -> Rows {
        Rows {
            encodings: picks.iter().map(|row| self.encodings[*row].clone()).collect(),
            labels: picks.iter().map(|row| self.labels[*row]).collect(),
        }
    }

    /// A row as the model reads it.
    pub fn encoding(&self, row: usize) -> &Encoding {
        &self.encodings[row]
    }

    /// The rows `picks` as one batch without padding.
    pub fn batch(&self, picks: &[usize]) -> Batch {
        let chosen = || picks.iter().map(|row| &self.encodings[*row]);
        Batch {
            ids: chosen().flat_map(|encoding| &encoding.ids).copied().collect(),
            type_ids: chosen().flat_map(|encoding| &encoding.type_ids).copied().collect(),
            ragged: Ragged::from_lengths(chosen().map(|encoding| encoding.ids.len())),
            labels: picks.iter().map(|row| self.labels[*row]).collect(),
        }
    }
}

/// Rows on their way through a model: whole, or from features that were computed once.
pub struct Source<'a> {
    model: &'a dyn Model,
    rows: &'a Rows,
    features: Option<Tensor>,
}

/// Rows in each pass that computes features or scores.
pub const EVALUATION_BATCH: usize = 64;

impl<'a> Source<'a> {
    /// Rows that pass through the whole model.
    pub fn new(model: &'a dyn Model, rows: &'a Rows) -> Source<'a> {
        Source { model, rows, features: None }
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        self.rows
    }

    /// Takes what the head sees from `known`, where it is computed once and for all, if `forward`'s method leaves
    /// that alone.
    pub fn cache_features(
        mut self,
        forward: &Forward,
        known: &Features,
        go_on: impl Fn() -> Result<()>,
    ) -> Result<Source<'a>> {
        if !forward.leaves_features_alone() || self.rows.is_empty() {
            return Ok(self);
        }
        let mut numbers = Vec::new();
        let all: Vec<usize> = (0..self.rows.len()).collect();
        for picks in all.chunks(EVALUATION_BATCH) {
            go_on()?;
            numbers.extend(known.of(self.model, forward, self.rows, picks)?);
        }
        let shape = [self.rows.len(), numbers.len() / self.rows.len()];
        let backend = self.model.word_embeddings().tensor.backend();
        self.features = Some(Tensor::new(backend, Class::Activations, &shape, numbers)?);
        Ok(self)
    }

    /// Logits of the rows `picks`: \[picks.len(), labels\].
    pub fn logits(&self, forward: &Forward, picks: &[usize]) -> Result<Tensor> {
        let features = match &self.features {
            Some(features) => {
                let picks: Vec<u32> = picks.iter().map(|row| *row as u32).collect();
                features.select_rows(&picks)?
            }
            None => self.model.features(forward, &self.rows.batch(picks))?,
        };
        self.model.head(forward, &features)
    }
}
