//! The metadata below an architecture's name. Each key that is looked up is noted, so that one that nothing read is told:
//! llama.cpp would compute otherwise by it, or nobody here knows what it is for.

use crate::error::{Error, Result};
use crate::model::gguf::{Metadata, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The keys of one architecture.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    architecture: &'static str,
    read: RefCell<BTreeSet<String>>,
}

/// Keys that say where a file comes from or how it was made, and change nothing.
const HARMLESS: [&str; 4] = [
    "tensor_data_layout",
    "rope.scaling.finetuned",
    "classifier.output_labels",
    "rope.scaling.original_context_length",
];

/// Beginnings of keys by which llama.cpp computes something that is not computed here, unless they are switched off.
const COMPUTED: [&str; 32] = [
    "activation_sparsity_scale",
    "altup.",
    "attention.",
    "attn_",
    "convnext.",
    "decoder_",
    "dense_",
    "embedding_length_",
    "embedding_scale",
    "expert",
    "final_logit_softcapping",
    "full_attention_interval",
    "interleave_moe_layer_step",
    "kda.",
    "leading_dense_block_count",
    "logit_scale",
    "moe_",
    "n_deepstack_layers",
    "nextn_predict_layers",
    "pooling_type",
    "posnet.",
    "rescale_every_n_layers",
    "residual_scale",
    "rope.",
    "router_logit_softcapping",
    "shortconv.",
    "ssm.",
    "swiglu_",
    "swin_norm",
    "time_",
    "token_shift_count",
    "use_parallel_residual",
];

impl<'a> Keys<'a> {
    pub fn new(metadata: &'a Metadata, architecture: &'static str) -> Keys<'a> {
        Keys { metadata, architecture, read: RefCell::default() }
    }

    /// The whole key, which counts as read from now on.
    pub fn key(&self, name: &str) -> String {
        self.read.borrow_mut().insert(name.to_owned());
        format!("{}.{name}", self.architecture)
    }

    /// A whole number that must be there.
    pub fn number(&self, name: &str) -> Result<u32> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            Some(Value::Array(_)) => self.of_all_blocks(&key),
            _ => self.metadata.u32(&key),
        }
    }

    /// A number that is stated for each block, and must be the same for all.
    fn of_all_blocks(&self, key: &str) -> Result<u32> {
        let numbers = self.metadata.integers(key)?;
        let first = numbers.first().copied().unwrap_or_default();
        match (numbers.iter().find(|number| **number != first), u32::try_from(first)) {
            (None, Ok(first)) if !numbers.is_empty() => Ok(first),
            (other, _) => {
                let found = format!("{first} and {}", other.copied().unwrap_or(first));
                Err(self.metadata.fault(key, "one number for all blocks", found))
            }
        }
    }

    /// A whole number that may be absent.
    pub fn optional_number(&self, name: &str) -> Result<Option<u32>> {
        let key = self.key(name);
        self.metadata.get(&key).map(|_| self.number(name)).transpose()
    }

    /// A number that may be absent.
    pub fn optional_f32(&self, name: &str) -> Result<Option<f32>> {
        self.metadata.optional(&self.key(name), Metadata::f32)
    }

    /// A number that must be there.
    pub fn f32(&self, name: &str) -> Result<f32> {
        self.metadata.f32(&self.key(name))
    }

    /// A text that may be absent.
    pub fn optional_text(&self, name: &str) -> Result<Option<&'a str>> {
        self.metadata.optional(&self.key(name), Metadata::string)
    }

    /// A truth value that may be absent.
    pub fn optional_bool(&self, name: &str) -> Result<Option<bool>> {
        self.metadata.optional(&self.key(name), Metadata::bool)
    }

    /// Key heads; as many as heads where nothing is said.
    pub fn key_heads(&self) -> Result<u32> {
        match self.optional_number("attention.head_count_kv")? {
            Some(heads) => Ok(heads),
            None => self.number("attention.head_count"),
        }
    }

    /// The width of a head: stated, or that of all by their number. Values are as wide as keys.
    pub fn head_dim(&self) -> Result<u32> {
        let (hidden, heads) = (self.number("embedding_length")?, self.number("attention.head_count")?);
        let key = self.optional_number("attention.key_length")?;
        let value = self.optional_number("attention.value_length")?;
        if let (Some(key), Some(value)) = (key, value)
            && key != value
        {
            let expected = format!("{key}, as attention.key_length");
            return Err(self.fault("attention.value_length", expected, value));
        }
        match key.or(value) {
            Some(width) => Ok(width),
            None => {
                let whole = hidden.checked_div(heads).filter(|width| width * heads == hidden);
                whole.ok_or_else(|| {
                    self.fault(
                        "attention.head_count",
                        format!("a divisor of embedding_length {hidden}"),
                        heads,
                    )
                })
            }
        }
    }

    /// Refuses a key whose value is another than what the tensors, or other keys, say.
    pub fn agree(&self, name: &str, expected: u32, by: &str) -> Result<()> {
        match self.optional_number(name)? {
            Some(found) if found != expected => Err(self.fault(name, format!("{expected}, {by}"), found)),
            _ => Ok(()),
        }
    }

    /// What is wrong with a key.
    pub fn fault(&self, name: &str, expected: impl Into<String>, found: impl std::fmt::Display) -> Error {
        self.metadata.fault(&self.key(name), expected, found.to_string())
    }

    /// Refuses keys by which llama.cpp would compute otherwise, and that nothing here has read.
    pub fn check_unread(&self) -> Result<()> {
        let unread = |(key, value): &(&str, &Value)| {
            let name = self.unread(key)?;
            let computed = COMPUTED.iter().any(|start| name.starts_with(start));
            (computed && !is_off(name, value)).then_some(())
        };
        match self.metadata.iter().find(|entry| unread(entry).is_some()) {
            None => Ok(()),
            Some((key, value)) => Err(Error::Unsupported {
                what: format!("{}: {key} = {value}", self.metadata.file().display()),
                why: format!(
                    "a model of the architecture {} is computed without it here, and results would be others than llama.cpp's",
                    self.architecture
                ),
            }),
        }
    }

    /// Keys whose purpose nobody here knows, a sentence each.
    pub fn unknown(&self) -> Vec<String> {
        let unknown = self.metadata.iter().filter(|(key, value)| {
            self.unread(key).is_some_and(|name| {
                !is_off(name, value) && !COMPUTED.iter().any(|start| name.starts_with(start))
            })
        });
        let file = self.metadata.file().display();
        unknown
            .map(|(key, value)| format!("{file}: {key} = {value} is not known and changes nothing here"))
            .collect()
    }

    /// The name of a key of this architecture that nothing has read and that could matter.
    fn unread<'k>(&self, key: &'k str) -> Option<&'k str> {
        let name = key.strip_prefix(self.architecture)?.strip_prefix('.')?;
        (!HARMLESS.contains(&name) && !self.read.borrow().contains(name)).then_some(name)
    }
}

/// Whether a value says that there is no such thing.
fn is_off(name: &str, value: &Value) -> bool {
    let one = name.ends_with("_scale") || name.ends_with("factor");
    match value {
        Value::Bool(on) => !on,
        Value::String(text) => text.is_empty() || text == "none",
        Value::F32(number) => *number == 0.0 || one && *number == 1.0,
        Value::F64(number) => *number == 0.0 || one && *number == 1.0,
        Value::Array(array) => array.is_empty(),
        number => number.integer() == Some(0),
    }
}
