//! Fine-tuning methods: what each adds to a base model, one file each behind one registry.
//!
//! To add a method: write its file, and its line in [`METHODS`]. The conformance suite
//! (`tests/conformance.rs`) then holds it to what all methods promise.

mod adalora;
mod bitfit;
mod dora;
pub mod export;
pub mod file;
mod full;
mod groups;
mod ia3;
mod linear_probe;
mod ln_tuning;
mod lokr;
mod lora;
mod oft;
mod p_tuning;
mod peft;
mod prefix_tuning;
mod prompt_tuning;
mod settings;
mod start;
mod svd;
mod targets;
mod trainable_tokens;
mod tuning;
mod unmatched;
mod vera;
mod virtual_tokens;

pub use groups::ParameterGroup;
pub use settings::{Allowed, faults};
pub use tuning::Tuning;
pub use unmatched::{Entry, Fault, entries};

use crate::error::{Error, Result};
use crate::model::{Hooks, Model, Site};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Backend, Buffer, Param, Tensor, random};

/// Every method. The order is that of reports.
pub const METHODS: &[Method] = &[
    full::METHOD,
    linear_probe::METHOD,
    bitfit::METHOD,
    ln_tuning::METHOD,
    lora::METHOD,
    adalora::METHOD,
    lokr::METHOD,
    vera::METHOD,
    oft::METHOD,
    ia3::METHOD,
    trainable_tokens::METHOD,
    prefix_tuning::METHOD,
    prompt_tuning::METHOD,
    p_tuning::METHOD,
];

/// A method made for a model: its hooks, what it trains, and its files.
pub trait Adapter: Hooks {
    /// Whether a weight of the base model is trained. Heads always are.
    fn unfreezes(&self, _weight: &str) -> bool {
        false
    }

    /// The paths of the modules that `target_modules` chooses among: linear maps, if not said otherwise.
    fn sites<'m>(&self, model: &'m dyn Model) -> Vec<&'m str> {
        model.linears().into_iter().map(|linear| linear.site.path.as_str()).collect()
    }

    /// Parameters that the method adds, named as in its file.
    fn parameters(&self) -> Vec<Param> {
        Vec::new()
    }

    /// Its parameters as an optimizer treats them: at one learning rate, biases and virtual tokens without weight decay.
    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        groups::by_decay(self.parameters(), groups::decays)
    }

    /// What training adds to the loss of a step: a scalar.
    fn penalty(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Told once the gradients of a step are there, before the optimizer takes them.
    fn on_gradients(&self, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// Told once the optimizer has changed the parameters; to clip gradients, it multiplied them with the one number of
    /// `gradient_scale`, if there is one.
    fn after_step(&self, _step: &Step, _gradient_scale: Option<&Buffer>) -> Result<()> {
        Ok(())
    }

    /// What the method remembers between steps besides its parameters; it goes into snapshots, and along with the best
    /// weights so far.
    fn state(&self) -> Result<Vec<NamedTensor>> {
        Ok(Vec::new())
    }

    /// Takes over what [`Adapter::state`] gave, by name.
    fn set_state(&self, _state: BTreeMap<String, NamedTensor>, _backend: &Arc<dyn Backend>) -> Result<()> {
        Ok(())
    }

    /// Folds the method into a site's weight \[outputs, inputs\] and bias \[outputs\].
    /// Called only if the method is [`Method::mergeable`].
    fn merge(&self, _site: &Site, _weight: &mut [f32], _bias: Option<&mut [f32]>) -> Result<()> {
        Ok(())
    }

    /// The table of word embeddings with the method folded in, \[vocab_size, hidden\]; `None`: it stays as it is. Called only if
    /// the method is [`Method::mergeable`].
    fn merged_embeddings(&self) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }

    /// The method's own keys of adapter_config.json.
    fn config(&self) -> Result<Map<String, Value>>;

    /// Tensors of the adapter's file, besides trained weights of the base model.
    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        self.parameters().iter().map(NamedTensor::of).collect()
    }

    /// Takes over the tensors of an adapter's file.
    fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        _backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        for parameter in self.parameters() {
            take(tensors, parameter.name(), parameter.shape())
                .and_then(|numbers| Ok(parameter.set(numbers)?))?;
        }
        Ok(())
    }

    /// The key in the adapter's file of a trained weight of the base model or its head.
    fn key(&self, weight: &str) -> String {
        format!("base_model.model.{weight}")
    }
}

/// Where a run stands, for methods with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Optimizer steps done before this one.
    pub number: usize,
    /// Steps that the run has, as it is planned.
    pub steps: usize,
}

/// A line of the registry.
pub struct Method {
    /// The name in studies: "lora".
    pub name: &'static str,
    /// The name in reports: "LoRA".
    pub title: &'static str,
    /// One line for `tenfold list methods`.
    pub summary: &'static str,
    /// The paper.
    pub source: &'static str,
    /// PEFT's `peft_type`; `None` if PEFT does not have it.
    pub peft_type: Option<&'static str>,
    /// Whether its effect can be folded into the base model's weights.
    pub mergeable: bool,
    /// Learning rates that a search tries, in this order: for each method four, each about three times the one before.
    pub learning_rates: &'static [f64],
    /// Keys of PEFT's file that leave the result alone at these values (JSON) and are refused at others.
    /// Keys that are null, false or empty need no entry.
    pub harmless: &'static [(&'static str, &'static str)],
    /// What each of its settings may be.
    pub settings: &'static [(&'static str, Allowed)],
    /// Its settings at their defaults.
    pub defaults: fn() -> Value,
    /// Makes it for a model.
    pub build: fn(settings: &Value, context: &Context) -> Result<Box<dyn Adapter>>,
}

impl Method {
    /// What loads an adapter of this method.
    pub fn loads(&self) -> &'static str {
        match (self.peft_type, self.mergeable) {
            (Some("LORA"), _) => {
                "PEFT; vLLM, of language models, with bias = \"none\" and without DoRA, PiSSA or OLoRA; Transformers, merged by `tenfold adapter export \
                 --merged`; llama.cpp, by its own convert_lora_to_gguf.py"
            }
            (Some("PREFIX_TUNING"), _) => {
                "PEFT, whose version 0.21.2 needs Transformers before 5.24 for models with a head"
            }
            (Some(_), true) => "PEFT; Transformers, merged by `tenfold adapter export --merged`",
            (Some(_), false) => "PEFT",
            (None, _) => "Transformers, as the whole model that `tenfold adapter export` writes",
        }
    }
}

/// What a method may look at when it is made.
pub struct Context<'a> {
    /// The base model.
    pub model: &'a dyn Model,
    /// Where its parameters live.
    pub backend: &'a Arc<dyn Backend>,
    /// Seed of its initialisation.
    pub seed: u64,
    /// Token ids of a text without special tokens, for methods that start from words.
    pub tokenize: &'a dyn Fn(&str) -> Result<Vec<u32>>,
}

impl Context<'_> {
    /// A key for the initialisation of a parameter.
    pub fn key(&self, parameter: &str) -> u64 {
        random::key(self.seed, parameter)
    }

    /// A parameter drawn from the normal distribution.
    pub fn normal(&self, name: &str, shape: &[usize], deviation: f32) -> Result<Param> {
        let numbers = random::normal(self.key(name), count(name, shape)?, deviation);
        Ok(Param::new(self.backend, name, shape, numbers)?)
    }

    /// A parameter drawn as torch.nn.Linear starts its weight and bias: uniform in ±1/√fan_in
    /// (He et al. 2015 with a = √5).
    pub fn kaiming_uniform(&self, name: &str, shape: &[usize], fan_in: usize) -> Result<Param> {
        let bound = (fan_in as f32).sqrt().recip();
        let numbers = random::uniform(self.key(name), count(name, shape)?, bound);
        Ok(Param::new(self.backend, name, shape, numbers)?)
    }

    /// A parameter that starts at one value.
    pub fn constant(&self, name: &str, shape: &[usize], value: f32) -> Result<Param> {
        Ok(Param::new(self.backend, name, shape, vec![value; count(name, shape)?])?)
    }
}

/// How many numbers a shape has, if a machine may hold them: settings come from files of others.
fn count(name: &str, shape: &[usize]) -> Result<usize> {
    const MOST: usize = u32::MAX as usize;
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    count.filter(|count| *count <= MOST).ok_or_else(|| {
        Error::malformed(
            "settings of the method",
            name,
            format!("at most {MOST} numbers"),
            format!("{shape:?}"),
        )
    })
}

/// A tensor of an adapter's file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its key.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub numbers: Vec<f32>,
}

impl NamedTensor {
    /// The present state of a parameter.
    pub fn of(parameter: &Param) -> Result<NamedTensor> {
        let (name, shape) = (parameter.name().to_owned(), parameter.shape().to_vec());
        Ok(NamedTensor { name, shape, numbers: parameter.numbers()? })
    }
}

/// The method of that name.
pub fn method(name: &str) -> Result<&'static Method> {
    let known = || METHODS.iter().map(|method| method.name);
    let found = METHODS.iter().find(|method| method.name == name);
    found.ok_or_else(|| match peft::type_of(name) {
        Some(title) => Error::Unsupported {
            what: format!("the method \"{name}\" ({title})"),
            why: format!(
                "PEFT has it, this version does not; it has {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        },
        None => Error::unknown("method", name, known()),
    })
}

/// The settings of a method with all defaults filled in; refuses what the method does not have, and values that make no
/// sense.
pub fn resolve(method: &Method, given: &Map<String, Value>) -> Result<Value> {
    check(method, given)?;
    let mut settings = (method.defaults)();
    if let Value::Object(settings) = &mut settings {
        settings.extend(given.clone());
    }
    Ok(settings)
}

fn check(method: &Method, given: &Map<String, Value>) -> Result<()> {
    let faults: Vec<String> =
        faults(method, given).into_iter().map(|(key, fault)| format!("{key}: {fault}")).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::Faults { file: format!("settings of {}", method.name).into(), faults })
}

/// How many of the model's positions a method with these settings takes before every sequence.
pub fn virtual_tokens(settings: &Map<String, Value>) -> usize {
    settings.get("num_virtual_tokens").and_then(Value::as_u64).unwrap_or(0) as usize
}

/// A method's settings out of a study's or an adapter's values.
fn settings<T: DeserializeOwned>(method: &Method, value: &Value) -> Result<T> {
    if let Value::Object(given) = value {
        check(method, given)?;
    }
    T::deserialize(value).map_err(|error| Error::Faults {
        file: format!("settings of {}", method.name).into(),
        faults: vec![error.to_string()],
    })
}

fn to_value<T: Serialize>(settings: &T) -> Value {
    serde_json::to_value(settings).unwrap_or_else(|error| unreachable!("plain settings: {error}"))
}

fn to_map<T: Serialize>(settings: &T) -> Map<String, Value> {
    match to_value(settings) {
        Value::Object(map) => map,
        other => unreachable!("settings are a table, not {other}"),
    }
}

/// A setting outside of what makes sense.
fn refuse(method: &Method, key: &str, expected: &str, found: impl std::fmt::Display) -> Error {
    Error::malformed(format!("settings of {}", method.name), key, expected, found.to_string())
}

/// Takes a tensor of that shape out of a file's tensors.
fn take(tensors: &mut BTreeMap<String, NamedTensor>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let fault =
        |found: String| Error::malformed("adapter_model.safetensors", name, format!("{shape:?}"), found);
    let tensor = tensors.remove(name).ok_or_else(|| fault("nothing".into()))?;
    if tensor.shape == shape { Ok(tensor.numbers) } else { Err(fault(format!("{:?}", tensor.shape))) }
}
