//! One tensor of a file, wherever its bytes are.

use super::bitsandbytes::FourBit;
use super::header::Dtype;
use crate::error::{Error, Result};
use memmap2::Mmap;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tenfold_tensor::Dtype as Format;

/// One tensor of a file: its type, its shape, and its bytes, little-endian and row by row, not necessarily aligned.
#[derive(Debug, Clone)]
pub struct View {
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    bytes: Bytes,
    /// Whether it is a linear map's \[outputs, inputs\], even where the module is a Conv1D in Hugging Face's files.
    linear_map: bool,
}

/// Where a tensor's bytes are.
#[derive(Debug, Clone)]
enum Bytes {
    /// In a mapped file, always within it.
    Mapped(Arc<Mmap>, Range<usize>),
    /// Here, because the file has them in another order.
    Own(Arc<[u8]>),
    /// In several tensors of a file, to be put together whenever they are asked for.
    FourBit(Arc<FourBit>),
}

/// Numbers that are looked through at a time.
const PIECE: usize = 1 << 16;

impl View {
    /// A tensor whose bytes are a range of a mapped file.
    pub fn mapped(dtype: Dtype, shape: Vec<usize>, map: Arc<Mmap>, range: Range<usize>) -> View {
        View { dtype, shape, bytes: Bytes::Mapped(map, range), linear_map: false }
    }

    /// A tensor whose bytes are here.
    pub(in crate::model) fn of(dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) -> View {
        View { dtype, shape, bytes: Bytes::Own(bytes.into()), linear_map: false }
    }

    /// A matrix of bitsandbytes, in the type that its parts can be put together to.
    pub(super) fn four_bit(dtype: Dtype, shape: Vec<usize>, parts: FourBit) -> View {
        View { dtype, shape, bytes: Bytes::FourBit(Arc::new(parts)), linear_map: true }
    }

    /// The same tensor with other bytes.
    pub(in crate::model) fn with_bytes(&self, bytes: Vec<u8>) -> View {
        View::of(self.dtype, self.shape.clone(), bytes)
    }

    /// The bytes, which for a matrix of bitsandbytes are put together anew each time.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.bytes {
            Bytes::Mapped(map, range) => Cow::Borrowed(map.get(range.clone()).unwrap_or_default()),
            Bytes::Own(bytes) => Cow::Borrowed(bytes),
            Bytes::FourBit(parts) => Cow::Owned(parts.bytes()),
        }
    }

    /// The file and the place in it, where the bytes are there as they are.
    pub fn place(&self) -> Option<(&Arc<Mmap>, &Range<usize>)> {
        match &self.bytes {
            Bytes::Mapped(map, range) => Some((map, range)),
            Bytes::Own(_) | Bytes::FourBit(_) => None,
        }
    }

    /// The same tensor, marked as a linear map's \[outputs, inputs\].
    pub(in crate::model) fn into_linear_map(self) -> View {
        View { linear_map: true, ..self }
    }

    /// Whether it is a linear map's \[outputs, inputs\] whatever the module was before: what bitsandbytes has in 4 bits, and
    /// what llama.cpp has of a Conv1D.
    pub fn is_linear_map(&self) -> bool {
        self.linear_map
    }

    /// How many numbers there are; their bytes are in memory or in a file, so it can be counted.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers, widened or narrowed to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.dtype.to_f32(&self.bytes())
    }

    /// The same tensor with its numbers in f32.
    pub(in crate::model) fn widened(&self) -> View {
        let bytes = self.to_f32().iter().flat_map(|number| number.to_le_bytes()).collect();
        View::of(Dtype::F32, self.shape.clone(), bytes)
    }

    /// Whether rows, and pieces of some blocks, have bytes of their own: all scales of NF4 need the mean before them.
    pub(in crate::model) fn is_cuttable(&self) -> bool {
        self.dtype != Dtype::Blocks(Format::Nf4)
    }

    /// In how many bytes the tensor's are gone through, about so many numbers at a time.
    pub(in crate::model) fn piece_bytes(&self, numbers: usize) -> usize {
        let (len, bytes) = self.dtype.block();
        if self.is_cuttable() { numbers.div_ceil(len) * bytes } else { usize::MAX }
    }

    /// Refuses numbers that are infinite or none, by the names of the file and the tensor.
    pub(in crate::model) fn check_finite(&self, file: &Path, name: &str) -> Result<()> {
        self.first_not_finite().map_or(Ok(()), |place| Err(not_finite(file, name, place)))
    }

    /// The place of the first number that is infinite or none at all, if there is one.
    pub fn first_not_finite(&self) -> Option<usize> {
        let (numbers, _) = self.dtype.block();
        if !self.dtype.may_be_infinite() {
            return None;
        }
        let (bytes, piece) = (self.bytes(), PIECE.div_ceil(numbers) * numbers);
        let look =
            |(number, bytes): (usize, &[u8])| Some(number * piece + self.dtype.first_not_finite(bytes)?);
        bytes.par_chunks(self.piece_bytes(PIECE)).enumerate().find_map_first(look)
    }
}

/// What is wrong with a tensor whose number at that place is none.
pub(super) fn not_finite(file: &Path, name: &str, place: usize) -> Error {
    let found = format!("an infinite one, or none, at place {place}");
    Error::malformed(file, name, "finite numbers", found)
}
