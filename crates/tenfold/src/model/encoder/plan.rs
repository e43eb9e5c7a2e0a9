//! All in which the encoders differ, as data.

use crate::error::Result;
use crate::model::config::Config;
use crate::model::head::{Head, HeadLayer, TaskType};
use crate::model::weights::Loader;
use tenfold_tensor::Activation;

/// All that decides what an encoder computes, and what its parts are called.
pub(in crate::model) struct Plan {
    pub family: &'static str,
    pub hidden_size: usize,
    pub heads: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub vocab_size: usize,
    /// Rows of the table of positions, and the row of a sequence's first token.
    pub positions: usize,
    pub first_position: usize,
    pub token_types: usize,
    pub activation: Activation,
    pub eps: f32,
    pub dropout: f32,
    /// Behind attention's output.
    pub output_dropout: f32,
    pub attention_dropout: f32,
    /// Buckets of a relative-position bias shared by all layers.
    pub relative: Option<usize>,
    /// Path of the list of layers, below the family's prefix.
    pub layers: &'static str,
    pub names: Names,
    pub pooler: bool,
    pub head: HeadPlan,
    pub initializer_range: f32,
}

/// Names of the modules of a layer.
pub(in crate::model) struct Names {
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub output_norm: &'static str,
    /// As methods target the last map: as a suffix it may meet others too, which is what PEFT's defaults do.
    pub down_target: &'static str,
}

/// The head for the classification of sequences: an inner layer, if there is one, and dropouts.
pub(in crate::model) struct HeadPlan {
    pub inner: Option<(&'static str, Activation, f32)>,
    pub outer: &'static str,
    pub dropout: f32,
    /// For tokens and for answers.
    pub token_dropout: f32,
    pub answer_dropout: f32,
}

const BERT_NAMES: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
    down_target: "output.dense",
};

pub(super) fn bert(config: &Config) -> Result<Plan> {
    let position = config.optional::<String>("position_embedding_type")?;
    let absolute = position.is_none_or(|kind| kind == "absolute");
    config.refuse_unless(absolute, "position_embedding_type", "\"absolute\"")?;
    let dropout = config.probability("hidden_dropout_prob", 0.1)?;
    let classifier = config.optional("classifier_dropout")?.unwrap_or(dropout);
    config.refuse_unless((0.0..1.0).contains(&classifier), "classifier_dropout", "a probability below 1")?;
    Ok(Plan {
        family: "bert",
        hidden_size: config.extent("hidden_size")?,
        heads: config.extent("num_attention_heads")?,
        intermediate_size: config.extent("intermediate_size")?,
        num_layers: config.extent("num_hidden_layers")?,
        vocab_size: config.extent("vocab_size")?,
        positions: config.extent("max_position_embeddings")?,
        first_position: 0,
        token_types: config.optional_extent("type_vocab_size")?.unwrap_or(2),
        activation: config.activation("hidden_act", "gelu")?,
        eps: config.small("layer_norm_eps", 1e-12)?,
        dropout,
        output_dropout: dropout,
        attention_dropout: config.probability("attention_probs_dropout_prob", 0.1)?,
        relative: None,
        layers: "encoder.layer",
        names: BERT_NAMES,
        pooler: true,
        head: HeadPlan {
            inner: None,
            outer: "classifier",
            dropout: classifier,
            token_dropout: classifier,
            answer_dropout: 0.0,
        },
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}

pub(super) fn roberta(config: &Config) -> Result<Plan> {
    let plan = bert(config)?;
    let classifier = plan.head.dropout;
    Ok(Plan {
        family: "roberta",
        // Rows up to the padding's own are never used: positions are counted from behind it (fairseq's custom).
        first_position: config.or("pad_token_id", 1usize)? + 1,
        eps: config.small("layer_norm_eps", 1e-12)?,
        pooler: false,
        head: HeadPlan {
            inner: Some(("classifier.dense", Activation::Tanh, classifier)),
            outer: "classifier.out_proj",
            ..plan.head
        },
        ..plan
    })
}

pub(super) fn distilbert(config: &Config) -> Result<Plan> {
    let dropout = config.probability("dropout", 0.1)?;
    Ok(Plan {
        family: "distilbert",
        hidden_size: config.extent("dim")?,
        heads: config.extent("n_heads")?,
        intermediate_size: config.extent("hidden_dim")?,
        num_layers: config.extent("n_layers")?,
        vocab_size: config.extent("vocab_size")?,
        positions: config.extent("max_position_embeddings")?,
        first_position: 0,
        token_types: 0,
        activation: config.activation("activation", "gelu")?,
        eps: 1e-12,
        dropout,
        output_dropout: 0.0,
        attention_dropout: config.probability("attention_dropout", 0.1)?,
        relative: None,
        layers: "transformer.layer",
        names: Names {
            query: "attention.q_lin",
            key: "attention.k_lin",
            value: "attention.v_lin",
            attention_output: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            output_norm: "output_layer_norm",
            down_target: "lin2",
        },
        pooler: false,
        head: HeadPlan {
            inner: Some(("pre_classifier", Activation::Relu, 0.0)),
            outer: "classifier",
            dropout: config.probability("seq_classif_dropout", 0.2)?,
            token_dropout: dropout,
            answer_dropout: config.probability("qa_dropout", 0.1)?,
        },
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}

pub(super) fn mpnet(config: &Config) -> Result<Plan> {
    let plan = bert(config)?;
    let dropout = plan.dropout;
    Ok(Plan {
        family: "mpnet",
        // Behind row 1, whatever the configuration calls padding.
        first_position: 2,
        token_types: 0,
        relative: Some(config.optional_extent("relative_attention_num_buckets")?.unwrap_or(32)),
        names: Names {
            query: "attention.attn.q",
            key: "attention.attn.k",
            value: "attention.attn.v",
            attention_output: "attention.attn.o",
            attention_norm: "attention.LayerNorm",
            ..BERT_NAMES
        },
        pooler: false,
        head: HeadPlan {
            inner: Some(("classifier.dense", Activation::Tanh, dropout)),
            outer: "classifier.out_proj",
            dropout,
            token_dropout: dropout,
            answer_dropout: 0.0,
        },
        ..plan
    })
}

impl Plan {
    /// The head for a task.
    pub fn head(&self, task: TaskType, loader: &Loader) -> Head {
        let layer = |path: &str, outputs, dropout, activation| HeadLayer {
            path: path.into(),
            inputs: self.hidden_size,
            outputs,
            bias: true,
            dropout,
            activation,
            deviation: self.initializer_range,
            stored: loader.stored_head(path),
        };
        let head = &self.head;
        let layers = match task {
            TaskType::TokenClassification => vec![layer("classifier", None, head.token_dropout, None)],
            TaskType::QuestionAnswering => vec![layer("qa_outputs", Some(2), head.answer_dropout, None)],
            _ => {
                let inner = head.inner.map(|(path, activation, dropout)| {
                    layer(path, Some(self.hidden_size), dropout, Some(activation))
                });
                inner.into_iter().chain([layer(head.outer, None, head.dropout, None)]).collect()
            }
        };
        Head { layers }
    }
}
