//! A model as a GGUF file: of another GGUF file with its metadata as they are, or of a Hugging Face folder.
//!
//! Everything that could be wrong is found before the first byte is written; tensors are then read, brought into their
//! format and written piece by piece, so that a model may be larger than memory.

mod folder;
mod tensor;

use super::{Change, Kept, Written};
use crate::error::{Error, Result};
use crate::model::ggml::{self, Layout};
use crate::model::gguf::{self, GgmlType, Gguf, Value};
use crate::model::mapped::unchanged_below;
use crate::model::{ModelFiles, checkpoint};
use crate::progress::{Event, Job, Progress};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tenfold_tensor::Dtype;
use tensor::Planned;

/// What a file is going to hold.
struct Content {
    /// Where it comes from, for errors.
    source: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Planned>,
}

/// A format that matrices are brought into.
#[derive(Clone, Copy)]
struct Target {
    ggml: GgmlType,
    /// llama.cpp's number of a file that is mostly in it (`llama_ftype`).
    file_type: u32,
}

/// The version of the layout of ggml's blocks.
const QUANTIZATION_VERSION: u32 = 2;

/// Writes a model as a GGUF file.
pub(super) fn write(
    files: &ModelFiles,
    format: Dtype,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Written> {
    let target = Target::of(format)?;
    if out.exists() {
        let found = "something that is there already; remove it, or choose another name";
        return Err(Error::malformed(out, "--out", "a file that is yet to be written", found));
    }
    let dir = files.dir();
    let content = match files.gguf()? {
        Some(gguf) => of_gguf(&gguf, target)?,
        None => folder::content(files, target, progress)?,
    };
    let mut written = Written::default();
    for (name, planned) in &content.tensors {
        written.note(name, planned.change);
    }
    written.check(dir, format)?;
    content.write(written, dir, out, progress)
}

impl Target {
    fn of(dtype: Dtype) -> Result<Target> {
        let (ggml, file_type) = match dtype {
            Dtype::F32 => (GgmlType::F32, 0),
            Dtype::F16 => (GgmlType::F16, 1),
            Dtype::Bf16 => (GgmlType::BF16, 32),
            Dtype::Q8_0 => (GgmlType::Q8_0, 7),
            Dtype::Q4_0 => (GgmlType::Q4_0, 2),
            Dtype::Q4_1 => (GgmlType::Q4_1, 3),
            other => {
                let why = match other {
                    Dtype::Nf4 => "ggml has no such format; write to a folder instead, or take q4_0",
                    _ => "it is only read; f32, f16, bf16, q8_0, q4_0 and q4_1 are written",
                };
                let what = format!("a GGUF file with weights in {}", other.name());
                return Err(Error::Unsupported { what, why: why.into() });
            }
        };
        Ok(Target { ggml, file_type })
    }

    /// What becomes of a tensor that is in the format `before`. As in llama.cpp, vectors and norms are not quantised, nor
    /// are small tables that are added and not multiplied with; and rows must be whole blocks.
    fn change(self, name: &str, shape: &[usize], before: checkpoint::Dtype) -> Change {
        const TABLES: [&str; 5] = [
            "position_embd.weight",
            "token_types.weight",
            "ffn_gate_inp.weight",
            "ssm_conv1d.weight",
            "attn_rel_b.weight",
        ];
        if shape.len() < 2 || !name.ends_with(".weight") || name.contains("_norm.") {
            Change::Kept(Kept::Vector)
        } else if TABLES.iter().any(|table| name.ends_with(table)) {
            Change::Kept(Kept::SmallTable)
        } else if self.ggml.bytes(shape).is_none() {
            Change::Kept(Kept::Narrow)
        } else if before == ggml::dtype(self.ggml) {
            Change::Already
        } else {
            Change::Changed
        }
    }

    /// The keys that say what the file is in.
    fn metadata(self) -> [(String, Value); 2] {
        [
            ("general.file_type".into(), Value::U32(self.file_type)),
            ("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)),
        ]
    }
}

/// The same file in another format.
fn of_gguf(gguf: &Gguf, target: Target) -> Result<Content> {
    let metadata = gguf.metadata();
    // What a former quantisation was guided by says nothing about this one, and the new file is whole.
    let gone = |key: &str| key.starts_with("quantize.") || key.starts_with("split.");
    let kept = metadata.iter().filter(|(key, _)| !gone(key));
    let kept = kept.map(|(key, value)| (key.to_owned(), value.clone()));
    let metadata = kept.chain(target.metadata()).collect();
    let mut tensors = BTreeMap::new();
    for name in gguf.names() {
        let Some(view) = gguf.get(name) else { continue };
        let change = target.change(name, &view.shape, ggml::dtype(view.dtype));
        let format = if let Change::Kept(_) = change { view.dtype } else { target.ggml };
        let view = checkpoint::View::mapped(ggml::dtype(view.dtype), view.shape, view.map, view.range);
        tensors.insert(name.to_owned(), Planned { view, layout: Layout::Same, format, change });
    }
    Ok(Content { source: gguf.file().to_owned(), metadata, tensors })
}

impl Content {
    fn write(
        &self,
        mut written: Written,
        dir: &Path,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Written> {
        let described = self.tensors.iter().map(|(name, planned)| (name.clone(), planned.described()));
        let described: BTreeMap<String, gguf::Tensor> = described.collect();
        for (name, gguf::Tensor { dtype, shape }) in &described {
            let bytes = dtype.bytes(shape).unwrap_or_default();
            written.count(dtype.name(), bytes, self.tensors[name].view.bytes().len());
        }
        let total = written.formats.values().map(|[_, bytes]| *bytes as u64).sum();
        let job = Job::new();
        let title = format!("writing {}", out.file_name().unwrap_or_default().to_string_lossy());
        progress.event(Event::Started { job, title, unit: "bytes", total: Some(total) });
        let mut done = 0;
        let mut advance = |bytes: usize| {
            done += bytes as u64;
            progress.event(Event::Advanced { job, done, note: String::new() });
            if progress.stop_requested() { Err(Error::Interrupted) } else { Ok(()) }
        };
        let outcome = gguf::write(out, &self.metadata, &described, |name, file| {
            self.tensors[name].write(&self.source, name, |bytes| {
                file.write_all(bytes).map_err(Error::io("write", out))?;
                advance(bytes.len())
            })?;
            // What was read from a file that changed meanwhile is not put in place.
            unchanged_below(dir)
        });
        progress.event(Event::Finished { job, note: String::new() });
        outcome.map(|()| written)
    }
}

#[cfg(test)]
mod tests;
