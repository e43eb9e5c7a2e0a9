//! What a model is made of: frozen weights, and the sites at which methods may step in.

use tenfold_tensor::Tensor;

/// What a linear map does in its block. Methods choose their default targets by role; each family
/// says what it calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Queries of an attention.
    Query,
    /// Keys of an attention.
    Key,
    /// Values of an attention.
    Value,
    /// Queries, keys and values of an attention in one map.
    QueryKeyValue,
    /// The output projection of an attention.
    AttentionOutput,
    /// The gate of a gated feed-forward block.
    FeedForwardGate,
    /// Into the wide inner layer of a feed-forward block.
    FeedForwardUp,
    /// Gate and inner layer in one map.
    FeedForwardGateUp,
    /// Out of the wide inner layer of a feed-forward block.
    FeedForwardDown,
    /// From the first token to the classification head.
    Pooler,
}

/// A place in a model, as Hugging Face names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Module path: "bert.encoder.layer.0.attention.self.query".
    pub path: String,
    /// What it does.
    pub role: Role,
    /// Width of its input.
    pub inputs: usize,
    /// Width of its output.
    pub outputs: usize,
    /// Whether its weight is stored \[inputs, outputs\], as GPT-2's Conv1D does, and not \[outputs, inputs\].
    pub fan_in_fan_out: bool,
}

/// A frozen tensor and its name in the checkpoint.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Name as Hugging Face's full model has it.
    pub name: String,
    /// The numbers.
    pub tensor: Tensor,
}

/// `y = x · weightᵀ + bias`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Where it stands.
    pub site: Site,
    /// \[outputs, inputs\], or the transpose if the site says so.
    pub weight: Weight,
    /// \[outputs\].
    pub bias: Option<Weight>,
}

/// A norm over the last extent.
#[derive(Debug, Clone)]
pub struct Norm {
    /// \[width\].
    pub weight: Weight,
    /// Which norm it is.
    pub kind: NormKind,
    /// Added to the variance, or to the mean square.
    pub eps: f32,
}

/// The kinds of norms.
#[derive(Debug, Clone)]
pub enum NormKind {
    /// Layer norm (Ba et al. 2016), with its bias \[width\].
    Layer(Weight),
    /// Root mean square norm (Zhang & Sennrich 2019); its weight counts from `offset`.
    Rms {
        /// 0, or 1 where zeros mean "as it is" (Gemma).
        offset: f32,
    },
}

impl Linear {
    /// Its weights.
    pub fn weights(&self) -> impl Iterator<Item = &Weight> {
        [Some(&self.weight), self.bias.as_ref()].into_iter().flatten()
    }
}

impl Norm {
    /// Its weights.
    pub fn weights(&self) -> impl Iterator<Item = &Weight> {
        let bias = match &self.kind {
            NormKind::Layer(bias) => Some(bias),
            NormKind::Rms { .. } => None,
        };
        [Some(&self.weight), bias].into_iter().flatten()
    }
}
