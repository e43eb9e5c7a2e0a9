//! GPT-NeoX and Pythia (Black et al. 2022, arXiv:2204.06745): attention and feed-forward beside each other, rotary
//! positions on a part of each head, one map whose outputs go head by head.

use super::plan::{Dropouts, FeedForward, LLAMA_NAMES, LayerPlan, Names, Plan, Projections};
use super::rope::Rope;
use crate::error::Result;
use crate::model::config::Config;

const NAMES: Names = Names {
    embeddings: "embed_in",
    layers: "layers",
    final_norm: "final_layer_norm",
    query_key_value: "attention.query_key_value",
    attention_output: "attention.dense",
    up: "mlp.dense_h_to_4h",
    down: "mlp.dense_4h_to_h",
    down_target: "dense_4h_to_h",
    ..LLAMA_NAMES
};

pub(super) fn gpt_neox(config: &Config) -> Result<Plan> {
    let (hidden_size, heads) = (config.extent("hidden_size")?, config.extent("num_attention_heads")?);
    let head_dim = config.head_dim("hidden_size", "num_attention_heads")?;
    let layer = LayerPlan { window: None, rope: Some(0), scale: (head_dim as f32).sqrt().recip() };
    let bias = config.or("attention_bias", true)?;
    let hidden_dropout = config.probability("hidden_dropout", 0.0)?;
    // Transformers passes over `rope_theta` and `partial_rotary_factor` beside the family's own keys.
    let share = same(config, "rotary_pct", 0.25, "partial_rotary_factor")?;
    let theta = same(config, "rotary_emb_base", 10_000.0, "rope_theta")?;
    Ok(Plan {
        family: "gpt_neox",
        prefix: "gpt_neox",
        names: &NAMES,
        hidden_size,
        heads,
        kv_heads: heads,
        head_dim,
        intermediate_size: config.extent("intermediate_size")?,
        vocab_size: config.extent("vocab_size")?,
        max_positions: config.extent("max_position_embeddings")?,
        layers: vec![layer; config.extent("num_hidden_layers")?],
        ropes: vec![Rope::read(config, head_dim, theta, Some(share))?],
        embedding_scale: 1.0,
        rms_offset: None,
        eps: config.small("layer_norm_eps", 1e-5)?,
        head_norms: false,
        output_norms: false,
        parallel: config.or("use_parallel_residual", true)?,
        projections: Projections::ByHead { bias },
        attention_output_bias: bias,
        feed_forward: FeedForward::Plain { transposed: false },
        activation: config.activation("hidden_act", "gelu")?,
        attention_softcap: None,
        final_softcap: None,
        dropout: Dropouts {
            embedding: hidden_dropout,
            attention: config.probability("attention_dropout", 0.0)?,
            residual: hidden_dropout,
        },
        tied: config.or("tie_word_embeddings", false)?,
        output_bias: false,
        token_head: ("classifier", config.probability("classifier_dropout", 0.1)?),
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}

/// The number under the family's own key, which another name of it may not contradict.
fn same(config: &Config, key: &str, default: f64, other: &str) -> Result<f64> {
    let own = config.or(key, default)?;
    let same = config.optional::<f64>(other)?.is_none_or(|number| number == own);
    config.refuse_unless(same, other, &format!("{own}, as {key} is"))?;
    Ok(own)
}
