//! The scores that a task can be judged by, each with its name, unit, direction and bounds: one line a metric.
//!
//! Everything that has to know which way a score is better, or how far two are apart, asks here.

use super::labels::{self, Counts};
use super::sums::{Columns, Labelled, Sums};
use super::{mean, pearson, spearman};
use crate::error::{Error, Result};
use crate::record::{Answers, Score};
use crate::unit::Unit;
use serde::Serialize;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It describes; neither way is better in itself.
    Neither,
}

/// What kind of answers a score is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Answers::Labels`].
    Labels,
    /// [`Answers::Numbers`].
    Numbers,
    /// [`Answers::Worths`].
    Worths,
    /// [`Answers::Matches`].
    Matches,
    /// [`Answers::Judged`].
    Judged,
    /// [`Answers::Nats`].
    Nats,
}

/// One way to score a task's answers.
#[derive(Debug)]
pub struct Scoring {
    /// Its name in task files and records: "matthews".
    pub name: &'static str,
    /// Its name for people, as a heading: "Matthews' correlation".
    pub title: &'static str,
    /// The same within a sentence.
    pub noun: &'static str,
    /// What its value is counted in.
    pub unit: Unit,
    /// Which way it is better.
    pub direction: Direction,
    /// What it cannot leave.
    pub range: (f64, f64),
    /// What it is a score of.
    pub of: Kind,
    /// Scores that are shown beside it, by name: those that it is the mean of.
    pub parts: &'static [&'static str],
    over: Over,
}

#[derive(Debug)]
enum Over {
    /// The mean of what each row is worth.
    Rows(fn(&Answers) -> Option<Vec<f64>>),
    /// A statistic of how often each label stands, is predicted and both.
    Labels(fn(&[Counts]) -> Option<f64>),
    /// A statistic of sums over rows: what each row adds to each, and the score by the sums.
    Sums(fn(&Answers) -> Option<Vec<Vec<f64>>>, fn(&[f64]) -> Option<f64>),
    /// Any other statistic of all rows together.
    All(fn(&Answers) -> Option<f64>),
}

const SHARE: (f64, f64) = (0.0, 1.0);
const CORRELATION: (f64, f64) = (-1.0, 1.0);

/// A score of which more is better and which has no parts.
const fn plain(
    name: &'static str,
    title: &'static str,
    noun: &'static str,
    of: Kind,
    range: (f64, f64),
    over: Over,
) -> Scoring {
    let unit = if range.0 < 0.0 { Unit::Correlation } else { Unit::Share };
    Scoring { name, title, noun, unit, direction: Direction::Higher, range, of, parts: &[], over }
}

/// Every score that a task may name.
pub static SCORINGS: &[Scoring] = &[
    plain("accuracy", "Accuracy", "accuracy", Kind::Labels, SHARE, Over::Rows(right_or_wrong)),
    plain("f1", "F1", "F1", Kind::Labels, SHARE, Over::Labels(labels::f1_of_counts)),
    plain("f1_macro", "Macro F1", "macro F1", Kind::Labels, SHARE, Over::Labels(labels::f1_macro_of_counts)),
    plain(
        "balanced_accuracy",
        "Balanced accuracy",
        "balanced accuracy",
        Kind::Labels,
        SHARE,
        Over::Labels(labels::balanced_accuracy_of_counts),
    ),
    plain(
        "matthews",
        "Matthews' correlation",
        "Matthews' correlation",
        Kind::Labels,
        CORRELATION,
        Over::Labels(labels::matthews_of_counts),
    ),
    Scoring {
        parts: &["accuracy", "f1"],
        ..plain(
            "accuracy_f1",
            "Mean of accuracy and F1",
            "mean of accuracy and F1",
            Kind::Labels,
            SHARE,
            Over::Labels(|counts| mean([labels::accuracy_of_counts(counts)?, labels::f1_of_counts(counts)?])),
        )
    },
    Scoring {
        parts: &["accuracy", "f1_macro"],
        ..plain(
            "accuracy_f1_macro",
            "Mean of accuracy and macro F1",
            "mean of accuracy and macro F1",
            Kind::Labels,
            SHARE,
            Over::Labels(|counts| {
                mean([labels::accuracy_of_counts(counts)?, labels::f1_macro_of_counts(counts)?])
            }),
        )
    },
    plain(
        "pearson",
        "Pearson's r",
        "Pearson's r",
        Kind::Numbers,
        CORRELATION,
        Over::All(|answers| numbers(answers, pearson)),
    ),
    plain(
        "spearman",
        "Spearman's rho",
        "Spearman's rho",
        Kind::Numbers,
        CORRELATION,
        Over::All(|answers| numbers(answers, spearman)),
    ),
    Scoring {
        parts: &["pearson", "spearman"],
        ..plain(
            "pearson_spearman",
            "Mean of Pearson's r and Spearman's rho",
            "mean of Pearson's r and Spearman's rho",
            Kind::Numbers,
            CORRELATION,
            Over::All(|answers| mean([numbers(answers, pearson)?, numbers(answers, spearman)?])),
        )
    },
    plain("exact_match", "Exact match", "exact match", Kind::Worths, SHARE, Over::Rows(worths)),
    plain("f1_words", "F1 of words", "F1 of words", Kind::Worths, SHARE, Over::Rows(worths)),
    plain(
        "acc_norm",
        "Accuracy for each character",
        "accuracy for each character",
        Kind::Worths,
        SHARE,
        Over::Rows(worths),
    ),
    plain(
        "acc_bytes",
        "Accuracy for each byte",
        "accuracy for each byte",
        Kind::Worths,
        SHARE,
        Over::Rows(worths),
    ),
    plain(
        "acc_mutual_info",
        "Accuracy by mutual information",
        "accuracy by mutual information",
        Kind::Worths,
        SHARE,
        Over::Rows(worths),
    ),
    plain("mc2", "Mass on right choices", "mass on right choices", Kind::Worths, SHARE, Over::Rows(worths)),
    plain("rouge_l", "ROUGE-L", "ROUGE-L", Kind::Worths, SHARE, Over::Rows(worths)),
    Scoring {
        parts: &["squad_em"],
        ..plain("squad_f1", "SQuAD's F1", "SQuAD's F1", Kind::Matches, SHARE, Over::Rows(f1_of_matches))
    },
    Scoring {
        parts: &["squad_em", "has_answer_f1", "no_answer_f1"],
        ..plain(
            "squad2_f1",
            "SQuAD 2.0's F1",
            "SQuAD 2.0's F1",
            Kind::Matches,
            SHARE,
            Over::Rows(f1_of_matches),
        )
    },
    plain(
        "squad_em",
        "SQuAD's exact match",
        "SQuAD's exact match",
        Kind::Matches,
        SHARE,
        Over::Rows(exact_matches),
    ),
    plain(
        "has_answer_f1",
        "F1 where there is an answer",
        "F1 where there is an answer",
        Kind::Matches,
        SHARE,
        Over::Sums(|answers| f1_where(answers, true), ratio),
    ),
    plain(
        "no_answer_f1",
        "Rightly unanswered",
        "share rightly left unanswered",
        Kind::Matches,
        SHARE,
        Over::Sums(|answers| f1_where(answers, false), ratio),
    ),
    Scoring {
        parts: &["squad_em", "squad_f1"],
        ..plain(
            "em_f1",
            "Mean of exact match and F1",
            "mean of exact match and F1",
            Kind::Matches,
            SHARE,
            Over::Rows(|answers| {
                let both = exact_matches(answers)?.into_iter().zip(f1_of_matches(answers)?);
                Some(both.map(|(exact, f1)| (exact + f1) / 2.0).collect())
            }),
        )
    },
    Scoring {
        parts: &["multirc_em", "multirc_f1a"],
        ..plain(
            "multirc",
            "Mean of exact match and F1 of answers",
            "mean of exact match and F1 of answers",
            Kind::Judged,
            SHARE,
            Over::Sums(judged, |sums| mean([exact_match(sums)?, f1_of_answers(sums)?])),
        )
    },
    plain(
        "multirc_em",
        "Questions all of whose answers are judged rightly",
        "share of questions all of whose answers are judged rightly",
        Kind::Judged,
        SHARE,
        Over::Sums(judged, exact_match),
    ),
    plain(
        "multirc_f1a",
        "F1 of answers",
        "F1 of answers",
        Kind::Judged,
        SHARE,
        Over::Sums(judged, f1_of_answers),
    ),
    of_nats("perplexity", "Perplexity", "perplexity", 1.0, |sums| Some(ratio(sums)?.exp())),
    // Of raw text in a study: rows are cut where tokens end, not words.
    of_nats("token_perplexity", "Perplexity per token", "perplexity per token", 1.0, |sums| {
        Some(ratio(sums)?.exp())
    }),
    of_nats("word_perplexity", "Perplexity per word", "perplexity per word", 1.0, |sums| {
        Some(ratio(sums)?.exp())
    }),
    of_nats("byte_perplexity", "Perplexity per byte", "perplexity per byte", 1.0, |sums| {
        Some(ratio(sums)?.exp())
    }),
    of_nats("bits_per_byte", "Bits per byte", "bits per byte", 0.0, |sums| Some(ratio(sums)?.exp().log2())),
];

/// A score of how unlikely texts are, at the least `lowest`.
const fn of_nats(
    name: &'static str,
    title: &'static str,
    noun: &'static str,
    lowest: f64,
    score: fn(&[f64]) -> Option<f64>,
) -> Scoring {
    let plain = plain(name, title, noun, Kind::Nats, (lowest, f64::INFINITY), Over::Sums(nats, score));
    Scoring { unit: Unit::Number, direction: Direction::Lower, ..plain }
}

/// The score of that name.
pub fn scoring(name: &str) -> Result<&'static Scoring> {
    let found = SCORINGS.iter().find(|scoring| scoring.name == name);
    found.ok_or_else(|| Error::unknown("metric", name, SCORINGS.iter().map(|scoring| scoring.name)))
}

/// What a task without a metric of its own is scored by.
pub fn usual(kind: Kind) -> &'static Scoring {
    let first = SCORINGS.iter().find(|scoring| scoring.of == kind);
    first.unwrap_or_else(|| unreachable!("every kind of answers has a score: {kind:?}"))
}

impl Scoring {
    /// The score; `None` where it is not defined, or for answers of another kind.
    pub fn score(&self, answers: &Answers) -> Option<f64> {
        match self.over {
            Over::Rows(worths) => mean(worths(answers)?),
            Over::Labels(score) => match answers {
                Answers::Labels { labels, predictions } if labels.len() == predictions.len() => {
                    score(&labels::by_number(predictions, labels))
                }
                _ => None,
            },
            Over::Sums(columns, score) => {
                let sums: Vec<f64> = columns(answers)?.iter().map(|column| column.iter().sum()).collect();
                score(&sums)
            }
            Over::All(score) => score(answers),
        }
        .filter(|value| value.is_finite())
    }

    /// What each row is worth, where the score is the mean of that.
    pub fn worths(&self, answers: &Answers) -> Option<Vec<f64>> {
        match self.over {
            Over::Rows(worths) => worths(answers),
            _ => None,
        }
    }

    /// Runs on the same rows as sums over rows, where the score is a function of such and no mean of rows.
    pub fn sums(&self, runs: &[&Answers]) -> Option<Box<dyn Sums>> {
        match self.over {
            Over::Labels(score) => Some(Box::new(Labelled::new(runs, score)?)),
            Over::Sums(columns, score) => {
                let columns: Option<Vec<_>> = runs.iter().map(|run| columns(run)).collect();
                Some(Box::new(Columns::new(columns?, score)?))
            }
            Over::Rows(_) | Over::All(_) => None,
        }
    }

    /// Whether it is the mean of what each row is worth.
    pub fn is_mean_of_rows(&self) -> bool {
        matches!(self.over, Over::Rows(_))
    }

    /// Whether the one value is better than the other; any is better than none.
    pub fn is_better(&self, value: Option<f64>, than: Option<f64>) -> bool {
        match (value, than) {
            (Some(value), Some(than)) => self.shortfall(value, than) > 0.0,
            (value, None) => value.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// Whether one set of weights is better than another: the task's own score decides, and the loss where that ties.
    pub fn is_ahead(&self, score: &Score, than: &Score) -> bool {
        self.is_better(score.value, than.value) || (score.value == than.value && score.loss < than.loss)
    }

    /// What the loss that is trained on is counted in.
    pub fn loss_unit(&self) -> &'static str {
        if self.of == Kind::Numbers { "squared error" } else { "nats" }
    }

    /// By how much `value` is worse than `best`; below 0 if it is better.
    pub fn shortfall(&self, best: f64, value: f64) -> f64 {
        if self.direction == Direction::Lower { value - best } else { best - value }
    }

    /// The value that is worse than `best` by `shortfall`.
    pub fn behind(&self, best: f64, shortfall: f64) -> f64 {
        if self.direction == Direction::Lower { best + shortfall } else { best - shortfall }
    }

    /// What part of `best` is left in `value`: 1 for as good; not a number where it is a part of nothing, or of less.
    pub fn kept(&self, value: f64, best: f64) -> f64 {
        let (part, whole) = if self.direction == Direction::Lower { (best, value) } else { (value, best) };
        if whole > 0.0 { part / whole } else { f64::NAN }
    }

    /// The value that keeps this share of `best`.
    pub fn part(&self, best: f64, share: f64) -> f64 {
        if self.direction == Direction::Lower { best / share } else { best * share }
    }

    /// How far a value is from the best there can be, 0 or more.
    pub fn to_perfect(&self, value: f64) -> f64 {
        if self.direction == Direction::Lower { value - self.range.0 } else { self.range.1 - value }
    }

    /// A standard error of the value over so many rows, where nothing but these two is known: a share's is binomial (F1
    /// is taken for one), a correlation's that of Pearson's r (Fisher, 1915). 0 where there is no such formula.
    pub fn rough_error(&self, value: f64, rows: usize) -> f64 {
        let rows = rows.max(1) as f64;
        match (self.range, self.direction) {
            (SHARE, _) => (value * (1.0 - value) / rows).max(0.0).sqrt(),
            (CORRELATION, _) => (1.0 - value * value) / rows.sqrt(),
            _ => 0.0,
        }
    }

    /// Whether so many rows cannot tell a value from the best one: it is within one standard error of it (Breiman et al.
    /// 1984, "Classification and Regression Trees", 3.4.3).
    pub fn is_alike(&self, best: f64, value: f64, rows: usize) -> bool {
        self.shortfall(best, value) <= self.rough_error(best, rows)
    }
}

impl Direction {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Direction::Higher => "higher is better",
            Direction::Lower => "lower is better",
            Direction::Neither => "describes, neither way is better",
        }
    }
}

fn numbers(answers: &Answers, score: fn(&[f64], &[f64]) -> Option<f64>) -> Option<f64> {
    match answers {
        Answers::Numbers { targets, predictions } => score(predictions, targets),
        _ => None,
    }
}

/// 1 for every row whose label was predicted, else 0; of questions with several right answers what each is worth.
fn right_or_wrong(answers: &Answers) -> Option<Vec<f64>> {
    match answers {
        Answers::Worths(worths) => Some(worths.clone()),
        Answers::Labels { labels, predictions } if labels.len() == predictions.len() => {
            Some(labels.iter().zip(predictions).map(|(a, b)| f64::from(u8::from(a == b))).collect())
        }
        _ => None,
    }
}

fn worths(answers: &Answers) -> Option<Vec<f64>> {
    match answers {
        Answers::Worths(worths) => Some(worths.clone()),
        _ => None,
    }
}

fn f1_of_matches(answers: &Answers) -> Option<Vec<f64>> {
    match answers {
        Answers::Matches { f1, .. } => Some(f1.clone()),
        _ => None,
    }
}

fn exact_matches(answers: &Answers) -> Option<Vec<f64>> {
    match answers {
        Answers::Matches { exact, .. } => Some(exact.clone()),
        _ => None,
    }
}

/// F1 of the rows that have an answer, or have none, and how many these are.
fn f1_where(answers: &Answers, there_is_one: bool) -> Option<Vec<Vec<f64>>> {
    let Answers::Matches { f1, answerable, .. } = answers else { return None };
    let chosen: Vec<f64> = answerable.iter().map(|is| f64::from(u8::from(*is == there_is_one))).collect();
    let of_chosen = |(f1, chosen): (&f64, &f64)| if *chosen > 0.0 { *f1 } else { 0.0 };
    Some(vec![f1.iter().zip(&chosen).map(of_chosen).collect(), chosen])
}

/// The first sum over the second.
fn ratio(sums: &[f64]) -> Option<f64> {
    (sums[1] > 0.0).then(|| sums[0] / sums[1])
}

/// Of MultiRC's questions: whether it has answers; whether these are all judged rightly; how many are judged true, are
/// true, and both.
fn judged(answers: &Answers) -> Option<Vec<Vec<f64>>> {
    let Answers::Judged { labels, predictions } = answers else { return None };
    if labels.len() != predictions.len() || labels.iter().zip(predictions).any(|(a, b)| a.len() != b.len()) {
        return None;
    }
    let count = |of: &dyn Fn(&[u32], &[u32]) -> usize| -> Vec<f64> {
        labels.iter().zip(predictions).map(|(labels, said)| of(labels, said) as f64).collect()
    };
    let both = |(label, said): &(&u32, &u32)| **label == 1 && **said == 1;
    Some(vec![
        count(&|labels, _| usize::from(!labels.is_empty())),
        count(&|labels, said| usize::from(!labels.is_empty() && labels == said)),
        count(&|_, said| said.iter().filter(|said| **said == 1).count()),
        count(&|labels, _| labels.iter().filter(|label| **label == 1).count()),
        count(&|labels, said| labels.iter().zip(said).filter(both).count()),
    ])
}

/// [`super::MultiRc::exact_match`] by the sums of [`judged`].
fn exact_match(sums: &[f64]) -> Option<f64> {
    (sums[0] > 0.0).then(|| sums[1] / sums[0])
}

/// [`super::MultiRc::f1_a`] by the sums of [`judged`].
fn f1_of_answers(sums: &[f64]) -> Option<f64> {
    let both = sums[2] + sums[3];
    (sums[0] > 0.0).then(|| if both > 0.0 { 2.0 * sums[4] / both } else { 0.0 })
}

/// Cross-entropy of all labels of a row, and how many there are.
fn nats(answers: &Answers) -> Option<Vec<Vec<f64>>> {
    match answers {
        Answers::Nats { nats, counts } => {
            Some(vec![nats.clone(), counts.iter().map(|count| *count as f64).collect()])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
