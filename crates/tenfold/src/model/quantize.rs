//! A model written anew in another format: a GGUF file, or a Hugging Face folder with safetensors.
//!
//! ```text
//! quantize ─┬─ ggml.rs    <name>.gguf: f32, f16, bf16, q8_0, q4_0, q4_1
//!           └─ folder.rs  a folder: f32, f16, bf16, and nf4 as bitsandbytes lays it out
//! ```

mod folder;
mod ggml;

use super::ModelFiles;
use super::gguf;
use crate::error::{Error, Result};
use crate::progress::Progress;
use std::collections::BTreeMap;
use std::path::Path;
use tenfold_tensor::Dtype;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Tensors and bytes in each format, by its name as the file has it.
    pub formats: BTreeMap<String, [usize; 2]>,
    /// The number of bytes of all tensors as they were read.
    pub bytes_before: usize,
    /// How many tensors were brought into the format that was asked for.
    pub changed: usize,
    /// How many were in it before.
    pub already: usize,
    /// The tensors that are not in it, by the reason.
    pub kept: BTreeMap<Kept, Vec<String>>,
}

/// Why a tensor is not in the format that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// A norm or a bias.
    Vector,
    /// A small table that is looked up and added, or that llama.cpp wants as it is.
    SmallTable,
    /// No linear map inside of the model: embeddings or a head.
    NotLinear,
    /// A map that Transformers never quantizes, because its results leave the range of half precision.
    Sensitive,
    /// Rows that are no whole blocks of the format.
    Narrow,
}

impl Kept {
    /// A few words for people, of a tensor in the plural.
    pub fn words(self) -> &'static str {
        match self {
            Kept::Vector => "norms and biases, which are never quantized",
            Kept::SmallTable => "small tables, which are never quantized",
            Kept::NotLinear => "embeddings and heads, which bitsandbytes does not quantize",
            Kept::Sensitive => "maps that Transformers never quantizes",
            Kept::Narrow => "matrices whose rows are no whole blocks of the format",
        }
    }
}

/// How a tensor becomes what is written of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It is brought into the format that was asked for.
    Changed,
    /// It was in it.
    Already,
    /// It is in another one.
    Kept(Kept),
}

impl Written {
    /// Counts a tensor of so many bytes, which took `before` bytes where it was read.
    fn count(&mut self, format: &str, bytes: usize, before: usize) {
        let entry = self.formats.entry(format.to_owned()).or_default();
        *entry = [entry[0] + 1, entry[1] + bytes];
        self.bytes_before += before;
    }

    /// Notes what becomes of a tensor.
    fn note(&mut self, name: &str, change: Change) {
        match change {
            Change::Changed => self.changed += 1,
            Change::Already => self.already += 1,
            Change::Kept(why) => self.kept.entry(why).or_default().push(name.to_owned()),
        }
    }

    /// Refuses to write a model in which no tensor would be in the format that was asked for.
    fn check(&self, dir: &Path, format: Dtype) -> Result<()> {
        if self.changed + self.already > 0 {
            return Ok(());
        }
        let narrow = self.kept.get(&Kept::Narrow).map_or(&[][..], Vec::as_slice);
        let why = match narrow.first() {
            Some(first) => format!(
                "rows must be a multiple of {} numbers, and those of its {} matrices are not ({first} is the first); take f16, bf16 or f32",
                format.block_len(),
                narrow.len()
            ),
            None => "it has no matrix that is quantized".into(),
        };
        let what = format!("{}: a model with weights in {}", dir.display(), format.name());
        Err(Error::Unsupported { what, why })
    }
}

/// Writes a model (a Hugging Face folder, a GGUF file, or a folder with one) with its matrices in `format`:
/// to a GGUF file if `out` is named so, else to a folder. Either all of it is there in the end or nothing new is. A model
/// of which no matrix can be in that format is refused.
pub fn quantize(files: &ModelFiles, format: Dtype, out: &Path, progress: &dyn Progress) -> Result<Written> {
    match gguf::is_gguf(out) {
        true => ggml::write(files, format, out, progress),
        false => folder::write(files, format, out, progress),
    }
}
