//! LN tuning: the norms of the base model are trained.
//!
//! `y = γ ⊙ norm(x) + β` with trained γ and, where the norm has one, β. Paper: Zhao et al. 2023, arXiv:2312.11420.
//! Parameters: the width of the residual stream, or twice that, for each norm. Starts as the base model. Mergeable: the
//! trained norms stand in place of the base's. PEFT's default depends on the family (of Qwen, `post_attention_layernorm`
//! alone); here it is every norm.

use super::targets::{Selection, Targets};
use super::{Adapter, Context, Method, refuse, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Hooks, Model};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(super) const METHOD: Method = Method {
    name: "ln_tuning",
    title: "LN tuning",
    summary: "the base model's norms are trained",
    source: "Zhao et al. 2023, arXiv:2312.11420",
    peft_type: Some("LN_TUNING"),
    mergeable: true,
    learning_rates: &[3e-4, 1e-3, 3e-3, 1e-2],
    harmless: &[],
    settings: &[("target_modules", super::Allowed::Modules), ("exclude_modules", super::Allowed::Modules)],
    defaults: || to_value(&LnTuning::default()),
    build: |settings, context| Ok(Box::new(Norms::new(settings, context)?)),
};

/// Settings, under PEFT's names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LnTuning {
    /// Default: every norm.
    target_modules: Option<Targets>,
    exclude_modules: Option<Targets>,
}

struct Norms {
    settings: LnTuning,
    /// The module paths of the norms that are trained.
    trained: BTreeSet<String>,
}

impl Norms {
    fn new(value: &Value, context: &Context) -> Result<Norms> {
        let mut settings: LnTuning = settings(&METHOD, value)?;
        let norms = context.model.norms();
        let name = |path: &&str| path.rsplit('.').next().unwrap_or(path).to_owned();
        let every = || Targets::Names(norms.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect());
        let targets = settings.target_modules.get_or_insert_with(every).clone();
        let exclude = settings.exclude_modules.as_ref();
        let selection = Selection { targets: &targets, exclude, layers: None, layers_pattern: &[] };
        let mut trained = BTreeSet::new();
        for path in &norms {
            if selection.contains(path)? {
                trained.insert((*path).to_owned());
            }
        }
        if trained.is_empty() {
            let names: BTreeSet<String> = norms.iter().map(name).collect();
            let expected =
                format!("norms of this model ({})", names.into_iter().collect::<Vec<_>>().join(", "));
            let found = serde_json::to_string(&targets).unwrap_or_default();
            return Err(refuse(&METHOD, "target_modules", &expected, found));
        }
        Ok(Norms { settings, trained })
    }

    /// The norm's path and which of its parts a weight is.
    fn part<'w>(&self, weight: &'w str) -> Option<(&'w str, &'w str)> {
        weight.rsplit_once('.').filter(|(path, _)| self.trained.contains(*path))
    }
}

impl Hooks for Norms {}

impl Adapter for Norms {
    fn unfreezes(&self, weight: &str) -> bool {
        self.part(weight).is_some()
    }

    fn sites<'m>(&self, model: &'m dyn Model) -> Vec<&'m str> {
        model.norms()
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(to_map(&self.settings))
    }

    fn key(&self, weight: &str) -> String {
        match self.part(weight) {
            Some((path, part)) => format!("base_model.model.{path}.ln_tuning_layers.{part}"),
            None => format!("base_model.model.{weight}"),
        }
    }
}
