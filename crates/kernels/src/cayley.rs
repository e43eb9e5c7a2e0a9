//! Rotations out of skew-symmetric matrices: the Cayley transform, exact or as the first terms of its series. Sums and solves
//! in f64; blocks are small, so that this is its own reference.
//!
//! A block of width `b` is given by the `b (b - 1) / 2` entries above the diagonal of Q, row by row; below it Q has them
//! with the other sign.

use crate::parallel;
use rayon::prelude::*;

/// How a rotation is made of Q.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cayley {
    /// (I - Q) (I + Q)⁻¹: orthogonal.
    Exact,
    /// The first terms of (I + Q) (I - Q)⁻¹ = I + 2 Q + 2 Q² + …, the last of them once, as Hugging Face PEFT counts them:
    /// terms of powers up to one less, at the least 3 from three terms on. Orthogonal up to what is left out.
    Series(usize),
}

impl Cayley {
    /// The factors of Q⁰, Q¹ … of the series.
    fn factors(terms: usize) -> Vec<f64> {
        match terms {
            0 | 1 => vec![1.0],
            2 => vec![1.0, 2.0],
            _ => {
                let last = terms.max(4) - 1;
                (0..=last).map(|power| if power == 0 || power == last { 1.0 } else { 2.0 }).collect()
            }
        }
    }
}

/// `r[block] = rotation(q[block])`: `q` \[blocks, b (b - 1) / 2\], `r` \[blocks, b, b\].
pub fn forward(kind: Cayley, b: usize, q: &[f32], r: &mut [f32]) {
    let entries = b * (b - 1) / 2;
    assert_eq!(q.len() * b * b, r.len() * entries);
    each_block(r, b * b, b, |block, r| {
        let q = Square::skew(b, &q[block * entries..][..entries]);
        let rotation = match kind {
            Cayley::Exact => q.inverse_of_identity_plus().scaled_minus_identity(),
            Cayley::Series(terms) => {
                let factors = Cayley::factors(terms);
                let mut power = Square::identity(b);
                let mut sum = Square::zeros(b);
                for (number, factor) in factors.into_iter().enumerate() {
                    if number > 0 {
                        power = power.times(&q);
                    }
                    sum.add(factor, &power);
                }
                sum
            }
        };
        r.iter_mut().zip(&rotation.0).for_each(|(r, x)| *r = *x as f32);
    });
}

/// `dq`, from `q` and `dr`.
pub fn backward(kind: Cayley, b: usize, q: &[f32], dr: &[f32], dq: &mut [f32]) {
    let entries = b * (b - 1) / 2;
    assert_eq!((q.len() * b * b, q.len()), (dr.len() * entries, dq.len()));
    each_block(dq, entries, b, |block, dq| {
        let q = Square::skew(b, &q[block * entries..][..entries]);
        let dr = Square(dr[block * b * b..][..b * b].iter().map(|x| f64::from(*x)).collect(), b);
        let full = match kind {
            // R = 2 S - I with S = (I + Q)⁻¹, whose change is - S dQ S.
            Cayley::Exact => {
                let s = q.inverse_of_identity_plus().transposed();
                let mut d = Square::zeros(b);
                d.add(-2.0, &s.times(&dr).times(&s));
                d
            }
            // Horner's scheme: Rₖ = cₖ I + Q Rₖ₊₁; the gradient of Rₖ₊₁ is Qᵀ that of Rₖ.
            Cayley::Series(terms) => {
                let factors = Cayley::factors(terms);
                let mut inner = vec![Square::zeros(b)];
                for factor in factors.iter().skip(1).rev() {
                    let mut next = inner.last().map_or_else(|| Square::zeros(b), |last| q.times(last));
                    next.add(*factor, &Square::identity(b));
                    inner.push(next);
                }
                let (turned, mut d, mut gradient) = (q.transposed(), Square::zeros(b), dr);
                for inner in inner.iter().skip(1).rev() {
                    d.add(1.0, &gradient.times(&inner.transposed()));
                    gradient = turned.times(&gradient);
                }
                d
            }
        };
        let mut dq = dq.iter_mut();
        for row in 0..b {
            for (col, dq) in (row + 1..b).zip(&mut dq) {
                *dq = (full.0[row * b + col] - full.0[col * b + row]) as f32;
            }
        }
    });
}

/// Calls `work` with each block's number and its part of `out`.
fn each_block(out: &mut [f32], len: usize, b: usize, work: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if len == 0 {
        return;
    }
    match parallel::worthwhile(out.len() * b) {
        true => out.par_chunks_mut(len).enumerate().for_each(|(block, out)| work(block, out)),
        false => out.chunks_mut(len).enumerate().for_each(|(block, out)| work(block, out)),
    }
}

/// A square matrix and its width.
struct Square(Vec<f64>, usize);

impl Square {
    fn zeros(b: usize) -> Square {
        Square(vec![0.0; b * b], b)
    }

    fn identity(b: usize) -> Square {
        Square((0..b * b).map(|i| if i % (b + 1) == 0 { 1.0 } else { 0.0 }).collect(), b)
    }

    fn skew(b: usize, above: &[f32]) -> Square {
        let (mut q, mut above) = (Square::zeros(b), above.iter());
        for row in 0..b {
            for (col, x) in (row + 1..b).zip(&mut above) {
                q.0[row * b + col] = f64::from(*x);
                q.0[col * b + row] = -f64::from(*x);
            }
        }
        q
    }

    fn add(&mut self, factor: f64, other: &Square) {
        self.0.iter_mut().zip(&other.0).for_each(|(x, y)| *x += factor * y);
    }

    fn times(&self, other: &Square) -> Square {
        let (mut product, b) = (Square::zeros(self.1), self.1);
        for row in 0..b {
            for k in 0..b {
                let factor = self.0[row * b + k];
                let onto = product.0[row * b..][..b].iter_mut();
                onto.zip(&other.0[k * b..][..b]).for_each(|(x, y)| *x += factor * y);
            }
        }
        product
    }

    fn transposed(&self) -> Square {
        let b = self.1;
        Square((0..b * b).map(|i| self.0[i % b * b + i / b]).collect(), b)
    }

    /// `2 self - I`.
    fn scaled_minus_identity(mut self) -> Square {
        let b = self.1;
        self.0
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = 2.0 * *x - f64::from(u8::from(i % (b + 1) == 0)));
        self
    }

    /// `(I + self)⁻¹` of a skew-symmetric matrix, which always exists: Gauss and Jordan's elimination with pivots.
    fn inverse_of_identity_plus(&self) -> Square {
        let b = self.1;
        let (mut left, mut right) = (Square::identity(b), Square::identity(b));
        left.add(1.0, self);
        for col in 0..b {
            let size = |row: usize| left.0[row * b + col].abs();
            let pivot = (col..b).fold(col, |best, row| if size(row) > size(best) { row } else { best });
            for matrix in [&mut left.0, &mut right.0] {
                (0..b).for_each(|k| matrix.swap(pivot * b + k, col * b + k));
            }
            let factor = left.0[col * b + col].recip();
            for matrix in [&mut left.0, &mut right.0] {
                matrix[col * b..][..b].iter_mut().for_each(|x| *x *= factor);
            }
            for row in (0..b).filter(|row| *row != col) {
                let factor = left.0[row * b + col];
                for matrix in [&mut left.0, &mut right.0] {
                    (0..b).for_each(|k| matrix[row * b + k] -= factor * matrix[col * b + k]);
                }
            }
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, values};

    #[test]
    fn exact_rotations_are_orthogonal_and_series_come_close_to_their_inverse() {
        let (b, blocks) = (6, 3);
        let q: Vec<f32> = values(1, blocks * 15).iter().map(|x| 0.05 * x).collect();
        let (mut exact, mut series) = (vec![0.0; blocks * 36], vec![0.0; blocks * 36]);
        forward(Cayley::Exact, b, &q, &mut exact);
        forward(Cayley::Series(10), b, &q, &mut series);
        for (exact, series) in exact.chunks(36).zip(series.chunks(36)) {
            let square = |m: &[f32]| Square(m.iter().map(|x| f64::from(*x)).collect(), b);
            let (exact, series) = (square(exact), square(series));
            for product in [exact.times(&exact.transposed()), exact.times(&series)] {
                let product: Vec<f32> = product.0.iter().map(|x| *x as f32).collect();
                let identity: Vec<f32> = Square::identity(b).0.iter().map(|x| *x as f32).collect();
                assert_close(&product, &identity, 1e-5);
            }
        }
        forward(Cayley::Exact, b, &[0.0; 15], &mut exact[..36]);
        assert!(exact[..36].iter().zip(Square::identity(b).0).all(|(a, b)| f64::from(*a) == b));
    }

    #[test]
    fn series_have_the_factors_of_peft() {
        for (terms, factors) in [
            (1, &[1.0][..]),
            (2, &[1.0, 2.0]),
            (3, &[1.0, 2.0, 2.0, 1.0]),
            (4, &[1.0, 2.0, 2.0, 1.0]),
            (5, &[1.0, 2.0, 2.0, 2.0, 1.0]),
            (6, &[1.0, 2.0, 2.0, 2.0, 2.0, 1.0]),
        ] {
            assert_eq!(Cayley::factors(terms), factors, "{terms}");
        }
    }

    #[test]
    fn backward_is_the_gradient() {
        for kind in [Cayley::Exact, Cayley::Series(2), Cayley::Series(5)] {
            let (b, q, dr) = (5, values(3, 20), values(4, 50));
            let q: Vec<f32> = q.iter().map(|x| 0.4 * x).collect();
            let mut dq = vec![0.0; 20];
            backward(kind, b, &q, &dr, &mut dq);
            assert_gradient(&q, &dq, |q| {
                let mut r = vec![0.0; 50];
                forward(kind, b, q, &mut r);
                dot(&r, &dr)
            });
        }
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (q, dr) = (values(1, 64 * 120), values(2, 64 * 256));
            let (mut r, mut dq) = (vec![0.0; 64 * 256], vec![0.0; 64 * 120]);
            forward(Cayley::Exact, 16, &q, &mut r);
            backward(Cayley::Exact, 16, &q, &dr, &mut dq);
            [r, dq].concat()
        });
    }
}
