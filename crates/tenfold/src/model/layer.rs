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
    /// The output projection of an attention.
    AttentionOutput,
    /// Into the wide inner layer of a feed-forward block.
    FeedForwardUp,
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
    /// \[outputs, inputs\].
    pub weight: Weight,
    /// \[outputs\].
    pub bias: Option<Weight>,
}

/// Layer norm over the last extent.
#[derive(Debug, Clone)]
pub struct Norm {
    /// Module path.
    pub path: String,
    /// \[width\].
    pub weight: Weight,
    /// \[width\].
    pub bias: Weight,
    /// Added to the variance.
    pub eps: f32,
}
