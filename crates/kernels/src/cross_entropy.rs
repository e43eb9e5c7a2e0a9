//! Cross-entropy of logits against class labels, with label smoothing as PyTorch defines it.

use crate::math::{exp, max, sum};
use crate::parallel::{self, Shared};
use crate::simd::{level, simd_fn};
use crate::softcap::cap_in_place;

simd_fn! {
    /// Logarithm of the sum of exponentials, and the plain sum.
    fn row_sums(logits: &[f32]) -> (f32, f32) {
        let top = max(logits);
        (top + sum(logits, |v| exp(v - top)).ln(), sum(logits, |v| v))
    }
}

simd_fn! {
    fn softmax_row(logits: &[f32], lse: f32, scale: f32, subtract: f32, dlogits: &mut [f32]) {
        for (d, v) in dlogits.iter_mut().zip(logits) {
            *d = scale * (exp(v - lse) - subtract);
        }
    }
}

simd_fn! {
    /// `scale` times the softmax, and times the slope of the cap that the logits went through.
    fn softmax_in_place(lse: f32, scale: f32, softcap: Option<f32>, logits: &mut [f32]) {
        match softcap {
            None => logits.iter_mut().for_each(|v| *v = scale * exp(*v - lse)),
            Some(c) => logits.iter_mut().for_each(|v| {
                let t = *v / c;
                *v = scale * exp(*v - lse) * ((1.0 - t) * (1.0 + t));
            }),
        }
    }
}

/// Sum over rows of `(1 - smoothing) * nll(label) + smoothing * mean over classes of nll`, in nats.
///
/// `logits` is `[rows, classes]`, `labels` `[rows]`; `lse` `[rows]` receives each row's log-sum-exp for the backward.
pub fn forward(logits: &[f32], labels: &[u32], smoothing: f32, lse: &mut [f32]) -> f64 {
    let classes = check(logits, labels, lse);
    let level = level();
    let mut sums = vec![0.0; labels.len()];
    let (lses, shared) = (Shared::new(lse), Shared::new(&mut sums));
    parallel::tasks(labels.len(), parallel::worthwhile(logits.len()), |row| {
        let (row_lse, row_sum) = row_sums(level, &logits[row * classes..][..classes]);
        // SAFETY: one task a row.
        unsafe { (lses.slice(row..row + 1)[0], shared.slice(row..row + 1)[0]) = (row_lse, row_sum) };
    });
    let smoothing = smoothing as f64;
    let one = |row: usize| {
        let (l, label) = (lse[row] as f64, logits[row * classes + labels[row] as usize] as f64);
        let smooth = if smoothing == 0.0 { 0.0 } else { smoothing * (l - sums[row] as f64 / classes as f64) };
        (1.0 - smoothing) * (l - label) + smooth
    };
    (0..labels.len()).map(one).sum()
}

/// `dlogits = scale * d loss / d logits`, from the forward's `lse`; `scale` is the gradient of the summed loss.
pub fn backward(
    logits: &[f32],
    labels: &[u32],
    smoothing: f32,
    lse: &[f32],
    scale: f32,
    dlogits: &mut [f32],
) {
    let classes = check(logits, labels, lse);
    assert_eq!(logits.len(), dlogits.len(), "logits and gradient lengths");
    let level = level();
    let spread = smoothing / classes as f32;
    parallel::rows(dlogits, classes, |first, dlogits| {
        for (i, d) in dlogits.chunks_exact_mut(classes).enumerate() {
            let row = first + i;
            softmax_row(level, &logits[row * classes..][..classes], lse[row], scale, spread, d);
            d[labels[row] as usize] -= scale * (1.0 - smoothing);
        }
    });
}

/// `ln p(label)` of each row, in the memory of the logits alone: `logits` `[rows, classes]` is overwritten.
///
/// With `softcap` c the logits are first turned into `c tanh(logit / c)`. With `scale` they end as `scale` times the
/// gradient of the summed cross-entropy with respect to the logits that came; otherwise they hold anything.
pub fn in_place(
    logits: &mut [f32],
    labels: &[u32],
    softcap: Option<f32>,
    scale: Option<f32>,
    log_probabilities: &mut [f32],
) {
    let classes = check(logits, labels, log_probabilities);
    let level = level();
    let shared = Shared::new(log_probabilities);
    parallel::rows(logits, classes, |first, logits| {
        for (i, logits) in logits.chunks_exact_mut(classes).enumerate() {
            let row = first + i;
            let label = labels[row] as usize;
            if let Some(c) = softcap {
                cap_in_place(level, c, logits);
            }
            let (lse, target) = (row_sums(level, logits).0, logits[label]);
            // SAFETY: each row belongs to one task.
            unsafe { shared.slice(row..row + 1)[0] = target - lse };
            if let Some(scale) = scale {
                softmax_in_place(level, lse, scale, softcap, logits);
                let slope = softcap.map_or(1.0, |c| (1.0 - target / c) * (1.0 + target / c));
                logits[label] -= scale * slope;
            }
        }
    });
}

/// Asserts the lengths and gives the number of classes.
fn check(logits: &[f32], labels: &[u32], lse: &[f32]) -> usize {
    assert_eq!(labels.len(), lse.len(), "one log-sum-exp a label");
    let classes = logits.len().checked_div(labels.len()).unwrap_or(0);
    assert_eq!(classes * labels.len(), logits.len(), "whole rows of logits");
    assert!(labels.iter().all(|l| (*l as usize) < classes), "a label is beyond the {classes} classes");
    classes
}

/// Plain loops, f64 sums.
pub mod reference {
    /// See [`super::forward`].
    pub fn forward(logits: &[f32], labels: &[u32], smoothing: f32, lse: &mut [f32]) -> f64 {
        let classes = super::check(logits, labels, lse);
        let mut loss = 0.0;
        for (row, &label) in labels.iter().enumerate() {
            let x: Vec<f64> = logits[row * classes..][..classes].iter().map(|v| *v as f64).collect();
            let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let l = top + x.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
            lse[row] = l as f32;
            for (class, v) in x.iter().enumerate() {
                let target = target(class as u32 == label, smoothing, classes);
                loss += target * (l - v);
            }
        }
        loss
    }

    /// See [`super::backward`].
    pub fn backward(
        logits: &[f32],
        labels: &[u32],
        smoothing: f32,
        lse: &[f32],
        scale: f32,
        dlogits: &mut [f32],
    ) {
        let classes = super::check(logits, labels, lse);
        for (i, d) in dlogits.iter_mut().enumerate() {
            let (row, class) = (i / classes, (i % classes) as u32);
            let target = target(class == labels[row], smoothing, classes);
            *d = (scale as f64 * ((logits[i] as f64 - lse[row] as f64).exp() - target)) as f32;
        }
    }

    /// See [`super::in_place`].
    pub fn in_place(
        logits: &mut [f32],
        labels: &[u32],
        softcap: Option<f32>,
        scale: Option<f32>,
        log_probabilities: &mut [f32],
    ) {
        let classes = super::check(logits, labels, log_probabilities);
        for ((row, &label), l) in logits.chunks_exact_mut(classes.max(1)).zip(labels).zip(log_probabilities) {
            let cap = |v: f32| softcap.map_or(v as f64, |c| c as f64 * (v as f64 / c as f64).tanh());
            let capped: Vec<f64> = row.iter().map(|v| cap(*v)).collect();
            let top = capped.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = top + capped.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
            *l = (capped[label as usize] - lse) as f32;
            for (class, (d, v)) in row.iter_mut().zip(&capped).enumerate() {
                let slope = softcap.map_or(1.0, |c| 1.0 - (v / c as f64).powi(2));
                let target = target(class as u32 == label, 0.0, classes);
                *d = scale.map_or(*d, |scale| (scale as f64 * ((v - lse).exp() - target) * slope) as f32);
            }
        }
    }

    /// The smoothed probability of a class.
    fn target(is_label: bool, smoothing: f32, classes: usize) -> f64 {
        let smoothing = smoothing as f64;
        smoothing / classes as f64 + if is_label { 1.0 - smoothing } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, on_every_level, values,
    };

    fn labels(rows: usize, classes: usize) -> Vec<u32> {
        (0..rows).map(|i| ((i * 7919) % classes) as u32).collect()
    }

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for (rows, classes) in [(1, 1), (3, 2), (40, 1001)] {
                let logits: Vec<f32> = values(1, rows * classes).iter().map(|v| v * 20.0).collect();
                let labels = labels(rows, classes);
                for smoothing in [0.0, 0.1] {
                    let (mut lse, mut lse2) = (vec![0.0; rows], vec![0.0; rows]);
                    let got = forward(&logits, &labels, smoothing, &mut lse);
                    let want = reference::forward(&logits, &labels, smoothing, &mut lse2);
                    assert!((got - want).abs() <= 1e-6 * (1.0 + want), "{got} {want}");
                    assert_close(&lse, &lse2, 1e-6);
                    let (mut d, mut d2) = (vec![0.0; logits.len()], vec![0.0; logits.len()]);
                    backward(&logits, &labels, smoothing, &lse, 0.7, &mut d);
                    reference::backward(&logits, &labels, smoothing, &lse, 0.7, &mut d2);
                    assert_close(&d, &d2, 1e-6);
                }
            }
        });
    }

    #[test]
    fn in_place_matches_the_reference() {
        on_every_level(|| {
            for (rows, classes) in [(0, 3), (1, 1), (3, 2), (40, 1001)] {
                let logits: Vec<f32> = values(1, rows * classes).iter().map(|v| v * 20.0).collect();
                let labels = labels(rows, classes);
                for (softcap, scale) in
                    [(None, None), (None, Some(0.7)), (Some(15.0), Some(0.7)), (Some(15.0), None)]
                {
                    let (mut d, mut d2) = (logits.clone(), logits.clone());
                    let (mut l, mut l2) = (vec![7.0; rows], vec![7.0; rows]);
                    in_place(&mut d, &labels, softcap, scale, &mut l);
                    reference::in_place(&mut d2, &labels, softcap, scale, &mut l2);
                    assert_close(&l, &l2, 1e-6);
                    if scale.is_some() {
                        assert_close(&d, &d2, 1e-6);
                    }
                }
            }
        });
    }

    #[test]
    fn nothing_gives_no_loss_and_masked_classes_give_no_gradient() {
        assert_eq!(forward(&[], &[], 0.1, &mut []), 0.0);
        let (logits, mut lse, mut d) = ([0.0, f32::NEG_INFINITY, 0.0], [0.0], [0.0; 3]);
        let loss = forward(&logits, &[2], 0.0, &mut lse);
        backward(&logits, &[2], 0.0, &lse, 1.0, &mut d);
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-6);
        assert_close(&d, &[0.5, 0.0, -0.5], 1e-6);
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let (logits, labels) = (values(2, 20), labels(4, 5));
        let (mut lse, mut d) = (vec![0.0; 4], vec![0.0; 20]);
        reference::forward(&logits, &labels, 0.2, &mut lse);
        reference::backward(&logits, &labels, 0.2, &lse, 1.0, &mut d);
        assert_gradient(&logits, &d, |x| reference::forward(x, &labels, 0.2, &mut [0.0; 4]));
        for softcap in [None, Some(0.8)] {
            let loss = |x: &[f32]| {
                let (mut x, mut l) = (x.to_vec(), [0.0; 4]);
                reference::in_place(&mut x, &labels, softcap, Some(1.0), &mut l);
                (x, -l.iter().map(|l| *l as f64).sum::<f64>())
            };
            assert_gradient(&logits, &loss(&logits).0, |x| loss(x).1);
        }
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (logits, labels, mut lse) = (values(1, 90 * 500), labels(90, 500), vec![0.0; 90]);
            let loss = forward(&logits, &labels, 0.1, &mut lse).to_bits();
            let mut d = vec![0.0; logits.len()];
            backward(&logits, &labels, 0.1, &lse, 1.0, &mut d);
            let (mut in_place_d, mut l) = (logits, vec![0.0; 90]);
            in_place(&mut in_place_d, &labels, Some(3.0), Some(1.0), &mut l);
            [d, in_place_d, l, lse, vec![f32::from_bits(loss as u32), f32::from_bits((loss >> 32) as u32)]]
                .concat()
        });
    }
}
