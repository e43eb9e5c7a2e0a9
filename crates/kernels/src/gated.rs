//! Gated activations `kind(gate) · up`: SwiGLU, GEGLU and their kin (Shazeer 2020).

use crate::activation::{Activation, for_kind};
use crate::parallel::{self, Shared};
use crate::simd::{level, simd_fn};

/// Elements of one piece: five arrays of it stay in a core's L2 cache.
const PIECE: usize = 1 << 13;

simd_fn! {
    fn forward_loop(kind: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
        for_kind!(kind, f => for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = f(*gate).0 * up;
        })
    }
}

simd_fn! {
    fn backward_loop(kind: Activation, gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        for_kind!(kind, f => {
            let out = dgate.iter_mut().zip(dup);
            for ((((dgate, dup), gate), up), dy) in out.zip(gate).zip(up).zip(dy) {
                let (value, slope) = f(*gate);
                *dgate = dy * up * slope;
                *dup = dy * value;
            }
        })
    }
}

/// `y[i] = kind(gate[i]) * up[i]`.
pub fn forward(kind: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
    let level = level();
    parallel::binary(gate, up, y, |gate, up, y| forward_loop(level, kind, gate, up, y));
}

/// Both gradients of [`forward`] in one pass, from its inputs.
pub fn backward(kind: Activation, gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let len = gate.len();
    assert_eq!((up.len(), dy.len(), dgate.len(), dup.len()), (len, len, len, len), "five of one length");
    let level = level();
    let (dgates, dups) = (Shared::new(dgate), Shared::new(dup));
    parallel::tasks(len.div_ceil(PIECE), parallel::worthwhile(len), |piece| {
        let range = piece * PIECE..((piece + 1) * PIECE).min(len);
        // SAFETY: each piece is one task's own part of both gradients.
        let (dgate, dup) = unsafe { (dgates.slice(range.clone()), dups.slice(range.clone())) };
        backward_loop(level, kind, &gate[range.clone()], &up[range.clone()], &dy[range], dgate, dup);
    });
}

/// Plain loops in f64.
pub mod reference {
    use super::Activation;
    use crate::activation::reference::value;

    /// See [`super::forward`].
    pub fn forward(kind: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
        (0..y.len()).for_each(|i| y[i] = (value(kind, gate[i] as f64).0 * up[i] as f64) as f32);
    }

    /// See [`super::backward`].
    pub fn backward(
        kind: Activation,
        gate: &[f32],
        up: &[f32],
        dy: &[f32],
        dgate: &mut [f32],
        dup: &mut [f32],
    ) {
        for i in 0..gate.len() {
            let ((value, slope), dy) = (value(kind, gate[i] as f64), dy[i] as f64);
            dgate[i] = (dy * up[i] as f64 * slope) as f32;
            dup[i] = (dy * value) as f32;
        }
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
            for n in [0, 1, 40_001] {
                let gate: Vec<f32> = values(1, n).iter().map(|v| v * 9.0).collect();
                let (up, dy) = (values(2, n), values(3, n));
                for kind in Activation::ALL {
                    let (mut got, mut want) = (vec![7.0; n], vec![7.0; n]);
                    forward(kind, &gate, &up, &mut got);
                    reference::forward(kind, &gate, &up, &mut want);
                    assert_close(&got, &want, 1e-6);
                    let [mut dg, mut du, mut dg2, mut du2] = [0; 4].map(|_| vec![7.0; n]);
                    backward(kind, &gate, &up, &dy, &mut dg, &mut du);
                    reference::backward(kind, &gate, &up, &dy, &mut dg2, &mut du2);
                    assert_close(&dg, &dg2, 1e-6);
                    assert_close(&du, &du2, 1e-6);
                }
            }
        });
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let gate: Vec<f32> = values(4, 30).iter().map(|v| v * 3.0 + 0.02 * v.signum()).collect();
        let (up, dy) = (values(5, 30), values(6, 30));
        for kind in Activation::ALL {
            let (mut dgate, mut dup) = (vec![0.0; 30], vec![0.0; 30]);
            reference::backward(kind, &gate, &up, &dy, &mut dgate, &mut dup);
            let loss = |gate: &[f32], up: &[f32]| {
                let mut y = vec![0.0; 30];
                reference::forward(kind, gate, up, &mut y);
                dot(&y, &dy)
            };
            assert_gradient(&gate, &dgate, |gate| loss(gate, &up));
            assert_gradient(&up, &dup, |up| loss(&gate, up));
        }
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (gate, up) = (values(1, 90_001), values(2, 90_001));
            let [mut y, mut dgate, mut dup] = [0; 3].map(|_| vec![0.0; gate.len()]);
            forward(Activation::Silu, &gate, &up, &mut y);
            backward(Activation::Silu, &gate, &up, &y, &mut dgate, &mut dup);
            [y, dgate, dup].concat()
        });
    }
}
