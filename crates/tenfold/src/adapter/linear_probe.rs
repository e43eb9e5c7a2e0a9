//! Linear probe: the head alone is trained, on features that never change and are computed once.
//!
//! Parameters: the head. Starts as the base model; nothing to merge (Alain & Bengio 2016).
//! Dropout acts on the features only, since the model below them runs as in evaluation.

use super::{Adapter, Context, Method};
use crate::error::Result;
use crate::model::Hooks;
use serde_json::{Map, Value};

pub(super) const METHOD: Method = Method {
    name: "linear_probe",
    title: "Linear probe",
    summary: "the head alone is trained, on cached features",
    source: "Alain & Bengio 2016, arXiv:1610.01644",
    peft_type: None,
    mergeable: false,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[],
    settings: &[],
    defaults: || Value::Object(Map::new()),
    build: |_: &Value, _: &Context| Ok(Box::new(LinearProbe)),
};

struct LinearProbe;

impl Hooks for LinearProbe {
    fn leaves_features_alone(&self) -> bool {
        true
    }
}

impl Adapter for LinearProbe {
    fn config(&self) -> Result<Map<String, Value>> {
        Ok(Map::new())
    }

    fn key(&self, weight: &str) -> String {
        weight.to_owned()
    }
}
