//! The largest singular values of a matrix and their vectors, in f64: Golub's and Kahan's bidiagonalization with full
//! reorthogonalization (1965), the small matrix that it leaves by one-sided Jacobi rotations.

use tenfold_tensor::random;

/// A matrix \[rows, cols\], stored so or transposed.
pub(super) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

/// A singular value with its vectors.
pub(super) struct Triplet {
    pub value: f64,
    pub left: Vec<f64>,
    pub right: Vec<f64>,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(numbers: &'a [f32], [rows, cols]: [usize; 2], transposed: bool) -> Matrix<'a> {
        Matrix { numbers, rows, cols, transposed }
    }

    pub(super) fn extents(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    pub(super) fn column(&self, column: usize) -> Vec<f64> {
        let numbers = match self.transposed {
            true => self.numbers[column * self.rows..][..self.rows].to_vec(),
            false => self.numbers.iter().skip(column).step_by(self.cols).copied().collect(),
        };
        numbers.into_iter().map(f64::from).collect()
    }

    /// The matrix times x.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        if self.transposed { self.sum_of_stored(x) } else { self.products_of_stored(x) }
    }

    /// The transposed matrix times x.
    pub(super) fn transposed_times(&self, x: &[f64]) -> Vec<f64> {
        if self.transposed { self.products_of_stored(x) } else { self.sum_of_stored(x) }
    }

    fn stored_rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.numbers.chunks_exact(if self.transposed { self.rows } else { self.cols })
    }

    /// Each stored row times x.
    fn products_of_stored(&self, x: &[f64]) -> Vec<f64> {
        self.stored_rows().map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
    }

    /// The sum of the stored rows, each times its number of x.
    fn sum_of_stored(&self, x: &[f64]) -> Vec<f64> {
        let mut sum = vec![0.0; if self.transposed { self.rows } else { self.cols }];
        for (row, x) in self.stored_rows().zip(x) {
            sum.iter_mut().zip(row).for_each(|(sum, w)| *sum += x * f64::from(*w));
        }
        sum
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The part of a vector that is orthogonal to a basis, of length 1, and how long it was. Where nothing is left, any vector
/// of length 1 that is orthogonal to the basis, and 0.
pub(super) fn orthonormal(vector: Vec<f64>, basis: &[Vec<f64>]) -> (Vec<f64>, f64) {
    let before = dot(&vector, &vector).sqrt();
    let mut rest = vector;
    for _ in 0..2 {
        for other in basis {
            let along = dot(&rest, other);
            rest.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
    }
    let length = dot(&rest, &rest).sqrt();
    if length > 1e-13 * before {
        rest.iter_mut().for_each(|x| *x /= length);
        return (rest, length);
    }
    let drawn = random::normal(random::key(basis.len() as u64, "orthonormal"), rest.len(), 1.0);
    (orthonormal(drawn.into_iter().map(f64::from).collect(), basis).0, 0.0)
}

/// The `count` largest singular values, the largest first.
pub(super) fn largest(matrix: &Matrix, count: usize) -> Vec<Triplet> {
    let most = matrix.rows.min(matrix.cols);
    // Out of the space that the rows span, which is all that there is to find.
    let drawn = random::normal(random::key(0, "svd"), matrix.rows, 1.0);
    let start = matrix.transposed_times(&drawn.into_iter().map(f64::from).collect::<Vec<f64>>());
    let (mut lefts, mut rights): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    let (mut next, mut alphas, mut betas) = (orthonormal(start, &[]).0, Vec::new(), Vec::new());
    loop {
        let (left, alpha) = orthonormal(matrix.times(&next), &lefts);
        rights.push(next);
        lefts.push(left);
        alphas.push(alpha);
        let steps = lefts.len();
        let last = lefts.last().map_or(&[][..], Vec::as_slice);
        let (right, beta) = match steps == most && matrix.cols == most {
            true => (Vec::new(), 0.0),
            false => orthonormal(matrix.transposed_times(last), &rights),
        };
        if steps == most || (steps >= 2 * count + 8 && steps.is_multiple_of(8)) {
            let small = bidiagonal(&alphas, &betas);
            let error = |(left, ..): &(Vec<f64>, f64, Vec<f64>)| (beta * left[steps - 1]).abs();
            let scale = small.first().map_or(0.0, |(_, value, _)| *value);
            if steps == most || small.iter().take(count).all(|found| error(found) <= 1e-9 * scale) {
                return small.into_iter().take(count).map(|found| whole(found, &lefts, &rights)).collect();
            }
        }
        betas.push(beta);
        next = right;
    }
}

/// A triplet of the small matrix in terms of the large one.
fn whole(
    (left, value, right): (Vec<f64>, f64, Vec<f64>),
    lefts: &[Vec<f64>],
    rights: &[Vec<f64>],
) -> Triplet {
    let combine = |factors: &[f64], vectors: &[Vec<f64>]| {
        let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
        for (factor, vector) in factors.iter().zip(vectors) {
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += factor * x);
        }
        sum
    };
    Triplet { value, left: combine(&left, lefts), right: combine(&right, rights) }
}

/// The singular values of an upper bidiagonal matrix with their vectors, the largest first: its columns are turned in pairs until
/// all are orthogonal.
fn bidiagonal(diagonal: &[f64], above: &[f64]) -> Vec<(Vec<f64>, f64, Vec<f64>)> {
    let n = diagonal.len();
    let mut columns: Vec<Vec<f64>> = (0..n)
        .map(|col| {
            let mut column = vec![0.0; n];
            column[col] = diagonal[col];
            if col > 0 {
                column[col - 1] = above[col - 1];
            }
            column
        })
        .collect();
    let mut turns: Vec<Vec<f64>> =
        (0..n).map(|col| (0..n).map(|row| f64::from(u8::from(row == col))).collect()).collect();
    for _ in 0..60 {
        let mut worst = 0.0f64;
        for p in 0..n {
            for q in p + 1..n {
                let (pp, qq) = (dot(&columns[p], &columns[p]), dot(&columns[q], &columns[q]));
                let pq = dot(&columns[p], &columns[q]);
                let size = (pp * qq).sqrt();
                if pq.abs() <= 1e-15 * size || size == 0.0 {
                    continue;
                }
                worst = worst.max(pq.abs() / size);
                let zeta = (qq - pp) / (2.0 * pq);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = (1.0 + tangent * tangent).sqrt().recip();
                for vectors in [&mut columns, &mut turns] {
                    let (first, second) = vectors.split_at_mut(q);
                    for (x, y) in first[p].iter_mut().zip(&mut second[0]) {
                        let (old_x, old_y) = (*x, *y);
                        *x = cosine * (old_x - tangent * old_y);
                        *y = cosine * (tangent * old_x + old_y);
                    }
                }
            }
        }
        if worst < 1e-14 {
            break;
        }
    }
    let mut found: Vec<(Vec<f64>, f64, Vec<f64>)> = (columns.into_iter().zip(turns))
        .map(|(mut left, right)| {
            let value = dot(&left, &left).sqrt();
            if value > 0.0 {
                left.iter_mut().for_each(|x| *x /= value);
            }
            (left, value, right)
        })
        .collect();
    found.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U S Vᵀ of known singular values, from orthonormal vectors.
    fn with_values(rows: usize, cols: usize, values: &[f64]) -> Vec<f32> {
        let basis = |len: usize, name: &str| {
            let mut basis: Vec<Vec<f64>> = Vec::new();
            for k in 0..values.len() {
                let drawn = random::normal(random::key(k as u64, name), len, 1.0);
                basis.push(orthonormal(drawn.into_iter().map(f64::from).collect(), &basis).0);
            }
            basis
        };
        let (left, right) = (basis(rows, "left"), basis(cols, "right"));
        let number = |i: usize| -> f64 {
            let (row, col) = (i / cols, i % cols);
            values.iter().zip(left.iter().zip(&right)).map(|(s, (u, v))| s * u[row] * v[col]).sum()
        };
        (0..rows * cols).map(|i| number(i) as f32).collect()
    }

    #[test]
    fn the_largest_singular_values_are_found_with_their_vectors() {
        let close: Vec<f64> = (0..40).map(|k| 5.0 * 0.97f64.powi(k)).collect();
        for (rows, cols, values) in
            [(60, 45, &close[..]), (45, 60, &close[..40]), (7, 3, &[3.0, 2.0, 1.0]), (5, 6, &[2.0, 1.0])]
        {
            let numbers = with_values(rows, cols, values);
            let transposed: Vec<f32> =
                (0..rows * cols).map(|i| numbers[i % rows * cols + i / rows]).collect();
            for (numbers, turned) in [(&numbers, false), (&transposed, true)] {
                let matrix = Matrix::new(numbers, [rows, cols], turned);
                let count = values.len().min(4);
                for (found, value) in largest(&matrix, count).iter().zip(values) {
                    assert!((found.value - value).abs() < 1e-5 * values[0], "{} {value}", found.value);
                    let image = matrix.times(&found.right);
                    let off = image.iter().zip(&found.left).map(|(x, u)| (x - found.value * u).abs());
                    assert!(off.fold(0.0, f64::max) < 1e-6 * values[0]);
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_zeros_has_none() {
        let numbers = vec![0.0; 12];
        let found = largest(&Matrix::new(&numbers, [3, 4], false), 2);
        assert!(found.len() == 2 && found.iter().all(|triplet| triplet.value == 0.0));
    }
}
