//! What the small files beside a tokenizer say: tokenizer_config.json, generation_config.json, config.json.

use super::parts::Added;
use crate::model::files::Folder;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of a tokenizer's settings.
pub(in crate::model) const SETTINGS: &str = "tokenizer_config.json";

/// A tokenizer_config.json; without the file, an empty one.
#[derive(Debug)]
pub(super) struct Config {
    file: PathBuf,
    object: Arc<Map<String, Value>>,
}

impl Config {
    pub(super) fn read(folder: &Folder) -> Result<Config> {
        let object = folder.object(SETTINGS)?.unwrap_or_default();
        Ok(Config { file: folder.path().join(SETTINGS), object })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn truth(&self, key: &str) -> Option<bool> {
        self.object.get(key).and_then(Value::as_bool)
    }

    /// A token: a string, or an object with the string under "content".
    pub(super) fn token(&self, key: &str) -> Option<&str> {
        let value = self.object.get(key)?;
        value.get("content").unwrap_or(value).as_str()
    }

    /// Hugging Face's class of the tokenizer, without the "Fast" at its end.
    pub(super) fn class(&self) -> Option<&str> {
        let class = self.object.get("tokenizer_class")?.as_str()?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// `added_tokens_decoder`, if the file has it.
    pub(super) fn added(&self) -> Result<Vec<Added>> {
        let Some(entries) = self.object.get("added_tokens_decoder") else { return Ok(Vec::new()) };
        let fault = |place: String, expected: &str, found: String| {
            Error::malformed(&self.file, format!("added_tokens_decoder{place}"), expected, found)
        };
        let entries = entries
            .as_object()
            .ok_or_else(|| fault(String::new(), "an object of token id -> token", entries.to_string()))?;
        let added = entries.iter().map(|(id, entry)| {
            let read = || {
                let truth = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or_default();
                let content = entry.get("content")?.as_str()?.to_owned();
                Some(Added {
                    id: id.parse().ok()?,
                    content,
                    special: truth("special"),
                    lstrip: truth("lstrip"),
                    rstrip: truth("rstrip"),
                })
            };
            read().ok_or_else(|| {
                fault(format!(", {id}"), "an id and a token with its content", entry.to_string())
            })
        });
        added.collect()
    }

    /// A fault of one of the file's values.
    pub(super) fn unsupported(&self, class: &str, known: &str) -> Error {
        Error::Unsupported {
            what: format!("{}: the tokenizer class {class}", self.file.display()),
            why: format!(
                "without tokenizer.json, {known} can be read; save the tokenizer with Transformers once"
            ),
        }
    }
}

/// The ids that end a generated text and the file that states them: generation_config.json, or else config.json.
pub(super) fn end_ids(folder: &Folder) -> Result<Option<(PathBuf, Vec<u32>)>> {
    for name in ["generation_config.json", "config.json"] {
        let object = folder.object(name)?;
        let value = object.as_ref().and_then(|object| object.get("eos_token_id"));
        let Some(value) = value.filter(|value| !value.is_null()) else { continue };
        let listed =
            if let Value::Array(values) = value { values.as_slice() } else { std::slice::from_ref(value) };
        let ids = listed.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect::<Option<_>>();
        let file = folder.path().join(name);
        let ids = ids.ok_or_else(|| {
            Error::malformed(&file, "eos_token_id", "a token's id, or a list of them", value.to_string())
        })?;
        return Ok(Some((file, ids)));
    }
    Ok(None)
}
