//! Full fine-tuning: every weight is trained. The yardstick.
//!
//! Parameters: all of the base model and the head. Starts as the base model; nothing to merge.
//! PEFT has no type for it: the file holds the changed tensors under their own names.

use super::{Adapter, Context, Method};
use crate::error::Result;
use crate::model::Hooks;
use serde_json::{Map, Value};

pub(super) const METHOD: Method = Method {
    name: "full",
    title: "Full fine-tuning",
    summary: "every weight is trained; the yardstick",
    source: "Devlin et al. 2019, BERT",
    peft_type: None,
    mergeable: false,
    learning_rates: &[1e-5, 3e-5, 1e-4, 3e-4],
    harmless: &[],
    settings: &[],
    defaults: || Value::Object(Map::new()),
    build: |_: &Value, _: &Context| Ok(Box::new(Full)),
};

struct Full;

impl Hooks for Full {}

impl Adapter for Full {
    fn unfreezes(&self, _weight: &str) -> bool {
        true
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(Map::new())
    }

    fn key(&self, weight: &str) -> String {
        weight.to_owned()
    }
}

/// Hooks that leave the model alone, for weights that a method was merged into.
pub(super) fn untouched() -> Box<dyn Adapter> {
    Box::new(Full)
}
