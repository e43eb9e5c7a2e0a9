//! Where the tensors of a model come from: a checkpoint, or a seed.

use super::checkpoint::{Checkpoint, View};
use super::config::Config;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold_tensor::random;

/// Tensors by Hugging Face's full names.
pub enum Source {
    /// Files of a folder.
    Checkpoint(Arc<Checkpoint>),
    /// Numbers drawn as they are asked for.
    Random(Random),
}

/// Weights of a model that was never trained, each a function of a seed and its name.
pub struct Random {
    seed: u64,
    /// Deviation of matrices.
    deviation: f32,
    /// Whether the output has a matrix of its own.
    own_output: bool,
    /// The configuration, for errors.
    file: PathBuf,
}

/// A tensor of a source.
pub enum Found {
    /// Its bytes in a file.
    Stored(View),
    /// What its numbers will be.
    Drawn(Draw),
}

/// Numbers that are yet to be drawn.
pub struct Draw {
    key: u64,
    len: usize,
    start: Start,
}

#[derive(Clone, Copy)]
enum Start {
    Normal(f32),
    Constant(f32),
}

impl Random {
    /// Draws what a configuration's model needs: matrices normal with its `initializer_range`, norms one, biases zero.
    pub fn new(config: &Config, seed: u64) -> Result<Random> {
        let deviation = config.small("initializer_range", 0.02)?;
        let own_output = config.optional("tie_word_embeddings")? == Some(false);
        Ok(Random { seed, deviation, own_output, file: config.file().to_owned() })
    }

    fn draw(&self, name: &str, shape: &[usize]) -> Result<Draw> {
        let start = match shape.len() {
            1 if name.ends_with(".bias") => Start::Constant(0.0),
            1 => Start::Constant(1.0),
            _ => Start::Normal(self.deviation),
        };
        let len = shape.iter().try_fold(1usize, |len, extent| len.checked_mul(*extent));
        let fault = || Error::malformed(&self.file, name, "a tensor that can exist", format!("{shape:?}"));
        Ok(Draw { key: random::key(self.seed, name), len: len.ok_or_else(fault)?, start })
    }
}

impl Source {
    /// The tensor of that name, which must have that shape.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<Found> {
        match self {
            Source::Checkpoint(checkpoint) => Ok(Found::Stored(checkpoint.require(name, shape)?)),
            Source::Random(random) => Ok(Found::Drawn(random.draw(name, shape)?)),
        }
    }

    /// A tensor of any shape that may be absent; a drawn model has none that a task would start from.
    pub fn stored(&self, name: &str) -> Option<View> {
        match self {
            Source::Checkpoint(checkpoint) => checkpoint.get(name),
            Source::Random(_) => None,
        }
    }

    /// Refuses a tensor with a number that is infinite or none; no drawn one has any.
    pub fn check_finite(&self, name: &str) -> Result<()> {
        match self {
            Source::Checkpoint(checkpoint) => checkpoint.check_finite(name),
            Source::Random(_) => Ok(()),
        }
    }

    /// Whether there is a tensor of that name, which the output of a language model may do without.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Source::Checkpoint(checkpoint) => checkpoint.get(name).is_some(),
            Source::Random(random) => random.own_output,
        }
    }

    /// The file that answers for the tensors, for errors.
    pub fn file(&self) -> &Path {
        match self {
            Source::Checkpoint(checkpoint) => checkpoint.file(),
            Source::Random(random) => &random.file,
        }
    }
}

impl Found {
    /// The numbers as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Found::Stored(view) => view.to_f32(),
            Found::Drawn(Draw { key, len, start: Start::Normal(deviation) }) => {
                random::normal(*key, *len, *deviation)
            }
            Found::Drawn(Draw { len, start: Start::Constant(number), .. }) => vec![*number; *len],
        }
    }
}
