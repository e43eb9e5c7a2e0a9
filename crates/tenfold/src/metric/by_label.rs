//! What a method's answers are worth label by label, and which labels it takes for one another.

use super::Evidence;
use crate::record::Answers;
use crate::score::{LabelScores, each_label};
use serde::Serialize;
use std::collections::BTreeMap;

/// Pairs of labels that are named for being confused.
const CONFUSED: usize = 5;

/// Answers on the test rows of the domain trained on, label by label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByLabel {
    /// Every label that stands on a test row or was answered by any run, by rising number.
    pub labels: Vec<OneLabel>,
    /// What is taken for what most often, the most frequent first, at most five.
    pub confused: Vec<Confused>,
}

/// One label: means over seeds of what scikit-learn's `precision_recall_fscore_support` gives with `zero_division=0`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OneLabel {
    /// Its name, or its number where names are not known.
    pub label: String,
    /// Share of the rows answered with it that have it; 0 where no row is answered with it.
    pub precision: f64,
    /// Share of its rows that are answered with it; 0 where it has no row.
    pub recall: f64,
    /// Their harmonic mean; 0 where both are 0.
    pub f1: f64,
    /// Test rows that have it.
    pub support: u64,
    /// Rows answered with it, mean over seeds: 0 makes precision 0 by definition.
    pub answered: f64,
}

/// Rows of one label that are answered with another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confused {
    /// The true label.
    pub label: String,
    /// What was answered.
    pub answered: String,
    /// Rows, mean over seeds.
    pub rows: f64,
    /// The same as a share of the label's rows.
    pub share: f64,
}

/// By label; `None` where answers are no labels or there is no finished run.
pub fn by_label(evidence: &Evidence, method: &str) -> Option<ByLabel> {
    let runs = evidence.main(method);
    let mut sums: BTreeMap<u32, LabelScores> = BTreeMap::new();
    let mut confusions: BTreeMap<(u32, u32), f64> = BTreeMap::new();
    for (_, run) in &runs {
        let Answers::Labels { labels, predictions } = &run.tests.first()?.answers else { return None };
        for (label, scores) in each_label(predictions, labels)? {
            sums.entry(label).or_default().add(&scores);
        }
        for (label, said) in labels.iter().zip(predictions).filter(|(label, said)| label != said) {
            *confusions.entry((*label, *said)).or_default() += 1.0;
        }
    }
    let (count, name) = (runs.len() as f64, |label: u32| evidence.study.plain_label(label));
    let one = |(label, sum): (&u32, &LabelScores)| OneLabel {
        label: name(*label),
        precision: sum.precision / count,
        recall: sum.recall / count,
        f1: sum.f1 / count,
        // Every run answers the same rows, but a label may be met by some runs alone: then it has no row.
        support: (sum.support as f64 / count).round() as u64,
        answered: sum.answered as f64 / count,
    };
    let mut confused: Vec<((u32, u32), f64)> = confusions.into_iter().collect();
    confused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let pair = |((label, said), rows): ((u32, u32), f64)| Confused {
        label: name(label),
        answered: name(said),
        rows: rows / count,
        share: rows / sums.get(&label).map_or(1.0, |sum| sum.support as f64).max(1.0),
    };
    let labels: Vec<OneLabel> = sums.iter().map(one).collect();
    let confused = confused.into_iter().take(CONFUSED).map(pair).collect();
    (!labels.is_empty()).then_some(ByLabel { labels, confused })
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::World;
    use super::*;

    #[test]
    fn labels_are_named_counted_and_averaged_over_seeds() {
        let mut world = World::with_seeds(2);
        let mut seed = 0;
        world.answer_main("lora", |labels, predictions| {
            labels.clear();
            labels.extend([0, 0, 0, 1, 1, 2]);
            predictions.clear();
            predictions.extend(if seed == 0 { [0, 0, 1, 1, 1, 0] } else { [0, 0, 1, 1, 3, 0] });
            seed += 1;
        });
        let mut evidence = world.evidence();
        evidence.study.labels = vec!["bad".into(), "good".into(), "so-so".into()];
        let found = by_label(&evidence, "lora").unwrap();
        let names: Vec<&str> = found.labels.iter().map(|of| of.label.as_str()).collect();
        assert_eq!(names, ["bad", "good", "so-so", "3"]);
        let of = |index: usize| {
            let of = &found.labels[index];
            [of.precision, of.recall, of.f1, of.support as f64, of.answered]
        };
        let near =
            |found: [f64; 5], wanted: [f64; 5]| found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(of(0), [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 3.0, 3.0]), "{:?}", of(0));
        assert!(near(of(1), [(2.0 / 3.0 + 0.5) / 2.0, 0.75, 0.65, 2.0, 2.5]), "{:?}", of(1));
        // Never answered: precision is 0 by definition. Never standing: recall is.
        assert!(near(of(2), [0.0, 0.0, 0.0, 1.0, 0.0]) && near(of(3), [0.0, 0.0, 0.0, 0.0, 0.5]));
        let first = &found.confused[0];
        assert_eq!((first.label.as_str(), first.answered.as_str(), first.rows), ("bad", "good", 1.0));
        assert!((first.share - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(by_label(&evidence, "adalora"), None);
    }
}
