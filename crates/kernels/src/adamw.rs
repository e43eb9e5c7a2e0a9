//! One step of AdamW (Loshchilov and Hutter 2019) with PyTorch's order of operations.

use crate::parallel::{self, Shared};
use crate::simd::{level, simd_fn};

/// Hyperparameters, in f64 as PyTorch holds them: `1 - beta2` is taken before rounding to f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the square root of the corrected mean of squares.
    pub eps: f64,
    /// Decoupled decay: the parameter shrinks by `learning_rate * weight_decay` before the step.
    pub weight_decay: f64,
}

/// What one step needs, worked out once in f64.
#[derive(Clone, Copy)]
struct Factors {
    shrink: f32,
    grad_scale: f32,
    toward_grad: f32,
    keep_v: f32,
    take_v: f32,
    root_correction: f32,
    eps: f32,
    step_size: f32,
}

impl Factors {
    fn new(p: &AdamW, step: u64, grad_scale: f32) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Factors {
            shrink: (1.0 - p.learning_rate * p.weight_decay) as f32,
            grad_scale,
            toward_grad: (1.0 - p.beta1) as f32,
            keep_v: p.beta2 as f32,
            take_v: (1.0 - p.beta2) as f32,
            root_correction: correction(p.beta2).sqrt() as f32,
            eps: p.eps as f32,
            step_size: (p.learning_rate / correction(p.beta1)) as f32,
        }
    }
}

simd_fn! {
    fn update(f: &Factors, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
            let g = g * f.grad_scale;
            *m += f.toward_grad * (g - *m);
            *v = *v * f.keep_v + f.take_v * (g * g);
            let denominator = v.sqrt() / f.root_correction + f.eps;
            *p = *p * f.shrink - f.step_size * (*m / denominator);
        }
    }
}

/// Updates `param` and its moments `m` and `v` in place; all slices have one length.
///
/// `step` counts from 1; the gradient is multiplied by `grad_scale` (a clipping factor) first.
pub fn step(
    p: &AdamW,
    step: u64,
    param: &mut [f32],
    grad: &[f32],
    grad_scale: f32,
    m: &mut [f32],
    v: &mut [f32],
) {
    let n = param.len();
    assert_eq!((grad.len(), m.len(), v.len()), (n, n, n), "parameter, gradient and moments");
    let (level, factors) = (level(), Factors::new(p, step, grad_scale));
    let (ms, vs) = (Shared::new(m), Shared::new(v));
    parallel::fill(param, |first, param| {
        let range = first..first + param.len();
        // SAFETY: the pieces of `param` are disjoint, and the moments have its length.
        let (m, v) = unsafe { (ms.slice(range.clone()), vs.slice(range.clone())) };
        update(level, &factors, param, &grad[range], m, v);
    });
}

/// Plain loops in f64.
pub mod reference {
    use super::AdamW;

    /// See [`super::step`].
    pub fn step(
        p: &AdamW,
        step: u64,
        param: &mut [f32],
        grad: &[f32],
        grad_scale: f32,
        m: &mut [f32],
        v: &mut [f32],
    ) {
        for i in 0..param.len() {
            let g = grad[i] as f64 * grad_scale as f64;
            let mi = p.beta1 * m[i] as f64 + (1.0 - p.beta1) * g;
            let vi = p.beta2 * v[i] as f64 + (1.0 - p.beta2) * g * g;
            let (c1, c2) = (1.0 - p.beta1.powf(step as f64), 1.0 - p.beta2.powf(step as f64));
            let decayed = param[i] as f64 * (1.0 - p.learning_rate * p.weight_decay);
            param[i] = (decayed - p.learning_rate / c1 * mi / (vi.sqrt() / c2.sqrt() + p.eps)) as f32;
            (m[i], v[i]) = (mi as f32, vi as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_bits_on_any_threads, on_every_level, values};

    const P: AdamW = AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };

    #[test]
    fn ten_steps_match_the_reference() {
        on_every_level(|| {
            let n = 40_001;
            let (mut a, mut am, mut av) = (values(1, n), vec![0.0; n], vec![0.0; n]);
            let (mut b, mut bm, mut bv) = (a.clone(), am.clone(), av.clone());
            for t in 1..=10 {
                let grad = values(t + 1, n);
                step(&P, t, &mut a, &grad, 0.5, &mut am, &mut av);
                reference::step(&P, t, &mut b, &grad, 0.5, &mut bm, &mut bv);
            }
            assert_close(&a, &b, 1e-5);
            assert_close(&am, &bm, 1e-6);
            assert_close(&av, &bv, 1e-6);
        });
    }

    /// The first step moves by the learning rate against the sign, after the decay: 1 * (1 - 0.001) - 0.01.
    #[test]
    fn first_step_is_known() {
        let (mut p, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
        step(&P, 1, &mut p, &[3.0, -0.25], 1.0, &mut m, &mut v);
        assert_close(&p, &[0.989, 1.009], 1e-6);
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let n = 70_001;
            let (mut p, mut m, mut v) = (values(1, n), values(2, n), vec![0.5; n]);
            step(&P, 3, &mut p, &values(3, n), 1.0, &mut m, &mut v);
            [p, m, v].concat()
        });
    }
}
