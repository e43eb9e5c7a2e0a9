//! Matrix products: the shapes of training and of writing one word, and frozen weights in every format.

use crate::values;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use tenfold_kernels::elements::{Elements, Format, quantize};
use tenfold_kernels::matmul::{Matrix, matmul};

/// m, n, k, and whether the operands are stored transposed.
const SHAPES: &[([usize; 3], [bool; 2])] = &[
    ([1000, 384, 384], [false, true]),
    ([1000, 1536, 384], [false, true]),
    ([1000, 384, 1536], [false, false]),
    ([384, 1536, 1000], [true, false]),
    ([1024, 576, 1536], [false, true]),
    ([64, 49152, 576], [false, true]),
    ([64, 576, 49152], [false, false]),
    ([1000, 8, 384], [false, true]),
    ([1000, 384, 8], [false, true]),
    ([8, 384, 1000], [true, false]),
    ([32, 384, 384], [false, true]),
    ([1, 1536, 576], [false, true]),
    ([1, 49152, 576], [false, true]),
];

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    for ([m, n, k], transposed) in SHAPES.iter().copied() {
        let (a, b, mut out) = (values(m * k), values(k * n), vec![0.0; m * n]);
        let a = if transposed[0] { Matrix::f32(&a, k, m).t() } else { Matrix::f32(&a, m, k) };
        let b = if transposed[1] { Matrix::f32(&b, n, k).t() } else { Matrix::f32(&b, k, n) };
        let form = transposed.map(|transposed| if transposed { "t" } else { "n" }).concat();
        group.throughput(Throughput::Elements((2 * m * n * k) as u64));
        group.bench_function(format!("{m}x{n}x{k}_{form}"), |bench| {
            bench.iter(|| matmul(1.0, a, b, None, false, black_box(&mut out)));
        });
    }
    group.finish();
    frozen(c);
}

/// A frozen weight [out, in], forward and for the input's gradient.
fn frozen(c: &mut Criterion) {
    let (outputs, inputs) = (1536, 768);
    let numbers = values(outputs * inputs);
    let mut group = c.benchmark_group("frozen");
    for format in Format::ALL {
        let len = outputs * inputs;
        // What we only read is filled with zeros; scales of zero cost what others cost.
        let Some(bytes) = quantize(format, &numbers).or_else(|| Some(vec![0; format.bytes(len)?])) else {
            continue;
        };
        let weight = Matrix::new(Elements::new(format, len, &bytes), outputs, inputs);
        for rows in [1, 4, 64, 1000] {
            group.throughput(Throughput::Elements((2 * rows * len) as u64));
            for (direction, weight) in [("forward", weight.t()), ("gradient", weight)] {
                let (x, mut out) = (values(rows * weight.rows), vec![0.0; rows * weight.cols]);
                let name = BenchmarkId::new(format!("{}_{direction}", format.name()), rows);
                group.bench_function(name, |bench| {
                    let x = Matrix::f32(&x, rows, weight.rows);
                    bench.iter(|| matmul(1.0, x, weight, None, false, black_box(&mut out)));
                });
            }
        }
    }
    group.finish();
}
