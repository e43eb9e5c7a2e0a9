//! Phi-3 and Phi-4-mini (Abdin et al. 2024, arXiv:2404.14219): Llama's block with queries, keys and values in one map,
//! gate and inner layer in another, rotary positions stretched pair by pair.

use super::llama::llama;
use super::plan::{Dropouts, FeedForward, LayerPlan, Plan, Projections};
use super::rope::Rope;
use crate::error::Result;
use crate::model::config::Config;

pub(super) fn phi3(config: &Config) -> Result<Plan> {
    let plan = llama(config)?;
    let window = config.optional_extent("sliding_window")?;
    let share = config.or("partial_rotary_factor", 1.0)?;
    Ok(Plan {
        family: "phi3",
        layers: plan.layers.iter().map(|layer| LayerPlan { window, ..layer.clone() }).collect(),
        ropes: vec![Rope::read(config, None, plan.head_dim, 10_000.0, share)?],
        eps: config.small("rms_norm_eps", 1e-5)?,
        projections: Projections::Fused { bias: false, transposed: false },
        attention_output_bias: false,
        feed_forward: FeedForward::GatedFused,
        dropout: Dropouts {
            // `embd_pdrop` is in the configuration, but nothing reads it.
            embedding: 0.0,
            attention: config.probability("attention_dropout", 0.0)?,
            residual: config.probability("resid_pdrop", 0.0)?,
        },
        ..plan
    })
}
