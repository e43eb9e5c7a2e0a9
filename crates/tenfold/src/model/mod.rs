//! Base models: families of architectures, each from a Hugging Face folder, none aware of any method.

mod beside;
mod cache;
pub mod catalog;
pub mod chat_template;
pub mod checkpoint;
mod config;
mod decoder;
mod encoder;
mod files;
pub mod forward;
mod ggml;
pub mod gguf;
pub mod head;
pub mod hooks;
pub mod layer;
mod loss;
pub(crate) mod mapped;
pub mod quantize;
mod relative;
pub(crate) mod save;
mod source;
pub mod store;
mod t5;
pub mod tokenizer;
mod unused;
mod weights;
pub mod wording;

pub use beside::{copy_generation, copy_tokenizer};
pub use cache::Cache;
pub use files::{Loaded, ModelFiles};
pub use forward::Forward;
pub use head::{Head, HeadWeight, TaskType, Vocabulary};
pub use hooks::Hooks;
pub use layer::{Linear, Norm, NormKind, Role, Site, Weight};
pub use loss::{Foretold, Loss, class_loss, foretell, log_probabilities, logits, loss, weighted_loss};
pub use mapped::unchanged;

use crate::error::{Error, Result};
use config::Config;
use source::{Random, Source};
use std::path::Path;
use std::sync::Arc;
use tenfold_tensor::{Backend, Dtype, Ragged, Tensor};
use weights::Loader;

/// The file that says what a model is made of.
const CONFIG: &str = "config.json";

/// The label of places that do not count.
pub const IGNORE: u32 = u32::MAX;

/// What is to be said of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Labels, token ids or places, [`IGNORE`] where nothing is to be said.
    Ids(Vec<u32>),
    /// A number for each sequence: what a head with one output foretells.
    Numbers(Vec<f32>),
}

impl Labels {
    /// Of a batch that nothing is to be said of.
    pub fn none() -> Labels {
        Labels::Ids(Vec::new())
    }

    /// The labels, of a batch whose answers are no numbers.
    pub fn ids(&self) -> Result<&[u32]> {
        match self {
            Labels::Ids(ids) => Ok(ids),
            Labels::Numbers(_) => Err(Error::malformed("batch", "labels", "labels or token ids", "numbers")),
        }
    }
}

impl From<Vec<u32>> for Labels {
    fn from(ids: Vec<u32>) -> Labels {
        Labels::Ids(ids)
    }
}

impl FromIterator<u32> for Labels {
    fn from_iter<T: IntoIterator<Item = u32>>(ids: T) -> Labels {
        Labels::Ids(ids.into_iter().collect())
    }
}

/// A batch without padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Token ids of all sequences, one after the other: \[tokens\].
    pub ids: Vec<u32>,
    /// Segment of each token (0 or 1): \[tokens\].
    pub type_ids: Vec<u32>,
    /// Where the sequences lie.
    pub ragged: Ragged,
    /// What is to be said. One for each sequence (SEQ_CLS), for each token (TOKEN_CLS;
    /// CAUSAL_LM: the token after it), first and last token of the answer for each sequence (QUESTION_ANS), or one
    /// for each token of `decoder` (SEQ_2_SEQ_LM).
    pub labels: Labels,
    /// What the decoder of an encoder-decoder reads.
    pub decoder: Option<(Vec<u32>, Ragged)>,
}

/// Whose hidden states are asked for: the others' last layer need not be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// What a sequence is classified by: \[sequences, hidden\].
    Pooled,
    /// Every token's, virtual ones left out: \[tokens, hidden\].
    All,
    /// Those of so many last tokens of each sequence: \[their sum, hidden\].
    Last(Vec<usize>),
}

/// A base model ready for one type of task. Its weights are frozen and shared by all trials; what a trial changes
/// comes in through [`Forward`].
pub trait Model: Send + Sync {
    /// Hugging Face's `model_type`: "bert".
    fn family(&self) -> &'static str;
    /// What it is asked for.
    fn task(&self) -> TaskType;
    /// Extents that methods need.
    fn extents(&self) -> Extents;
    /// What the family calls the modules of a role; `None` if it has none.
    fn module_name(&self, role: Role) -> Option<&'static str>;
    /// All linear maps that methods may step in at, in the order of the forward pass.
    fn linears(&self) -> Vec<&Linear>;
    /// All frozen weights, in the order of the checkpoint's names.
    fn weights(&self) -> Vec<&Weight>;
    /// The module paths of all norms, in the order of the checkpoint's names: no other module has a weight that is a vector.
    fn norms(&self) -> Vec<&str> {
        let vectors = self.weights().into_iter().filter(|weight| weight.tensor.shape().len() == 1);
        vectors.filter_map(|weight| weight.name.strip_suffix(".weight")).collect()
    }
    /// The table of word embeddings: \[vocab_size, hidden\].
    fn word_embeddings(&self) -> &Weight;
    /// The head that is trained for the task; it has no layers where the answers are words.
    fn head(&self) -> &Head;
    /// Where the logits of a language model come from.
    fn vocabulary(&self) -> Option<Vocabulary<'_>>;
    /// The paths of modules that share the table of word embeddings: the output embeddings, and those of other stacks.
    fn tied_embeddings(&self) -> Vec<&'static str> {
        let own = &self.word_embeddings().name;
        let is_tied = self.vocabulary().is_some_and(|vocabulary| vocabulary.weight.name == *own);
        if is_tied { vec!["lm_head"] } else { Vec::new() }
    }
    /// The token that an encoder-decoder's answers begin with; `None` where answers go on from the sequence itself.
    fn decoder_start(&self) -> Option<u32> {
        None
    }
    /// Hidden states behind the last norm.
    fn hidden_states(&self, forward: &Forward, batch: &Batch, wanted: &Wanted) -> Result<Tensor>;
}

/// Extents of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Blocks; of an encoder-decoder, those of its decoder.
    pub num_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of all key heads together.
    pub kv_size: usize,
    /// Rows of the word embeddings.
    pub vocab_size: usize,
    /// Longest sequence, virtual tokens included.
    pub max_positions: usize,
    /// Kinds of segments that tokens can belong to; any where the model does not look at them.
    pub token_types: usize,
    /// Stacks that virtual tokens go into: 2 for an encoder-decoder (PEFT's `num_transformer_submodules`).
    pub num_submodules: usize,
}

/// A family of architectures.
struct Family {
    /// Hugging Face's `model_type`.
    name: &'static str,
    /// What it is used for where nothing else is said.
    task: TaskType,
    load: fn(&Config, TaskType, &Loader) -> Result<Arc<dyn Model>>,
}

/// Every family.
const FAMILIES: &[&[Family]] = &[encoder::FAMILIES, decoder::FAMILIES, t5::FAMILIES];

/// The model of a folder or a GGUF file, for who needs nothing else of its files: [`ModelFiles::load`].
pub fn load(
    dir: &Path,
    task: TaskType,
    backend: &Arc<dyn Backend>,
    dtype: impl Into<Option<Dtype>>,
) -> Result<Arc<dyn Model>> {
    Ok(ModelFiles::open(dir)?.load(task, backend, dtype)?.model)
}

/// A model that was never trained, from its configuration alone: matrices are normal with `initializer_range`, norms one,
/// biases zero, each a function of the seed and its name. They are drawn one by one straight into `dtype`.
pub fn load_random(
    config: &Path,
    task: TaskType,
    seed: u64,
    backend: &Arc<dyn Backend>,
    dtype: impl Into<Option<Dtype>>,
) -> Result<Arc<dyn Model>> {
    let config = Config::read(config)?;
    let family = family(&config)?;
    let source = Source::Random(Random::new(&config, seed)?);
    (family.load)(&config, task, &Loader::new(&source, backend, dtype.into()))
}

/// What the model of a folder, a GGUF file or a configuration is used for where nothing else is said.
pub fn usual_task(model: &Path) -> Result<TaskType> {
    match model.is_dir() || gguf::is_gguf(model) {
        true => ModelFiles::open(model)?.usual_task(),
        false => Ok(family(&Config::read(model)?)?.task),
    }
}

fn family(config: &Config) -> Result<&'static Family> {
    let wanted = config.model_type()?;
    let known = || FAMILIES.iter().copied().flatten();
    let family = known().find(|family| family.name == wanted).ok_or_else(|| {
        let names: Vec<&str> = known().map(|family| family.name).collect();
        config.fault("model_type", format!("one of {}", names.join(", ")), &wanted)
    })?;
    config.check(family.name)?;
    Ok(family)
}

/// The rows of so many last tokens of each sequence, and where these lie among themselves.
fn last_tokens(ragged: &Ragged, reach: &[usize]) -> (Vec<u32>, Ragged) {
    let ends = ragged.starts().iter().zip(ragged.lengths()).map(|(start, length)| start + length);
    let rows = ends.zip(reach).flat_map(|(end, reach)| (end - reach) as u32..end as u32).collect();
    (rows, Ragged::from_lengths(reach.iter().copied()))
}

/// The rows of a batch's own tokens among those with virtual tokens before each sequence.
fn own_tokens(x: &Tensor, batch: &Batch, ragged: &Ragged) -> Result<Tensor> {
    if ragged.rows() == batch.ragged.rows() {
        return Ok(x.clone());
    }
    let own: Vec<usize> = batch.ragged.lengths().collect();
    Ok(x.select_rows(&last_tokens(ragged, &own).0)?)
}
