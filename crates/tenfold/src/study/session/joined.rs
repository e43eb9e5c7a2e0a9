//! Rows of which several make up an answer, for models with a head: choices judged one by one, windows of passages.

use super::alike::{Alike, other_score};
use super::arranged::{Arranged, Beside};
use super::{Encoded, Requests, Session};
use crate::adapter::file::Reads;
use crate::data::language::{LanguageExample, Question};
use crate::data::{Located, PassageQuestion, Row, hexadecimal};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::study::config::Study;
use crate::task::{OutputType, Task};
use crate::train::Rows;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The outputs of a head that judges choices.
const JUDGEMENTS: [&str; 2] = ["wrong", "right"];
/// The outputs of a head that finds answers.
const ENDS: [&str; 2] = ["start", "end"];

impl Session {
    /// Reads and encodes a language task's questions with choices, for a model with a head.
    pub(super) fn choices(
        &mut self,
        study: &Study,
        task: &Task,
        counts: [usize; 3],
        is_main: bool,
        progress: &dyn Progress,
    ) -> Result<Encoded> {
        let Some(questions) =
            task.questions().filter(|asked| asked.output_type == OutputType::MultipleChoice)
        else {
            return Err(Error::Unsupported {
                what: format!("the language task {}", task.name),
                why: "the model is an encoder, which judges choices (output_type = \"multiple_choice\") but writes \
                      nothing; take a decoder such as smollm2-135m"
                    .into(),
            });
        };
        let questions = Arc::new(questions.judged());
        let mut arranged = Arranged::alone(study, task.read_language()?, counts);
        if is_main {
            let other = |other: &Task| Alike::of(task, other, true)?.rows(other);
            let training = |domain: &str, notes: &mut Vec<String>| task.language_training(domain, notes);
            arranged = arranged.beside(study, task, Beside { other, training })?;
        }
        let encode = |examples: &[Located<LanguageExample>]| {
            Rows::choices(&self.tokenizer, &questions, asked(examples), self.length)
        };
        let encoded = arranged.encoded(encode(arranged.train())?, |_, rows| encode(rows))?;
        let cut = encoded.truncated();
        if cut > 0 {
            let note =
                format!("{}: {cut} choices were cut to {} tokens (train.max_length)", task.name, self.length);
            progress.event(Event::Note(note));
        }
        self.train_examples = arranged.train().iter().map(Row::drawn).collect();
        let data = arranged.data;
        let asked = data.tests.first().map_or_else(Vec::new, |domain| asked(&domain.examples));
        self.requests = Requests::Choices(questions, asked);
        self.reads = Reads::Pair;
        self.labels = JUDGEMENTS.map(str::to_owned).to_vec();
        self.data_identity.sha256 = hexadecimal(&Sha256::digest(format!("{} judged", data.sha256)));
        self.notes = data.notes;
        Ok(encoded)
    }

    /// Reads and encodes questions about passages.
    pub(super) fn passages(
        &mut self,
        study: &Study,
        task: &Task,
        counts: [usize; 3],
        is_main: bool,
    ) -> Result<Encoded> {
        let extraction = task.extraction().copied().unwrap_or_default();
        let mut arranged = Arranged::alone(study, task.read_passages()?, counts);
        if is_main {
            let other = |other: &Task| match other.extraction().is_some() && other.metric == task.metric {
                true => other.read_passages(),
                false => Err(other_score(task, other)),
            };
            let training = |domain: &str, notes: &mut Vec<String>| task.passage_training(domain, notes);
            arranged = arranged.beside(study, task, Beside { other, training })?;
        }
        let encode = |questions: &[PassageQuestion]| {
            Rows::windows(&self.tokenizer, &extraction, questions.to_vec(), self.length)
        };
        let encoded = arranged.encoded(encode(arranged.train())?, |_, rows| encode(rows))?;
        self.train_examples = arranged.train().iter().map(Row::drawn).collect();
        let mut data = arranged.data;
        data.notes.push(format!(
            "{} training questions make {} windows of at most {} tokens",
            self.train_examples.len(),
            encoded.train.len(),
            self.length
        ));
        let asked = data.tests.first().map_or_else(Vec::new, |domain| domain.examples.clone());
        self.requests = Requests::Passages(extraction, asked);
        self.reads = Reads::Pair;
        self.labels = ENDS.map(str::to_owned).to_vec();
        // The settings decide windows and answers.
        self.data_identity.sha256 = hexadecimal(&Sha256::digest(format!("{} {extraction:?}", data.sha256)));
        self.notes = data.notes;
        Ok(encoded)
    }
}

fn asked(examples: &[Located<LanguageExample>]) -> Vec<Question> {
    let question = |example: &Located<LanguageExample>| match &example.row {
        LanguageExample::Asked { question, .. } => Some(question.clone()),
        _ => None,
    };
    examples.iter().filter_map(question).collect()
}

impl Requests {
    /// The request of that number as the model reads it, tokens and all; `None` if there are none.
    pub(in crate::study) fn rows(&self, session: &Session, number: usize) -> Result<Option<Rows>> {
        fn at<T: Clone>(all: &[T], number: usize) -> Option<Vec<T>> {
            (!all.is_empty()).then(|| vec![all[number % all.len()].clone()])
        }
        let (tokenizer, length) = (&session.tokenizer, session.length);
        match self {
            Requests::Texts(examples) => at(examples, number)
                .map(|one| Rows::encode_as(tokenizer, &one, length, |label| session.target(label)))
                .transpose(),
            Requests::Choices(questions, asked) => {
                at(asked, number).map(|one| Rows::choices(tokenizer, questions, one, length)).transpose()
            }
            Requests::Passages(extraction, asked) => {
                at(asked, number).map(|one| Rows::windows(tokenizer, extraction, one, length)).transpose()
            }
        }
    }

    /// Whether there are none.
    pub(in crate::study) fn is_empty(&self) -> bool {
        match self {
            Requests::Texts(examples) => examples.is_empty(),
            Requests::Choices(_, asked) => asked.is_empty(),
            Requests::Passages(_, asked) => asked.is_empty(),
        }
    }
}
