//! Safetensors files written a tensor at a time: the header, which stands first, needs only names, types and shapes.

use super::header::Dtype;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A tensor before its numbers are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) struct Entry {
    /// Its name in the file.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Entry {
    /// Its bytes; none if no memory could hold them.
    pub fn bytes(&self) -> Option<usize> {
        let count = self.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        count?.checked_mul(self.dtype.block().1)
    }
}

/// Where everything of a file will stand.
pub(super) struct Layout {
    /// The header's length and the header.
    pub head: Vec<u8>,
    /// Of each tensor, counted from the file's beginning.
    ranges: BTreeMap<String, Range<usize>>,
}

impl Layout {
    /// The widest numbers come first, those of a width by name: so each tensor is aligned to its numbers, which PyTorch
    /// insists on. Equal tensors and metadata give equal bytes.
    pub fn new(file: &Path, mut entries: Vec<Entry>, metadata: &BTreeMap<String, String>) -> Result<Layout> {
        entries.sort_by(|a, b| b.dtype.block().1.cmp(&a.dtype.block().1).then_with(|| a.name.cmp(&b.name)));
        let fault = |name: &str, expected: &str, found: String| {
            Error::malformed(file, format!("tensor {name}"), expected, found)
        };
        let (mut header, mut ranges, mut end) = (Map::new(), BTreeMap::new(), 0usize);
        if !metadata.is_empty() {
            header.insert("__metadata__".into(), json!(metadata));
        }
        for entry in entries {
            let dtype = serde_json::to_value(entry.dtype).map_err(|_| {
                fault(&entry.name, "a type that safetensors has", format!("{:?}", entry.dtype))
            })?;
            let start = end;
            end = entry.bytes().and_then(|bytes| bytes.checked_add(start)).ok_or_else(|| {
                fault(&entry.name, "a shape that memory can hold", format!("{:?}", entry.shape))
            })?;
            let value = json!({"dtype": dtype, "shape": entry.shape, "data_offsets": [start, end]});
            if entry.name == "__metadata__" || header.insert(entry.name.clone(), value).is_some() {
                return Err(fault(&entry.name, "a name of its own", "one that is taken".into()));
            }
            ranges.insert(entry.name, start..end);
        }
        let mut json = Value::Object(header).to_string().into_bytes();
        // The format's readers like the numbers aligned to 8 bytes; white space is part of the header.
        json.resize(json.len().next_multiple_of(8), b' ');
        let head = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
        ranges.values_mut().for_each(|range| *range = range.start + head.len()..range.end + head.len());
        Ok(Layout { head, ranges })
    }
}

/// A file in the making. Its tensors may come in any order.
pub(in crate::model) struct TensorFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// Of what has not come yet.
    missing: BTreeMap<String, Range<usize>>,
    /// Where the next byte would go.
    at: usize,
}

impl TensorFile {
    /// Begins a file, with the note that Hugging Face's libraries look for.
    pub fn create(path: &Path, entries: Vec<Entry>) -> Result<TensorFile> {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let Layout { head, ranges } = Layout::new(path, entries, &metadata)?;
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&head).map_err(Error::io("write", path))?;
        Ok(TensorFile { path: path.to_owned(), file, missing: ranges, at: head.len() })
    }

    /// Writes one tensor to its place.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let range =
            self.missing.remove(name).filter(|range| range.len() == bytes.len()).ok_or_else(|| {
                let found = format!("{} bytes", bytes.len());
                Error::malformed(&self.path, format!("tensor {name}"), "the bytes that were announced", found)
            })?;
        let written = match range.start == self.at {
            true => Ok(0),
            false => self.file.seek(SeekFrom::Start(range.start as u64)),
        };
        written.and_then(|_| self.file.write_all(bytes)).map_err(Error::io("write", &self.path))?;
        self.at = range.end;
        Ok(())
    }

    /// Brings the file to the disk, all tensors of which must have come.
    pub fn finish(self) -> Result<()> {
        if let Some(name) = self.missing.keys().next() {
            let place = format!("tensor {name}");
            return Err(Error::malformed(&self.path, place, "the bytes that were announced", "none"));
        }
        let file = self.file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, dtype: Dtype, shape: &[usize]) -> Entry {
        Entry { name: name.into(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn tensors_in_any_order_stand_aligned_as_the_safetensors_library_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let entries =
            vec![entry("a", Dtype::U8, &[3]), entry("b", Dtype::F32, &[1]), entry("c", Dtype::BF16, &[2, 1])];
        let mut file = TensorFile::create(&path, entries).unwrap();
        for (name, bytes) in [("a", &[1, 2, 3][..]), ("c", &[4, 5, 6, 7]), ("b", &[8, 9, 10, 11])] {
            file.put(name, bytes).unwrap();
        }
        assert!(file.put("a", &[1, 2, 3]).is_err(), "twice");
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[bytes.len() - 11..], [8, 9, 10, 11, 4, 5, 6, 7, 1, 2, 3]);
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("c").unwrap().data(), [4, 5, 6, 7]);
        assert_eq!(theirs.tensor("a").unwrap().dtype(), safetensors::Dtype::U8);
    }

    #[test]
    fn what_does_not_come_as_announced_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let create = |entries| TensorFile::create(&path, entries);
        let mut file = create(vec![entry("a", Dtype::U8, &[3])]).unwrap();
        assert!(file.put("a", &[1, 2]).unwrap_err().to_string().contains("found 2 bytes"));
        let file = create(vec![entry("a", Dtype::U8, &[3])]).unwrap();
        assert!(file.finish().unwrap_err().to_string().contains("tensor a"));
        let twice = vec![entry("a", Dtype::U8, &[3]), entry("a", Dtype::F32, &[3])];
        assert!(create(twice).err().unwrap().to_string().contains("a name of its own"));
        assert!(create(vec![entry("a", Dtype::F32, &[usize::MAX])]).is_err());
        assert!(create(vec![entry("a", Dtype::Blocks(tenfold_tensor::Dtype::Q4_0), &[32])]).is_err());
    }
}
