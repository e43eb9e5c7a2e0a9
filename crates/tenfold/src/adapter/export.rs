//! An adapter in a folder that Python loads as it is: the whole model for Transformers, or the adapter for PEFT, each with
//! the tokenizer's files and load.py.

use super::file::{self, About, BaseModel, Beside, Holds, Reads, Stored};
use super::{Context, Tuning};
use crate::error::{Error, Result};
use crate::model::save::{self, Whole};
use crate::model::store::{self, Located};
use crate::model::{Hooks, Linear, ModelFiles, TaskType};
use crate::new_folder::{NewFolder, free_name};
use crate::progress::Progress;
use std::fs;
use std::path::Path;

/// What is exported, and how.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The adapter's folder, ours or PEFT's.
    pub adapter: &'a Path,
    /// The base model's files.
    pub model_files: &'a ModelFiles,
    /// Whether the adapter is folded into the base model's weights; always so for methods that PEFT does not have.
    pub merged: bool,
}

/// The base model that an adapter says it was trained over: where it was then, or by its name.
pub fn base_model(adapter: &Path, progress: &dyn Progress) -> Result<Located> {
    let stored = Stored::open(adapter)?;
    let mut names = Vec::new();
    if let Some(About { base_model: BaseModel { name, hub, path, .. }, .. }) = &stored.about {
        names.extend(path.as_ref().map(|path| path.to_string_lossy().into_owned()));
        names.extend(hub.clone().or_else(|| Some(name.clone())));
    }
    names.extend(stored.base_model().map(str::to_owned));
    let mut first = None;
    for name in &names {
        match store::locate(name, progress) {
            Err(error @ Error::ModelNotFound { .. }) => first = first.or(Some(error)),
            other => return other,
        }
    }
    let found = match first {
        Some(error) => error.to_string(),
        None => "nothing".to_owned(),
    };
    let expected = "a base model that can be found; say where it is with --model";
    Err(Error::malformed(&stored.config_file, "base_model_name_or_path", expected, found))
}

/// Writes the folder `out`, which must not be there yet, or be empty: all of it is there in the end, or nothing new is.
pub fn export(export: &Export, context: &Context, out: &Path, progress: &dyn Progress) -> Result<Holds> {
    free_name(out)?;
    let tuning = file::read(export.adapter, context)?;
    let method = tuning.method();
    let holds = if export.merged || method.peft_type.is_none() { Holds::Model } else { Holds::Adapter };
    if export.merged && method.peft_type.is_some() && !method.mergeable {
        return Err(Error::Unsupported {
            what: format!("--merged with {}", method.title),
            why: "it cannot be folded into the base model's weights; without it the adapter is exported for PEFT".into(),
        });
    }
    let making = NewFolder::begin(out)?;
    let folder = &making.folder;
    let about = match About::read(export.adapter)? {
        Some(about) => about,
        None => {
            let name = Stored::open(export.adapter)?.base_model().unwrap_or_default().to_owned();
            let base = BaseModel {
                path: BaseModel::of(&name, export.model_files.dir())?.path,
                ..BaseModel::named(&name)
            };
            About::of(&tuning, &base, None)
        }
    };
    about.write(folder)?;
    match holds {
        Holds::Model => whole(export, context, &tuning, folder, progress)?,
        _ => {
            for name in [file::CONFIG, file::TENSORS, file::LABELS] {
                copy(export.adapter, folder, name)?;
            }
        }
    }
    let reads = about.reads.unwrap_or(Reads::Text);
    let beside = Beside { files: export.model_files, reads, holds };
    file::write_beside(folder, &beside, &tuning, context.model)?;
    crate::model::mapped::unchanged_below(export.model_files.dir())?;
    making.put()?;
    Ok(holds)
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<()> {
    let source = from.join(name);
    match source.is_file() {
        true => fs::copy(&source, to.join(name)).map(drop).map_err(Error::io("copy", &source)),
        false => Ok(()),
    }
}

/// The whole model, tensor by tensor.
fn whole(
    export: &Export,
    context: &Context,
    tuning: &Tuning,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let model = context.model;
    let head = head(tuning);
    let outputs = file::outputs(tuning);
    let labels = match model.task() {
        TaskType::SequenceClassification if outputs > 1 => file::read_labels(export.adapter, outputs)?
            .unwrap_or_else(|| (0..outputs).map(|output| format!("LABEL_{output}")).collect()),
        _ => Vec::new(),
    };
    let whole = Whole { model, files: export.model_files, head, labels };
    let linears = model.linears();
    let weights = model.weights();
    // Weight and bias of a linear map come one after the other, and are folded into together.
    let mut last: Option<Folded> = None;
    let mut numbers = |name: &str| -> Result<Vec<f32>> {
        let is_of = |linear: &&&Linear| linear.weights().any(|weight| weight.name == name);
        if let Some(linear) = linears.iter().find(is_of).filter(|_| tuning.method().mergeable) {
            if last.as_ref().is_none_or(|last| last.path != linear.site.path) {
                let (weight, bias) = tuning.folded(linear)?;
                last = Some(Folded { path: linear.site.path.clone(), weight, bias });
            }
            if let Some(Folded { weight, bias, .. }) = &mut last {
                return Ok(if linear.weight.name == name {
                    std::mem::take(weight)
                } else {
                    std::mem::take(bias)
                });
            }
        }
        if tuning.method().mergeable
            && name == model.word_embeddings().name
            && let Some(table) = tuning.adapter().merged_embeddings()?
        {
            return Ok(table);
        }
        match tuning.trained(name) {
            Some(trained) => Ok(trained.numbers()?),
            None => match weights.iter().find(|weight| weight.name == name) {
                Some(weight) => Ok(weight.tensor.numbers()?),
                None => Err(Error::malformed(export.adapter, name, "a weight of the model", "none")),
            },
        }
    };
    save::write(folder, &whole, &mut numbers, progress)
}

/// A linear map with the method folded in.
struct Folded {
    path: String,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Names and shapes of the head's weights.
fn head(tuning: &Tuning) -> Vec<(String, Vec<usize>)> {
    let parts = tuning.head().weights(file::outputs(tuning)).into_iter();
    parts.map(|part| (part.name, part.shape)).collect()
}
