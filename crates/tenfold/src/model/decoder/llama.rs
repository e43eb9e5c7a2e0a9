//! Llama 1 to 3 and SmolLM2 (Touvron et al. 2023, arXiv:2307.09288), and what differs from them by a little: Mistral
//! (Jiang et al. 2023), Qwen 2 and 2.5 (biases on queries, keys and values), Qwen 3 (norms of each head's queries and
//! keys), SmolLM 3 (some layers without rotary positions).

use super::plan::{Dropouts, FeedForward, LLAMA_NAMES, LayerPlan, Plan, Projections, token_dropout};
use super::rope::Rope;
use crate::error::Result;
use crate::model::config::Config;

/// What a family takes where its configuration is silent.
pub(super) struct Defaults {
    /// Width of a head; none: that of all heads by their number.
    pub head_dim: Option<usize>,
    /// Key heads; none: as many as heads.
    pub kv_heads: Option<usize>,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Whether logits come from the word embeddings.
    pub tied: bool,
    /// Its ropes, of a head's width and the base.
    pub ropes: fn(&Config, usize, f64) -> Result<Vec<Rope>>,
}

/// Llama's own.
pub(super) const DEFAULTS: Defaults = Defaults {
    head_dim: None,
    kv_heads: None,
    theta: 10_000.0,
    tied: false,
    ropes: |config, head_dim, theta| Ok(vec![Rope::read(config, head_dim, theta, None)?]),
};

pub(super) fn llama(config: &Config) -> Result<Plan> {
    house(config, DEFAULTS)
}

/// A plan of Llama's house.
pub(super) fn house(config: &Config, defaults: Defaults) -> Result<Plan> {
    let (hidden_size, heads) = (config.extent("hidden_size")?, config.extent("num_attention_heads")?);
    let head_dim = match config.optional_extent("head_dim")?.or(defaults.head_dim) {
        Some(head_dim) => head_dim,
        None => config.head_dim("hidden_size", "num_attention_heads")?,
    };
    // Null means as many as heads, nothing the family's default.
    let kv_heads = match config.optional_extent("num_key_value_heads")? {
        None if !config.names("num_key_value_heads") => defaults.kv_heads,
        stated => stated,
    };
    let layers = config.extent("num_hidden_layers")?;
    let layer = LayerPlan { window: None, rope: Some(0), scale: (head_dim as f32).sqrt().recip() };
    let attention_bias = config.or("attention_bias", false)?;
    Ok(Plan {
        family: "llama",
        prefix: "model",
        names: &LLAMA_NAMES,
        hidden_size,
        heads,
        kv_heads: kv_heads.unwrap_or(heads),
        head_dim,
        intermediate_size: config.extent("intermediate_size")?,
        vocab_size: config.extent("vocab_size")?,
        max_positions: config.extent("max_position_embeddings")?,
        layers: vec![layer; layers],
        ropes: (defaults.ropes)(config, head_dim, defaults.theta)?,
        embedding_scale: 1.0,
        rms_offset: Some(0.0),
        eps: config.small("rms_norm_eps", 1e-6)?,
        head_norms: false,
        output_norms: false,
        parallel: false,
        projections: Projections::Separate { bias: attention_bias },
        attention_output_bias: attention_bias,
        feed_forward: FeedForward::Gated { bias: config.or("mlp_bias", false)? },
        activation: config.activation("hidden_act", "silu")?,
        attention_softcap: None,
        final_softcap: None,
        dropout: Dropouts { attention: config.probability("attention_dropout", 0.0)?, ..Dropouts::default() },
        tied: config.or("tie_word_embeddings", defaults.tied)?,
        output_bias: false,
        token_head: ("score", token_dropout(config)?),
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}

pub(super) fn mistral(config: &Config) -> Result<Plan> {
    let plan = house(config, Defaults { kv_heads: Some(8), ..DEFAULTS })?;
    let window = window(config, Some(4096))?;
    let layers = plan.layers.iter().map(|layer| LayerPlan { window, ..layer.clone() }).collect();
    Ok(Plan {
        family: "mistral",
        layers,
        projections: Projections::Separate { bias: false },
        attention_output_bias: false,
        feed_forward: FeedForward::Gated { bias: false },
        ..plan
    })
}

pub(super) fn qwen2(config: &Config) -> Result<Plan> {
    let plan = house(config, Defaults { kv_heads: Some(32), ..DEFAULTS })?;
    Ok(Plan {
        family: "qwen2",
        layers: sliding_from(config, &plan)?,
        projections: Projections::Separate { bias: true },
        attention_output_bias: false,
        feed_forward: FeedForward::Gated { bias: false },
        ..plan
    })
}

pub(super) fn qwen3(config: &Config) -> Result<Plan> {
    let plan = house(config, Defaults { head_dim: Some(128), kv_heads: Some(32), ..DEFAULTS })?;
    Ok(Plan {
        family: "qwen3",
        layers: sliding_from(config, &plan)?,
        head_norms: true,
        feed_forward: FeedForward::Gated { bias: false },
        ..plan
    })
}

pub(super) fn smollm3(config: &Config) -> Result<Plan> {
    let plan = house(config, Defaults { kv_heads: Some(4), theta: 2_000_000.0, tied: true, ..DEFAULTS })?;
    let count = plan.layers.len();
    let interval = config.optional_extent("no_rope_layer_interval")?.unwrap_or(4);
    let every = (0..count).map(|layer| u8::from(!(layer + 1).is_multiple_of(interval))).collect();
    // 1 where the layer has rotary positions, despite the name.
    let roped: Vec<u8> = config.or("no_rope_layers", every)?;
    config.refuse_unless(roped.len() == count, "no_rope_layers", "a number for each layer")?;
    // By default just the layers without rotary positions slide.
    let layers = sliding(config, &plan, None, |layer| roped[layer] == 0)?.into_iter().zip(&roped);
    let layers =
        layers.map(|(layer, roped)| LayerPlan { rope: (*roped != 0).then_some(0), ..layer }).collect();
    Ok(Plan { family: "smollm3", layers, ..plan })
}

/// Qwen's layers: those from `max_window_layers` on slide, unless `layer_types` says otherwise.
fn sliding_from(config: &Config, plan: &Plan) -> Result<Vec<LayerPlan>> {
    let first = config.or("max_window_layers", 28usize)?;
    sliding(config, plan, Some(4096), |layer| layer >= first)
}

/// Layers whose queries see a window, of that width where nothing is said, if `use_sliding_window`: those that
/// `layer_types` or `otherwise` names.
fn sliding(
    config: &Config,
    plan: &Plan,
    width: Option<usize>,
    otherwise: impl Fn(usize) -> bool,
) -> Result<Vec<LayerPlan>> {
    let window = if config.or("use_sliding_window", false)? { window(config, width)? } else { None };
    let sliding = layer_types(config, plan.layers.len(), otherwise)?;
    let layers = plan.layers.iter().zip(sliding);
    Ok(layers
        .map(|(layer, sliding)| LayerPlan { window: window.filter(|_| sliding), ..layer.clone() })
        .collect())
}

/// `sliding_window`: null means that there is none, no such key the family's default.
pub(super) fn window(config: &Config, default: Option<usize>) -> Result<Option<usize>> {
    if config.names("sliding_window") { config.optional_extent("sliding_window") } else { Ok(default) }
}

/// Which layers slide: `layer_types`, or what `otherwise` says of a layer's number.
pub(super) fn layer_types(
    config: &Config,
    count: usize,
    otherwise: impl Fn(usize) -> bool,
) -> Result<Vec<bool>> {
    let Some(types) = config.optional::<Vec<String>>("layer_types")? else {
        return Ok((0..count).map(otherwise).collect());
    };
    let known = types.iter().all(|kind| kind == "full_attention" || kind == "sliding_attention");
    let expected = "\"full_attention\" or \"sliding_attention\" for each layer";
    config.refuse_unless(known && types.len() == count, "layer_types", expected)?;
    Ok(types.iter().map(|kind| kind == "sliding_attention").collect())
}
