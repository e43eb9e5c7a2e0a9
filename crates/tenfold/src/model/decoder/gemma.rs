//! Gemma 1 to 3, text (Gemma Team 2024, arXiv:2403.08295, arXiv:2408.00118; 2025, arXiv:2503.19786): embeddings times
//! √hidden, norms whose weights count from 1, tanh-GELU; Gemma 2 adds norms behind attention and feed-forward, soft
//! caps and windows in every second layer; Gemma 3 has norms of queries and keys and two ropes instead of caps.

use super::llama::{DEFAULTS, Defaults, house, layer_types};
use super::plan::{FeedForward, LLAMA_NAMES, LayerPlan, Names, Plan, Projections};
use super::rope::Rope;
use crate::error::Result;
use crate::model::config::Config;
use tenfold_tensor::Activation;

const NAMES: Names = Names { feed_forward_norm: "pre_feedforward_layernorm", ..LLAMA_NAMES };

pub(super) fn gemma(config: &Config) -> Result<Plan> {
    first(config, 16)
}

/// Gemma 1, with so many key heads where nothing is said.
fn first(config: &Config, kv_heads: usize) -> Result<Plan> {
    let plan = house(config, Defaults { head_dim: Some(256), kv_heads: Some(kv_heads), ..DEFAULTS })?;
    let key = if config.optional::<String>("hidden_activation")?.is_some() {
        "hidden_activation"
    } else {
        "hidden_act"
    };
    let activation = match config.activation(key, "gelu_pytorch_tanh")? {
        // Published configurations say "gelu" and mean its tanh form.
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    Ok(Plan {
        family: "gemma",
        embedding_scale: (plan.hidden_size as f32).sqrt(),
        rms_offset: Some(1.0),
        feed_forward: FeedForward::Gated { bias: false },
        activation,
        ..plan
    })
}

pub(super) fn gemma2(config: &Config) -> Result<Plan> {
    let plan = first(config, 4)?;
    let layers = windows(config, &plan, |layer| layer.is_multiple_of(2))?;
    Ok(Plan {
        family: "gemma2",
        names: &NAMES,
        layers,
        output_norms: true,
        attention_softcap: cap(config, "attn_logit_softcapping", Some(50.0))?,
        final_softcap: cap(config, "final_logit_softcapping", Some(30.0))?,
        ..plan
    })
}

pub(super) fn gemma3(config: &Config) -> Result<Plan> {
    let plan = first(config, 4)?;
    let pattern = config.optional_extent("sliding_window_pattern")?.unwrap_or(6);
    let layers = windows(config, &plan, |layer| !(layer + 1).is_multiple_of(pattern))?;
    // Layers with a window turn by a rope of their own.
    let layers = layers
        .into_iter()
        .map(|layer| LayerPlan { rope: Some(usize::from(layer.window.is_some())), ..layer });
    let bidirectional = config.or("use_bidirectional_attention", false)?;
    config.refuse_unless(!bidirectional, "use_bidirectional_attention", "false")?;
    let global = Rope::read(config, Some("full_attention"), plan.head_dim, 1_000_000.0, 1.0)?;
    let local = match config.optional::<serde_json::Value>("rope_parameters")? {
        Some(_) => Rope::read(config, Some("sliding_attention"), plan.head_dim, 10_000.0, 1.0)?,
        None => Rope::plain(plan.head_dim, config.or("rope_local_base_freq", 10_000.0)?, plan.max_positions),
    };
    Ok(Plan {
        family: "gemma3_text",
        names: &NAMES,
        layers: layers.collect(),
        ropes: vec![global, local],
        head_norms: true,
        output_norms: true,
        // `attn_logit_softcapping` is in the configuration, but nothing reads it.
        final_softcap: cap(config, "final_logit_softcapping", None)?,
        projections: Projections::Separate { bias: config.or("attention_bias", false)? },
        ..plan
    })
}

/// Windows as `layer_types` or `otherwise` has them, and the factor of scores.
fn windows(config: &Config, plan: &Plan, otherwise: impl Fn(usize) -> bool) -> Result<Vec<LayerPlan>> {
    let scale = config.or("query_pre_attn_scalar", 256.0f32)?.sqrt().recip();
    let window = config.optional_extent("sliding_window")?.unwrap_or(4096);
    let sliding = layer_types(config, plan.layers.len(), otherwise)?;
    let layer = |sliding: bool| LayerPlan { window: sliding.then_some(window), rope: Some(0), scale };
    Ok(sliding.into_iter().map(layer).collect())
}

/// A soft cap; null switches it off.
fn cap(config: &Config, key: &str, default: Option<f32>) -> Result<Option<f32>> {
    let cap = if config.names(key) { config.optional(key)? } else { default };
    config.refuse_unless(
        cap.is_none_or(|cap| cap > 0.0 && cap.is_finite()),
        key,
        "a number above 0, or null",
    )?;
    Ok(cap)
}
