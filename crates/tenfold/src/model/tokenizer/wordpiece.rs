//! BERT's older tokenizer files, vocab.txt and tokenizer_config.json, said as a tokenizer.json.

use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// The tokenizer.json that means the same as the vocabulary and the (optional) configuration beside it.
pub(super) fn describe(vocabulary: &Path, config: &Path) -> Result<Vec<u8>> {
    let settings = Settings::read(config)?;
    let content = fs::read_to_string(vocabulary).map_err(Error::io("read", vocabulary))?;
    let mut vocab = Map::new();
    for (id, token) in content.lines().enumerate() {
        if vocab.insert(token.to_owned(), json!(id)).is_some() {
            let place = format!("line {}", id + 1);
            return Err(Error::malformed(vocabulary, place, "each token once", format!("\"{token}\" again")));
        }
    }
    let id = |token: &str| {
        let missing =
            || Error::malformed(vocabulary, "tokens", format!("the token \"{token}\""), "none such");
        vocab.get(token).and_then(Value::as_u64).ok_or_else(missing)
    };
    let (unk, cls, sep) = (&settings.unk, &settings.cls, &settings.sep);
    let (cls_id, sep_id) = (id(cls)?, id(sep)?);
    let mut added = Vec::new();
    for token in [&settings.pad, unk, cls, sep, &settings.mask] {
        if let Some(id) = vocab.get(token.as_str()) {
            added.push(
                json!({"id": id, "content": token, "special": true, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false}),
            );
        }
    }
    id(unk)?;
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": settings.chinese,
            "strip_accents": settings.strip_accents, "lowercase": settings.lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": [sep, sep_id], "cls": [cls, cls_id]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    });
    Ok(whole.to_string().into_bytes())
}

/// What tokenizer_config.json may say; the defaults are those of Hugging Face's BertTokenizer.
struct Settings {
    lowercase: bool,
    chinese: bool,
    strip_accents: Option<bool>,
    unk: String,
    cls: String,
    sep: String,
    pad: String,
    mask: String,
}

impl Settings {
    fn read(config: &Path) -> Result<Settings> {
        let object: Map<String, Value> = if config.is_file() {
            let content = fs::read(config).map_err(Error::io("read", config))?;
            serde_json::from_slice(&content)
                .map_err(|error| Error::malformed(config, "whole file", "a JSON object", error.to_string()))?
        } else {
            Map::new()
        };
        let truth = |key: &str| object.get(key).and_then(Value::as_bool);
        // A token is a string, or an object with the string under "content".
        let token = |key: &str, default: &str| {
            let value = object.get(key).map(|value| value.get("content").unwrap_or(value));
            value.and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        Ok(Settings {
            lowercase: truth("do_lower_case").unwrap_or(true),
            chinese: truth("tokenize_chinese_chars").unwrap_or(true),
            strip_accents: truth("strip_accents"),
            unk: token("unk_token", "[UNK]"),
            cls: token("cls_token", "[CLS]"),
            sep: token("sep_token", "[SEP]"),
            pad: token("pad_token", "[PAD]"),
            mask: token("mask_token", "[MASK]"),
        })
    }
}
