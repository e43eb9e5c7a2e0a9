//! How important each entry of AdaLoRA's parameters is, and which triplets a budget leaves.

use crate::error::Result;
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Backend, Class, Param, Tensor};

/// The importance of every entry of one parameter, smoothed over steps, and how far it strays from that.
pub(super) struct Importance {
    mean: Tensor,
    deviation: Tensor,
}

impl Importance {
    /// One that was kept: mean and deviation of the entries of a parameter of this shape.
    pub(super) fn of(
        backend: &Arc<dyn Backend>,
        shape: &[usize],
        [mean, deviation]: [Vec<f32>; 2],
    ) -> Result<Importance> {
        let kept = |numbers| Tensor::new(backend, Class::Optimizer, shape, numbers);
        Ok(Importance { mean: kept(mean)?, deviation: kept(deviation)? })
    }

    /// Mean and deviation of the entries.
    pub(super) fn numbers(&self) -> Result<[Vec<f32>; 2]> {
        Ok([self.mean.numbers()?, self.deviation.numbers()?])
    }

    /// A step later: |w ∂loss/∂w| of every entry goes into the mean with 1 − β₁, its distance from that into the deviation with 1 − β₂.
    pub(super) fn next(
        before: Option<&Importance>,
        parameter: &Param,
        (gradient, gradient_scale): (&Tensor, f32),
        [beta1, beta2]: [f64; 2],
    ) -> Result<Importance> {
        let smooth = |beta: f64, old: f32, new: f32| beta as f32 * old + (1.0 - beta) as f32 * new;
        let zeros = || [vec![0.0; parameter.len()], vec![0.0; parameter.len()]];
        let [mut means, mut deviations] = before.map_or_else(|| Ok(zeros()), Importance::numbers)?;
        let entries = parameter.numbers()?.into_iter().zip(gradient.numbers()?);
        for ((value, gradient), (mean, deviation)) in entries.zip(means.iter_mut().zip(&mut deviations)) {
            let importance = (value * (gradient * gradient_scale)).abs();
            *mean = smooth(beta1, *mean, importance);
            *deviation = smooth(beta2, *deviation, (importance - *mean).abs());
        }
        Importance::of(gradient.backend(), parameter.shape(), [means, deviations])
    }

    /// What an entry counts: mean times deviation.
    fn scores(&self) -> Result<Vec<f32>> {
        let [means, deviations] = self.numbers()?;
        Ok(means.iter().zip(deviations).map(|(mean, deviation)| mean * deviation).collect())
    }
}

/// What each of the triplets of an update counts: its λ (`e`), and the means of its row of Q (`a`) and of its column of P (`b`).
pub(super) fn triplet_scores(a: &Importance, b: &Importance, e: &Importance) -> Result<Vec<f32>> {
    let (inputs, outputs) = (a.mean.cols(), b.mean.rows());
    let (a, b, mut scores) = (a.scores()?, b.scores()?, e.scores()?);
    let r = scores.len();
    for (k, score) in scores.iter_mut().enumerate() {
        let of_a: f64 = a[k * inputs..(k + 1) * inputs].iter().map(|x| f64::from(*x)).sum();
        let of_b: f64 = b.iter().skip(k).step_by(r).map(|x| f64::from(*x)).sum();
        *score += (of_a / inputs as f64) as f32 + (of_b / outputs as f64) as f32;
    }
    Ok(scores)
}

/// Which triplets count more than the most important one that is beyond the budget.
pub(super) fn within(budget: usize, scores: BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<bool>> {
    let mut all: Vec<f32> = scores.values().flatten().copied().collect();
    all.sort_by(f32::total_cmp);
    let beyond = all.len().saturating_sub(budget);
    let threshold = beyond.checked_sub(1).map_or(f32::NEG_INFINITY, |last| all[last]);
    let keep = |scores: Vec<f32>| scores.into_iter().map(|score| score > threshold).collect();
    scores.into_iter().map(|(path, scores)| (path, keep(scores))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenfold_tensor::Cpu;

    #[test]
    fn a_budget_keeps_the_triplets_that_count_most_over_all_updates() {
        let scores = || {
            BTreeMap::from([("k".to_owned(), vec![0.3, 0.1, 0.2]), ("v".to_owned(), vec![0.25, 0.0, 0.9])])
        };
        let kept = |budget| within(budget, scores()).into_values().collect::<Vec<_>>();
        assert_eq!(kept(3), [[true, false, false], [true, false, true]]);
        assert_eq!(kept(6), [[true; 3], [true; 3]]);
        assert_eq!(kept(0), [[false; 3], [false; 3]]);
    }

    #[test]
    fn importance_is_smoothed_and_summed_over_a_triplet() {
        let backend = Cpu::new();
        let importance = |shape: &[usize], mean: &[f32]| {
            Importance::of(&backend, shape, [mean.to_vec(), vec![1.0; mean.len()]]).unwrap()
        };
        let (a, b) = (
            importance(&[2, 2], &[1.0, 3.0, 5.0, 7.0]),
            importance(&[3, 2], &[1.0, 2.0, 1.0, 2.0, 4.0, 5.0]),
        );
        let e = importance(&[2, 1], &[10.0, 20.0]);
        assert_eq!(triplet_scores(&a, &b, &e).unwrap(), [10.0 + 2.0 + 2.0, 20.0 + 6.0 + 3.0]);
        let parameter = Param::new(&backend, "w", &[2], vec![2.0, -4.0]).unwrap();
        let gradient = Tensor::new(&backend, Class::Gradients, &[2], vec![-1.0, 1.0]).unwrap();
        let first = Importance::next(None, &parameter, (&gradient, 0.5), [0.75, 0.5]).unwrap();
        assert_eq!(first.numbers().unwrap(), [vec![0.25, 0.5], vec![0.375, 0.75]]);
        let second = Importance::next(Some(&first), &parameter, (&gradient, 0.5), [0.75, 0.5]).unwrap();
        assert_eq!(second.numbers().unwrap(), [vec![0.4375, 0.875], vec![0.46875, 0.9375]]);
    }
}
