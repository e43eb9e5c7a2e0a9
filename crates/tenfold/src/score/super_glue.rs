//! SuperGLUE's tasks that are scored by more than labels (Wang et al., NeurIPS 2019), as published.

use super::answer::{best, exact, f1_of_words};
use super::{ExactF1, f1, f1_macro, mean};
use std::collections::BTreeMap;

/// Scores of MultiRC, 0 to 1, higher is better.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct MultiRc {
    /// Share of questions all of whose answers are judged right.
    pub exact_match: f64,
    /// Mean over questions of the macro F1 of its answers.
    pub f1_m: f64,
    /// F1 over the answers of all questions: SuperGLUE takes the mean of this and `exact_match`.
    pub f1_a: f64,
}

/// MultiRC (Khashabi et al., NAACL 2018): (paragraph, question), predicted label and label of each answer, where 1 is
/// true. `None` for no answers.
pub fn multirc(answers: &[((u64, u64), u32, u32)]) -> Option<MultiRc> {
    let mut questions: BTreeMap<(u64, u64), (Vec<u32>, Vec<u32>)> = BTreeMap::new();
    let (mut predictions, mut labels) = (Vec::new(), Vec::new());
    for (question, prediction, label) in answers {
        let of_question = questions.entry(*question).or_default();
        of_question.0.push(*prediction);
        of_question.1.push(*label);
        predictions.push(*prediction);
        labels.push(*label);
    }
    let f1_m: Option<Vec<f64>> = questions.values().map(|(p, l)| f1_macro(p, l)).collect();
    Some(MultiRc {
        exact_match: mean(questions.values().map(|(p, l)| f64::from(u8::from(p == l))))?,
        f1_m: mean(f1_m?)?,
        f1_a: f1(&predictions, &labels, 1)?,
    })
}

/// ReCoRD (Zhang et al., 2018), one query: the best over its true entities, by SQuAD 1.1's normalization. The task's
/// scores are the means over queries. `None` without a true entity.
pub fn record(prediction: &str, entities: &[&str]) -> Option<ExactF1> {
    Some(ExactF1 {
        exact: best(entities, |entity| exact(prediction, entity))?,
        f1: best(entities, |entity| f1_of_words(prediction, entity, 0.0))?,
    })
}

/// GLUE's and SuperGLUE's own aggregate: a task's score is the mean of its scores (accuracy and F1 of MRPC, QQP and CB,
/// both correlations of STS-B, `f1_a` and exact match of MultiRC, F1 and exact match of ReCoRD), the benchmark's the
/// mean of its tasks'. `None` for none.
pub fn average(scores: &[f64]) -> Option<f64> {
    mean(scores.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_right_only_with_all_of_its_answers() {
        let found = multirc(&[((0, 0), 1, 1), ((0, 0), 0, 0), ((0, 1), 1, 1), ((0, 1), 1, 0)]).unwrap();
        assert_eq!((found.exact_match, found.f1_a), (0.5, 0.8));
        // The second question: F1 of "true" is 2/3, of "false" 0.
        assert!((found.f1_m - (1.0 + 1.0 / 3.0) / 2.0).abs() < 1e-15);
        assert_eq!(multirc(&[]), None);
    }

    #[test]
    fn any_entity_will_do() {
        let found = record("Barack Obama", &["Michelle Obama", "the Barack Obama"]).unwrap();
        assert_eq!((found.exact, found.f1), (1.0, 1.0));
        assert_eq!((record("x", &[]), average(&[])), (None, None));
    }
}
