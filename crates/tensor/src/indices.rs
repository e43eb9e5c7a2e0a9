//! Indices that a device holds: ids of tokens, labels, numbers of rows.

use crate::backend::Backend;
use crate::buffer::IndexBuffer;
use crate::error::{Error, Result};
use std::sync::Arc;

/// Indices \[n\] on a backend, uploaded once and used by as many operations as want them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Indices {
    buffer: Arc<IndexBuffer>,
    /// Known on the host, so that no operation need read them to check them.
    largest: Option<u32>,
}

impl Indices {
    /// Copies indices to a backend, booked under its ledger's phase.
    pub fn new(backend: &Arc<dyn Backend>, indices: &[u32]) -> Result<Indices> {
        let buffer = Arc::new(backend.upload_indices(indices)?);
        Ok(Indices { buffer, largest: indices.iter().copied().max() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) fn buffer(&self) -> &IndexBuffer {
        &self.buffer
    }
}

/// Indices, or what can be uploaded as such.
pub trait ToIndices {
    /// The indices on this backend; numbers on the host are uploaded.
    fn to_indices(&self, backend: &Arc<dyn Backend>) -> Result<Indices>;
}

impl ToIndices for Indices {
    fn to_indices(&self, _backend: &Arc<dyn Backend>) -> Result<Indices> {
        Ok(self.clone())
    }
}

impl ToIndices for [u32] {
    fn to_indices(&self, backend: &Arc<dyn Backend>) -> Result<Indices> {
        Indices::new(backend, self)
    }
}

impl ToIndices for Vec<u32> {
    fn to_indices(&self, backend: &Arc<dyn Backend>) -> Result<Indices> {
        Indices::new(backend, self)
    }
}

impl<const N: usize> ToIndices for [u32; N] {
    fn to_indices(&self, backend: &Arc<dyn Backend>) -> Result<Indices> {
        Indices::new(backend, self)
    }
}

/// Refuses with [`Error::Index`] if the largest index is not below `bound`.
pub(crate) fn check_indices(operation: &'static str, indices: &Indices, bound: usize) -> Result<()> {
    match indices.largest {
        Some(index) if index as usize >= bound => {
            Err(Error::Index { operation, index: index as usize, bound })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Cpu, Meta, Tensor};

    #[test]
    fn indices_are_uploaded_once_booked_and_checked_by_every_operation() -> Result<()> {
        for backend in [Cpu::new(), Meta::new()] {
            let table = Tensor::new(&backend, Class::Base, &[3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
            let before = backend.ledger().now().total();
            let ids = Indices::new(&backend, &[2, 0, 2])?;
            assert_eq!((ids.len(), backend.ledger().now().total() - before), (3, 12));
            let [a, b] = [table.select_rows(&ids)?, table.select_rows(&[2, 0, 2])?];
            assert_eq!((a.shape(), a.numbers()?), (&[3, 2][..], b.numbers()?));
            let short = Tensor::new(&backend, Class::Base, &[2, 2], vec![0.0; 4])?;
            let error = short.select_rows(&ids).unwrap_err().to_string();
            assert_eq!(error, "select_rows: index 2 is outside 0..2");
            drop((a, b, short, ids));
            assert_eq!(backend.ledger().now().total(), before);
        }
        Ok(())
    }
}
