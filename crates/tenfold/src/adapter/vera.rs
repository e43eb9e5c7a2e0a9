//! VeRA: learned factors around one pair of random matrices that all chosen linear maps share.
//!
//! `y = W x + b + λ_b ⊙ B (λ_d ⊙ A dropout(x))`, A \[r, in\] and B \[out, r\] the first columns and rows of the shared pair.
//! Paper: Kopiczko et al. 2024, arXiv:2310.11454.
//! Parameters: r + out for each target; the shared pair, r · (largest in + largest out), is drawn once and frozen. It is
//! uniform in ±√(6 / fan_in), as PEFT draws it; λ_b starts at 0, λ_d at `d_initial`: the identity at step 0. Mergeable:
//! W + diag(λ_b) B diag(λ_d) A. Convertible to LoRA of rank r. The pair is kept in the adapter's file
//! (`save_projection`): it is drawn by our own random numbers, not by PyTorch's.

use super::settings::{ANY, Allowed};
use super::targets::{Selection, Targets};
use super::{Adapter, Context, Method, NamedTensor, settings, take, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Linear, Role, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Backend, Class, Param, Tensor, random};

pub(super) const METHOD: Method = Method {
    name: "vera",
    title: "VeRA",
    summary: "learned factors around random matrices that all chosen maps share",
    source: "Kopiczko et al. 2024, arXiv:2310.11454",
    peft_type: Some("VERA"),
    mergeable: true,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[("bias", "\"none\""), ("save_projection", "true"), ("init_weights", "true")],
    settings: &[
        ("r", Allowed::Whole(1, ANY)),
        ("target_modules", Allowed::Modules),
        ("projection_prng_key", Allowed::Whole(0, ANY)),
        ("vera_dropout", Allowed::Probability),
        ("d_initial", Allowed::Positive),
    ],
    defaults: || to_value(&Vera::default()),
    build: |settings, context| Ok(Box::new(Factors::new(settings, context)?)),
};

/// The shared pair's keys in PEFT's file.
const SHARED: [&str; 2] = ["base_model.vera_A", "base_model.vera_B"];

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Vera {
    r: usize,
    /// Default: queries and values.
    target_modules: Option<Targets>,
    /// Key of the shared pair's random numbers.
    projection_prng_key: u64,
    vera_dropout: f64,
    d_initial: f64,
}

impl Default for Vera {
    fn default() -> Vera {
        Vera { r: 256, target_modules: None, projection_prng_key: 0, vera_dropout: 0.0, d_initial: 0.1 }
    }
}

struct Factors {
    settings: Vera,
    /// Whether weights are stored transposed, which PEFT wants to be told.
    fan_in_fan_out: bool,
    pair: Pair,
    factors: BTreeMap<String, Factor>,
}

/// The factors of one linear map, with its part of the shared pair.
struct Factor {
    b: Param,
    d: Param,
    inputs: usize,
    outputs: usize,
}

/// The shared pair, cut for each number of inputs and outputs that there is.
struct Pair {
    r: usize,
    inputs: usize,
    outputs: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    /// \[r, in\] by in.
    by_inputs: BTreeMap<usize, Tensor>,
    /// \[out, r\] by out.
    by_outputs: BTreeMap<usize, Tensor>,
}

impl Pair {
    /// The pair of these numbers, for linear maps of these inputs and outputs.
    fn new(
        backend: &Arc<dyn Backend>,
        (r, a, b): (usize, Vec<f32>, Vec<f32>),
        sites: &[(usize, usize)],
    ) -> Result<Pair> {
        let (inputs, outputs) = (a.len() / r, b.len() / r);
        let (mut by_inputs, mut by_outputs) = (BTreeMap::new(), BTreeMap::new());
        for (own_inputs, own_outputs) in sites.iter().copied() {
            let columns = || a.chunks_exact(inputs).flat_map(|row| &row[..own_inputs]).copied().collect();
            let rows = || b[..own_outputs * r].to_vec();
            let frozen = |shape: [usize; 2], numbers| Tensor::new(backend, Class::Shared, &shape, numbers);
            by_inputs.insert(own_inputs, frozen([r, own_inputs], columns())?);
            by_outputs.insert(own_outputs, frozen([own_outputs, r], rows())?);
        }
        Ok(Pair { r, inputs, outputs, a, b, by_inputs, by_outputs })
    }

    fn tensors(&self) -> [NamedTensor; 2] {
        let named = |name: &str, shape: [usize; 2], numbers: &[f32]| NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            numbers: numbers.to_vec(),
        };
        [named(SHARED[0], [self.r, self.inputs], &self.a), named(SHARED[1], [self.outputs, self.r], &self.b)]
    }
}

impl Factors {
    fn new(value: &Value, context: &Context) -> Result<Factors> {
        let mut settings: Vera = settings(&METHOD, value)?;
        let usual = || Targets::roles(context.model, &[Role::Query, Role::Value, Role::QueryKeyValue]);
        let targets = settings.target_modules.get_or_insert_with(usual).clone();
        let selection = Selection { targets: &targets, exclude: None, layers: None, layers_pattern: &[] };
        let chosen = selection.linears(context.model)?;
        let sites: Vec<(usize, usize)> =
            chosen.iter().map(|Linear { site, .. }| (site.inputs, site.outputs)).collect();
        let (r, key) = (settings.r, settings.projection_prng_key);
        let largest = |of: fn(&(usize, usize)) -> usize| sites.iter().map(of).max().unwrap_or(1);
        let (inputs, outputs) = (largest(|site| site.0), largest(|site| site.1));
        let draw = |name: &str, shape: [usize; 2]| -> Result<Vec<f32>> {
            let count = super::count(name, &shape)?;
            let bound = (6.0 / shape[1] as f64).sqrt() as f32;
            Ok(random::uniform(random::key(key, name), count, bound))
        };
        let numbers = (r, draw("vera_A", [r, inputs])?, draw("vera_B", [outputs, r])?);
        let pair = Pair::new(context.backend, numbers, &sites)?;
        let mut factors = BTreeMap::new();
        for Linear { site, .. } in &chosen {
            let name = |part: &str| format!("base_model.model.{}.vera_lambda_{part}", site.path);
            let factor = Factor {
                b: context.constant(&name("b"), &[site.outputs], 0.0)?,
                d: context.constant(&name("d"), &[r], settings.d_initial as f32)?,
                inputs: site.inputs,
                outputs: site.outputs,
            };
            factors.insert(site.path.clone(), factor);
        }
        let fan_in_fan_out = chosen.iter().any(|linear| linear.site.fan_in_fan_out);
        Ok(Factors { settings, fan_in_fan_out, pair, factors })
    }
}

impl Hooks for Factors {
    fn after(&self, forward: &Forward, site: &Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let Some(Factor { b, d, inputs, outputs }) = self.factors.get(&site.path) else { return Ok(y) };
        let x = forward.dropout(x.clone(), self.settings.vera_dropout as f32)?;
        let inner = x.linear(&self.pair.by_inputs[inputs], None)?.scale_columns(&d.tensor())?;
        let outer = inner.linear(&self.pair.by_outputs[outputs], None)?.scale_columns(&b.tensor())?;
        Ok(y.add(&outer)?)
    }
}

impl Adapter for Factors {
    fn parameters(&self) -> Vec<Param> {
        self.factors.values().flat_map(|factor| [factor.b.clone(), factor.d.clone()]).collect()
    }

    fn merge(&self, site: &Site, weight: &mut [f32], _bias: Option<&mut [f32]>) -> Result<()> {
        let Some(Factor { b, d, .. }) = self.factors.get(&site.path) else { return Ok(()) };
        let (b, d, r) = (b.numbers()?, d.numbers()?, self.pair.r);
        let rows = weight.chunks_exact_mut(site.inputs).zip(self.pair.b.chunks_exact(r)).zip(&b);
        for ((row, of_row), b) in rows {
            for ((a, factor), d) in self.pair.a.chunks_exact(self.pair.inputs).zip(of_row).zip(&d) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += b * factor * d * a);
            }
        }
        Ok(())
    }

    fn config(&self) -> Result<Map<String, Value>> {
        let mut config = to_map(&self.settings);
        config.insert("fan_in_fan_out".into(), self.fan_in_fan_out.into());
        for (key, value) in
            [("bias", "none".into()), ("save_projection", true.into()), ("init_weights", true.into())]
        {
            config.insert(key.into(), value);
        }
        Ok(config)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let factors = self.parameters().iter().map(NamedTensor::of).collect::<Result<Vec<_>>>()?;
        Ok(factors.into_iter().chain(self.pair.tensors()).collect())
    }

    fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        for parameter in self.parameters() {
            parameter.set(take(tensors, parameter.name(), parameter.shape())?)?;
        }
        let Pair { r, inputs, outputs, .. } = self.pair;
        // A file without the pair was written with save_projection = false, which is refused with the settings.
        let a = take(tensors, SHARED[0], &[r, inputs])?;
        let b = take(tensors, SHARED[1], &[outputs, r])?;
        let sites: Vec<(usize, usize)> =
            self.factors.values().map(|factor| (factor.inputs, factor.outputs)).collect();
        self.pair = Pair::new(backend, (r, a, b), &sites)?;
        Ok(())
    }
}
