//! One block of a decoder.

use super::plan::{FeedForward, Plan, Projections};
use crate::error::Result;
use crate::model::Forward;
use crate::model::layer::{Linear, Norm, Role, Weight};
use crate::model::weights::Loader;
use std::sync::Arc;
use tenfold_tensor::{Attention, Indices, Ragged, Tensor, ToIndices};

pub(super) struct Block {
    plan: Arc<Plan>,
    number: usize,
    input_norm: Norm,
    projections: Maps,
    /// Norms of each head's queries and keys.
    head_norms: Option<[Norm; 2]>,
    attention_output: Linear,
    attention_output_norm: Option<Norm>,
    feed_forward_norm: Norm,
    inner: Inner,
    down: Linear,
    feed_forward_output_norm: Option<Norm>,
}

/// The maps to queries, keys and values.
enum Maps {
    Separate(Box<[Linear; 3]>),
    Fused(Box<Linear>),
}

/// The maps to the inner layer.
enum Inner {
    /// Gate and inner layer.
    Gated(Box<[Linear; 2]>),
    GatedFused(Linear),
    Plain(Linear),
}

impl Block {
    pub fn load(plan: &Arc<Plan>, loader: &Loader, number: usize) -> Result<Block> {
        let names = plan.names;
        let (hidden, inner) = (plan.hidden_size, plan.intermediate_size);
        let (wide, narrow) = (plan.heads * plan.head_dim, plan.kv_heads * plan.head_dim);
        let linear = |module, role, extents, kind| plan.linear(loader, number, module, role, extents, kind);
        let norm = |module: &str, width| plan.norm(loader, &plan.path(number, module), width);
        let wide_map = |bias, transposed| {
            let extents = [hidden, wide + 2 * narrow];
            linear(names.query_key_value, Role::QueryKeyValue, extents, (bias, transposed))
        };
        let projections = match plan.projections {
            Projections::Separate { bias } => Maps::Separate(Box::new([
                linear(names.query, Role::Query, [hidden, wide], (bias, false))?,
                linear(names.key, Role::Key, [hidden, narrow], (bias, false))?,
                linear(names.value, Role::Value, [hidden, narrow], (bias, false))?,
            ])),
            Projections::Fused { bias, transposed } => Maps::Fused(Box::new(wide_map(bias, transposed)?)),
            Projections::ByHead { bias } => Maps::Fused(Box::new(wide_map(bias, false)?)),
        };
        let transposed = plan.feed_forward == FeedForward::Plain { transposed: true };
        let plain = matches!(plan.feed_forward, FeedForward::Plain { .. });
        let feed_forward_bias = plain || plan.feed_forward == FeedForward::Gated { bias: true };
        let kind = (feed_forward_bias, transposed);
        let inner_maps = match plan.feed_forward {
            FeedForward::Gated { .. } => Inner::Gated(Box::new([
                linear(names.gate, Role::FeedForwardGate, [hidden, inner], kind)?,
                linear(names.up, Role::FeedForwardUp, [hidden, inner], kind)?,
            ])),
            FeedForward::GatedFused => {
                Inner::GatedFused(linear(names.gate_up, Role::FeedForwardGateUp, [hidden, 2 * inner], kind)?)
            }
            FeedForward::Plain { .. } => {
                Inner::Plain(linear(names.up, Role::FeedForwardUp, [hidden, inner], kind)?)
            }
        };
        let output_kind = (plan.attention_output_bias, transposed);
        let head_norms = plan.head_norms.then(|| -> Result<[Norm; 2]> {
            Ok([norm(names.query_norm, plan.head_dim)?, norm(names.key_norm, plan.head_dim)?])
        });
        let output_norm = |module| plan.output_norms.then(|| norm(module, hidden)).transpose();
        Ok(Block {
            number,
            input_norm: norm(names.input_norm, hidden)?,
            projections,
            head_norms: head_norms.transpose()?,
            attention_output: linear(
                names.attention_output,
                Role::AttentionOutput,
                [wide, hidden],
                output_kind,
            )?,
            attention_output_norm: output_norm(names.attention_output_norm)?,
            feed_forward_norm: norm(names.feed_forward_norm, hidden)?,
            inner: inner_maps,
            down: linear(names.down, Role::FeedForwardDown, [inner, hidden], kind)?,
            feed_forward_output_norm: output_norm(names.feed_forward_output_norm)?,
            plan: plan.clone(),
        })
    }

    /// Which of the plan's ropes turns this block's queries and keys.
    pub fn rope(&self) -> Option<usize> {
        self.plan.layers[self.number].rope
    }

    /// What becomes of the tokens `x`, or of those `chosen` (rows, and where they lie), which see all.
    pub fn run(
        &self,
        forward: &Forward,
        number: usize,
        (x, ragged): (&Tensor, &Ragged),
        chosen: Option<&(Vec<u32>, Ragged)>,
        angles: Option<&[Tensor; 2]>,
    ) -> Result<Tensor> {
        let plan = &self.plan;
        let over_all = forward.over(ragged);
        let forward = &chosen.map_or_else(|| over_all.clone(), |(rows, _)| over_all.at(rows));
        let normed = forward.norm(&self.input_norm, x)?;
        let rows = chosen.map(|(rows, _)| rows.to_indices(x.backend())).transpose()?;
        let [mut query, mut key, value] = self.project([forward, &over_all], &normed, rows.as_ref())?;
        if let Some([of_query, of_key]) = &self.head_norms {
            (query, key) = (forward.norm(of_query, &query)?, forward.norm(of_key, &key)?);
        }
        if let Some([cos, sin]) = angles {
            key = key.rotary(cos, sin, plan.head_dim)?;
            query = match &rows {
                None => query.rotary(cos, sin, plan.head_dim)?,
                Some(rows) => {
                    query.rotary(&cos.select_rows(rows)?, &sin.select_rows(rows)?, plan.head_dim)?
                }
            };
        }
        let (key, value, keys) = forward.remember(number, key, value, ragged)?;
        let prefix = forward.prefix(number)?;
        let prefix = prefix.as_ref().map(|(key, value)| (key, value));
        let queries = chosen.map_or(ragged, |(_, queries)| queries);
        let attention = self.attention(forward);
        let attended = query.attention(&attention, &key, &value, prefix, None, [queries, &keys])?;
        let attended = self.out(forward, &self.attention_output, &attended, &self.attention_output_norm)?;
        let x = match &rows {
            None => x.clone(),
            Some(rows) => x.select_rows(rows)?,
        };
        if plan.parallel {
            let fed = self.feed_forward(forward, &forward.norm(&self.feed_forward_norm, &x)?)?;
            return Ok(fed.add(&attended)?.add(&x)?);
        }
        let x = attended.add(&x)?;
        Ok(self.feed_forward(forward, &forward.norm(&self.feed_forward_norm, &x)?)?.add(&x)?)
    }

    /// Queries of the tokens `chosen`, keys and values of all: a pass over these and one over those.
    fn project(
        &self,
        [forward, over_all]: [&Forward; 2],
        x: &Tensor,
        chosen: Option<&Indices>,
    ) -> Result<[Tensor; 3]> {
        let choose = |x: &Tensor| -> Result<Tensor> {
            match chosen {
                None => Ok(x.clone()),
                Some(rows) => Ok(x.select_rows(rows)?),
            }
        };
        match &self.projections {
            Maps::Separate(maps) => {
                let [query, key, value] = &**maps;
                Ok([
                    forward.linear(query, &choose(x)?)?,
                    over_all.linear(key, x)?,
                    over_all.linear(value, x)?,
                ])
            }
            Maps::Fused(map) => {
                let all = over_all.linear(map, x)?;
                let (head, plan) = (self.plan.head_dim, &self.plan);
                let [query, key, value] = if matches!(plan.projections, Projections::ByHead { .. }) {
                    [0, 1, 2].map(|part| all.select_grouped_columns(3 * head, part * head, head))
                } else {
                    let (wide, narrow) = (plan.heads * head, plan.kv_heads * head);
                    [(0, wide), (wide, narrow), (wide + narrow, narrow)]
                        .map(|(first, width)| all.select_columns(first, width))
                };
                Ok([choose(&query?)?, key?, value?])
            }
        }
    }

    fn attention(&self, forward: &Forward) -> Attention {
        let (plan, layer) = (&self.plan, &self.plan.layers[self.number]);
        Attention {
            heads: plan.heads,
            kv_heads: plan.kv_heads,
            head_dim: plan.head_dim,
            scale: layer.scale,
            causal: true,
            window: layer.window,
            softcap: plan.attention_softcap,
            dropout: forward.mask(plan.dropout.attention),
        }
    }

    fn feed_forward(&self, forward: &Forward, x: &Tensor) -> Result<Tensor> {
        let kind = self.plan.activation;
        let inner = match &self.inner {
            Inner::Gated(maps) => {
                let [gate, up] = &**maps;
                forward.linear(gate, x)?.gated(kind, &forward.linear(up, x)?)?
            }
            Inner::GatedFused(map) => {
                let (both, width) = (forward.linear(map, x)?, self.plan.intermediate_size);
                both.select_columns(0, width)?.gated(kind, &both.select_columns(width, width)?)?
            }
            Inner::Plain(map) => forward.linear(map, x)?.activation(kind)?,
        };
        self.out(forward, &self.down, &inner, &self.feed_forward_output_norm)
    }

    /// Back into the residual stream.
    fn out(&self, forward: &Forward, map: &Linear, x: &Tensor, norm: &Option<Norm>) -> Result<Tensor> {
        let x = forward.linear(map, x)?;
        let x = match norm {
            Some(norm) => forward.norm(norm, &x)?,
            None => x,
        };
        forward.dropout(x, self.plan.dropout.residual)
    }

    /// In the order of the forward pass.
    pub fn linears(&self) -> Vec<&Linear> {
        let projections = match &self.projections {
            Maps::Separate(maps) => maps.iter().collect(),
            Maps::Fused(map) => vec![&**map],
        };
        let inner = match &self.inner {
            Inner::Gated(maps) => maps.iter().collect(),
            Inner::GatedFused(map) | Inner::Plain(map) => vec![map],
        };
        projections.into_iter().chain([&self.attention_output]).chain(inner).chain([&self.down]).collect()
    }

    /// Every weight.
    pub fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norms = [&self.input_norm, &self.feed_forward_norm];
        let outer = self.attention_output_norm.iter().chain(&self.feed_forward_output_norm);
        let norms = norms.into_iter().chain(self.head_norms.iter().flatten()).chain(outer);
        norms.flat_map(Norm::weights).chain(self.linears().into_iter().flat_map(Linear::weights))
    }
}
