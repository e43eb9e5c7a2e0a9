//! Questions about passages: a head finds the first and the last token of an answer, and the windows of a passage make up one.

use super::alike::other_score;
use super::arranged::{Arranged, Beside};
use super::prepare::{Part, PreparedTask, Preparing, Requests};
use crate::adapter::file::Reads;
use crate::data::{PassageQuestion, Row, hexadecimal};
use crate::error::Result;
use crate::task::{Extraction, Task};
use crate::train::Rows;
use sha2::{Digest, Sha256};

/// The outputs of a head that finds answers.
const ENDS: [&str; 2] = ["start", "end"];

pub(super) fn prepare(preparing: &Preparing, extraction: Extraction) -> Result<PreparedTask> {
    let Preparing { study, base, task, length, .. } = *preparing;
    let mut arranged = Arranged::alone(study, task.read_passages()?, preparing.counts());
    if preparing.part == Part::Main {
        let other = |other: &Task| match other.extraction().is_some() && other.metric == task.metric {
            true => other.read_passages(),
            false => Err(other_score(task, other)),
        };
        let training = |domain: &str, notes: &mut Vec<String>| task.passage_training(domain, notes);
        arranged = arranged.beside(study, task, Beside { other, training })?;
    }
    let encode = |questions: &[PassageQuestion]| {
        Rows::windows(&base.tokenizer, &extraction, questions.to_vec(), length)
    };
    let encoded = arranged.encoded(encode(arranged.train())?, |_, rows| encode(rows))?;
    let train_examples: Vec<_> = arranged.train().iter().map(Row::drawn).collect();
    let mut data = arranged.data;
    data.notes.push(format!(
        "{} training questions make {} windows of at most {length} tokens",
        train_examples.len(),
        encoded.train.len(),
    ));
    let asked = data.tests.first().map_or_else(Vec::new, |domain| domain.examples.clone());
    // The settings decide windows and answers.
    data.sha256 = hexadecimal(&Sha256::digest(format!("{} {extraction:?}", data.sha256)));
    Ok(PreparedTask {
        train_examples,
        requests: Requests::Passages(extraction, asked),
        reads: Reads::Pair,
        labels: ENDS.map(str::to_owned).to_vec(),
        ..PreparedTask::of(preparing, data, encoded)?
    })
}
