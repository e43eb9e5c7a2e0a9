//! What was answered, so that every score can be had again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Answers to the rows of a split, in their order, beside the truth or what they are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// One label for each row.
    Labels {
        /// The true ones.
        labels: Vec<u32>,
        /// The predicted ones.
        predictions: Vec<u32>,
    },
    /// One number for each row.
    Numbers {
        /// The true ones.
        targets: Vec<f64>,
        /// The predicted ones.
        predictions: Vec<f64>,
    },
    /// What each row is worth, 0 to 1: exact match, F1 of words.
    Worths(Vec<f64>),
    /// How an answer in words meets the true ones, for each question.
    Matches {
        /// 1 where it is one of them, once normalized, else 0.
        exact: Vec<f64>,
        /// F1 of its words with those of the nearest true one.
        f1: Vec<f64>,
        /// Whether there is a true one: else saying nothing is right.
        answerable: Vec<bool>,
    },
    /// Each choice of each question judged by itself, 1 for right.
    Judged {
        /// The true labels, one list for each question.
        labels: Vec<Vec<u32>>,
        /// The predicted ones.
        predictions: Vec<Vec<u32>>,
    },
    /// The likelihood of each row's labels.
    Nats {
        /// Their cross-entropy summed over the row, in nats.
        nats: Vec<f64>,
        /// How many there are.
        counts: Vec<u64>,
    },
}

impl Answers {
    /// How many rows were answered.
    pub fn len(&self) -> usize {
        match self {
            Answers::Labels { predictions, .. } => predictions.len(),
            Answers::Numbers { predictions, .. } => predictions.len(),
            Answers::Worths(worths) => worths.len(),
            Answers::Matches { f1, .. } => f1.len(),
            Answers::Judged { predictions, .. } => predictions.len(),
            Answers::Nats { nats, .. } => nats.len(),
        }
    }

    /// True if no row was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was said to each row, or of each choice, as a category in which runs agree or do not: the label; where
    /// the answers are words, whether they are right. `None` where no row is plainly one or the other.
    pub fn categories(&self) -> Option<Cow<'_, [u32]>> {
        match self {
            Answers::Labels { predictions, .. } => Some(Cow::Borrowed(predictions)),
            Answers::Judged { predictions, .. } => Some(Cow::Owned(predictions.concat())),
            Answers::Matches { exact: rights, .. } | Answers::Worths(rights) => {
                let category =
                    |right: &f64| (*right == 0.0 || *right == 1.0).then_some(u32::from(*right == 1.0));
                Some(Cow::Owned(rights.iter().map(category).collect::<Option<_>>()?))
            }
            Answers::Numbers { .. } | Answers::Nats { .. } => None,
        }
    }

    /// These rows and then the others' as one; `None` for answers of another kind.
    pub fn joined(&self, others: &Answers) -> Option<Answers> {
        fn of<T: Clone>(first: &[T], then: &[T]) -> Vec<T> {
            [first, then].concat()
        }
        Some(match (self, others) {
            (Answers::Labels { labels, predictions }, Answers::Labels { labels: l, predictions: p }) => {
                Answers::Labels { labels: of(labels, l), predictions: of(predictions, p) }
            }
            (Answers::Numbers { targets, predictions }, Answers::Numbers { targets: t, predictions: p }) => {
                Answers::Numbers { targets: of(targets, t), predictions: of(predictions, p) }
            }
            (Answers::Worths(worths), Answers::Worths(w)) => Answers::Worths(of(worths, w)),
            (
                Answers::Matches { exact, f1, answerable },
                Answers::Matches { exact: e, f1: f, answerable: a },
            ) => Answers::Matches { exact: of(exact, e), f1: of(f1, f), answerable: of(answerable, a) },
            (Answers::Judged { labels, predictions }, Answers::Judged { labels: l, predictions: p }) => {
                Answers::Judged { labels: of(labels, l), predictions: of(predictions, p) }
            }
            (Answers::Nats { nats, counts }, Answers::Nats { nats: n, counts: c }) => {
                Answers::Nats { nats: of(nats, n), counts: of(counts, c) }
            }
            _ => return None,
        })
    }

    /// The answers to the rows `picks`, which may repeat and must exist.
    pub fn select(&self, picks: &[u32]) -> Answers {
        fn of<T: Clone>(values: &[T], picks: &[u32]) -> Vec<T> {
            picks.iter().map(|row| values[*row as usize].clone()).collect()
        }
        match self {
            Answers::Labels { labels, predictions } => {
                Answers::Labels { labels: of(labels, picks), predictions: of(predictions, picks) }
            }
            Answers::Numbers { targets, predictions } => {
                Answers::Numbers { targets: of(targets, picks), predictions: of(predictions, picks) }
            }
            Answers::Worths(worths) => Answers::Worths(of(worths, picks)),
            Answers::Matches { exact, f1, answerable } => Answers::Matches {
                exact: of(exact, picks),
                f1: of(f1, picks),
                answerable: of(answerable, picks),
            },
            Answers::Judged { labels, predictions } => {
                Answers::Judged { labels: of(labels, picks), predictions: of(predictions, picks) }
            }
            Answers::Nats { nats, counts } => {
                Answers::Nats { nats: of(nats, picks), counts: of(counts, picks) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_categories_where_they_are_one_thing_or_another() {
        let labels = Answers::Labels { labels: vec![0, 1], predictions: vec![2, 1] };
        let judged = Answers::Judged { labels: vec![vec![1, 1], vec![0]], predictions: vec![vec![1, 0], vec![1]] };
        let matches = Answers::Matches { exact: vec![1.0, 0.0], f1: vec![1.0, 0.5], answerable: vec![true; 2] };
        for (answers, said) in [(labels, vec![2, 1]), (judged, vec![1, 0, 1]), (matches, vec![1, 0])] {
            assert_eq!(answers.categories().as_deref(), Some(&said[..]));
        }
        assert_eq!(Answers::Worths(vec![0.0, 1.0]).categories().as_deref(), Some(&[0, 1][..]));
        let graded = [Answers::Worths(vec![0.0, 0.5]), Answers::Worths(vec![f64::NAN])];
        let nats = Answers::Nats { nats: vec![1.0], counts: vec![1] };
        assert!(graded.iter().chain([&nats]).all(|answers| answers.categories().is_none()));
    }
}
