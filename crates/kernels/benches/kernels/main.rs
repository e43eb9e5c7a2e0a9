//! How fast each kernel runs here, on one thread: `cargo bench -p tenfold-kernels [-- name]`.
//!
//! Products and attention state operations a second (elements of a throughput are multiplications and additions), the
//! rest numbers a second. `registers` is what one core does at most.

mod attention;
mod matmul;
mod pointwise;
mod registers;

use criterion::{Criterion, criterion_group, criterion_main};

/// Numbers without subnormals or special values.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn kernels(c: &mut Criterion) {
    // One thread, so that the cores' sharing of memory is no part of it: this one.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    let _pool = pool.build().expect("a pool of this thread");
    registers::bench(c);
    matmul::bench(c);
    attention::bench(c);
    pointwise::bench(c);
}

criterion_group!(benches, kernels);
criterion_main!(benches);
