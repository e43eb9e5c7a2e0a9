//! SQuAD 1.1 and 2.0 over all rows, by the official scripts; shares of 0 to 1 where these print percent.

use super::answer::{best, exact, f1_of_words, normalized};
use super::mean;

/// Both scores of a set of rows, 0 to 1, higher is better.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ExactF1 {
    /// Share of rows whose answer is a true one, once normalized.
    pub exact: f64,
    /// Mean F1 of the words, with the nearest true answer.
    pub f1: f64,
}

/// One question of SQuAD 2.0.
#[derive(Debug, Clone, Copy)]
pub struct Squad2Row<'a> {
    /// What was answered; empty for "no answer".
    pub prediction: &'a str,
    /// The true answers; none if there is no answer.
    pub answers: &'a [&'a str],
    /// What speaks for "no answer": its probability, or any figure that rises with it.
    pub no_answer: f64,
}

/// Scores of SQuAD 2.0.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Squad2 {
    /// Over all rows.
    pub all: ExactF1,
    /// Over the rows that have an answer; `None` if there are none.
    pub has_answer: Option<ExactF1>,
    /// Over the rows that have none; `None` if there are none.
    pub no_answer: Option<ExactF1>,
    /// `exact` at the best threshold, and that threshold.
    pub best_exact: (f64, f64),
    /// `f1` at the best threshold, and that threshold.
    pub best_f1: (f64, f64),
}

/// SQuAD 1.1: (prediction, true answers) of each row. `None` for no rows or one without a true answer.
pub fn squad1(rows: &[(&str, &[&str])]) -> Option<ExactF1> {
    let over = |score: &dyn Fn(&str, &str) -> f64| {
        let each: Option<Vec<f64>> = rows
            .iter()
            .map(|(prediction, answers)| best(answers, |answer| score(prediction, answer)))
            .collect();
        mean(each?)
    };
    Some(ExactF1 {
        exact: over(&exact)?,
        f1: over(&|prediction, answer| f1_of_words(prediction, answer, 0.0))?,
    })
}

/// SQuAD 2.0. A row whose `no_answer` is above the threshold (1 in the official script) counts as answered by
/// nothing. `None` for no rows, or if a `no_answer` is not a number.
pub fn squad2(rows: &[Squad2Row], threshold: f64) -> Option<Squad2> {
    if rows.iter().any(|row| row.no_answer.is_nan()) {
        return None;
    }
    let raw: Vec<ExactF1> = rows.iter().map(of_row).collect();
    let judged: Vec<(bool, ExactF1)> = rows
        .iter()
        .zip(&raw)
        .map(|(row, raw)| {
            let withheld = f64::from(u8::from(row.answers.is_empty()));
            let empty = ExactF1 { exact: withheld, f1: withheld };
            (!row.answers.is_empty(), if row.no_answer > threshold { empty } else { *raw })
        })
        .collect();
    let over = |which: &dyn Fn(bool) -> bool| {
        let chosen = || judged.iter().filter(|(answerable, _)| which(*answerable));
        Some(ExactF1 { exact: mean(chosen().map(|(_, s)| s.exact))?, f1: mean(chosen().map(|(_, s)| s.f1))? })
    };
    Some(Squad2 {
        all: over(&|_| true)?,
        has_answer: over(&|answerable| answerable),
        no_answer: over(&|answerable| !answerable),
        best_exact: best_threshold(rows, &raw, |score| score.exact),
        best_f1: best_threshold(rows, &raw, |score| score.f1),
    })
}

fn of_row(row: &Squad2Row) -> ExactF1 {
    squad2_row(row.prediction, row.answers)
}

/// One question of SQuAD 2.0, as it is answered: by nothing where `prediction` is empty.
pub fn squad2_row(prediction: &str, answers: &[&str]) -> ExactF1 {
    let mut answers: Vec<&str> =
        answers.iter().copied().filter(|answer| !normalized(answer).is_empty()).collect();
    if answers.is_empty() {
        answers.push("");
    }
    let over = |score: &dyn Fn(&str) -> f64| best(&answers, score).unwrap_or(0.0);
    ExactF1 {
        exact: over(&|answer| exact(prediction, answer)),
        f1: over(&|answer| f1_of_words(prediction, answer, 1.0)),
    }
}

/// The best mean score over thresholds, and the lowest threshold that has it: from answering nothing on, one row more
/// is answered at a time.
fn best_threshold(rows: &[Squad2Row], raw: &[ExactF1], score: fn(&ExactF1) -> f64) -> (f64, f64) {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*a].no_answer.total_cmp(&rows[*b].no_answer));
    let mut sum = rows.iter().filter(|row| row.answers.is_empty()).count() as f64;
    let mut best = (sum, 0.0);
    for i in order {
        sum += match (rows[i].answers.is_empty(), rows[i].prediction.is_empty()) {
            (false, _) => score(&raw[i]),
            (true, false) => -1.0,
            (true, true) => 0.0,
        };
        if sum > best.0 {
            best = (sum, rows[i].no_answer);
        }
    }
    (best.0 / rows.len() as f64, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_scored_is_none() {
        assert_eq!(squad1(&[]), None);
        assert_eq!(squad1(&[("a", &[])]), None);
        assert_eq!(squad2(&[], 1.0), None);
        assert_eq!(squad2(&[Squad2Row { prediction: "x", answers: &[], no_answer: f64::NAN }], 1.0), None);
    }

    #[test]
    fn the_threshold_withholds_answers() {
        let rows = [
            Squad2Row { prediction: "cat", answers: &["the cat"], no_answer: 0.1 },
            Squad2Row { prediction: "dog", answers: &[], no_answer: 0.9 },
        ];
        assert_eq!(squad2(&rows, 1.0).unwrap().all, ExactF1 { exact: 0.5, f1: 0.5 });
        assert_eq!(squad2(&rows, 0.5).unwrap().all, ExactF1 { exact: 1.0, f1: 1.0 });
        assert_eq!(squad2(&rows, 1.0).unwrap().best_exact, (1.0, 0.1));
    }
}
