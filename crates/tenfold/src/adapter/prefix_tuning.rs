//! Prefix tuning: trained keys and values that every layer's attention sees.
//!
//! `attention(Q, [P_k; K], [P_v; V])` in every layer, P \[num_virtual_tokens, layers · 2 · kv_size\], a
//! layer's keys before its values. Paper: Li & Liang 2021, arXiv:2101.00190. Parameters:
//! num_virtual_tokens · layers · 2 · kv_size, or with `prefix_projection` an embedding and the paper's
//! two-layer network that makes P out of it. Not the identity at step 0; not mergeable. Starts normal,
//! as torch.nn.Embedding. In BERT tokens take the positions behind the prefix, as in Transformers.

use super::settings::{ANY, Allowed, WIDEST};
use super::virtual_tokens::{self, KEY, Table};
use super::{Adapter, Context, Method, NamedTensor, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Extents, Forward, Hooks};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Activation, Backend, Param, Tensor};

pub(super) const METHOD: Method = Method {
    name: "prefix_tuning",
    title: "Prefix tuning",
    summary: "trained keys and values in every attention",
    source: "Li & Liang 2021, arXiv:2101.00190",
    peft_type: Some("PREFIX_TUNING"),
    mergeable: false,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[],
    settings: &[
        ("num_virtual_tokens", Allowed::Whole(1, ANY)),
        ("prefix_projection", Allowed::Flag),
        ("encoder_hidden_size", Allowed::Whole(1, WIDEST)),
        ("init_weights", Allowed::Word(&["zero"])),
    ],
    defaults: || to_value(&PrefixTuning::default()),
    build: |settings, context| Ok(Box::new(Prefix::new(settings, context)?)),
};

/// Settings, under PEFT's names. PEFT has no default for `num_virtual_tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PrefixTuning {
    num_virtual_tokens: usize,
    prefix_projection: bool,
    /// Width of the projection's inner layer; default: the model's.
    encoder_hidden_size: Option<usize>,
    /// "zero", or nothing for the normal distribution.
    init_weights: Option<String>,
}

impl Default for PrefixTuning {
    fn default() -> PrefixTuning {
        PrefixTuning {
            num_virtual_tokens: 20,
            prefix_projection: false,
            encoder_hidden_size: None,
            init_weights: None,
        }
    }
}

struct Prefix {
    settings: PrefixTuning,
    keys: Map<String, Value>,
    extents: Extents,
    table: Table,
}

impl Prefix {
    fn new(value: &Value, context: &Context) -> Result<Prefix> {
        let mut settings: PrefixTuning = settings(&METHOD, value)?;
        let extents = context.model.extents();
        let tokens = virtual_tokens::check_count(&METHOD, context.model, settings.num_virtual_tokens)?;
        let inner = *settings.encoder_hidden_size.get_or_insert(extents.hidden_size);
        let zero = settings.init_weights.is_some();
        let (width, all) = (extents.kv_size, extents.num_layers * 2 * extents.kv_size);
        let table = match settings.prefix_projection {
            false => Table::Direct(context.normal(KEY, &[tokens, all], 1.0)?),
            true => Table::network(context, tokens, &[width, inner, all], "transform", Activation::Tanh)?,
        };
        if zero {
            table.start_at_zero()?;
        }
        let mut keys = virtual_tokens::config_keys(context.model);
        keys.insert("token_dim".into(), width.into());
        keys.insert("num_attention_heads".into(), extents.num_key_value_heads.into());
        Ok(Prefix { settings, keys, extents, table })
    }
}

impl Hooks for Prefix {
    fn prefix(&self, _forward: &Forward, layer: usize) -> Result<Option<(Tensor, Tensor)>> {
        let (all, width) = (self.table.encode()?, self.extents.kv_size);
        // PEFT deals an encoder-decoder's layers four parts each of a table that holds two for each, over and over, and
        // uses the first two of the four.
        let parts = 2 * self.extents.num_layers;
        let first = layer * 2 * self.extents.num_submodules % parts * width;
        Ok(Some((all.select_columns(first, width)?, all.select_columns(first + width, width)?)))
    }

    fn prefix_len(&self) -> usize {
        self.settings.num_virtual_tokens
    }
}

impl Adapter for Prefix {
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
