//! GPT-2 (Radford et al. 2019): learned positions, layer norms before each part, weights stored transposed (Conv1D).

use super::plan::{Dropouts, FeedForward, LLAMA_NAMES, LayerPlan, Names, Plan, Projections, token_dropout};
use crate::error::Result;
use crate::model::config::Config;

const NAMES: Names = Names {
    embeddings: "wte",
    positions: Some("wpe"),
    layers: "h",
    final_norm: "ln_f",
    input_norm: "ln_1",
    query_key_value: "attn.c_attn",
    attention_output: "attn.c_proj",
    feed_forward_norm: "ln_2",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    down_target: "mlp.c_proj",
    ..LLAMA_NAMES
};

pub(super) fn gpt2(config: &Config) -> Result<Plan> {
    let (hidden_size, heads) = (config.extent("n_embd")?, config.extent("n_head")?);
    let head_dim = config.head_dim("n_embd", "n_head")?;
    let scaled = config.or("scale_attn_weights", true)?;
    let by_layer = config.or("scale_attn_by_inverse_layer_idx", false)?;
    let layer = |number: usize| LayerPlan {
        window: None,
        rope: None,
        scale: if scaled { (head_dim as f32).sqrt().recip() } else { 1.0 }
            * if by_layer { (number as f32 + 1.0).recip() } else { 1.0 },
    };
    config.refuse_unless(!config.or("add_cross_attention", false)?, "add_cross_attention", "false")?;
    Ok(Plan {
        family: "gpt2",
        prefix: "transformer",
        names: &NAMES,
        hidden_size,
        heads,
        kv_heads: heads,
        head_dim,
        intermediate_size: config.optional_extent("n_inner")?.unwrap_or(4 * hidden_size),
        vocab_size: config.extent("vocab_size")?,
        max_positions: config.extent("n_positions")?,
        layers: (0..config.extent("n_layer")?).map(layer).collect(),
        ropes: Vec::new(),
        embedding_scale: 1.0,
        rms_offset: None,
        eps: config.small("layer_norm_epsilon", 1e-5)?,
        head_norms: false,
        output_norms: false,
        parallel: false,
        projections: Projections::Fused { bias: true, transposed: true },
        attention_output_bias: true,
        feed_forward: FeedForward::Plain { transposed: true },
        activation: config.activation("activation_function", "gelu_new")?,
        attention_softcap: None,
        final_softcap: None,
        dropout: Dropouts {
            embedding: config.probability("embd_pdrop", 0.1)?,
            attention: config.probability("attn_pdrop", 0.1)?,
            residual: config.probability("resid_pdrop", 0.1)?,
        },
        tied: config.or("tie_word_embeddings", true)?,
        output_bias: false,
        token_head: ("classifier", token_dropout(config)?),
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}
