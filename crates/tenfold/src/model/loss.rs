//! What a model says of a batch, and how far that is from what it should say: one loss for each type of task.

use super::{Batch, Forward, IGNORE, Labels, Model, TaskType, Wanted};
use crate::error::{Error, Result};
use crate::score::argmax;
use tenfold_tensor::{Class, Ragged, Tensor};

/// A mean over labels.
pub struct Loss {
    /// Nats, a scalar.
    pub mean: Tensor,
    /// How many labels it is the mean of.
    pub labels: usize,
}

/// What the head says: \[sequences, labels\] (SEQ_CLS), or \[tokens, labels\] (TOKEN_CLS; QUESTION_ANS: 2 for start and
/// end), or \[tokens, vocab_size\] of a language model, which is for short texts.
pub fn logits(model: &dyn Model, forward: &Forward, batch: &Batch) -> Result<Tensor> {
    let wanted = if model.task() == TaskType::SequenceClassification { Wanted::Pooled } else { Wanted::All };
    let hidden = model.hidden_states(forward, batch, &wanted)?;
    match model.vocabulary() {
        Some(vocabulary) => vocabulary.logits(forward, &hidden),
        None if wanted == Wanted::Pooled => model.head().logits(forward, &hidden),
        None => model.head().logits(&forward.over(&batch.ragged), &hidden),
    }
}

/// The mean cross-entropy of a batch's labels. `smoothing` spreads a share of each label over all; language models
/// and answers are not smoothed.
pub fn loss(model: &dyn Model, forward: &Forward, batch: &Batch, smoothing: f32) -> Result<Loss> {
    match model.task() {
        TaskType::SequenceClassification => {
            let logits = logits(model, forward, batch)?;
            class_loss(&logits, &batch.labels, smoothing)
        }
        TaskType::TokenClassification => {
            let hidden = model.hidden_states(forward, batch, &Wanted::All)?;
            let (rows, labels) = labelled(batch.labels.ids()?)?;
            let forward = forward.over(&batch.ragged).at(&rows);
            cross_entropy(&model.head().logits(&forward, &hidden.select_rows(&rows)?)?, &labels, smoothing)
        }
        TaskType::QuestionAnswering => {
            answer_loss(&logits(model, forward, batch)?, &batch.ragged, batch.labels.ids()?)
        }
        TaskType::CausalLm | TaskType::Seq2SeqLm => {
            let (hidden, labels) = labelled_hidden_states(model, forward, batch)?;
            match model.vocabulary() {
                Some(vocabulary) => {
                    Ok(Loss { mean: vocabulary.loss(forward, &hidden, &labels)?, labels: labels.len() })
                }
                None => unreachable!("language models have a vocabulary"),
            }
        }
    }
}

/// ln p of every label of a language model's batch, in order.
pub fn log_probabilities(model: &dyn Model, forward: &Forward, batch: &Batch) -> Result<Vec<f32>> {
    let (hidden, labels) = labelled_hidden_states(model, forward, batch)?;
    match model.vocabulary() {
        Some(vocabulary) => vocabulary.log_probabilities(forward, &hidden, &labels),
        None => Err(Error::unknown("output", "log-probabilities of words", ["logits of labels"])),
    }
}

/// What a language model makes of a batch's labels.
pub struct Foretold {
    /// Sum of their cross-entropies, in nats.
    pub nats: f64,
    /// How many it held for the likeliest of all words.
    pub hits: usize,
    /// How many there are.
    pub labels: usize,
}

/// Rows whose logits exist at a time.
const FORETOLD_ROWS: usize = 64;

/// How well a language model foretells a batch's labels; for evaluation.
pub fn foretell(model: &dyn Model, forward: &Forward, batch: &Batch) -> Result<Foretold> {
    let (hidden, labels) = labelled_hidden_states(model, forward, batch)?;
    let Some(vocabulary) = model.vocabulary() else {
        return Err(Error::unknown("output", "words", ["labels"]));
    };
    let mut foretold = Foretold { nats: 0.0, hits: 0, labels: labels.len() };
    for (first, labels) in (0..).step_by(FORETOLD_ROWS).zip(labels.chunks(FORETOLD_ROWS)) {
        let rows: Vec<u32> = (first..first + labels.len() as u32).collect();
        let logits = vocabulary.logits(forward, &hidden.select_rows(&rows)?)?;
        foretold.nats += f64::from(logits.cross_entropy(labels, 0.0)?.numbers()?[0]) * labels.len() as f64;
        let numbers = logits.numbers()?;
        let rows = numbers.chunks_exact(logits.cols()).zip(labels);
        foretold.hits += rows.filter(|(row, label)| argmax(row) == Some(**label as usize)).count();
    }
    Ok(foretold)
}

/// The mean loss of rows of logits, \[rows, labels\]: cross-entropy against labels, or the mean squared error of a
/// head's one output against numbers, as in Transformers.
pub fn class_loss(logits: &Tensor, labels: &Labels, smoothing: f32) -> Result<Loss> {
    match labels {
        Labels::Ids(labels) => cross_entropy(logits, labels, smoothing),
        Labels::Numbers(numbers) => Ok(Loss { mean: squared_error(logits, numbers)?, labels: numbers.len() }),
    }
}

fn cross_entropy(logits: &Tensor, labels: &[u32], smoothing: f32) -> Result<Loss> {
    Ok(Loss { mean: logits.cross_entropy(labels, smoothing)?, labels: labels.len() })
}

/// The mean squared distance of \[rows, 1\] from as many numbers.
fn squared_error(outputs: &Tensor, numbers: &[f32]) -> Result<Tensor> {
    let count = numbers.len();
    let against = numbers.iter().map(|number| -number).collect();
    let against = Tensor::new(outputs.backend(), Class::Activations, &[count, 1], against)?;
    // The distances times themselves: [1, rows] by [1, rows].
    let distances = outputs.add(&against)?.reshape(&[1, count])?;
    Ok(distances.linear(&distances, None)?.scale(1.0 / count as f32)?)
}

/// Hidden states of the places that have a label, and these. No sequence's last layer is computed further back than
/// its first label.
fn labelled_hidden_states(model: &dyn Model, forward: &Forward, batch: &Batch) -> Result<(Tensor, Vec<u32>)> {
    let ragged = batch.decoder.as_ref().map_or(&batch.ragged, |(_, ragged)| ragged);
    let labels = batch.labels.ids()?;
    let sequences: Vec<&[u32]> = (ragged.starts().iter().zip(ragged.lengths()))
        .map(|(start, length)| &labels[*start..start + length])
        .collect();
    let reach = |labels: &[u32]| {
        labels.len() - labels.iter().position(|label| *label != IGNORE).unwrap_or(labels.len())
    };
    let reaches: Vec<usize> = sequences.iter().map(|labels| reach(labels)).collect();
    let kept: Vec<u32> = (sequences.iter().zip(&reaches))
        .flat_map(|(labels, reach)| labels[labels.len() - reach..].iter().copied())
        .collect();
    let hidden = model.hidden_states(forward, batch, &Wanted::Last(reaches))?;
    let (rows, labels) = labelled(&kept)?;
    if rows.len() == kept.len() { Ok((hidden, labels)) } else { Ok((hidden.select_rows(&rows)?, labels)) }
}

/// The places that have a label, and their labels.
fn labelled(labels: &[u32]) -> Result<(Vec<u32>, Vec<u32>)> {
    let pairs = labels.iter().enumerate().filter(|(_, label)| **label != IGNORE);
    let (rows, labels): (Vec<u32>, Vec<u32>) = pairs.map(|(row, label)| (row as u32, *label)).unzip();
    if labels.is_empty() {
        return Err(Error::malformed("batch", "labels", "a label or more", "none"));
    }
    Ok((rows, labels))
}

/// The mean over sequences of the cross-entropies of an answer's first and last token, each against all tokens of the
/// sequence. Answers outside of the sequence, cut off perhaps, do not count, as in Transformers.
fn answer_loss(logits: &Tensor, ragged: &Ragged, labels: &[u32]) -> Result<Loss> {
    let mut sums: [(Option<Tensor>, usize); 2] = [(None, 0), (None, 0)];
    for (side, (sum, count)) in sums.iter_mut().enumerate() {
        let column = logits.select_columns(side, 1)?;
        for (sequence, (start, length)) in ragged.starts().iter().zip(ragged.lengths()).enumerate() {
            let Some(label) = labels.get(2 * sequence + side).filter(|label| (**label as usize) < length)
            else {
                continue;
            };
            let rows: Vec<u32> = (*start as u32..(start + length) as u32).collect();
            let one = column.select_rows(&rows)?.reshape(&[1, length])?.cross_entropy(&[*label], 0.0)?;
            *sum = Some(match sum.take() {
                Some(sum) => sum.add(&one)?,
                None => one,
            });
            *count += 1;
        }
    }
    let means = sums.into_iter().filter_map(|(sum, count)| Some((sum?, count)));
    let means: Vec<Tensor> =
        means.map(|(sum, count)| Ok(sum.scale(0.5 / count as f32)?)).collect::<Result<_>>()?;
    match means.as_slice() {
        [start, end] => Ok(Loss { mean: start.add(end)?, labels: ragged.sequences() }),
        _ => Err(Error::malformed("batch", "labels", "an answer or more", "none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tenfold_tensor::{Backend, Cpu, Param};

    #[test]
    fn one_output_foretells_numbers_by_the_squared_error_and_its_gradient() {
        let backend: Arc<dyn Backend> = Cpu::new();
        let outputs = Param::new(&backend, "outputs", &[3, 1], vec![1.0, 2.5, -1.0]).unwrap();
        let labels = Labels::Numbers(vec![0.0, 2.0, 1.0]);
        let loss = class_loss(&outputs.tensor(), &labels, 0.0).unwrap();
        // Distances 1, 0.5 and −2: the mean of their squares, and 2/3 of each.
        assert_eq!((loss.labels, loss.mean.numbers().unwrap()), (3, vec![1.75]));
        loss.mean.backward(1.0).unwrap();
        let gradient = outputs.gradient().unwrap().unwrap();
        for (found, expected) in gradient.iter().zip([2.0 / 3.0, 1.0 / 3.0, -4.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }
}
