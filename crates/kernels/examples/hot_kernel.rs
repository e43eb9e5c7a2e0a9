//! One hot kernel some times over and nothing else, for whoever counts instructions: `hot_kernel matmul|attention TIMES`.
//!
//! `python tests/instructions.py` runs it under callgrind, which counts the same on a busy machine.

use tenfold_kernels::attention::{self, Attention, AttentionShape, Gradients, Operands};
use tenfold_kernels::matmul::{Matrix, matmul};
use tenfold_kernels::ragged::Ragged;

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// A linear map of SmolLM2-135M over 256 tokens: forward, the input's gradient and the weight's.
fn products(times: usize) {
    let (rows, inputs, outputs) = (256, 576, 1536);
    let [x, w, dy] = [rows * inputs, outputs * inputs, rows * outputs].map(values);
    let [mut y, mut dx, mut dw] = [rows * outputs, rows * inputs, outputs * inputs].map(|len| vec![0.0; len]);
    let (x, dy) = (Matrix::f32(&x, rows, inputs), Matrix::f32(&dy, rows, outputs));
    let w = Matrix::f32(&w, outputs, inputs);
    for _ in 0..times {
        matmul(1.0, x, w.t(), None, false, &mut y);
        matmul(1.0, dy, w, None, false, &mut dx);
        matmul(1.0, dy.t(), x, None, false, &mut dw);
    }
}

/// Its attention over 2 × 128 tokens, forward and backward.
fn attentions(times: usize) {
    let (heads, kv_heads, head_dim) = (9, 3, 64);
    let form = Attention {
        heads,
        kv_heads,
        head_dim,
        scale: 0.125,
        causal: true,
        window: None,
        softcap: None,
        dropout: None,
    };
    let tokens = Ragged::from_lengths([128, 128]);
    let p = AttentionShape { form, queries: tokens.clone(), keys: tokens, prefix_len: 0, bias_first: None };
    let (q, k) = (values(256 * heads * head_dim), values(256 * kv_heads * head_dim));
    let x = Operands { q: &q, k: &k, v: &k, prefix_k: &[], prefix_v: &[], bias: &[] };
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; 256 * heads]);
    let [mut dq, mut dk, mut dv] = [q.len(), k.len(), k.len()].map(|len| vec![0.0; len]);
    for _ in 0..times {
        attention::forward(&p, x, &mut out, &mut lse);
        let gradients = Gradients {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
            dprefix_k: &mut [],
            dprefix_v: &mut [],
            dbias: None,
        };
        attention::backward(&p, x, &out, &lse, &q, gradients);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let times = arguments.get(2).and_then(|times| times.parse().ok());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    match (arguments.get(1).map(String::as_str), times) {
        (Some("matmul"), Some(times)) => pool.install(|| products(times)),
        (Some("attention"), Some(times)) => pool.install(|| attentions(times)),
        _ => panic!("usage: hot_kernel matmul|attention TIMES"),
    }
}
