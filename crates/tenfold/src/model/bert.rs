//! BERT (Devlin et al. 2019): a bidirectional encoder with post-layer norms and a pooled first token.

use super::checkpoint::Checkpoint;
use super::layer::{Linear, Norm, Role, Weight};
use super::weights::Loader;
use super::{Batch, Extents, Forward, HeadWeight, Model};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use tenfold_tensor::{Activation, Attention, Backend, Dtype, Ragged, Tensor};

/// The keys of config.json that decide the result.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "a_tenth")]
    hidden_dropout_prob: f32,
    #[serde(default = "a_tenth")]
    attention_probs_dropout_prob: f32,
    classifier_dropout: Option<f32>,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "tiny")]
    layer_norm_eps: f32,
    #[serde(default = "a_fiftieth")]
    initializer_range: f32,
    position_embedding_type: Option<String>,
}

fn gelu() -> String {
    "gelu".into()
}
fn a_tenth() -> f32 {
    0.1
}
fn two() -> usize {
    2
}
fn tiny() -> f32 {
    1e-12
}
fn a_fiftieth() -> f32 {
    0.02
}

/// A BERT encoder with its pooler.
pub struct Bert {
    config: Config,
    activation: Activation,
    word_embeddings: Weight,
    position_embeddings: Weight,
    token_type_embeddings: Weight,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    pooler: Linear,
    stored_head: [Option<(usize, Vec<f32>)>; 2],
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
}

impl Bert {
    /// Reads the model in a folder.
    pub fn open(dir: &Path, backend: &Arc<dyn Backend>, dtype: Dtype) -> Result<Bert> {
        let file = dir.join("config.json");
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        let checkpoint = Checkpoint::open(dir)?;
        Bert::load(super::read_config(&file, &text)?, &file, &Loader::new(&checkpoint, backend, dtype))
    }

    pub(super) fn load(config: Config, file: &Path, loader: &Loader) -> Result<Bert> {
        let activation = config.check(file)?;
        let hidden = config.hidden_size;
        let embeddings =
            |name: &str, rows| loader.matrix(format!("bert.embeddings.{name}.weight"), rows, hidden);
        let layers =
            (0..config.num_hidden_layers).map(|i| Layer::load(&config, loader, i)).collect::<Result<_>>()?;
        Ok(Bert {
            activation,
            word_embeddings: embeddings("word_embeddings", config.vocab_size)?,
            position_embeddings: embeddings("position_embeddings", config.max_position_embeddings)?,
            token_type_embeddings: embeddings("token_type_embeddings", config.type_vocab_size)?,
            embedding_norm: loader.norm("bert.embeddings.LayerNorm".into(), hidden, config.layer_norm_eps)?,
            layers,
            pooler: loader.linear("bert.pooler.dense".into(), Role::Pooler, hidden, hidden)?,
            stored_head: stored_head(loader, hidden),
            config,
        })
    }

    /// Hidden states of the last layer \[tokens, hidden\], and where the sequences lie in them.
    pub fn hidden_states(&self, forward: &Forward, batch: &Batch) -> Result<(Tensor, Ragged)> {
        let (mut x, ragged) = self.embed(forward, batch)?;
        for (number, layer) in self.layers.iter().enumerate() {
            x = self.block(forward, number, layer, (&x, &ragged), (&x, &ragged))?;
        }
        Ok((x, ragged))
    }

    /// The last layer's hidden state of each sequence's first token \[sequences, hidden\], and no other: of the
    /// other tokens it takes only keys and values.
    fn first_tokens(&self, forward: &Forward, batch: &Batch) -> Result<Tensor> {
        let (mut x, ragged) = self.embed(forward, batch)?;
        let starts: Vec<u32> = ragged.starts().iter().map(|row| *row as u32).collect();
        let Some((last, before)) = self.layers.split_last() else { return Ok(x.select_rows(&starts)?) };
        for (number, layer) in before.iter().enumerate() {
            x = self.block(forward, number, layer, (&x, &ragged), (&x, &ragged))?;
        }
        let first = (&x.select_rows(&starts)?, &Ragged::from_lengths(starts.iter().map(|_| 1)));
        self.block(forward, before.len(), last, first, (&x, &ragged))
    }

    /// Pools first tokens: \[sequences, hidden\] -> \[sequences, hidden\].
    fn pool(&self, forward: &Forward, first_tokens: &Tensor) -> Result<Tensor> {
        Ok(forward.linear(&self.pooler, first_tokens)?.activation(Activation::Tanh)?)
    }

    fn embed(&self, forward: &Forward, batch: &Batch) -> Result<(Tensor, Ragged)> {
        let words = forward.weight(&self.word_embeddings).select_rows(&batch.ids)?;
        let (words, ragged) = forward.embed(words, &batch.ragged)?;
        let prompt = ragged.rows() - batch.ragged.rows();
        let prompt = prompt.checked_div(ragged.sequences()).unwrap_or(0);
        // Virtual tokens take the first positions and are of type 0, as PEFT has them.
        let before = forward.prefix_len();
        let positions: Vec<u32> =
            ragged.lengths().flat_map(|length| before as u32..(before + length) as u32).collect();
        let types: Vec<u32> = (batch.ragged.starts().iter().zip(batch.ragged.lengths()))
            .flat_map(|(start, length)| {
                std::iter::repeat_n(0, prompt).chain(batch.type_ids[*start..start + length].iter().copied())
            })
            .collect();
        let x = words
            .add(&forward.weight(&self.position_embeddings).select_rows(&positions)?)?
            .add(&forward.weight(&self.token_type_embeddings).select_rows(&types)?)?;
        let x = forward.norm(&self.embedding_norm, &x)?;
        Ok((forward.dropout(x, self.config.hidden_dropout_prob)?, ragged))
    }

    /// What a layer makes of the tokens `wanted`, which see `all` tokens.
    fn block(
        &self,
        forward: &Forward,
        number: usize,
        layer: &Layer,
        wanted: (&Tensor, &Ragged),
        all: (&Tensor, &Ragged),
    ) -> Result<Tensor> {
        let dropout = self.config.hidden_dropout_prob;
        let attended = self.attend(forward, number, layer, wanted, all)?;
        let attended = forward.dropout(forward.linear(&layer.attention_output, &attended)?, dropout)?;
        let x = forward.norm(&layer.attention_norm, &attended.add(wanted.0)?)?;
        let inner = forward.linear(&layer.intermediate, &x)?.activation(self.activation)?;
        let outer = forward.dropout(forward.linear(&layer.output, &inner)?, dropout)?;
        forward.norm(&layer.output_norm, &outer.add(&x)?)
    }

    fn attend(
        &self,
        forward: &Forward,
        number: usize,
        layer: &Layer,
        (wanted, queries): (&Tensor, &Ragged),
        (all, keys): (&Tensor, &Ragged),
    ) -> Result<Tensor> {
        let heads = self.config.num_attention_heads;
        let head_dim = self.config.hidden_size / heads;
        let query = forward.linear(&layer.query, wanted)?;
        let key = forward.linear(&layer.key, all)?;
        let value = forward.linear(&layer.value, all)?;
        let attention = Attention {
            heads,
            kv_heads: heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
            causal: false,
            window: None,
            softcap: None,
            dropout: forward.mask(self.config.attention_probs_dropout_prob),
        };
        let prefix = forward.prefix(number)?;
        let prefix = prefix.as_ref().map(|(key, value)| (key, value));
        Ok(attention.attend(&query, &key, &value, prefix, None, [queries, keys])?)
    }
}

impl Model for Bert {
    fn family(&self) -> &'static str {
        "bert"
    }

    fn extents(&self) -> Extents {
        Extents {
            hidden_size: self.config.hidden_size,
            num_layers: self.config.num_hidden_layers,
            num_attention_heads: self.config.num_attention_heads,
            kv_size: self.config.hidden_size,
            vocab_size: self.config.vocab_size,
            max_positions: self.config.max_position_embeddings,
            token_types: self.config.type_vocab_size,
        }
    }

    fn module_name(&self, role: Role) -> Option<&'static str> {
        Some(match role {
            Role::Query => "query",
            Role::Key => "key",
            Role::Value => "value",
            Role::AttentionOutput => "attention.output.dense",
            Role::FeedForwardUp => "intermediate.dense",
            // As a suffix this also meets attention.output.dense: what PEFT's own default does.
            Role::FeedForwardDown => "output.dense",
            Role::Pooler => "pooler.dense",
        })
    }

    fn linears(&self) -> Vec<&Linear> {
        self.layers.iter().flat_map(Layer::linears).chain([&self.pooler]).collect()
    }

    fn weights(&self) -> Vec<&Weight> {
        let embeddings = [&self.word_embeddings, &self.position_embeddings, &self.token_type_embeddings];
        let norms = self.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.output_norm]);
        let norms =
            [&self.embedding_norm].into_iter().chain(norms).flat_map(|norm| [&norm.weight, &norm.bias]);
        let linears =
            self.linears().into_iter().flat_map(|linear| [Some(&linear.weight), linear.bias.as_ref()]);
        let mut weights: Vec<&Weight> =
            embeddings.into_iter().chain(norms).chain(linears.flatten()).collect();
        weights.sort_by(|a, b| a.name.cmp(&b.name));
        weights
    }

    fn word_embeddings(&self) -> &Weight {
        &self.word_embeddings
    }

    fn head_name(&self) -> &'static str {
        "classifier"
    }

    fn head_weights(&self, labels: usize) -> Vec<HeadWeight> {
        let stored = |part: usize| match &self.stored_head[part] {
            Some((stored, numbers)) if *stored == labels => Some(numbers.clone()),
            _ => None,
        };
        vec![
            HeadWeight {
                name: "classifier.weight".into(),
                shape: vec![labels, self.config.hidden_size],
                stored: stored(0),
                deviation: self.config.initializer_range,
            },
            HeadWeight {
                name: "classifier.bias".into(),
                shape: vec![labels],
                stored: stored(1),
                deviation: 0.0,
            },
        ]
    }

    fn features(&self, forward: &Forward, batch: &Batch) -> Result<Tensor> {
        self.pool(forward, &self.first_tokens(forward, batch)?)
    }

    fn head(&self, forward: &Forward, features: &Tensor) -> Result<Tensor> {
        let dropout = self.config.classifier_dropout.unwrap_or(self.config.hidden_dropout_prob);
        let features = forward.dropout(features.clone(), dropout)?;
        let weight = forward.head_weight("classifier.weight")?;
        let bias = forward.head_weight("classifier.bias")?;
        Ok(features.linear(&weight, Some(&bias))?)
    }
}

impl Layer {
    fn load(config: &Config, loader: &Loader, number: usize) -> Result<Layer> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let path = |module: &str| format!("bert.encoder.layer.{number}.{module}");
        let linear = |module: &str, role, inputs, outputs| loader.linear(path(module), role, inputs, outputs);
        let norm = |module: &str| loader.norm(path(module), hidden, config.layer_norm_eps);
        Ok(Layer {
            query: linear("attention.self.query", Role::Query, hidden, hidden)?,
            key: linear("attention.self.key", Role::Key, hidden, hidden)?,
            value: linear("attention.self.value", Role::Value, hidden, hidden)?,
            attention_output: linear("attention.output.dense", Role::AttentionOutput, hidden, hidden)?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense", Role::FeedForwardUp, hidden, inner)?,
            output: linear("output.dense", Role::FeedForwardDown, inner, hidden)?,
            output_norm: norm("output.LayerNorm")?,
        })
    }

    fn linears(&self) -> [&Linear; 6] {
        [&self.query, &self.key, &self.value, &self.attention_output, &self.intermediate, &self.output]
    }
}

impl Config {
    /// Refuses what this file does not compute; returns the activation.
    fn check(&self, file: &Path) -> Result<Activation> {
        let fault =
            |key: &str, expected: &str, found: String| Err(Error::malformed(file, key, expected, found));
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fault(
                "num_attention_heads",
                "a divisor of hidden_size",
                self.num_attention_heads.to_string(),
            );
        }
        if self.hidden_size == 0 || self.num_hidden_layers > 10_000 || self.max_position_embeddings == 0 {
            return fault("hidden_size", "extents of a model", format!("{self:?}"));
        }
        if !(self.layer_norm_eps >= 0.0 && self.layer_norm_eps.is_finite()) {
            return fault("layer_norm_eps", "0 or a small number above", self.layer_norm_eps.to_string());
        }
        if let Some(kind) = self.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return fault("position_embedding_type", "\"absolute\"", format!("\"{kind}\""));
        }
        for (key, value) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fault(key, "a probability below 1", value.to_string());
            }
        }
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => fault("hidden_act", "gelu, gelu_new, relu or silu", other.into()),
        }
    }
}

/// Weight and bias of a head that came with the checkpoint, each with its number of labels.
fn stored_head(loader: &Loader, hidden: usize) -> [Option<(usize, Vec<f32>)>; 2] {
    ["classifier.weight", "classifier.bias"].map(|name| {
        let (shape, numbers) = loader.stored(name)?;
        let fits = match shape.as_slice() {
            [_, width] => *width == hidden,
            [_] => true,
            _ => false,
        };
        fits.then(|| (shape[0], numbers))
    })
}
