//! What the tests share: made-up values, runs on every level and thread count, comparisons, finite differences.

use crate::simd::{Level, with_simd_level};

/// `count` values in [-1, 1), the same for the same seed.
pub(crate) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Runs `f` once on every level this machine has.
pub(crate) fn on_every_level(mut f: impl FnMut()) {
    let best = crate::simd::level();
    for level in [Level::Scalar, Level::Avx2, Level::Avx512] {
        if level <= best {
            with_simd_level(level, &mut f);
        }
    }
}

/// Asserts that `f` gives the same bits on every number of threads, on every level.
pub(crate) fn assert_same_bits_on_any_threads(f: impl Fn() -> Vec<f32> + Sync) {
    let mut first: Vec<Vec<f32>> = Vec::new();
    on_every_level(|| first.push(f()));
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut here: Vec<Vec<f32>> = Vec::new();
        pool.install(|| on_every_level(|| here.push(f())));
        for (a, b) in first.iter().zip(&here) {
            assert_eq!(a.len(), b.len());
            let differ = a.iter().zip(b).position(|(x, y)| x.to_bits() != y.to_bits());
            assert_eq!(differ, None, "{threads} threads");
        }
    }
}

/// Asserts `|got - want| <= tolerance * (1 + |want|)` everywhere.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "at {i}: got {g}, want {w}");
    }
}

/// Asserts that `gradient` is the gradient of `f` at `x`, by central differences.
#[track_caller]
pub(crate) fn assert_gradient(x: &[f32], gradient: &[f32], f: impl Fn(&[f32]) -> f64) {
    let step = 1.0 / 128.0;
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        moved[i] = x[i] + step;
        let up = f(&moved);
        moved[i] = x[i] - step;
        let down = f(&moved);
        moved[i] = x[i];
        let want = (up - down) / (2.0 * step as f64);
        let error = (gradient[i] as f64 - want).abs();
        assert!(error <= 2e-3 * (1.0 + want.abs()), "at {i}: got {}, want {want}", gradient[i]);
    }
}

/// Sum of `a[i] * b[i]` in f64: a scalar loss whose gradient with respect to `a` is `b`.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum()
}
