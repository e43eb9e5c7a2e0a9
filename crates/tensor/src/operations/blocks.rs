//! Products with matrices that are made of blocks: rotations of groups of columns, Kronecker products.

use super::linear::{MatMul, sum_onto};
use crate::backend::{Backend, download_one};
use crate::buffer::{Buffer, IndexBuffer};
use crate::error::{Result, check};
use crate::memory::Class;
use crate::tensor::Tensor;
use tenfold_kernels::cayley::{self, Cayley};

impl Tensor {
    /// Rotations of width `b` out of the entries above the diagonals of skew-symmetric matrices: \[blocks, b (b - 1) / 2\] ->
    /// \[blocks · b, b\]. They are few numbers, and are worked out beside the backend.
    pub fn cayley(&self, kind: Cayley, b: usize) -> Result<Tensor> {
        self.require_f32("cayley")?;
        let (blocks, entries) = (self.rows(), b * b.saturating_sub(1) / 2);
        let expected = || format!("[_, {entries}] for blocks of {b}");
        check("cayley", b > 0 && self.cols() == entries, expected, || format!("{:?}", self.shape()))?;
        let backend = self.backend();
        let q = download_one(&**backend, self.buffer())?;
        let mut r = vec![0.0; blocks * b * b];
        cayley::forward(kind, b, &q, &mut r);
        let r = backend.upload(Class::Activations, r)?;
        let (trace, saved) = (self.trace().clone(), self.buffer().clone());
        Ok(Tensor::result(backend, &[&trace.clone()], r, vec![blocks * b, b], move |dy, gradients| {
            gradients.compute(&trace, |backend, onto| {
                let downloaded = backend.download(&[&saved, &dy])?;
                let [q, dr] = &downloaded[..] else { unreachable!("two buffers") };
                let mut dq = vec![0.0; q.len()];
                cayley::backward(kind, b, q, dr, &mut dq);
                sum_onto(backend, backend.upload(Class::Workspace, dq)?, onto)
            })
        }))
    }

    /// Every group of b columns times a block of its own, \[rows, n · b\] · diag of n blocks \[b, b\] -> \[rows, n · b\]. `blocks`
    /// holds them one below the other: \[n · b, b\].
    pub fn block_linear(&self, blocks: &Tensor) -> Result<Tensor> {
        self.require_f32("block_linear")?;
        blocks.require_f32("block_linear")?;
        let (rows, cols, b) = (self.rows(), self.cols(), blocks.cols());
        let fits = blocks.rows() == cols && b > 0 && cols.is_multiple_of(b);
        check("block_linear", fits, || format!("blocks [{cols}, _]"), || format!("{:?}", blocks.shape()))?;
        let (backend, map) = (self.backend(), Blocks { rows, cols, b });
        let mut y = backend.zeros(Class::Activations, rows * cols)?;
        for block in 0..cols / b {
            let part = backend.columns(self.buffer(), cols, block * b, b)?;
            let own = map.block(&**backend, blocks.buffer(), block)?;
            let part = backend.matmul(&map.product(&part, &own, false), None)?;
            y = backend.columns_gradient(&part, cols, block * b, b, Some(y))?;
        }
        let (x_trace, b_trace) = (self.trace().clone(), blocks.trace().clone());
        let inputs = [&x_trace.clone(), &b_trace.clone()];
        let (x, blocks) = (self.buffer().clone(), blocks.buffer().clone());
        Ok(Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&b_trace, |backend, onto| {
                let mut sum = match onto {
                    Some(sum) => sum,
                    None => backend.zeros(Class::Workspace, cols * b)?,
                };
                for block in 0..cols / b {
                    let part = backend.columns(&x, cols, block * b, b)?;
                    let dy = backend.columns(&dy, cols, block * b, b)?;
                    let gradient = backend.matmul(&map.gradient(&part, &dy), None)?;
                    backend.scatter_rows(&gradient, b, &map.rows_of(backend, block)?, &mut sum)?;
                }
                Ok(sum)
            })?;
            gradients.compute(&x_trace, |backend, onto| {
                let mut dx = match onto {
                    Some(sum) => sum,
                    None => backend.zeros(Class::Workspace, rows * cols)?,
                };
                for block in 0..cols / b {
                    let dy = backend.columns(&dy, cols, block * b, b)?;
                    let own = map.block(backend, &blocks, block)?;
                    let part = backend.matmul(&map.product(&dy, &own, true), None)?;
                    dx = backend.columns_gradient(&part, cols, block * b, b, Some(dx))?;
                }
                Ok(dx)
            })
        }))
    }

    /// Each row, read as a matrix \[a, b\], transposed: \[rows, a · b\] -> \[rows, b · a\].
    pub fn transpose_columns(&self, a: usize) -> Result<Tensor> {
        self.require_f32("transpose_columns")?;
        let cols = self.cols();
        let fits = a > 0 && cols.is_multiple_of(a);
        check("transpose_columns", fits, || format!("a divisor of {cols}"), || a.to_string())?;
        let (backend, b) = (self.backend(), cols / a.max(1));
        let y = transposed(&**backend, self.buffer(), (a, b), Class::Activations)?;
        let trace = self.trace().clone();
        Ok(Tensor::result(backend, &[&trace.clone()], y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&trace, |backend, onto| {
                sum_onto(backend, transposed(backend, &dy, (b, a), Class::Workspace)?, onto)
            })
        }))
    }
}

/// Rows of matrices \[a, b\], each transposed; in as many passes as its shorter side is long.
fn transposed(backend: &dyn Backend, x: &Buffer, (a, b): (usize, usize), class: Class) -> Result<Buffer> {
    let mut y = backend.zeros(class, x.len())?;
    for i in 0..a.min(b) {
        y = if a < b {
            // Row i of each matrix becomes a column.
            let row = backend.columns(x, a * b, i * b, b)?;
            backend.columns_gradient(&row, a, i, 1, Some(y))?
        } else {
            let column = backend.columns(x, b, i, 1)?;
            backend.columns_gradient(&column, a * b, i * a, a, Some(y))?
        };
    }
    Ok(y)
}

/// The extents of a product with blocks.
#[derive(Clone, Copy)]
struct Blocks {
    rows: usize,
    cols: usize,
    b: usize,
}

impl Blocks {
    fn rows_of(&self, backend: &dyn Backend, block: usize) -> Result<IndexBuffer> {
        debug_assert!(block < self.cols / self.b);
        let rows: Vec<u32> = ((block * self.b) as u32..((block + 1) * self.b) as u32).collect();
        backend.upload_indices(&rows)
    }

    /// A copy of one block \[b, b\].
    fn block(&self, backend: &dyn Backend, blocks: &Buffer, block: usize) -> Result<Buffer> {
        backend.rows(blocks, self.b, &self.rows_of(backend, block)?)
    }

    /// \[rows, b\] · \[b, b\], the block transposed or not.
    fn product<'a>(&self, x: &'a Buffer, block: &'a Buffer, b_transposed: bool) -> MatMul<'a> {
        let (m, n) = (self.rows, self.b);
        MatMul { a: x, a_transposed: false, b: block, b_transposed, m, n, k: n, alpha: 1.0, bias: None }
    }

    /// \[rows, b\]ᵀ · \[rows, b\].
    fn gradient<'a>(&self, x: &'a Buffer, dy: &'a Buffer) -> MatMul<'a> {
        let (k, n) = (self.rows, self.b);
        MatMul { a: x, a_transposed: true, b: dy, b_transposed: false, m: n, n, k, alpha: 1.0, bias: None }
    }
}
