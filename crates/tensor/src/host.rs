//! The backend of the process's own memory, generic over the kernels that it computes with: [`Cpu`](crate::Cpu),
//! [`Reference`](crate::Reference) and [`Meta`](crate::Meta) are this one text.
//!
//! How numbers come and go stands here; the operations stand in `operations/`, each with its trait.

use crate::backend::{Backend, LinearLoss, MatMul};
use crate::buffer::{Buffer, Dtype, IndexBuffer, Mapped};
use crate::error::Result;
use crate::memory::{Class, Ledger};
use crate::recycle::{Floats, Lent, Recycler};
use std::sync::Arc;
use tenfold_kernels::elements::Elements;

/// Which kernels a host backend computes with.
pub trait Kernels: Default + Send + Sync + 'static {
    /// What its buffers hold: numbers, or the mere account of them.
    type Floats: Floats;
    /// The backend's name.
    const NAME: &'static str;
    /// Whether it takes the fast kernels or their references ([`kernel`]).
    const FAST: bool;

    /// Told of every product.
    fn count(&self, _product: &MatMul) {}
    /// Told of every loss over a vocabulary.
    fn count_loss(&self, _loss: &LinearLoss, _wanted: [bool; 3]) {}
}

/// A kernel by its module and name, or its reference of the same name, as the set of kernels says.
macro_rules! kernel {
    ($set:ident, $module:ident :: $function:ident) => {
        if $set::FAST {
            tenfold_kernels::$module::$function
        } else {
            tenfold_kernels::$module::reference::$function
        }
    };
}
pub(crate) use kernel;

/// A backend over the process's memory, with an account of its own.
pub struct Host<K: Kernels> {
    pub(crate) kernels: K,
    ledger: Arc<Ledger>,
    recycler: Arc<Recycler<K::Floats>>,
}

/// Numbers in the memory of the process.
enum Stored<F: Floats> {
    F32(Lent<F>),
    Frozen { dtype: Dtype, len: usize, bytes: Vec<u8> },
    Mapped { len: usize, mapped: Mapped },
}

impl<K: Kernels> Host<K> {
    /// Whether there is anything to compute with.
    pub(crate) const COMPUTES: bool = K::Floats::ARE_THERE;

    /// A backend whose ledger is empty.
    #[allow(clippy::new_ret_no_self, reason = "a backend is shared by all that it computes")]
    pub fn new() -> Arc<dyn Backend> {
        Host::over(K::default())
    }

    pub(crate) fn over(kernels: K) -> Arc<dyn Backend> {
        Arc::new(Host { kernels, ledger: Ledger::new(), recycler: Arc::default() })
    }

    /// Memory of `len` floats that hold anything, not booked yet.
    pub(crate) fn unwritten(&self, len: usize) -> Lent<K::Floats> {
        self.recycler.take(len)
    }

    /// Memory of `len` zeros that is not recycled, not booked yet.
    pub(crate) fn fresh(&self, len: usize) -> Lent<K::Floats> {
        K::Floats::fresh(len).into()
    }

    /// A buffer of the current phase.
    pub(crate) fn result(&self, numbers: Lent<K::Floats>) -> Buffer {
        self.book(None, numbers)
    }

    /// A buffer of the current phase that `fill` writes whole.
    pub(crate) fn filled(&self, len: usize, fill: impl FnOnce(&mut [f32])) -> Buffer {
        let mut numbers = self.unwritten(len);
        if Self::COMPUTES {
            fill(&mut numbers);
        }
        self.result(numbers)
    }

    /// A buffer of the current phase with one number.
    pub(crate) fn number(&self, compute: impl FnOnce() -> f32) -> Buffer {
        self.filled(1, |number| number[0] = compute())
    }

    /// A buffer of such a class, of the current phase if none.
    pub(crate) fn book(&self, class: Option<Class>, numbers: Lent<K::Floats>) -> Buffer {
        let (len, bytes) = (numbers.count(), numbers.bytes());
        self.buffer(class, Stored::F32(numbers), len, Dtype::F32, bytes)
    }

    fn buffer(
        &self,
        class: Option<Class>,
        stored: Stored<K::Floats>,
        len: usize,
        dtype: Dtype,
        bytes: usize,
    ) -> Buffer {
        Buffer::new(stored, len, dtype, self.ledger.reserve(class, bytes as u64))
    }

    fn floats(&self, elements: Elements) -> Stored<K::Floats> {
        Stored::F32(K::Floats::of(elements.to_f32()).into())
    }
}

impl<K: Kernels> Backend for Host<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn holds_numbers(&self) -> bool {
        Self::COMPUTES
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn upload(&self, class: Class, numbers: Vec<f32>) -> Result<Buffer> {
        Ok(self.book(Some(class), K::Floats::of(numbers).into()))
    }

    fn upload_indices(&self, indices: &[u32]) -> Result<IndexBuffer> {
        let reservation = self.ledger.reserve(None, size_of_val(indices) as u64);
        let kept = if Self::COMPUTES { indices.to_vec() } else { Vec::new() };
        Ok(IndexBuffer::new(kept, indices.len(), reservation))
    }

    /// Keeps the bytes as they are, but f32 as floats: operations read them in place.
    fn upload_frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: Vec<u8>) -> Result<Buffer> {
        let count = bytes.len();
        let stored = match dtype {
            _ if !Self::COMPUTES => Stored::F32(self.fresh(len)),
            Dtype::F32 => self.floats(Elements::new(dtype, len, &bytes)),
            _ => Stored::Frozen { dtype, len, bytes },
        };
        Ok(self.buffer(Some(class), stored, len, dtype, count))
    }

    /// Keeps the mapping where the processor can read it in place, and copies it where it cannot.
    fn map(&self, class: Class, len: usize, mapped: Mapped) -> Result<Buffer> {
        let (dtype, count) = (mapped.dtype, mapped.range.len());
        if !Self::COMPUTES {
            return Ok(self.buffer(Some(class), Stored::F32(self.fresh(len)), len, dtype, count));
        }
        let elements = Elements::new(dtype, len, &mapped.map[mapped.range.clone()]);
        let stored = match (dtype, elements) {
            (Dtype::F32, Elements::Stored(_)) => self.floats(elements),
            _ => Stored::Mapped { len, mapped },
        };
        Ok(self.buffer(Some(class), stored, len, dtype, count))
    }

    fn download(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<f32>>> {
        let copy = |buffer: &&Buffer| {
            if Self::COMPUTES { elements(buffer).to_f32() } else { vec![0.0; buffer.len()] }
        };
        Ok(buffers.iter().map(copy).collect())
    }

    fn zeros(&self, class: Class, len: usize) -> Result<Buffer> {
        Ok(self.book(Some(class), self.fresh(len)))
    }
}

/// The numbers of a buffer of a host backend that computes.
pub(crate) fn elements(buffer: &Buffer) -> Elements<'_> {
    match buffer.storage::<Stored<Vec<f32>>>().expect("a buffer of a host backend") {
        Stored::F32(numbers) => Elements::F32(numbers),
        Stored::Frozen { dtype, len, bytes } => Elements::new(*dtype, *len, bytes),
        Stored::Mapped { len, mapped } => {
            Elements::new(mapped.dtype, *len, &mapped.map[mapped.range.clone()])
        }
    }
}

/// The numbers of an f32 buffer. Operations check the format above the seam.
pub(crate) fn read(buffer: &Buffer) -> &[f32] {
    match elements(buffer) {
        Elements::F32(numbers) => numbers,
        _ => unreachable!("frozen formats are refused above the seam"),
    }
}

/// The number of a buffer of one.
pub(crate) fn read_number(buffer: &Buffer) -> f32 {
    read(buffer)[0]
}

/// The numbers of an f32 buffer that this process owns.
pub(crate) fn write(buffer: &mut Buffer) -> &mut [f32] {
    match buffer.storage_mut::<Stored<Vec<f32>>>() {
        Some(Stored::F32(numbers)) => numbers,
        _ => unreachable!("only owned f32 buffers are written to"),
    }
}

/// The indices of a buffer of a host backend that computes.
pub(crate) fn indices(buffer: &IndexBuffer) -> &[u32] {
    buffer.storage::<Vec<u32>>().expect("indices of a host backend")
}
