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
    weighted_loss(model, forward, batch, None, smoothing)
}

/// The same where the labels of each sequence weigh so much in the mean: numbers above 0, one for each sequence.
pub fn weighted_loss(
    model: &dyn Model,
    forward: &Forward,
    batch: &Batch,
    weights: Option<&[f32]>,
    smoothing: f32,
) -> Result<Loss> {
    match model.task() {
        TaskType::SequenceClassification => {
            let logits = logits(model, forward, batch)?;
            class_loss(&logits, &batch.labels, weights, smoothing)
        }
        TaskType::TokenClassification => {
            let hidden = model.hidden_states(forward, batch, &Wanted::All)?;
            let (rows, labels) = labelled(batch.labels.ids()?)?;
            let forward = forward.over(&batch.ragged).at(&rows);
            let logits = model.head().logits(&forward, &hidden.select_rows(&rows)?)?;
            let weights =
                weights.map(|weights| of_labels(weights, &batch.ragged, batch.labels.ids()?)).transpose()?;
            let mean = |part: &[u32]| {
                Ok(logits.select_rows(part)?.cross_entropy(&chosen(&labels, part), smoothing)?)
            };
            let whole = || Ok(logits.cross_entropy(&labels, smoothing)?);
            averaged(labels.len(), weights.as_deref(), whole, mean)
        }
        TaskType::QuestionAnswering => {
            answer_loss(&logits(model, forward, batch)?, &batch.ragged, batch.labels.ids()?, weights)
        }
        TaskType::CausalLm | TaskType::Seq2SeqLm => {
            let (hidden, labels) = labelled_hidden_states(model, forward, batch)?;
            let Some(vocabulary) = model.vocabulary() else {
                unreachable!("language models have a vocabulary")
            };
            let ragged = batch.decoder.as_ref().map_or(&batch.ragged, |(_, ragged)| ragged);
            let weights =
                weights.map(|weights| of_labels(weights, ragged, batch.labels.ids()?)).transpose()?;
            let mean =
                |part: &[u32]| vocabulary.loss(forward, &hidden.select_rows(part)?, &chosen(&labels, part));
            averaged(labels.len(), weights.as_deref(), || vocabulary.loss(forward, &hidden, &labels), mean)
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
        let nats = logits.cross_entropy(labels, 0.0)?;
        let [nats, numbers] = Tensor::numbers_of([&nats, &logits])?;
        foretold.nats += f64::from(nats[0]) * labels.len() as f64;
        let rows = numbers.chunks_exact(logits.cols()).zip(labels);
        foretold.hits += rows.filter(|(row, label)| argmax(row) == Some(**label as usize)).count();
    }
    Ok(foretold)
}

/// The mean loss of rows of logits, \[rows, labels\]: cross-entropy against labels, or the mean squared error of a
/// head's one output against numbers, as in Transformers; each row with its weight, where rows have some.
pub fn class_loss(logits: &Tensor, labels: &Labels, weights: Option<&[f32]>, smoothing: f32) -> Result<Loss> {
    match labels {
        Labels::Ids(labels) => {
            let mean = |part: &[u32]| {
                Ok(logits.select_rows(part)?.cross_entropy(&chosen(labels, part), smoothing)?)
            };
            averaged(labels.len(), weights, || Ok(logits.cross_entropy(labels, smoothing)?), mean)
        }
        Labels::Numbers(numbers) => {
            let mean = |part: &[u32]| squared_error(&logits.select_rows(part)?, &chosen(numbers, part));
            averaged(numbers.len(), weights, || squared_error(logits, numbers), mean)
        }
    }
}

/// The mean over `count` labels of a loss of which `whole` is the plain mean, and `mean` that of some labels by their places.
/// Labels of one weight are taken together.
fn averaged(
    count: usize,
    weights: Option<&[f32]>,
    whole: impl FnOnce() -> Result<Tensor>,
    mean: impl Fn(&[u32]) -> Result<Tensor>,
) -> Result<Loss> {
    let Some(weights) = weights else { return Ok(Loss { mean: whole()?, labels: count }) };
    let mut parts: Vec<(f32, Vec<u32>)> = Vec::new();
    for (place, weight) in (0..).zip(weights) {
        match parts.iter_mut().find(|(known, _)| known == weight) {
            Some((_, places)) => places.push(place),
            None => parts.push((*weight, vec![place])),
        }
    }
    let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let mut sum: Option<Tensor> = None;
    for (weight, places) in parts {
        let share = f64::from(weight) * places.len() as f64 / all;
        let part = mean(&places)?.scale(share as f32)?;
        sum = Some(match sum {
            Some(sum) => sum.add(&part)?,
            None => part,
        });
    }
    let mean = sum.ok_or_else(|| Error::malformed("batch", "labels", "a label or more", "none"))?;
    Ok(Loss { mean, labels: count })
}

/// The weight of every label that counts, by that of its sequence.
fn of_labels(weights: &[f32], ragged: &Ragged, labels: &[u32]) -> Result<Vec<f32>> {
    if weights.len() != ragged.sequences() {
        let expected = format!("a number for each of {} sequences", ragged.sequences());
        return Err(Error::malformed("batch", "weights", expected, weights.len().to_string()));
    }
    let sequences = ragged.starts().iter().zip(ragged.lengths()).zip(weights);
    Ok(sequences
        .flat_map(|((start, length), weight)| {
            let own = labels[*start..start + length].iter().filter(|label| **label != IGNORE);
            own.map(|_| *weight)
        })
        .collect())
}

fn chosen<T: Copy>(all: &[T], places: &[u32]) -> Vec<T> {
    places.iter().map(|place| all[*place as usize]).collect()
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

/// The mean over sequences, each with its weight, of the cross-entropies of an answer's first and last token, each against
/// all tokens of the sequence. Answers outside of the sequence, cut off perhaps, do not count, as in Transformers.
fn answer_loss(logits: &Tensor, ragged: &Ragged, labels: &[u32], weights: Option<&[f32]>) -> Result<Loss> {
    let mut sums: [(Option<Tensor>, f32); 2] = [(None, 0.0), (None, 0.0)];
    for (side, (sum, count)) in sums.iter_mut().enumerate() {
        let column = logits.select_columns(side, 1)?;
        for (sequence, (start, length)) in ragged.starts().iter().zip(ragged.lengths()).enumerate() {
            let Some(label) = labels.get(2 * sequence + side).filter(|label| (**label as usize) < length)
            else {
                continue;
            };
            let rows: Vec<u32> = (*start as u32..(start + length) as u32).collect();
            let mut one = column.select_rows(&rows)?.reshape(&[1, length])?.cross_entropy(&[*label], 0.0)?;
            if let Some(weights) = weights {
                one = one.scale(weights[sequence])?;
            }
            *sum = Some(match sum.take() {
                Some(sum) => sum.add(&one)?,
                None => one,
            });
            *count += weights.map_or(1.0, |weights| weights[sequence]);
        }
    }
    let means = sums.into_iter().filter_map(|(sum, count)| Some((sum?, count)));
    let means: Vec<Tensor> = means.map(|(sum, count)| Ok(sum.scale(0.5 / count)?)).collect::<Result<_>>()?;
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
        let loss = class_loss(&outputs.tensor(), &labels, None, 0.0).unwrap();
        // Distances 1, 0.5 and −2: the mean of their squares, and 2/3 of each.
        assert_eq!((loss.labels, loss.mean.numbers().unwrap()), (3, vec![1.75]));
        loss.mean.backward(1.0).unwrap();
        let gradient = outputs.gradient().unwrap().unwrap();
        for (found, expected) in gradient.iter().zip([2.0 / 3.0, 1.0 / 3.0, -4.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    #[test]
    fn rows_weigh_in_the_mean_what_they_are_said_to_weigh() {
        let backend: Arc<dyn Backend> = Cpu::new();
        let logits = Param::new(&backend, "logits", &[3, 2], vec![1.0, 0.0, 0.5, 2.0, -1.0, 1.0]).unwrap();
        let labels = Labels::Ids(vec![0, 0, 1]);
        let of = |weights: Option<&[f32]>| {
            let loss = class_loss(&logits.tensor(), &labels, weights, 0.0).unwrap();
            let mean = loss.mean.numbers().unwrap()[0];
            loss.mean.backward(1.0).unwrap();
            let gradient = logits.gradient().unwrap().unwrap();
            logits.clear_gradient();
            (f64::from(mean), gradient)
        };
        let alone = |row: usize| {
            let (high, low): (f64, f64) = [(1.0, 0.0), (0.5, 2.0), (1.0, -1.0)][row];
            -(high.exp() / (high.exp() + low.exp())).ln()
        };
        let (mean, gradient) = of(Some(&[1.0, 4.0, 3.0]));
        let expected = (alone(0) + 4.0 * alone(1) + 3.0 * alone(2)) / 8.0;
        assert!((mean - expected).abs() < 1e-6, "{mean} {expected}");
        let plain = of(None).1;
        for (row, weight) in [1.0, 4.0, 3.0].into_iter().enumerate() {
            let expected = plain[2 * row] * 3.0 * weight / 8.0;
            assert!((gradient[2 * row] - expected).abs() < 1e-6, "{gradient:?} {plain:?}");
        }
        // A regression's row of double weight counts as two.
        let outputs = Param::new(&backend, "outputs", &[2, 1], vec![1.0, 3.0]).unwrap();
        let numbers = Labels::Numbers(vec![0.0, 0.0]);
        let loss = class_loss(&outputs.tensor(), &numbers, Some(&[2.0, 1.0]), 0.0).unwrap();
        assert!((loss.mean.numbers().unwrap()[0] - 11.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn answers_weigh_what_their_sequences_do() {
        let backend: Arc<dyn Backend> = Cpu::new();
        let numbers: Vec<f32> = (0..10).map(|place| (place * 7 % 5) as f32 / 3.0).collect();
        let logits = Param::new(&backend, "logits", &[5, 2], numbers).unwrap().tensor();
        let ragged = Ragged::from_lengths([2, 3]);
        let of = |labels: &[u32], weights: Option<&[f32]>| {
            answer_loss(&logits, &ragged, labels, weights).unwrap().mean.numbers().unwrap()[0]
        };
        let labels = [0, 1, 2, 0];
        let (first, second) = (of(&[0, 1, 9, 9], None), of(&[9, 9, 2, 0], None));
        let found = of(&labels, Some(&[3.0, 1.0]));
        assert!((found - (3.0 * first + second) / 4.0).abs() < 1e-6, "{found} {first} {second}");
        assert!((of(&labels, Some(&[2.0, 2.0])) - of(&labels, None)).abs() < 1e-6);
    }
}
