//! Trainable tokens: the rows of a few tokens in the table of word embeddings are trained.
//!
//! `embedding(t) = D[i]` for the i-th of `token_indices`, the base's own row for every other token; where the model answers with
//! the same table, its logits see D too. No paper: the method is Hugging Face PEFT's.
//! Parameters: token_indices · hidden. D starts at the base's rows: the identity at step 0. Mergeable: D's rows in the place
//! of the base's. Not convertible to LoRA.
//!
//! Inputs have their rows replaced one by one. A table that makes the logits too is replaced as a whole, as in PEFT: in training it
//! takes memory for two such tables in f32. PEFT trains no head with this method; here a task's head is trained as with every
//! method, and a file without one leaves the model's own.

use super::settings::Allowed;
use super::targets::Targets;
use super::{Adapter, Context, Method, NamedTensor, refuse, settings, take, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Model, Weight};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Backend, Param, Tensor};

pub(super) const METHOD: Method = Method {
    name: "trainable_tokens",
    title: "Trainable tokens",
    summary: "the embeddings of chosen tokens are trained",
    source: "Hugging Face PEFT",
    peft_type: Some("TRAINABLE_TOKENS"),
    mergeable: true,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[("init_weights", "true")],
    settings: &[("token_indices", Allowed::Tokens), ("target_modules", Allowed::Modules)],
    defaults: || to_value(&TrainableTokens::default()),
    build: |settings, context| Ok(Box::new(Tokens::new(settings, context)?)),
};

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TrainableTokens {
    /// Ids of the tokens; there has to be one.
    token_indices: Vec<u32>,
    /// The table of word embeddings, which is the default.
    target_modules: Option<Targets>,
}

struct Tokens {
    settings: TrainableTokens,
    /// The base's table.
    table: Weight,
    /// Modules that have the same table by other names.
    tied: Vec<String>,
    /// Whether the table makes the logits too.
    answers: bool,
    /// D: \[tokens, hidden\].
    rows: Param,
    /// The row of D of each token.
    places: BTreeMap<u32, u32>,
}

impl Tokens {
    fn new(value: &Value, context: &Context) -> Result<Tokens> {
        let mut settings: TrainableTokens = settings(&METHOD, value)?;
        let (table, model) = (context.model.word_embeddings().clone(), context.model);
        let path = path(&table);
        let targets = settings.target_modules.get_or_insert_with(|| Targets::Pattern(path.to_owned()));
        // PEFT writes the path as it is, whose dots a pattern takes for any character.
        if !targets.contain(path)? {
            let found = serde_json::to_string(targets).unwrap_or_default();
            let expected = format!("the table of word embeddings ({path})");
            return Err(refuse(&METHOD, "target_modules", &expected, found));
        }
        let count = model.extents().vocab_size;
        let ids = &settings.token_indices;
        let places: BTreeMap<u32, u32> = ids.iter().copied().zip(0..).collect();
        if ids.is_empty() || places.len() != ids.len() || ids.iter().any(|id| *id as usize >= count) {
            let expected = format!("ids of tokens, each once, 0 to {}", count.saturating_sub(1));
            return Err(refuse(&METHOD, "token_indices", &expected, format!("{ids:?}")));
        }
        let name = delta(path);
        let numbers = table.tensor.select_rows(ids)?.numbers()?;
        let rows = Param::new(context.backend, name, &[ids.len(), table.tensor.cols()], numbers)?;
        let tied = model.tied_embeddings().into_iter().map(str::to_owned).collect();
        let answers = model.vocabulary().is_some_and(|vocabulary| vocabulary.weight.name == table.name);
        Ok(Tokens { settings, table, tied, answers, rows, places })
    }
}

/// The module of a weight.
fn path(weight: &Weight) -> &str {
    weight.name.strip_suffix(".weight").unwrap_or(&weight.name)
}

/// The key of a module's rows in PEFT's file.
fn delta(path: &str) -> String {
    format!("base_model.model.{path}.trainable_tokens_delta")
}

impl Hooks for Tokens {
    fn embed(&self, _forward: &Forward, ids: &[u32], x: Tensor) -> Result<Tensor> {
        let own = ids.iter().zip(0..).filter_map(|(id, row)| Some((row, *self.places.get(id)?)));
        let (at, rows): (Vec<u32>, Vec<u32>) = own.unzip();
        if at.is_empty() {
            return Ok(x);
        }
        Ok(x.replace_rows(&self.rows.tensor().select_rows(&rows)?, &at)?)
    }

    fn vocabulary(&self, weight: &Weight) -> Result<Option<Tensor>> {
        if !self.answers || weight.name != self.table.name {
            return Ok(None);
        }
        Ok(Some(weight.tensor.replace_rows(&self.rows.tensor(), &self.settings.token_indices)?))
    }
}

impl Adapter for Tokens {
    fn sites<'m>(&self, model: &'m dyn Model) -> Vec<&'m str> {
        vec![path(model.word_embeddings())]
    }

    fn parameters(&self) -> Vec<Param> {
        vec![self.rows.clone()]
    }

    fn merged_embeddings(&self) -> Result<Option<Vec<f32>>> {
        let (mut table, rows) = (self.table.tensor.numbers()?, self.rows.numbers()?);
        let cols = self.table.tensor.cols();
        for (id, row) in self.settings.token_indices.iter().zip(rows.chunks_exact(cols)) {
            table[*id as usize * cols..][..cols].copy_from_slice(row);
        }
        Ok(Some(table))
    }

    fn config(&self) -> Result<Map<String, Value>> {
        let mut config = to_map(&self.settings);
        config.insert("init_weights".into(), true.into());
        Ok(config)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let own = NamedTensor::of(&self.rows)?;
        let tied = self.tied.iter().map(|path| NamedTensor { name: delta(path), ..own.clone() });
        Ok(tied.chain([own.clone()]).collect())
    }

    fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        _backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        let rows = take(tensors, self.rows.name(), self.rows.shape())?;
        for path in &self.tied {
            let same = tensors.remove(&delta(path)).is_none_or(|tensor| tensor.numbers == rows);
            if !same {
                let (expected, found) = ("the rows of the table that it shares", "others");
                let file = "adapter_model.safetensors";
                return Err(crate::error::Error::malformed(file, delta(path), expected, found));
            }
        }
        Ok(self.rows.set(rows)?)
    }
}
