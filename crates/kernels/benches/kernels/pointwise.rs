//! Everything that passes over its numbers once: norms, activations, dropout, rows, losses, the optimizer.

use crate::values;
use criterion::{Criterion, Throughput};
use tenfold_kernels::activation::{self, Activation};
use tenfold_kernels::adamw::{self, AdamW};
use tenfold_kernels::dropout::{self, Dropout, Row};
use tenfold_kernels::elements::Elements;
use tenfold_kernels::rotary::{self, Turn};
use tenfold_kernels::{cross_entropy, elementwise, embedding, gated, layer_norm, rms_norm, softcap};

const ROWS: usize = 1000;
const COLS: usize = 384;
const LEN: usize = ROWS * COLS;

pub fn bench(c: &mut Criterion) {
    let (x, weight) = (values(LEN), values(COLS));
    let (mut y, mut z) = (vec![0.0; LEN], vec![0.0; LEN]);
    let ones = vec![1.0; ROWS];
    let (mut mean, mut rstd) = (ones.clone(), ones.clone());
    let mut group = c.benchmark_group("pointwise");
    group.throughput(Throughput::Elements(LEN as u64));
    let mut bench = |name: &str, run: &mut dyn FnMut()| {
        group.bench_function(name, |bench| bench.iter(&mut *run));
    };

    bench("add", &mut || elementwise::add(&x, &x, &mut y));
    bench("multiply", &mut || elementwise::multiply(&x, &x, &mut y));
    bench("scale", &mut || elementwise::scale(&x, 0.5, &mut y));
    bench("column_sums", &mut || elementwise::column_sums(&x, COLS, &mut y[..COLS]));
    bench("scale_columns", &mut || elementwise::scale_columns(&x, &weight, &mut y));
    let rows = (0..(LEN / COLS) as u32).map(|position| Row { sequence: 0, position }).collect();
    let mask = Dropout { probability: 0.1, key: 1, stream: 2, rows };
    bench("dropout", &mut || dropout::apply(&mask, &x, &mut y));
    bench("softcap", &mut || softcap::forward(&x, 30.0, &mut y));
    for (name, kind) in [("gelu", Activation::Gelu), ("silu", Activation::Silu), ("tanh", Activation::Tanh)] {
        bench(name, &mut || activation::forward(kind, &x, &mut y));
        bench(&format!("{name}/backward"), &mut || activation::backward(kind, &x, &x, &mut y));
    }
    bench("gated_silu", &mut || gated::forward(Activation::Silu, &x, &x, &mut y));
    bench("gated_silu/backward", &mut || gated::backward(Activation::Silu, &x, &x, &x, &mut y, &mut z));
    bench("layer_norm", &mut || {
        layer_norm::forward(&x, &weight, &weight, 1e-5, &mut y, &mut mean, &mut rstd)
    });
    bench("layer_norm/backward", &mut || {
        layer_norm::backward(&x, &weight, &ones, &ones, &x, &mut y, None, None)
    });
    bench("rms_norm", &mut || rms_norm::forward(&x, &weight, 1e-5, 0.0, &mut y, &mut rstd));
    bench("rms_norm/backward", &mut || rms_norm::backward(&x, &weight, 0.0, &ones, &x, &mut y, None));
    let angles = values(ROWS * 16);
    bench("rotary", &mut || rotary::apply(&x, &angles, &angles, ROWS, 32, Turn::Forward, &mut y));
    let ids: Vec<u32> = (0..ROWS as u32).map(|i| i * 7 % ROWS as u32).collect();
    bench("embedding", &mut || embedding::forward(Elements::F32(&x), COLS, &ids, &mut y));
    bench("embedding/backward", &mut || embedding::backward(&x, COLS, &ids, &mut y));
    let (labels, mut lse) = (vec![5; 8], vec![0.0; 8]);
    bench("cross_entropy", &mut || {
        cross_entropy::forward(&x, &labels, 0.0, &mut lse);
    });
    bench("cross_entropy/backward", &mut || {
        cross_entropy::backward(&x, &labels, 0.0, &lse, 1.0, &mut y);
    });
    let p = AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    let mut moments = [vec![0.0; LEN], vec![1.0; LEN]];
    bench("adamw", &mut || {
        let [m, v] = &mut moments;
        adamw::step(&p, 10, &mut y, &x, 1.0, m, v);
    });
    group.finish();
}
