//! OFT: what a linear map reads is rotated, in blocks.
//!
//! `y = W R x + b`, R block-diagonal and orthogonal: each block is (I − Q)(I + Q)⁻¹ of a skew-symmetric Q, or with
//! `use_cayley_neumann` the first terms of (I + Q)(I − Q)⁻¹. (Rows as vectors: x R.)
//! Papers: Qiu et al. 2023, arXiv:2306.07280; the rotation of the input and the series: Qiu et al. 2025, arXiv:2506.19847.
//! Parameters: in · (block − 1) / 2 for each target, or block · (block − 1) / 2 with `block_share`. Q starts at zero: the
//! identity at step 0. Mergeable: W R. Not convertible to LoRA. A block size that does not divide the inputs is changed to the nearest
//! that does, as in PEFT. Not here: `coft` and `module_dropout`. PEFT does not put it on GPT-2's Conv1D.

use super::settings::{ANY, Allowed};
use super::targets::{Selection, Targets};
use super::{Adapter, Context, Method, refuse, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Linear, Role, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tenfold_tensor::{Cayley, Param, Tensor, without_gradients};

pub(super) const METHOD: Method = Method {
    name: "oft",
    title: "OFT",
    summary: "a trained rotation of what chosen linear maps read",
    source: "Qiu et al. 2023, arXiv:2306.07280",
    peft_type: Some("OFT"),
    mergeable: true,
    learning_rates: &[3e-4, 1e-3, 3e-3, 1e-2],
    harmless: &[
        ("bias", "\"none\""),
        ("eps", "0.00006"),
        ("init_weights", "true"),
        ("module_dropout", "0.0"),
    ],
    settings: &[
        ("r", Allowed::Whole(0, ANY)),
        ("oft_block_size", Allowed::Whole(0, ANY)),
        ("target_modules", Allowed::Modules),
        ("exclude_modules", Allowed::Modules),
        ("block_share", Allowed::Flag),
        ("use_cayley_neumann", Allowed::Flag),
        ("num_cayley_neumann_terms", Allowed::Whole(1, 64)),
    ],
    defaults: || to_value(&Oft::default()),
    build: |settings, context| Ok(Box::new(Rotations::new(settings, context)?)),
};

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Oft {
    /// How many blocks each target has; 0: as many as `oft_block_size` gives.
    r: usize,
    oft_block_size: usize,
    /// Default: queries and values.
    target_modules: Option<Targets>,
    exclude_modules: Option<Targets>,
    /// Whether all blocks of a target are one.
    block_share: bool,
    use_cayley_neumann: bool,
    num_cayley_neumann_terms: usize,
}

impl Default for Oft {
    fn default() -> Oft {
        Oft {
            r: 0,
            oft_block_size: 32,
            target_modules: None,
            exclude_modules: None,
            block_share: false,
            use_cayley_neumann: true,
            num_cayley_neumann_terms: 5,
        }
    }
}

struct Rotations {
    settings: Oft,
    /// Whether weights are stored transposed, which PEFT wants to be told.
    fan_in_fan_out: bool,
    rotations: BTreeMap<String, Rotation>,
}

/// The rotation of what one linear map reads.
struct Rotation {
    /// Q above the diagonal of each block: \[blocks, block · (block − 1) / 2\].
    q: Param,
    block: usize,
}

impl Oft {
    /// The width of the blocks of so many inputs.
    fn block(&self, inputs: usize) -> Result<usize> {
        match (self.r, self.oft_block_size) {
            (0, 0) | (1.., 1..) => {
                let expected = "one of r and oft_block_size, the other 0";
                Err(refuse(&METHOD, "r", expected, format!("{} and {}", self.r, self.oft_block_size)))
            }
            (0, block) => Ok(divisor(inputs, block)),
            (blocks, _) => Ok(inputs / divisor(inputs, blocks)),
        }
    }

    fn cayley(&self) -> Cayley {
        match self.use_cayley_neumann {
            true => Cayley::Series(self.num_cayley_neumann_terms),
            false => Cayley::Exact,
        }
    }
}

/// The divisor of `of` that is nearest to `wanted`; of two the smaller.
fn divisor(of: usize, wanted: usize) -> usize {
    let distance = |divisor: &usize| (divisor.abs_diff(wanted), *divisor);
    (1..=of).filter(|divisor| of.is_multiple_of(*divisor)).min_by_key(distance).unwrap_or(1)
}

impl Rotations {
    fn new(value: &Value, context: &Context) -> Result<Rotations> {
        let mut settings: Oft = settings(&METHOD, value)?;
        let usual = || Targets::roles(context.model, &[Role::Query, Role::Value, Role::QueryKeyValue]);
        let targets = settings.target_modules.get_or_insert_with(usual).clone();
        let exclude = settings.exclude_modules.as_ref();
        let selection = Selection { targets: &targets, exclude, layers: None, layers_pattern: &[] };
        let chosen = selection.linears(context.model)?;
        let mut rotations = BTreeMap::new();
        for Linear { site, .. } in &chosen {
            let block = settings.block(site.inputs)?;
            let blocks = if settings.block_share { 1 } else { site.inputs / block };
            let name = format!("base_model.model.{}.oft_R.weight", site.path);
            let q = context.constant(&name, &[blocks, block * (block - 1) / 2], 0.0)?;
            rotations.insert(site.path.clone(), Rotation { q, block });
        }
        let fan_in_fan_out = chosen.iter().any(|linear| linear.site.fan_in_fan_out);
        Ok(Rotations { settings, fan_in_fan_out, rotations })
    }

    /// The blocks one below the other: \[blocks · block, block\].
    fn blocks(&self, Rotation { q, block }: &Rotation) -> Result<Tensor> {
        Ok(q.tensor().cayley(self.settings.cayley(), *block)?)
    }
}

impl Hooks for Rotations {
    fn before(&self, _forward: &Forward, site: &Site, x: &Tensor) -> Result<Option<Tensor>> {
        let Some(rotation) = self.rotations.get(&site.path) else { return Ok(None) };
        let (blocks, block) = (self.blocks(rotation)?, rotation.block);
        let rotated = match self.settings.block_share {
            false => x.block_linear(&blocks)?,
            true => {
                let groups = x.reshape(&[x.len() / block, block])?;
                groups.linear_transposed(&blocks, None)?.reshape(x.shape())?
            }
        };
        Ok(Some(rotated))
    }
}

impl Adapter for Rotations {
    fn parameters(&self) -> Vec<Param> {
        self.rotations.values().map(|rotation| rotation.q.clone()).collect()
    }

    fn merge(&self, site: &Site, weight: &mut [f32], _bias: Option<&mut [f32]>) -> Result<()> {
        let Some(rotation) = self.rotations.get(&site.path) else { return Ok(()) };
        let b = rotation.block;
        let blocks = without_gradients(|| self.blocks(rotation))?.numbers()?;
        // y = (x R) Wᵀ = x (W Rᵀ)ᵀ.
        for (number, group) in weight.chunks_exact_mut(b).enumerate() {
            let block = number % (site.inputs / b) * b * b % blocks.len();
            let rows = blocks[block..][..b * b].chunks_exact(b);
            let turned: Vec<f32> =
                rows.map(|row| row.iter().zip(&*group).map(|(r, w)| r * w).sum()).collect();
            group.copy_from_slice(&turned);
        }
        Ok(())
    }

    fn config(&self) -> Result<Map<String, Value>> {
        let mut config = to_map(&self.settings);
        config.insert("fan_in_fan_out".into(), self.fan_in_fan_out.into());
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_divide_the_inputs_as_in_peft() {
        for (of, wanted, expected) in
            [(32, 8, 8), (384, 32, 32), (32, 7, 8), (30, 4, 3), (12, 5, 4), (8, 32, 8), (7, 3, 1), (9, 1, 1)]
        {
            assert_eq!(divisor(of, wanted), expected, "{wanted} of {of}");
        }
        let of = |r, oft_block_size| Oft { r, oft_block_size, ..Oft::default() }.block(32);
        assert_eq!((of(4, 0).unwrap(), of(0, 4).unwrap()), (8, 4));
        assert!(of(0, 0).is_err() && of(4, 8).is_err());
    }
}
