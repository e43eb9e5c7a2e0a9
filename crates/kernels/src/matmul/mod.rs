//! Matrix product: packed, blocked, over f32 and narrower stored elements.
//!
//! The scheme is that of BLIS (Van Zee and van de Geijn 2015): operands are brought into panels, register tiles run
//! along them. Here the roles of the operands may be exchanged (`out` transposed) when that wastes fewer lanes, which
//! keeps skinny products at memory speed. An output element is always the same chain of multiply-adds over k, cut
//! every `block::KC` terms, so its value depends on neither tile, thread nor role.

pub(crate) mod block;
mod driver;
#[cfg(target_arch = "x86_64")]
pub(crate) mod few;
pub(crate) mod lanes;
pub(crate) mod pack;
pub(crate) mod tile;

pub use crate::elements::Elements;
use crate::parallel;
use pack::Source;

/// A matrix of `rows` by `cols`, stored row-major as `[rows, cols]`, or as `[cols, rows]` when `transposed`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Stored elements, `rows * cols` of them.
    pub elements: Elements<'a>,
    /// Rows of the matrix that is multiplied.
    pub rows: usize,
    /// Columns of the matrix that is multiplied.
    pub cols: usize,
    /// Whether storage is the transpose.
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    /// A `[rows, cols]` f32 matrix as stored.
    pub fn f32(elements: &'a [f32], rows: usize, cols: usize) -> Self {
        Matrix { elements: Elements::F32(elements), rows, cols, transposed: false }
    }

    /// A `[rows, cols]` matrix as stored, of any format.
    pub fn new(elements: Elements<'a>, rows: usize, cols: usize) -> Self {
        Matrix { elements, rows, cols, transposed: false }
    }

    /// The transpose of this matrix over the same elements.
    pub fn t(self) -> Self {
        Matrix { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }
}

/// `out = alpha * a b + bias`, plus what `out` held when `accumulate`.
///
/// `a` is `[m, k]`, `b` `[k, n]`, `bias` `[n]` (added to every row), `out` `[m, n]`. With k = 0 the product is zero.
pub fn matmul(alpha: f32, a: Matrix, b: Matrix, bias: Option<&[f32]>, accumulate: bool, out: &mut [f32]) {
    let (m, n) = check(&a, &b, bias, out);
    if m == 0 || n == 0 {
        return;
    }
    if a.cols == 0 {
        return empty_sums(bias, accumulate, n, out);
    }
    let left = Source { elements: a.elements, lanes: m, k: a.cols, along_k: !a.transposed };
    let right = Source { elements: b.elements, lanes: n, k: b.rows, along_k: b.transposed };
    driver::run(alpha, left, right, bias, accumulate, out);
}

/// Asserts all lengths and gives the output's rows and columns.
fn check(a: &Matrix, b: &Matrix, bias: Option<&[f32]>, out: &[f32]) -> (usize, usize) {
    assert_eq!(a.elements.len(), a.rows * a.cols, "elements of the left matrix");
    assert_eq!(b.elements.len(), b.rows * b.cols, "elements of the right matrix");
    assert_eq!(a.cols, b.rows, "columns of the left and rows of the right matrix");
    assert_eq!(out.len(), a.rows * b.cols, "elements of the product");
    assert!(bias.is_none_or(|bias| bias.len() == b.cols), "one bias a column");
    (a.rows, b.cols)
}

fn empty_sums(bias: Option<&[f32]>, accumulate: bool, n: usize, out: &mut [f32]) {
    parallel::rows(out, n, |_, rows| {
        if !accumulate {
            rows.fill(0.0);
        }
        for row in rows.chunks_exact_mut(n) {
            if let Some(bias) = bias {
                row.iter_mut().zip(bias).for_each(|(o, b)| *o += b);
            }
        }
    });
}

/// Plain loops, f64 sums.
pub mod reference {
    use super::{Matrix, check};

    /// See [`super::matmul`].
    pub fn matmul(alpha: f32, a: Matrix, b: Matrix, bias: Option<&[f32]>, accumulate: bool, out: &mut [f32]) {
        let (m, n) = check(&a, &b, bias, out);
        for i in 0..m {
            for j in 0..n {
                let sum: f64 = (0..a.cols).map(|p| at(&a, i, p) * at(&b, p, j)).sum();
                let before = if accumulate { out[i * n + j] as f64 } else { 0.0 };
                let bias = bias.map_or(0.0, |bias| bias[j] as f64);
                out[i * n + j] = (alpha as f64 * sum + before + bias) as f32;
            }
        }
    }

    fn at(x: &Matrix, row: usize, col: usize) -> f64 {
        let i = if x.transposed { col * x.rows + row } else { row * x.cols + col };
        x.elements.at(i) as f64
    }
}

#[cfg(test)]
mod tests;
