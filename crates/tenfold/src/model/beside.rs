//! The files of a model that stand beside its weights and that a tuned model needs too: the tokenizer's, the chat
//! template, the settings of generation.

use super::files::ModelFiles;
use super::gguf::{Gguf, Metadata};
use super::tokenizer::{SPECIAL, describe_gguf};
use crate::atomic;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The tokenizer's files, in whichever form a model has them, and its chat template.
const TOKENIZER: [&str; 13] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];
/// How text is generated.
const GENERATION: &str = "generation_config.json";

/// Writes the tokenizer's files of a model into a folder, its chat template included, as Transformers reads them.
pub fn copy_tokenizer(files: &ModelFiles, to: &Path) -> Result<()> {
    match files.gguf()? {
        Some(gguf) => tell(&gguf, to),
        None => copy(files.dir(), to, &TOKENIZER),
    }
}

/// Writes the settings of generation of a model into a folder, where it has any.
pub fn copy_generation(files: &ModelFiles, to: &Path) -> Result<()> {
    match files.gguf()? {
        Some(gguf) => tell_generation(gguf.metadata(), to),
        None => copy(files.dir(), to, &[GENERATION]),
    }
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let source = from.join(name);
        if source.is_file() {
            let content = fs::read(&source).map_err(Error::io("read", &source))?;
            atomic::write(&to.join(name), &content)?;
        }
    }
    Ok(())
}

/// The tokenizer in a GGUF file's metadata, as Hugging Face's files.
fn tell(gguf: &Gguf, to: &Path) -> Result<()> {
    let metadata = gguf.metadata();
    let described = describe_gguf(metadata)?;
    let inputs: &[&str] = match metadata.string("general.architecture")? {
        "bert" => &["input_ids", "token_type_ids", "attention_mask"],
        _ => &["input_ids", "attention_mask"],
    };
    let mut settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs,
        "clean_up_tokenization_spaces": false});
    for (name, token, _) in special(metadata)? {
        settings[name] = token.into();
    }
    atomic::write(&to.join("tokenizer.json"), &described.json)?;
    put(&to.join("tokenizer_config.json"), &settings)?;
    match metadata.optional("tokenizer.chat_template", Metadata::string)? {
        Some(template) => atomic::write(&to.join("chat_template.jinja"), template.as_bytes()),
        None => Ok(()),
    }
}

fn tell_generation(metadata: &Metadata, to: &Path) -> Result<()> {
    let mut settings = json!({});
    for (name, _, id) in special(metadata)? {
        if ["bos_token", "eos_token", "pad_token"].contains(&name) {
            settings[format!("{name}_id")] = id.into();
        }
    }
    let mut ends = describe_gguf(metadata)?.eos;
    ends.sort_unstable();
    ends.dedup();
    if !ends.is_empty() {
        settings["eos_token_id"] = json!(ends);
    }
    put(&to.join(GENERATION), &settings)
}

fn put(path: &Path, content: &Value) -> Result<()> {
    atomic::write(path, format!("{content:#}\n").as_bytes())
}

/// Special tokens by Hugging Face's name, each with its text and its id.
pub(super) fn special(metadata: &Metadata) -> Result<Vec<(&'static str, String, u32)>> {
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    let mut found = Vec::new();
    for (name, part) in SPECIAL {
        let key = format!("tokenizer.ggml.{part}_token_id");
        if let Some(id) = metadata.optional(&key, Metadata::u32)? {
            let fault = || metadata.fault(&key, format!("an id below {}", tokens.len()), id.to_string());
            found.push((name, tokens.get(id as usize).ok_or_else(fault)?.clone(), id));
        }
    }
    Ok(found)
}
