//! Memory of a backend, opaque above it.

use crate::memory::{Class, Reservation};
use memmap2::Mmap;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
/// The number format of a buffer; operations give f32, the others are frozen weights.
pub use tenfold_kernels::Format as Dtype;

/// A stretch of a memory-mapped file that holds little-endian numbers of one format.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// The file.
    pub map: Arc<Mmap>,
    /// The bytes in it.
    pub range: Range<usize>,
    /// Their format.
    pub dtype: Dtype,
}

/// Numbers in the memory of a [`Backend`](crate::Backend): a storage of the backend's own kind, and what everybody may
/// know of it.
pub struct Buffer {
    storage: Box<dyn Any + Send + Sync>,
    len: usize,
    dtype: Dtype,
    reservation: Reservation,
}

impl Buffer {
    /// `len` numbers of a format in `storage`, which the backend finds again with [`Buffer::storage`]; their bytes stand
    /// in its ledger ([`Ledger::reserve`](crate::Ledger::reserve)) until the buffer is dropped.
    pub fn new(
        storage: impl Any + Send + Sync,
        len: usize,
        dtype: Dtype,
        reservation: Reservation,
    ) -> Buffer {
        Buffer { storage: Box::new(storage), len, dtype, reservation }
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The format of its numbers.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Books its bytes under another class.
    pub fn reclassify(&mut self, class: Class) {
        self.reservation.reclassify(class);
    }

    /// What the buffer was made around, if it is of that type; `None` for a buffer of another backend.
    pub fn storage<T: 'static>(&self) -> Option<&T> {
        self.storage.downcast_ref()
    }

    /// The same, to be written to.
    pub fn storage_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.storage.downcast_mut()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} × {})", self.len, self.dtype.name())
    }
}

/// Indices in the memory of a [`Backend`](crate::Backend): ids of tokens, labels, numbers of rows. Never changed once they
/// are there.
pub struct IndexBuffer {
    storage: Box<dyn Any + Send + Sync>,
    len: usize,
    _reservation: Reservation,
}

impl IndexBuffer {
    /// `len` indices in `storage`, which the backend finds again with [`IndexBuffer::storage`].
    pub fn new(storage: impl Any + Send + Sync, len: usize, reservation: Reservation) -> IndexBuffer {
        IndexBuffer { storage: Box::new(storage), len, _reservation: reservation }
    }

    /// How many indices it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the buffer was made around, if it is of that type; `None` for a buffer of another backend.
    pub fn storage<T: 'static>(&self) -> Option<&T> {
        self.storage.downcast_ref()
    }
}

impl std::fmt::Debug for IndexBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IndexBuffer({})", self.len)
    }
}
