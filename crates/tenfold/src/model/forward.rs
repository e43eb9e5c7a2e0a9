//! One pass through a model: which tuning is on, and what dropout draws.

use super::layer::{Linear, Norm, Weight};
use crate::adapter::Tuning;
use crate::error::{Error, Result};
use std::cell::Cell;
use tenfold_tensor::{Dropout, Ragged, Tensor};

/// What a model asks on its way. Created for each batch.
pub struct Forward<'a> {
    tuning: &'a Tuning,
    dropout_key: Option<u64>,
    next_stream: Cell<u64>,
}

impl<'a> Forward<'a> {
    /// A pass without dropout.
    pub fn evaluation(tuning: &'a Tuning) -> Forward<'a> {
        Forward { tuning, dropout_key: None, next_stream: Cell::new(0) }
    }

    /// A pass with dropout; the key decides every mask of it.
    pub fn training(tuning: &'a Tuning, dropout_key: u64) -> Forward<'a> {
        Forward { tuning, dropout_key: Some(dropout_key), next_stream: Cell::new(0) }
    }

    /// The present value of a weight of the base model: the tuned copy where there is one.
    pub fn weight(&self, weight: &Weight) -> Tensor {
        self.tuning.trained(&weight.name).unwrap_or_else(|| weight.tensor.clone())
    }

    /// A weight of the task's head, which is always trained.
    pub fn head_weight(&self, name: &str) -> Result<Tensor> {
        self.tuning.trained(name).ok_or_else(|| Error::unknown("head weight", name, self.tuning.names()))
    }

    /// A linear map of the base model with whatever the method makes of it.
    pub fn linear(&self, layer: &Linear, x: &Tensor) -> Result<Tensor> {
        self.tuning.adapter().linear(self, layer, x)
    }

    /// The same map without the method.
    pub fn base_linear(&self, layer: &Linear, x: &Tensor) -> Result<Tensor> {
        let bias = layer.bias.as_ref().map(|bias| self.weight(bias));
        Ok(x.linear(&self.weight(&layer.weight), bias.as_ref())?)
    }

    /// A norm of the base model.
    pub fn norm(&self, layer: &Norm, x: &Tensor) -> Result<Tensor> {
        Ok(x.layer_norm(&self.weight(&layer.weight), &self.weight(&layer.bias), layer.eps)?)
    }

    /// Word embeddings \[tokens, hidden\] with the method's virtual tokens before each sequence.
    pub fn embed(&self, words: Tensor, ragged: &Ragged) -> Result<(Tensor, Ragged)> {
        match self.tuning.adapter().prompt(self)? {
            Some(prompt) => Ok(words.prepend(&prompt, ragged)?),
            None => Ok((words, ragged.clone())),
        }
    }

    /// The method's keys and values \[prefix, kv_width\] for a layer's attention.
    pub fn prefix(&self, layer: usize) -> Result<Option<(Tensor, Tensor)>> {
        self.tuning.adapter().prefix(self, layer)
    }

    /// Whether the method leaves what the head sees as the base model makes it.
    pub fn leaves_features_alone(&self) -> bool {
        self.tuning.adapter().leaves_features_alone()
    }

    /// How many places the prefix takes before the first token's position.
    pub fn prefix_len(&self) -> usize {
        self.tuning.adapter().prefix_len()
    }

    /// Dropout with this probability, in training.
    pub fn dropout(&self, x: Tensor, probability: f32) -> Result<Tensor> {
        Ok(match self.mask(probability) {
            Some(mask) => x.dropout(mask)?,
            None => x,
        })
    }

    /// The next mask, in training. Every call draws from a stream of its own.
    pub fn mask(&self, probability: f32) -> Option<Dropout> {
        let key = self.dropout_key.filter(|_| probability > 0.0)?;
        let stream = self.next_stream.replace(self.next_stream.get() + 1);
        Some(Dropout { probability, key, stream })
    }
}
