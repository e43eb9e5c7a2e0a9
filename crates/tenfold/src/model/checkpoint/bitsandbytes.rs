//! Matrices that bitsandbytes has quantised to 4 bits, as Transformers saves them, read and written.
//!
//! ```text
//! X.weight                                U8 [n / 2, 1]     two numbers a byte, the upper half first
//! X.weight.quant_map                      F32 [16]          the quantiles of NF4
//! X.weight.absmax                         U8 [n / 64]       scales of blocks: numbers into nested_quant_map
//! X.weight.nested_absmax                  F32 [n / 64 / 256]
//! X.weight.nested_quant_map               F32 [256]         the dynamic map
//! X.weight.quant_state.bitsandbytes__nf4  U8                JSON: quant_type, blocksize, dtype, shape, nested_…
//! ```
//!
//! Our NF4 ([`Dtype::Nf4`](tenfold_tensor::Dtype)) is the same bytes in another order: `nested_offset`, then for each 256
//! blocks their `nested_absmax` and, block by block, `absmax` and 32 bytes of the weight. [`interleave`] and [`separate`]
//! are all there is between them.
//!
//! What that order cannot say is widened to f32 when it is asked for, with the numbers that bitsandbytes works out:
//! scales without double quantisation (`absmax` F32), rows that are no whole blocks, another `nested_quant_map`. Two maps
//! are the same here if no value differs by more than 1e-6 of itself: PyTorch works the map out, and its last bits depend
//! on the processor. `dtype` is what bitsandbytes rounds widened numbers to; here they stay f32.

use super::header::Dtype;
use super::stream::Entry;
use super::view::View;
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use tenfold_tensor::{Dtype as Format, nf4_tables};

/// Numbers with a scale of their own.
const BLOCK: usize = 64;
/// Scales with a scale of their own.
const GROUP: usize = 256;
/// More than any state's JSON.
const LONGEST_STATE: usize = 1 << 12;
/// Characters that `nested_offset` may take.
const LONGEST_NUMBER: usize = 24;

const STATE: &str = "quant_state.bitsandbytes__";
const ABSMAX: &str = "absmax";
const QUANT_MAP: &str = "quant_map";
const NESTED_ABSMAX: &str = "nested_absmax";
const NESTED_QUANT_MAP: &str = "nested_quant_map";

/// The parts of a matrix, each checked to be as long as its shape says.
#[derive(Debug)]
pub(super) struct FourBit {
    /// Two numbers a byte.
    numbers: View,
    /// How many there are.
    len: usize,
    scales: Scales,
    /// Whether our order of bytes can say it.
    exact: bool,
}

#[derive(Debug)]
enum Scales {
    Plain(View),
    Nested { codes: View, groups: View, map: Vec<f32>, offset: f32 },
}

/// What a state's JSON says of the matrix.
#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_dtype: Option<String>,
    nested_offset: Option<f64>,
}

/// Puts the parts of quantised matrices together: of `views` all others stay as they are.
pub(super) fn gather(file: &Path, mut views: BTreeMap<String, View>) -> Result<BTreeMap<String, View>> {
    if let Some(name) = views.keys().find(|name| name.ends_with(".SCB")) {
        let expected = "matrices of bitsandbytes in 4 bits (nf4)";
        return Err(Error::malformed(file, name, expected, "the scales of one in 8 bits (int8)"));
    }
    let states = views.keys().filter_map(|name| name.split_once(&format!(".{STATE}")));
    let states: Vec<(String, String)> = states.map(|(name, kind)| (name.into(), kind.into())).collect();
    for (name, kind) in states {
        if kind != "nf4" {
            return Err(Error::malformed(file, &name, "4 bits of the type nf4", kind));
        }
        let view = Parts { file, name: &name, views: &mut views }.gather()?;
        views.insert(name, view);
    }
    let left = |name: &&String| {
        let part = |part: &str| name.strip_suffix(part).is_some_and(|weight| weight.ends_with(".weight."));
        [ABSMAX, QUANT_MAP, NESTED_ABSMAX, NESTED_QUANT_MAP].into_iter().any(part)
    };
    match views.keys().find(left) {
        Some(name) => Err(Error::malformed(file, name, format!("a matrix with its {STATE}nf4"), "none")),
        None => Ok(views),
    }
}

/// The tensors that a matrix of that shape, rows of whole blocks, is in a file, the matrix itself first; `dtype` is what
/// bitsandbytes rounds the widened numbers to, by PyTorch's name.
pub(in crate::model) fn entries(name: &str, shape: &[usize], dtype: &str) -> Vec<Entry> {
    let len: usize = shape.iter().product();
    let blocks = len / BLOCK;
    let state = state(shape, dtype, 0.0).len();
    let entry = |part: &str, dtype, shape: &[usize]| {
        let name = if part.is_empty() { name.to_owned() } else { format!("{name}.{part}") };
        Entry { name, dtype, shape: shape.to_vec() }
    };
    vec![
        entry("", Dtype::U8, &[len / 2, 1]),
        entry(ABSMAX, Dtype::U8, &[blocks]),
        entry(NESTED_ABSMAX, Dtype::F32, &[blocks.div_ceil(GROUP)]),
        entry(NESTED_QUANT_MAP, Dtype::F32, &[GROUP]),
        entry(QUANT_MAP, Dtype::F32, &[16]),
        entry(&format!("{STATE}nf4"), Dtype::U8, &[state]),
    ]
}

/// The bytes of those tensors, in that order, out of our NF4.
pub(in crate::model) fn contents(shape: &[usize], dtype: &str, ours: &[u8]) -> [Vec<u8>; 6] {
    let Separate { offset, groups, codes, numbers } = separate(ours);
    let (quantiles, map) = nf4_tables();
    [numbers, codes, groups, to_bytes(map), to_bytes(quantiles), state(shape, dtype, offset)]
}

/// The parts of one matrix among all tensors of a file.
struct Parts<'a> {
    file: &'a Path,
    name: &'a str,
    views: &'a mut BTreeMap<String, View>,
}

impl Parts<'_> {
    fn gather(mut self) -> Result<View> {
        let state = self.state()?;
        let fault = |expected: &str, found: String| {
            Error::malformed(self.file, format!("{}.{STATE}nf4", self.name), expected, found)
        };
        if state.quant_type != "nf4" {
            return Err(fault("quant_type nf4", state.quant_type));
        }
        if state.blocksize != BLOCK {
            return Err(fault("blocksize 64", state.blocksize.to_string()));
        }
        let len = state.shape.iter().try_fold(1usize, |len, extent| len.checked_mul(*extent));
        let len = len.ok_or_else(|| fault("a shape that memory can hold", format!("{:?}", state.shape)))?;
        let numbers = self.take("", None, len.div_ceil(2))?;
        let map = self.take(QUANT_MAP, Some(Dtype::F32), 16)?.to_f32();
        if map != nf4_tables().0 {
            let place = format!("{}.{QUANT_MAP}", self.name);
            return Err(Error::malformed(self.file, place, "the 16 quantiles of NF4", format!("{map:?}")));
        }
        let blocks = len.div_ceil(BLOCK);
        let nested = self.views.contains_key(&self.part(NESTED_ABSMAX));
        let scales = match nested {
            false => Scales::Plain(self.take(ABSMAX, Some(Dtype::F32), blocks)?),
            true => self.nested(&state, blocks)?,
        };
        let whole_rows = state.shape.last().is_some_and(|cols| cols.is_multiple_of(BLOCK));
        let exact = whole_rows && matches!(&scales, Scales::Nested { map, .. } if is_our_map(map));
        let dtype = if exact { Dtype::Blocks(Format::Nf4) } else { Dtype::F32 };
        Ok(View::four_bit(dtype, state.shape, FourBit { numbers, len, scales, exact }))
    }

    fn nested(&mut self, state: &State, blocks: usize) -> Result<Scales> {
        let offset = state.nested_offset.map(|offset| offset as f32).filter(|offset| offset.is_finite());
        let fine = state.nested_blocksize == Some(GROUP) && state.nested_dtype.as_deref() == Some("float32");
        let Some(offset) = offset.filter(|_| fine) else {
            let found = format!(
                "{:?}, {:?} and {:?}",
                state.nested_blocksize, state.nested_dtype, state.nested_offset
            );
            let expected = "nested_blocksize 256, nested_dtype float32 and a number as nested_offset";
            return Err(Error::malformed(self.file, self.part(&format!("{STATE}nf4")), expected, found));
        };
        Ok(Scales::Nested {
            codes: self.take(ABSMAX, Some(Dtype::U8), blocks)?,
            groups: self.take(NESTED_ABSMAX, Some(Dtype::F32), blocks.div_ceil(GROUP))?,
            map: self.take(NESTED_QUANT_MAP, Some(Dtype::F32), GROUP)?.to_f32(),
            offset,
        })
    }

    fn state(&mut self) -> Result<State> {
        let place = self.part(&format!("{STATE}nf4"));
        let fault = |found: String| Error::malformed(self.file, &place, "JSON of a matrix in 4 bits", found);
        let view = self.views.remove(&place).ok_or_else(|| fault("none".into()))?;
        let json = view.bytes();
        if json.len() > LONGEST_STATE {
            return Err(fault(format!("{} bytes", json.len())));
        }
        serde_json::from_slice(&json).map_err(|error| fault(error.to_string()))
    }

    fn part(&self, part: &str) -> String {
        if part.is_empty() { self.name.to_owned() } else { format!("{}.{part}", self.name) }
    }

    /// Takes a part of so many numbers; without a type, of so many bytes: those may go under any name
    /// (bnb_4bit_quant_storage).
    fn take(&mut self, part: &str, dtype: Option<Dtype>, len: usize) -> Result<View> {
        let place = self.part(part);
        let fault = |found: String| {
            let what = dtype.map_or("bytes".to_owned(), |dtype| format!("numbers of {dtype:?}"));
            Error::malformed(self.file, &place, format!("{len} {what}"), found)
        };
        let view = self.views.remove(&place).ok_or_else(|| fault("no such tensor".into()))?;
        let bytes = len.checked_mul(dtype.map_or(1, |dtype| dtype.block().1));
        if dtype.is_some_and(|dtype| view.dtype != dtype) || bytes != Some(view.bytes().len()) {
            return Err(fault(format!("{:?} of shape {:?}", view.dtype, view.shape)));
        }
        Ok(view)
    }
}

impl FourBit {
    /// In our order; where that cannot say it, the numbers as f32.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.scales {
            Scales::Nested { codes, groups, offset, .. } if self.exact => {
                interleave(*offset, &groups.bytes(), &codes.bytes(), &self.numbers.bytes())
            }
            _ => to_bytes(&self.widen()),
        }
    }

    fn widen(&self) -> Vec<f32> {
        let scales = match &self.scales {
            Scales::Plain(scales) => scales.to_f32(),
            Scales::Nested { codes, groups, map, offset } => {
                let groups = groups.to_f32();
                let codes = codes.bytes();
                let scale = |(i, code): (usize, &u8)| map[usize::from(*code)] * groups[i / GROUP] + offset;
                codes.iter().enumerate().map(scale).collect()
            }
        };
        let (numbers, quantiles) = (self.numbers.bytes(), nf4_tables().0);
        let number = |i: usize| {
            let byte = numbers[i / 2];
            let half = if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            scales[i / BLOCK] * quantiles[usize::from(half)]
        };
        (0..self.len).map(number).collect()
    }
}

/// Our order of the bytes of whole blocks.
fn interleave(offset: f32, groups: &[u8], codes: &[u8], numbers: &[u8]) -> Vec<u8> {
    let mut bytes = offset.to_le_bytes().to_vec();
    bytes.reserve_exact(groups.len() + codes.len() + numbers.len());
    let parts = groups.chunks(4).zip(codes.chunks(GROUP)).zip(numbers.chunks(GROUP * BLOCK / 2));
    for ((group, codes), numbers) in parts {
        bytes.extend(group);
        for (code, numbers) in codes.iter().zip(numbers.chunks(BLOCK / 2)) {
            bytes.push(*code);
            bytes.extend(numbers);
        }
    }
    bytes
}

struct Separate {
    offset: f32,
    groups: Vec<u8>,
    codes: Vec<u8>,
    numbers: Vec<u8>,
}

/// The way back.
fn separate(ours: &[u8]) -> Separate {
    let (offset, rest) = ours.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let (mut groups, mut codes, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for group in rest.chunks(4 + GROUP * (1 + BLOCK / 2)) {
        let (scale, blocks) = group.split_at(4);
        groups.extend(scale);
        for block in blocks.chunks(1 + BLOCK / 2) {
            codes.push(block[0]);
            numbers.extend(&block[1..]);
        }
    }
    Separate { offset: f32::from_le_bytes(*offset), groups, codes, numbers }
}

/// The JSON of a matrix, of one length for a shape, whatever the offset: blanks fill it up.
fn state(shape: &[usize], dtype: &str, offset: f32) -> Vec<u8> {
    let json = |offset: Option<f32>| {
        let state = json!({"quant_type": "nf4", "blocksize": BLOCK, "dtype": dtype, "shape": shape,
            "nested_blocksize": GROUP, "nested_dtype": "float32", "nested_offset": offset.map(f64::from)});
        state.to_string().into_bytes()
    };
    let longest = json(None).len() + LONGEST_NUMBER;
    let mut json = json(Some(offset));
    json.resize(longest.max(json.len()), b' ');
    json
}

fn is_our_map(map: &[f32]) -> bool {
    map.iter().zip(nf4_tables().1).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs())
}

fn to_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests;
