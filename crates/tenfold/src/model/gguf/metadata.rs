//! The metadata of a GGUF file: named values of stated types, looked up by the type that is needed.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Strings(Vec<String>),
    Arrays(Vec<Array>),
}

impl Array {
    /// How many values it holds.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::F64(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::Strings(values) => values.len(),
            Array::Arrays(values) => values.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whole numbers of any width that fit into i64.
    fn integers(&self) -> Option<Vec<i64>> {
        fn widen<T: Copy + TryInto<i64>>(values: &[T]) -> Option<Vec<i64>> {
            values.iter().map(|&value| value.try_into().ok()).collect()
        }
        match self {
            Array::U8(values) => widen(values),
            Array::I8(values) => widen(values),
            Array::U16(values) => widen(values),
            Array::I16(values) => widen(values),
            Array::U32(values) => widen(values),
            Array::I32(values) => widen(values),
            Array::U64(values) => widen(values),
            Array::I64(values) => widen(values),
            _ => None,
        }
    }

    /// Truth values, which some writers have as whole numbers.
    pub fn truths(&self) -> Option<Vec<bool>> {
        match self {
            Array::Bool(values) => Some(values.clone()),
            other => Some(other.integers()?.into_iter().map(|number| number != 0).collect()),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Array::U8(_) => "u8",
            Array::I8(_) => "i8",
            Array::U16(_) => "u16",
            Array::I16(_) => "i16",
            Array::U32(_) => "u32",
            Array::I32(_) => "i32",
            Array::U64(_) => "u64",
            Array::I64(_) => "i64",
            Array::F32(_) => "f32",
            Array::F64(_) => "f64",
            Array::Bool(_) => "bool",
            Array::Strings(_) => "string",
            Array::Arrays(_) => "array",
        }
    }
}

impl Value {
    /// A whole number of any width that fits into i64.
    pub fn integer(&self) -> Option<i64> {
        Some(match self {
            Value::U8(value) => i64::from(*value),
            Value::I8(value) => i64::from(*value),
            Value::U16(value) => i64::from(*value),
            Value::I16(value) => i64::from(*value),
            Value::U32(value) => i64::from(*value),
            Value::I32(value) => i64::from(*value),
            Value::U64(value) => i64::try_from(*value).ok()?,
            Value::I64(value) => *value,
            _ => return None,
        })
    }
}

/// In words, for people: long arrays and strings are cut.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::U8(value) => value.fmt(f),
            Value::I8(value) => value.fmt(f),
            Value::U16(value) => value.fmt(f),
            Value::I16(value) => value.fmt(f),
            Value::U32(value) => value.fmt(f),
            Value::I32(value) => value.fmt(f),
            Value::U64(value) => value.fmt(f),
            Value::I64(value) => value.fmt(f),
            Value::F32(value) => value.fmt(f),
            Value::F64(value) => value.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::String(text) => {
                let start: String = text.chars().take(60).collect();
                let more = if start.len() < text.len() { "…" } else { "" };
                write!(f, "{start:?}{more}")
            }
            Value::Array(array) => write!(f, "{} values of type {}", array.len(), array.type_name()),
        }
    }
}

/// All named values of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    file: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Values that come from `file`, which errors name.
    pub fn new(file: impl Into<PathBuf>, values: BTreeMap<String, Value>) -> Metadata {
        Metadata { file: file.into(), values }
    }

    /// The file, for errors.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All keys and values, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value under a key, of whatever type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// What `read` gives if the key is there: `metadata.optional("llama.rope.freq_base", Metadata::f32)?`.
    pub fn optional<'a, T>(
        &'a self,
        key: &str,
        read: impl FnOnce(&'a Metadata, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        self.values.contains_key(key).then(|| read(self, key)).transpose()
    }

    /// A text.
    pub fn string(&self, key: &str) -> Result<&str> {
        self.lookup(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A whole number of any width that fits.
    pub fn u32(&self, key: &str) -> Result<u32> {
        self.lookup(key, "a whole number of 0 to 4294967295", |value| value.integer()?.try_into().ok())
    }

    /// A number of either width; finite.
    pub fn f32(&self, key: &str) -> Result<f32> {
        let number = |value: &Value| match value {
            Value::F32(number) => Some(*number),
            Value::F64(number) => Some(*number as f32),
            _ => None,
        };
        self.lookup(key, "a finite number", |value| number(value).filter(|number| number.is_finite()))
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<bool> {
        self.lookup(key, "true or false", |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        })
    }

    /// A list of texts.
    pub fn strings(&self, key: &str) -> Result<&[String]> {
        self.lookup(key, "an array of strings", |value| match value {
            Value::Array(Array::Strings(texts)) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// A list of numbers.
    pub fn f32s(&self, key: &str) -> Result<&[f32]> {
        self.lookup(key, "an array of f32", |value| match value {
            Value::Array(Array::F32(numbers)) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// A list of whole numbers of any width.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>> {
        self.lookup(key, "an array of whole numbers", |value| match value {
            Value::Array(array) => array.integers(),
            _ => None,
        })
    }

    /// Bytes, signed or not.
    pub fn bytes(&self, key: &str) -> Result<Vec<u8>> {
        self.lookup(key, "an array of bytes", |value| match value {
            Value::Array(Array::U8(bytes)) => Some(bytes.clone()),
            Value::Array(Array::I8(bytes)) => Some(bytes.iter().map(|byte| byte.cast_unsigned()).collect()),
            _ => None,
        })
    }

    /// An error about the value under a key.
    pub fn fault(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::malformed(&self.file, key, expected, found)
    }

    fn lookup<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T> {
        match self.values.get(key) {
            Some(value) => read(value).ok_or_else(|| self.fault(key, expected, value.to_string())),
            None => {
                let near = crate::error::nearest(key, self.values.keys().map(String::as_str));
                let found =
                    near.map_or("no such key".to_owned(), |near| format!("none (the nearest is {near})"));
                Err(self.fault(key, expected, found))
            }
        }
    }
}
