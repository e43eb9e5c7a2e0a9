//! A model written anew in another format: a GGUF file, or a Hugging Face folder with safetensors.
//!
//! ```text
//! quantize ─┬─ ggml.rs    <name>.gguf: f32, f16, bf16, q8_0, q4_0, q4_1
//!           └─ folder.rs  a folder: f32, f16, bf16, and nf4 as bitsandbytes lays it out
//! ```

mod folder;
mod ggml;

use super::gguf;
use crate::error::Result;
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
}

impl Written {
    /// Counts a tensor of so many bytes, which took `before` bytes where it was read.
    fn count(&mut self, format: &str, bytes: usize, before: usize) {
        let entry = self.formats.entry(format.to_owned()).or_default();
        *entry = [entry[0] + 1, entry[1] + bytes];
        self.bytes_before += before;
    }
}

/// Writes the model in `dir` (a Hugging Face folder, a GGUF file, or a folder with one) with its matrices in `format`:
/// to a GGUF file if `out` is named so, else to a folder. Either all of it is there in the end or nothing new is.
pub fn quantize(dir: &Path, format: Dtype, out: &Path, progress: &dyn Progress) -> Result<Written> {
    match gguf::is_gguf(out) {
        true => ggml::write(dir, format, out, progress),
        false => folder::write(dir, format, out, progress),
    }
}
