//! IA³: learned factors for keys, values and the inner layer of feed-forward blocks.
//!
//! `y = l ⊙ (W x + b)`; in feed-forward modules `y = W (l ⊙ x) + b`.
//! Paper: Liu et al. 2022, arXiv:2205.05638. Parameters: out (or in) for each target. Starts at ones:
//! the identity at step 0. Mergeable: rows (or columns) of W times l, and b times l.

use super::settings::Allowed;
use super::targets::{Selection, Targets};
use super::{Adapter, Context, Method, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Linear, Role, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tenfold_tensor::{Param, Tensor};

pub(super) const METHOD: Method = Method {
    name: "ia3",
    title: "IA³",
    summary: "learned factors for keys, values and inner feed-forward activations",
    source: "Liu et al. 2022, arXiv:2205.05638",
    peft_type: Some("IA3"),
    mergeable: true,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[],
    settings: &[
        ("target_modules", Allowed::Modules),
        ("exclude_modules", Allowed::Modules),
        ("feedforward_modules", Allowed::Modules),
        ("init_ia3_weights", Allowed::Flag),
    ],
    defaults: || to_value(&Ia3::default()),
    build: |settings, context| Ok(Box::new(Factors::new(settings, context)?)),
};

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ia3 {
    /// Default: keys, values and feed-forward outputs.
    target_modules: Option<Targets>,
    exclude_modules: Option<Targets>,
    /// Which of the targets scale their input. Default: feed-forward outputs.
    feedforward_modules: Option<Targets>,
    /// false leaves the start to chance, for tests.
    init_ia3_weights: bool,
}

impl Default for Ia3 {
    fn default() -> Ia3 {
        Ia3 { target_modules: None, exclude_modules: None, feedforward_modules: None, init_ia3_weights: true }
    }
}

struct Factors {
    settings: Ia3,
    /// Whether weights are stored transposed, which PEFT wants to be told.
    fan_in_fan_out: bool,
    factors: BTreeMap<String, Factor>,
}

/// The factors of one linear map.
enum Factor {
    Input(Param),
    Output(Param),
}

impl Factors {
    fn new(value: &Value, context: &Context) -> Result<Factors> {
        let mut settings: Ia3 = settings(&METHOD, value)?;
        let given = settings.target_modules.is_some();
        let targets = settings.target_modules.get_or_insert_with(|| {
            Targets::roles(
                context.model,
                &[Role::Key, Role::Value, Role::QueryKeyValue, Role::FeedForwardDown],
            )
        });
        let targets = targets.clone();
        let feedforward = settings.feedforward_modules.get_or_insert_with(|| {
            let roles: &[Role] = if given { &[] } else { &[Role::FeedForwardDown] };
            Targets::roles(context.model, roles)
        });
        let selection = Selection {
            targets: &targets,
            exclude: settings.exclude_modules.as_ref(),
            layers: None,
            layers_pattern: &[],
        };
        let chosen = selection.linears(context.model)?;
        let fan_in_fan_out = chosen.iter().any(|linear| linear.site.fan_in_fan_out);
        let mut factors = BTreeMap::new();
        for Linear { site, .. } in chosen {
            let name = format!("base_model.model.{}.ia3_l", site.path);
            let start = |shape: [usize; 2]| match settings.init_ia3_weights {
                true => context.constant(&name, &shape, 1.0),
                false => context.normal(&name, &shape, 1.0),
            };
            let factor = match feedforward.contain(&site.path)? {
                true => Factor::Input(start([1, site.inputs])?),
                false => Factor::Output(start([site.outputs, 1])?),
            };
            factors.insert(site.path.clone(), factor);
        }
        Ok(Factors { settings, fan_in_fan_out, factors })
    }
}

impl Hooks for Factors {
    fn before(&self, _forward: &Forward, site: &Site, x: &Tensor) -> Result<Option<Tensor>> {
        match self.factors.get(&site.path) {
            Some(Factor::Input(l)) => Ok(Some(x.scale_columns(&l.tensor())?)),
            _ => Ok(None),
        }
    }

    fn after(&self, _forward: &Forward, site: &Site, _x: &Tensor, y: Tensor) -> Result<Tensor> {
        match self.factors.get(&site.path) {
            Some(Factor::Output(l)) => Ok(y.scale_columns(&l.tensor())?),
            _ => Ok(y),
        }
    }
}

impl Adapter for Factors {
    fn parameters(&self) -> Vec<Param> {
        self.factors.values().map(|(Factor::Input(l) | Factor::Output(l))| l.clone()).collect()
    }

    fn merge(&self, site: &Site, weight: &mut [f32], bias: Option<&mut [f32]>) -> Result<()> {
        let rows = weight.chunks_exact_mut(site.inputs);
        match self.factors.get(&site.path) {
            Some(Factor::Input(l)) => {
                let l = l.numbers()?;
                rows.for_each(|row| row.iter_mut().zip(&l).for_each(|(w, l)| *w *= l));
            }
            Some(Factor::Output(l)) => {
                let l = l.numbers()?;
                rows.zip(&l).for_each(|(row, l)| row.iter_mut().for_each(|w| *w *= l));
                bias.into_iter().flatten().zip(&l).for_each(|(b, l)| *b *= l);
            }
            None => {}
        }
        Ok(())
    }

    fn config(&self) -> Result<Map<String, Value>> {
        let mut config = to_map(&self.settings);
        config.insert("fan_in_fan_out".into(), self.fan_in_fan_out.into());
        Ok(config)
    }
}
