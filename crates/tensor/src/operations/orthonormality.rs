//! How far vectors are from being orthonormal.

use super::linear::{MatMul, sum_onto};
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::memory::Class;
use crate::tensor::Tensor;

/// Which vectors of a matrix are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// Its rows.
    Rows,
    /// Its columns.
    Columns,
}

impl Tensor {
    /// ‖G − I‖ (Frobenius) of \[rows, cols\] -> \[1\]: G holds the products of its rows, or of its columns, with one another.
    /// 0 if they are orthonormal, where the gradient is 0 too.
    pub fn orthonormality_error(&self, vectors: Vectors) -> Result<Tensor> {
        let operation = "orthonormality_error";
        self.require_f32(operation)?;
        let is_matrix = self.shape().len() == 2 && !self.is_empty();
        check(operation, is_matrix, || "a matrix".into(), || format!("{:?}", self.shape()))?;
        let (rows, cols) = (self.rows(), self.cols());
        let (count, length) = if vectors == Vectors::Rows { (rows, cols) } else { (cols, rows) };
        let backend = self.backend();
        let minus_identity = (0..count * count).map(|i| if i % (count + 1) == 0 { -1.0 } else { 0.0 });
        let gram = MatMul {
            a_transposed: vectors == Vectors::Columns,
            b_transposed: vectors == Vectors::Rows,
            ..product((self.buffer(), self.buffer()), [count, count, length], 1.0)
        };
        let minus_identity = backend.upload(Class::Activations, minus_identity.collect())?;
        let excess = backend.matmul(&gram, Some(minus_identity))?;
        let value = backend.global_norm(&[&excess])?;
        let (trace, x) = (self.trace().clone(), self.buffer().clone());
        Ok(Tensor::result(backend, &[&trace.clone()], value, vec![1], move |dy, gradients| {
            let norm = gradients.backend.global_norm(&[&excess])?;
            let numbers = gradients.backend.download(&[&dy, &norm])?;
            let (weight, norm) = (numbers[0][0], numbers[1][0]);
            let factor = if norm > 0.0 { 2.0 * weight / norm } else { 0.0 };
            gradients.compute(&trace, |backend, onto| {
                let product = match vectors {
                    Vectors::Rows => product((&excess, &x), [rows, cols, rows], factor),
                    Vectors::Columns => product((&x, &excess), [rows, cols, cols], factor),
                };
                sum_onto(backend, backend.matmul(&product, None)?, onto)
            })
        }))
    }
}

/// `alpha · a · b`: \[m, k\] · \[k, n\].
fn product<'a>((a, b): (&'a Buffer, &'a Buffer), [m, n, k]: [usize; 3], alpha: f32) -> MatMul<'a> {
    MatMul { a, a_transposed: false, b, b_transposed: false, m, n, k, alpha, bias: None }
}
