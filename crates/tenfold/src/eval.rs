//! Scoring: loss and answers of a tuning over rows.

mod asking;
mod evaluation;
mod joined;
mod likelihood;
mod tally;

pub use asking::{Answer, Asker, Said};
pub(crate) use evaluation::cut_note;
pub use evaluation::{DomainResult, Evaluation, Identity, TaskResult, Whole};
pub use likelihood::{Continuation, Likelihood, Weigher};
pub use tally::{Tallied, tally};

use crate::adapter::Tuning;
use crate::error::{Error, Result};
use crate::model::{self, Forward, TaskType};
use crate::record::{Answers, Score, Test};
use crate::score::{Kind, argmax};
use crate::task::QuestionSet;
use crate::train::{Asked, EVALUATION_BATCH, Source};
use std::sync::Arc;
use tenfold_tensor::{Tensor, without_gradients};

/// A score and the answers it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Loss and the task's own score.
    pub score: Score,
    /// What was answered to every row.
    pub answers: Answers,
    /// Rows whose prompt was longer than the model's window, so that a part of it was not read.
    pub cut: usize,
}

impl Scored {
    /// The same as what was answered in a domain, scored by the metric of that name.
    pub fn test(self, domain: &str, metric: &str) -> Test {
        let Scored { score, answers, cut } = self;
        Test { domain: domain.to_owned(), metric: metric.to_owned(), answers, score, cut }
    }
}

/// Scores all rows, without dropout. `go_on` is asked before each batch.
pub fn score(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<Scored> {
    let mut cut = 0;
    let (answers, loss) = match (tuning.task(), source.rows().asked()) {
        _ if let Some(joined) = source.rows().joined() => joined::answer(tuning, source, joined, go_on)?,
        (TaskType::SequenceClassification, _) => classify(tuning, source, go_on)?,
        (_, None) => weigh(tuning, source, go_on)?,
        (_, Some(asked)) => {
            let (_, loss) = weigh(tuning, source, &go_on)?;
            let (answers, of_these) = ask(tuning, source, asked, &go_on, &mut || {})?;
            cut = of_these;
            (answers, loss)
        }
    };
    let value = source.rows().scoring().score(&answers);
    Ok(Scored { score: Score { examples: answers.len(), loss, value }, answers, cut })
}

/// Answers to what a language model is asked about the rows; none where it is asked nothing. `token` is called for each
/// token that it writes.
pub fn answers(
    tuning: &Tuning,
    source: &Source,
    go_on: &dyn Fn() -> Result<()>,
    token: &mut dyn FnMut(),
) -> Result<Option<Answers>> {
    let asked = source.rows().asked().map(|asked| ask(tuning, source, asked, go_on, token)).transpose()?;
    Ok(asked.map(|(answers, _)| answers))
}

/// The same, with nothing before the questions, and how many prompts were cut.
fn ask(
    tuning: &Tuning,
    source: &Source,
    asked: &Asked,
    go_on: &dyn Fn() -> Result<()>,
    token: &mut dyn FnMut(),
) -> Result<(Answers, usize)> {
    let asker = Asker { model: source.model(), tuning, tokenizer: &asked.tokenizer };
    let (mut all, mut cut) = (None, 0);
    for rows in asked.rows.chunk_by(|(one, _), (other, _)| Arc::ptr_eq(one, other)) {
        let questions = &rows[0].0;
        let set = QuestionSet::bare("", rows.iter().map(|(_, question)| question.clone()).collect());
        let said = asker.ask(questions, &set, 0..set.questions.len(), go_on, token)?;
        cut += evaluation::cut(&said);
        let said: Vec<Answer> = said.into_iter().map(|said| said.answer).collect();
        let answers = tally::answers(questions, &set.questions, &said)?;
        all = Some(match all {
            None => answers,
            Some(before) => Answers::and(before, answers).ok_or_else(|| Error::Unsupported {
                what: "a score over rows of several tasks".into(),
                why: "some have one right choice each and others several".into(),
            })?,
        });
    }
    Ok((all.unwrap_or(Answers::Worths(Vec::new())), cut))
}

/// The label with the highest logit for every row, the lowest such label where logits tie, or of a head with one output
/// the number as it comes, as GLUE's own baseline leaves it; and the mean loss.
fn classify(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<(Answers, f64)> {
    let forward = Forward::evaluation(tuning);
    let rows: Vec<usize> = (0..source.rows().len()).collect();
    let labels = source.rows().labels();
    let (mut predictions, mut numbers, mut loss) = (Vec::new(), Vec::new(), 0.0);
    for picks in rows.chunks(EVALUATION_BATCH) {
        go_on()?;
        let logits = without_gradients(|| source.logits(&forward, picks))?;
        let labels = source.rows().batch(picks).labels;
        let mean = model::class_loss(&logits, &labels, None, 0.0)?.mean;
        let [mean, found] = Tensor::numbers_of([&mean, &logits])?;
        loss += f64::from(mean[0]) * picks.len() as f64;
        match logits.cols() {
            1 => numbers.extend(found.into_iter().map(f64::from)),
            // Of logits that are no numbers the loss tells.
            labels => {
                predictions.extend(found.chunks_exact(labels).map(|row| argmax(row).unwrap_or(0) as u32));
            }
        }
    }
    let answers = match source.rows().scoring().of {
        Kind::Numbers => Answers::Numbers { targets: source.rows().numbers(), predictions: numbers },
        _ => Answers::Labels { labels, predictions },
    };
    Ok((answers, share(loss, rows.len())))
}

/// Cross-entropy of every row's labels, and its mean over all labels of all rows. Of tasks other than language models
/// the rows of a pass share theirs.
fn weigh(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<(Answers, f64)> {
    let forward = Forward::evaluation(tuning);
    let rows: Vec<usize> = (0..source.rows().len()).collect();
    let (mut nats, mut counts) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for picks in by_tokens(source, &rows) {
        go_on()?;
        let labels = picks.iter().map(|row| source.rows().label_count(&[*row]));
        if tuning.task().is_language_modelling() {
            let batch = source.rows().batch(picks);
            let logs = without_gradients(|| model::log_probabilities(source.model(), &forward, &batch))?;
            let mut rest = logs.as_slice();
            for count in labels {
                let (own, others) = rest.split_at(count.min(rest.len()));
                nats.push(-own.iter().map(|log| f64::from(*log)).sum::<f64>());
                counts.push(own.len() as u64);
                rest = others;
            }
        } else {
            let loss = without_gradients(|| source.loss(&forward, picks, 0.0))?;
            let mean = f64::from(loss.mean.numbers()?[0]);
            nats.extend(labels.clone().map(|count| mean * count as f64));
            counts.extend(labels.map(|count| count as u64));
        }
    }
    let (sum, labels) = (nats.iter().sum(), counts.iter().sum::<u64>());
    Ok((Answers::Nats { nats, counts }, share(sum, labels as usize)))
}

fn share(sum: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Tokens of a pass that scores long rows.
const EVALUATION_TOKENS: usize = 4096;

/// Rows in runs of about as many tokens.
fn by_tokens<'a>(source: &'a Source, rows: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = |row: &&usize| {
            tokens += source.rows().tokens(**row);
            tokens <= EVALUATION_TOKENS
        };
        let count = rest.iter().take_while(fits).count().clamp(1, EVALUATION_BATCH).min(rest.len());
        let (now, later) = rest.split_at(count);
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}
