//! Attention: short sequences as an encoder has them, long ones as a decoder has them, and one token against many keys.

use crate::values;
use criterion::{Criterion, Throughput};
use tenfold_kernels::attention::{self, Attention, AttentionShape, Gradients, Operands};
use tenfold_kernels::dropout::{Dropout, Row};
use tenfold_kernels::ragged::Ragged;

#[derive(Clone, Default)]
struct Form {
    /// Heads, key heads and their width.
    heads: [usize; 3],
    queries: Vec<usize>,
    keys: Vec<usize>,
    causal: bool,
    window: Option<usize>,
    softcap: Option<f32>,
    dropout: Option<f32>,
}

pub fn bench(c: &mut Criterion) {
    let short: Vec<usize> = (0..32).map(|i| 5 + (i * 17) % 56).collect();
    let dropout = Some(0.1);
    let form = Form { heads: [12, 12, 32], queries: short.clone(), keys: short, ..Form::default() };
    let long =
        Form { heads: [9, 3, 64], queries: vec![2048], keys: vec![2048], causal: true, ..Form::default() };
    let batch = Form { queries: vec![128; 8], keys: vec![128; 8], ..long.clone() };
    for (name, form) in [
        ("encoder_32x5..60", form.clone()),
        ("encoder_dropout", Form { dropout, ..form }),
        ("causal_8x128", batch),
        ("causal_2048", long.clone()),
        ("window_512_of_2048", Form { window: Some(512), ..long.clone() }),
        ("softcap_2048", Form { softcap: Some(50.0), ..long.clone() }),
        ("last_token_of_2048", Form { queries: vec![1], ..long }),
    ] {
        form.bench(c, name);
    }
}

impl Form {
    fn bench(&self, c: &mut Criterion, name: &str) {
        let [heads, kv_heads, head_dim] = self.heads;
        let rows = (self.queries.iter().enumerate()).flat_map(|(sequence, length)| {
            (0..*length as u32).map(move |position| Row { sequence: sequence as u32, position })
        });
        let rows = rows.collect();
        let dropout = self.dropout.map(|probability| Dropout { probability, key: 1, stream: 2, rows });
        let form = Attention {
            heads,
            kv_heads,
            head_dim,
            scale: 0.2,
            causal: self.causal,
            window: self.window,
            softcap: self.softcap,
            dropout,
        };
        let [queries, keys] =
            [&self.queries, &self.keys].map(|lengths| Ragged::from_lengths(lengths.iter().copied()));
        let p = AttentionShape { form, queries, keys, prefix_len: 0, bias_first: None };
        let [tokens, keys] = [&self.queries, &self.keys].map(|lengths| lengths.iter().sum::<usize>());
        let (q, k) = (values(tokens * heads * head_dim), values(keys * kv_heads * head_dim));
        let x = Operands { q: &q, k: &k, v: &k, prefix_k: &[], prefix_v: &[], bias: &[] };
        let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; tokens * heads]);
        let mut group = c.benchmark_group("attention");
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(format!("{name}/forward"), |bench| {
            bench.iter(|| attention::forward(&p, x, &mut out, &mut lse));
        });
        let [mut dq, mut dk, mut dv] = [q.len(), k.len(), k.len()].map(|len| vec![0.0; len]);
        group.bench_function(format!("{name}/backward"), |bench| {
            bench.iter(|| {
                let gradients = Gradients {
                    dq: &mut dq,
                    dk: &mut dk,
                    dv: &mut dv,
                    dprefix_k: &mut [],
                    dprefix_v: &mut [],
                    dbias: None,
                };
                attention::backward(&p, x, &out, &lse, &q, gradients);
            });
        });
        group.finish();
    }
}
