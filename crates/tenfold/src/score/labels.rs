//! Scores of predicted labels, as scikit-learn computes them.

use std::collections::BTreeMap;

/// Share of rows whose label was predicted, 0 to 1, higher is better. `None` for no rows or unequal lengths.
pub fn accuracy(predictions: &[u32], labels: &[u32]) -> Option<f64> {
    paired(predictions, labels)?;
    let hits = predictions.iter().zip(labels).filter(|(predicted, label)| predicted == label).count();
    Some(hits as f64 / labels.len() as f64)
}

/// F1 of the label `positive`: the harmonic mean of precision and recall (van Rijsbergen, *Information Retrieval*,
/// 1979), 0 to 1, higher is better; 0 where the label neither stands nor is predicted, as scikit-learn's
/// `zero_division` has it. MRPC, QQP and MultiRC take `positive` = 1. `None` for no rows or unequal lengths.
pub fn f1(predictions: &[u32], labels: &[u32], positive: u32) -> Option<f64> {
    paired(predictions, labels)?;
    let mut counts = Counts::default();
    for (predicted, label) in predictions.iter().zip(labels) {
        counts.add(*predicted == positive, *label == positive);
    }
    Some(counts.f1())
}

/// F1 over the decisions on all labels together, 0 to 1, higher is better: equal to [`accuracy`] where each row has
/// one label and one prediction. `None` for no rows or unequal lengths.
pub fn f1_micro(predictions: &[u32], labels: &[u32]) -> Option<f64> {
    accuracy(predictions, labels)
}

/// Unweighted mean of the F1 of every label that stands or is predicted, 0 to 1, higher is better; CommitmentBank is
/// scored so by SuperGLUE. `None` for no rows or unequal lengths.
pub fn f1_macro(predictions: &[u32], labels: &[u32]) -> Option<f64> {
    paired(predictions, labels)?;
    let mut counts: BTreeMap<u32, Counts> = BTreeMap::new();
    for (predicted, label) in predictions.iter().zip(labels) {
        counts.entry(*predicted).or_default().add(true, predicted == label);
        if predicted != label {
            counts.entry(*label).or_default().add(false, true);
        }
    }
    super::mean(counts.values().map(Counts::f1))
}

/// Mean of the F1 of the labels `0..classes`, whether they are met or not, 0 to 1, higher is better:
/// lm-evaluation-harness's score of CommitmentBank with 3. `None` for no classes, no rows or unequal lengths.
pub fn f1_macro_of(predictions: &[u32], labels: &[u32], classes: u32) -> Option<f64> {
    let each: Option<Vec<f64>> = (0..classes).map(|class| f1(predictions, labels, class)).collect();
    super::mean(each?)
}

/// Matthews' correlation (1975), for several labels R_k of Gorodkin (2004): −1 to 1, higher is better, 0 is what
/// chance gives; 0 where predictions or labels are all one, as scikit-learn has it. CoLA's score. `None` for no rows
/// or unequal lengths.
pub fn matthews(predictions: &[u32], labels: &[u32]) -> Option<f64> {
    paired(predictions, labels)?;
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    let (n, mut hits) = (labels.len() as f64, 0.0);
    for (predicted, label) in predictions.iter().zip(labels) {
        sums.entry(*predicted).or_default().0 += 1.0;
        sums.entry(*label).or_default().1 += 1.0;
        hits += f64::from(u8::from(predicted == label));
    }
    let product = |f: fn(&(f64, f64)) -> f64| sums.values().map(f).sum::<f64>();
    let covariance = hits * n - product(|(p, l)| p * l);
    let (of_predictions, of_labels) = (n * n - product(|(p, _)| p * p), n * n - product(|(_, l)| l * l));
    let scale = (of_predictions * of_labels).sqrt();
    Some(if scale > 0.0 { covariance / scale } else { 0.0 })
}

/// Decisions on one label.
#[derive(Debug, Default)]
struct Counts {
    right: f64,
    predicted: f64,
    standing: f64,
}

impl Counts {
    fn add(&mut self, predicted: bool, stands: bool) {
        self.predicted += f64::from(u8::from(predicted));
        self.standing += f64::from(u8::from(stands));
        self.right += f64::from(u8::from(predicted && stands));
    }

    fn f1(&self) -> f64 {
        let both = self.predicted + self.standing;
        if both > 0.0 { 2.0 * self.right / both } else { 0.0 }
    }
}

fn paired(predictions: &[u32], labels: &[u32]) -> Option<()> {
    (!labels.is_empty() && predictions.len() == labels.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rows_and_unequal_rows_have_no_score() {
        for (predictions, labels) in [(&[][..], &[][..]), (&[1][..], &[1, 0][..])] {
            assert_eq!(accuracy(predictions, labels), None);
            assert_eq!(f1(predictions, labels, 1), None);
            assert_eq!(f1_macro(predictions, labels), None);
            assert_eq!(f1_macro_of(predictions, labels, 2), None);
            assert_eq!(matthews(predictions, labels), None);
        }
        assert_eq!(f1_macro_of(&[1], &[1], 0), None);
    }

    #[test]
    fn a_label_that_is_never_met_counts_only_where_all_labels_do() {
        assert_eq!(f1_macro(&[0, 1], &[0, 1]), Some(1.0));
        assert_eq!(f1_macro_of(&[0, 1], &[0, 1], 4), Some(0.5));
    }
}
