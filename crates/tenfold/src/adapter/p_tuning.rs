//! P-tuning: virtual tokens that a small network makes out of trained embeddings.
//!
//! `embeddings = [MLP(E); words]`, MLP = Linear, ReLU, Linear, ReLU, Linear.
//! Paper: Liu et al. 2021, arXiv:2103.10385 (there with an LSTM, and virtual tokens anywhere in the
//! text; PEFT recommends the MLP and puts them first, so do we). Parameters: tokens · hidden and the
//! MLP. Not the identity at step 0; not mergeable. Starts as torch starts its modules. The file
//! holds the network's output alone, so a loaded adapter has no network any more.

use super::settings::{ANY, Allowed, WIDEST};
use super::virtual_tokens::{self, Table};
use super::{Adapter, Context, Method, NamedTensor, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Activation, Backend, Param, Tensor};

pub(super) const METHOD: Method = Method {
    name: "p_tuning",
    title: "P-tuning",
    summary: "virtual tokens out of a small trained network",
    source: "Liu et al. 2021, arXiv:2103.10385",
    peft_type: Some("P_TUNING"),
    mergeable: false,
    learning_rates: &[3e-4, 1e-3, 3e-3, 1e-2],
    harmless: &[],
    settings: &[
        ("num_virtual_tokens", Allowed::Whole(1, ANY)),
        ("encoder_hidden_size", Allowed::Whole(1, WIDEST)),
        ("encoder_reparameterization_type", Allowed::Word(&["MLP"])),
        ("encoder_num_layers", Allowed::Whole(0, ANY)),
        ("encoder_dropout", Allowed::Probability),
    ],
    defaults: || to_value(&PTuning::default()),
    build: |settings, context| Ok(Box::new(PromptEncoder::new(settings, context)?)),
};

/// Settings, under PEFT's names. PEFT has no default for the first two.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PTuning {
    num_virtual_tokens: usize,
    encoder_hidden_size: usize,
    encoder_reparameterization_type: String,
    /// PEFT ignores both for the MLP.
    encoder_num_layers: usize,
    encoder_dropout: f64,
}

impl Default for PTuning {
    fn default() -> PTuning {
        PTuning {
            num_virtual_tokens: 20,
            encoder_hidden_size: 128,
            encoder_reparameterization_type: "MLP".into(),
            encoder_num_layers: 2,
            encoder_dropout: 0.0,
        }
    }
}

struct PromptEncoder {
    settings: PTuning,
    keys: Map<String, Value>,
    table: Table,
}

impl PromptEncoder {
    fn new(value: &Value, context: &Context) -> Result<PromptEncoder> {
        let settings: PTuning = settings(&METHOD, value)?;
        let tokens = virtual_tokens::check_count(&METHOD, context.model, settings.num_virtual_tokens)?;
        let (hidden, inner) = (context.model.extents().hidden_size, settings.encoder_hidden_size);
        let widths = [hidden, inner, inner, hidden];
        let rows = tokens * context.model.extents().num_submodules;
        let table = Table::network(context, rows, &widths, "mlp_head", Activation::Relu)?;
        Ok(PromptEncoder { settings, keys: virtual_tokens::config_keys(context.model), table })
    }
}

impl Hooks for PromptEncoder {
    fn prompt(&self, _forward: &Forward) -> Result<Option<Tensor>> {
        virtual_tokens::first(self.table.encode()?, self.settings.num_virtual_tokens).map(Some)
    }
}

impl Adapter for PromptEncoder {
    fn parameters(&self) -> Vec<Param> {
        self.table.parameters()
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(to_map(&self.settings).into_iter().chain(self.keys.clone()).collect())
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        self.table.tensors()
    }

    fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        self.table.restore(tensors, backend)
    }

    fn key(&self, weight: &str) -> String {
        format!("base_model.{weight}")
    }
}
