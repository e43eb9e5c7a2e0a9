//! Rows of which several make up an answer, for models with a head: choices judged one by one, windows of passages.

use super::language::pick;
use super::{Encoded, Requests, Session, drawn, first, spread, spread_of};
use crate::data::language::{LanguageExample, Question};
use crate::data::{Example, PassageQuestion, hexadecimal};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::study::config::{Picked, Study};
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
        [train_rows, validation_rows, test_rows]: [usize; 3],
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
        let mut data = task.read_language()?;
        pick(study, &mut data, [train_rows, validation_rows, test_rows]);
        let encode = |examples: &[LanguageExample], rows: usize| {
            Rows::choices(&self.tokenizer, &questions, asked(first(examples, rows)), self.length)
        };
        let train = encode(&data.train, train_rows)?;
        let validation = encode(&data.validation, validation_rows)?;
        let tests = (data.tests.iter())
            .map(|domain| Ok((domain.name.clone(), encode(&domain.examples, test_rows)?)))
            .collect::<Result<Vec<_>>>()?;
        let cut = train.truncated() + tests.iter().map(|(_, rows)| rows.truncated()).sum::<usize>();
        if cut > 0 {
            let note =
                format!("{}: {cut} choices were cut to {} tokens (train.max_length)", task.name, self.length);
            progress.event(Event::Note(note));
        }
        let asked = data.tests.first().map_or_else(Vec::new, |domain| asked(&domain.examples));
        self.requests = Requests::Choices(questions, asked);
        self.train_examples = drawn(first(&data.train, train_rows));
        self.labels = JUDGEMENTS.map(str::to_owned).to_vec();
        self.data_identity.sha256 = hexadecimal(&Sha256::digest(format!("{} judged", data.sha256)));
        self.notes = data.notes;
        Ok(Encoded { train, validation, tests })
    }

    /// Reads and encodes questions about passages.
    pub(super) fn passages(
        &mut self,
        study: &Study,
        task: &Task,
        [train_rows, validation_rows, test_rows]: [usize; 3],
    ) -> Result<Encoded> {
        let extraction = task.extraction().copied().unwrap_or_default();
        let mut data = task.read_passages()?;
        if study.rows == Picked::Spread {
            spread(&mut data.train, train_rows, examples);
            spread(&mut data.validation, validation_rows, examples);
            data.tests.iter_mut().for_each(|(_, rows)| spread(rows, test_rows, examples));
            data.sha256 = spread_of(&data.sha256, [train_rows, validation_rows, test_rows]);
        }
        let encode = |questions: &[PassageQuestion], rows: usize| {
            Rows::windows(&self.tokenizer, &extraction, first(questions, rows).to_vec(), self.length)
        };
        let train = encode(&data.train, train_rows)?;
        let validation = encode(&data.validation, validation_rows)?;
        let tests = (data.tests.iter())
            .map(|(name, questions)| Ok((name.clone(), encode(questions, test_rows)?)))
            .collect::<Result<Vec<_>>>()?;
        self.train_examples = examples(first(&data.train, train_rows));
        data.notes.push(format!(
            "{} training questions make {} windows of at most {} tokens",
            self.train_examples.len(),
            train.len(),
            self.length
        ));
        let asked = data.tests.first().map_or_else(Vec::new, |(_, questions)| questions.clone());
        self.requests = Requests::Passages(extraction, asked);
        self.labels = ENDS.map(str::to_owned).to_vec();
        // The settings decide windows and answers.
        self.data_identity.sha256 = hexadecimal(&Sha256::digest(format!("{} {extraction:?}", data.sha256)));
        self.notes = data.notes;
        Ok(Encoded { train, validation, tests })
    }
}

fn asked(examples: &[LanguageExample]) -> Vec<Question> {
    let question = |example: &LanguageExample| match example {
        LanguageExample::Asked { question, .. } => Some(question.clone()),
        _ => None,
    };
    examples.iter().filter_map(question).collect()
}

/// Questions as rows of which small draws are made: those with an answer and those without in their shares.
fn examples(questions: &[PassageQuestion]) -> Vec<Example> {
    let example = |row: &PassageQuestion| Example {
        text: row.question.clone(),
        pair: Some(row.passage.to_string()),
        label: u32::from(row.answers.is_empty()),
    };
    questions.iter().map(example).collect()
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
