//! `config.json`: keys by Hugging Face's names, each checked where it is read.

mod keys;

use crate::error::{Error, Result};
use crate::first_bytes;
use crate::plain_file;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tenfold_tensor::Activation;

/// A model's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    file: PathBuf,
    keys: Map<String, Value>,
}

/// Extents above this are slips or malice, and no product of three of them overflows.
const MOST: usize = 1 << 20;

/// Reads the keys of a file as they stand there.
pub fn keys_of(file: &Path) -> Result<Map<String, Value>> {
    let text = first_bytes::read_text(file, "a model's configuration", plain_file::SETTINGS)?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::malformed(file, place, "a model's configuration", error.to_string())
    })
}

/// Reads the object in another of a model's JSON files.
pub fn object_of(file: &Path) -> Result<Map<String, Value>> {
    let content = first_bytes::read(file, "a JSON object", plain_file::TOKENIZER)?;
    serde_json::from_slice(&content)
        .map_err(|error| Error::malformed(file, "whole file", "a JSON object", error.to_string()))
}

impl Config {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Config> {
        Config::of_file(file, keys_of(file)?)
    }

    /// The keys that a file has.
    pub fn of_file(file: &Path, keys: Map<String, Value>) -> Result<Config> {
        Config::new(file, keys).with_own_names()
    }

    /// Keys that come from elsewhere; `file` is for messages.
    pub fn new(file: &Path, keys: Map<String, Value>) -> Config {
        Config { file: file.to_owned(), keys }
    }

    /// The file, for errors.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All keys.
    pub fn keys(&self) -> &Map<String, Value> {
        &self.keys
    }

    /// The family. The oldest checkpoints, all-MiniLM-L6-v2 among them, name an architecture alone.
    pub fn model_type(&self) -> Result<String> {
        if let Some(name) = self.optional::<String>("model_type")? {
            return Ok(name);
        }
        let architectures: Vec<String> = self.or("architectures", Vec::new())?;
        match architectures.first().map(String::as_str) {
            Some("BertModel" | "BertForSequenceClassification") => Ok("bert".into()),
            _ => Err(self.fault("model_type", "the name of a family", "nothing")),
        }
    }

    /// A key that may be absent or null.
    pub fn optional<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(self.fault(key, "a value of the right kind", format!("{value} ({error})"))),
            },
        }
    }

    /// Whether a key is there, be it null.
    pub fn names(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// A key with a default.
    pub fn or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    /// An extent: a whole number from 1 on, below a million.
    pub fn extent(&self, key: &str) -> Result<usize> {
        self.optional_extent(key)?.ok_or_else(|| self.fault(key, "a number from 1 on", "nothing"))
    }

    /// An extent that may be absent.
    pub fn optional_extent(&self, key: &str) -> Result<Option<usize>> {
        match self.optional::<u64>(key)? {
            None => Ok(None),
            Some(extent) if (1..=MOST as u64).contains(&extent) => Ok(Some(extent as usize)),
            Some(other) => Err(self.fault(key, format!("a number from 1 to {MOST}"), other)),
        }
    }

    /// The width of a head: that of all heads must be a multiple of their number.
    pub fn head_dim(&self, hidden: &str, heads: &str) -> Result<usize> {
        let (width, count) = (self.extent(hidden)?, self.extent(heads)?);
        match width.is_multiple_of(count) {
            true => Ok(width / count),
            false => Err(self.fault(heads, format!("a divisor of {hidden} = {width}"), count)),
        }
    }

    /// A probability below 1.
    pub fn probability(&self, key: &str, default: f32) -> Result<f32> {
        let value = self.or(key, default)?;
        let fine = (0.0..1.0).contains(&value);
        if fine { Ok(value) } else { Err(self.fault(key, "a probability below 1", value)) }
    }

    /// A finite number from 0 on.
    pub fn small(&self, key: &str, default: f32) -> Result<f32> {
        let value = self.or(key, default)?;
        let fine = value >= 0.0 && value.is_finite();
        if fine { Ok(value) } else { Err(self.fault(key, "0 or a number above", value)) }
    }

    /// An activation by Hugging Face's name.
    pub fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        let name = self.or(key, default.to_owned())?;
        self.named_activation(key, &name)
    }

    /// The activation of that name, which stands under `key`.
    pub fn named_activation(&self, key: &str, name: &str) -> Result<Activation> {
        match name {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            "tanh" => Ok(Activation::Tanh),
            other => Err(self.fault(key, "gelu, gelu_new, gelu_pytorch_tanh, relu, silu or tanh", other)),
        }
    }

    /// Refuses a key whose value is none of those that are computed here; `supported` says which are.
    pub fn refuse_unless(&self, fine: bool, key: &str, supported: &str) -> Result<()> {
        if fine {
            return Ok(());
        }
        let found = self.keys.get(key).map_or("nothing".into(), Value::to_string);
        Err(self.fault(key, supported, found))
    }

    /// What is wrong with a key.
    pub fn fault(&self, key: &str, expected: impl Into<String>, found: impl std::fmt::Display) -> Error {
        Error::malformed(&self.file, key, expected, found.to_string())
    }
}
