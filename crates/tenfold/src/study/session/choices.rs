//! A language task's questions with choices, for a model with a head: the choices are judged one by one, and several rows make
//! up an answer.

use super::alike::Alike;
use super::arranged::{Arranged, Beside};
use super::prepare::{Part, PreparedTask, Preparing, Requests};
use crate::adapter::file::Reads;
use crate::data::language::{LanguageExample, Question};
use crate::data::{Located, Row, hexadecimal};
use crate::error::{Error, Result};
use crate::progress::Event;
use crate::task::{OutputType, Questions, Task};
use crate::train::Rows;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The outputs of a head that judges choices.
const JUDGEMENTS: [&str; 2] = ["wrong", "right"];

pub(super) fn prepare(preparing: &Preparing, questions: Option<&Questions>) -> Result<PreparedTask> {
    let Preparing { study, base, task, length, .. } = *preparing;
    let Some(questions) = questions.filter(|asked| asked.output_type == OutputType::MultipleChoice) else {
        return Err(Error::Unsupported {
            what: format!("the language task {}", task.name),
            why: "the model is an encoder, which judges choices (output_type = \"multiple_choice\") but writes \
                  nothing; take a decoder such as smollm2-135m"
                .into(),
        });
    };
    let questions = Arc::new(questions.judged());
    let mut arranged = Arranged::alone(study, task.read_language()?, preparing.counts());
    if preparing.part == Part::Main {
        let other = |other: &Task| Alike::of(task, other, true)?.rows(other);
        let training = |domain: &str, notes: &mut Vec<String>| task.language_training(domain, notes);
        arranged = arranged.beside(study, task, Beside { other, training })?;
    }
    let encode = |examples: &[Located<LanguageExample>]| {
        Rows::choices(&base.tokenizer, &questions, asked(examples), length)
    };
    let encoded = arranged.encoded(encode(arranged.train())?, |_, rows| encode(rows))?;
    let cut = encoded.truncated();
    if cut > 0 {
        let note = format!("{}: {cut} choices were cut to {length} tokens (train.max_length)", task.name);
        preparing.progress.event(Event::Note(note));
    }
    let train_examples = arranged.train().iter().map(Row::drawn).collect();
    let mut data = arranged.data;
    let asked = data.tests.first().map_or_else(Vec::new, |domain| asked(&domain.examples));
    data.sha256 = hexadecimal(&Sha256::digest(format!("{} judged", data.sha256)));
    Ok(PreparedTask {
        train_examples,
        requests: Requests::Choices(questions, asked),
        reads: Reads::Pair,
        labels: JUDGEMENTS.map(str::to_owned).to_vec(),
        ..PreparedTask::of(preparing, data, encoded)?
    })
}

fn asked(examples: &[Located<LanguageExample>]) -> Vec<Question> {
    let question = |example: &Located<LanguageExample>| match &example.row {
        LanguageExample::Asked { question, .. } => Some(question.clone()),
        _ => None,
    };
    examples.iter().filter_map(question).collect()
}
