//! Attention of every form against plain loops, finite differences, and any number of threads.

use super::*;
use crate::testing::{
    assert_close, assert_gradient, assert_same_bits_on_any_threads, on_every_level, values,
};

/// q, k, v, prefix_k, prefix_v.
type Inputs = [Vec<f32>; 5];

fn inputs(p: &Attention) -> Inputs {
    let (tokens, keys) = (*p.offsets.last().unwrap(), *p.key_offsets.last().unwrap());
    let (wide, narrow) = p.strides();
    let sizes = [tokens * wide, keys * narrow, keys * narrow, p.prefix_len * narrow, p.prefix_len * narrow];
    std::array::from_fn(|i| values(i as u64 + 1, sizes[i]).iter().map(|v| v * 2.0).collect())
}

/// out and lse.
fn run(p: &Attention, [q, k, v, pk, pv]: &Inputs, plain: bool) -> [Vec<f32>; 2] {
    let mut result = [vec![7.0; q.len()], vec![7.0; q.len() / p.head_dim]];
    let [out, lse] = &mut result;
    let f = if plain { reference::forward } else { forward };
    f(p, q, k, v, pk, pv, out, lse);
    result
}

fn gradients(p: &Attention, x: &Inputs, [out, lse]: &[Vec<f32>; 2], dout: &[f32], plain: bool) -> Inputs {
    let mut result: Inputs = std::array::from_fn(|i| vec![7.0; x[i].len()]);
    let [dq, dk, dv, dprefix_k, dprefix_v] = &mut result;
    let g = Gradients { dq, dk, dv, dprefix_k, dprefix_v };
    let [q, k, v, pk, pv] = x;
    let f = if plain { reference::backward } else { backward };
    f(p, q, k, v, pk, pv, out, lse, dout, g);
    result
}

/// Forms to test: heads, key heads, width, offsets of the keys, how many last tokens are asked for, prefix.
fn forms() -> Vec<(usize, usize, usize, Vec<usize>, usize, usize)> {
    let all = usize::MAX;
    vec![
        (2, 2, 32, vec![0, 5, 5, 70, 71], all, 0),
        (4, 2, 16, vec![0, 3, 20], all, 5),
        (4, 2, 16, vec![0, 3, 20, 20], 1, 5),
        (3, 1, 20, vec![0, 9], all, 1),
        (1, 1, 3, vec![0, 300], all, 250),
        (2, 1, 64, vec![0, 130, 520], all, 0),
        (2, 1, 64, vec![0, 130, 520], 70, 0),
        (1, 1, 8, vec![0, 4], 0, 2),
        (1, 1, 8, vec![0], all, 2),
    ]
}

fn each_form(f: impl Fn(&Attention)) {
    for (heads, kv_heads, head_dim, key_offsets, asked, prefix_len) in forms() {
        let mut offsets = vec![0];
        offsets.extend(key_offsets.windows(2).scan(0, |end, pair| {
            *end += (pair[1] - pair[0]).min(asked);
            Some(*end)
        }));
        for case in 0..4 {
            let dropout = (case & 2 != 0).then_some(Dropout { probability: 0.2, key: 5, stream: 1 });
            let scale = 1.0 / (head_dim as f32).sqrt();
            let causal = case & 1 != 0;
            f(&Attention {
                heads,
                kv_heads,
                head_dim,
                scale,
                causal,
                offsets: &offsets,
                key_offsets: &key_offsets,
                prefix_len,
                dropout,
            });
        }
    }
}

#[test]
fn matches_the_reference() {
    each_form(|p| {
        let x = inputs(p);
        let want = run(p, &x, true);
        let dout = values(9, x[0].len());
        let want_gradients = gradients(p, &x, &want, &dout, true);
        on_every_level(|| {
            let got = run(p, &x, false);
            (0..2).for_each(|i| assert_close(&got[i], &want[i], 5e-6));
            let got = gradients(p, &x, &want, &dout, false);
            (0..5).for_each(|i| assert_close(&got[i], &want_gradients[i], 2e-5));
        });
    });
}

#[test]
fn large_scores_do_not_overflow() {
    let p = Attention {
        heads: 1,
        kv_heads: 1,
        head_dim: 4,
        scale: 100.0,
        causal: true,
        offsets: &[0, 500],
        key_offsets: &[0, 500],
        prefix_len: 0,
        dropout: None,
    };
    let x = inputs(&p);
    let got = run(&p, &x, false);
    assert_close(&got[0], &run(&p, &x, true)[0], 5e-4);
}

#[test]
fn reference_backward_is_the_gradient() {
    for (causal, prefix_len, drop) in [(false, 0, false), (true, 2, false), (true, 1, true)] {
        let dropout = drop.then_some(Dropout { probability: 0.3, key: 5, stream: 1 });
        let (offsets, key_offsets) = (&[0, 2, 3], &[0, 3, 4]);
        let p = Attention {
            heads: 2,
            kv_heads: 1,
            head_dim: 3,
            scale: 0.6,
            causal,
            offsets,
            key_offsets,
            prefix_len,
            dropout,
        };
        let x = inputs(&p);
        let dout = values(9, x[0].len());
        let got = gradients(&p, &x, &run(&p, &x, true), &dout, true);
        for i in 0..5 {
            assert_gradient(&x[i], &got[i], |moved| {
                let mut x = x.clone();
                x[i] = moved.to_vec();
                crate::testing::dot(&run(&p, &x, true)[0], &dout)
            });
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let offsets: Vec<usize> = (0..12).map(|i| i * i * 2).collect();
    let dropout = Some(Dropout { probability: 0.1, key: 5, stream: 1 });
    let p = Attention {
        heads: 6,
        kv_heads: 3,
        head_dim: 32,
        scale: 0.2,
        causal: true,
        offsets: &offsets,
        key_offsets: &offsets,
        prefix_len: 7,
        dropout,
    };
    let x = inputs(&p);
    let dout = values(9, x[0].len());
    assert_same_bits_on_any_threads(|| {
        let result = run(&p, &x, false);
        let [out, lse] = result.clone();
        [vec![out, lse], gradients(&p, &x, &result, &dout, false).to_vec()].concat().concat()
    });
}
