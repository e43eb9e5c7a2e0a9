//! All in which decoders differ, as data.

use super::rope::Rope;
use crate::error::Result;
use crate::model::config::Config;
use crate::model::head::{Head, HeadLayer, TaskType};
use crate::model::layer::{Linear, Norm, Role};
use crate::model::weights::Loader;
use tenfold_tensor::Activation;

/// What a decoder computes, and what its parts are called.
pub(in crate::model) struct Plan {
    pub family: &'static str,
    /// First component of the weights' names: "model".
    pub prefix: &'static str,
    pub names: &'static Names,
    pub hidden_size: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub intermediate_size: usize,
    pub vocab_size: usize,
    pub max_positions: usize,
    pub layers: Vec<LayerPlan>,
    pub ropes: Vec<Rope>,
    /// Factor of word embeddings; virtual tokens are left as they are.
    pub embedding_scale: f32,
    /// `Some(offset)`: root mean square norms; else layer norms.
    pub rms_offset: Option<f32>,
    pub eps: f32,
    /// Norms of each head's queries and keys.
    pub head_norms: bool,
    /// Norms of what attention and feed-forward give, before it is added.
    pub output_norms: bool,
    /// Attention and feed-forward side by side, each with a norm of its own.
    pub parallel: bool,
    pub projections: Projections,
    pub attention_output_bias: bool,
    pub feed_forward: FeedForward,
    pub activation: Activation,
    /// c of c · tanh(score / c).
    pub attention_softcap: Option<f32>,
    pub final_softcap: Option<f32>,
    pub dropout: Dropouts,
    /// Whether logits come from the word embeddings where the checkpoint has no other table.
    pub tied: bool,
    /// Whether the table that logits come from has a bias.
    pub output_bias: bool,
    /// Module and dropout of the head for tokens.
    pub token_head: (&'static str, f32),
    pub initializer_range: f32,
}

/// A block's own attention.
#[derive(Debug, Clone)]
pub(in crate::model) struct LayerPlan {
    /// Tokens that a query sees, itself included; all if none.
    pub window: Option<usize>,
    /// Which of the plan's ropes turns queries and keys.
    pub rope: Option<usize>,
    /// Factor of the scores.
    pub scale: f32,
}

/// How queries, keys and values are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) enum Projections {
    /// By three maps.
    Separate { bias: bool },
    /// By one map whose outputs are all queries, all keys, all values.
    Fused { bias: bool, transposed: bool },
    /// By one map whose outputs are a head's query, key and value, then the next head's.
    ByHead { bias: bool },
}

/// How the inner layer of the feed-forward block is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) enum FeedForward {
    /// activation(gate x) · up x.
    Gated { bias: bool },
    /// The same, gate and up in one map.
    GatedFused,
    /// activation(up x).
    Plain { transposed: bool },
}

/// Probabilities of dropout.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::model) struct Dropouts {
    pub embedding: f32,
    pub attention: f32,
    pub residual: f32,
}

/// Names of modules, below the prefix, or below a layer.
pub(in crate::model) struct Names {
    pub embeddings: &'static str,
    pub positions: Option<&'static str>,
    pub layers: &'static str,
    pub final_norm: &'static str,
    /// Whole name: the output embeddings stand beside the prefix.
    pub output_embeddings: &'static str,
    pub input_norm: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub query_key_value: &'static str,
    pub attention_output: &'static str,
    pub query_norm: &'static str,
    pub key_norm: &'static str,
    pub attention_output_norm: &'static str,
    pub feed_forward_norm: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub gate_up: &'static str,
    pub down: &'static str,
    pub feed_forward_output_norm: &'static str,
    /// As methods target the map back from the inner layer.
    pub down_target: &'static str,
}

/// The names of Llama's house.
pub(super) const LLAMA_NAMES: Names = Names {
    embeddings: "embed_tokens",
    positions: None,
    layers: "layers",
    final_norm: "norm",
    output_embeddings: "lm_head",
    input_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    query_key_value: "self_attn.qkv_proj",
    attention_output: "self_attn.o_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    attention_output_norm: "post_attention_layernorm",
    feed_forward_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    gate_up: "mlp.gate_up_proj",
    down: "mlp.down_proj",
    feed_forward_output_norm: "post_feedforward_layernorm",
    down_target: "down_proj",
};

impl Plan {
    /// Refuses extents that do not fit together.
    pub fn check(&self, config: &Config) -> Result<()> {
        let found = format!("{} and {}", self.heads, self.kv_heads);
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(config.fault("num_key_value_heads", "a divisor of the number of heads", found));
        }
        let fused = matches!(self.projections, Projections::ByHead { .. });
        if fused && self.heads != self.kv_heads {
            return Err(config.fault("num_key_value_heads", "as many as heads", found));
        }
        if self.layers.iter().any(|layer| !(layer.scale.is_finite() && layer.scale > 0.0)) {
            return Err(config.fault("head_dim", "a factor of scores above 0", format!("{:?}", self.layers)));
        }
        Ok(())
    }

    /// A norm of the plan's kind.
    pub fn norm(&self, loader: &Loader, path: &str, width: usize) -> Result<Norm> {
        match self.rms_offset {
            Some(offset) => loader.rms_norm(path, width, self.eps, offset),
            None => loader.layer_norm(path, width, self.eps),
        }
    }

    /// A linear map of layer `number`.
    pub fn linear(
        &self,
        loader: &Loader,
        number: usize,
        module: &str,
        role: Role,
        extents: [usize; 2],
        (bias, transposed): (bool, bool),
    ) -> Result<Linear> {
        let path = self.path(number, module);
        if transposed { loader.conv1d(path, role, extents) } else { loader.linear(path, role, extents, bias) }
    }

    /// Path of a module of layer `number`.
    pub fn path(&self, number: usize, module: &str) -> String {
        format!("{}.{}.{number}.{module}", self.prefix, self.names.layers)
    }

    /// What the family calls the maps of a role.
    pub fn module_name(&self, role: Role) -> Option<&'static str> {
        let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
        let separate = matches!(self.projections, Projections::Separate { .. });
        let gated = matches!(self.feed_forward, FeedForward::Gated { .. });
        let fused = self.feed_forward == FeedForward::GatedFused;
        let names = self.names;
        match role {
            Role::Query => separate.then(|| last(names.query)),
            Role::Key => separate.then(|| last(names.key)),
            Role::Value => separate.then(|| last(names.value)),
            Role::QueryKeyValue => (!separate).then(|| last(names.query_key_value)),
            Role::AttentionOutput => Some(names.attention_output),
            Role::FeedForwardGate => gated.then(|| last(names.gate)),
            Role::FeedForwardUp => (!fused).then(|| last(names.up)),
            Role::FeedForwardGateUp => fused.then(|| last(names.gate_up)),
            Role::FeedForwardDown => Some(names.down_target),
            Role::Pooler => None,
        }
    }

    /// The head for a task.
    pub fn head(&self, task: TaskType, loader: &Loader) -> Head {
        let (module, outputs, bias, dropout) = match task {
            TaskType::SequenceClassification => ("score", None, false, 0.0),
            TaskType::TokenClassification => (self.token_head.0, None, true, self.token_head.1),
            TaskType::QuestionAnswering => ("qa_outputs", Some(2), true, 0.0),
            TaskType::CausalLm | TaskType::Seq2SeqLm => return Head::default(),
        };
        let layer = HeadLayer {
            path: module.into(),
            inputs: self.hidden_size,
            outputs,
            bias,
            dropout,
            activation: None,
            deviation: self.initializer_range,
            stored: loader.stored_head(module),
        };
        Head { layers: vec![layer] }
    }
}

/// Dropout before a token head: the first of these keys that is there (Transformers' generic classes).
pub(super) fn token_dropout(config: &Config) -> Result<f32> {
    for key in ["classifier_dropout", "hidden_dropout"] {
        if config.optional::<f32>(key)?.is_some() {
            return config.probability(key, 0.0);
        }
    }
    Ok(0.1)
}
