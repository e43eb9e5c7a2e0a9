//! From answers to scores: lm-evaluation-harness's metrics with its standard errors, and intervals.

use super::asking::Answer;
use crate::data::language::Question;
use crate::error::{Error, Result};
use crate::record::Answers;
use crate::score::{self, BleuCounts, apply};
use crate::statistics::{Estimate, Resampled, Runs, score as over_rows, standard_error};
use crate::task::{OutputType, QuestionMetric, Questions};
use serde::Serialize;

/// One figure over rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tallied {
    /// The metric.
    pub metric: QuestionMetric,
    /// The filter that generated texts went through, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// The score with its interval over rows; none where it is not defined.
    pub estimate: Option<Estimate>,
    /// Its standard error over rows, as the harness prints it.
    pub standard_error: Option<f64>,
    /// What each row is worth, where the score is their mean.
    #[serde(skip)]
    pub rows: Option<Vec<f64>>,
}

/// Scores of the answers to questions, in the order of the task's metrics; of generated texts each for each filter.
pub fn tally(asked: &Questions, questions: &[Question], answers: &[Answer]) -> Result<Vec<Tallied>> {
    let rows: Vec<(&Question, &Answer)> = questions.iter().zip(answers).collect();
    let mut tallied = Vec::new();
    for metric in &asked.metrics {
        if asked.output_type != OutputType::GenerateUntil {
            tallied.push(of_likelihoods(asked, *metric, &rows));
            continue;
        }
        if asked.filters.is_empty() {
            tallied.push(of_texts(asked, *metric, None, &rows)?);
        }
        for (name, _) in &asked.filters {
            tallied.push(of_texts(asked, *metric, Some(name), &rows)?);
        }
    }
    Ok(tallied)
}

/// Answers as a study keeps them: which choice, or what each row is worth by the task's own metric (and the first
/// filter).
pub(super) fn answers(asked: &Questions, questions: &[Question], said: &[Answer]) -> Result<Answers> {
    let picked = |answer: &Answer| match answer {
        Answer::Choice { chosen, golds, .. } if golds.len() == 1 => Some((golds[0] as u32, *chosen as u32)),
        _ => None,
    };
    let by_choice = matches!(asked.metrics.first(), Some(QuestionMetric::Acc | QuestionMetric::F1Macro));
    if by_choice && let Some(picks) = said.iter().map(picked).collect::<Option<Vec<(u32, u32)>>>() {
        let (labels, predictions) = picks.into_iter().unzip();
        return Ok(Answers::Labels { labels, predictions });
    }
    let rows = |metric| -> Result<Vec<f64>> {
        let alone = Questions { metrics: vec![metric], ..asked.clone() };
        let tallied = tally(&alone, questions, said)?.into_iter().next();
        tallied.and_then(|tallied| tallied.rows).ok_or_else(|| undefined(metric))
    };
    match asked.metrics.first() {
        Some(QuestionMetric::EmF1) => {
            let (exact, f1) = (rows(QuestionMetric::Em)?, rows(QuestionMetric::F1)?);
            return Ok(Answers::Matches { answerable: vec![true; f1.len()], exact, f1 });
        }
        Some(QuestionMetric::Multirc) => return Ok(judged(said)),
        Some(QuestionMetric::Perplexity) => return Ok(nats(said, |_, _| 1)),
        Some(QuestionMetric::WordPerplexity) => return Ok(nats(said, |words, _| words)),
        Some(QuestionMetric::BytePerplexity | QuestionMetric::BitsPerByte) => {
            return Ok(nats(said, |_, bytes| bytes));
        }
        _ => {}
    }
    let first = tally(asked, questions, said)?.into_iter().next();
    match first.and_then(|tallied| tallied.rows) {
        Some(worths) => Ok(Answers::Worths(worths)),
        None => Err(undefined(asked.metrics.first().copied().unwrap_or(QuestionMetric::Acc))),
    }
}

fn undefined(metric: QuestionMetric) -> Error {
    let what = format!("a study by {}", metric.name());
    Error::Unsupported { what, why: "its score is not defined on every row".into() }
}

/// How unlikely each text is, and what of it is counted: of its words and bytes.
fn nats(said: &[Answer], count: fn(usize, usize) -> usize) -> Answers {
    let of = |answer: &Answer| match answer {
        Answer::Text { log_likelihood, words, bytes, .. } => {
            Some((-log_likelihood, count(*words, *bytes) as u64))
        }
        _ => None,
    };
    let (nats, counts) = said.iter().filter_map(of).unzip();
    Answers::Nats { nats, counts }
}

/// Each choice by itself: right if that is likelier than not.
fn judged(said: &[Answer]) -> Answers {
    let even = 0.5f64.ln();
    let (labels, predictions) = (said.iter())
        .filter_map(|answer| match answer {
            Answer::Choice { log_likelihoods, golds, .. } => {
                let right = (0..log_likelihoods.len()).map(|choice| u32::from(golds.contains(&choice)));
                Some((right.collect(), log_likelihoods.iter().map(|log| u32::from(*log > even)).collect()))
            }
            _ => None,
        })
        .unzip();
    Answers::Judged { labels, predictions }
}

/// What a row is worth by a metric of log-likelihoods whose score is the mean of its rows.
fn worth(asked: &Questions, metric: QuestionMetric, question: &Question, answer: &Answer) -> Option<f64> {
    use QuestionMetric::*;
    let of = |metric| worth(asked, metric, question, answer);
    match (question, answer) {
        (
            Question::Choice { contexts, choices, answers, references, .. },
            Answer::Choice { log_likelihoods, unconditional, chosen, golds, .. },
        ) => {
            let same: Vec<&str>;
            let texts: Vec<&str> = if choices.len() == 1 && contexts.len() > 1 {
                same = vec![choices[0].as_str(); contexts.len()];
                same
            } else {
                choices.iter().map(String::as_str).collect()
            };
            let said = || answers.get(*chosen).map(String::as_str);
            let references: Vec<&str> = references.iter().map(String::as_str).collect();
            let best = |score: &dyn Fn(&str, &str) -> f64| {
                let said = said()?;
                references.iter().map(|reference| score(said, reference)).reduce(f64::max)
            };
            match metric {
                Acc => score::acc(log_likelihoods, golds),
                AccNorm => score::acc_norm(log_likelihoods, &texts, golds),
                AccBytes => score::acc_bytes(log_likelihoods, &texts, golds),
                AccMutualInfo => score::acc_mutual_info(log_likelihoods, unconditional, golds),
                Mc2 => mass(log_likelihoods, golds),
                Em => best(&score::exact),
                F1 => best(&|said, reference| score::f1_of_words(said, reference, 1.0)),
                EmF1 => Some((of(Em)? + of(F1)?) / 2.0),
                _ => None,
            }
        }
        (_, Answer::Text { is_greedy, .. })
            if metric == Acc && asked.output_type == OutputType::Loglikelihood =>
        {
            Some(f64::from(u8::from(*is_greedy)))
        }
        _ => None,
    }
}

/// Probability of the right choices among all: TruthfulQA's MC2 (Lin et al. 2022).
fn mass(log_likelihoods: &[f64], golds: &[usize]) -> Option<f64> {
    let most = log_likelihoods.iter().copied().reduce(f64::max)?;
    let shares: Vec<f64> = log_likelihoods.iter().map(|nats| (nats - most).exp()).collect();
    let right: f64 = golds.iter().map(|gold| shares.get(*gold)).sum::<Option<f64>>()?;
    Some(right / shares.iter().sum::<f64>())
}

fn of_likelihoods(asked: &Questions, metric: QuestionMetric, rows: &[(&Question, &Answer)]) -> Tallied {
    use QuestionMetric::*;
    let worths = || rows.iter().map(|(question, answer)| worth(asked, metric, question, answer)).collect();
    match metric {
        F1Macro | F1MacroAll => {
            let picks: Vec<(u32, u32)> = (rows.iter())
                .filter_map(|(_, answer)| match answer {
                    Answer::Choice { chosen, golds, .. } => Some((*chosen as u32, *golds.first()? as u32)),
                    _ => None,
                })
                .collect();
            let classes = rows.iter().map(|(question, _)| choices(question)).max().unwrap_or(0) as u32;
            of_sample(metric, None, rows.len(), (0.0, 1.0), |drawn| {
                let (said, right): (Vec<u32>, Vec<u32>) =
                    drawn.iter().map(|row| picks[*row as usize]).unzip();
                match metric {
                    F1Macro => score::f1_macro(&said, &right),
                    _ => score::f1_macro_of(&said, &right, classes),
                }
            })
        }
        Perplexity | WordPerplexity | BytePerplexity | BitsPerByte => {
            let texts: Vec<(f64, usize)> = (rows.iter())
                .filter_map(|(_, answer)| match answer {
                    Answer::Text { log_likelihood, words, bytes, .. } => Some(match metric {
                        Perplexity => (*log_likelihood, 1),
                        WordPerplexity => (*log_likelihood, *words),
                        _ => (*log_likelihood, *bytes),
                    }),
                    _ => None,
                })
                .collect();
            let lowest = if metric == BitsPerByte { 0.0 } else { 1.0 };
            of_sample(metric, None, texts.len(), (lowest, f64::INFINITY), |drawn| {
                let drawn: Vec<(f64, usize)> = drawn.iter().map(|row| texts[*row as usize]).collect();
                match metric {
                    BitsPerByte => score::bits_per_byte(&drawn),
                    _ => score::weighted_perplexity(&drawn),
                }
            })
        }
        _ => of_rows(metric, None, worths()),
    }
}

fn choices(question: &Question) -> usize {
    match question {
        Question::Choice { contexts, choices, .. } => contexts.len().max(choices.len()),
        _ => 0,
    }
}

fn of_texts(
    asked: &Questions,
    metric: QuestionMetric,
    filter: Option<&str>,
    rows: &[(&Question, &Answer)],
) -> Result<Tallied> {
    use QuestionMetric::*;
    let steps = filter.and_then(|name| asked.filters.iter().find(|(known, _)| known == name));
    let steps = steps.map_or(&[][..], |(_, steps)| steps);
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    for (question, answer) in rows {
        let (Question::Answer { references, .. }, Answer::Generated { text }) = (question, answer) else {
            continue;
        };
        let said = apply(steps, vec![text.clone()])?.into_iter().next().unwrap_or_default();
        texts.push((said, references.iter().map(String::as_str).collect()));
    }
    let filter = filter.map(str::to_owned);
    let best = |score: &dyn Fn(&str, &str) -> f64| -> Option<Vec<f64>> {
        let of = |(said, references): &(String, Vec<&str>)| {
            references.iter().map(|reference| score(said, reference)).reduce(f64::max)
        };
        texts.iter().map(of).collect()
    };
    let worths = match metric {
        Bleu => {
            let counts: Option<Vec<BleuCounts>> =
                texts.iter().map(|(said, references)| BleuCounts::of(said, references)).collect();
            let counts = counts.unwrap_or_default();
            return Ok(of_sample(metric, filter, counts.len(), (0.0, 100.0), |drawn| {
                Some(drawn.iter().map(|row| counts[*row as usize]).sum::<BleuCounts>().score())
            }));
        }
        ExactMatch => {
            let each = texts.iter().map(|(said, references)| asked.exact_match.score(said, references));
            each.collect::<Result<Option<Vec<f64>>>>()?
        }
        Em => best(&score::exact),
        F1 => best(&|said, reference| score::f1_of_words(said, reference, 1.0)),
        EmF1 => {
            let f1 = best(&|said, reference| score::f1_of_words(said, reference, 1.0));
            let both = best(&score::exact).zip(f1).map(|(exact, f1)| exact.into_iter().zip(f1));
            both.map(|both| both.map(|(exact, f1)| (exact + f1) / 2.0).collect())
        }
        RougeL => best(&|said, reference| score::rouge_l(said, reference).f1),
        _ => None,
    };
    Ok(of_rows(metric, filter, worths))
}

/// A mean over rows.
fn of_rows(metric: QuestionMetric, filter: Option<String>, rows: Option<Vec<f64>>) -> Tallied {
    let runs = rows.as_ref().and_then(|rows| Runs::new(std::slice::from_ref(rows)));
    Tallied {
        metric,
        filter,
        higher_is_better: metric.higher_is_better(),
        estimate: runs.as_ref().map(over_rows),
        standard_error: rows.as_deref().and_then(standard_error),
        rows,
    }
}

/// A score that is no mean of its rows.
fn of_sample(
    metric: QuestionMetric,
    filter: Option<String>,
    rows: usize,
    range: (f64, f64),
    score: impl Fn(&[u32]) -> Option<f64> + Sync + Send,
) -> Tallied {
    let sample = Resampled::of(1, rows, range, |_, drawn| score(drawn));
    let all: Vec<u32> = (0..rows as u32).collect();
    Tallied {
        metric,
        filter,
        higher_is_better: metric.higher_is_better(),
        estimate: match &sample {
            Some(sample) => Some(sample.estimate()),
            None => score(&all).filter(|_| rows > 0).map(Estimate::exact),
        },
        standard_error: sample.as_ref().and_then(Resampled::rows_error),
        rows: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;

    #[test]
    fn the_mass_of_right_choices_is_their_share_of_all() {
        let thirds = [(0.2f64).ln(), (0.1f64).ln(), (0.1f64).ln()];
        assert!((mass(&thirds, &[0, 2]).unwrap() - 0.75).abs() < 1e-12);
        assert_eq!(mass(&thirds, &[3]), None);
        assert_eq!(mass(&[-1e9, -1e9], &[1]), Some(0.5));
    }

    fn task(keys: &str) -> Task {
        let text = format!(
            "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n{keys}\ndoc_to_text = \"q\"\n\
             doc_to_target = \"a\"\n[[domains]]\nname = \"d\"\ntest = \"t.jsonl\"\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        std::fs::write(&path, text).unwrap();
        Task::load(path.to_str().unwrap()).unwrap()
    }

    /// Answers as a study keeps them, and their score by the task's own metric.
    fn kept(keys: &str, questions: &[Question], said: &[Answer]) -> (Answers, Option<f64>) {
        let task = task(keys);
        let answers = answers(task.questions().unwrap(), questions, said).unwrap();
        let score = task.scoring().unwrap().score(&answers);
        (answers, score)
    }

    #[test]
    fn a_study_scores_what_has_several_right_answers_or_none_to_choose_from() {
        let answer =
            |nats: f64, is_greedy| Answer::Text { log_likelihood: -nats, is_greedy, words: 3, bytes: 9 };
        let question = Question::Answer { context: "?".into(), references: vec!["a".into()] };
        let (questions, said) = ([question.clone(), question], [answer(1.0, true), answer(3.0, false)]);
        let (_, accuracy) = kept("output_type = \"loglikelihood\"\nmetric = \"acc\"", &questions, &said);
        assert_eq!(accuracy, Some(0.5));
        let (answers, perplexity) =
            kept("output_type = \"loglikelihood\"\nmetric = \"perplexity\"", &questions, &said);
        assert_eq!(answers, Answers::Nats { nats: vec![1.0, 3.0], counts: vec![1, 1] });
        assert!((perplexity.unwrap() - 2f64.exp()).abs() < 1e-12);

        let choice = |chosen, golds| Answer::Choice {
            log_likelihoods: vec![-1.0, -1.0, -1.0],
            is_greedy: vec![false; 3],
            unconditional: Vec::new(),
            chosen,
            golds,
        };
        let said = [choice(0, vec![0, 2]), choice(0, vec![1])];
        let choices = "doc_to_choice = [\"a\", \"b\", \"c\"]";
        let metric = format!("output_type = \"multiple_choice\"\nmetric = \"acc\"\n{choices}");
        let question = Question::Choice {
            contexts: vec!["?".into()],
            choices: ["a", "b", "c"].map(str::to_owned).to_vec(),
            golds: vec![0],
            answers: Vec::new(),
            references: Vec::new(),
        };
        assert_eq!(kept(&metric, &[question.clone(), question], &said).1, Some(0.5));
    }

    #[test]
    fn macro_f1_is_one_number_in_a_study_and_an_evaluation_and_that_of_all_choices_another() {
        let question = |gold| Question::Choice {
            contexts: vec!["?".into()],
            choices: ["a", "b", "c"].map(str::to_owned).to_vec(),
            golds: vec![gold],
            answers: Vec::new(),
            references: Vec::new(),
        };
        let said = |gold| Answer::Choice {
            log_likelihoods: vec![-1.0; 3],
            is_greedy: vec![false; 3],
            unconditional: Vec::new(),
            chosen: gold,
            golds: vec![gold],
        };
        let (questions, said) = ([question(0), question(1)], [said(0), said(1)]);
        let keys = "output_type = \"multiple_choice\"\nmetric = \"f1_macro\"\nfurther_metrics = [\"f1_macro_all\"]\n\
            doc_to_choice = [\"a\", \"b\", \"c\"]";
        let tallied = tally(task(keys).questions().unwrap(), &questions, &said).unwrap();
        let values: Vec<f64> = tallied.iter().map(|one| one.estimate.unwrap().value).collect();
        // scikit-learn's f1_score(average="macro"), and cb_multi_fi of the harness.
        assert_eq!((kept(keys, &questions, &said).1, values), (Some(1.0), vec![1.0, 2.0 / 3.0]));
    }

    #[test]
    fn gsm8k_is_tallied_by_both_filters() {
        let task = Task::load("gsm8k").unwrap();
        let asked = task.questions().unwrap();
        let question =
            |answer: &str| Question::Answer { context: "?".into(), references: vec![answer.into()] };
        let questions = [question("so\n#### 18"), question("#### 1,000")];
        let said = |text: &str| Answer::Generated { text: text.into() };
        let tallied = tally(asked, &questions, &[said("it is $18."), said("#### 1000")]).unwrap();
        let by: Vec<(&str, f64)> = (tallied.iter())
            .map(|one| (one.filter.as_deref().unwrap(), one.estimate.unwrap().value))
            .collect();
        assert_eq!(by, [("strict-match", 0.5), ("flexible-extract", 1.0)]);
    }
}
