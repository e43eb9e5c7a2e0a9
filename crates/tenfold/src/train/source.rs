//! Rows on their way through a model.

use super::features::Features;
use super::rows::Rows;
use crate::error::Result;
use crate::model::{self, Forward, Loss, Model, TaskType};
use tenfold_tensor::{Class, Tensor};

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

    /// The model.
    pub fn model(&self) -> &'a dyn Model {
        self.model
    }

    /// The rows.
    pub fn rows(&self) -> &'a Rows {
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
        let pooled = self.model.task() == TaskType::SequenceClassification;
        if !(pooled && forward.leaves_features_alone()) || self.rows.is_empty() {
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

    /// Logits of the rows `picks`: \[picks.len(), labels\] where rows have one label, else as [`model::logits`] says.
    pub fn logits(&self, forward: &Forward, picks: &[usize]) -> Result<Tensor> {
        match self.features(picks)? {
            Some(features) => self.model.head().logits(forward, &features),
            None => model::logits(self.model, forward, &self.rows.batch(picks)),
        }
    }

    /// The mean loss over the labels of the rows `picks`, whatever the rows weigh.
    pub fn loss(&self, forward: &Forward, picks: &[usize], smoothing: f32) -> Result<Loss> {
        self.loss_by(None, forward, picks, smoothing)
    }

    /// The same where each row weighs what it is said to weigh in training.
    pub fn weighted_loss(&self, forward: &Forward, picks: &[usize], smoothing: f32) -> Result<Loss> {
        self.loss_by(self.rows.weights(picks).as_deref(), forward, picks, smoothing)
    }

    fn loss_by(
        &self,
        weights: Option<&[f32]>,
        forward: &Forward,
        picks: &[usize],
        smoothing: f32,
    ) -> Result<Loss> {
        let batch = self.rows.batch(picks);
        match self.features(picks)? {
            Some(features) => {
                let logits = self.model.head().logits(forward, &features)?;
                model::class_loss(&logits, &batch.labels, weights, smoothing)
            }
            None => model::weighted_loss(self.model, forward, &batch, weights, smoothing),
        }
    }

    fn features(&self, picks: &[usize]) -> Result<Option<Tensor>> {
        let Some(features) = &self.features else { return Ok(None) };
        let picks: Vec<u32> = picks.iter().map(|row| *row as u32).collect();
        Ok(Some(features.select_rows(&picks)?))
    }
}
