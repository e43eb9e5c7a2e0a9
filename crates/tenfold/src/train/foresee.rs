//! How much memory a run will take, from a step that is done without numbers, and how to make do with less.

use super::features::Features;
use super::objective::{CrossEntropy, Objective};
use super::optimizer::Optimizer;
use super::order::Order;
use super::rows::Rows;
use super::settings::{MOST, TrainSettings};
use super::source::Source;
use super::trainer::{pass, penalty, update};
use crate::adapter::{Context, Method, Step, Tuning};
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::model::{Forward, Model};
use serde_json::Value;
use std::cmp::Reverse;
use tenfold_tensor::{Class, Dtype, Product, Tally, Tensor, Usage};

/// What the process takes beside the engine's account: the program itself, the allocator's rests, and what threads pack
/// matrices into.
pub const PROCESS_BYTES: u64 = 64 << 20;

/// Activations of a pass in bytes that no batch is cut for.
pub const SMALL_ACTIVATIONS: u64 = 192 << 20;

/// Steps that are done: the second one meets gradients' and moments' memory as all later ones do.
const STEPS: usize = 2;

/// A training run, as far as its memory goes.
pub struct Subject<'a> {
    /// The base model on a backend that holds no numbers ([`tenfold_tensor::Meta`]).
    pub model: &'a dyn Model,
    /// The method.
    pub method: &'static Method,
    /// Its settings, resolved.
    pub settings: &'a Value,
    /// Labels of the task.
    pub labels: usize,
    /// The rows to learn from.
    pub rows: &'a Rows,
    /// Token ids of a text without special tokens.
    pub tokenize: &'a dyn Fn(&str) -> Result<Vec<u32>>,
    /// Whether the base stays in memory beside a tuning that trains all of it.
    pub keeps_base: bool,
}

/// Settings with which a run fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The settings, without a limit: what it led to is in them.
    pub train: TrainSettings,
    /// The engine's account at the peak.
    pub foreseen: Usage,
    /// What was changed so that it fits, in words; none: nothing.
    pub changed: Option<String>,
}

/// The engine's account at the peak of training: the largest passes of `rows`, and the optimizer's steps.
pub fn foresee(subject: &Subject, train: &TrainSettings) -> Result<Usage> {
    let backend = subject.model.word_embeddings().tensor.backend();
    backend.ledger().reset_peak();
    let pass = fullest(subject.rows, train);
    let is_step = match train.max_tokens {
        0 => pass.len() == subject.rows.len().min(train.rows_per_step()),
        most => {
            train.gradient_accumulation_steps == 1 && train.pass_tokens.is_none_or(|tokens| tokens >= most)
        }
    };
    let passes = vec![pass; if is_step { 1 } else { 2 }];
    let tuning = rehearse(subject, train, STEPS, &passes, || ())?;
    let mut usage = backend.ledger().peak();
    if !subject.keeps_base && tuning.trains_all_of(subject.model) {
        usage.bytes[Class::Base as usize] = 0;
    }
    Ok(usage)
}

/// The matrix products of the first optimizer step, and how often each is done; `tally` is that of the model's backend.
pub fn products(subject: &Subject, train: &TrainSettings, tally: &Tally) -> Result<Vec<(Product, u64)>> {
    let passes = Order::new(train, subject.rows, 0).passes(0);
    rehearse(subject, train, 1, &passes, || drop(tally.take()))?;
    Ok(tally.take())
}

/// The rows of the largest pass that training can come to: of those neighbours in length that fit in one, the ones
/// with the most tokens.
fn fullest(rows: &Rows, train: &TrainSettings) -> Vec<usize> {
    let batch = if train.max_tokens == 0 { usize::MAX } else { train.max_tokens };
    let most = batch.min(train.pass_tokens.unwrap_or(usize::MAX));
    let count = if train.max_tokens > 0 { rows.len() } else { train.batch_size };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| Reverse(rows.tokens(*row)));
    let (mut best, mut end, mut tokens) = ((0, 0..0), 0, 0);
    for first in 0..order.len() {
        while end < order.len().min(first + count)
            && (end == first || tokens + rows.tokens(order[end]) <= most)
        {
            tokens += rows.tokens(order[end]);
            end += 1;
        }
        if tokens > best.0 {
            best = (tokens, first..end);
        }
        tokens -= rows.tokens(order[first]);
    }
    order[best.1].to_vec()
}

/// Goes through so many steps of these passes each, the first of them once `ready` was told.
fn rehearse(
    subject: &Subject,
    train: &TrainSettings,
    steps: usize,
    passes: &[Vec<usize>],
    ready: impl FnOnce(),
) -> Result<Tuning> {
    let backend = subject.model.word_embeddings().tensor.backend();
    let context = Context { model: subject.model, backend, seed: 0, tokenize: subject.tokenize };
    let tuning = Tuning::new(subject.method, subject.settings, &context, subject.labels)?;
    let evaluation = Forward::evaluation(&tuning);
    let source = Source::new(subject.model, subject.rows);
    let source = source.cache_features(&evaluation, &Features::default(), || Ok(()))?;
    let mut optimizer = Optimizer::new(backend, tuning.parameter_groups(), train)?.clip(train.max_grad_norm);
    let objective = CrossEntropy { label_smoothing_factor: train.label_smoothing_factor };
    let whole = passes.iter().map(|picks| objective.weight(subject.rows, picks)).sum();
    let planned = Order::new(train, subject.rows, 0).steps();
    ready();
    for number in 0..steps {
        let mut losses = Vec::new();
        for picks in passes {
            let forward = Forward::training(&tuning, 0, picks).recomputing(train.gradient_checkpointing);
            losses.push(pass(&objective, &source, &forward, picks, whole)?);
        }
        let penalty = penalty(&tuning)?;
        drop((losses, penalty));
        // A run of fewer steps is rehearsed past its end.
        update(&tuning, &mut optimizer, 0.0, Step { number, steps: planned.max(steps) })?;
    }
    Ok(tuning)
}

/// The first way of training that stays within `limit` bytes of the whole process: as `train` says, in passes of a size
/// that keeps memory in proportion where it names none; in smaller passes, down to single rows; and with blocks
/// computed again in the backward pass. Each step learns from the same rows: the loss and its gradients are the
/// same up to rounding. Refuses, before anything is trained, if none does.
pub fn fit(subject: &Subject, train: &TrainSettings, limit: Bytes) -> Result<Fitted> {
    let mut least = Usage::default();
    let pass_tokens = train.pass_tokens.map_or_else(|| proportionate(subject, train), Ok)?;
    let train = TrainSettings { pass_tokens: Some(pass_tokens), ..train.clone() };
    for train in ways(subject.rows, &train) {
        let foreseen = foresee(subject, &train.settings)?;
        if total(&foreseen) <= limit.0 {
            let fits = |how: String| {
                let (needed, limit) = (Bytes(total(&foreseen)).words(), limit.words());
                format!("{how}, so that {needed} suffice where {limit} are allowed")
            };
            return Ok(Fitted { train: train.settings, foreseen, changed: train.changed.map(fits) });
        }
        least = foreseen;
    }
    Err(Error::Memory {
        needed: Bytes(total(&least)),
        limit,
        parts: parts(&least),
        help: help(&least, subject),
    })
}

/// Tokens of a pass whose activations are small, or small beside all else; all that a batch has if they are so.
fn proportionate(subject: &Subject, train: &TrainSettings) -> Result<usize> {
    let tokens: usize = fullest(subject.rows, train).into_iter().map(|row| subject.rows.tokens(row)).sum();
    let usage = foresee(subject, train)?;
    let activations = usage.bytes[Class::Activations as usize];
    let workspace = usage.bytes[Class::Workspace as usize];
    let allowed = SMALL_ACTIVATIONS.max((usage.total() - activations - workspace) / 4);
    Ok(match activations > allowed {
        true => ((tokens as u64).saturating_mul(allowed) / activations) as usize,
        false => tokens,
    }
    .clamp(1, MOST))
}

/// Bytes of the whole process at such a peak.
pub fn total(usage: &Usage) -> u64 {
    usage.total() + PROCESS_BYTES
}

struct Way {
    settings: TrainSettings,
    changed: Option<String>,
}

/// Ways to do with less and less memory; computing blocks again costs more time than smaller passes do.
fn ways(rows: &Rows, train: &TrainSettings) -> Vec<Way> {
    let as_is = TrainSettings { memory_limit: None, ..train.clone() };
    let pass: usize = fullest(rows, train).into_iter().map(|row| rows.tokens(row)).sum();
    let longest = (0..rows.len()).map(|row| rows.tokens(row)).max().unwrap_or(0);
    let halves: Vec<usize> =
        std::iter::successors(Some(pass), |tokens| (*tokens > longest).then(|| (tokens / 2).max(longest)))
            .skip(1)
            .collect();
    let recomputes: &[bool] = if train.gradient_checkpointing { &[true] } else { &[false, true] };
    let mut ways = Vec::new();
    for recompute in recomputes {
        let gradient_checkpointing = *recompute;
        let again = gradient_checkpointing && !train.gradient_checkpointing;
        let again = again.then(|| "blocks are computed again in the backward pass".to_owned());
        ways.push(Way {
            settings: TrainSettings { gradient_checkpointing, ..as_is.clone() },
            changed: again.clone(),
        });
        for tokens in &halves {
            let smaller = format!("each pass holds {tokens} tokens at the most");
            ways.push(Way {
                settings: TrainSettings {
                    gradient_checkpointing,
                    pass_tokens: Some(*tokens),
                    ..as_is.clone()
                },
                changed: Some(again.iter().cloned().chain([smaller]).collect::<Vec<_>>().join(", and ")),
            });
        }
    }
    ways
}

fn parts(usage: &Usage) -> String {
    let classes = usage.by_class().filter(|(_, bytes)| *bytes > 0);
    let classes = classes.map(|(class, bytes)| format!("{} {}", class.name(), Bytes(bytes).words()));
    classes
        .chain([format!("the process itself {}", Bytes(PROCESS_BYTES).words())])
        .collect::<Vec<_>>()
        .join(", ")
}

/// What would help, first against what takes the most.
fn help(usage: &Usage, subject: &Subject) -> String {
    let of = |classes: &[Class]| classes.iter().map(|class| usage.bytes[*class as usize]).sum::<u64>();
    let own = subject.method.name;
    let lighter: Vec<&str> = ["lora", "ia3"].into_iter().filter(|name| *name != own).collect();
    // Full fine-tuning changes the base itself, which then is not kept in few bits.
    let shrinks = own != "full" && subject.model.weights().iter().any(|weight| is_wide(&weight.tensor));
    let ways = [
        (of(&[Class::Base]), shrinks.then(|| "the frozen base in fewer bits (weights = \"nf4\")".to_owned())),
        (
            of(&[Class::Trainable, Class::Gradients, Class::Optimizer]),
            Some(format!("a method that trains less ({})", lighter.join(", "))),
        ),
        (of(&[Class::Activations, Class::Workspace]), Some("shorter rows (train.max_length)".to_owned())),
    ];
    let mut ways: Vec<(u64, String)> =
        ways.into_iter().filter_map(|(bytes, way)| Some((bytes, way?))).collect();
    ways.sort_by_key(|(bytes, _)| Reverse(*bytes));
    ways.into_iter().map(|(_, way)| way).collect::<Vec<_>>().join(", ")
}

/// Whether a matrix would take fewer bytes in NF4.
fn is_wide(tensor: &Tensor) -> bool {
    let bytes = |dtype: Dtype| dtype.bytes(tensor.len());
    tensor.shape().len() == 2
        && tensor.cols().is_multiple_of(Dtype::Nf4.block_len())
        && bytes(tensor.dtype()) > bytes(Dtype::Nf4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::Encoding;
    use crate::train::Target;

    fn rows(lengths: &[usize]) -> Rows {
        let row = |len: &usize| Encoding { ids: vec![1; *len], type_ids: vec![0; *len], truncated: false };
        Rows::of(lengths.iter().map(row).collect(), vec![Target::Label(0); lengths.len()])
    }

    #[test]
    fn passes_grow_smaller_before_blocks_are_computed_again() {
        let rows = rows(&[10, 90, 40, 100]);
        let train = TrainSettings { batch_size: 12, ..TrainSettings::default() };
        let ways = ways(&rows, &train);
        let passes: Vec<_> =
            ways.iter().map(|way| (way.settings.gradient_checkpointing, way.settings.pass_tokens)).collect();
        assert_eq!(
            passes,
            [
                (false, None),
                (false, Some(120)),
                (false, Some(100)),
                (true, None),
                (true, Some(120)),
                (true, Some(100))
            ]
        );
        assert!(ways.iter().all(|way| way.settings.rows_per_step() == 12));
        assert!(ways[0].changed.is_none() && ways[1..].iter().all(|way| way.changed.is_some()));
    }

    #[test]
    fn the_fullest_pass_is_found_among_neighbours_in_length() {
        let rows = rows(&[300, 10, 250, 60, 250, 240]);
        let of = |batch_size, pass_tokens, max_tokens| {
            let train = TrainSettings { batch_size, pass_tokens, max_tokens, ..TrainSettings::default() };
            fullest(&rows, &train)
        };
        assert_eq!(of(8, Some(512), 0), [2, 4]);
        assert_eq!(of(8, Some(256), 0), [0], "a row that is longer than a pass is one");
        assert_eq!(of(3, None, 0), [0, 2, 4]);
        assert_eq!(of(1, None, 600), [4, 5, 3, 1], "where tokens are counted, rows are not");
    }
}
