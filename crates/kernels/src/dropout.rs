//! Dropout with a mask that is a function of a key, a stream and the element's index (Srivastava et al. 2014).

use crate::parallel;
use crate::random::{BLOCK, word, words};
use crate::simd::{Level, level, simd_fn};

/// Which elements are dropped: each with `probability`, the others scaled by `1 / (1 - probability)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability that an element is dropped, in [0, 1].
    pub probability: f32,
    /// Key of the random numbers: the seed of a run.
    pub key: u64,
    /// Stream under the key: one for each place and step.
    pub stream: u64,
}

impl Dropout {
    /// What element `index` is multiplied by: 0 or `1 / (1 - probability)`.
    pub fn keep_scale(&self, index: u64) -> f32 {
        if (word(self.key, self.stream, index) >> 8) >= self.threshold() { self.scale() } else { 0.0 }
    }

    /// The factors of elements `first..first + out.len()`; `first` must be a multiple of four.
    pub(crate) fn factors(&self, level: Level, first: u64, out: &mut [f32]) {
        assert_eq!(first % 4, 0, "the first index of a run of factors");
        write_factors(level, self, first / 4, out);
    }

    /// Words whose upper 24 bits are below this are dropped.
    #[inline(always)]
    fn threshold(&self) -> u32 {
        (self.probability as f64 * 16_777_216.0).ceil() as u32
    }

    #[inline(always)]
    fn scale(&self) -> f32 {
        if self.probability < 1.0 { 1.0 / (1.0 - self.probability) } else { 0.0 }
    }
}

simd_fn! {
    fn write_factors(d: &Dropout, first_counter: u64, out: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        let mut w = [0; BLOCK];
        for (i, o) in out.chunks_mut(BLOCK).enumerate() {
            words(d.key, d.stream, first_counter + (i * BLOCK / 4) as u64, &mut w);
            for (o, w) in o.iter_mut().zip(&w) {
                *o = if (w >> 8) >= threshold { scale } else { 0.0 };
            }
        }
    }
}

simd_fn! {
    fn apply_blocks(d: &Dropout, first_counter: u64, x: &[f32], out: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        let mut w = [0; BLOCK];
        for (i, (x, o)) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate() {
            words(d.key, d.stream, first_counter + (i * BLOCK / 4) as u64, &mut w);
            for ((o, x), w) in o.iter_mut().zip(x).zip(&w) {
                *o = if (w >> 8) >= threshold { x * scale } else { 0.0 };
            }
        }
    }
}

/// `out[i] = x[i] * keep_scale(i)`; the gradient goes back through the same function.
///
/// A dropped element is zero even where `x` is not finite.
pub fn apply(d: &Dropout, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output lengths");
    let level = level();
    parallel::fill(out, |first, o| {
        apply_blocks(level, d, (first / 4) as u64, &x[first..first + o.len()], o);
    });
}

/// Plain loops.
pub mod reference {
    use super::Dropout;

    /// See [`super::apply`].
    pub fn apply(d: &Dropout, x: &[f32], out: &mut [f32]) {
        for (i, (o, x)) in out.iter_mut().zip(x).enumerate() {
            let factor = d.keep_scale(i as u64);
            *o = if factor == 0.0 { 0.0 } else { x * factor };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values};

    const D: Dropout = Dropout { probability: 0.1, key: 11, stream: 4 };

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for n in [0, 1, 5, 64, 1000, 70_003] {
                let x = values(1, n);
                let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
                apply(&D, &x, &mut a);
                reference::apply(&D, &x, &mut b);
                assert_eq!(a, b);
                let mut f = vec![0.0; n];
                D.factors(level(), 400, &mut f);
                assert!(f.iter().enumerate().all(|(i, f)| *f == D.keep_scale(400 + i as u64)));
            }
        });
    }

    #[test]
    fn drops_the_stated_share_and_keeps_the_mean() {
        let x = vec![1.0; 200_000];
        let mut y = vec![0.0; x.len()];
        for probability in [0.0, 0.1, 0.5, 1.0] {
            apply(&Dropout { probability, ..D }, &x, &mut y);
            let dropped = y.iter().filter(|v| **v == 0.0).count() as f32 / x.len() as f32;
            assert!((dropped - probability).abs() < 0.004, "{dropped}");
        }
    }

    #[test]
    fn is_its_own_backward() {
        let (x, dy) = (values(2, 50), values(3, 50));
        let mut dx = vec![0.0; 50];
        reference::apply(&D, &dy, &mut dx);
        assert_gradient(&x, &dx, |x| {
            let mut y = vec![0.0; 50];
            reference::apply(&D, x, &mut y);
            dot(&y, &dy)
        });
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let mut y = vec![0.0; 99_999];
            apply(&D, &values(1, 99_999), &mut y);
            y
        });
    }
}
