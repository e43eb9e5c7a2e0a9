//! Scoring: loss and predictions of a tuning over rows.

mod asking;
mod evaluation;
mod likelihood;
mod tally;

pub use asking::{Answer, Asker};
pub use evaluation::{DomainResult, Evaluation, Identity, TaskResult, Whole};
pub use likelihood::{Continuation, Likelihood, Weigher};
pub use tally::{Tallied, tally};

use crate::adapter::Tuning;
use crate::error::Result;
use crate::model::{self, Forward, TaskType};
use crate::record::Score;
use crate::train::{EVALUATION_BATCH, Source};
use tenfold_tensor::without_gradients;

/// A score and the predictions it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Loss and accuracy.
    pub score: Score,
    /// The label with the highest logit for every row; the lowest such label where logits tie. Empty where rows have
    /// no labels of their own.
    pub predictions: Vec<u32>,
}

/// Scores all rows, without dropout. `go_on` is asked before each batch.
pub fn score(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<Scored> {
    match tuning.task() {
        TaskType::SequenceClassification => classify(tuning, source, go_on),
        _ => weigh(tuning, source, go_on),
    }
}

/// Loss and accuracy over rows with one label each.
fn classify(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<Scored> {
    let forward = Forward::evaluation(tuning);
    let rows: Vec<usize> = (0..source.rows().len()).collect();
    let labels = source.rows().labels();
    let (mut predictions, mut loss) = (Vec::with_capacity(rows.len()), 0.0);
    for picks in rows.chunks(EVALUATION_BATCH) {
        go_on()?;
        let logits = without_gradients(|| source.logits(&forward, picks))?;
        let labels = &labels[picks[0]..picks[0] + picks.len()];
        loss += f64::from(logits.cross_entropy(labels, 0.0)?.numbers()?[0]) * picks.len() as f64;
        predictions.extend(logits.numbers()?.chunks_exact(logits.cols()).map(model::likeliest));
    }
    let hits = predictions.iter().zip(&labels).filter(|(predicted, label)| predicted == label).count();
    let examples = rows.len();
    let share = |sum: f64| if examples == 0 { 0.0 } else { sum / examples as f64 };
    Ok(Scored { score: Score { examples, loss: share(loss), accuracy: share(hits as f64) }, predictions })
}

/// The mean loss over all labels of all rows. A language model's accuracy is the share of words that it holds for the
/// likeliest of all; that of other tasks is not looked at here.
fn weigh(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<Scored> {
    let forward = Forward::evaluation(tuning);
    let rows: Vec<usize> = (0..source.rows().len()).collect();
    let (mut sum, mut hits, mut labels) = (0.0, 0usize, 0usize);
    for picks in by_tokens(source, &rows) {
        go_on()?;
        if tuning.task().is_language_modelling() {
            let batch = source.rows().batch(picks);
            let foretold = without_gradients(|| model::foretell(source.model(), &forward, &batch))?;
            sum += foretold.nats;
            hits += foretold.hits;
            labels += foretold.labels;
        } else {
            let loss = without_gradients(|| source.loss(&forward, picks, 0.0))?;
            sum += f64::from(loss.mean.numbers()?[0]) * loss.labels as f64;
            labels += loss.labels;
        }
    }
    let share = |sum: f64| if labels == 0 { 0.0 } else { sum / labels as f64 };
    let score = Score { examples: rows.len(), loss: share(sum), accuracy: share(hits as f64) };
    Ok(Scored { score, predictions: Vec::new() })
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
