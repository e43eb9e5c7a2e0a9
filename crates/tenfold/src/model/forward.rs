//! One pass through a model: which tuning is on, what dropout draws, what is remembered of earlier passes.

use super::cache::Cache;
use super::hooks::Hooks;
use super::layer::{Linear, Norm, NormKind, Weight};
use crate::error::{Error, Result};
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::{Dropout, Ragged, Tensor, recompute};

/// What a model asks on its way. Created for each batch.
#[derive(Clone)]
pub struct Forward {
    hooks: Arc<dyn Hooks>,
    dropout_key: Option<u64>,
    next_stream: Cell<u64>,
    recomputes: bool,
    cache: Option<Arc<Mutex<Cache>>>,
}

/// Streams of random numbers for the masks of one block.
const STREAMS: u64 = 1 << 16;

impl Forward {
    /// A pass without dropout.
    pub fn evaluation<H: Hooks + Clone + 'static>(hooks: &H) -> Forward {
        Forward {
            hooks: Arc::new(hooks.clone()),
            dropout_key: None,
            next_stream: Cell::new(0),
            recomputes: false,
            cache: None,
        }
    }

    /// A pass with dropout; the key decides every mask of it.
    pub fn training<H: Hooks + Clone + 'static>(hooks: &H, dropout_key: u64) -> Forward {
        Forward { dropout_key: Some(dropout_key), ..Forward::evaluation(hooks) }
    }

    /// The same pass, whose blocks are computed again in the backward pass instead of kept (Chen et al. 2016).
    pub fn recomputing(self, recomputes: bool) -> Forward {
        Forward { recomputes, ..self }
    }

    /// The same pass over tokens that follow those in `cache`, which it adds its own keys and values to.
    pub fn continuing(self, cache: &Arc<Mutex<Cache>>) -> Forward {
        Forward { cache: Some(cache.clone()), ..self }
    }

    /// The present value of a weight of the base model: the tuned copy where there is one.
    pub fn weight(&self, weight: &Weight) -> Tensor {
        self.hooks.trained(&weight.name).unwrap_or_else(|| weight.tensor.clone())
    }

    /// A weight of the task's head, which is always trained.
    pub fn head_weight(&self, name: &str) -> Result<Tensor> {
        self.hooks.trained(name).ok_or_else(|| Error::unknown("head weight", name, []))
    }

    /// A linear map of the base model with whatever the method makes of it.
    pub fn linear(&self, layer: &Linear, x: &Tensor) -> Result<Tensor> {
        let changed = self.hooks.before(self, &layer.site, x)?;
        let y = self.base_linear(layer, changed.as_ref().unwrap_or(x))?;
        self.hooks.after(self, &layer.site, x, y)
    }

    /// The same map without the method.
    fn base_linear(&self, layer: &Linear, x: &Tensor) -> Result<Tensor> {
        let bias = layer.bias.as_ref().map(|bias| self.weight(bias));
        let weight = self.weight(&layer.weight);
        Ok(match layer.site.fan_in_fan_out {
            false => x.linear(&weight, bias.as_ref())?,
            true => x.linear_transposed(&weight, bias.as_ref())?,
        })
    }

    /// A norm of the base model.
    pub fn norm(&self, layer: &Norm, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight(&layer.weight);
        Ok(match &layer.kind {
            NormKind::Layer(bias) => x.layer_norm(&weight, &self.weight(bias), layer.eps)?,
            NormKind::Rms { offset } => x.rms_norm(&weight, layer.eps, *offset)?,
        })
    }

    /// Word embeddings \[tokens, hidden\] with the method's virtual tokens before each sequence, unless this pass
    /// goes on from an earlier one.
    pub fn embed(&self, words: Tensor, ragged: &Ragged) -> Result<(Tensor, Ragged)> {
        match self.hooks.prompt(self)? {
            Some(prompt) if !self.goes_on() => Ok(words.prepend(&prompt, ragged)?),
            _ => Ok((words, ragged.clone())),
        }
    }

    /// The position of each row: those before it in its sequence, the method's prefix and remembered tokens counted.
    pub fn positions(&self, ragged: &Ragged) -> Vec<u32> {
        let before = self.hooks.prefix_len();
        let starts = self.remembered(ragged).into_iter().map(|length| before + length);
        starts
            .zip(ragged.lengths())
            .flat_map(|(first, length)| first as u32..(first + length) as u32)
            .collect()
    }

    /// The method's keys and values \[prefix, kv_width\] for a layer's attention.
    pub fn prefix(&self, layer: usize) -> Result<Option<(Tensor, Tensor)>> {
        self.hooks.prefix(self, layer)
    }

    /// Keys and values that a layer's queries see: these, behind those of earlier passes where there are any.
    pub fn remember(
        &self,
        layer: usize,
        key: Tensor,
        value: Tensor,
        ragged: &Ragged,
    ) -> Result<(Tensor, Tensor, Ragged)> {
        match &self.cache {
            None => Ok((key, value, ragged.clone())),
            Some(cache) => lock(cache).extend(layer, &key, &value, ragged),
        }
    }

    /// Whether this pass goes on from an earlier one.
    pub fn goes_on(&self) -> bool {
        self.cache.as_ref().is_some_and(|cache| lock(cache).lengths().iter().any(|length| *length > 0))
    }

    /// The keys and values, and where they lie, that `compute` gives; computed once for all passes that go on from one
    /// another.
    pub fn once(
        &self,
        layer: usize,
        compute: impl FnOnce() -> Result<(Tensor, Tensor, Ragged)>,
    ) -> Result<(Tensor, Tensor, Ragged)> {
        match &self.cache {
            None => compute(),
            Some(cache) => lock(cache).once(layer, compute),
        }
    }

    fn remembered(&self, ragged: &Ragged) -> Vec<usize> {
        match &self.cache {
            None => vec![0; ragged.sequences()],
            Some(cache) => lock(cache).lengths().to_vec(),
        }
    }

    /// Whether the method leaves what the head sees as the base model makes it.
    pub fn leaves_features_alone(&self) -> bool {
        self.hooks.leaves_features_alone()
    }

    /// Runs one block of the model, which is computed again in the backward pass if this pass recomputes. Every block
    /// draws from random numbers of its own, so that both times it draws the same.
    pub fn block(
        &self,
        inputs: &[Tensor],
        run: impl Fn(&Forward, &[Tensor]) -> Result<Tensor> + Send + 'static,
    ) -> Result<Tensor> {
        let first = self.next_stream.get().next_multiple_of(STREAMS);
        self.next_stream.set(first + STREAMS);
        let inner = self.clone();
        let again = move |inputs: &[Tensor]| {
            inner.next_stream.set(first);
            run(&inner, inputs)
        };
        match self.recomputes {
            true => {
                Ok(recompute(inputs, move |inputs| again(inputs).map_err(tenfold_tensor::Error::within))?)
            }
            false => again(inputs),
        }
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

fn lock(cache: &Mutex<Cache>) -> std::sync::MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
