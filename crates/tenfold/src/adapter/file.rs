//! Adapters on disk.
//!
//! ```text
//! adapter_config.json, adapter_model.safetensors   as Hugging Face PEFT 0.21 writes and reads them; or, for methods that
//! changed_weights.safetensors                      PEFT does not have, the weights that were changed, under the names of
//!                                                  Transformers' model class: no adapter to PEFT, and not named as one
//! tenfold.json, labels.json                        the method, the base model, what a row was; names of the labels
//! tokenizer.json …, load.py                        the base model's tokenizer; a script that answers with Transformers
//! ```

mod about;
mod beside;
mod config;
mod load_py;

pub use about::{ABOUT, About, BaseModel, LABELS, Reads, read_labels, write_labels};
pub(super) use beside::outputs;
pub use beside::{Beside, Holds, write_beside};
pub use config::Stored;

use super::unmatched::{Entry, Fault, entries, modules};
use super::{Context, NamedTensor, Tuning};
use crate::data::hexadecimal;
use crate::error::{Error, Result};
use crate::model::checkpoint::{self, HostTensor};
use crate::model::store::Located;
use crate::model::{HeadWeight, Model, ModelFiles, TaskType};
use crate::plain_file;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of PEFT's configuration in an adapter's folder.
pub const CONFIG: &str = "adapter_config.json";
/// Name of PEFT's tensors in an adapter's folder.
pub const TENSORS: &str = "adapter_model.safetensors";
/// Name of the tensors of a method that PEFT does not have.
pub const CHANGED: &str = "changed_weights.safetensors";

/// Writes all files of an adapter's folder: those that decide what it does, the labels' names where outputs have some, the
/// tokenizer of the base model with the files `files`, and load.py; returns the size in bytes of the tensors' file.
pub fn save(
    dir: &Path,
    tuning: &Tuning,
    about: &About,
    labels: &[String],
    (model, files): (&dyn Model, &ModelFiles),
) -> Result<u64> {
    let bytes = write(dir, tuning, about)?;
    write_labels(dir, tuning, labels)?;
    let holds = if tuning.method().peft_type.is_some() { Holds::Adapter } else { Holds::Changed };
    let beside = Beside { files, reads: about.reads.unwrap_or(Reads::Text), holds };
    write_beside(dir, &beside, tuning, model)?;
    Ok(bytes)
}

/// Writes the files that decide what an adapter does into `dir`; returns the size in bytes of its tensors' file.
pub fn write(dir: &Path, tuning: &Tuning, about: &About) -> Result<u64> {
    crate::atomic::create_folders(dir).map_err(Error::io("create", dir))?;
    let tensors: BTreeMap<String, HostTensor> = (tuning.tensors()?.into_iter())
        .map(|tensor| (tensor.name, HostTensor { shape: tensor.shape, data: tensor.numbers }))
        .collect();
    let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let path = dir.join(if tuning.method().peft_type.is_some() { TENSORS } else { CHANGED });
    checkpoint::write_tensors(&path, &tensors, &format)?;
    if let Some(peft_type) = tuning.method().peft_type {
        let config = config(tuning, peft_type, &about.base_model.name_or_path())?;
        let text = serde_json::to_string_pretty(&config)
            .unwrap_or_else(|error| unreachable!("a table of plain values: {error}"));
        crate::atomic::write(&dir.join(CONFIG), (text + "\n").as_bytes())?;
    }
    about.write_beside(&path, dir)?;
    Ok(path.metadata().map_err(Error::io("read", &path))?.len())
}

fn config(tuning: &Tuning, peft_type: &str, base_model: &str) -> Result<Value> {
    let mut config = tuning.adapter().config()?;
    for (key, value) in [
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", base_model.into()),
        ("inference_mode", true.into()),
        ("modules_to_save", modules_to_save(tuning)),
        ("peft_type", peft_type.into()),
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

/// SHA-256 over the two files that decide what an adapter does, hexadecimal.
pub fn sha256(dir: &Path) -> Result<String> {
    let stored = Stored::open(dir)?;
    let mut hash = Sha256::new();
    for path in [&stored.config_file, &stored.tensors_file] {
        let bytes = plain_file::read(path, plain_file::TENSORS).map_err(Error::io("read", path))?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// What an adapter's model is asked for. `usual` is what the base model is used for where nothing else is said.
pub fn task_type(dir: &Path, usual: TaskType) -> Result<TaskType> {
    Stored::open(dir)?.task(usual)
}

/// Reads an adapter, ours or PEFT's, onto a model.
pub fn read(dir: &Path, context: &Context) -> Result<Tuning> {
    let stored = Stored::open(dir)?;
    let method = stored.method()?;
    let (config_file, tensors_file) = (&stored.config_file, &stored.tensors_file);
    let settings = stored.settings(method).map_err(|error| about(config_file, error))?;
    let task = context.model.task();
    if let Some(stated) = stored.stated_task()?.filter(|stated| *stated != task) {
        let expected = format!("{}, which the model is asked for here", task.name());
        return Err(Error::malformed(config_file, "task_type", expected, stated.name()));
    }
    if let Some(stated) = stored.about.as_ref().and_then(|about| about.tensors_sha256.as_ref()) {
        let found = about::sha256_of(tensors_file)?;
        if found != *stated {
            let expected =
                format!("SHA-256 {stated}, as {ABOUT} says (without that line it is taken as it is)");
            return Err(Error::malformed(
                tensors_file,
                "whole file",
                expected,
                format!("{found}: it was changed"),
            ));
        }
    }
    let mut tensors = tensors_of(tensors_file)?;
    let own_head = own_head(context.model, &tensors);
    let labels = match own_head.last() {
        Some((part, _)) => part.shape[0],
        None => labels(tensors_file, context.model.head().last_weight(), &tensors)
            .map_err(|error| of_another(&stored, context.model, error))?,
    };
    let built = Tuning::new(method, &settings, context, labels);
    let strange = |error| of_another(&stored, context.model, error);
    let mut tuning = built.map_err(|error| strange(about(config_file, error)))?;
    tensors.extend(own_head.into_iter().map(|(part, numbers)| {
        let name = tuning.adapter().key(&part.name);
        (name.clone(), NamedTensor { name, shape: part.shape, numbers })
    }));
    tuning.restore(&mut tensors, context.backend).map_err(|error| strange(about(tensors_file, error)))?;
    let Some(name) = tensors.keys().next() else { return Ok(tuning) };
    let expected = format!("tensors of {} alone", method.title);
    let module = module_of(name);
    let error = |found: &str| Error::malformed(tensors_file, name, &expected, found);
    Err(match modules(context.model).contains(module) {
        true => error(
            "a tensor of a module that this version leaves as it is (modules_to_save, or an update outside of the linear maps inside of the model)",
        ),
        false => strange(error("a tensor of a module that the model does not have")),
    })
}

/// What to know of an adapter that was read onto the model in `located`: that it was trained over another one's weights, and
/// names in its configuration that match nothing in the model, which PEFT passes over as well.
pub fn notes(dir: &Path, tuning: &Tuning, model: &dyn Model, located: &Located) -> Result<Vec<String>> {
    let stored = Stored::open(dir)?;
    let base = stored.about.as_ref().map(|about| &about.base_model);
    let another =
        base.filter(|base| base.weights_sha256.as_ref().is_some_and(|hash| *hash != located.weights_sha256));
    let another = another.map(|base| {
        format!(
            "{}: the adapter was trained over {}, whose weights are others than those of {}: what was measured of it does not \
             hold here",
            dir.display(),
            base.name,
            located.name
        )
    });
    let settings = stored.settings(tuning.method())?;
    let file = stored.config_file.display();
    let words = |Entry { key, entry, fault }| match fault? {
        Fault::NoMatch(fault) => Some(format!("{file}: {key}: {entry}: {fault}; PEFT passes over it too")),
        Fault::Refused(fault) => Some(format!("{file}: {key}: {entry}: {fault}")),
        // PEFT writes all settings, those that have no effect among them.
        Fault::Idle(_) => None,
    };
    Ok(another.into_iter().chain(entries(&settings, tuning, model)?.into_iter().filter_map(words)).collect())
}

/// All tensors of an adapter's file.
fn tensors_of(path: &Path) -> Result<BTreeMap<String, NamedTensor>> {
    let stored = checkpoint::read_tensors(path)?;
    for (name, tensor) in &stored {
        if let Some(place) = tensor.data.iter().position(|number| !number.is_finite()) {
            let found = format!("{} at place {place}", tensor.data[place]);
            return Err(Error::malformed(path, name, "finite numbers", found));
        }
    }
    let mut tensors: BTreeMap<String, NamedTensor> = (stored.into_iter())
        .map(|(name, tensor)| (name.clone(), NamedTensor { name, shape: tensor.shape, numbers: tensor.data }))
        .collect();
    // PEFT saves a second and third copy of a head's bias under bias="all".
    tensors.retain(|name, _| !name.contains(".original_module.") && !name.contains(".modules_to_save."));
    Ok(tensors)
}

/// The module that a tensor of an adapter's file belongs to: "base_model.model.lm_head.lora_A.weight" -> "lm_head".
fn module_of(name: &str) -> &str {
    let path =
        name.strip_prefix("base_model.").map_or(name, |rest| rest.strip_prefix("model.").unwrap_or(rest));
    let ends = [
        ".lora_",
        ".ia3_l",
        ".base_layer",
        ".hada_",
        ".lokr_",
        ".vera_",
        ".oft_",
        ".boft_",
        ".trainable_tokens_",
    ];
    let end = ends.iter().filter_map(|end| path.find(end)).min().or(path.rfind('.'));
    &path[..end.unwrap_or(path.len())]
}

/// The fault of a setting or a tensor, with the file that it came from.
fn about(path: &Path, error: Error) -> Error {
    match error {
        Error::Malformed { place, expected, found, .. } => Error::malformed(path, place, expected, found),
        Error::Faults { faults, .. } => Error::Faults { file: path.to_owned(), faults },
        other => other,
    }
}

/// The first thing that does not fit, with the model that the adapter is for: it is likely to be another one's.
fn of_another(stored: &Stored, model: &dyn Model, error: Error) -> Error {
    let Error::Malformed { file, place, expected, found } = error else { return error };
    let named = stored.about.as_ref().map(|about| about.base_model.name.as_str());
    let base = match named.or(stored.base_model()) {
        Some(base) => format!("the adapter was trained over \"{base}\""),
        None => "the adapter does not say what it was trained over".to_owned(),
    };
    let extents = model.extents();
    let this = format!("{} of {} layers, {} wide", model.family(), extents.num_layers, extents.hidden_size);
    Error::Malformed {
        file,
        place,
        expected,
        found: format!("{found}; {base}: is this model ({this}) another?"),
    }
}

/// The weights of the head that came with the model, if the file holds none of any: PEFT trains no head with some methods.
fn own_head(model: &dyn Model, tensors: &BTreeMap<String, NamedTensor>) -> Vec<(HeadWeight, Vec<f32>)> {
    let Some(last) = model.head().layers.last() else { return Vec::new() };
    let [Some((shape, _)), _] = &last.stored else { return Vec::new() };
    let parts = model.head().weights(shape[0]);
    let is_there = |part: &HeadWeight| {
        tensors.keys().any(|name| {
            name.strip_suffix(&part.name).is_some_and(|path| path.is_empty() || path.ends_with('.'))
        })
    };
    if parts.iter().any(is_there) {
        return Vec::new();
    }
    let stored = parts.into_iter().map(|mut part| part.stored.take().map(|numbers| (part, numbers)));
    stored.collect::<Option<_>>().unwrap_or_default()
}

/// How many labels the saved head has; 1 where the model has no head.
fn labels(path: &Path, head: Option<String>, tensors: &BTreeMap<String, NamedTensor>) -> Result<usize> {
    let Some(name) = head else { return Ok(1) };
    let weight =
        tensors.values().find(|tensor| tensor.name == name || tensor.name.ends_with(&format!(".{name}")));
    match weight.map(|weight| weight.shape.as_slice()) {
        Some([labels, _]) if *labels > 0 => Ok(*labels),
        Some(shape) => Err(Error::malformed(path, name, "a head [labels, hidden]", format!("{shape:?}"))),
        None => Err(Error::malformed(
            path,
            name,
            "a head [labels, hidden]",
            "none: the adapter answers no such questions",
        )),
    }
}
