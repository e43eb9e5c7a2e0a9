//! What else stands in the folder of an adapter or a whole model: the tokenizer's files, and load.py.

use super::about::Reads;
use super::load_py::{self, Script};
use crate::adapter::{Tuning, virtual_tokens};
use crate::error::Result;
use crate::model::{self, Hooks, Model, ModelFiles};
use std::path::Path;

pub use super::load_py::Holds;

/// What a folder needs for people who load it in Python.
pub struct Beside<'a> {
    /// The base model's files.
    pub files: &'a ModelFiles,
    /// What a request is.
    pub reads: Reads,
    /// What the folder holds.
    pub holds: Holds,
}

/// Writes the tokenizer's files, chat template included, and load.py into the folder of `tuning`.
pub fn write_beside(dir: &Path, beside: &Beside, tuning: &Tuning, model: &dyn Model) -> Result<()> {
    model::copy_tokenizer(beside.files, dir)?;
    let extents = model.extents();
    let script = Script {
        task: tuning.task(),
        holds: beside.holds,
        reads: beside.reads,
        outputs: outputs(tuning),
        max_length: extents.max_positions.saturating_sub(virtual_tokens(&tuning.adapter().config()?)),
        has_token_types: (2..usize::MAX).contains(&extents.token_types),
        is_gguf: beside.files.gguf()?.is_some(),
        has_prefixes: tuning.method().peft_type == Some("PREFIX_TUNING"),
    };
    match load_py::write(&script) {
        Some(text) => crate::atomic::write(&dir.join(load_py::NAME), text.as_bytes()),
        None => Ok(()),
    }
}

/// How many numbers the head puts out for a text; 1 where it has none.
pub(in crate::adapter) fn outputs(tuning: &Tuning) -> usize {
    let last = tuning.head().last_weight().and_then(|name| tuning.trained(&name));
    last.map_or(1, |weight| weight.shape()[0])
}
