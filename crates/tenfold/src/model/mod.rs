//! Base models: families of architectures, each from a Hugging Face folder, none aware of any method.

pub mod bert;
pub mod catalog;
pub mod checkpoint;
pub mod forward;
pub mod layer;
pub mod store;
pub mod tokenizer;
mod weights;

pub use forward::Forward;
pub use layer::{Linear, Norm, Role, Site, Weight};

use crate::error::{Error, Result};
use checkpoint::Checkpoint;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use tenfold_tensor::{Backend, Dtype, Ragged, Tensor};
use weights::Loader;

/// A batch without padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Token ids of all sequences, one after the other: \[tokens\].
    pub ids: Vec<u32>,
    /// Segment of each token (0 or 1): \[tokens\].
    pub type_ids: Vec<u32>,
    /// Where the sequences lie.
    pub ragged: Ragged,
    /// Label of each sequence: \[sequences\].
    pub labels: Vec<u32>,
}

/// A numbers-to-be of a task's head.
#[derive(Debug, Clone)]
pub struct HeadWeight {
    /// Name as Hugging Face's model has it: "classifier.weight".
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Its numbers, if the checkpoint holds a head for as many labels.
    pub stored: Option<Vec<f32>>,
    /// Else: deviation of the normal distribution it is drawn from (0: zeros).
    pub deviation: f32,
}

/// A base model with a classification head to be trained. Its weights are frozen and shared by all
/// trials; what a trial changes comes in through [`Forward`].
pub trait Model: Send + Sync {
    /// Hugging Face's `model_type`: "bert".
    fn family(&self) -> &'static str;
    /// Extents that methods need.
    fn extents(&self) -> Extents;
    /// What the family calls the modules of a role; `None` if it has none.
    fn module_name(&self, role: Role) -> Option<&'static str>;
    /// All linear maps that methods may step in at, in the order of the forward pass.
    fn linears(&self) -> Vec<&Linear>;
    /// All frozen weights, in the order of the checkpoint's names.
    fn weights(&self) -> Vec<&Weight>;
    /// The table of word embeddings: \[vocab_size, hidden\].
    fn word_embeddings(&self) -> &Weight;
    /// Name of the head's module: "classifier".
    fn head_name(&self) -> &'static str;
    /// The head's weights, for a task with so many labels.
    fn head_weights(&self, labels: usize) -> Vec<HeadWeight>;
    /// What the head sees: -> \[sequences, hidden\].
    fn features(&self, forward: &Forward, batch: &Batch) -> Result<Tensor>;
    /// \[sequences, hidden\] -> \[sequences, labels\].
    fn head(&self, forward: &Forward, features: &Tensor) -> Result<Tensor>;
}

/// Extents of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Width of all key heads together.
    pub kv_size: usize,
    /// Rows of the word embeddings.
    pub vocab_size: usize,
    /// Longest sequence, virtual tokens included.
    pub max_positions: usize,
    /// Kinds of segments that tokens can belong to.
    pub token_types: usize,
}

/// Reads the model in a Hugging Face folder; matrices are kept in `dtype`.
pub fn load(dir: &Path, backend: &Arc<dyn Backend>, dtype: Dtype) -> Result<Arc<dyn Model>> {
    /// The oldest checkpoints, all-MiniLM-L6-v2 among them, name no type but an architecture.
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
        #[serde(default)]
        architectures: Vec<String>,
    }
    let file = dir.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
    let kind: Kind = read_config(&file, &text)?;
    let checkpoint = Checkpoint::open(dir)?;
    let loader = Loader::new(&checkpoint, backend, dtype);
    let architecture = kind.architectures.first().map(String::as_str);
    match (kind.model_type.as_deref(), architecture) {
        (Some("bert"), _) | (None, Some("BertModel" | "BertForSequenceClassification")) => {
            Ok(Arc::new(bert::Bert::load(read_config(&file, &text)?, &file, &loader)?))
        }
        (model_type, _) => Err(Error::malformed(
            &file,
            "model_type",
            "a family that this version knows: \"bert\"",
            model_type.map_or("nothing".into(), |name| format!("\"{name}\"")),
        )),
    }
}

fn read_config<T: for<'de> Deserialize<'de>>(file: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::malformed(file, place, "a model's configuration", error.to_string())
    })
}
