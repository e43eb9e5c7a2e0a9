//! Prints how fast the kernels run here: matrix products in GFLOP/s, the rest in microseconds.
//!
//! `cargo run --release -p tenfold-kernels --example kernel_speed [seconds per line [formats]]`

use std::hint::black_box;
use std::time::{Duration, Instant};
use tenfold_kernels::attention::{self, Attention, Gradients, Spans};
use tenfold_kernels::dropout::Dropout;
use tenfold_kernels::elements::{Elements, Format, quantize};
use tenfold_kernels::matmul::{Matrix, matmul};
use tenfold_kernels::{activation, adamw, cross_entropy, dropout, elementwise, layer_norm, simd_level};

/// Shortest of many runs, in seconds.
fn best(budget: Duration, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut shortest = f64::INFINITY;
    let mut runs = 0;
    while runs < 3 || start.elapsed() < budget {
        let begin = Instant::now();
        f();
        shortest = shortest.min(begin.elapsed().as_secs_f64());
        runs += 1;
    }
    shortest
}

/// Numbers without subnormals or special values.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn in_pools(f: impl Fn() -> f64 + Sync) -> [f64; 2] {
    [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        pool.install(&f)
    })
}

/// Multiply-adds in registers alone: what one core can do at most, in GFLOP/s.
#[cfg(target_arch = "x86_64")]
fn peak(budget: Duration) -> f64 {
    use std::arch::x86_64::*;
    const ROUNDS: usize = 20_000;
    // One variable for each sum: an array would be stored to memory in every round.
    macro_rules! rounds {
        ($x:ident, $set:ident, $fma:ident; $($sum:ident)*) => {{
            let factor = $set($x);
            $(let mut $sum = factor;)*
            for _ in 0..ROUNDS {
                $($sum = $fma($sum, factor, factor);)*
            }
            $(black_box($sum);)*
        }};
    }
    #[target_feature(enable = "avx512f")]
    fn wide(x: f32) {
        rounds!(x, _mm512_set1_ps, _mm512_fmadd_ps; a b c d e f g h i j k l)
    }
    #[target_feature(enable = "avx2,fma")]
    fn narrow(x: f32) {
        rounds!(x, _mm256_set1_ps, _mm256_fmadd_ps; a b c d e f g h i j k l)
    }
    let x = black_box(0.5);
    match simd_level() {
        "avx512" => {
            // SAFETY: the level says that the machine has these instructions.
            let seconds = best(budget, || unsafe { wide(x) });
            (12 * 32 * ROUNDS) as f64 / seconds / 1e9
        }
        "avx2" => {
            // SAFETY: as above.
            let seconds = best(budget, || unsafe { narrow(x) });
            (12 * 16 * ROUNDS) as f64 / seconds / 1e9
        }
        _ => f64::NAN,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn peak(_: Duration) -> f64 {
    f64::NAN
}

/// Share of the register peak that a product reaches on one thread: short runs of both in turn, best of each, so that
/// other work on the machine disturbs both alike.
fn shares(budget: Duration) {
    println!("share of the peak, one thread:");
    for (m, n, k, transposed) in [
        (96, 384, 384, true),
        (96, 384, 384, false),
        (96, 384, 1536, true),
        (96, 1536, 384, true),
        (1000, 384, 384, true),
        (1000, 1536, 384, true),
        (1000, 384, 1536, false),
    ] {
        let (a, b, mut out) = (values(m * k), values(k * n), vec![0.0; m * n]);
        let b = if transposed { Matrix::f32(&b, n, k).t() } else { Matrix::f32(&b, k, n) };
        let (start, mut top, mut seconds) = (Instant::now(), 0.0f64, f64::INFINITY);
        while start.elapsed() < 4 * budget {
            top = top.max(peak(Duration::ZERO));
            let begin = Instant::now();
            matmul(1.0, Matrix::f32(&a, m, k), b, None, false, black_box(&mut out));
            seconds = seconds.min(begin.elapsed().as_secs_f64());
        }
        let rate = (2 * m * n * k) as f64 / seconds / 1e9;
        println!(
            "{m:6} {n:6} {k:6} {} {rate:9.1} of {top:.1} = {:.0} %",
            if transposed { "b^T" } else { "   " },
            100.0 * rate / top
        );
    }
}

fn products(budget: Duration) {
    let shapes = [
        (1000, 384, 384, "    "),
        (1000, 1536, 384, "    "),
        (1000, 384, 384, "b^T "),
        (1000, 1536, 384, "b^T "),
        (1000, 384, 1536, "b^T "),
        (384, 1536, 1000, "a^T "),
        (384, 384, 1000, "both"),
        (200, 384, 384, "b^T "),
        (200, 576, 1536, "b^T "),
        (64, 49152, 576, "b^T "),
        (64, 576, 49152, "    "),
        (1000, 8, 384, "b^T "),
        (1000, 384, 8, "b^T "),
        (1000, 8, 384, "    "),
        (1000, 384, 8, "    "),
        (8, 384, 1000, "a^T "),
        (384, 8, 1000, "a^T "),
        (32, 384, 384, "b^T "),
        (32, 2, 384, "b^T "),
        (1, 1536, 576, "b^T "),
        (1, 49152, 576, "b^T "),
    ];
    println!(
        "{:>6} {:>6} {:>6} {:4} {:>9} {:>9} {:>10} {:>8}",
        "m", "n", "k", "", "1 thread", "2", "us, 1", "GB/s, 1"
    );
    for (m, n, k, form) in shapes {
        let (a, b, bias) = (values(m * k), values(k * n), values(n));
        let a =
            if matches!(form, "a^T " | "both") { Matrix::f32(&a, k, m).t() } else { Matrix::f32(&a, m, k) };
        let b = match form {
            "b^T " | "both" => Matrix::f32(&b, n, k).t(),
            _ => Matrix::f32(&b, k, n),
        };
        let seconds = in_pools(|| {
            let mut out = vec![0.0; m * n];
            best(budget, || matmul(1.0, a, b, Some(&bias), false, black_box(&mut out)))
        });
        let rate = seconds.map(|s| (2 * m * n * k) as f64 / s / 1e9);
        let bytes = (4 * (m * k + m * n + k * n)) as f64;
        println!(
            "{m:6} {n:6} {k:6} {form} {:9.1} {:9.1} {:10.1} {:8.1}",
            rate[0],
            rate[1],
            seconds[0] * 1e6,
            bytes / seconds[0] / 1e9
        );
    }
}

/// A frozen weight [out, in] of every format: the forward product and that of the input's gradient, on one thread. Each
/// format runs in turn with f32, so that other work on the machine disturbs both alike.
fn formats(budget: Duration) {
    println!("frozen weights, one thread: microseconds, and the speed of f32's");
    for (rows, outputs, inputs) in [
        (1000, 1536, 768),
        (1000, 768, 1536),
        (64, 1536, 768),
        (8, 1536, 768),
        (1, 1536, 768),
        (1, 24576, 768),
    ] {
        let count = outputs * inputs;
        let numbers = values(count);
        let plain = Matrix::f32(&numbers, outputs, inputs);
        for format in Format::ALL {
            // What we only read is filled with any bytes; scales of zero cost what others cost.
            let bytes = match quantize(format, &numbers) {
                Some(bytes) => bytes,
                None => vec![0; format.bytes(count).unwrap_or(0)],
            };
            if format.bytes(inputs).is_none() {
                continue;
            }
            let stored = Matrix::new(Elements::new(format, count, &bytes), outputs, inputs);
            let line = [false, true].map(|gradient| {
                let [plain, stored] =
                    [plain, stored].map(|weight| if gradient { weight } else { weight.t() });
                let (x, mut out) = (values(rows * plain.rows), vec![0.0; rows * plain.cols]);
                let mut seconds = [f64::INFINITY; 2];
                let start = Instant::now();
                while start.elapsed() < budget || seconds[1].is_infinite() {
                    for (seconds, weight) in seconds.iter_mut().zip([plain, stored]) {
                        let x = Matrix::f32(&x, rows, weight.rows);
                        let begin = Instant::now();
                        matmul(1.0, x, weight, None, false, black_box(&mut out));
                        *seconds = seconds.min(begin.elapsed().as_secs_f64());
                    }
                }
                format!("{:9.1} {:5.1} %", seconds[1] * 1e6, 100.0 * seconds[0] / seconds[1])
            });
            println!(
                "{rows:6} {outputs:6} {inputs:6} {:5} x w^T {}  dy w {}",
                format.name(),
                line[0],
                line[1]
            );
        }
    }
}

fn attentions(budget: Duration) {
    let short: Vec<usize> = (0..32).map(|i| 5 + (i * 17) % 56).collect();
    let dropout = Some(Dropout { probability: 0.1, key: 1, stream: 2 });
    let form = Form { heads: [12, 12, 32], queries: short, ..Form::default() };
    let long = Form { heads: [9, 3, 64], queries: vec![4096], causal: true, ..Form::default() };
    for (name, form) in [
        ("attention 32 x 5..60, 12 heads of 32", form.clone()),
        ("  with dropout", Form { dropout, ..form }),
        ("attention 1 x 4096, causal, 9 / 3 heads of 64", long.clone()),
        ("  window of 512", Form { window: Some(512), ..long.clone() }),
        ("  capped", Form { softcap: Some(50.0), ..long.clone() }),
        ("  last token alone", Form { queries: vec![1], keys: vec![4096], ..long }),
    ] {
        form.measure(name, budget);
    }
}

#[derive(Clone, Default)]
struct Form {
    /// Heads, key heads and their width.
    heads: [usize; 3],
    queries: Vec<usize>,
    /// Those of the queries if empty.
    keys: Vec<usize>,
    causal: bool,
    window: Option<usize>,
    softcap: Option<f32>,
    dropout: Option<Dropout>,
}

impl Form {
    fn measure(&self, name: &str, budget: Duration) {
        let key_lengths = if self.keys.is_empty() { &self.queries } else { &self.keys };
        let starts = |lengths: &[usize]| -> Vec<usize> {
            (0..lengths.len()).map(|i| lengths[..i].iter().sum()).collect()
        };
        let (query_starts, key_starts) = (starts(&self.queries), starts(key_lengths));
        let [heads, kv_heads, head_dim] = self.heads;
        let p = Attention {
            heads,
            kv_heads,
            head_dim,
            scale: 0.2,
            causal: self.causal,
            window: self.window,
            softcap: self.softcap,
            bias: None,
            queries: Spans { starts: &query_starts, lengths: &self.queries },
            keys: Spans { starts: &key_starts, lengths: key_lengths },
            prefix_len: 0,
            dropout: self.dropout,
        };
        let [tokens, keys] = [&self.queries, key_lengths].map(|lengths| lengths.iter().sum::<usize>());
        let (q, k) = (values(tokens * heads * head_dim), values(keys * kv_heads * head_dim));
        let there = in_pools(|| {
            let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; tokens * heads]);
            best(budget, || attention::forward(&p, &q, &k, &k, &[], &[], &mut out, &mut lse))
        });
        let back = in_pools(|| {
            let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; tokens * heads]);
            attention::forward(&p, &q, &k, &k, &[], &[], &mut out, &mut lse);
            let [mut dq, mut dk, mut dv] = [q.len(), k.len(), k.len()].map(|len| vec![0.0; len]);
            best(budget, || {
                let g = Gradients {
                    dq: &mut dq,
                    dk: &mut dk,
                    dv: &mut dv,
                    dprefix_k: &mut [],
                    dprefix_v: &mut [],
                    dbias: None,
                };
                attention::backward(&p, &q, &k, &k, &[], &[], &out, &lse, &q, g);
            })
        });
        line(name, there);
        line("  backward", back);
    }
}

fn line(name: &str, seconds: [f64; 2]) {
    println!("{name:44} {:9.1} us {:9.1} us", seconds[0] * 1e6, seconds[1] * 1e6);
}

fn others(budget: Duration) {
    use activation::Activation;
    let (rows, cols) = (1000, 384);
    let n = rows * cols;
    let (x, w) = (values(n), values(cols));
    println!("on [1000, 384]:");
    let simple = |name: &str, f: &(dyn Fn(&[f32], &mut [f32]) + Sync)| {
        line(
            name,
            in_pools(|| {
                let mut y = vec![0.0; n];
                best(budget, || f(&x, black_box(&mut y)))
            }),
        );
    };
    simple("add", &|x, y| elementwise::add(x, x, y));
    simple("dropout", &|x, y| dropout::apply(&Dropout { probability: 0.1, key: 1, stream: 2 }, x, y));
    simple("gelu", &|x, y| activation::forward(Activation::Gelu, x, y));
    simple("gelu backward", &|x, y| activation::backward(Activation::Gelu, x, x, y));
    simple("silu", &|x, y| activation::forward(Activation::Silu, x, y));
    simple("tanh", &|x, y| activation::forward(Activation::Tanh, x, y));
    simple("column_sums", &|x, y| elementwise::column_sums(x, cols, &mut y[..cols]));
    simple("layer_norm", &|x, y| {
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        layer_norm::forward(x, &w, &w, 1e-5, y, &mut mean, &mut rstd);
    });
    simple("layer_norm backward with parameters", &|x, y| {
        let (ones, mut dw, mut db) = (vec![1.0; rows], vec![0.0; cols], vec![0.0; cols]);
        layer_norm::backward(x, &w, &ones, &ones, x, y, Some(&mut dw), Some(&mut db));
    });
    simple("adamw", &|x, y| {
        let p = adamw::AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        let (param, rest) = y.split_at_mut(n / 3);
        let (m, v) = rest.split_at_mut(n / 3);
        v.fill(1.0);
        adamw::step(&p, 1, param, &x[..n / 3], 1.0, m, v);
    });
    simple("cross_entropy, 8 x 48000", &|x, y| {
        let (labels, mut lse) = ([5; 8], [0.0; 8]);
        cross_entropy::forward(x, &labels, 0.0, &mut lse);
        cross_entropy::backward(x, &labels, 0.0, &lse, 1.0, y);
    });
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0.3);
    let budget = Duration::from_secs_f64(seconds);
    println!("{}, {:.0} GFLOP/s a core in registers", simd_level(), peak(budget));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
    if std::env::args().nth(2).as_deref() == Some("formats") {
        return one.install(|| formats(budget));
    }
    one.install(|| shares(budget));
    one.install(|| formats(budget));
    products(budget);
    attentions(budget);
    others(budget);
}
