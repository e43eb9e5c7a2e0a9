//! BitFit: the biases of the base model are trained, its weights are not.
//!
//! Parameters: every bias, norms included, and the head. Starts as the base model; nothing to merge.
//! Paper: Ben Zaken et al. 2022, arXiv:2106.10199.

use super::{Adapter, Context, Method};
use crate::error::{Error, Result};
use crate::model::Hooks;
use serde_json::{Map, Value};

pub(super) const METHOD: Method = Method {
    name: "bitfit",
    title: "BitFit",
    summary: "the base model's biases are trained",
    source: "Ben Zaken et al. 2022, arXiv:2106.10199",
    peft_type: None,
    mergeable: false,
    learning_rates: &[3e-4, 1e-3, 3e-3, 1e-2],
    harmless: &[],
    settings: &[],
    defaults: || Value::Object(Map::new()),
    build: |_: &Value, context: &Context| build(context),
};

struct BitFit;

fn build(context: &Context) -> Result<Box<dyn Adapter>> {
    if !context.model.weights().iter().any(|weight| weight.name.ends_with(".bias")) {
        let found = format!(
            "{}, which has none: the head alone would be trained, if there is one",
            context.model.family()
        );
        return Err(Error::malformed("study", METHOD.name, "a model with biases", found));
    }
    Ok(Box::new(BitFit))
}

impl Hooks for BitFit {}

impl Adapter for BitFit {
    fn unfreezes(&self, weight: &str) -> bool {
        weight.ends_with(".bias")
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(Map::new())
    }

    fn key(&self, weight: &str) -> String {
        weight.to_owned()
    }
}
