//! Rows that are kept and added to: keys and values of tokens already seen.

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::indices::{ToIndices, check_indices};
use crate::memory::Class;
use crate::tensor::Tensor;
use std::sync::Arc;

/// A table \[rows, cols\] that is written row by row, without gradients.
pub struct RowCache {
    backend: Arc<dyn Backend>,
    buffer: Arc<Buffer>,
    rows: usize,
    cols: usize,
}

impl RowCache {
    /// A cache of zeros, booked as activations.
    pub fn new(backend: &Arc<dyn Backend>, rows: usize, cols: usize) -> Result<RowCache> {
        let len = rows.checked_mul(cols).filter(|_| cols > 0);
        check("row cache", len.is_some(), || "a size that exists".into(), || format!("[{rows}, {cols}]"))?;
        let buffer = Arc::new(backend.zeros(Class::Activations, len.unwrap_or(0))?);
        Ok(RowCache { backend: backend.clone(), buffer, rows, cols })
    }

    /// Writes row `i` of `rows` \[n, cols\] over row `at[i]`. In place, unless a tensor of an earlier
    /// [`RowCache::tensor`] is still there: that one keeps its numbers.
    pub fn write(&mut self, rows: &Tensor, at: &(impl ToIndices + ?Sized)) -> Result<()> {
        rows.require_f32("row cache")?;
        let at = at.to_indices(&self.backend)?;
        let fits = rows.cols() == self.cols && rows.rows() == at.len();
        let expected = || format!("[{}, {}]", at.len(), self.cols);
        check("row cache", fits, expected, || format!("{:?}", rows.shape()))?;
        check_indices("row cache", &at, self.rows)?;
        if Arc::get_mut(&mut self.buffer).is_none() {
            self.buffer = Arc::new(self.backend.scale(&self.buffer, 1.0)?);
        }
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => self.backend.write_rows(rows.buffer(), self.cols, at.buffer(), buffer),
            None => unreachable!("the buffer was just made"),
        }
    }

    /// All rows, without gradient. Drop it before the next [`RowCache::write`], which copies the cache otherwise.
    pub fn tensor(&self) -> Tensor {
        let shape = vec![self.rows, self.cols];
        Tensor::assemble(self.backend.clone(), self.buffer.clone(), shape, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn rows_are_written_in_place_unless_someone_holds_the_old_ones() -> Result<()> {
        let backend = Cpu::new();
        let mut cache = RowCache::new(&backend, 3, 2)?;
        let rows = Tensor::new(&backend, Class::Activations, &[2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
        let place = Arc::as_ptr(&cache.buffer);
        cache.write(&rows, &[2, 0])?;
        assert_eq!(Arc::as_ptr(&cache.buffer), place);
        let before = cache.tensor();
        cache.write(&rows, &[0, 1])?;
        assert_eq!(before.numbers()?, [3.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(cache.tensor().numbers()?, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]);
        assert!(cache.write(&rows, &[0, 3]).is_err() && cache.write(&rows, &[0]).is_err());
        Ok(())
    }
}
