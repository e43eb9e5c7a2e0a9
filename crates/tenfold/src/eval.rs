//! Scoring: loss and predictions of a tuning over rows.

use crate::adapter::Tuning;
use crate::error::Result;
use crate::model::Forward;
use crate::record::Score;
use crate::train::{EVALUATION_BATCH, Source};
use tenfold_tensor::without_gradients;

/// A score and the predictions it comes from, one for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Loss and accuracy.
    pub score: Score,
    /// The label with the highest logit for every row; the lowest such label where logits tie.
    pub predictions: Vec<u32>,
}

/// Scores all rows, without dropout. `go_on` is asked before each batch.
pub fn score(tuning: &Tuning, source: &Source, go_on: impl Fn() -> Result<()>) -> Result<Scored> {
    let forward = Forward::evaluation(tuning);
    let rows: Vec<usize> = (0..source.rows().len()).collect();
    let labels = source.rows().labels();
    let (mut predictions, mut loss) = (Vec::with_capacity(rows.len()), 0.0);
    for picks in rows.chunks(EVALUATION_BATCH) {
        go_on()?;
        let logits = without_gradients(|| source.logits(&forward, picks))?;
        let labels = &labels[picks[0]..picks[0] + picks.len()];
        loss += f64::from(logits.cross_entropy(labels, 0.0)?.numbers()?[0]) * picks.len() as f64;
        predictions.extend(logits.numbers()?.chunks_exact(logits.cols()).map(argmax));
    }
    let hits = predictions.iter().zip(labels).filter(|(predicted, label)| predicted == label).count();
    let examples = rows.len();
    let share = |sum: f64| if examples == 0 { 0.0 } else { sum / examples as f64 };
    Ok(Scored { score: Score { examples, loss: share(loss), accuracy: share(hits as f64) }, predictions })
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (label, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = label;
        }
    }
    best as u32
}
