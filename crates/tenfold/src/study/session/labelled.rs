//! Rows with labels, or with numbers.

use super::arranged::{Arranged, Beside};
use super::prepare::{Part, PreparedTask, Preparing, Requests};
use crate::adapter::file::Reads;
use crate::data::{Dataset, Domain, Example, Splits, classes};
use crate::error::{Error, Result};
use crate::progress::Event;
use crate::study::domains::numbers;
use crate::task::Task;
use crate::train::{Rows, Target};
use crate::words::{count, list};

/// The one output of a head that foretells numbers.
const NUMBER: &str = "a number";
/// Rows that are asked for latency, at the most.
const REQUESTS: usize = 200;

pub(super) fn prepare(preparing: &Preparing) -> Result<PreparedTask> {
    let Preparing { study, base, task, length, progress, .. } = *preparing;
    let Dataset { labels, values, train, validation, tests, sha256, notes } = task.read()?;
    let own = Splits { train, validation, tests, sha256, notes };
    let mut arranged = Arranged::alone(study, own, preparing.counts());
    if preparing.part == Part::Main {
        let other = |other: &Task| numbered(other, &labels);
        let training = |domain: &str, notes: &mut Vec<String>| task.training(domain, &labels, notes);
        arranged = arranged.beside(study, task, Beside { other, training })?;
    }
    let encode = |examples: &[Example]| {
        Rows::encode_as(&base.tokenizer, examples, length, |label| target(&values, label))
    };
    let mut encoded = arranged.encoded(encode(arranged.train())?, |_, rows| encode(rows))?;
    if values.is_empty() {
        encoded.doubts.extend(doubts_of_labels(&arranged, &labels)?);
    }
    let truncated = encoded.truncated();
    if truncated > 0 {
        let why = if length < study.train.max_length {
            "the model has no more positions beside the virtual tokens of the methods"
        } else {
            "train.max_length"
        };
        let were = if truncated == 1 { "was" } else { "were" };
        let rows = count(truncated, "row");
        let note = format!("{}: {rows} {were} cut to {length} tokens ({why})", task.name);
        progress.event(Event::Note(note));
    }
    let train_examples = arranged.train().to_vec();
    let is_pair = train_examples.iter().any(|example| example.pair.is_some());
    let data = arranged.data;
    let requests = data.tests.first().map_or(&[][..], |domain| &domain.examples);
    Ok(PreparedTask {
        train_examples,
        reads: if is_pair { Reads::Pair } else { Reads::Text },
        requests: Requests::Texts(requests.iter().take(REQUESTS).cloned().collect()),
        labels: if values.is_empty() { labels } else { vec![NUMBER.into()] },
        values,
        ..PreparedTask::of(preparing, data, encoded)?
    })
}

/// What is to be said of a row with that label, which may stand for one of these numbers.
pub(super) fn target(values: &[f64], label: u32) -> Target {
    match values.get(label as usize) {
        Some(number) => Target::Number(*number as f32),
        None => Target::Label(label),
    }
}

/// What the rows that are used lack of the labels of all rows. Of one label alone nothing is learnt.
fn doubts_of_labels(arranged: &Arranged<Example>, labels: &[String]) -> Result<Vec<String>> {
    const CURE: &str = "rows = \"spread\" takes some of each label";
    let (all, used) = (classes(&arranged.data.train), classes(arranged.train()));
    let rows = count(arranged.train().len(), "row");
    let name = |label: &u32| {
        labels.get(*label as usize).map_or_else(|| label.to_string(), |name| format!("\"{name}\""))
    };
    if let (Some(only), true) = (used.first().filter(|_| used.len() == 1), all.len() > 1) {
        let expected =
            format!("rows of two labels or more among the first {rows} of the training file; {CURE}");
        return Err(Error::malformed("study", "train_rows", expected, format!("{} alone", name(only))));
    }
    let mut doubts = Vec::new();
    let absent: Vec<String> = all.difference(&used).map(name).collect();
    if !absent.is_empty() {
        doubts.push(format!("no row of {} is among the {rows} that are trained on; {CURE}", list(&absent)));
    }
    let Some(domain) = arranged.data.tests.first() else { return Ok(doubts) };
    let tested = classes(arranged.test());
    if let (Some(only), true) =
        (tested.first().filter(|_| tested.len() == 1), classes(&domain.examples).len() > 1)
    {
        let rows = count(arranged.test().len(), "test row");
        doubts.push(format!("{}: all {rows} are of {}; {CURE}", domain.name, name(only)));
    }
    Ok(doubts)
}

/// The rows of another task with these labels, numbered as these are.
fn numbered(other: &Task, labels: &[String]) -> Result<Splits<Example>> {
    let Dataset { labels: theirs, train, validation, tests, sha256, notes, .. } = other.read()?;
    let numbers = numbers(&other.name, "labels", &theirs, labels)?;
    let mut notes = notes;
    if labels.iter().all(|label| label.parse::<f64>().is_ok()) {
        notes.push(
            "its labels are numbers, which are taken to mean what they mean in the study's task".into(),
        );
    }
    let renumber = |examples: Vec<Example>| -> Vec<Example> {
        let number = |example: Example| Example { label: numbers[example.label as usize] as u32, ..example };
        examples.into_iter().map(number).collect()
    };
    let tests = tests.into_iter().map(|test| Domain { examples: renumber(test.examples), ..test }).collect();
    Ok(Splits { train: renumber(train), validation: renumber(validation), tests, sha256, notes })
}
