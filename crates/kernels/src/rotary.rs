//! Rotary position embedding (Su et al. 2021) in the halves convention of Hugging Face's `rotate_half`.

use crate::parallel;
use crate::simd::{level, simd_fn};

/// Which way vectors are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By the angle: the embedding.
    Forward,
    /// By the negative angle: its inverse, and its gradient.
    Back,
}

simd_fn! {
    /// One head: numbers i and i + half of the first 2 half turn together, the others stay.
    fn rotate_head(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, y: &mut [f32]) {
        let half = cos.len();
        let ((x1, x), (y1, y)) = (x.split_at(half), y.split_at_mut(half));
        let ((x2, rest), (y2, y_rest)) = (x.split_at(half), y.split_at_mut(half));
        let turned = y1.iter_mut().zip(y2).zip(x1.iter().zip(x2)).zip(cos.iter().zip(sin));
        for (((y1, y2), (x1, x2)), (c, s)) in turned {
            let s = sign * s;
            *y1 = x1 * c - x2 * s;
            *y2 = x2 * c + x1 * s;
        }
        y_rest.copy_from_slice(rest);
    }
}

/// Turns the first `2 half` numbers of each head: `x` and `y` are `[rows, heads * head_dim]`, `cos` and `sin`
/// `[rows, half]`, each row's own angles.
pub fn apply(x: &[f32], cos: &[f32], sin: &[f32], rows: usize, head_dim: usize, turn: Turn, y: &mut [f32]) {
    let (cols, half) = check(x, cos, sin, rows, head_dim, y);
    let (level, sign) = (level(), turn.sign());
    parallel::rows(y, cols, |first, y| {
        let x = &x[first * cols..][..y.len()];
        for (i, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).enumerate() {
            let angles = (first + i) * half..(first + i + 1) * half;
            let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
            for (x, y) in x.chunks_exact(head_dim).zip(y.chunks_exact_mut(head_dim)) {
                rotate_head(level, x, cos, sin, sign, y);
            }
        }
    });
}

impl Turn {
    fn sign(self) -> f32 {
        match self {
            Turn::Forward => 1.0,
            Turn::Back => -1.0,
        }
    }
}

/// Asserts the lengths and gives the columns, and half of the numbers that turn in a head.
fn check(x: &[f32], cos: &[f32], sin: &[f32], rows: usize, head_dim: usize, y: &[f32]) -> (usize, usize) {
    let (cols, half) = (x.len().checked_div(rows).unwrap_or(0), cos.len().checked_div(rows).unwrap_or(0));
    assert_eq!((x.len(), y.len()), (rows * cols, rows * cols), "whole rows, as many in as out");
    assert_eq!((cos.len(), sin.len()), (rows * half, rows * half), "angles for every row");
    assert!(2 * half <= head_dim && cols.is_multiple_of(head_dim), "whole heads, which hold what turns");
    (cols, half)
}

/// Plain loops in f64.
pub mod reference {
    use super::{Turn, check};

    /// See [`super::apply`].
    pub fn apply(
        x: &[f32],
        cos: &[f32],
        sin: &[f32],
        rows: usize,
        head_dim: usize,
        turn: Turn,
        y: &mut [f32],
    ) {
        let (cols, half) = check(x, cos, sin, rows, head_dim, y);
        for (at, y) in y.iter_mut().enumerate() {
            let (row, i) = (at / cols, at % head_dim);
            // rotate_half: the partner is the number half a turn away, negated in the first half.
            let (partner, sign) = if i < half { (at + half, -1.0) } else { (at.saturating_sub(half), 1.0) };
            *y = if i >= 2 * half {
                x[at]
            } else {
                let angle = row * half + i % half;
                let s = turn.sign() as f64 * sign * sin[angle] as f64;
                (x[at] as f64 * cos[angle] as f64 + x[partner] as f64 * s) as f32
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    /// x, cos, sin of true angles.
    fn inputs(rows: usize, cols: usize, half: usize) -> [Vec<f32>; 3] {
        let angles: Vec<f32> = values(2, rows * half).iter().map(|v| v * 3.0).collect();
        let cos = angles.iter().map(|a| a.cos()).collect();
        [values(1, rows * cols), cos, angles.iter().map(|a| a.sin()).collect()]
    }

    #[test]
    fn matches_the_reference_and_turns_back() {
        on_every_level(|| {
            let forms = [(0, 2, 8, 4), (1, 1, 2, 1), (5, 3, 10, 2), (70, 4, 64, 32), (3, 2, 5, 0)];
            for (rows, heads, head_dim, half) in forms {
                let [x, cos, sin] = inputs(rows, heads * head_dim, half);
                let (mut y, mut want) = (vec![7.0; x.len()], vec![7.0; x.len()]);
                for turn in [Turn::Back, Turn::Forward] {
                    apply(&x, &cos, &sin, rows, head_dim, turn, &mut y);
                    reference::apply(&x, &cos, &sin, rows, head_dim, turn, &mut want);
                    assert_close(&y, &want, 1e-6);
                }
                let mut back = vec![7.0; x.len()];
                apply(&y, &cos, &sin, rows, head_dim, Turn::Back, &mut back);
                assert_close(&back, &x, 1e-6);
            }
        });
    }

    #[test]
    fn turns_pairs_half_a_head_apart() {
        let (x, mut y) = ([1.0, 2.0, 3.0, 4.0, 5.0], [0.0; 5]);
        // A quarter turn of the first pair, none of the second.
        apply(&x, &[0.0, 1.0], &[1.0, 0.0], 1, 5, Turn::Forward, &mut y);
        assert_eq!(y, [-3.0, 2.0, 1.0, 4.0, 5.0]);
    }

    #[test]
    fn turning_back_is_the_gradient() {
        let [x, cos, sin] = inputs(2, 12, 2);
        let (dy, mut dx) = (values(3, x.len()), vec![0.0; x.len()]);
        reference::apply(&dy, &cos, &sin, 2, 6, Turn::Back, &mut dx);
        assert_gradient(&x, &dx, |x| {
            let mut y = vec![0.0; x.len()];
            reference::apply(x, &cos, &sin, 2, 6, Turn::Forward, &mut y);
            dot(&y, &dy)
        });
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let [x, cos, sin] = inputs(400, 192, 16);
            let mut y = vec![0.0; x.len()];
            apply(&x, &cos, &sin, 400, 64, Turn::Forward, &mut y);
            y
        });
    }
}
