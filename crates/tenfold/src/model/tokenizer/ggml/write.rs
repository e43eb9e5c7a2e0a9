//! The tokenizer of a Hugging Face folder as GGUF metadata.
//!
//! What its tokenizer.json says is put into the keys that llama.cpp knows, these are read back as any file's are, and both
//! tokenizers are given the same texts. What differs cannot be said in a GGUF file and is refused.

mod compare;
mod kinds;

use super::super::config::Config;
use super::super::sentencepiece::Kind;
use super::super::{Tokenizer, described, none};
use super::{TOKENS, TYPES};
use crate::model::chat_template;
use crate::model::files::Folder;
use crate::model::gguf::{Array, Metadata, Value};
use crate::{Error, Result};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Named values for a GGUF file.
type Keys = BTreeMap<String, Value>;

/// The tokenizer and the chat template of a folder whose model has embeddings for so many tokens.
pub(in crate::model) fn to_ggml(folder: &Folder, rows: usize) -> Result<Keys> {
    let config = Config::read(folder)?;
    let (file, json) = described(folder.path(), &config)?.ok_or_else(|| none(folder.path()))?;
    let own = Tokenizer::of_described(folder, &config, file.clone(), &json)?;
    let json = serde_json::from_slice(&json)
        .map_err(|error| Error::malformed(&file, "whole file", "a JSON object", error.to_string()))?;
    let source = Source::new(file, &own, &config, json, rows)?;
    // Why the likeliest way is none.
    let mut why = None;
    for mut keys in source.ways()? {
        let read = Tokenizer::from_metadata(&Metadata::new(&source.file, keys.clone()));
        match read.and_then(|theirs| source.difference(&theirs)) {
            Ok(None) => {
                let template = chat_template::source(folder)?;
                keys.extend(
                    template.map(|(_, text)| ("tokenizer.chat_template".to_owned(), Value::String(text))),
                );
                return Ok(keys);
            }
            Ok(Some(difference)) => why = why.or(Some(difference)),
            Err(error) => why = why.or_else(|| Some(error.to_string())),
        }
    }
    Err(source.refuse("the tokenizer", why.unwrap_or_default()))
}

/// A tokenizer that is to be said in ggml's keys.
struct Source<'a> {
    file: PathBuf,
    own: &'a Tokenizer,
    config: &'a Config,
    json: Json,
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    /// What stands before and behind every text.
    around: [Option<u32>; 2],
}

impl<'a> Source<'a> {
    fn new(
        file: PathBuf,
        own: &'a Tokenizer,
        config: &'a Config,
        json: Json,
        rows: usize,
    ) -> Result<Source<'a>> {
        if own.vocab_size > rows {
            let expected = format!("at most {rows} tokens, as many as the model's embeddings");
            return Err(Error::malformed(file, "vocabulary", expected, own.vocab_size.to_string()));
        }
        // Rows of the embeddings without a token, which llama.cpp calls so too.
        let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![Kind::Unused; rows];
        for (token, id) in own.inner.get_vocab(true) {
            let place = id as usize;
            if kinds[place] != Kind::Unused {
                let [first, second] =
                    [tokens[place].clone().min(token.clone()), tokens[place].clone().max(token)];
                let found = format!("{first:?} and {second:?}");
                return Err(Error::malformed(file, format!("token {id}"), "one token", found));
            }
            (tokens[place], kinds[place]) = (token, Kind::Normal);
        }
        for (id, added) in own.inner.get_added_tokens_decoder() {
            kinds[id as usize] = if added.special { Kind::Control } else { Kind::UserDefined };
        }
        let mut source = Source { file, own, config, json, tokens, kinds, around: [None; 2] };
        source.around = source.read_around()?;
        Ok(source)
    }

    /// Keys that all kinds have.
    fn keys(&self, model: &str, tokens: Vec<String>) -> Keys {
        let types = self.kinds.iter().map(|kind| kind.number()).collect();
        let mut keys = Keys::from([
            ("tokenizer.ggml.model".to_owned(), Value::String(model.into())),
            (TOKENS.to_owned(), Value::Array(Array::Strings(tokens))),
            (TYPES.to_owned(), Value::Array(Array::I32(types))),
        ]);
        for (name, part) in super::SPECIAL {
            let id = self.config.token(name).and_then(|token| self.own.token_id(token));
            keys.extend(id.map(|id| id_key(part, id)));
        }
        let ends = self.own.eos_ids();
        for (part, id) in [("bos", self.around[0]), ("eos", ends.first().copied().or(self.around[1]))] {
            if let Some(id) = id {
                let (key, value) = id_key(part, id);
                keys.entry(key).or_insert(value);
            }
        }
        // Whatever else ends a text has two more places.
        let eos = keys.get("tokenizer.ggml.eos_token_id").cloned();
        let others = ends.iter().map(|id| Value::U32(*id)).filter(|id| Some(id) != eos.as_ref());
        keys.extend(others.zip(["eot", "eom"]).map(|(id, part)| (id_key(part, 0).0, id)));
        keys
    }

    fn read_around(&self) -> Result<[Option<u32>; 2]> {
        let (words, whole) = (self.own.words("a")?, self.own.encode("a", None, usize::MAX)?.ids);
        let at = whole.windows(words.len().max(1)).position(|window| window == words);
        let parts = at.map(|at| [&whole[..at], &whole[at + words.len()..]]);
        match parts {
            Some(parts) if parts.iter().all(|part| part.len() < 2) => {
                Ok(parts.map(|part| part.first().copied()))
            }
            _ => {
                let what = format!("{whole:?} for a text of {words:?}");
                Err(self.refuse(&what, "ggml puts at most one token before a text and one behind it".into()))
            }
        }
    }

    fn refuse(&self, what: &str, why: String) -> Error {
        Error::Unsupported { what: format!("{}: {what} in a GGUF file", self.file.display()), why }
    }
}

fn id_key(part: &str, id: u32) -> (String, Value) {
    (format!("tokenizer.ggml.{part}_token_id"), Value::U32(id))
}

#[cfg(test)]
mod tests;
