//! What T5's configuration decides.

use crate::error::Result;
use crate::model::config::Config;
use crate::model::head::{Head, HeadLayer, TaskType};
use crate::model::weights::Loader;
use tenfold_tensor::Activation;

/// What a model computes.
pub(super) struct Plan {
    pub hidden_size: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub intermediate_size: usize,
    pub vocab_size: usize,
    pub num_layers: usize,
    pub num_decoder_layers: usize,
    pub buckets: usize,
    pub max_distance: usize,
    pub gated: bool,
    pub activation: Activation,
    pub eps: f32,
    pub dropout: f32,
    pub classifier_dropout: f32,
    pub scales_outputs: bool,
    pub start_id: u32,
    pub end_id: u32,
    pub initializer_factor: f32,
}

impl Plan {
    /// Reads a configuration.
    pub fn read(config: &Config) -> Result<Plan> {
        let projection: String = config.or("feed_forward_proj", "relu".to_owned())?;
        let (gated, activation) = match projection.strip_prefix("gated-") {
            // Transformers means the tanh form by this name, and by no other.
            Some("gelu") => (true, Activation::GeluTanh),
            Some(name) => (true, config.named_activation("feed_forward_proj", name)?),
            None => (false, config.named_activation("feed_forward_proj", &projection)?),
        };
        check_parts(config, gated, activation)?;
        // Version 1.1 says that it is not tied, and does not scale; older configurations say nothing of either.
        let tied = config.or("tie_word_embeddings", true)?;
        let num_layers = config.extent("num_layers")?;
        Ok(Plan {
            hidden_size: config.extent("d_model")?,
            heads: config.extent("num_heads")?,
            head_dim: config.extent("d_kv")?,
            intermediate_size: config.extent("d_ff")?,
            vocab_size: config.extent("vocab_size")?,
            num_layers,
            num_decoder_layers: config.optional_extent("num_decoder_layers")?.unwrap_or(num_layers),
            buckets: config.optional_extent("relative_attention_num_buckets")?.unwrap_or(32),
            max_distance: config.optional_extent("relative_attention_max_distance")?.unwrap_or(128),
            gated,
            activation,
            eps: config.small("layer_norm_epsilon", 1e-6)?,
            dropout: config.probability("dropout_rate", 0.1)?,
            classifier_dropout: config.probability("classifier_dropout", 0.0)?,
            scales_outputs: config.or("scale_decoder_outputs", tied)?,
            start_id: match config.optional("decoder_start_token_id")? {
                Some(id) => id,
                None => config.or("pad_token_id", 0)?,
            },
            end_id: config.or("eos_token_id", 1)?,
            initializer_factor: config.small("initializer_factor", 1.0)?,
        })
    }
}

impl Plan {
    /// The head for a task.
    pub fn head(&self, task: TaskType, loader: &Loader) -> Head {
        let deviation = self.initializer_factor * (self.hidden_size as f32).sqrt().recip();
        let layer = |path: &str, outputs, dropout, activation| HeadLayer {
            path: path.into(),
            inputs: self.hidden_size,
            outputs,
            bias: true,
            dropout,
            activation,
            deviation,
            stored: loader.stored_head(path),
        };
        let dropout = self.classifier_dropout;
        let layers = match task {
            TaskType::SequenceClassification => vec![
                layer("classification_head.dense", Some(self.hidden_size), dropout, Some(Activation::Tanh)),
                layer("classification_head.out_proj", None, dropout, None),
            ],
            TaskType::TokenClassification => vec![layer("classifier", None, dropout, None)],
            TaskType::QuestionAnswering => vec![layer("qa_outputs", Some(2), 0.0, None)],
            TaskType::CausalLm | TaskType::Seq2SeqLm => Vec::new(),
        };
        Head { layers }
    }
}

/// The parts of `feed_forward_proj` may be stated beside it, where Transformers lets them win: they must say the same.
fn check_parts(config: &Config, gated: bool, activation: Activation) -> Result<()> {
    let expected = "the same as feed_forward_proj";
    if let Some(stated) = config.optional::<bool>("is_gated_act")? {
        config.refuse_unless(stated == gated, "is_gated_act", expected)?;
    }
    if let Some(name) = config.optional::<String>("dense_act_fn")? {
        let stated = config.named_activation("dense_act_fn", &name)?;
        config.refuse_unless(stated == activation, "dense_act_fn", expected)?;
    }
    Ok(())
}
