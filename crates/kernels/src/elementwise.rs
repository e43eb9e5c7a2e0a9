//! Sums, products and scalings of whole slices, with the sums over rows that are their gradients.

use crate::parallel;
use crate::simd::{level, simd_fn};
use rayon::prelude::*;

/// Elements summed as one in [`sum_of_squares`]; fixed, so that the sum does not depend on threads.
const SUM_CHUNK: usize = 1 << 13;

simd_fn! {
    fn add_loop(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a + b;
        }
    }
}

simd_fn! {
    fn add_assign_loop(b: &[f32], a: &mut [f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}

simd_fn! {
    fn multiply_loop(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a * b;
        }
    }
}

simd_fn! {
    fn multiply_add_loop(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o += a * b;
        }
    }
}

simd_fn! {
    fn scale_loop(alpha: f32, x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = alpha * x;
        }
    }
}

simd_fn! {
    fn scale_assign_loop(alpha: f32, x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x *= alpha);
    }
}

simd_fn! {
    fn sum_of_squares_loop(x: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        for chunk in x.chunks(16) {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += *v as f64 * *v as f64;
            }
        }
        lanes.iter().sum()
    }
}

/// `out[i] = a[i] + b[i]`.
pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    let level = level();
    parallel::binary(a, b, out, |a, b, o| add_loop(level, a, b, o));
}

/// `a[i] += b[i]`.
pub fn add_assign(a: &mut [f32], b: &[f32]) {
    let level = level();
    parallel::unary(b, a, |b, a| add_assign_loop(level, b, a));
}

/// `out[i] = alpha * x[i]`.
pub fn scale(x: &[f32], alpha: f32, out: &mut [f32]) {
    let level = level();
    parallel::unary(x, out, |x, o| scale_loop(level, alpha, x, o));
}

/// `x[i] *= alpha`.
pub fn scale_assign(x: &mut [f32], alpha: f32) {
    let level = level();
    parallel::fill(x, |_, x| scale_assign_loop(level, alpha, x));
}

/// `out[i] = a[i] * b[i]`.
pub fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) {
    let level = level();
    parallel::binary(a, b, out, |a, b, o| multiply_loop(level, a, b, o));
}

/// `out[j]` = sum over rows of `x` `[rows, cols]`.
pub fn column_sums(x: &[f32], cols: usize, out: &mut [f32]) {
    assert_eq!(out.len(), cols, "one sum a column");
    let level = level();
    let rows = row_count(x.len(), cols);
    parallel::sum_over_rows(rows, x.len(), out, |rows, partial| {
        for row in x[rows.start * cols..rows.end * cols].chunks_exact(cols) {
            add_assign_loop(level, row, partial);
        }
    });
}

/// `out[i, j] = x[i, j] * l[j]`, `[rows, cols]` by `[cols]`.
pub fn scale_columns(x: &[f32], l: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output lengths");
    row_count(x.len(), l.len());
    let (level, cols) = (level(), l.len());
    parallel::rows(out, cols, |first, o| {
        for (x, o) in x[first * cols..].chunks_exact(cols).zip(o.chunks_exact_mut(cols)) {
            multiply_loop(level, x, l, o);
        }
    });
}

/// Gradients of [`scale_columns`]: `dx[i, j] = dy[i, j] * l[j]`, `dl[j] = sum over i of dy[i, j] * x[i, j]`.
pub fn scale_columns_backward(
    x: &[f32],
    l: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dl: Option<&mut [f32]>,
) {
    assert_eq!(x.len(), dy.len(), "input and gradient lengths");
    if let Some(dx) = dx {
        scale_columns(dy, l, dx);
    }
    if let Some(dl) = dl {
        assert_eq!(dl.len(), l.len(), "scale and gradient lengths");
        let (level, cols) = (level(), l.len());
        parallel::sum_over_rows(row_count(x.len(), cols), x.len(), dl, |rows, partial| {
            let range = rows.start * cols..rows.end * cols;
            for (x, dy) in x[range.clone()].chunks_exact(cols).zip(dy[range].chunks_exact(cols)) {
                multiply_add_loop(level, x, dy, partial);
            }
        });
    }
}

/// Columns `first..first + width` of the rows of `x` `[rows, cols]`: `out` is `[rows, width]`.
pub fn columns(x: &[f32], cols: usize, first: usize, width: usize, out: &mut [f32]) {
    check_columns(x.len(), cols, first, width, out.len());
    parallel::rows(out, width, |row, out| {
        for (x, out) in x[row * cols..].chunks_exact(cols).zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&x[first..first + width]);
        }
    });
}

/// Gradient of [`columns`]: `dy` `[rows, width]` at its place in `dx` `[rows, cols]`, added to what is there if `accumulate`
/// and among zeros otherwise.
pub fn columns_backward(
    dy: &[f32],
    cols: usize,
    first: usize,
    width: usize,
    accumulate: bool,
    dx: &mut [f32],
) {
    check_columns(dx.len(), cols, first, width, dy.len());
    let level = level();
    parallel::rows(dx, cols, |row, dx| {
        for (dy, dx) in dy[row * width..].chunks_exact(width).zip(dx.chunks_exact_mut(cols)) {
            if accumulate {
                add_assign_loop(level, dy, &mut dx[first..first + width]);
            } else {
                dx[..first].fill(0.0);
                dx[first..first + width].copy_from_slice(dy);
                dx[first + width..].fill(0.0);
            }
        }
    });
}

fn check_columns(len: usize, cols: usize, first: usize, width: usize, chosen: usize) {
    assert!(width > 0 && first + width <= cols, "columns {first}..{} of {cols}", first + width);
    assert_eq!(row_count(len, cols) * width, chosen, "{width} columns of every row");
}

/// Sum of `x[i]²` in f64.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let level = level();
    if parallel::worthwhile(x.len()) {
        let partials: Vec<f64> = x.par_chunks(SUM_CHUNK).map(|x| sum_of_squares_loop(level, x)).collect();
        partials.iter().sum()
    } else {
        x.chunks(SUM_CHUNK).map(|x| sum_of_squares_loop(level, x)).sum()
    }
}

fn row_count(len: usize, cols: usize) -> usize {
    let rows = len.checked_div(cols).unwrap_or(0);
    assert_eq!(rows * cols, len, "whole rows of {cols} columns");
    rows
}

/// Plain loops, f64 sums.
pub mod reference {
    /// See [`super::add`].
    pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
        (0..out.len()).for_each(|i| out[i] = a[i] + b[i]);
    }

    /// See [`super::add_assign`].
    pub fn add_assign(a: &mut [f32], b: &[f32]) {
        (0..a.len()).for_each(|i| a[i] += b[i]);
    }

    /// See [`super::scale`].
    pub fn scale(x: &[f32], alpha: f32, out: &mut [f32]) {
        (0..out.len()).for_each(|i| out[i] = alpha * x[i]);
    }

    /// See [`super::scale_assign`].
    pub fn scale_assign(x: &mut [f32], alpha: f32) {
        x.iter_mut().for_each(|x| *x *= alpha);
    }

    /// See [`super::multiply`].
    pub fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) {
        (0..out.len()).for_each(|i| out[i] = a[i] * b[i]);
    }

    /// See [`super::column_sums`].
    pub fn column_sums(x: &[f32], cols: usize, out: &mut [f32]) {
        for (j, o) in out.iter_mut().enumerate() {
            *o = x.iter().skip(j).step_by(cols).map(|v| *v as f64).sum::<f64>() as f32;
        }
    }

    /// See [`super::scale_columns`].
    pub fn scale_columns(x: &[f32], l: &[f32], out: &mut [f32]) {
        (0..x.len()).for_each(|i| out[i] = x[i] * l[i % l.len()]);
    }

    /// See [`super::scale_columns_backward`].
    pub fn scale_columns_backward(
        x: &[f32],
        l: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        dl: Option<&mut [f32]>,
    ) {
        if let Some(dx) = dx {
            scale_columns(dy, l, dx);
        }
        if let Some(dl) = dl {
            let products: Vec<f32> = x.iter().zip(dy).map(|(x, dy)| x * dy).collect();
            column_sums(&products, l.len(), dl);
        }
    }

    /// See [`super::columns`].
    pub fn columns(x: &[f32], cols: usize, first: usize, width: usize, out: &mut [f32]) {
        (0..out.len()).for_each(|i| out[i] = x[i / width * cols + first + i % width]);
    }

    /// See [`super::columns_backward`].
    pub fn columns_backward(
        dy: &[f32],
        cols: usize,
        first: usize,
        width: usize,
        accumulate: bool,
        dx: &mut [f32],
    ) {
        for (i, d) in dx.iter_mut().enumerate() {
            let (row, col) = (i / cols, i % cols);
            let inside = (first..first + width).contains(&col);
            let gradient = if inside { dy[row * width + col - first] } else { 0.0 };
            *d = if accumulate { *d + gradient } else { gradient };
        }
    }

    /// See [`super::sum_of_squares`].
    pub fn sum_of_squares(x: &[f32]) -> f64 {
        x.iter().map(|v| *v as f64 * *v as f64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    type Binary = fn(&[f32], &[f32], &mut [f32]);

    #[test]
    fn elementwise_operations_match_the_reference() {
        let pairs: [(Binary, Binary); 3] = [
            (add, reference::add),
            (multiply, reference::multiply),
            (
                |a, b, o| scale(a, b.first().copied().unwrap_or(0.0), o),
                |a, b, o| reference::scale(a, b.first().copied().unwrap_or(0.0), o),
            ),
        ];
        on_every_level(|| {
            for n in [0, 1, 17, 40_000] {
                let (a, b) = (values(1, n), values(2, n));
                for (got, want) in pairs {
                    let (mut x, mut y) = (vec![0.0; n], vec![0.0; n]);
                    got(&a, &b, &mut x);
                    want(&a, &b, &mut y);
                    assert_eq!(x, y);
                }
                let (mut x, mut y) = (a.clone(), a.clone());
                add_assign(&mut x, &b);
                reference::add_assign(&mut y, &b);
                assert_eq!(x, y);
                scale_assign(&mut x, 0.7);
                reference::scale_assign(&mut y, 0.7);
                assert_eq!(x, y);
                let (got, want) = (sum_of_squares(&a), reference::sum_of_squares(&a));
                assert!((got - want).abs() <= 1e-12 * want);
            }
        });
    }

    #[test]
    fn row_operations_match_the_reference() {
        on_every_level(|| {
            for (rows, cols) in [(0, 3), (1, 1), (70, 5), (300, 200)] {
                let (x, l, dy) = (values(1, rows * cols), values(2, cols), values(3, rows * cols));
                let (mut a, mut b) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
                scale_columns(&x, &l, &mut a);
                reference::scale_columns(&x, &l, &mut b);
                assert_eq!(a, b);
                let (mut c, mut d) = (vec![9.0; cols], vec![0.0; cols]);
                column_sums(&x, cols, &mut c);
                reference::column_sums(&x, cols, &mut d);
                assert_close(&c, &d, 1e-5);
                scale_columns_backward(&x, &l, &dy, Some(&mut a), Some(&mut c));
                reference::scale_columns_backward(&x, &l, &dy, Some(&mut b), Some(&mut d));
                assert_eq!(a, b);
                assert_close(&c, &d, 1e-5);
            }
        });
    }

    #[test]
    fn columns_match_the_reference() {
        on_every_level(|| {
            for (rows, cols, first, width) in [(0, 3, 1, 2), (1, 1, 0, 1), (70, 7, 2, 3), (300, 200, 150, 50)]
            {
                let x = values(1, rows * cols);
                let (mut y, mut want) = (vec![7.0; rows * width], vec![7.0; rows * width]);
                columns(&x, cols, first, width, &mut y);
                reference::columns(&x, cols, first, width, &mut want);
                assert_eq!(y, want);
                for accumulate in [false, true] {
                    let (mut dx, mut dx2) = (x.clone(), x.clone());
                    columns_backward(&y, cols, first, width, accumulate, &mut dx);
                    reference::columns_backward(&y, cols, first, width, accumulate, &mut dx2);
                    assert_eq!(dx, dx2);
                }
            }
        });
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let (x, l, dy) = (values(1, 12), values(2, 3), values(3, 12));
        let (mut dx, mut dl) = (vec![0.0; 12], vec![0.0; 3]);
        reference::scale_columns_backward(&x, &l, &dy, Some(&mut dx), Some(&mut dl));
        let loss = |x: &[f32], l: &[f32]| {
            let mut y = vec![0.0; 12];
            reference::scale_columns(x, l, &mut y);
            dot(&y, &dy)
        };
        assert_gradient(&x, &dx, |x| loss(x, &l));
        assert_gradient(&l, &dl, |l| loss(&x, l));
        reference::columns_backward(&dy[..8], 3, 1, 2, false, &mut dx);
        assert_gradient(&x, &dx, |x| {
            let mut y = vec![0.0; 8];
            reference::columns(x, 3, 1, 2, &mut y);
            dot(&y, &dy[..8])
        });
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (x, dy) = (values(1, 700 * 130), values(2, 700 * 130));
            let (mut dx, mut dl, mut sums) = (vec![0.0; x.len()], vec![0.0; 130], vec![0.0; 130]);
            scale_columns_backward(&x, &x[..130], &dy, Some(&mut dx), Some(&mut dl));
            column_sums(&x, 130, &mut sums);
            let mut chosen = vec![0.0; 700 * 100];
            columns(&x, 130, 10, 100, &mut chosen);
            columns_backward(&chosen, 130, 10, 100, true, &mut dx);
            let squares = sum_of_squares(&x).to_bits();
            [dx, dl, sums, vec![f32::from_bits(squares as u32), f32::from_bits((squares >> 32) as u32)]]
                .concat()
        });
    }
}
