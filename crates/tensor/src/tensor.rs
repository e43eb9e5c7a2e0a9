//! Numbers with a shape, and with the way back to what they were computed from.

use crate::autograd::{self, Gradients, Trace, records};
use crate::backend::Backend;
use crate::buffer::{Buffer, Dtype, Mapped};
use crate::error::{Error, Result, check};
use crate::memory::Class;
use std::sync::Arc;

/// A row-major array. Cheap to clone; never changed once it is there.
#[derive(Clone)]
pub struct Tensor {
    backend: Arc<dyn Backend>,
    buffer: Arc<Buffer>,
    shape: Vec<usize>,
    trace: Option<Arc<Trace>>,
}

impl Tensor {
    /// Numbers copied to a backend, booked under `class`.
    pub fn new(
        backend: &Arc<dyn Backend>,
        class: Class,
        shape: &[usize],
        numbers: Vec<f32>,
    ) -> Result<Tensor> {
        check_len(shape, numbers.len())?;
        let buffer = backend.upload(class, numbers)?;
        Ok(Tensor::assemble(backend.clone(), Arc::new(buffer), shape.to_vec(), None))
    }

    /// A frozen weight kept in bf16.
    pub fn bf16(backend: &Arc<dyn Backend>, shape: &[usize], numbers: Vec<u16>) -> Result<Tensor> {
        check_len(shape, numbers.len())?;
        let buffer = backend.upload_bf16(Class::Base, numbers)?;
        Ok(Tensor::assemble(backend.clone(), Arc::new(buffer), shape.to_vec(), None))
    }

    /// A frozen weight in a memory-mapped file.
    pub fn mapped(backend: &Arc<dyn Backend>, shape: &[usize], mapped: Mapped) -> Result<Tensor> {
        check_len(shape, mapped.range.len() / mapped.dtype.size())?;
        let buffer = backend.map(Class::Base, mapped)?;
        Ok(Tensor::assemble(backend.clone(), Arc::new(buffer), shape.to_vec(), None))
    }

    pub(crate) fn assemble(
        backend: Arc<dyn Backend>,
        buffer: Arc<Buffer>,
        shape: Vec<usize>,
        trace: Option<Arc<Trace>>,
    ) -> Tensor {
        Tensor { backend, buffer, shape, trace }
    }

    /// Its extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Its last extent; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The product of all extents but the last.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// The format of its numbers.
    pub fn dtype(&self) -> Dtype {
        self.buffer.dtype()
    }

    /// The backend that computed it.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Copies the numbers out.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        self.backend.download(&self.buffer)
    }

    /// The same numbers in another shape.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        check_len(shape, self.len())?;
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// The same numbers cut off from what they were computed from.
    pub fn detach(&self) -> Tensor {
        Tensor { trace: None, ..self.clone() }
    }

    /// Works out the gradients of everything trained that this scalar was computed from, times
    /// `weight`, and adds them onto those the parameters hold. Frees the graph on its way.
    pub fn backward(self, weight: f32) -> Result<()> {
        check("backward", self.len() == 1, || "a scalar".into(), || format!("{:?}", self.shape))?;
        let Tensor { backend, trace, .. } = self;
        let Some(root) = trace else { return Ok(()) };
        let gradient = backend.upload(Class::Workspace, vec![weight])?;
        autograd::backward(&*backend, root, gradient)
    }

    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    pub(crate) fn into_buffer(self) -> Arc<Buffer> {
        self.buffer
    }

    pub(crate) fn trace(&self) -> &Option<Arc<Trace>> {
        &self.trace
    }

    /// The result of an operation; `backward` is kept only if one of `inputs` is traced.
    pub(crate) fn result(
        backend: &Arc<dyn Backend>,
        inputs: &[&Option<Arc<Trace>>],
        buffer: Buffer,
        shape: Vec<usize>,
        backward: impl FnOnce(Arc<Buffer>, &mut Gradients) -> Result<()> + Send + 'static,
    ) -> Tensor {
        Tensor::shared_result(backend, inputs, Arc::new(buffer), shape, backward)
    }

    /// The same for a result that the backward pass holds on to.
    pub(crate) fn shared_result(
        backend: &Arc<dyn Backend>,
        inputs: &[&Option<Arc<Trace>>],
        buffer: Arc<Buffer>,
        shape: Vec<usize>,
        backward: impl FnOnce(Arc<Buffer>, &mut Gradients) -> Result<()> + Send + 'static,
    ) -> Tensor {
        let traced = records(inputs.iter().any(|trace| trace.is_some()));
        let trace = traced.then(|| Trace::operation(backward));
        Tensor { backend: backend.clone(), buffer, shape, trace }
    }

    pub(crate) fn require_f32(&self, operation: &'static str) -> Result<()> {
        match self.dtype() {
            Dtype::F32 => Ok(()),
            other => Err(Error::Dtype { operation, expected: "f32", found: other.name() }),
        }
    }
}

fn check_len(shape: &[usize], len: usize) -> Result<()> {
    let wanted = shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
    check("tensor", wanted == Some(len), || format!("numbers for {shape:?}"), || format!("{len} numbers"))
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?} {})", self.shape, self.dtype().name())
    }
}
