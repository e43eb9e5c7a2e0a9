//! What a language model is asked about a row, and what would be right: lm-evaluation-harness's `doc_to_text`,
//! `doc_to_choice` and `doc_to_target` over a row's columns.

use super::Template;
use super::documents::Documents;
use crate::Error;
use crate::data::records::{Fields, Record, Records, kind};
use crate::data::{put_count, put_text};
use serde_json::{Map, Value};
use sha2::Sha256;
use std::collections::HashMap;

/// One row, asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Which of some texts goes on best.
    Choice {
        /// What stands before each choice: one for each, or the same for all.
        contexts: Vec<String>,
        /// The choices, without the delimiter before them; the same for all where contexts differ.
        choices: Vec<String>,
        /// Which are right.
        golds: Vec<usize>,
        /// What each choice stands for as an answer, where answers are scored; else none.
        answers: Vec<String>,
        /// Answers that are right, where answers are scored; else none.
        references: Vec<String>,
    },
    /// What the model goes on with by itself.
    Answer {
        /// What it is given.
        context: String,
        /// What is right.
        references: Vec<String>,
    },
    /// How likely a text is.
    Text {
        /// The text.
        text: String,
        /// The text whose words and bytes count.
        counted: String,
    },
}

/// How rows become questions.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    /// Where records are a text that runs on: the documents in it, each a row.
    pub documents: Option<Documents>,
    /// What records that follow one another must have in common to be one row, which has them as the list `rows` beside the
    /// columns of the first. A record without what it names is a row by itself.
    pub gather: Option<Template>,
    /// Whether rows that ask the same are one question where a model is asked, with what is right of all as its references.
    pub join_references: bool,
    /// Further columns, each out of those before: (name, template). One that writes JSON makes a list or an object.
    pub derive: Vec<(String, Template)>,
    /// `doc_to_text`: one, or one for each choice.
    pub texts: Vec<Template>,
    /// What is asked.
    pub asks: Asks,
    /// `target_delimiter`.
    pub delimiter: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Asks {
    Choice {
        choices: Choices,
        target: Template,
        answers: Option<Template>,
        references: Option<Template>,
        /// Whether no choice at all may be right.
        none_right: bool,
    },
    Answer {
        target: Template,
    },
    Text {
        target: Template,
        counted: Option<Template>,
    },
}

/// `doc_to_choice`: a template for each choice, or one that writes a JSON list.
#[derive(Debug, Clone)]
pub(crate) enum Choices {
    Each(Vec<Template>),
    List(Template),
}

/// The column that holds what was gathered.
const ROWS: &str = "rows";

/// A row's columns, or why there are none.
type Unnested = Result<Map<String, Value>, Fault>;

/// The key that a fault is about, what was expected, what came.
type Fault = (&'static str, String, String);

impl Question {
    /// What is given, and the right thing to say: what is trained on, and what an example of a prompt shows.
    pub fn worked(&self, delimiter: &str) -> (String, String) {
        match self {
            Question::Choice { contexts, choices, golds, .. } => {
                let gold = golds.first().copied().unwrap_or(0);
                let pick = |texts: &[String]| texts.get(gold).or(texts.first()).cloned().unwrap_or_default();
                (pick(contexts), format!("{delimiter}{}", pick(choices)))
            }
            Question::Answer { context, references } => {
                (context.clone(), format!("{delimiter}{}", references.first().map_or("", String::as_str)))
            }
            Question::Text { text, .. } => (String::new(), text.clone()),
        }
    }

    /// Every field goes in with its length before it.
    pub(crate) fn put(&self, hash: &mut Sha256) {
        let mut list = |name: &str, texts: &[&String]| {
            put_text(hash, name);
            put_count(hash, texts.len());
            texts.iter().for_each(|text| put_text(hash, text));
        };
        match self {
            Question::Choice { contexts, choices, golds, answers, references } => {
                for (name, texts) in [
                    ("contexts", contexts),
                    ("choices", choices),
                    ("answers", answers),
                    ("references", references),
                ] {
                    list(name, &texts.iter().collect::<Vec<_>>());
                }
                put_count(hash, golds.len());
                golds.iter().for_each(|gold| put_count(hash, *gold));
            }
            Question::Answer { context, references } => {
                list("answer", &std::iter::once(context).chain(references).collect::<Vec<_>>());
            }
            Question::Text { text, counted } => list("text", &[text, counted]),
        }
    }
}

impl Form {
    /// Makes rows of records: cuts those that are a text that runs on, puts together those that are one row.
    pub(crate) fn arrange(&self, records: &mut Records) -> crate::Result<()> {
        if let Some(documents) = &self.documents {
            documents.cut(records)?;
        }
        if let Some(template) = &self.gather {
            gather(template, records);
        }
        Ok(())
    }

    /// The questions that a model is asked, of these about rows: with the place of the first row of each.
    pub(crate) fn joined(&self, questions: impl Iterator<Item = Question>) -> Vec<(usize, Question)> {
        let mut joined: Vec<(usize, Question)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (row, question) in questions.enumerate() {
            if let (true, Question::Answer { context, references }) = (self.join_references, &question) {
                let place = *known.entry(context.clone()).or_insert(joined.len());
                if let Some((_, Question::Answer { references: all, .. })) = joined.get_mut(place) {
                    all.extend(references.iter().cloned());
                    continue;
                }
            }
            joined.push((row, question));
        }
        joined
    }

    /// The questions about a record's rows, each with its place.
    pub(crate) fn questions(
        &self,
        records: &Records,
        record: &Record,
        unnest: &[(String, String)],
    ) -> Vec<(String, crate::Result<Question>)> {
        let asked = |(place, columns): (String, Unnested)| {
            let asked = columns.and_then(|columns| self.question(columns));
            let fault = |(key, expected, found): Fault| {
                Error::malformed(&records.file, format!("{place}, {key}"), expected, found)
            };
            let asked = asked.map_err(fault);
            (place, asked)
        };
        unnested(records, record, unnest).into_iter().map(asked).collect()
    }

    /// The question about a row with these columns.
    pub(crate) fn question(&self, mut columns: Map<String, Value>) -> Result<Question, Fault> {
        for (name, template) in &self.derive {
            let text = render("derive", template, &columns)?;
            columns.insert(name.clone(), derived(template, text));
        }
        let columns = &columns;
        let texts = |templates: &[Template], key| -> Result<Vec<String>, Fault> {
            templates.iter().map(|template| render(key, template, columns)).collect()
        };
        match &self.asks {
            Asks::Text { target, counted } => {
                let text = some(right(target, columns)?, "doc_to_target")?;
                let counted = counted.as_ref().map(|counted| render("doc_to_words", counted, columns));
                let counted = counted.transpose()?.unwrap_or_else(|| text.clone());
                Ok(Question::Text { text, counted })
            }
            Asks::Answer { target } => {
                let context = some(texts(&self.texts, "doc_to_text")?.concat(), "doc_to_text")?;
                let target = right(target, columns)?;
                let references = match serde_json::from_str(&target) {
                    Ok(Value::Array(list)) => answers(strings("doc_to_target", &list)?, "doc_to_target")?,
                    _ => vec![some(target, "doc_to_target")?],
                };
                Ok(Question::Answer { context, references })
            }
            Asks::Choice { choices, target, answers: stands_for, references, none_right } => {
                let contexts = texts(&self.texts, "doc_to_text")?;
                let choices = match choices {
                    Choices::Each(templates) => texts(templates, "doc_to_choice")?,
                    Choices::List(template) => list("doc_to_choice", template, columns)?,
                };
                // lm-evaluation-harness weighs an empty choice by the delimiter before it.
                if self.delimiter.is_empty()
                    && let Some(empty) = choices.iter().position(String::is_empty)
                {
                    let expected = format!("some text for choice {empty}, as target_delimiter is empty");
                    return Err(("doc_to_choice", expected, "nothing".into()));
                }
                let count = contexts.len().max(choices.len());
                if contexts.is_empty()
                    || ![1, count].contains(&contexts.len())
                    || ![1, count].contains(&choices.len())
                {
                    let found = format!("{} choices and {} contexts", choices.len(), contexts.len());
                    return Err((
                        "doc_to_choice",
                        "as many choices as contexts, or one of either".into(),
                        found,
                    ));
                }
                let golds = golds(&right(target, columns)?, &choices, count, *none_right)?;
                let more = |key, template: &Option<Template>| match template {
                    Some(template) => answers(list(key, template, columns)?, key),
                    None => Ok(Vec::new()),
                };
                let (answers, references) =
                    (more("doc_to_answer", stands_for)?, more("doc_to_reference", references)?);
                if !answers.is_empty() && answers.len() != count {
                    let found = answers.len().to_string();
                    return Err(("doc_to_answer", format!("{count} answers, one for each choice"), found));
                }
                Ok(Question::Choice { contexts, choices, golds, answers, references })
            }
        }
    }
}

/// Puts records that follow one another together where the template says the same of them.
fn gather(template: &Template, records: &mut Records) {
    let mut gathered: Vec<(Option<String>, Record)> = Vec::new();
    for record in std::mem::take(&mut records.records) {
        let columns = records.named(&record);
        let Ok(key) = template.render(&columns) else {
            gathered.push((None, record));
            continue;
        };
        match gathered.last_mut() {
            Some((Some(last), Record { fields: Fields::Object(first), .. })) if *last == key => {
                if let Some(Value::Array(rows)) = first.get_mut(ROWS) {
                    rows.push(Value::Object(columns));
                }
            }
            _ => {
                let mut first = columns.clone();
                first.insert(ROWS.into(), Value::Array(vec![Value::Object(columns)]));
                gathered.push((Some(key), Record { place: record.place, fields: Fields::Object(first) }));
            }
        }
    }
    records.records = gathered.into_iter().map(|(_, record)| record).collect();
}

/// The right choices: by number, by text, or by a JSON list of one truth value for each.
fn golds(target: &str, choices: &[String], count: usize, none_right: bool) -> Result<Vec<usize>, Fault> {
    let named = target.trim();
    if let Ok(number) = named.parse::<usize>()
        && number < count
    {
        return Ok(vec![number]);
    }
    if let Some(place) = choices.iter().position(|choice| choice == target || choice.trim() == named)
        && count == choices.len()
    {
        return Ok(vec![place]);
    }
    if let Ok(Value::Array(truths)) = serde_json::from_str(named) {
        let is_true = |value: &Value| *value == Value::Bool(true) || value.as_f64() == Some(1.0);
        let golds: Vec<usize> = (0..truths.len()).filter(|place| is_true(&truths[*place])).collect();
        if truths.len() == count && (none_right || !golds.is_empty()) {
            return Ok(golds);
        }
    }
    let expected = format!(
        "the number of one of {count} choices from 0, the choice itself, or a list of {count} truth values"
    );
    Err(("doc_to_target", expected, format!("\"{}\"", named.chars().take(60).collect::<String>())))
}

fn render(key: &'static str, template: &Template, columns: &Map<String, Value>) -> Result<String, Fault> {
    template.render(columns).map_err(|(expected, found)| (key, expected, found))
}

/// What is right: no null decides it.
fn right(template: &Template, columns: &Map<String, Value>) -> Result<String, Fault> {
    let key = "doc_to_target";
    template.no_nulls(columns).map_err(|(expected, found)| (key, expected, found))?;
    render(key, template, columns)
}

/// The texts that a template writes as a JSON list.
fn list(key: &'static str, template: &Template, columns: &Map<String, Value>) -> Result<Vec<String>, Fault> {
    let text = render(key, template, columns)?;
    match serde_json::from_str(&text) {
        Ok(Value::Array(list)) => strings(key, &list),
        _ => {
            let found = format!("\"{}\"", text.chars().take(60).collect::<String>());
            Err((key, "a template that writes a JSON list, as {{ choices | tojson }}".into(), found))
        }
    }
}

fn strings(key: &'static str, list: &[Value]) -> Result<Vec<String>, Fault> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err((key, "a list of texts".into(), format!("{} in it", kind(other)))),
    };
    list.iter().map(text).collect()
}

/// Answers, of which there is one at the least: a score over none is none.
fn answers(list: Vec<String>, key: &'static str) -> Result<Vec<String>, Fault> {
    if list.is_empty() { Err((key, "an answer or more".into(), "an empty list".into())) } else { Ok(list) }
}

fn some(text: String, key: &'static str) -> Result<String, Fault> {
    if text.trim().is_empty() { Err((key, "some text".into(), "nothing".into())) } else { Ok(text) }
}

/// A record's rows: itself, or one for each element of the lists within it. A record that does not have the first list's
/// column is a row: the Hub's files are flat where the publisher's are nested.
fn unnested(records: &Records, record: &Record, steps: &[(String, String)]) -> Vec<(String, Unnested)> {
    let mut rows = vec![(record.place.to_string(), Ok(records.named(record)))];
    let root = steps.first().and_then(|(_, path)| path.split('.').next());
    let steps = if root.is_some_and(|root| !records.has(record, root)) { &[] } else { steps };
    for (name, path) in steps {
        let mut next = Vec::new();
        for (place, columns) in rows {
            let Ok(columns) = columns else {
                next.push((place, columns));
                continue;
            };
            let found = path.split('.').try_fold(None::<&Value>, |value, key| match value {
                None => columns.get(key).map(Some),
                Some(value) => value.get(key).map(Some),
            });
            match found.flatten() {
                Some(Value::Array(elements)) => {
                    next.extend(elements.iter().enumerate().map(|(i, element)| {
                        let mut columns = columns.clone();
                        columns.insert(name.clone(), element.clone());
                        (format!("{place}, {name} {}", i + 1), Ok(columns))
                    }))
                }
                other => {
                    let came = other.map_or("nothing", kind).to_owned();
                    next.push((place, Err(("unnest", format!("a list at {path}"), came))));
                }
            }
        }
        rows = next;
    }
    rows
}

/// What a derived column holds: a list or an object where its template writes JSON, else the text. A text of the data that
/// looks like JSON stays a text.
pub(super) fn derived(template: &Template, text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) if template.writes_json() => value,
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests;
