//! How the elements of a matrix are stored, and the one place where they are widened to f32.
//!
//! A format is one file in `elements/` that implements [`Storage`], and one line in [`Format::storage`].

mod bf16;
mod f16;
mod iq4_nl;
mod iq4_xs;
mod nf4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_k;
mod single;
#[cfg(target_arch = "x86_64")]
pub(crate) mod turned;

pub use nf4::tables as nf4_tables;
#[cfg(target_arch = "x86_64")]
pub(crate) use single::{F32, bytes_of};

#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::Level;
use rayon::prelude::*;

/// A format in which numbers are stored. All but [`Format::F32`] are for weights that stay as they are.
///
/// The names that begin with Q or Iq are the blocks of GGUF files, byte for byte as ggml lays them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is documented in its file, `elements/<name>.rs`")]
pub enum Format {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    Iq4Nl,
    Iq4Xs,
    Nf4,
}

/// What a format's file tells about it. `bytes` is always as long as [`Storage::bytes`] says.
trait Storage: Sync {
    /// The name in studies and records.
    fn name(&self) -> &'static str;
    /// Elements that are stored together; rows of a matrix are whole blocks.
    fn block_len(&self) -> usize {
        1
    }
    /// Elements that are widened together: a divisor of the block's length, at most [`UNIT`].
    fn unit(&self) -> usize {
        self.block_len()
    }
    /// Bytes of `blocks` blocks; none if no machine holds them.
    fn bytes(&self, blocks: usize) -> Option<usize>;
    /// Whole blocks in so many bytes.
    fn blocks(&self, bytes: usize) -> usize {
        self.bytes(1).map_or(0, |block| bytes / block)
    }
    /// The elements from unit `first` on as f32; `out` is whole units.
    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]);
    /// Element `i` as f32, by the format's definition: what [`Storage::widen`] is tested against.
    fn at(&self, bytes: &[u8], i: usize) -> f32;
    /// How a few rows are multiplied with blocks as they lie; none if these are widened first.
    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        None
    }
    /// How numbers, whole blocks of them, are brought into the format; none if it is only read.
    fn quantizer(&self) -> Option<Quantizer> {
        None
    }
}

/// The bytes, unless a number is none or beyond what the format can tell.
type Quantizer = fn(&[f32]) -> Option<Vec<u8>>;

/// The largest unit of all formats.
const UNIT: usize = 64;

impl Format {
    /// All numbers of whole blocks in f32; what is no whole block at the end is left out.
    pub fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let len = self.storage().blocks(bytes.len()) * self.block_len();
        Elements::new(self, len, &bytes[..self.bytes(len).unwrap_or(0)]).to_f32()
    }

    /// Every format.
    pub const ALL: [Format; 17] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Q8K,
        Format::Iq4Nl,
        Format::Iq4Xs,
        Format::Nf4,
    ];

    fn storage(self) -> &'static dyn Storage {
        match self {
            Format::F32 => &single::F32,
            Format::F16 => &f16::F16,
            Format::Bf16 => &bf16::Bf16,
            Format::Q8_0 => &q8_0::Q8_0,
            Format::Q4_0 => &q4_0::Q4_0,
            Format::Q4_1 => &q4_1::Q4_1,
            Format::Q5_0 => &q5_0::Q5_0,
            Format::Q5_1 => &q5_1::Q5_1,
            Format::Q2K => &q2_k::Q2K,
            Format::Q3K => &q3_k::Q3K,
            Format::Q4K => &q4_k::Q4K,
            Format::Q5K => &q5_k::Q5K,
            Format::Q6K => &q6_k::Q6K,
            Format::Q8K => &q8_k::Q8K,
            Format::Iq4Nl => &iq4_nl::Iq4Nl,
            Format::Iq4Xs => &iq4_xs::Iq4Xs,
            Format::Nf4 => &nf4::Nf4,
        }
    }

    /// The name used in studies and records: "f32", "q8_0", "q4_k", …
    pub fn name(self) -> &'static str {
        self.storage().name()
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Elements that are stored together; 1 where each stands alone. Rows of a matrix are whole blocks.
    pub fn block_len(self) -> usize {
        self.storage().block_len()
    }

    /// Bytes of `len` elements; none if they are no whole blocks, or more than can be addressed.
    pub fn bytes(self, len: usize) -> Option<usize> {
        let storage = self.storage();
        let whole = len.is_multiple_of(storage.block_len());
        if whole { storage.bytes(len / storage.block_len()) } else { None }
    }

    /// Whether [`quantize`] can bring numbers into this format; the others are only read.
    pub fn can_quantize(self) -> bool {
        self.storage().quantizer().is_some()
    }
}

/// Brings numbers into a format, on the threads of the current pool.
///
/// None if the format is only read, if they are no whole blocks, or if one of them is none (not a number) or too
/// large for the format.
pub fn quantize(format: Format, numbers: &[f32]) -> Option<Vec<u8>> {
    let quantizer = format.storage().quantizer()?;
    format.bytes(numbers.len())?;
    quantizer(numbers)
}

/// The place and the value of a number that keeps `numbers`, whole blocks of them, out of a format: in the first block that
/// the format cannot hold, the one that is NaN, or else the one furthest from 0. `None` if all fit.
pub fn first_unfit(format: Format, numbers: &[f32]) -> Option<(usize, f32)> {
    let (quantizer, len) = (format.storage().quantizer()?, format.block_len());
    let (block, numbers) =
        numbers.chunks_exact(len).enumerate().find(|(_, numbers)| quantizer(numbers).is_none())?;
    let placed = numbers.iter().enumerate().map(|(place, number)| (block * len + place, *number));
    placed.reduce(|worst, next| {
        let is_worse = next.1.is_nan() || next.1.abs() > worst.1.abs();
        if is_worse && !worst.1.is_nan() { next } else { worst }
    })
}

/// Stored elements of a matrix, row-major.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// 32-bit floats, read where they lie.
    F32(&'a [f32]),
    /// Bytes of any format.
    Stored(Stored<'a>),
}

/// Bytes of a format, of the length that the format gives to the elements.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    format: Format,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Elements<'a> {
    /// `len` elements of `format` in `bytes`, little-endian, at any alignment. Panics unless the length is right.
    pub fn new(format: Format, len: usize, bytes: &'a [u8]) -> Elements<'a> {
        assert_eq!(format.bytes(len), Some(bytes.len()), "bytes of {len} elements in {}", format.name());
        match single::in_place(bytes) {
            Some(numbers) if format == Format::F32 => Elements::F32(numbers),
            _ => Elements::Stored(Stored { format, len, bytes }),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::F32(x) => x.len(),
            Elements::Stored(x) => x.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements `start..start + out.len()` as f32.
    pub(crate) fn widen(&self, level: Level, start: usize, out: &mut [f32]) {
        match self {
            Elements::F32(x) => out.copy_from_slice(&x[start..start + out.len()]),
            Elements::Stored(x) => x.widen(level, start, out),
        }
    }

    /// The same elements where they lie, if they are f32 already, else in `buffer`, which is as long as they are many.
    pub(crate) fn widened<'b>(&self, level: Level, start: usize, buffer: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Elements::F32(x) => &x[start..start + buffer.len()],
            Elements::Stored(x) => {
                x.widen(level, start, buffer);
                buffer
            }
        }
    }

    /// The bytes and how a few rows are multiplied with them as they lie, if rows of `k` are whole blocks; none if they
    /// are widened first.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn as_they_lie(&self, k: usize) -> Option<(&'a [u8], &'static Kernels)> {
        let (format, bytes) = match self {
            Elements::F32(x) => (Format::F32, bytes_of(x)),
            Elements::Stored(x) => (x.format, x.bytes),
        };
        let kernels = format.storage().kernels().filter(|_| k.is_multiple_of(format.block_len()))?;
        Some((bytes, kernels))
    }

    /// Element `i` as f32, plainly: for references.
    pub(crate) fn at(&self, i: usize) -> f32 {
        match self {
            Elements::F32(x) => x[i],
            Elements::Stored(x) => x.format.storage().at(x.bytes, i),
        }
    }

    /// All elements as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        let level = crate::simd::level();
        crate::parallel::fill(&mut out, |start, out| self.widen(level, start, out));
        out
    }

    /// The elements themselves when they are f32 already.
    pub(crate) fn as_f32(&self) -> Option<&'a [f32]> {
        match self {
            Elements::F32(x) => Some(x),
            Elements::Stored(_) => None,
        }
    }
}

impl Stored<'_> {
    /// Whole units straight into `out`, a unit that begins before it or ends behind it by way of a buffer.
    fn widen(&self, level: Level, start: usize, out: &mut [f32]) {
        assert!(start + out.len() <= self.len, "a range inside the elements");
        let storage = self.format.storage();
        let unit = storage.unit();
        let mut buffer = [0.0; UNIT];
        let buffer = &mut buffer[..unit];
        let (mut first, before) = (start / unit, start % unit);
        let (head, rest) = out.split_at_mut(if before > 0 { (unit - before).min(out.len()) } else { 0 });
        if before > 0 {
            storage.widen(level, self.bytes, first, buffer);
            head.copy_from_slice(&buffer[before..before + head.len()]);
            first += 1;
        }
        let (whole, tail) = rest.split_at_mut(rest.len() / unit * unit);
        if !whole.is_empty() {
            storage.widen(level, self.bytes, first, whole);
        }
        if !tail.is_empty() {
            storage.widen(level, self.bytes, first + whole.len() / unit, buffer);
            tail.copy_from_slice(&buffer[..tail.len()]);
        }
    }
}

/// Quantises blocks of `LEN` numbers to `BYTES` bytes each; `block` is false for a block that the format cannot hold.
fn by_blocks<const LEN: usize, const BYTES: usize>(
    numbers: &[f32],
    block: fn(&[f32; LEN], &mut [u8; BYTES]) -> bool,
) -> Option<Vec<u8>> {
    const PIECE: usize = 1 << 10;
    let mut bytes = vec![0; numbers.len() / LEN * BYTES];
    let pieces = bytes.par_chunks_mut(PIECE * BYTES).zip(numbers.par_chunks(PIECE * LEN));
    let fit = pieces.map(|(bytes, numbers)| {
        let mut blocks = bytes.as_chunks_mut().0.iter_mut().zip(numbers.as_chunks().0);
        blocks.all(|(bytes, numbers)| block(numbers, bytes))
    });
    fit.reduce(|| true, |a, b| a && b).then_some(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
