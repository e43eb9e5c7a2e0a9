//! Multiply-adds in registers alone: what one core does at most.

use criterion::{Criterion, Throughput};

#[cfg(target_arch = "x86_64")]
pub fn bench(c: &mut Criterion) {
    use std::hint::black_box;
    use tenfold_kernels::simd_level;

    let lanes = match simd_level() {
        "avx512" => 16,
        "avx2" => 8,
        _ => return,
    };
    let mut group = c.benchmark_group("registers");
    group.throughput(Throughput::Elements((SUMS * 2 * lanes * ROUNDS) as u64));
    group.bench_function("multiply-add", |b| {
        b.iter(|| match lanes {
            // SAFETY: the level says that the machine has these instructions.
            16 => unsafe { wide(black_box(0.5)) },
            // SAFETY: as above.
            _ => unsafe { narrow(black_box(0.5)) },
        });
    });
    group.finish();
}

#[cfg(not(target_arch = "x86_64"))]
pub fn bench(_: &mut Criterion) {}

const ROUNDS: usize = 20_000;
/// Sums that are under way at a time: more than the latency of a multiply-add over its rate.
const SUMS: usize = 12;

/// One variable for each sum: an array would be stored to memory in every round.
#[cfg(target_arch = "x86_64")]
macro_rules! rounds {
    ($x:ident, $set:ident, $fma:ident; $($sum:ident)*) => {{
        let factor = $set($x);
        $(let mut $sum = factor;)*
        for _ in 0..ROUNDS {
            $($sum = $fma($sum, factor, factor);)*
        }
        $(std::hint::black_box($sum);)*
    }};
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn wide(x: f32) {
    use std::arch::x86_64::*;
    rounds!(x, _mm512_set1_ps, _mm512_fmadd_ps; a b c d e f g h i j k l)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn narrow(x: f32) {
    use std::arch::x86_64::*;
    rounds!(x, _mm256_set1_ps, _mm256_fmadd_ps; a b c d e f g h i j k l)
}
