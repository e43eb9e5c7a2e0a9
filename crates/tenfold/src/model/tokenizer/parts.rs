//! The parts of a tokenizer.json that the older kinds of files and GGUF metadata are said in.

use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// SentencePiece's sign for a blank.
pub(super) const BLANK: char = '\u{2581}';

/// A token that is recognised in the text before anything else is.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    /// Left out by a decoding that skips special tokens.
    pub(super) special: bool,
    /// Swallows the white space before it, as RoBERTa's mask does.
    pub(super) lstrip: bool,
    /// Swallows the white space behind it, as Phi-3's signs of a turn do.
    pub(super) rstrip: bool,
}

impl Added {
    pub(super) fn special(id: u32, content: &str) -> Added {
        Added { id, content: content.to_owned(), special: true, lstrip: false, rstrip: false }
    }
}

/// The tokens that stand around every text.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    pub(super) before: Option<(String, u32)>,
    pub(super) after: Option<(String, u32)>,
}

impl Around {
    /// A post-processor that puts them around each text of one or two.
    pub(super) fn template(&self) -> Value {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        if before.is_none() && after.is_none() {
            return Value::Null;
        }
        let sequence = |id: &str, type_id: u32| {
            let special =
                |token: &(String, u32)| json!({"SpecialToken": {"id": token.0, "type_id": type_id}});
            let text = json!({"Sequence": {"id": id, "type_id": type_id}});
            [before.map(special), Some(text), after.map(special)].into_iter().flatten().collect::<Vec<_>>()
        };
        let special: Map<String, Value> = [before, after]
            .into_iter()
            .flatten()
            .map(|(token, id)| (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]})))
            .collect();
        let pair = [sequence("A", 0), sequence("B", 0)].concat();
        json!({"type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": special})
    }
}

/// A tokenizer.json in the making; what is null does nothing.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) added: Vec<Added>,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) model: Value,
}

impl Parts {
    pub(super) fn json(mut self) -> Vec<u8> {
        self.added.sort_by_key(|added| added.id);
        let added: Vec<Value> = (self.added.iter())
            .map(|added| {
                json!({"id": added.id, "content": added.content, "special": added.special, "single_word": false,
                    "lstrip": added.lstrip, "rstrip": added.rstrip, "normalized": false})
            })
            .collect();
        let whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": self.normalizer, "pre_tokenizer": self.pre_tokenizer,
            "post_processor": self.post_processor, "decoder": self.decoder, "model": self.model});
        whole.to_string().into_bytes()
    }
}

/// The ids of tokens, of which each must be there once.
pub(super) fn numbered<'a>(
    file: &Path,
    place: &str,
    tokens: impl IntoIterator<Item = &'a str>,
) -> Result<Map<String, Value>> {
    let mut vocab = Map::new();
    for (id, token) in tokens.into_iter().enumerate() {
        if vocab.insert(token.to_owned(), json!(id)).is_some() {
            return Err(Error::malformed(
                file,
                format!("{place} {id}"),
                "each token once",
                format!("{token:?} again"),
            ));
        }
    }
    Ok(vocab)
}
