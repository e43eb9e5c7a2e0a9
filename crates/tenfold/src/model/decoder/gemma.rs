//! Gemma 1 to 3, text (Gemma Team 2024, arXiv:2403.08295, arXiv:2408.00118; 2025, arXiv:2503.19786): embeddings times
//! √hidden, norms whose weights count from 1, tanh-GELU; Gemma 2 adds norms behind attention and feed-forward, soft
//! caps and windows in every second layer; Gemma 3 has norms of queries and keys and two ropes instead of caps.

use super::llama::{DEFAULTS, Defaults, house, layer_types, window};
use super::plan::{FeedForward, LLAMA_NAMES, LayerPlan, Names, Plan, Projections};
use super::rope::{Kind, Rope};
use crate::error::Result;
use crate::model::config::Config;
use tenfold_tensor::Activation;

const NAMES: Names = Names { feed_forward_norm: "pre_feedforward_layernorm", ..LLAMA_NAMES };

pub(super) fn gemma(config: &Config) -> Result<Plan> {
    let plan = first(config, 16, DEFAULTS.ropes)?;
    // Published configurations say "gelu" and mean its tanh form.
    let meant = |activation| if activation == Activation::Gelu { Activation::GeluTanh } else { activation };
    let activation = meant(config.activation("hidden_act", TANH_GELU)?);
    if config.optional::<String>("hidden_activation")?.is_some() {
        let other = meant(config.activation("hidden_activation", TANH_GELU)?);
        config.refuse_unless(other == activation, "hidden_activation", "the same as hidden_act")?;
    }
    Ok(Plan { activation, ..plan })
}

const TANH_GELU: &str = "gelu_pytorch_tanh";

/// What all three have in common, with so many key heads where nothing is said. The activation is that of Gemma 2 and 3.
fn first(config: &Config, kv_heads: usize, ropes: Ropes) -> Result<Plan> {
    let defaults = Defaults { head_dim: Some(256), kv_heads: Some(kv_heads), tied: true, ropes, ..DEFAULTS };
    let plan = house(config, defaults)?;
    Ok(Plan {
        family: "gemma",
        embedding_scale: (plan.hidden_size as f32).sqrt(),
        rms_offset: Some(1.0),
        feed_forward: FeedForward::Gated { bias: false },
        activation: config.activation("hidden_activation", TANH_GELU)?,
        ..plan
    })
}

type Ropes = fn(&Config, usize, f64) -> Result<Vec<Rope>>;

/// Refuses `hidden_act` where it says other than `hidden_activation`, which alone is read.
fn check_activation(config: &Config, plan: &Plan) -> Result<()> {
    if config.optional::<String>("hidden_act")?.is_none() {
        return Ok(());
    }
    let other = config.activation("hidden_act", TANH_GELU)?;
    let same = other == plan.activation || other == Activation::Gelu;
    config.refuse_unless(same, "hidden_act", "the same as hidden_activation, or none, for nothing reads it")
}

pub(super) fn gemma2(config: &Config) -> Result<Plan> {
    let plan = first(config, 4, DEFAULTS.ropes)?;
    check_activation(config, &plan)?;
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
    // Layers with a window turn by a rope of their own.
    let plan = first(config, 4, |config, head_dim, _| {
        Ok(vec![
            Rope::of_kind(config, Kind::Full, head_dim)?,
            Rope::of_kind(config, Kind::Sliding, head_dim)?,
        ])
    })?;
    check_activation(config, &plan)?;
    let pattern = config.optional_extent("sliding_window_pattern")?.unwrap_or(6);
    let otherwise = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    let sliding = layer_types(config, plan.layers.len(), otherwise)?;
    let layers = windows(config, &plan, otherwise)?;
    let layers = sliding.into_iter().zip(layers);
    let layers = layers.map(|(sliding, layer)| LayerPlan { rope: Some(usize::from(sliding)), ..layer });
    Ok(Plan {
        family: "gemma3_text",
        names: &NAMES,
        layers: layers.collect(),
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
    let window = window(config, Some(4096))?;
    let sliding = layer_types(config, plan.layers.len(), otherwise)?;
    let layer = |sliding: bool| LayerPlan { window: window.filter(|_| sliding), rope: Some(0), scale };
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
