//! Adapters on disk, as Hugging Face PEFT 0.21 writes and reads them.
//!
//! Methods that PEFT does not have are saved the same way, under the base model's own names, with a
//! config whose `tenfold_method` says what they are.
//!
//! Beside the two files that PEFT reads stands a third of our own, `labels.json`: the names of the labels, a JSON list in
//! the order of the head's outputs. PEFT passes over it; an adapter without it answers with the outputs' numbers.

use super::{Context, METHODS, Method, NamedTensor, Tuning, resolve};
use crate::data::{hexadecimal, read_text};
use crate::error::{Error, Result};
use crate::model::TaskType;
use crate::model::checkpoint::{self, HostTensor};
use crate::plain_file;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of the configuration in an adapter's folder.
pub const CONFIG: &str = "adapter_config.json";
/// Name of the tensors in an adapter's folder.
pub const TENSORS: &str = "adapter_model.safetensors";

/// Name of the file with the labels' names in an adapter's folder.
pub const LABELS: &str = "labels.json";

/// Keys that say nothing about the result.
const COMMON: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
    "tenfold_method",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "token_dim",
];

/// Writes an adapter's two files into `dir`; returns their size in bytes.
pub fn write(dir: &Path, tuning: &Tuning, base_model: &str) -> Result<u64> {
    crate::atomic::create_folders(dir).map_err(Error::io("create", dir))?;
    let tensors: BTreeMap<String, HostTensor> = (tuning.tensors()?.into_iter())
        .map(|tensor| (tensor.name, HostTensor { shape: tensor.shape, data: tensor.numbers }))
        .collect();
    let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    checkpoint::write_tensors(&dir.join(TENSORS), &tensors, &format)?;
    let mut text = serde_json::to_string_pretty(&config(tuning, base_model)?)
        .unwrap_or_else(|error| unreachable!("a table of plain values: {error}"));
    text.push('\n');
    crate::atomic::write(&dir.join(CONFIG), text.as_bytes())?;
    [CONFIG, TENSORS].iter().try_fold(0, |sum, name| {
        let path = dir.join(name);
        Ok(sum + path.metadata().map_err(Error::io("read", &path))?.len())
    })
}

fn config(tuning: &Tuning, base_model: &str) -> Result<Value> {
    let mut config = tuning.adapter().config()?;
    match tuning.method().peft_type {
        Some(peft_type) => config.insert("peft_type".into(), peft_type.into()),
        None => config.insert("tenfold_method".into(), tuning.method().name.into()),
    };
    for (key, value) in [
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", base_model.into()),
        ("inference_mode", true.into()),
        ("modules_to_save", modules_to_save(tuning)),
        ("revision", Value::Null),
        ("task_type", tuning.task().name().into()),
    ] {
        config.insert(key.into(), value);
    }
    // serde_json keeps keys sorted, as PEFT writes them.
    Ok(Value::Object(config))
}

/// PEFT adds both of these for every classification by itself; a head with other modules names them too.
fn modules_to_save(tuning: &Tuning) -> Value {
    let usual: &[&str] = match tuning.task() {
        TaskType::SequenceClassification | TaskType::TokenClassification => &["classifier", "score"],
        TaskType::QuestionAnswering => &["qa_outputs"],
        TaskType::CausalLm | TaskType::Seq2SeqLm => return Value::Null,
    };
    let own = tuning.head().modules().into_iter().filter(|module| !usual.contains(module));
    own.chain(usual.iter().copied()).collect::<Vec<&str>>().into()
}

/// Writes what the outputs of a classifier's head are called into the folder of its adapter.
pub fn write_labels(dir: &Path, tuning: &Tuning, labels: &[String]) -> Result<()> {
    if tuning.task() != TaskType::SequenceClassification || labels.len() < 2 {
        return Ok(());
    }
    let text = serde_json::to_string(labels).unwrap_or_else(|error| unreachable!("a list of texts: {error}"));
    crate::atomic::write(&dir.join(LABELS), (text + "\n").as_bytes())
}

/// The names of the labels of an adapter, as many as its head has outputs; none if its folder does not tell.
pub fn read_labels(dir: &Path, outputs: usize) -> Result<Option<Vec<String>>> {
    let path = dir.join(LABELS);
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(&path, plain_file::SETTINGS)?;
    let expected = format!("a list of {outputs} names, one for each output of the head");
    let fault = |found: String| Error::malformed(&path, "whole file", expected.clone(), found);
    let labels: Vec<String> = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    if labels.len() == outputs { Ok(Some(labels)) } else { Err(fault(format!("{} names", labels.len()))) }
}

/// SHA-256 over the two files that PEFT reads, hexadecimal.
pub fn sha256(dir: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in [CONFIG, TENSORS] {
        let path = dir.join(name);
        let bytes = plain_file::read(&path, plain_file::TENSORS).map_err(Error::io("read", &path))?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// What an adapter's model is asked for, if its configuration says so.
pub fn task_type(dir: &Path) -> Result<Option<TaskType>> {
    let config = read_config(&dir.join(CONFIG))?;
    config.get("task_type").and_then(Value::as_str).map(TaskType::named).transpose()
}

fn read_config(path: &Path) -> Result<Map<String, Value>> {
    let text = plain_file::read_text(path, plain_file::SETTINGS).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::malformed(path, place, "an adapter's configuration", error.to_string())
    })
}

/// Reads an adapter, ours or PEFT's, onto a model.
pub fn read(dir: &Path, context: &Context) -> Result<Tuning> {
    let path = dir.join(CONFIG);
    let config = read_config(&path)?;
    let method = method_of(&path, &config)?;
    let settings = settings_of(&path, method, config).map_err(|error| about(&path, error))?;
    let (config_path, path) = (path, dir.join(TENSORS));
    let stored = checkpoint::read_tensors(&path)?;
    for (name, tensor) in &stored {
        if let Some(place) = tensor.data.iter().position(|number| !number.is_finite()) {
            let found = format!("{} at place {place}", tensor.data[place]);
            return Err(Error::malformed(&path, name, "finite numbers", found));
        }
    }
    let mut tensors: BTreeMap<String, NamedTensor> = (stored.into_iter())
        .map(|(name, tensor)| (name.clone(), NamedTensor { name, shape: tensor.shape, numbers: tensor.data }))
        .collect();
    // PEFT saves a second and third copy of a head's bias under bias="all".
    tensors.retain(|name, _| !name.contains(".original_module.") && !name.contains(".modules_to_save."));
    let labels = labels(&path, context.model.head().last_weight(), &tensors)?;
    let built = Tuning::new(method, &settings, context, labels);
    let mut tuning = built.map_err(|error| about(&config_path, error))?;
    tuning.restore(&mut tensors, context.backend).map_err(|error| about(&path, error))?;
    match tensors.keys().next() {
        None => Ok(tuning),
        Some(name) => Err(Error::malformed(
            &path,
            name,
            format!("tensors of {}", method.title),
            "a tensor of another kind",
        )),
    }
}

/// The fault of a setting or a tensor, with the file that it came from.
fn about(path: &Path, error: Error) -> Error {
    match error {
        Error::Malformed { place, expected, found, .. } => Error::malformed(path, place, expected, found),
        Error::Faults { faults, .. } => Error::Faults { file: path.to_owned(), faults },
        other => other,
    }
}

fn method_of(path: &Path, config: &Map<String, Value>) -> Result<&'static Method> {
    let named = |key: &str| config.get(key).and_then(Value::as_str);
    if let Some(name) = named("tenfold_method") {
        return super::method(name);
    }
    let peft_type = named("peft_type")
        .ok_or_else(|| Error::malformed(path, "peft_type", "a method's name", "nothing"))?;
    let found = METHODS.iter().find(|method| method.peft_type == Some(peft_type));
    found.ok_or_else(|| {
        Error::unknown("peft_type", peft_type, METHODS.iter().filter_map(|method| method.peft_type))
    })
}

/// The method's settings among a file's keys. A key that this version does not know is passed over
/// where its value leaves the result alone, and refused by name where it may not.
fn settings_of(path: &Path, method: &Method, config: Map<String, Value>) -> Result<Value> {
    let Value::Object(defaults) = (method.defaults)() else { unreachable!("settings are a table") };
    let mut settings = Map::new();
    let mut faults = Vec::new();
    for (key, value) in config {
        if defaults.contains_key(&key) {
            settings.insert(key, value);
        } else if !COMMON.contains(&key.as_str()) && !is_harmless(method, &key, &value) {
            faults.push(format!("{key} = {value} is not supported with {}", method.title));
        }
    }
    if !faults.is_empty() {
        return Err(Error::Faults { file: path.to_owned(), faults });
    }
    resolve(method, &settings)
}

fn is_harmless(method: &Method, key: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    let text = value.to_string();
    empty || method.harmless.iter().any(|(name, harmless)| *name == key && text == *harmless)
}

/// How many labels the saved head has; 1 where the model has no head.
fn labels(path: &Path, head: Option<String>, tensors: &BTreeMap<String, NamedTensor>) -> Result<usize> {
    let Some(name) = head else { return Ok(1) };
    let weight =
        tensors.values().find(|tensor| tensor.name == name || tensor.name.ends_with(&format!(".{name}")));
    match weight.map(|weight| weight.shape.as_slice()) {
        Some([labels, _]) if *labels > 0 => Ok(*labels),
        other => Err(Error::malformed(path, name, "a head [labels, hidden]", format!("{other:?}"))),
    }
}
