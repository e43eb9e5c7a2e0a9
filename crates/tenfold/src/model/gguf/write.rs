//! Writing GGUF files, version 3.

use super::header::{ALIGNMENT, DEFAULT_ALIGNMENT};
use super::metadata::{Array, Value};
use super::types::GgmlType;
use crate::{Error, Result, atomic};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// The format of its bytes.
    pub dtype: GgmlType,
    /// Its shape, the outermost extent first.
    pub shape: Vec<usize>,
}

/// Writes a GGUF file in one step: either the old file stays or the whole new one stands in its place. Equal content
/// gives equal bytes.
///
/// `put` is asked for one tensor after the other and writes its bytes, row by row, as many as format and shape take;
/// none of them is kept.
pub fn write(
    path: &Path,
    metadata: &BTreeMap<String, Value>,
    tensors: &BTreeMap<String, Tensor>,
    mut put: impl FnMut(&str, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    let alignment = match metadata.get(ALIGNMENT) {
        None => DEFAULT_ALIGNMENT,
        Some(Value::U32(alignment)) if alignment.is_power_of_two() => *alignment as usize,
        Some(other) => {
            return Err(Error::malformed(path, ALIGNMENT, "a power of two of type u32", other.to_string()));
        }
    };
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut header, key);
        put_value(&mut header, value);
    }
    let mut offset = 0;
    let mut sizes = Vec::new();
    for (name, tensor) in tensors {
        let size = tensor.dtype.bytes(&tensor.shape).ok_or_else(|| {
            let expected = format!("rows of whole blocks of {} that memory can hold", tensor.dtype.name());
            Error::malformed(path, format!("tensor {name}"), expected, format!("shape {:?}", tensor.shape))
        })?;
        sizes.push(size);
        put_string(&mut header, name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        for extent in tensor.shape.iter().rev() {
            header.extend((*extent as u64).to_le_bytes());
        }
        header.extend(tensor.dtype.id().to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        offset += size.next_multiple_of(alignment);
    }
    header.resize(header.len().next_multiple_of(alignment), 0);
    let padding = vec![0; alignment];
    atomic::produce(path, |file| {
        file.write_all(&header).map_err(Error::io("write", path))?;
        for ((name, tensor), size) in tensors.iter().zip(sizes) {
            let mut counted = Counted { file: &mut *file, bytes: 0 };
            put(name, &mut counted)?;
            if counted.bytes != size {
                let expected = format!("the bytes of shape {:?} in {}", tensor.shape, tensor.dtype.name());
                let found = format!("{} bytes", counted.bytes);
                return Err(Error::malformed(path, format!("tensor {name}"), expected, found));
            }
            let rest = size.next_multiple_of(alignment) - size;
            file.write_all(&padding[..rest]).map_err(Error::io("write", path))?;
        }
        Ok(())
    })
}

/// Counts what passes through it.
struct Counted<'a> {
    file: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(value) => put(0, &value.to_le_bytes()),
        Value::I8(value) => put(1, &value.to_le_bytes()),
        Value::U16(value) => put(2, &value.to_le_bytes()),
        Value::I16(value) => put(3, &value.to_le_bytes()),
        Value::U32(value) => put(4, &value.to_le_bytes()),
        Value::I32(value) => put(5, &value.to_le_bytes()),
        Value::F32(value) => put(6, &value.to_le_bytes()),
        Value::Bool(value) => put(7, &[u8::from(*value)]),
        Value::U64(value) => put(10, &value.to_le_bytes()),
        Value::I64(value) => put(11, &value.to_le_bytes()),
        Value::F64(value) => put(12, &value.to_le_bytes()),
        Value::String(text) => {
            put(8, &[]);
            put_string(out, text);
        }
        Value::Array(array) => {
            put(9, &[]);
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    fn numbers<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
        out.extend(values.iter().flat_map(|value| bytes(*value)));
    }
    let kind: u32 = match array {
        Array::U8(_) => 0,
        Array::I8(_) => 1,
        Array::U16(_) => 2,
        Array::I16(_) => 3,
        Array::U32(_) => 4,
        Array::I32(_) => 5,
        Array::F32(_) => 6,
        Array::Bool(_) => 7,
        Array::Strings(_) => 8,
        Array::Arrays(_) => 9,
        Array::U64(_) => 10,
        Array::I64(_) => 11,
        Array::F64(_) => 12,
    };
    out.extend(kind.to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(values) => numbers(out, values, u8::to_le_bytes),
        Array::I8(values) => numbers(out, values, i8::to_le_bytes),
        Array::U16(values) => numbers(out, values, u16::to_le_bytes),
        Array::I16(values) => numbers(out, values, i16::to_le_bytes),
        Array::U32(values) => numbers(out, values, u32::to_le_bytes),
        Array::I32(values) => numbers(out, values, i32::to_le_bytes),
        Array::F32(values) => numbers(out, values, f32::to_le_bytes),
        Array::Bool(values) => numbers(out, values, |truth| [u8::from(truth)]),
        Array::U64(values) => numbers(out, values, u64::to_le_bytes),
        Array::I64(values) => numbers(out, values, i64::to_le_bytes),
        Array::F64(values) => numbers(out, values, f64::to_le_bytes),
        Array::Strings(values) => values.iter().for_each(|text| put_string(out, text)),
        Array::Arrays(values) => values.iter().for_each(|array| put_array(out, array)),
    }
}
