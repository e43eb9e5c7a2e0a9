//! Trained numbers and their gradients.

use crate::autograd::{Trace, records};
use crate::backend::{Backend, download_one};
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
        download_one(&*self.cell.backend, &self.cell.value())
    }

    /// Copies the numbers of several parameters out at once.
    pub fn numbers_of(params: &[Param]) -> Result<Vec<Vec<f32>>> {
        let Some(first) = params.first() else { return Ok(Vec::new()) };
        let values: Vec<Arc<Buffer>> = params.iter().map(|param| param.cell.value().clone()).collect();
        first.cell.backend.download(&values.iter().map(|value| &**value).collect::<Vec<_>>())
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
        let gradient = self.cell.gradient().clone();
        gradient.map(|gradient| download_one(&*self.cell.backend, &gradient)).transpose()
    }

    /// The 2-norm of all gradients that a backward pass left, together and on their backend: \[1\]. `None` where it left
    /// none.
    pub fn gradient_norm(params: &[Param]) -> Result<Option<Buffer>> {
        let gradients: Vec<Arc<Buffer>> =
            params.iter().filter_map(|param| param.cell.gradient().clone()).collect();
        let Some(first) = params.first().filter(|_| !gradients.is_empty()) else { return Ok(None) };
        let gradients: Vec<&Buffer> = gradients.iter().map(|gradient| &**gradient).collect();
        first.cell.backend.global_norm(&gradients).map(Some)
    }

    /// Forgets its gradient.
    pub fn clear_gradient(&self) {
        *self.cell.gradient() = None;
    }

    /// Lets `change` alter all values that have a gradient in place, at once, and forgets the gradients. It is given value
    /// and gradient of each parameter in order, `None` for one without gradient.
    pub fn update(
        params: &[Param],
        change: impl FnOnce(&dyn Backend, Vec<Option<(&mut Buffer, &Buffer)>>) -> Result<()>,
    ) -> Result<()> {
        let Some(first) = params.first() else { return Ok(()) };
        let backend = &*first.cell.backend;
        let take = |param: &Param| param.cell.gradient().take();
        let gradients: Vec<Option<Arc<Buffer>>> = params.iter().map(take).collect();
        let mut values = Vec::with_capacity(params.len());
        for (param, gradient) in params.iter().zip(&gradients) {
            let mut value = gradient.is_some().then(|| param.cell.value());
            if let Some(value) = &mut value
                && Arc::get_mut(value).is_none()
            {
                // A computation still holds the old value; it keeps it.
                let mut own = backend.scale(value, 1.0)?;
                own.reclassify(Class::Trainable);
                **value = Arc::new(own);
            }
            values.push(value);
        }
        let pairs = values.iter_mut().zip(&gradients).map(|(value, gradient)| {
            let value: &mut MutexGuard<Arc<Buffer>> = value.as_mut()?;
            Some((Arc::get_mut(value)?, &**gradient.as_ref()?))
        });
        change(backend, pairs.collect())
    }
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Param({} {:?})", self.name(), self.shape())
    }
}
