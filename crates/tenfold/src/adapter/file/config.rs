//! The files of an adapter's folder, and what its configuration asks for.

use super::about::{ABOUT, About};
use super::{CHANGED, CONFIG, TENSORS};
use crate::adapter::{METHODS, Method, peft, resolve};
use crate::data::read_text;
use crate::error::{Error, Result};
use crate::model::TaskType;
use crate::model::checkpoint::Checkpoint;
use crate::plain_file;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

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

/// Types of tasks of PEFT that no model is asked for here.
const OTHER_TASKS: &[&str] = &["FEATURE_EXTRACTION"];

/// How an adapter is stored, and what its configuration says.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The file with the configuration.
    pub config_file: PathBuf,
    /// The file with the tensors.
    pub tensors_file: PathBuf,
    /// PEFT's configuration; empty for methods that PEFT does not have.
    pub config: Map<String, Value>,
    /// What `tenfold.json` says, if it is there.
    pub about: Option<About>,
}

impl Stored {
    /// Finds the files in a folder. Versions of Tenfold before `tenfold.json` wrote an adapter_config.json for every method.
    pub fn open(dir: &Path) -> Result<Stored> {
        let about = About::read(dir)?;
        let config_file = dir.join(CONFIG);
        if !config_file.exists() {
            if let Some(about) = &about
                && super::super::method(&about.method).is_ok_and(|method| method.peft_type.is_none())
                && !dir.join("config.json").is_file()
            {
                let (config_file, tensors_file) = (dir.join(ABOUT), dir.join(CHANGED));
                return Ok(Stored {
                    config_file,
                    tensors_file,
                    config: Map::new(),
                    about: Some(about.clone()),
                });
            }
            if dir.join("config.json").is_file() {
                let found = "a whole model (config.json): give this folder as --model, without --adapter";
                return Err(Error::malformed(dir, CONFIG, "an adapter's configuration", found));
            }
        }
        let config = read_config(&config_file)?;
        let tensors_file = dir.join(TENSORS);
        if !tensors_file.exists() && dir.join("adapter_model.bin").is_file() {
            return Err(Error::malformed(&tensors_file, "whole file", "tensors in safetensors", PICKLED));
        }
        Ok(Stored { config_file, tensors_file, config, about })
    }

    /// The method.
    pub fn method(&self) -> Result<&'static Method> {
        let named = |key: &str| self.config.get(key).and_then(Value::as_str);
        if let Some(name) = named("tenfold_method") {
            return crate::adapter::method(name);
        }
        let Some(peft_type) = named("peft_type") else {
            return match &self.about {
                Some(about) if self.config.is_empty() => crate::adapter::method(&about.method),
                _ => Err(Error::malformed(&self.config_file, "peft_type", "a method's name", "nothing")),
            };
        };
        let types = || METHODS.iter().filter_map(|method| method.peft_type);
        let found = METHODS.iter().find(|method| method.peft_type == Some(peft_type));
        found.ok_or_else(|| match peft::type_of(peft_type) {
            Some(title) => Error::Unsupported {
                what: format!("{}: peft_type {peft_type} ({title})", self.config_file.display()),
                why: format!(
                    "PEFT has it, this version of Tenfold does not; it has {}",
                    types().collect::<Vec<_>>().join(", ")
                ),
            },
            None => Error::unknown("peft_type", peft_type, types()),
        })
    }

    /// The method's settings among the configuration's keys. A key that this version does not know is passed over where its
    /// value leaves the result alone, and refused by name where it may not.
    pub fn settings(&self, method: &Method) -> Result<Value> {
        let Value::Object(defaults) = (method.defaults)() else { unreachable!("settings are a table") };
        let mut settings = Map::new();
        let mut faults = Vec::new();
        for (key, value) in &self.config {
            if defaults.contains_key(key) {
                settings.insert(key.clone(), value.clone());
            } else if !COMMON.contains(&key.as_str()) && !is_harmless(method, key, value) {
                faults.push(match peft::setting(method.peft_type, key) {
                    Some(words) => format!("{key} = {value}: {words}"),
                    None => format!("{key} = {value} is not supported with {}", method.title),
                });
            }
        }
        if !faults.is_empty() {
            return Err(Error::Faults { file: self.config_file.clone(), faults });
        }
        resolve(method, &settings)
    }

    /// What the configuration calls the base model.
    pub fn base_model(&self) -> Option<&str> {
        let named = self.config.get("base_model_name_or_path").and_then(Value::as_str);
        named
            .or(self.about.as_ref().map(|about| about.base_model.name.as_str()))
            .filter(|name| !name.is_empty())
    }

    /// What the configuration says that the model is asked for; `None` where it leaves that open.
    pub fn stated_task(&self) -> Result<Option<TaskType>> {
        match self.config.get("task_type") {
            None if self.config.is_empty() => Ok(self.about.as_ref().map(|about| about.task_type)),
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) if OTHER_TASKS.contains(&name.as_str()) => Err(Error::Unsupported {
                what: format!("{}: task_type {name}", self.config_file.display()),
                why: "PEFT has it, this version of Tenfold does not: hidden states are no answers".into(),
            }),
            Some(Value::String(name)) => TaskType::named(name).map(Some),
            Some(other) => {
                let expected = "the name of a task type, such as \"SEQ_CLS\"";
                Err(Error::malformed(&self.config_file, "task_type", expected, other.to_string()))
            }
        }
    }

    /// What the model is asked for, which the head in the file tells where the configuration does not. `usual` is what the
    /// base model is used for where nothing else is said.
    pub fn task(&self, usual: TaskType) -> Result<TaskType> {
        if let Some(task) = self.stated_task()? {
            return Ok(task);
        }
        let tensors = Checkpoint::open_file(&self.tensors_file)?;
        let has = |modules: &[&str]| {
            tensors.names().any(|name| name.split('.').any(|part| modules.contains(&part)))
        };
        match () {
            () if has(&["qa_outputs"]) => Ok(TaskType::QuestionAnswering),
            () if has(&["classifier", "score", "pre_classifier", "classification_head"]) => {
                Ok(TaskType::SequenceClassification)
            }
            () if usual.is_language_modelling() => Ok(usual),
            () => {
                let names: Vec<&str> = TaskType::ALL.iter().map(|task| task.name()).collect();
                let found = "none, and no head in the file that would tell what the adapter is for";
                Err(Error::malformed(
                    &self.config_file,
                    "task_type",
                    format!("one of {}", names.join(", ")),
                    found,
                ))
            }
        }
    }
}

/// What a file of pickled Python is, and how it becomes one of safetensors.
const PICKLED: &str = "adapter_model.bin, which holds pickled Python objects and is not read. To convert it, run in this \
    folder: python -c \"import torch; from safetensors.torch import save_file; t = torch.load('adapter_model.bin', \
    map_location='cpu', weights_only=True); save_file({k: v.contiguous() for k, v in t.items()}, 'adapter_model.safetensors')\"";

fn read_config(path: &Path) -> Result<Map<String, Value>> {
    let text = read_text(path, plain_file::SETTINGS)?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::malformed(path, place, "an adapter's configuration", error.to_string())
    })
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
