//! Phi-3 and Phi-4-mini (Abdin et al. 2024, arXiv:2404.14219): Llama's block with queries, keys and values in one map,
//! gate and inner layer in another, rotary positions stretched pair by pair.

use super::llama::{DEFAULTS, Defaults, house};
use super::plan::{Dropouts, FeedForward, LayerPlan, Plan, Projections};
use super::rope::Rope;
use crate::error::Result;
use crate::model::config::Config;

pub(super) fn phi3(config: &Config) -> Result<Plan> {
    let plan = house(config, Defaults { ropes, ..DEFAULTS })?;
    let window = config.optional_extent("sliding_window")?;
    Ok(Plan {
        family: "phi3",
        layers: plan.layers.iter().map(|layer| LayerPlan { window, ..layer.clone() }).collect(),
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

fn ropes(config: &Config, head_dim: usize, theta: f64) -> Result<Vec<Rope>> {
    let share = config.or("partial_rotary_factor", 1.0)?;
    Ok(vec![Rope::read(config, head_dim, theta, Some(share))?])
}
