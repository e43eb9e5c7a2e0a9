//! LoRA: a low-rank update beside chosen linear maps.
//!
//! `y = W x + b + (alpha / r) · B A dropout(x)`, A \[r, in\], B \[out, r\]; alpha / √r with `use_rslora`.
//! Paper: Hu et al. 2021, arXiv:2106.09685; rank stabilisation: Kalajdzievski 2023, arXiv:2312.03732.
//! Parameters: r · (in + out) for each target. A starts uniform in ±1/√in (as torch.nn.Linear, what
//! PEFT does; the paper draws it normal: `init_lora_weights = "gaussian"`), B at zero: the identity at
//! step 0. Mergeable: W + (alpha / r) · B A. `use_dora`: see `dora.rs`. `loraplus_lr_ratio` is LoRA+ (Hayou et al. 2024,
//! arXiv:2402.12354): B learns that many times faster than A; PEFT has it as an optimizer, so that its files do not know it.
//! `init_lora_weights = "pissa"` or `"olora"`: see `start.rs`. Not here: other variants, which are refused by name.

use super::dora::Magnitude;
use super::settings::{ANY, Allowed};
use super::start::{self, Taken};
use super::targets::{Selection, Targets, pattern_value};
use super::{Adapter, Context, Method, ParameterGroup, refuse, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Linear, Role, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tenfold_tensor::{Param, Tensor};

pub(super) const METHOD: Method = Method {
    name: "lora",
    title: "LoRA",
    summary: "a low-rank update beside chosen linear maps",
    source: "Hu et al. 2021, arXiv:2106.09685",
    peft_type: Some("LORA"),
    mergeable: true,
    learning_rates: &[3e-4, 1e-3, 3e-3, 1e-2],
    harmless: &[("megatron_core", "\"megatron.core\""), ("qalora_group_size", "16")],
    settings: &[
        ("r", Allowed::Whole(1, ANY)),
        ("lora_alpha", Allowed::Positive),
        ("lora_dropout", Allowed::Probability),
        ("target_modules", Allowed::Modules),
        ("exclude_modules", Allowed::Modules),
        ("bias", Allowed::Word(&["none", "all", "lora_only"])),
        ("use_rslora", Allowed::Flag),
        ("init_lora_weights", Allowed::FlagOr(&["gaussian", "pissa", "olora"])),
        ("rank_pattern", Allowed::ByModule(&Allowed::Whole(1, ANY))),
        ("alpha_pattern", Allowed::ByModule(&Allowed::Positive)),
        ("layers_to_transform", Allowed::Layers),
        ("layers_pattern", Allowed::Texts),
        ("use_dora", Allowed::Flag),
        ("loraplus_lr_ratio", Allowed::Positive),
    ],
    defaults: || to_value(&Lora::default()),
    build: |settings, context| Ok(Box::new(LowRank::new(settings, context)?)),
};

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Lora {
    r: usize,
    #[serde(serialize_with = "super::settings::as_written")]
    lora_alpha: f64,
    lora_dropout: f64,
    /// Default: queries and values.
    target_modules: Option<Targets>,
    exclude_modules: Option<Targets>,
    bias: Bias,
    use_rslora: bool,
    init_lora_weights: Start,
    rank_pattern: BTreeMap<String, usize>,
    alpha_pattern: BTreeMap<String, f64>,
    layers_to_transform: Option<Layers>,
    layers_pattern: Option<OneOrMany>,
    use_dora: bool,
    /// How many times faster B learns than A (LoRA+); 1: as fast.
    loraplus_lr_ratio: f64,
}

impl Default for Lora {
    fn default() -> Lora {
        Lora {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            bias: Bias::None,
            use_rslora: false,
            init_lora_weights: Start::Usual(true),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            layers_to_transform: None,
            layers_pattern: None,
            use_dora: false,
            loraplus_lr_ratio: 1.0,
        }
    }
}

/// Which biases are trained along.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bias {
    None,
    All,
    LoraOnly,
}

/// How A and B start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Start {
    /// true: B at zero; false: both drawn as torch.nn.Linear draws, for tests.
    Usual(bool),
    /// "gaussian", "pissa" or "olora".
    Named(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Layers {
    One(usize),
    Many(Vec<usize>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

struct LowRank {
    settings: Lora,
    /// Whether weights are stored transposed, which PEFT wants to be told.
    fan_in_fan_out: bool,
    updates: BTreeMap<String, Update>,
}

/// The update of one linear map.
pub(super) struct Update {
    /// \[r, in\].
    pub a: Param,
    /// \[out, r\].
    pub b: Param,
    /// Factor of B A.
    pub scale: f32,
    magnitude: Option<Magnitude>,
    taken: Option<Taken>,
}

impl LowRank {
    fn new(value: &Value, context: &Context) -> Result<LowRank> {
        let mut settings: Lora = settings(&METHOD, value)?;
        settings.check()?;
        if let Start::Named(name) = &mut settings.init_lora_weights {
            // PEFT knows some of them in small letters alone.
            name.make_ascii_lowercase();
        }
        let targets = settings
            .target_modules
            .get_or_insert_with(|| {
                Targets::roles(context.model, &[Role::Query, Role::Value, Role::QueryKeyValue])
            })
            .clone();
        let layers = settings.layers_to_transform.as_ref().map(|layers| match layers {
            Layers::One(layer) => std::slice::from_ref(layer),
            Layers::Many(layers) => layers,
        });
        let layers_pattern = match &settings.layers_pattern {
            None => &[][..],
            Some(OneOrMany::One(list)) => std::slice::from_ref(list),
            Some(OneOrMany::Many(lists)) => lists,
        };
        let exclude = settings.exclude_modules.as_ref();
        let selection = Selection { targets: &targets, exclude, layers, layers_pattern };
        let chosen = selection.linears(context.model)?;
        let most = chosen.iter().map(|Linear { site, .. }| site.inputs.min(site.outputs)).max().unwrap_or(1);
        let mut updates = BTreeMap::new();
        for linear in &chosen {
            updates.insert(linear.site.path.clone(), Update::new(&settings, linear, most, context)?);
        }
        let fan_in_fan_out = chosen.iter().any(|linear| linear.site.fan_in_fan_out);
        Ok(LowRank { settings, fan_in_fan_out, updates })
    }
}

impl Update {
    /// `most`: the rank that the largest of the chosen matrices can have.
    fn new(settings: &Lora, linear: &Linear, most: usize, context: &Context) -> Result<Update> {
        let site = &linear.site;
        let own = pattern_value(&settings.rank_pattern, &site.path)?;
        let r = own.unwrap_or(settings.r);
        let alpha = pattern_value(&settings.alpha_pattern, &site.path)?.unwrap_or(settings.lora_alpha);
        if !(1..=most).contains(&r) {
            let key = if own.is_some() { "rank_pattern" } else { "r" };
            let expected = format!("1 to {most}, the highest rank that the chosen matrices can have");
            return Err(refuse(&METHOD, key, &expected, r));
        }
        let name = |part: &str| format!("base_model.model.{}.{part}.weight", site.path);
        let (a_shape, b_shape) = ([r, site.inputs], [site.outputs, r]);
        let a = match &settings.init_lora_weights {
            Start::Usual(_) => context.kaiming_uniform(&name("lora_A"), &a_shape, site.inputs)?,
            Start::Named(_) => context.normal(&name("lora_A"), &a_shape, 1.0 / r as f32)?,
        };
        let b = match &settings.init_lora_weights {
            Start::Usual(false) => context.kaiming_uniform(&name("lora_B"), &b_shape, r)?,
            _ => context.constant(&name("lora_B"), &b_shape, 0.0)?,
        };
        let rank = if settings.use_rslora { (r as f64).sqrt() } else { r as f64 };
        let mut update = Update { a, b, scale: (alpha / rank) as f32, magnitude: None, taken: None };
        if let Start::Named(name) = &settings.init_lora_weights
            && let Some(start) = start::Start::named(name)
        {
            update.taken = Some(start.apply(linear, &update)?);
        }
        if settings.use_dora {
            update.magnitude = Some(Magnitude::new(linear, &update, context)?);
        }
        Ok(update)
    }

    /// `y + scale · B A x`.
    pub(super) fn add_to(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        Ok(y.add_linear(&x.linear(&self.a.tensor(), None)?, &self.b.tensor(), self.scale)?)
    }
}

impl Hooks for LowRank {
    fn after(&self, forward: &Forward, site: &Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let Some(update) = self.updates.get(&site.path) else { return Ok(y) };
        let y = match &update.taken {
            Some(taken) => taken.take_from(x, y, update.scale)?,
            None => y,
        };
        let x = forward.dropout(x.clone(), self.settings.lora_dropout as f32)?;
        match &update.magnitude {
            Some(magnitude) => magnitude.after(forward, update, &x, y),
            None => update.add_to(&x, y),
        }
    }
}

impl Adapter for LowRank {
    fn unfreezes(&self, weight: &str) -> bool {
        match (self.settings.bias, weight.strip_suffix(".bias")) {
            (Bias::All, Some(_)) => true,
            (Bias::LoraOnly, Some(path)) => self.updates.contains_key(path),
            _ => false,
        }
    }

    fn parameters(&self) -> Vec<Param> {
        let of_update = |update: &Update| {
            let lengths = update.magnitude.as_ref().map(|magnitude| magnitude.lengths.clone());
            [update.a.clone(), update.b.clone()].into_iter().chain(lengths)
        };
        self.updates.values().flat_map(of_update).collect()
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        let learning_rate_factor = self.settings.loraplus_lr_ratio;
        let group = |parameters, learning_rate_factor| ParameterGroup {
            parameters,
            learning_rate_factor,
            decays: true,
        };
        if learning_rate_factor == 1.0 {
            return vec![group(self.parameters(), 1.0)];
        }
        let is_b = |parameter: &Param| parameter.name().ends_with(".lora_B.weight");
        let (b, others) = self.parameters().into_iter().partition(is_b);
        vec![group(others, 1.0), group(b, learning_rate_factor)]
    }

    fn merge(&self, site: &Site, weight: &mut [f32], _bias: Option<&mut [f32]>) -> Result<()> {
        let Some(update) = self.updates.get(&site.path) else { return Ok(()) };
        let r = update.a.shape()[0];
        let taken = update.taken.as_ref().map(Taken::numbers).transpose()?;
        let own = (update.a.numbers()?, update.b.numbers()?);
        for (scale, (a, b)) in
            [(update.scale, own)].into_iter().chain(taken.map(|taken| (-update.scale, taken)))
        {
            for (row, b) in weight.chunks_exact_mut(site.inputs).zip(b.chunks_exact(r)) {
                for (a, b) in a.chunks_exact(site.inputs).zip(b) {
                    row.iter_mut().zip(a).for_each(|(w, a)| *w += scale * b * a);
                }
            }
        }
        update.magnitude.as_ref().map_or(Ok(()), |magnitude| magnitude.merge(weight))
    }

    fn config(&self) -> Result<Map<String, Value>> {
        let mut config = to_map(&self.settings);
        config.insert("fan_in_fan_out".into(), self.fan_in_fan_out.into());
        config.remove("loraplus_lr_ratio");
        Ok(config)
    }

    fn key(&self, weight: &str) -> String {
        match weight.strip_suffix(".bias") {
            Some(path) if self.updates.contains_key(path) => {
                format!("base_model.model.{path}.base_layer.bias")
            }
            _ => format!("base_model.model.{weight}"),
        }
    }
}

impl Lora {
    fn check(&self) -> Result<()> {
        // PEFT refuses it too; in silence all layers would be trained.
        if let (Some(Targets::Pattern(word)), Some(_)) = (&self.target_modules, &self.layers_to_transform) {
            let expected = "none beside one text in target_modules, which says itself what it means; name the modules in a list";
            return Err(refuse(&METHOD, "layers_to_transform", expected, format!("both, with \"{word}\"")));
        }
        if let Start::Named(name) = &self.init_lora_weights
            && start::Start::named(name).is_some()
            && self.use_dora
        {
            let expected = "true, false or \"gaussian\" beside use_dora";
            return Err(refuse(&METHOD, "init_lora_weights", expected, format!("\"{name}\"")));
        }
        Ok(())
    }
}
