//! The header of a safetensors file: parsed by hand, because it may come from anywhere and nothing in it is believed.
//!
//! Eight bytes of length, then JSON: name -> {dtype, shape, data_offsets}, then the tensors' bytes without a gap. The
//! safetensors crate checks all of this but names that occur twice, of which it keeps one.

use crate::{Error, Result};
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// More than any model's; what the safetensors library allows.
const LONGEST_HEADER: usize = 100_000_000;

/// The type of a tensor's numbers, by its name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    /// Blocks of ggml, which no safetensors file has, or NF4, which is several tensors there.
    #[serde(skip)]
    Blocks(tenfold_tensor::Dtype),
}

impl Dtype {
    /// How many numbers stand together, and in how many bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Dtype::F64 | Dtype::I64 | Dtype::U64 => (1, 8),
            Dtype::F32 | Dtype::I32 | Dtype::U32 => (1, 4),
            Dtype::F16 | Dtype::BF16 | Dtype::I16 | Dtype::U16 => (1, 2),
            Dtype::I8 | Dtype::U8 | Dtype::Bool => (1, 1),
            Dtype::Blocks(format) => (format.block_len(), format.bytes(format.block_len()).unwrap_or(1)),
        }
    }

    /// Whether a number of this type can be infinite or none.
    pub(super) fn may_be_infinite(self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Blocks(_))
    }

    /// The place of the first of these numbers that is infinite or none. Floating-point numbers are told by their bits.
    pub(super) fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Dtype::F32 => first(bytes, |b| !f32::from_le_bytes(b).is_finite()),
            Dtype::F16 => first(bytes, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
            Dtype::BF16 => first(bytes, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
            _ => self.to_f32(bytes).iter().position(|number| !number.is_finite()),
        }
    }

    /// Little-endian numbers of this type, widened or narrowed to f32; bytes need not be aligned.
    pub(in crate::model) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Dtype::Blocks(format) => format.widen(bytes),
            Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => each(bytes, f32::from_le_bytes),
            Dtype::F16 => each(bytes, |b| half_to_f32(u16::from_le_bytes(b))),
            Dtype::BF16 => each(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Dtype::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Dtype::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
            Dtype::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
            Dtype::U16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
            Dtype::U8 => each(bytes, |b| f32::from(u8::from_le_bytes(b))),
            Dtype::Bool => each(bytes, |[b]| f32::from(u8::from(b != 0))),
        }
    }
}

/// One tensor as the header states it, its bytes counted from the file's beginning.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

/// What a header says, checked against the file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Header {
    /// Reads the header of `bytes`, the whole content of `file`.
    pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<Header> {
        let fault =
            |place: &str, expected: String, found: String| Error::malformed(file, place, expected, found);
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(fault(
                "byte 0",
                "a header's length in 8 bytes".into(),
                format!("{} bytes", bytes.len()),
            ));
        };
        let length = u64::from_le_bytes(*length);
        let most = rest.len().min(LONGEST_HEADER);
        let Some((json, data)) =
            usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            return Err(fault(
                "byte 0",
                format!("a header of at most {most} bytes"),
                format!("one of {length}"),
            ));
        };
        if json.len() > LONGEST_HEADER {
            return Err(fault(
                "byte 0",
                format!("a header of at most {most} bytes"),
                format!("one of {length}"),
            ));
        }
        let raw: RawHeader = serde_json::from_slice(json).map_err(|error| {
            let found = error.to_string();
            let expected = match found.contains("`F8_") {
                true => "numbers of 16 bits or more, not FP8; take the same model in bf16",
                false => "name -> dtype, shape and data_offsets",
            };
            fault("header", expected.into(), found)
        })?;
        let mut entries = BTreeMap::new();
        for (name, tensor) in raw.tensors {
            let entry = tensor.check(data.len(), 8 + json.len());
            let entry =
                entry.map_err(|(expected, found)| fault(&format!("tensor {name}"), expected, found))?;
            entries.insert(name, entry);
        }
        cover(&entries, 8 + json.len()..bytes.len())
            .map_err(|(place, expected, found)| fault(&place, expected, found))?;
        Ok(Header { metadata: raw.metadata, entries })
    }
}

/// The tensors must lie end to end over all bytes after the header.
fn cover(entries: &BTreeMap<String, Entry>, data: Range<usize>) -> Result<(), (String, String, String)> {
    let mut order: Vec<(&String, &Range<usize>)> =
        entries.iter().map(|(name, entry)| (name, &entry.range)).collect();
    order.sort_by_key(|(_, range)| (range.start, range.end));
    let mut end = data.start;
    for (name, range) in order {
        if range.start != end {
            let kind = if range.start < end { "an overlap" } else { "a gap" };
            let expected = format!("its first byte at {end} of the file");
            return Err((
                format!("tensor {name}"),
                expected,
                format!("{kind}: it starts at {}", range.start),
            ));
        }
        end = range.end;
    }
    if end != data.end {
        let expected = format!("tensors up to the file's last byte, {}", data.end);
        return Err(("header".into(), expected, format!("tensors that end at {end}")));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl RawTensor {
    /// `data` bytes follow the header, the first of them at `start` of the file.
    fn check(self, data: usize, start: usize) -> Result<Entry, (String, String)> {
        let (from, to) = self.data_offsets;
        if from > to || to > data {
            let expected = format!("data_offsets within the {data} bytes after the header");
            return Err((expected, format!("[{from}, {to}]")));
        }
        let count = self.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let bytes = count.and_then(|count| count.checked_mul(self.dtype.block().1));
        if bytes != Some(to - from) {
            let expected = match bytes {
                Some(bytes) => format!("{bytes} bytes for {:?} of shape {:?}", self.dtype, self.shape),
                None => "a shape that memory can hold".into(),
            };
            return Err((expected, format!("{} bytes for shape {:?}", to - from, self.shape)));
        }
        Ok(Entry { dtype: self.dtype, shape: self.shape, range: start + from..start + to })
    }
}

#[derive(Default)]
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, RawTensor>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawHeader::default())
    }
}

impl<'de> Visitor<'de> for RawHeader {
    type Value = RawHeader;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object with a tensor's description under each name")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut metadata_seen = false;
        while let Some(name) = map.next_key::<String>()? {
            let again = if name == "__metadata__" {
                self.metadata = map.next_value()?;
                std::mem::replace(&mut metadata_seen, true)
            } else {
                let tensor = map.next_value_seed(Named(&name))?;
                self.tensors.insert(name.clone(), tensor).is_some()
            };
            if again {
                return Err(serde::de::Error::custom(format!("the name \"{name}\" twice")));
            }
        }
        Ok(self)
    }
}

/// Puts the tensor's name into the error.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = RawTensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawTensor, D::Error> {
        RawTensor::deserialize(deserializer)
            .map_err(|error| serde::de::Error::custom(format!("under \"{}\": {error}", self.0)))
    }
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
}

/// The place of the first number that `is_bad`. Looks at many at a time, which the compiler turns into vectors.
fn first<const N: usize>(bytes: &[u8], is_bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const AT_A_TIME: usize = 256;
    let numbers = bytes.as_chunks::<N>().0;
    let has_bad = |some: &&[[u8; N]]| some.iter().fold(false, |bad, number| bad | is_bad(*number));
    let (place, some) = numbers.chunks(AT_A_TIME).enumerate().find(|(_, some)| has_bad(some))?;
    some.iter().position(|number| is_bad(*number)).map(|within| place * AT_A_TIME + within)
}

/// IEEE 754 half precision: 1 sign bit, 5 of exponent, 10 of fraction.
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    let magnitude = match exponent {
        0 => (fraction as f32 * 2f32.powi(-24)).to_bits(),
        31 => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    fn fault(bytes: &[u8]) -> String {
        Header::parse(Path::new("m.safetensors"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_good_header_is_read() {
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"none":{"dtype":"I64","shape":[0,5],"data_offsets":[8,8]}}"#;
        let header = Header::parse(Path::new("m"), &file(json, 8)).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.entries.keys().collect::<Vec<_>>(), ["a", "b", "none"]);
        assert_eq!(header.entries["b"].range, 8 + json.len() + 4..8 + json.len() + 8);
        assert_eq!(Header::parse(Path::new("m"), &file("{}", 0)).unwrap().entries.len(), 0);
    }

    #[test]
    fn each_lie_of_a_header_is_told() {
        let tensor = |name: &str, shape: &str, from: usize, to: usize| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
        };
        let one = |shape: &str, from, to| format!("{{{}}}", tensor("a", shape, from, to));
        let two = |a: String, b: String| format!("{{{a},{b}}}");
        for (json, data, expected) in [
            (one("[2]", 0, 12), 8, "within the 8 bytes"),
            (one("[2]", 8, 0), 8, "within the 8 bytes"),
            (one("[3]", 0, 8), 8, "expected 12 bytes for F32 of shape [3]"),
            (one("[9223372036854775807,4]", 0, 8), 8, "a shape that memory can hold"),
            (one("[-1]", 0, 8), 8, "under \"a\""),
            (one("[2]", 0, 8), 12, "tensors that end at"),
            (one("[2]", 4, 12), 12, "a gap"),
            (two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 4, 12)), 12, "an overlap"),
            (two(tensor("a", "[1]", 0, 4), tensor("a", "[1]", 0, 4)), 4, "the name \"a\" twice"),
            (two(tensor("a", "[1]", 0, 4), tensor("b", "[1]", 0, 4)), 4, "an overlap"),
            (r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#.into(), 4, "F31"),
            (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "\"__metadata__\" twice"),
            ("[]".into(), 0, "dtype, shape and data_offsets"),
            ("{".into(), 0, "EOF"),
        ] {
            let error = fault(&file(&json, data));
            assert!(error.contains(expected), "{json}: {error}");
        }
        assert!(fault(&[0; 7]).contains("7 bytes"));
        assert!(fault(&u64::MAX.to_le_bytes()).contains("at most 0 bytes"));
        assert!(fault(&file("{}", 0)[..9]).contains("one of 2"));
        assert!(fault(&file("\u{1f642}", 0)[..11]).contains("at most 3 bytes"));
    }

    #[test]
    fn every_type_is_widened_from_unaligned_bytes() {
        let check = |dtype: Dtype, bytes: &[u8], expected: &[f32]| {
            let mut shifted = vec![0];
            shifted.extend(bytes);
            assert_eq!(dtype.to_f32(&shifted[1..]), expected, "{dtype:?}");
            assert_eq!(bytes.len(), expected.len() * dtype.block().1);
        };
        check(Dtype::F32, &[1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat(), &[1.5, -2.0]);
        check(Dtype::F64, &0.25f64.to_le_bytes(), &[0.25]);
        check(Dtype::BF16, &0xc040u16.to_le_bytes(), &[-3.0]);
        check(
            Dtype::F16,
            &[0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b, 0x01, 0x00],
            &[1.0, -2.0, 65504.0, 5.9604645e-8],
        );
        check(Dtype::I64, &(-7i64).to_le_bytes(), &[-7.0]);
        check(Dtype::U8, &[0, 255], &[0.0, 255.0]);
        check(Dtype::Bool, &[0, 1, 7], &[0.0, 1.0, 1.0]);
        assert!(half_to_f32(0x7c01).is_nan() && half_to_f32(0xfc00) == f32::NEG_INFINITY);
        assert_eq!(half_to_f32(0x8000).to_bits(), (-0f32).to_bits());
    }

    /// Damages a good file everywhere: bytes changed, cut off, repeated. Whatever comes, it is an answer or an error,
    /// and an answer lies within the file.
    #[test]
    fn damaged_files_never_panic() {
        let json = r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}"#;
        let good = file(json, 24);
        let mut state = 9u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + random(3) {
                let place = random(bytes.len());
                match random(4) {
                    0 => bytes[place] = random(256) as u8,
                    1 => bytes[place] = b"0123456789[]{},:\"-"[random(18)],
                    2 => bytes.truncate(place.max(1)),
                    _ => bytes[random(8).min(place)] ^= 1 << random(8),
                }
            }
            if let Ok(header) = Header::parse(Path::new("m"), &bytes) {
                for entry in header.entries.values() {
                    assert!(entry.range.end <= bytes.len());
                    entry.dtype.to_f32(&bytes[entry.range.clone()]);
                }
            }
        }
    }
}
