//! Rows for a language model: what it learns to say, and what it is asked.

use super::Base;
use super::alike::{Alike, way};
use super::arranged::{Arranged, Beside};
use super::prepare::{General, Part, PreparedTask, Preparing};
use crate::adapter::file::Reads;
use crate::data::faulty::Malformed;
use crate::data::language::{
    self, Failed, LanguageExample, LengthReport, Placed, Question, SequenceSettings,
};
use crate::data::{Domain, Example, Located, Origin, Row, Splits, hexadecimal, put_text, read_text};
use crate::error::{Error, Result};
use crate::model::chat_template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;
use crate::model::wording::Wording;
use crate::plain_file;
use crate::progress::Event;
use crate::study::config::Study;
use crate::task::{Questions, Task};
use crate::train::{Asked, Rows};
use crate::words::{be, list};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A row, and how it is asked where more than its likelihood is looked at: rows of several tasks may stand together.
#[derive(Clone)]
struct Posed {
    example: LanguageExample,
    /// Where it stands; none of a text that is no row.
    origin: Option<Origin>,
    way: Option<Arc<Questions>>,
}

impl Placed for Posed {
    fn example(&self) -> &LanguageExample {
        &self.example
    }

    fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

impl Row for Posed {
    const SHARED: &'static str = LanguageExample::SHARED;
    type Shared<'a> = String;

    fn shared(&self) -> String {
        self.example.shared()
    }

    fn drawn(&self) -> Example {
        self.example.drawn()
    }

    fn split_hash(&self, purpose: &str) -> [u8; 32] {
        self.example.split_hash(purpose)
    }

    fn put(&self, hash: &mut Sha256) {
        self.example.put(hash);
        if let Some(way) = &self.way {
            put_text(hash, &format!("{} {:?} {:?}", way.way_of_asking(), way.filters, way.exact_match));
        }
    }
}

pub(super) fn prepare(preparing: &Preparing) -> Result<PreparedTask> {
    let Preparing { study, base, task, length, progress, .. } = *preparing;
    let mut arranged = arrange(preparing)?;
    let chats = arranged.train().iter().any(|row| matches!(row.example, LanguageExample::Chat(_)));
    let template = base.files.chat_template()?;
    let template = template.map(|template| ChatTemplate::clone(&template).of_a_fixed_day());
    let (template, dated) = template.map_or((None, None), |(template, dated)| (Some(template), dated));
    let wording = Wording::new(&base.tokenizer, template.as_ref());
    if chats && template.is_none() {
        let why = "the model comes without a chat template".into();
        return Err(Error::Unsupported {
            what: format!("task \"{}\", whose rows are chats,", task.name),
            why,
        });
    }
    if chats {
        arranged.data.notes.extend(dated.into_iter().chain(endless(&wording)));
        if let Some(date) = template.as_ref().and_then(ChatTemplate::date_set) {
            arranged.data.sha256 =
                hexadecimal(&Sha256::digest(format!("{} of {date}", arranged.data.sha256)));
        }
    }
    let train_on = study.train.train_on;
    let settings = SequenceSettings { max_length: length, train_on, overlong: study.train.overlong };
    let encoder = Encoder { base, task, wording: &wording, settings: &settings };
    let mut notes = Vec::new();
    let (train, of, lengths) = encoder.encode(arranged.train(), &mut notes)?;
    progress.event(Event::Note(format!("training rows of {}\n{lengths}", task.name)));
    let encoded = arranged.encoded(train, |name, rows| {
        let (rows, _, lengths) = encoder.encode(rows, &mut notes)?;
        notes.extend(shortened(name, &lengths, length));
        Ok(rows)
    })?;
    arranged.data.notes.extend(notes);
    let train_examples = drawn(arranged.train(), &of);
    Ok(PreparedTask {
        reads: if chats { Reads::Chat } else { Reads::Text },
        train_examples,
        general: match preparing.part {
            Part::Main => general(study, &encoder)?,
            Part::Benchmark => General::default(),
        },
        ..PreparedTask::of(preparing, arranged.data, encoded)?
    })
}

/// The rows that a study takes of the task, with those of further domains.
fn arrange(preparing: &Preparing) -> Result<Arranged<Posed>> {
    let Preparing { study, task, .. } = *preparing;
    let own = way(task).cloned().map(Arc::new);
    let arranged = Arranged::alone(study, posed(task.read_language()?, own.as_ref()), preparing.counts());
    if preparing.part == Part::Benchmark {
        return Ok(arranged);
    }
    let other = |other: &Task| {
        let alike = Alike::of(task, other, false)?;
        Ok(posed(alike.rows(other)?, alike.way.as_ref()))
    };
    let training = |domain: &str, notes: &mut Vec<String>| {
        let rows = task.language_training(domain, notes)?;
        Ok(rows.map(|rows| rows.into_iter().map(|row| pose(row, own.as_ref())).collect()))
    };
    arranged.beside(study, task, Beside { other, training })
}

/// How rows become sequences of tokens.
struct Encoder<'a> {
    base: &'a Base,
    task: &'a Task,
    wording: &'a Wording<'a>,
    settings: &'a SequenceSettings,
}

impl Encoder<'_> {
    /// The rows that are kept, which row each of them is of, and how long they are; what is left out is added to `notes`.
    fn encode(&self, rows: &[Posed], notes: &mut Vec<String>) -> Result<(Rows, Vec<usize>, LengthReport)> {
        let start = self.base.model.decoder_start();
        let encode = if start.is_some() { language::encode_answers } else { language::encode };
        let encoded = encode(self.wording, rows, self.settings)?;
        notes.extend(without_failed(self.task, rows, &encoded.failed)?);
        let kept = (rows.iter().enumerate())
            .filter(|(place, _)| encoded.failed.iter().all(|failed| failed.place != *place));
        let sequences = Rows::sequences(encoded.sequences, start);
        let sequences = asked(sequences, kept.map(|(_, row)| row), &self.base.tokenizer)?;
        Ok((sequences, encoded.of, encoded.lengths))
    }
}

/// The text on which forgetting is measured.
fn general(study: &Study, encoder: &Encoder) -> Result<General> {
    if study.forgetting_text.is_empty() {
        return Ok(General::default());
    }
    let text = read_text(Path::new(&study.forgetting_text), plain_file::LINES)?;
    let sha256 = hexadecimal(&Sha256::digest(&text));
    // An encoder-decoder has no loss of a text that is not an answer.
    if encoder.base.model.decoder_start().is_some() {
        return Ok(General::default());
    }
    let rows = encoder.encode(&[text_alone(text)], &mut Vec::new())?.0;
    Ok(General { rows, sha256, ..General::default() })
}

fn pose(row: Located<LanguageExample>, way: Option<&Arc<Questions>>) -> Posed {
    Posed { example: row.row, origin: Some(row.origin), way: way.cloned() }
}

fn text_alone(text: String) -> Posed {
    Posed { example: LanguageExample::Text(text), origin: None, way: None }
}

fn posed(data: Splits<Located<LanguageExample>>, way: Option<&Arc<Questions>>) -> Splits<Posed> {
    let all =
        |rows: Vec<Located<LanguageExample>>| rows.into_iter().map(|row| pose(row, way)).collect::<Vec<_>>();
    let tests = data.tests.into_iter();
    Splits {
        train: all(data.train),
        validation: all(data.validation),
        tests: tests.map(|test| Domain { name: test.name, examples: all(test.examples) }).collect(),
        sha256: data.sha256,
        notes: data.notes,
    }
}

/// What draws are made of: of the rows that are kept, which `of` names by their places, each; of a text that goes on in
/// several sequences each of these, by the text's hash and a number.
fn drawn(rows: &[Posed], of: &[usize]) -> Vec<Example> {
    let each = |sequences: &[usize]| {
        let whole = rows[sequences[0]].drawn();
        if sequences.len() == 1 {
            return vec![whole];
        }
        let name = hexadecimal(&Sha256::digest(&whole.text));
        let part =
            |place| Example { text: format!("{name} {place}"), pair: None, label: whole.label, weight: None };
        (0..sequences.len()).map(part).collect()
    };
    of.chunk_by(|one, other| one == other).flat_map(each).collect()
}

/// Refuses rows that the chat template or the tokenizer does not take, or says in a sentence that they are left out, as the
/// task wants it.
fn without_failed(task: &Task, rows: &[Posed], failed: &[Failed]) -> Result<Option<String>> {
    let Some(first) = failed.first() else { return Ok(None) };
    let origin = |failed: &Failed| rows.get(failed.place).and_then(|row| row.origin.as_ref());
    let place =
        |failed: &Failed| origin(failed).map_or_else(|| format!("row {}", failed.place + 1), Origin::place);
    let file = origin(first).map_or_else(|| PathBuf::from(&task.name), |origin| origin.file().to_owned());
    let count = failed.len();
    match task.malformed() {
        Malformed::Refuse => {
            let shown = failed.iter().take(FAILURES_SHOWN);
            let shown = shown.map(|failed| format!("{}: {}", place(failed), failed.fault)).collect();
            Err(Error::MalformedRows { file, count, rows: rows.len(), shown })
        }
        Malformed::Skip => {
            let mut places: Vec<String> = failed.iter().take(FAILURES_SHOWN).map(place).collect();
            if count > FAILURES_SHOWN {
                places.push(format!("{} more", count - FAILURES_SHOWN));
            }
            Ok(Some(format!(
                "{}: {count} of {} rows {} left out, which the chat template or the tokenizer does not take: {} (the \
                 first: {})",
                file.display(),
                rows.len(),
                be(count),
                list(&places),
                first.fault
            )))
        }
    }
}

/// Rows that are named; the others are counted.
const FAILURES_SHOWN: usize = 20;

/// What is done where the chat template would not let the model learn to stop.
fn endless(wording: &Wording) -> Option<String> {
    let behind = wording.endless_turn()?;
    let way = match wording.end() {
        Some(end) => format!(
            "each chat that the assistant ends is trained with {end} behind it, so that the model learns to stop"
        ),
        None => "the model's files name no such token, so the model does not learn to stop; state eos_token_id in \
                 generation_config.json"
            .into(),
    };
    Some(format!(
        "the chat template writes {behind:?} behind the assistant's words, and no token of that ends a text: {way}"
    ))
}

/// What the loss of these rows is not of, in a sentence; none where it is of all.
fn shortened(name: &str, lengths: &LengthReport, room: usize) -> Option<String> {
    let LengthReport { rows, cut, overlong, .. } = lengths;
    (cut + overlong > 0).then(|| {
        format!(
            "{name}: for the loss {cut} of {rows} rows lost of their prompt and {overlong} were left out, at most {room} \
             tokens each (train.max_length)"
        )
    })
}

/// Rows with what is asked about them, where that is more than how likely they are.
fn asked<'a>(rows: Rows, posed: impl Iterator<Item = &'a Posed>, tokenizer: &Arc<Tokenizer>) -> Result<Rows> {
    let question = |row: &Posed| match (&row.way, &row.example) {
        (Some(way), LanguageExample::Asked { question, .. }) => Some((way.clone(), question.clone())),
        _ => None,
    };
    let own: Vec<(Arc<Questions>, Question)> = posed.filter_map(question).collect();
    if own.is_empty() {
        return Ok(rows);
    }
    if own.len() != rows.len() {
        let expected = format!("room for all of {} rows that are asked about", own.len());
        let found = format!("{} that have room", rows.len());
        return Err(Error::malformed("study", "train.max_length", expected, found));
    }
    Ok(rows.asked_as(Asked { tokenizer: tokenizer.clone(), rows: own }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_of_the_rows_that_are_kept_and_of_each_part_of_a_text() {
        let texts = ["a", "left out", "long", "b"];
        let rows = texts.map(|text| text_alone(text.into()));
        let drawn: Vec<String> = drawn(&rows, &[0, 2, 2, 2, 3]).into_iter().map(|row| row.text).collect();
        assert_eq!((drawn.len(), &*drawn[0], &*drawn[4]), (5, "a", "b"));
        // Each by itself: else every draw took the text's first sequences.
        assert!(drawn[1] != drawn[2] && drawn[2] != drawn[3] && !drawn[1].contains("long"), "{drawn:?}");
    }
}
