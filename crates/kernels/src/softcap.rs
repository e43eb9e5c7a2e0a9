//! Soft capping `c tanh(x / c)`, which keeps logits within ±c (Gemma 2, 2024).

use crate::math::tanh;
use crate::parallel;
use crate::simd::{level, simd_fn};

simd_fn! {
    fn cap_loop(c: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = c * tanh(x / c);
        }
    }
}

simd_fn! {
    fn slope_loop(c: f32, y: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
            let t = y / c;
            *dx = dy * ((1.0 - t) * (1.0 + t));
        }
    }
}

simd_fn! {
    /// `x = c tanh(x / c)`.
    pub(crate) fn cap_in_place(c: f32, x: &mut [f32]) {
        for x in x.iter_mut() {
            *x = c * tanh(*x / c);
        }
    }
}

/// `y[i] = c * tanh(x[i] / c)`.
pub fn forward(x: &[f32], c: f32, y: &mut [f32]) {
    let level = level();
    parallel::unary(x, y, |x, y| cap_loop(level, c, x, y));
}

/// `dx[i] = dy[i] * (1 - (y[i] / c)²)`, from the result `y` of the forward.
pub fn backward(y: &[f32], c: f32, dy: &[f32], dx: &mut [f32]) {
    let level = level();
    parallel::binary(y, dy, dx, |y, dy, dx| slope_loop(level, c, y, dy, dx));
}

/// Plain loops in f64.
pub mod reference {
    /// See [`super::forward`].
    pub fn forward(x: &[f32], c: f32, y: &mut [f32]) {
        (0..x.len()).for_each(|i| y[i] = (c as f64 * (x[i] as f64 / c as f64).tanh()) as f32);
    }

    /// See [`super::backward`].
    pub fn backward(y: &[f32], c: f32, dy: &[f32], dx: &mut [f32]) {
        (0..y.len()).for_each(|i| dx[i] = (dy[i] as f64 * (1.0 - (y[i] as f64 / c as f64).powi(2))) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for (n, c) in [(0, 1.0), (1, 2.0), (40_001, 30.0)] {
                let (x, dy): (Vec<f32>, _) = (values(1, n).iter().map(|v| v * 90.0).collect(), values(2, n));
                let (mut y, mut y2) = (vec![7.0; n], vec![7.0; n]);
                forward(&x, c, &mut y);
                reference::forward(&x, c, &mut y2);
                assert_close(&y, &y2, 1e-6);
                assert!(y.iter().all(|y| y.abs() <= c));
                let mut in_place = x.clone();
                cap_in_place(level(), c, &mut in_place);
                assert_eq!(in_place, y);
                let (mut dx, mut dx2) = (vec![7.0; n], vec![7.0; n]);
                backward(&y, c, &dy, &mut dx);
                reference::backward(&y, c, &dy, &mut dx2);
                assert_close(&dx, &dx2, 1e-6);
            }
        });
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let (x, dy, mut y, mut dx) = (values(1, 20), values(2, 20), vec![0.0; 20], vec![0.0; 20]);
        reference::forward(&x, 0.7, &mut y);
        reference::backward(&y, 0.7, &dy, &mut dx);
        assert_gradient(&x, &dx, |x| {
            let mut y = vec![0.0; 20];
            reference::forward(x, 0.7, &mut y);
            dot(&y, &dy)
        });
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (x, mut y, mut dx) = (values(1, 90_001), vec![0.0; 90_001], vec![0.0; 90_001]);
            forward(&x, 0.5, &mut y);
            backward(&y, 0.5, &x, &mut dx);
            [y, dx].concat()
        });
    }
}
