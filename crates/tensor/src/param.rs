//! Trained numbers and their gradients.

use crate::autograd::{Trace, records};
use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::memory::Class;
use crate::tensor::Tensor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A named tensor that training changes. Clones are the same parameter.
#[derive(Clone)]
pub struct Param {
    cell: Arc<Cell>,
}

pub(crate) struct Cell {
    name: String,
    shape: Vec<usize>,
    backend: Arc<dyn Backend>,
    value: Mutex<Arc<Buffer>>,
    gradient: Mutex<Option<Arc<Buffer>>>,
}

impl Cell {
    pub(crate) fn gradient(&self) -> MutexGuard<'_, Option<Arc<Buffer>>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self) -> MutexGuard<'_, Arc<Buffer>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Param {
    /// A parameter that starts at `numbers`.
    pub fn new(
        backend: &Arc<dyn Backend>,
        name: impl Into<String>,
        shape: &[usize],
        numbers: Vec<f32>,
    ) -> Result<Param> {
        let name = name.into();
        let len: usize = shape.iter().product();
        check(
            "parameter",
            len == numbers.len(),
            || format!("{len} numbers for {name} {shape:?}"),
            || numbers.len().to_string(),
        )?;
        let value = Mutex::new(Arc::new(backend.upload(Class::Trainable, numbers)?));
        let gradient = Mutex::new(None);
        Ok(Param {
            cell: Arc::new(Cell { name, shape: shape.to_vec(), backend: backend.clone(), value, gradient }),
        })
    }

    /// Its name, unique within an adapter.
    pub fn name(&self) -> &str {
        &self.cell.name
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.cell.shape
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.cell.shape.iter().product()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its present value in a computation; traced, unless gradients are switched off.
    pub fn tensor(&self) -> Tensor {
        let trace = records(true).then(|| Trace::leaf(self.cell.clone()));
        Tensor::assemble(self.cell.backend.clone(), self.cell.value().clone(), self.cell.shape.clone(), trace)
    }

    /// Copies its numbers out.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        self.cell.backend.download(&self.cell.value())
    }

    /// Replaces its numbers.
    pub fn set(&self, numbers: Vec<f32>) -> Result<()> {
        let expected = || format!("{} numbers for {}", self.len(), self.name());
        check("parameter", numbers.len() == self.len(), expected, || numbers.len().to_string())?;
        let mut value = self.cell.value();
        *value = Arc::new(self.cell.backend.upload(Class::Trainable, numbers)?);
        Ok(())
    }

    /// Copies its gradient out, if a backward pass left one.
    pub fn gradient(&self) -> Result<Option<Vec<f32>>> {
        self.cell.gradient().as_ref().map(|gradient| self.cell.backend.download(gradient)).transpose()
    }

    /// Sum of the squares of its gradient, if a backward pass left one.
    pub fn gradient_sum_of_squares(&self) -> Result<Option<f64>> {
        self.cell.gradient().as_ref().map(|gradient| self.cell.backend.sum_of_squares(gradient)).transpose()
    }

    /// Forgets its gradient.
    pub fn clear_gradient(&self) {
        *self.cell.gradient() = None;
    }

    /// Lets `change` alter the value in place by the gradient, if there is one, and forgets the gradient.
    pub fn update(
        &self,
        change: impl FnOnce(&dyn Backend, &mut Buffer, &Buffer) -> Result<()>,
    ) -> Result<()> {
        let Some(gradient) = self.cell.gradient().take() else { return Ok(()) };
        let backend = &*self.cell.backend;
        let mut value = self.cell.value();
        if Arc::get_mut(&mut value).is_none() {
            // A computation still holds the old value; it keeps it.
            *value = Arc::new(backend.upload(Class::Trainable, backend.download(&value)?)?);
        }
        match Arc::get_mut(&mut value) {
            Some(value) => change(backend, value, &gradient),
            None => unreachable!("the value was just made"),
        }
    }
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Param({} {:?})", self.name(), self.shape())
    }
}
