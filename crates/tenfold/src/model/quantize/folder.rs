//! A model as a Hugging Face folder that Transformers loads: config.json, safetensors, the tokenizer's files.
//!
//! In f32, f16 and bf16 every tensor of floating-point numbers is in that format, as `model.to(dtype)` would have it;
//! whole numbers stay. In nf4 the linear maps inside of the model are as bitsandbytes saves them
//! (`checkpoint/bitsandbytes.rs`), heads, tables and rows that are no whole blocks in the format that the
//! source has them in throughout, or else in f32. Tensors are read, brought into the format and written one at a time;
//! files end at 5 GB, as Hugging Face's do.

mod plan;
#[cfg(test)]
mod tests;
mod words;

use super::Written;
use crate::error::{Error, Result};
use crate::model::ModelFiles;
use crate::model::checkpoint::{Checkpoint, Entry, INDEX, TensorFile, WEIGHTS};
use crate::model::config::Config;
use crate::model::gguf::Gguf;
use crate::new_folder::{NewFolder, free_name};
use crate::progress::{Event, Job, Progress};
use plan::{Plan, Planned};
use serde_json::{Map, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold_tensor::Dtype;

/// The bytes of tensors that one file holds at most, if each fits.
const LARGEST_FILE: usize = 5_000_000_000;

/// The model that is read.
struct Original {
    dir: PathBuf,
    gguf: Option<Arc<Gguf>>,
    config: Arc<Config>,
    checkpoint: Arc<Checkpoint>,
}

pub(super) fn write(
    files: &ModelFiles,
    format: Dtype,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Written> {
    write_in_files_of(LARGEST_FILE, files, format, out, progress)
}

fn write_in_files_of(
    largest: usize,
    source: &ModelFiles,
    format: Dtype,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Written> {
    free_name(out)?;
    let original = Original::open(source)?;
    let plan = Plan::new(&original, format)?;
    let mut counted = Written::default();
    for tensor in &plan.tensors {
        counted.note(&tensor.name, tensor.change);
    }
    counted.check(source.dir(), format)?;
    let made = NewFolder::begin(out)?;
    let written = write_weights(counted, (&original, &plan), largest, (&made.folder, &made.name), progress)?;
    words::write(&original, &plan, &made.folder)?;
    crate::model::mapped::unchanged_below(source.dir())?;
    made.put()?;
    Ok(written)
}

impl Original {
    fn open(files: &ModelFiles) -> Result<Original> {
        let (config, checkpoint) = (files.config()?, files.checkpoint()?);
        let quantised = config.keys().get("quantization_config").filter(|value| !value.is_null());
        if let Some(method) = quantised.map(|value| &value["quant_method"]).filter(|m| *m != "bitsandbytes") {
            let expected = "weights as they are, or bitsandbytes";
            return Err(config.fault("quantization_config, quant_method", expected, method));
        }
        Ok(Original { dir: files.dir().to_owned(), gguf: files.gguf()?, config, checkpoint })
    }
}

/// All tensors, in one file or several.
fn write_weights(
    mut written: Written,
    (original, plan): (&Original, &Plan),
    largest: usize,
    (folder, name): (&Path, &str),
    progress: &dyn Progress,
) -> Result<Written> {
    let files = files(&plan.tensors, largest);
    let total = plan.tensors.iter().map(Planned::bytes).sum::<usize>();
    let (job, title) = (Job::new(), format!("writing {name}"));
    progress.event(Event::Started { job, title, unit: "bytes", total: Some(total as u64) });
    let (mut done, mut index) = (0, Map::new());
    for (number, tensors) in files.iter().enumerate() {
        let file_name = match files.len() {
            1 => WEIGHTS.to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let entries: Vec<Entry> = tensors.iter().flat_map(Planned::entries).collect();
        index.extend(entries.iter().map(|entry| (entry.name.clone(), json!(file_name))));
        let mut file = TensorFile::create(&folder.join(&file_name), entries)?;
        for tensor in *tensors {
            if progress.stop_requested() {
                return Err(Error::Interrupted);
            }
            for (entry, content) in tensor.entries().iter().zip(tensor.contents(original.checkpoint.file())?)
            {
                file.put(&entry.name, &content)?;
            }
            written.count(&tensor.format(), tensor.bytes(), tensor.bytes_before());
            done += tensor.bytes();
            progress.event(Event::Advanced { job, done: done as u64, note: tensor.name.clone() });
        }
        file.finish()?;
    }
    if files.len() > 1 {
        words::put(folder, INDEX, &json!({"metadata": {"total_size": total}, "weight_map": index}))?;
    }
    progress.event(Event::Finished { job, note: String::new() });
    Ok(written)
}

/// The tensors of each file, in order: a file ends before the tensor that would make it too large.
fn files(tensors: &[Planned], largest: usize) -> Vec<&[Planned]> {
    let (mut files, mut start, mut size) = (Vec::new(), 0, 0);
    for (place, tensor) in tensors.iter().enumerate() {
        if size > 0 && size + tensor.bytes() > largest {
            files.push(&tensors[start..place]);
            (start, size) = (place, 0);
        }
        size += tensor.bytes();
    }
    files.push(&tensors[start..]);
    files
}
