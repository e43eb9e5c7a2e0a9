//! What stands in a folder beside the weights: the source's own files, or what a GGUF file's metadata say.

use super::{Original, Plan};
use crate::atomic;
use crate::error::{Error, Result};
use crate::model::CONFIG;
use crate::model::beside::special;
use crate::model::ggml::Architecture;
use crate::model::gguf::{Gguf, Metadata};
use crate::model::tokenizer;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// Ends of files that are copied; those of weights are not among them, nor are README and licence without an end.
const COPIED: [&str; 5] = ["json", "jinja", "txt", "model", "md"];

/// Writes all files but the weights.
pub(super) fn write(original: &Original, plan: &Plan, folder: &Path) -> Result<()> {
    let mut config = original.config.keys().clone();
    match &original.gguf {
        Some(gguf) => tell(gguf, &mut config, folder)?,
        None => copy(&original.dir, folder, true)?,
    }
    // The second is what versions before 4.56 look for.
    for key in ["dtype", "torch_dtype"] {
        config.insert(key.into(), plan.rest.torch.into());
    }
    config.remove("quantization_config");
    if let Some(skipped) = &plan.skipped {
        config.insert("quantization_config".into(), four_bit(skipped, plan.rest.torch));
    }
    put(folder, CONFIG, &Value::Object(config))
}

/// Writes a JSON file.
pub(super) fn put(folder: &Path, name: &str, content: &Value) -> Result<()> {
    atomic::write(&folder.join(name), format!("{content:#}\n").as_bytes())
}

/// Transformers' BitsAndBytesConfig.
fn four_bit(skipped: &[String], compute: &str) -> Value {
    json!({
        "quant_method": "bitsandbytes",
        "load_in_4bit": true,
        "load_in_8bit": false,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": true,
        "bnb_4bit_compute_dtype": compute,
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": skipped,
    })
}

/// Copies the files that are no weights, those of folders in it too (sentence-transformers has some).
fn copy(from: &Path, to: &Path, folders: bool) -> Result<()> {
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = entry.map_err(Error::io("read", from))?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let end = path.extension().map(|end| end.to_string_lossy().to_lowercase());
        let wanted = end.is_none_or(|end| COPIED.contains(&end.as_str())) && !name.starts_with('.');
        // The index of shards is of the old files.
        if !wanted || name == CONFIG && folders || name.ends_with(".index.json") {
            continue;
        }
        let target = to.join(&name);
        if path.is_file() {
            fs::copy(&path, &target).map_err(Error::io("copy", &path))?;
        } else if folders && path.is_dir() {
            fs::create_dir(&target).map_err(Error::io("create", &target))?;
            copy(&path, &target, false)?;
            // A folder of weights alone leaves nothing; one that is not empty stays.
            let _ = fs::remove_dir(&target);
        }
    }
    Ok(())
}

/// Says a GGUF file's metadata as Hugging Face's files.
fn tell(gguf: &Gguf, config: &mut Map<String, Value>, folder: &Path) -> Result<()> {
    let metadata = gguf.metadata();
    let name = metadata.string("general.architecture")?;
    let known = || metadata.fault("general.architecture", Architecture::known(), name);
    let architecture = match Architecture::named(name).ok_or_else(known)?.class {
        "BertModel" if gguf.get("cls.output.weight").is_some() => "BertForSequenceClassification",
        class => class,
    };
    config.insert("architectures".into(), json!([architecture]));
    if let Some(labels) =
        gguf.get("cls.output.weight").and_then(|classifier| classifier.shape.first().copied())
    {
        config.insert("num_labels".into(), labels.into());
    }
    // Versions before 5 look for it here.
    if let Some(base) = config.get("rope_parameters").and_then(|rope| rope.get("rope_theta")).cloned() {
        config.insert("rope_theta".into(), base);
    }
    let described = tokenizer::describe_gguf(metadata)?;
    let inputs: &[&str] = match architecture.starts_with("Bert") {
        true => &["input_ids", "token_type_ids", "attention_mask"],
        false => &["input_ids", "attention_mask"],
    };
    let mut settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs,
        "model_max_length": config.get("max_position_embeddings"), "clean_up_tokenization_spaces": false});
    let mut generation = json!({});
    for (name, token, id) in special(metadata)? {
        settings[name] = token.into();
        if ["bos_token", "eos_token", "pad_token"].contains(&name) {
            config.insert(format!("{name}_id"), id.into());
            generation[format!("{name}_id")] = id.into();
        }
    }
    let mut ends = described.eos;
    ends.sort();
    ends.dedup();
    if !ends.is_empty() {
        generation["eos_token_id"] = json!(ends);
    }
    atomic::write(&folder.join("tokenizer.json"), &described.json)?;
    put(folder, "tokenizer_config.json", &settings)?;
    if !architecture.starts_with("Bert") {
        put(folder, "generation_config.json", &generation)?;
    }
    match metadata.optional("tokenizer.chat_template", Metadata::string)? {
        Some(template) => atomic::write(&folder.join("chat_template.jinja"), template.as_bytes()),
        None => Ok(()),
    }
}
