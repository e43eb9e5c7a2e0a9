//! Elementwise activations: GELU (Hendrycks and Gimpel 2016), its tanh form, ReLU, tanh and SiLU.

use crate::math::{normal, sigmoid, tanh};
use crate::parallel;
use crate::simd::{level, simd_fn};

/// Which function is applied to each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Φ(x)` with the exact normal distribution, by erf.
    Gelu,
    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x / (1 + e^-x)`.
    Silu,
}

impl Activation {
    #[cfg(test)]
    pub(crate) const ALL: [Activation; 5] =
        [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh, Activation::Silu];
}

/// `2 √(2/π)`: the tanh form of GELU is `x sigmoid(2 u)`, which stays accurate for negative `x`.
const GELU_SLOPE: f32 = 1.595_769_2;
const GELU_CUBIC: f32 = 0.044_715;

/// Runs `$body` with `$f` bound to the function that gives a kind's value and derivative; each kind has loops of its own.
macro_rules! for_kind {
    ($kind:expr, $f:ident => $body:expr) => {
        match $kind {
            $crate::activation::Activation::Gelu => {
                let $f = $crate::activation::gelu;
                $body
            }
            $crate::activation::Activation::GeluTanh => {
                let $f = $crate::activation::gelu_tanh;
                $body
            }
            $crate::activation::Activation::Relu => {
                let $f = $crate::activation::relu;
                $body
            }
            $crate::activation::Activation::Tanh => {
                let $f = $crate::activation::tanh_and_slope;
                $body
            }
            $crate::activation::Activation::Silu => {
                let $f = $crate::activation::silu;
                $body
            }
        }
    };
}
pub(crate) use for_kind;

simd_fn! {
    fn forward_loop(kind: Activation, x: &[f32], y: &mut [f32]) {
        for_kind!(kind, f => for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x).0;
        })
    }
}

simd_fn! {
    fn backward_loop(kind: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for_kind!(kind, f => for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = dy * f(*x).1;
        })
    }
}

/// `y[i] = kind(x[i])`.
pub fn forward(kind: Activation, x: &[f32], y: &mut [f32]) {
    let level = level();
    parallel::unary(x, y, |x, y| forward_loop(level, kind, x, y));
}

/// `dx[i] = dy[i] * kind'(x[i])`, from the input `x` of the forward.
pub fn backward(kind: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let level = level();
    parallel::binary(x, dy, dx, |x, dy, dx| backward_loop(level, kind, x, dy, dx));
}

#[inline(always)]
pub(crate) fn gelu(x: f32) -> (f32, f32) {
    let (below, density) = normal(x);
    (x * below, below + x * density)
}

#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> (f32, f32) {
    // Beyond ±20 the slope is 0 or 1; the bound keeps x³ finite.
    let c = x.clamp(-20.0, 20.0);
    let s = sigmoid(GELU_SLOPE * (c + GELU_CUBIC * c * c * c));
    (x * s, s + c * s * (1.0 - s) * GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * c * c))
}

#[inline(always)]
pub(crate) fn relu(x: f32) -> (f32, f32) {
    // Written so that NaN passes through.
    (if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 })
}

#[inline(always)]
pub(crate) fn tanh_and_slope(x: f32) -> (f32, f32) {
    let y = tanh(x);
    (y, (1.0 - y) * (1.0 + y))
}

#[inline(always)]
pub(crate) fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s + x * s * (1.0 - s))
}

/// Plain loops in f64.
pub mod reference {
    use super::Activation;
    use std::f64::consts::{FRAC_2_PI, PI};

    /// See [`super::forward`].
    pub fn forward(kind: Activation, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = value(kind, *x as f64).0 as f32;
        }
    }

    /// See [`super::backward`].
    pub fn backward(kind: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = (value(kind, *x as f64).1 * *dy as f64) as f32;
        }
    }

    /// The function and its derivative.
    pub(crate) fn value(kind: Activation, x: f64) -> (f64, f64) {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match kind {
            Activation::Gelu => {
                let (below, density) = normal(x);
                (x * below, below + x * density)
            }
            Activation::GeluTanh => {
                let slope = 2.0 * FRAC_2_PI.sqrt();
                let s = sigmoid(slope * (x + 0.044715 * x * x * x));
                (x * s, s + x * s * (1.0 - s) * slope * (1.0 + 3.0 * 0.044715 * x * x))
            }
            Activation::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Tanh => (x.tanh(), 1.0 - x.tanh() * x.tanh()),
            Activation::Silu => (x * sigmoid(x), sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
        }
    }

    /// The standard normal's distribution function and density: Taylor series near zero, Laplace's continued
    /// fraction in the tail.
    fn normal(x: f64) -> (f64, f64) {
        let a = x.abs();
        let density = (-0.5 * a * a).exp() / (2.0 * PI).sqrt();
        let tail = if a < 2.5 {
            let (mut term, mut sum, mut k) = (a, a, 1.0);
            while term > 1e-18 {
                term *= a * a / (2.0 * k + 1.0);
                sum += term;
                k += 1.0;
            }
            0.5 - sum * density
        } else {
            density / (1..400).rev().fold(a, |f, k| a + k as f64 / f)
        };
        (if x < 0.0 { tail } else { 1.0 - tail }, density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    #[test]
    fn forward_is_accurate_relative_to_its_size() {
        on_every_level(|| {
            let x: Vec<f32> = values(1, 50_001).iter().map(|v| v * 11.0).collect();
            let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            for kind in Activation::ALL {
                forward(kind, &x, &mut got);
                reference::forward(kind, &x, &mut want);
                for ((x, g), w) in x.iter().zip(&got).zip(&want) {
                    // The tanh form's argument reaches -170, where the rounding of the argument itself shows.
                    let tolerance = if kind == Activation::GeluTanh { 2e-5 } else { 1e-6 };
                    assert!((g - w).abs() <= tolerance * w.abs() + 1e-37, "{kind:?} at {x}: {g} {w}");
                }
            }
        });
    }

    #[test]
    fn backward_matches_the_reference() {
        on_every_level(|| {
            let x: Vec<f32> = values(2, 40_001).iter().map(|v| v * 9.0).collect();
            let dy = values(3, x.len());
            let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            for kind in Activation::ALL {
                backward(kind, &x, &dy, &mut got);
                reference::backward(kind, &x, &dy, &mut want);
                assert_close(&got, &want, 1e-6);
            }
        });
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let x: Vec<f32> = values(4, 40).iter().map(|v| v * 3.0 + 0.02 * v.signum()).collect();
        let dy = values(5, 40);
        for kind in Activation::ALL {
            let mut dx = vec![0.0; 40];
            reference::backward(kind, &x, &dy, &mut dx);
            assert_gradient(&x, &dx, |x| {
                let mut y = vec![0.0; 40];
                reference::forward(kind, x, &mut y);
                dot(&y, &dy)
            });
        }
    }

    #[test]
    fn extremes_stay_finite() {
        let x = [-1e30, -200.0, 200.0, 1e30];
        for kind in Activation::ALL {
            let mut y = [0.0; 4];
            forward(kind, &x, &mut y);
            assert!(y.iter().all(|v| v.is_finite()), "{kind:?} {y:?}");
            backward(kind, &x, &[1.0; 4], &mut y);
            assert!(y.iter().all(|v| v.is_finite()), "{kind:?} {y:?}");
        }
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (x, mut y) = (values(1, 90_001), vec![0.0; 90_001]);
            forward(Activation::Gelu, &x, &mut y);
            y
        });
    }
}
