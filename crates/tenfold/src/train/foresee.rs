//! How much memory a run will take, from a step that is done without numbers, and how to make do with less.

use super::features::Features;
use super::optimizer::Optimizer;
use super::rows::{Rows, Source};
use super::settings::TrainSettings;
use super::trainer::pass;
use crate::adapter::{Context, Method, Tuning};
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::model::{Forward, Model};
use serde_json::Value;
use std::cmp::Reverse;
use tenfold_tensor::{Class, Product, Tally, Usage};

/// What the process takes beside the engine's account: the program itself, the allocator's rests, and what threads pack
/// matrices into.
pub const PROCESS_BYTES: u64 = 64 << 20;

/// Steps that are done: the second one meets gradients' and moments' memory as all later ones do.
const STEPS: usize = 2;

/// A training run, as far as its memory goes.
pub struct Subject<'a> {
    /// The base model on a backend that holds no numbers ([`tenfold_tensor::Dry`]).
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
    let passes = train.gradient_accumulation_steps.min(2);
    let tuning = rehearse(subject, train, [STEPS, passes], || ())?;
    let mut usage = backend.ledger().peak();
    if !subject.keeps_base && tuning.trains_all_of(subject.model) {
        usage.bytes[Class::Base as usize] = 0;
    }
    Ok(usage)
}

/// The matrix products of an optimizer step, and how often each is done; `tally` is that of the model's backend.
pub fn products(subject: &Subject, train: &TrainSettings, tally: &Tally) -> Result<Vec<(Product, u64)>> {
    rehearse(subject, train, [1, 1], || drop(tally.take()))?;
    let passes = train.gradient_accumulation_steps as u64;
    Ok(tally.take().into_iter().map(|(product, count)| (product, count * passes)).collect())
}

/// Goes through so many steps of so many passes over the longest rows, the first of them once `ready` was told.
fn rehearse(
    subject: &Subject,
    train: &TrainSettings,
    [steps, passes]: [usize; 2],
    ready: impl FnOnce(),
) -> Result<Tuning> {
    let backend = subject.model.word_embeddings().tensor.backend();
    let context = Context { model: subject.model, backend, seed: 0, tokenize: subject.tokenize };
    let tuning = Tuning::new(subject.method, subject.settings, &context, subject.labels)?;
    let evaluation = Forward::evaluation(&tuning);
    let batch = train.batch_size.min(subject.rows.len());
    let rows = subject.rows.longest(if evaluation.leaves_features_alone() { usize::MAX } else { batch });
    let source = Source::new(subject.model, &rows);
    let source = source.cache_features(&evaluation, &Features::default(), || Ok(()))?;
    let mut optimizer = Optimizer::new(backend, tuning.parameters(), train)?.clip(train.max_grad_norm);
    let picks: Vec<usize> = (0..batch).collect();
    ready();
    for _ in 0..steps {
        for _ in 0..passes {
            let forward = Forward::training(&tuning, 0).recomputing(train.gradient_checkpointing);
            pass(&source, &forward, &picks, train, passes * rows.label_count(&picks))?;
        }
        optimizer.step(0.0)?;
    }
    Ok(tuning)
}

/// The first way of training that stays within `limit` bytes of the whole process: as `train` says; with blocks computed
/// again in the backward pass; and that in smaller passes with as many rows to each optimizer step. The loss is the same
/// up to rounding and dropout's masks. Refuses, before anything is trained, if none does.
pub fn fit(subject: &Subject, train: &TrainSettings, limit: Bytes) -> Result<Fitted> {
    let mut least = Usage::default();
    for train in ways(train) {
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
    Err(Error::Memory { needed: Bytes(total(&least)), limit, parts: parts(&least), help: help(&least) })
}

/// Bytes of the whole process at such a peak.
pub fn total(usage: &Usage) -> u64 {
    usage.total() + PROCESS_BYTES
}

struct Way {
    settings: TrainSettings,
    changed: Option<String>,
}

fn ways(train: &TrainSettings) -> impl Iterator<Item = Way> {
    let as_is = TrainSettings { memory_limit: None, ..train.clone() };
    let recomputing = TrainSettings { gradient_checkpointing: true, ..as_is.clone() };
    let word = "blocks are computed again in the backward pass";
    let first = (!train.gradient_checkpointing)
        .then(|| Way { settings: recomputing.clone(), changed: Some(word.into()) });
    let smaller = divisors_below(train.batch_size).map(move |size| {
        let times = recomputing.rows_per_step() / size;
        let settings =
            TrainSettings { batch_size: size, gradient_accumulation_steps: times, ..recomputing.clone() };
        let changed = format!("{word}, and each optimizer step is made of {times} passes of {size} rows");
        Way { settings, changed: Some(changed) }
    });
    [Way { settings: as_is, changed: None }].into_iter().chain(first).chain(smaller)
}

/// The proper divisors of a number, largest first.
fn divisors_below(number: usize) -> impl Iterator<Item = usize> {
    let mut divisors: Vec<usize> = (1..)
        .take_while(|small| small * small <= number)
        .filter(|small| number.is_multiple_of(*small))
        .flat_map(|small| [small, number / small])
        .filter(|divisor| *divisor < number)
        .collect();
    divisors.sort_unstable_by_key(|divisor| Reverse(*divisor));
    divisors.dedup();
    divisors.into_iter()
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
fn help(usage: &Usage) -> String {
    let of = |classes: &[Class]| classes.iter().map(|class| usage.bytes[*class as usize]).sum::<u64>();
    let mut ways = [
        (of(&[Class::Base]), "the frozen base in fewer bits (weights = \"nf4\")"),
        (
            of(&[Class::Trainable, Class::Gradients, Class::Optimizer]),
            "a method that trains less (lora, ia3)",
        ),
        (of(&[Class::Activations, Class::Workspace]), "shorter rows (train.max_length)"),
    ];
    ways.sort_by_key(|(bytes, _)| Reverse(*bytes));
    ways.map(|(_, way)| way).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_passes_keep_the_rows_of_a_step() {
        let train =
            TrainSettings { batch_size: 12, gradient_accumulation_steps: 3, ..TrainSettings::default() };
        let ways: Vec<Way> = ways(&train).collect();
        let sizes: Vec<usize> = ways.iter().map(|way| way.settings.batch_size).collect();
        assert_eq!(sizes, [12, 12, 6, 4, 3, 2, 1]);
        assert!(ways.iter().all(|way| way.settings.rows_per_step() == 36));
        assert!(!ways[0].settings.gradient_checkpointing && ways[1].settings.gradient_checkpointing);
    }
}
