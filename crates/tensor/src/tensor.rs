//! Numbers with a shape, and with the way back to what they were computed from.

use crate::autograd::{self, Gradients, Trace, records};
use crate::backend::{Backend, download_one};
use crate::buffer::{Buffer, Dtype, Mapped};
use crate::error::{Error, Result, check};
use crate::kept::{Kept, Recipe};
use crate::memory::Class;
use std::sync::Arc;
use tenfold_kernels::elements::{first_unfit, quantize};

/// A row-major array. Cheap to clone; never changed once it is there.
#[derive(Clone)]
pub struct Tensor {
    backend: Arc<dyn Backend>,
    buffer: Arc<Buffer>,
    shape: Vec<usize>,
    trace: Option<Arc<Trace>>,
    recipe: Option<Arc<Recipe>>,
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

    /// A frozen weight given as little-endian bytes of a format. Its rows are whole blocks of the format.
    pub fn frozen(
        backend: &Arc<dyn Backend>,
        shape: &[usize],
        dtype: Dtype,
        bytes: Vec<u8>,
    ) -> Result<Tensor> {
        let len = check_bytes(shape, dtype, bytes.len())?;
        let buffer = backend.upload_frozen(Class::Base, dtype, len, bytes)?;
        Ok(Tensor::assemble(backend.clone(), Arc::new(buffer), shape.to_vec(), None))
    }

    /// A frozen weight, brought into a format from its numbers. Refuses formats that are only read, rows that are no
    /// whole blocks, and numbers beyond the format's range.
    pub fn quantized(
        backend: &Arc<dyn Backend>,
        shape: &[usize],
        dtype: Dtype,
        numbers: Vec<f32>,
    ) -> Result<Tensor> {
        if dtype == Dtype::F32 {
            return Tensor::new(backend, Class::Base, shape, numbers);
        }
        check_len(shape, numbers.len())?;
        check_rows(shape, dtype)?;
        if !dtype.can_quantize() {
            let (expected, found) = ("a format that is also written", dtype.name());
            return Err(Error::Dtype { operation: "quantize", expected, found });
        }
        let bytes = quantize(dtype, &numbers).ok_or_else(|| {
            let (place, number) = first_unfit(dtype, &numbers).unwrap_or((0, f32::NAN));
            Error::Quantize { dtype: dtype.name(), number, place }
        })?;
        Tensor::frozen(backend, shape, dtype, bytes)
    }

    /// A frozen weight in a memory-mapped file. Its rows are whole blocks of its format.
    pub fn mapped(backend: &Arc<dyn Backend>, shape: &[usize], mapped: Mapped) -> Result<Tensor> {
        let bytes = mapped.map.get(mapped.range.clone()).map(<[u8]>::len);
        let found = || format!("bytes {:?} of a file of {}", mapped.range, mapped.map.len());
        check("tensor", bytes.is_some(), || "bytes inside the file".into(), found)?;
        let len = check_bytes(shape, mapped.dtype, mapped.range.len())?;
        let buffer = backend.map(Class::Base, len, mapped)?;
        Ok(Tensor::assemble(backend.clone(), Arc::new(buffer), shape.to_vec(), None))
    }

    pub(crate) fn assemble(
        backend: Arc<dyn Backend>,
        buffer: Arc<Buffer>,
        shape: Vec<usize>,
        trace: Option<Arc<Trace>>,
    ) -> Tensor {
        Tensor { backend, buffer, shape, trace, recipe: None }
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

    /// Copies the numbers out. Where several tensors are wanted, [`Tensor::numbers_of`] waits for the device once.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        download_one(&*self.backend, &self.buffer)
    }

    /// Copies the numbers of several tensors of one backend out at once.
    pub fn numbers_of<const N: usize>(tensors: [&Tensor; N]) -> Result<[Vec<f32>; N]> {
        let mut numbers = Tensor::numbers_of_all(&tensors)?.into_iter();
        Ok(std::array::from_fn(|_| numbers.next().unwrap_or_default()))
    }

    /// The same for as many as there are.
    pub fn numbers_of_all(tensors: &[&Tensor]) -> Result<Vec<Vec<f32>>> {
        let Some(first) = tensors.first() else { return Ok(Vec::new()) };
        first.backend.download(&tensors.iter().map(|tensor| &*tensor.buffer).collect::<Vec<_>>())
    }

    /// The same numbers in another shape.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        check_len(shape, self.len())?;
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// The same numbers cut off from what they were computed from.
    pub fn detach(&self) -> Tensor {
        Tensor { trace: None, recipe: None, ..self.clone() }
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
        Tensor { backend: backend.clone(), buffer, shape, trace, recipe: None }
    }

    /// The same tensor, of which later operations hold on to the recipe. What is not traced is held by nobody else,
    /// and stays as it is.
    pub(crate) fn by(self, recipe: Arc<Recipe>) -> Tensor {
        let recipe = self.trace.is_some().then_some(recipe);
        Tensor { recipe, ..self }
    }

    /// What a backward pass holds on to, to have the numbers again.
    pub(crate) fn keep(&self) -> Kept {
        match &self.recipe {
            Some(recipe) => Kept::Recipe(recipe.clone()),
            None => Kept::Numbers(self.buffer.clone()),
        }
    }

    pub(crate) fn require_f32(&self, operation: &'static str) -> Result<()> {
        match self.dtype() {
            Dtype::F32 => Ok(()),
            other => Err(Error::Dtype { operation, expected: "f32", found: other.name() }),
        }
    }
}

/// How many numbers a shape has; none if they cannot be counted.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent))
}

fn check_len(shape: &[usize], len: usize) -> Result<()> {
    let fits = count(shape) == Some(len);
    check("tensor", fits, || format!("numbers for {shape:?}"), || format!("{len} numbers"))
}

/// Refuses a shape whose rows are no whole blocks.
fn check_rows(shape: &[usize], dtype: Dtype) -> Result<()> {
    let cols = shape.last().copied().unwrap_or(1);
    let expected = || format!("rows of a multiple of {} numbers in {}", dtype.block_len(), dtype.name());
    check("tensor", cols.is_multiple_of(dtype.block_len()), expected, || format!("{shape:?}"))
}

/// How many numbers a shape has; refuses it unless they are `bytes` bytes in whole blocks.
fn check_bytes(shape: &[usize], dtype: Dtype, bytes: usize) -> Result<usize> {
    check_rows(shape, dtype)?;
    let len = count(shape).filter(|len| dtype.bytes(*len) == Some(bytes));
    let expected = || format!("bytes for {shape:?} in {}", dtype.name());
    check("tensor", len.is_some(), expected, || format!("{bytes} bytes"))?;
    Ok(len.unwrap_or_default())
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?} {})", self.shape, self.dtype().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Reference};
    use memmap2::MmapMut;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    fn mapped(dtype: Dtype, before: usize, bytes: &[u8]) -> Mapped {
        let mut map = MmapMut::map_anon(before + bytes.len().max(1)).unwrap();
        map[before..before + bytes.len()].copy_from_slice(bytes);
        let map = Arc::new(map.make_read_only().unwrap());
        Mapped { map, range: before..before + bytes.len(), dtype }
    }

    /// Uploaded, mapped and mapped askew: the same numbers, rows and products, and the bytes of the format in the ledger.
    #[test]
    fn frozen_weights_of_every_format_compute_on_both_backends() {
        let shape = [6, 256];
        let x = numbers(2 * 256);
        for dtype in Dtype::ALL {
            let bytes = quantize(dtype, &numbers(6 * 256))
                .unwrap_or_else(|| vec![0x21; dtype.bytes(6 * 256).unwrap()]);
            let mut results = Vec::new();
            for backend in [Cpu::new(), Reference::new()] {
                let x = Tensor::new(&backend, Class::Activations, &[2, 256], x.clone()).unwrap();
                for way in 0..3 {
                    let before = backend.ledger().now().bytes[Class::Base as usize];
                    let weight = match way {
                        0 => Tensor::frozen(&backend, &shape, dtype, bytes.clone()),
                        _ => Tensor::mapped(&backend, &shape, mapped(dtype, [0, 64, 3][way], &bytes)),
                    };
                    let weight = weight.unwrap();
                    let booked = backend.ledger().now().bytes[Class::Base as usize] - before;
                    assert_eq!(booked, bytes.len() as u64, "{dtype:?}");
                    assert_eq!((weight.dtype(), weight.len()), (dtype, 6 * 256));
                    let all = weight.numbers().unwrap();
                    let rows = weight.select_rows(&[5, 0]).unwrap().numbers().unwrap();
                    assert_eq!(rows, [&all[5 * 256..], &all[..256]].concat(), "{dtype:?}");
                    results.push((all, x.linear(&weight, None).unwrap().numbers().unwrap()));
                }
            }
            for (all, product) in &results {
                assert_eq!(*all, results[0].0, "{dtype:?}");
                for (a, b) in product.iter().zip(&results[0].1) {
                    assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{dtype:?}: {a} {b}");
                }
            }
        }
    }

    /// Through a frozen weight the input's gradient is that through its numbers.
    #[test]
    fn gradients_pass_through_frozen_weights() {
        let backend = Cpu::new();
        let gradient = |weight: &Tensor| {
            let x = crate::Param::new(&backend, "x", &[2, 64], numbers(128)).unwrap();
            let y = x.tensor().linear(weight, None).unwrap();
            y.cross_entropy(&[1, 4], 0.0).unwrap().backward(1.0).unwrap();
            x.gradient().unwrap().unwrap()
        };
        let frozen = Tensor::quantized(&backend, &[5, 64], Dtype::Nf4, numbers(320)).unwrap();
        let plain = Tensor::new(&backend, Class::Base, &[5, 64], frozen.numbers().unwrap()).unwrap();
        let (a, b) = (gradient(&frozen), gradient(&plain));
        assert!(b.iter().any(|b| b.abs() > 1e-2));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let backend = Cpu::new();
        let frozen = |shape: &[usize], dtype, bytes| Tensor::frozen(&backend, shape, dtype, vec![0; bytes]);
        for dtype in Dtype::ALL {
            let (block, bytes) = (dtype.block_len(), dtype.bytes(dtype.block_len()).unwrap());
            assert!(frozen(&[1, block], dtype, bytes).is_ok());
            for bytes in [0, 1, bytes - 1, bytes + 1, 1000] {
                assert!(frozen(&[1, block], dtype, bytes).is_err(), "{dtype:?} {bytes}");
            }
            assert!(frozen(&[usize::MAX, block], dtype, bytes).is_err());
            assert!(frozen(&[usize::MAX / block, block], dtype, bytes).is_err());
            let whole = mapped(dtype, 0, &vec![0; bytes]);
            for range in [0..bytes - 1, 1..bytes, 0..4 * bytes + 100, usize::MAX - 1..usize::MAX] {
                let cut = Mapped { range, ..whole.clone() };
                assert!(Tensor::mapped(&backend, &[1, block], cut).is_err(), "{dtype:?}");
            }
        }
        let error = frozen(&[64, 48], Dtype::Q8_0, 64 * 48 / 32 * 34).unwrap_err().to_string();
        assert_eq!(error, "tensor: expected rows of a multiple of 32 numbers in q8_0, found [64, 48]");
        let error = frozen(&[2, 32], Dtype::Q4_0, 35).unwrap_err().to_string();
        assert_eq!(error, "tensor: expected bytes for [2, 32] in q4_0, found 35 bytes");
    }

    #[test]
    fn quantising_refuses_by_name() {
        let quantized = |dtype, numbers: &[f32]| {
            Tensor::quantized(&Cpu::new(), &[1, numbers.len()], dtype, numbers.to_vec())
                .unwrap_err()
                .to_string()
        };
        assert!(quantized(Dtype::Q6K, &[0.0; 256]).contains("q6_k operands"));
        assert!(quantized(Dtype::F16, &[1e5]).contains("the range of f16"));
        assert!(quantized(Dtype::Q4_0, &[1.0; 33]).contains("a multiple of 32"));
    }
}
