//! GGUF files, versions 2 and 3, little-endian: opened by memory map, checked whole, looked up by ggml's names.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. A model may be split into files that are called
//! `<name>-00001-of-00003.gguf` and so on (`split.rs`); these are opened as one.

mod header;
mod metadata;
mod split;
mod types;
mod write;

pub use header::{Header, TensorInfo};
pub use metadata::{Array, Metadata, Value};
pub use types::GgmlType;
pub use write::{Tensor, write};

use super::mapped;
use crate::{Error, Result};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One tensor of a mapped file.
#[derive(Debug, Clone)]
pub struct View {
    /// The format of its numbers.
    pub dtype: GgmlType,
    /// Its shape row by row, as Hugging Face has it (\[out, in\] of a linear map); the file states it the other way round.
    pub shape: Vec<usize>,
    /// The mapped file.
    pub map: Arc<Mmap>,
    /// Its bytes in the file, always within `map`; blocks run along a row.
    pub range: Range<usize>,
}

impl View {
    /// The bytes as they are in the file.
    pub fn bytes(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }
}

/// An open GGUF file, or all files of a model that was split.
#[derive(Debug, Clone)]
pub struct Gguf {
    parts: Vec<Part>,
    /// The part that each tensor is in.
    places: BTreeMap<String, usize>,
}

/// One mapped file.
#[derive(Debug, Clone)]
struct Part {
    header: Header,
    map: Arc<Mmap>,
}

impl Part {
    fn open(path: &Path) -> Result<Part> {
        if path.metadata().map_err(Error::io("open", path))?.len() == 0 {
            return Err(Error::malformed(path, "byte 0", "the letters GGUF", "an empty file"));
        }
        let map = mapped::map(path)?;
        Ok(Part { header: Header::parse(path, &map)?, map })
    }
}

impl Gguf {
    /// Maps the file and checks everything that its header says. Of a model that was split it is the first file, and the
    /// others are opened too.
    pub fn open(path: &Path) -> Result<Gguf> {
        let parts = split::open(path)?;
        let mut places = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            for name in part.header.tensors.keys() {
                if places.insert(name.clone(), number).is_some() {
                    let (place, file) = (format!("tensor {name}"), part.header.metadata.file());
                    return Err(Error::malformed(file, place, "each name once", "one of an earlier part"));
                }
            }
        }
        Ok(Gguf { parts, places })
    }

    /// What the file says about itself; of a model that was split, the first file.
    pub fn metadata(&self) -> &Metadata {
        &self.parts[0].header.metadata
    }

    /// The files, in their order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.header.metadata.file())
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<View> {
        let part = self.parts.get(*self.places.get(name)?)?;
        let TensorInfo { dtype, shape, range } = part.header.tensors.get(name)?.clone();
        Some(View { dtype, shape, map: part.map.clone(), range })
    }

    /// The tensor of that name, which must have that shape.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<View> {
        let expected = || format!("a tensor of shape {shape:?}");
        let Some(view) = self.get(name) else {
            let near = crate::error::nearest(name, self.names());
            let found = near.map_or("none".to_owned(), |near| format!("none (the nearest is {near})"));
            return Err(Error::malformed(self.file(), name, expected(), found));
        };
        if view.shape != shape {
            return Err(Error::malformed(self.file(), name, expected(), format!("shape {:?}", view.shape)));
        }
        Ok(view)
    }

    /// The file, for errors.
    pub fn file(&self) -> &Path {
        self.metadata().file()
    }
}

/// Whether a path names a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
}

/// The GGUF file of a folder that has one and no config.json, which would be another model's; of a model that was split,
/// its first file.
pub fn only(folder: &Path) -> Option<PathBuf> {
    if folder.join("config.json").is_file() {
        return None;
    }
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| is_gguf(path) && path.is_file()).collect();
    files.sort();
    let one = files.len() == 1 || split::is_one_model(&files);
    files.into_iter().next().filter(|_| one)
}

/// The files of the model whose first, or only, file this is, by their names alone.
pub fn files_of(first: &Path) -> Vec<PathBuf> {
    split::Name::of(first).map_or_else(|| vec![first.to_owned()], |name| name.all())
}

#[cfg(test)]
mod tests;
