//! WordPiece, BERT's: a vocabulary and a few settings, from vocab.txt and tokenizer_config.json or from GGUF.

use super::config::Config;
use super::parts::{Added, Parts, numbered};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// vocab.txt, with the tokenizer_config.json beside it, said as a tokenizer.json.
pub(super) fn describe(vocabulary: &Path, config: &Config) -> Result<Vec<u8>> {
    let content = super::read_text(vocabulary)?;
    Ok(parts(vocabulary, "line", content.lines(), &Settings::from_config(config))?.json())
}

/// What there is to settle; the defaults are those of Hugging Face's BertTokenizer.
pub(super) struct Settings {
    pub(super) lowercase: bool,
    pub(super) chinese: bool,
    /// `None`: if it is lowercased.
    pub(super) strip_accents: Option<bool>,
    pub(super) unk: String,
    pub(super) cls: String,
    pub(super) sep: String,
    pub(super) pad: String,
    pub(super) mask: String,
}

impl Settings {
    fn from_config(config: &Config) -> Settings {
        let token = |key: &str, default: &str| config.token(key).unwrap_or(default).to_owned();
        Settings {
            lowercase: config.truth("do_lower_case").unwrap_or(true),
            chinese: config.truth("tokenize_chinese_chars").unwrap_or(true),
            strip_accents: config.truth("strip_accents"),
            unk: token("unk_token", "[UNK]"),
            cls: token("cls_token", "[CLS]"),
            sep: token("sep_token", "[SEP]"),
            pad: token("pad_token", "[PAD]"),
            mask: token("mask_token", "[MASK]"),
        }
    }
}

/// Tokens in the order of their ids, those that go on with a word beginning with "##"; `place` names one in an error.
pub(super) fn parts<'a>(
    file: &Path,
    place: &str,
    tokens: impl IntoIterator<Item = &'a str>,
    settings: &Settings,
) -> Result<Parts> {
    let Settings { unk, cls, sep, pad, mask, .. } = settings;
    let vocab = numbered(file, place, tokens)?;
    let id = |token: &str| vocab.get(token).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let required = |token: &str| {
        id(token)
            .ok_or_else(|| Error::malformed(file, "tokens", format!("the token \"{token}\""), "none such"))
    };
    required(unk)?;
    let (cls_id, sep_id) = (required(cls)?, required(sep)?);
    let special = [pad, unk, cls, sep, mask].into_iter();
    let added = special.filter_map(|token| Some(Added::special(id(token)?, token))).collect();
    Ok(Parts {
        added,
        normalizer: json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": settings.chinese,
            "strip_accents": settings.strip_accents, "lowercase": settings.lowercase}),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor: json!({"type": "BertProcessing", "sep": [sep, sep_id], "cls": [cls, cls_id]}),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        model: json!({"type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab}),
    })
}
