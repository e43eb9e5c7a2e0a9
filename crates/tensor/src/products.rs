//! Which matrix products a job is made of, for whoever holds its time against theirs.

use crate::backend::{Backend, LinearLoss, MatMul};
use crate::buffer::Dtype;
use crate::error::Result;
use crate::linear_loss::chunk_rows;
use crate::memory::Class;
use crate::random;
use crate::tensor::Tensor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A matrix product, as far as its cost goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The dimension that is summed over.
    pub k: usize,
    /// Whether the operands are stored transposed.
    pub transposed: [bool; 2],
    /// How the right operand is stored.
    pub format: Dtype,
}

impl Product {
    /// Multiplications and additions.
    pub fn operations(&self) -> f64 {
        2.0 * self.m as f64 * self.n as f64 * self.k as f64
    }

    /// Operands of random numbers for it.
    pub fn prepare(&self, backend: &Arc<dyn Backend>) -> Result<Prepared> {
        let Product { m, n, k, transposed, format } = *self;
        let stored = |rows, cols, transposed| if transposed { [cols, rows] } else { [rows, cols] };
        let numbers = |name: &str, len: usize| random::uniform(random::key(0, name), len, 1.0);
        let a = Tensor::new(backend, Class::Activations, &stored(m, k, transposed[0]), numbers("a", m * k))?;
        let b = Tensor::quantized(backend, &stored(k, n, transposed[1]), format, numbers("b", k * n))?;
        Ok(Prepared { product: *self, a, b })
    }

    fn of(product: &MatMul) -> Product {
        let MatMul { a_transposed, b_transposed, m, n, k, .. } = *product;
        Product { m, n, k, transposed: [a_transposed, b_transposed], format: product.b.dtype() }
    }
}

/// A product with its operands, to be computed over and over.
pub struct Prepared {
    product: Product,
    a: Tensor,
    b: Tensor,
}

impl Prepared {
    /// Computes it once.
    pub fn run(&self) -> Result<()> {
        let Product { m, n, k, transposed: [a_transposed, b_transposed], .. } = self.product;
        let (a, b) = (self.a.buffer(), self.b.buffer());
        let product = MatMul { a, a_transposed, b, b_transposed, m, n, k, alpha: 1.0, bias: None };
        self.a.backend().matmul(&product, None).map(drop)
    }
}

/// Counts of products, in the order in which each came first.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Vec<(Product, u64)>>);

impl Tally {
    /// Takes all counts, which begin anew.
    pub fn take(&self) -> Vec<(Product, u64)> {
        std::mem::take(&mut self.counts())
    }

    pub(crate) fn matmul(&self, product: &MatMul) {
        self.add(Product::of(product));
    }

    /// The products of a loss over a vocabulary with these gradients: logits, then those of input and weight, chunk by
    /// chunk.
    pub(crate) fn linear_loss(&self, loss: &LinearLoss, wanted: [bool; 3]) {
        let (rows, classes) = (loss.labels.len(), loss.classes);
        let (hidden, format) = (loss.weight.len() / classes, loss.weight.dtype());
        let chunk = chunk_rows(rows, classes);
        for first in (0..rows).step_by(chunk) {
            let here = (rows - first).min(chunk);
            self.add(Product { m: here, n: classes, k: hidden, transposed: [false, true], format });
            if wanted[0] {
                self.add(Product { m: here, n: hidden, k: classes, transposed: [false, false], format });
            }
            if wanted[1] {
                let format = Dtype::F32;
                self.add(Product { m: classes, n: hidden, k: here, transposed: [true, false], format });
            }
        }
    }

    fn add(&self, product: Product) {
        let mut counts = self.counts();
        match counts.iter_mut().find(|(known, _)| *known == product) {
            Some((_, count)) => *count += 1,
            None => counts.push((product, 1)),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Vec<(Product, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
