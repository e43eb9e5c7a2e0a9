//! The header of a GGUF file: parsed by hand, because it may come from anywhere and nothing in it is believed.
//!
//! "GGUF", version, numbers of tensors and of metadata; metadata: key, type, value; tensors: name, extents (the
//! innermost first), format, offset; then, aligned, the tensors' bytes. All integers are little-endian.

use super::metadata::{Array, Metadata, Value};
use super::types::{GgmlType, foreign_name};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Where data begins and tensors lie, unless `general.alignment` says otherwise.
pub(super) const DEFAULT_ALIGNMENT: usize = 32;
/// The key of the alignment.
pub(super) const ALIGNMENT: &str = "general.alignment";
/// ggml's own limit of extents.
const MOST_EXTENTS: usize = 4;
/// Arrays of arrays of … arrays; nothing in use is deeper than one.
const DEEPEST: usize = 4;

/// One tensor as the header states it, checked against the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The format of its numbers.
    pub dtype: GgmlType,
    /// Its shape, the outermost extent first.
    pub shape: Vec<usize>,
    /// Its bytes, counted from the file's beginning.
    pub range: Range<usize>,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// 2 or 3, which differ in nothing that little-endian files show.
    pub version: u32,
    /// Named values.
    pub metadata: Metadata,
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Reads the header of `bytes`, the whole content of `file`.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Header> {
        let mut reader = Reader { file, bytes, at: 0 };
        if reader.take(4).ok() != Some(b"GGUF") {
            let start = || format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(4)]));
            let found = crate::first_bytes::instead(bytes).map_or_else(start, str::to_owned);
            return Err(Error::malformed(file, "byte 0", "the letters GGUF", found));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            let why = match version {
                1 => "version 1 is long gone: convert the model anew".to_owned(),
                _ if matches!(version.swap_bytes(), 1..=3) => "it is big-endian".to_owned(),
                _ => format!("it states version {version}; 2 and 3 are known"),
            };
            return Err(Error::Unsupported { what: format!("the GGUF file {}", file.display()), why });
        }
        // A tensor takes at least a name's length, a count of extents, a format and an offset; a value its key's
        // length, a type and a byte.
        let tensor_count = reader.count("number of tensors", 8 + 4 + 4 + 8)?;
        let value_count = reader.count("number of metadata", 8 + 4 + 1)?;
        let metadata = Metadata::new(file, reader.metadata(value_count)?);
        let alignment = alignment(&metadata)?;
        let mut stated = Vec::new();
        for _ in 0..tensor_count {
            stated.push(reader.tensor()?);
        }
        let data = reader.at.checked_next_multiple_of(alignment).unwrap_or(usize::MAX).min(bytes.len());
        let tensors = place(file, stated, data..bytes.len(), alignment)?;
        Ok(Header { version, metadata, tensors })
    }
}

fn alignment(metadata: &Metadata) -> Result<usize> {
    let stated = metadata.optional(ALIGNMENT, Metadata::u32)?;
    match stated.map_or(DEFAULT_ALIGNMENT, |alignment| alignment as usize) {
        alignment if alignment.is_power_of_two() => Ok(alignment),
        alignment => Err(metadata.fault(ALIGNMENT, "a power of two", alignment.to_string())),
    }
}

/// A tensor's description before it is known where the data begin.
struct Stated {
    name: String,
    dtype: GgmlType,
    shape: Vec<usize>,
    bytes: usize,
    offset: u64,
}

/// Every tensor must lie within `data`, at a multiple of the alignment from its beginning, and none upon another.
fn place(
    file: &Path,
    stated: Vec<Stated>,
    data: Range<usize>,
    alignment: usize,
) -> Result<BTreeMap<String, TensorInfo>> {
    let mut tensors = BTreeMap::new();
    for Stated { name, dtype, shape, bytes, offset } in stated {
        let fault = |expected: String, found: String| {
            Error::malformed(file, format!("tensor {name}"), expected, found)
        };
        let begin = usize::try_from(offset).ok().and_then(|offset| data.start.checked_add(offset));
        let range = begin.and_then(|begin| Some(begin..begin.checked_add(bytes)?));
        let Some(range) = range.filter(|range| range.end <= data.end) else {
            let expected = format!("{bytes} bytes within the {} after the header", data.len());
            return Err(fault(expected, format!("offset {offset}")));
        };
        if !offset.is_multiple_of(alignment as u64) {
            return Err(fault(format!("an offset that is a multiple of {alignment}"), offset.to_string()));
        }
        if tensors.contains_key(&name) {
            return Err(fault("each name once".into(), "it a second time".into()));
        }
        tensors.insert(name, TensorInfo { dtype, shape, range });
    }
    let mut order: Vec<(&String, &Range<usize>)> = tensors
        .iter()
        .map(|(name, info)| (name, &info.range))
        .filter(|(_, range)| !range.is_empty())
        .collect();
    order.sort_by_key(|(_, range)| range.start);
    for pair in order.windows(2) {
        let [(first, before), (second, after)] = pair else { continue };
        if after.start < before.end {
            let expected = format!("bytes of its own after those of {first}, from {}", before.end);
            let place = format!("tensor {second}");
            return Err(Error::malformed(file, place, expected, format!("bytes from {}", after.start)));
        }
    }
    Ok(tensors)
}

/// Reads from the front of a file, never past its end.
struct Reader<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn fault(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::malformed(self.file, format!("byte {}", self.at), expected, found)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.bytes[self.at..].get(..count);
        let taken =
            taken.ok_or_else(|| self.fault(format!("{count} bytes"), format!("{} left", self.left())))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (chunks, _) = self.take(N)?.as_chunks::<N>();
        Ok(chunks[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things of which each takes at least `least` bytes of what is left.
    fn count(&mut self, what: &str, least: usize) -> Result<usize> {
        let stated = self.u64()?;
        let most = self.left() / least;
        usize::try_from(stated).ok().filter(|count| *count <= most).ok_or_else(|| {
            self.fault(format!("a {what} of at most {most}, as the file's length allows"), stated.to_string())
        })
    }

    fn string(&mut self) -> Result<String> {
        let length = self.count("string's length", 1)?;
        let at = self.at;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| {
            Error::malformed(self.file, format!("byte {at}"), "text in UTF-8", error.utf8_error().to_string())
        })
    }

    fn metadata(&mut self, count: usize) -> Result<BTreeMap<String, Value>> {
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let at = self.at;
            let key = self.string()?;
            let kind = self.u32()?;
            // The key is more use to a person than the byte.
            let value = self.value(kind).map_err(|error| match error {
                Error::Malformed { file, place, expected, found } => {
                    Error::Malformed { file, place: format!("{key}, {place}"), expected, found }
                }
                other => other,
            })?;
            if values.contains_key(&key) {
                let (place, found) = (format!("byte {at}"), format!("{key} a second time"));
                return Err(Error::malformed(self.file, place, "each key once", found));
            }
            values.insert(key, value);
        }
        Ok(values)
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::U8(self.array().map(u8::from_le_bytes)?),
            1 => Value::I8(self.array().map(i8::from_le_bytes)?),
            2 => Value::U16(self.array().map(u16::from_le_bytes)?),
            3 => Value::I16(self.array().map(i16::from_le_bytes)?),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(self.array().map(i32::from_le_bytes)?),
            6 => Value::F32(self.array().map(f32::from_le_bytes)?),
            7 => {
                let [byte] = self.array()?;
                Value::Bool(self.truth(byte)?)
            }
            8 => Value::String(self.string()?),
            9 => Value::Array(self.values(DEEPEST)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(self.array().map(i64::from_le_bytes)?),
            12 => Value::F64(self.array().map(f64::from_le_bytes)?),
            other => return Err(self.unknown_type(other)),
        })
    }

    /// An array, which may hold arrays down to `depth`.
    fn values(&mut self, depth: usize) -> Result<Array> {
        let kind = self.u32()?;
        Ok(match kind {
            0 => Array::U8(self.numbers(u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(f32::from_le_bytes)?),
            7 => {
                let bytes = self.numbers(u8::from_le_bytes)?;
                Array::Bool(bytes.into_iter().map(|byte| self.truth(byte)).collect::<Result<_>>()?)
            }
            8 => {
                let count = self.count("number of strings", 8)?;
                Array::Strings((0..count).map(|_| self.string()).collect::<Result<_>>()?)
            }
            9 if depth > 1 => {
                let count = self.count("number of arrays", 4 + 8)?;
                Array::Arrays((0..count).map(|_| self.values(depth - 1)).collect::<Result<_>>()?)
            }
            9 => return Err(self.fault(format!("arrays at most {DEEPEST} deep"), "a deeper one")),
            10 => Array::U64(self.numbers(u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(f64::from_le_bytes)?),
            other => return Err(self.unknown_type(other)),
        })
    }

    fn numbers<T, const N: usize>(&mut self, number: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let count = self.count("number of values", N)?;
        let bytes = self.take(count * N)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect())
    }

    fn truth(&self, byte: u8) -> Result<bool> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.fault("a truth value of 0 or 1", other.to_string())),
        }
    }

    fn unknown_type(&self, kind: u32) -> Error {
        self.fault("a type of value from 0 to 12", kind.to_string())
    }

    fn tensor(&mut self) -> Result<Stated> {
        let name = self.string()?;
        let file = self.file;
        let fault = |expected: String, found: String| {
            Error::malformed(file, format!("tensor {name}"), expected, found)
        };
        let extents = self.u32()? as usize;
        if extents > MOST_EXTENTS {
            return Err(fault(format!("at most {MOST_EXTENTS} extents"), extents.to_string()));
        }
        let mut shape = Vec::new();
        for _ in 0..extents {
            let extent = self.u64()?;
            shape.push(
                usize::try_from(extent)
                    .map_err(|_| fault("an extent that memory can hold".into(), extent.to_string()))?,
            );
        }
        shape.reverse();
        let id = self.u32()?;
        let Some(dtype) = GgmlType::from_id(id) else {
            let format = foreign_name(id).map_or(format!("format {id}"), str::to_owned);
            let known = GgmlType::ALL.map(GgmlType::name).join(", ");
            return Err(Error::Unsupported {
                what: format!("{}: tensor {name} in {format}", file.display()),
                why: format!("known are {known}"),
            });
        };
        let bytes = dtype.bytes(&shape).ok_or_else(|| {
            let expected =
                format!("rows of a multiple of {} numbers that memory can hold", dtype.block_len());
            fault(expected, format!("shape {shape:?} in {}", dtype.name()))
        })?;
        let offset = self.u64()?;
        Ok(Stated { name, dtype, shape, bytes, offset })
    }
}
