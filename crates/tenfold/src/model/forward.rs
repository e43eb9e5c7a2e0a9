//! One pass through a model: which tuning is on, what dropout draws, what is remembered of earlier passes.

use super::cache::Cache;
use super::hooks::Hooks;
use super::layer::{Linear, Norm, NormKind, Weight};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::{Dropout, Ragged, Row, Tensor, recompute};

/// What a model asks on its way. Created for each batch.
#[derive(Clone)]
pub struct Forward {
    hooks: Arc<dyn Hooks>,
    masks: Option<Masks>,
    recomputes: bool,
    cache: Option<Arc<Mutex<Cache>>>,
}

/// What decides the masks of a pass: a mask is a function of the step's key, the place in the model, the sequence, the
/// token's position in it and the feature. How the rows of a step are cut into passes does not matter.
#[derive(Clone)]
struct Masks {
    key: u64,
    /// The number of each sequence of the batch.
    sequences: Arc<[u32]>,
    /// What each row is of that is being worked on.
    rows: Arc<[Row]>,
    /// The next mask's; the passes that are made of one another share it.
    next_stream: Arc<AtomicU32>,
}

/// Streams of random numbers for the masks of one block.
const STREAMS: u32 = 1 << 12;

impl Forward {
    /// A pass without dropout.
    pub fn evaluation<H: Hooks + Clone + 'static>(hooks: &H) -> Forward {
        Forward { hooks: Arc::new(hooks.clone()), masks: None, recomputes: false, cache: None }
    }

    /// A pass with dropout over a batch of the rows `picks`: these and the key of the step decide every mask.
    pub fn training<H: Hooks + Clone + 'static>(hooks: &H, dropout_key: u64, picks: &[usize]) -> Forward {
        let sequences: Arc<[u32]> = picks.iter().map(|row| *row as u32).collect();
        let masks = Masks {
            key: dropout_key,
            rows: sequences.iter().map(|sequence| Row { sequence: *sequence, position: 0 }).collect(),
            sequences,
            next_stream: Arc::default(),
        };
        Forward { masks: Some(masks), ..Forward::evaluation(hooks) }
    }

    /// The same pass, working on the tokens of these sequences, which are the batch's. A pass begins with one row for each
    /// sequence.
    pub fn over(&self, ragged: &Ragged) -> Forward {
        self.on_rows(|masks| {
            let own = masks.sequences.iter().zip(ragged.lengths());
            own.flat_map(|(sequence, length)| {
                (0..length as u32).map(|position| Row { sequence: *sequence, position })
            })
            .collect()
        })
    }

    /// The same pass, working on some of the rows.
    pub fn at(&self, rows: &[u32]) -> Forward {
        self.on_rows(|masks| rows.iter().map(|row| masks.rows[*row as usize]).collect())
    }

    fn on_rows(&self, rows: impl FnOnce(&Masks) -> Arc<[Row]>) -> Forward {
        let masks = self.masks.as_ref().map(|masks| Masks { rows: rows(masks), ..masks.clone() });
        Forward { masks, ..self.clone() }
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

    /// The rows of the table of word embeddings for these tokens, with whatever the method makes of them.
    pub fn words(&self, table: &Weight, ids: &[u32]) -> Result<Tensor> {
        self.hooks.embed(self, ids, self.weight(table).select_rows(ids)?)
    }

    /// The table that makes a language model's logits.
    pub fn vocabulary(&self, weight: &Weight) -> Result<Tensor> {
        Ok(self.hooks.vocabulary(weight)?.unwrap_or_else(|| self.weight(weight)))
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
        let (inner, first) = self.of_block();
        let again = move |inputs: &[Tensor]| {
            if let Some(masks) = &inner.masks {
                masks.next_stream.store(first, Ordering::Relaxed);
            }
            run(&inner, inputs)
        };
        match self.recomputes {
            true => {
                Ok(recompute(inputs, move |inputs| again(inputs).map_err(tenfold_tensor::Error::within))?)
            }
            false => again(inputs),
        }
    }

    /// The same pass with streams of its own, and the first of them.
    fn of_block(&self) -> (Forward, u32) {
        let Some(masks) = &self.masks else { return (self.clone(), 0) };
        let first = masks.next_stream.load(Ordering::Relaxed).next_multiple_of(STREAMS);
        masks.next_stream.store(first + STREAMS, Ordering::Relaxed);
        let masks = Masks { next_stream: Arc::default(), ..masks.clone() };
        (Forward { masks: Some(masks), ..self.clone() }, first)
    }

    /// Dropout with this probability, in training, of rows as [`Forward::over`] and [`Forward::at`] say.
    pub fn dropout(&self, x: Tensor, probability: f32) -> Result<Tensor> {
        Ok(match self.mask(probability) {
            Some(mask) => x.dropout(mask)?,
            None => x,
        })
    }

    /// The next mask of the rows, in training. Every call draws from a stream of its own.
    pub fn mask(&self, probability: f32) -> Option<Dropout> {
        let masks = self.masks.as_ref().filter(|_| probability > 0.0)?;
        let stream = masks.next_stream.fetch_add(1, Ordering::Relaxed);
        Some(Dropout { probability, key: masks.key, stream, rows: masks.rows.clone() })
    }
}

fn lock(cache: &Mutex<Cache>) -> std::sync::MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
