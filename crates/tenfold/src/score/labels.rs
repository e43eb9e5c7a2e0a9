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
    f1_macro_of_counts(&by_number(predictions, labels))
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
    matthews_of_counts(&by_number(predictions, labels))
}

/// Mean recall of the labels that stand, 0 to 1, higher is better: scikit-learn's `balanced_accuracy_score`, which leaves
/// out labels that are predicted and never stand. `None` for no rows or unequal lengths.
pub fn balanced_accuracy(predictions: &[u32], labels: &[u32]) -> Option<f64> {
    paired(predictions, labels)?;
    balanced_accuracy_of_counts(&by_number(predictions, labels))
}

/// [`accuracy`] by the counts of each label.
pub(super) fn accuracy_of_counts(counts: &[Counts]) -> Option<f64> {
    let sum = |f: fn(&Counts) -> f64| counts.iter().map(f).sum::<f64>();
    let rows = sum(|of| of.standing);
    (rows > 0.0).then(|| sum(|of| of.right) / rows)
}

/// [`f1`] of label 1, which GLUE counts as positive, by the counts of each label.
pub(super) fn f1_of_counts(counts: &[Counts]) -> Option<f64> {
    counts.iter().any(|of| of.standing > 0.0).then(|| counts.get(1).map_or(0.0, Counts::f1))
}

/// [`f1_macro`] by the counts of each label.
pub(super) fn f1_macro_of_counts(counts: &[Counts]) -> Option<f64> {
    super::mean(counts.iter().filter(|of| of.is_met()).map(Counts::f1))
}

/// [`matthews`] by the counts of each label.
pub(super) fn matthews_of_counts(counts: &[Counts]) -> Option<f64> {
    let sum = |f: fn(&Counts) -> f64| counts.iter().map(f).sum::<f64>();
    let n = sum(|of| of.standing);
    let covariance = sum(|of| of.right) * n - sum(|of| of.predicted * of.standing);
    let of_predictions = n * n - sum(|of| of.predicted * of.predicted);
    let of_labels = n * n - sum(|of| of.standing * of.standing);
    let scale = (of_predictions * of_labels).sqrt();
    (n > 0.0).then(|| if scale > 0.0 { covariance / scale } else { 0.0 })
}

/// [`balanced_accuracy`] by the counts of each label.
pub(super) fn balanced_accuracy_of_counts(counts: &[Counts]) -> Option<f64> {
    super::mean(counts.iter().filter(|of| of.standing > 0.0).map(|of| of.right / of.standing))
}

/// Precision, recall, F1 and support of one label, as scikit-learn's `precision_recall_fscore_support` has them with
/// `zero_division=0`: a figure whose denominator is 0 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LabelScores {
    /// Share of the rows predicted to have the label that have it.
    pub precision: f64,
    /// Share of the rows that have the label that are predicted to.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// Rows that have the label.
    pub support: u64,
    /// Rows that are predicted to have it.
    pub answered: u64,
}

impl LabelScores {
    /// Adds another run's, to be divided by the number of runs.
    pub fn add(&mut self, other: &LabelScores) {
        self.precision += other.precision;
        self.recall += other.recall;
        self.f1 += other.f1;
        self.support += other.support;
        self.answered += other.answered;
    }
}

/// The scores of every label that stands or is predicted, by rising label. `None` for no rows or unequal lengths.
pub fn each_label(predictions: &[u32], labels: &[u32]) -> Option<Vec<(u32, LabelScores)>> {
    paired(predictions, labels)?;
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let scores = |(label, of): (u32, Counts)| {
        let scores = LabelScores {
            precision: share(of.right, of.predicted),
            recall: share(of.right, of.standing),
            f1: of.f1(),
            support: of.standing as u64,
            answered: of.predicted as u64,
        };
        (label, scores)
    };
    Some(counts(predictions, labels).into_iter().map(scores).collect())
}

/// Labels below this, as nearly all are, are counted in place: tests of pairs count a million times.
pub(super) const IN_PLACE: u32 = 256;

/// Decisions on each label that stands or is predicted, by rising label.
fn counts(predictions: &[u32], labels: &[u32]) -> Vec<(u32, Counts)> {
    let (in_place, others) = counted(predictions, labels);
    (0..).zip(in_place).chain(others).filter(|(_, counts)| counts.is_met()).collect()
}

/// The same of every label below [`IN_PLACE`] at its own number, and of the others after them.
pub(super) fn by_number(predictions: &[u32], labels: &[u32]) -> Vec<Counts> {
    let (mut in_place, others) = counted(predictions, labels);
    if !others.is_empty() {
        in_place.resize(IN_PLACE as usize, Counts::default());
    }
    in_place.into_iter().chain(others.into_values()).collect()
}

fn counted(predictions: &[u32], labels: &[u32]) -> (Vec<Counts>, BTreeMap<u32, Counts>) {
    let highest = predictions.iter().chain(labels).copied().max().unwrap_or(0);
    let mut in_place = vec![Counts::default(); highest.min(IN_PLACE - 1) as usize + 1];
    let mut others: BTreeMap<u32, Counts> = BTreeMap::new();
    for (predicted, label) in predictions.iter().zip(labels) {
        let mut of = |label: u32, count: fn(&mut Counts)| match in_place.get_mut(label as usize) {
            Some(counts) => count(counts),
            None => count(others.entry(label).or_default()),
        };
        of(*predicted, |counts| counts.predicted += 1.0);
        of(*label, |counts| counts.standing += 1.0);
        if predicted == label {
            of(*label, |counts| counts.right += 1.0);
        }
    }
    (in_place, others)
}

/// Decisions on one label, each as often as its row counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Rows of the label that are predicted to have it.
    pub(super) right: f64,
    /// Rows that are predicted to have it.
    pub(super) predicted: f64,
    /// Rows that have it.
    pub(super) standing: f64,
}

impl Counts {
    fn is_met(&self) -> bool {
        self.predicted + self.standing > 0.0
    }

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
            assert_eq!(balanced_accuracy(predictions, labels), None);
            assert_eq!(each_label(predictions, labels), None);
        }
        assert_eq!(f1_macro_of(&[1], &[1], 0), None);
    }

    #[test]
    fn labels_of_any_size_are_counted_alike() {
        let (said, truth) = ([0, 1, 2, 2, 1, 0, 1], [0, 1, 2, 1, 2, 1, 1]);
        let large = |labels: &[u32]| labels.iter().map(|label| label * 2_000_000_000).collect::<Vec<u32>>();
        assert_eq!(f1_macro(&large(&said), &large(&truth)), f1_macro(&said, &truth));
        assert_eq!(matthews(&large(&said), &large(&truth)), matthews(&said, &truth));
    }

    /// scikit-learn 1.9.1: `precision_recall_fscore_support([0, 1, 2, 1, 2, 1, 1], [0, 1, 3, 2, 1, 0, 1],
    /// zero_division=0)` and `balanced_accuracy_score` of the same.
    #[test]
    fn labels_have_scikit_learns_precision_recall_and_f1() {
        let (truth, said) = ([0, 1, 2, 1, 2, 1, 1], [0, 1, 3, 2, 1, 0, 1]);
        let found = each_label(&said, &truth).unwrap();
        let wanted = [
            (0, 0.5, 1.0, 2.0 / 3.0, 1, 2),
            (1, 2.0 / 3.0, 0.5, 4.0 / 7.0, 4, 3),
            (2, 0.0, 0.0, 0.0, 2, 1),
            (3, 0.0, 0.0, 0.0, 0, 1),
        ];
        assert_eq!(found.len(), wanted.len());
        for ((label, of), (wanted, precision, recall, f1, support, answered)) in found.into_iter().zip(wanted)
        {
            assert_eq!((label, of.support, of.answered), (wanted, support, answered));
            assert_eq!([of.precision, of.recall, of.f1], [precision, recall, f1], "{label}");
        }
        // Label 3 does not stand and has no recall; labels 0, 1 and 2 have 1, ½ and 0.
        assert_eq!(balanced_accuracy(&said, &truth), Some(0.5));
        let macro_f1 = f1_macro(&said, &truth).unwrap();
        assert!((macro_f1 - (2.0 / 3.0 + 4.0 / 7.0) / 4.0).abs() < 1e-15);
    }

    #[test]
    fn a_label_that_is_never_met_counts_only_where_all_labels_do() {
        assert_eq!(f1_macro(&[0, 1], &[0, 1]), Some(1.0));
        assert_eq!(f1_macro_of(&[0, 1], &[0, 1], 4), Some(0.5));
    }
}
