//! Questions whose answers are parts of a passage, in SQuAD's files as published and as the Hub has them.

use super::faulty::Faulty;
use super::records::{self, Fields, Reading, kind};
use super::{Example, Row, put_count, put_text};
use crate::{Error, Result};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A question about a passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassageQuestion {
    /// What is asked, without white space before it.
    pub question: String,
    /// The passage that the answer is in, as it is.
    pub passage: Arc<str>,
    /// The true answers: where in the passage each is, in bytes. None where the passage does not answer.
    pub answers: Vec<Range<usize>>,
}

impl PassageQuestion {
    /// The true answers' texts.
    pub fn texts(&self) -> Vec<&str> {
        self.answers.iter().map(|place| &self.passage[place.clone()]).collect()
    }
}

impl Row for PassageQuestion {
    const SHARED: &'static str = "a passage";
    type Shared<'a> = &'a str;

    fn shared(&self) -> &str {
        &self.passage
    }

    /// Those with an answer and those without keep their shares.
    fn drawn(&self) -> Example {
        Example {
            text: self.question.clone(),
            pair: Some(self.passage.to_string()),
            label: self.class(),
            weight: None,
        }
    }

    fn class(&self) -> u32 {
        u32::from(self.answers.is_empty())
    }

    fn split_hash(&self, purpose: &str) -> [u8; 32] {
        Sha256::digest(format!("{purpose}\0{}", self.passage)).into()
    }

    fn put(&self, hash: &mut Sha256) {
        put_text(hash, &self.question);
        put_text(hash, &self.passage);
        put_count(hash, self.answers.len());
        for place in &self.answers {
            put_count(hash, place.start);
            put_count(hash, place.end);
        }
    }
}

/// The questions of the file at `path`, and what does not fit. Without `unanswerable`, a question without an answer does
/// not.
pub(crate) fn read(
    path: &Path,
    reading: &Reading,
    unanswerable: bool,
) -> Result<(Vec<PassageQuestion>, Faulty)> {
    let mut records = records::read(path, reading)?;
    let (mut questions, mut faulty) = (Vec::new(), std::mem::take(&mut records.faulty));
    for record in &records.records {
        let columns = match &record.fields {
            Fields::Object(columns) => columns.clone(),
            Fields::Table(_) => records.named(record),
        };
        let mut found = Found { place: record.place.to_string(), unanswerable, questions: Vec::new() };
        found.record(&columns);
        for question in found.questions {
            let question =
                question.map_err(|(place, expected, came)| Error::malformed(path, place, expected, came));
            questions.extend(faulty.keep(record.place, question)?);
        }
    }
    Ok((questions, faulty))
}

/// Where, what was expected, what came.
type Fault = (String, String, String);

/// The questions of one record, or why one is none.
struct Found {
    place: String,
    unanswerable: bool,
    questions: Vec<Result<PassageQuestion, Fault>>,
}

impl Found {
    /// A whole file {data}, an article {paragraphs}, a paragraph {context, qas}, or one question {context, question}.
    fn record(&mut self, columns: &Map<String, Value>) {
        if columns.contains_key("data") {
            self.each(columns, "data", Found::record);
        } else if columns.contains_key("paragraphs") {
            self.each(columns, "paragraphs", Found::record);
        } else {
            match text(columns, "context").map(Arc::<str>::from) {
                Err(fault) => self.fault(fault),
                Ok(passage) if columns.contains_key("qas") => {
                    self.each(columns, "qas", |found, row| found.question(row, &passage));
                }
                Ok(passage) => self.question(columns, &passage),
            }
        }
    }

    /// What each object of a list holds.
    fn each(
        &mut self,
        columns: &Map<String, Value>,
        key: &str,
        mut read: impl FnMut(&mut Found, &Map<String, Value>),
    ) {
        let list = match columns.get(key) {
            Some(Value::Array(list)) => list,
            other => {
                let came = other.map_or("nothing", kind).to_owned();
                return self.fault((key.to_owned(), "a list of objects".into(), came));
            }
        };
        let place = self.place.clone();
        for (index, element) in list.iter().enumerate() {
            self.place = format!("{place}, {key} {}", index + 1);
            match element {
                Value::Object(row) => read(self, row),
                other => self.fault((String::new(), "an object".into(), kind(other).into())),
            }
        }
        self.place = place;
    }

    fn question(&mut self, row: &Map<String, Value>, passage: &Arc<str>) {
        match question(row, passage, self.unanswerable) {
            Ok(question) => self.questions.push(Ok(question)),
            Err(fault) => self.fault(fault),
        }
    }

    fn fault(&mut self, (key, expected, came): Fault) {
        let place = if key.is_empty() { self.place.clone() } else { format!("{}, {key}", self.place) };
        self.questions.push(Err((place, expected, came)));
    }
}

fn question(
    row: &Map<String, Value>,
    passage: &Arc<str>,
    unanswerable: bool,
) -> Result<PassageQuestion, Fault> {
    let asked = text(row, "question")?.trim_start().to_owned();
    let impossible = row.get("is_impossible").and_then(Value::as_bool).unwrap_or(false);
    let answers = if impossible { Vec::new() } else { answers(row, passage)? };
    if answers.is_empty() && !unanswerable {
        let expected = "an answer or more (questions without one are for metric = \"squad2_f1\")".into();
        return Err(("answers".into(), expected, "none".into()));
    }
    Ok(PassageQuestion { question: asked, passage: passage.clone(), answers })
}

/// `[{text, answer_start}]` as published, or `{text: […], answer_start: […]}` as the Hub has them.
fn answers(row: &Map<String, Value>, passage: &str) -> Result<Vec<Range<usize>>, Fault> {
    let fault = |came: &str| {
        let expected = "a list of {text, answer_start}, or lists of both".to_owned();
        ("answers".to_owned(), expected, came.to_owned())
    };
    let pairs: Vec<(&Value, &Value)> = match row.get("answers") {
        Some(Value::Array(list)) => {
            let both = |answer: &Value| answer.get("text").is_some() && answer.get("answer_start").is_some();
            if !list.iter().all(both) {
                return Err(fault("an element without one of them"));
            }
            list.iter().map(|answer| (&answer["text"], &answer["answer_start"])).collect()
        }
        Some(Value::Object(lists)) => {
            let list = |key| lists.get(key).and_then(Value::as_array);
            let (Some(texts), Some(starts)) = (list("text"), list("answer_start")) else {
                return Err(fault("an object without these lists"));
            };
            if texts.len() != starts.len() {
                return Err(fault("lists of different lengths"));
            }
            texts.iter().zip(starts).collect()
        }
        other => return Err(fault(other.map_or("nothing", kind))),
    };
    pairs.into_iter().map(|(text, start)| place(text, start, passage)).collect()
}

/// Where an answer stands, in bytes; files count characters.
fn place(text: &Value, start: &Value, passage: &str) -> Result<Range<usize>, Fault> {
    let (Some(text), Some(start)) = (text.as_str(), start.as_u64()) else {
        let came = format!("{text} and {start}");
        return Err(("answers".into(), "text and the number of its first character".into(), came));
    };
    let first = usize::try_from(start).ok().and_then(|start| passage.char_indices().nth(start));
    let first = first.map_or(passage.len(), |(byte, _)| byte);
    if text.is_empty() || !passage[first..].starts_with(text) {
        let stands: String = passage[first..].chars().take(text.chars().count().clamp(1, 60)).collect();
        let expected = format!("\"{text}\" in the passage from character {start} on");
        return Err(("answers".into(), expected, format!("\"{stands}\"")));
    }
    Ok(first..first + text.len())
}

fn text<'a>(row: &'a Map<String, Value>, key: &str) -> Result<&'a str, Fault> {
    match row.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        other => {
            let came =
                other.map_or("nothing", |value| if value.is_string() { "nothing" } else { kind(value) });
            Err((key.to_owned(), "some text".into(), came.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::records::Header;
    use std::fs;

    fn found(name: &str, content: &str, unanswerable: bool) -> (Vec<PassageQuestion>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let header = Header::Given(true);
        let reading = Reading::with(header);
        let (questions, faulty) = read(&path, &reading, unanswerable).unwrap();
        (questions, faulty.lines(&path))
    }

    const PUBLISHED: &str = r#"{
        "version": "v2.0",
        "data": [{"title": "T", "paragraphs": [{"context": "Né à Paris in 1900.", "qas": [
            {"id": "1", "question": "  Where?", "answers": [{"text": "Paris", "answer_start": 5}]},
            {"id": "2", "question": "Who?", "answers": [], "is_impossible": true},
            {"id": "3", "question": "When?", "answers": [{"text": "1900", "answer_start": 13}]}
        ]}]}]
    }"#;

    #[test]
    fn squad_s_file_as_published_counts_characters_and_bad_places_are_told() {
        let (questions, faults) = found("dev.json", PUBLISHED, true);
        assert_eq!(
            (questions.len(), questions[0].texts(), questions[0].question.as_str()),
            (2, vec!["Paris"], "Where?")
        );
        assert_eq!(questions[0].answers.first(), Some(&(7..12)));
        assert!(questions[1].answers.is_empty());
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        for part in [
            "data 1, paragraphs 1, qas 3, answers",
            "\"1900\" in the passage from character 13 on",
            "\" 190\"",
        ] {
            assert!(fault.contains(part), "{part}: {fault}");
        }
        let (questions, faults) = found("dev.json", PUBLISHED, false);
        assert_eq!((questions.len(), faults.len()), (1, 2));
        assert!(faults[0].contains("squad2_f1"), "{faults:?}");
    }

    #[test]
    fn a_file_that_ends_too_soon_is_one_fault_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.json");
        fs::write(&path, &PUBLISHED[..PUBLISHED.len() / 2]).unwrap();
        let header = Header::Given(true);
        let reading = Reading::with(header);
        let error = read(&path, &reading, true).unwrap_err().to_string();
        assert!(error.contains(": expected one JSON object to its end, found EOF"), "{error}");
    }

    #[test]
    fn the_hub_s_flat_rows_say_the_same() {
        let row = r#"{"context": "Né à Paris.", "question": "Where?", "answers": {"text": ["Paris"], "answer_start": [5]}}"#;
        let (questions, faults) = found("dev.jsonl", &format!("{row}\n{{\"question\": \"x\"}}\n"), false);
        assert_eq!((questions[0].texts(), faults.len()), (vec!["Paris"], 1));
        assert!(faults[0].contains("line 2, context: expected some text, found nothing"), "{faults:?}");
    }
}
