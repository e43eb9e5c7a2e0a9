//! Rows for a language model: what it learns to say, and what it is asked.

use super::{Base, Encoded, General, Session, drawn, first, spread, spread_of};
use crate::data::hexadecimal;
use crate::data::language::{
    self, LanguageDataset, LanguageExample, LengthReport, Question, SequenceSettings,
};
use crate::error::{Error, Result};
use crate::model;
use crate::model::tokenizer::Tokenizer;
use crate::model::wording::Wording;
use crate::progress::{Event, Progress};
use crate::study::config::{Picked, Study};
use crate::task::{OutputType, Questions, Task};
use crate::train::{Asked, Rows};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::{Arc, Mutex};

impl Session {
    /// Reads and encodes rows for a language model.
    pub(super) fn language(
        &mut self,
        study: &Study,
        base: &Base,
        task: &Task,
        [train_rows, validation_rows, test_rows]: [usize; 3],
        is_main: bool,
        progress: &dyn Progress,
    ) -> Result<Encoded> {
        let mut data = task.read_language()?;
        pick(study, &mut data, [train_rows, validation_rows, test_rows]);
        let template = model::chat_template(&base.located.0)?;
        let wording = Wording::new(&self.tokenizer, template.as_ref());
        let settings = SequenceSettings {
            max_length: self.length,
            train_on: study.train.train_on,
            overlong: study.train.overlong,
        };
        let (questions, tokenizer) =
            (task.questions().cloned().map(Arc::new), Arc::new(self.tokenizer.clone()));
        let encode = |examples: &[LanguageExample], rows: usize| -> Result<(Rows, LengthReport)> {
            let start = self.model.decoder_start();
            let encode = if start.is_some() { language::encode_answers } else { language::encode };
            let examples = first(examples, rows);
            let encoded = encode(&wording, examples, &settings)?;
            let rows = Rows::sequences(encoded.sequences, start);
            Ok((asked(rows, examples, questions.as_ref(), &tokenizer)?, encoded.lengths))
        };
        let (train, lengths) = encode(&data.train, train_rows)?;
        progress.event(Event::Note(format!("training rows of {}\n{lengths}", task.name)));
        let mut notes = Vec::new();
        let mut scored = |name: &str, examples: &[LanguageExample], rows| -> Result<Rows> {
            let (rows, lengths) = encode(examples, rows)?;
            notes.extend(shortened(name, &lengths, self.length));
            Ok(rows)
        };
        let validation = scored("validation", &data.validation, validation_rows)?;
        let tests = (data.tests.iter())
            .map(|domain| Ok((domain.name.clone(), scored(&domain.name, &domain.examples, test_rows)?)))
            .collect::<Result<Vec<_>>>()?;
        data.notes.extend(notes);
        self.train_examples = drawn(first(&data.train, train_rows));
        if is_main && !study.forgetting_text.is_empty() {
            let path = Path::new(&study.forgetting_text);
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            let sha256 = hexadecimal(&Sha256::digest(&text));
            // An encoder-decoder has no loss of a text that is not an answer.
            if self.model.decoder_start().is_none() {
                let rows = encode(&[LanguageExample::Text(text)], 0)?.0;
                self.general = General { rows, sha256, base: Mutex::default() };
            }
        }
        self.lengths = Some(lengths);
        self.data_identity.sha256 = data.sha256;
        self.notes = data.notes;
        Ok(Encoded { train, validation, tests })
    }
}

/// Leaves as many rows as the study wants, of all of each file, where it says so.
pub(super) fn pick(study: &Study, data: &mut LanguageDataset, rows: [usize; 3]) {
    if study.rows == Picked::Spread {
        spread(&mut data.train, rows[0], drawn);
        spread(&mut data.validation, rows[1], drawn);
        data.tests.iter_mut().for_each(|test| spread(&mut test.examples, rows[2], drawn));
        data.sha256 = spread_of(&data.sha256, rows);
    }
}

/// What the loss of these rows is not of, in a sentence; none where it is of all.
fn shortened(name: &str, lengths: &LengthReport, room: usize) -> Option<String> {
    let LengthReport { rows, cut, overlong, .. } = lengths;
    (cut + overlong > 0).then(|| {
        format!(
            "{name}: for the loss {cut} of {rows} rows lost of their prompt and {overlong} were left out, at most {room}              tokens each (train.max_length)"
        )
    })
}

/// Rows with what is asked about them, where that is more than how likely they are.
fn asked(
    rows: Rows,
    examples: &[LanguageExample],
    questions: Option<&Arc<Questions>>,
    tokenizer: &Arc<Tokenizer>,
) -> Result<Rows> {
    let Some(questions) = questions.filter(|asked| asked.output_type != OutputType::LoglikelihoodRolling)
    else {
        return Ok(rows);
    };
    let question = |example: &LanguageExample| match example {
        LanguageExample::Asked { question, .. } => Some(question.clone()),
        _ => None,
    };
    let own: Vec<Question> = examples.iter().filter_map(question).collect();
    if own.len() != rows.len() {
        let expected = format!("room for all of {} rows that are asked about", own.len());
        let found = format!("{} that have room", rows.len());
        return Err(Error::malformed("study", "train.max_length", expected, found));
    }
    Ok(rows.asked_as(Asked { questions: questions.clone(), tokenizer: tokenizer.clone(), rows: own }))
}
