//! From a file's records to examples: which columns mean what, and what a row must hold.

use super::question::Form;
use super::{Conversation, LanguageExample, Message, Question, Template};
use crate::data::faulty::Faulty;
use crate::data::records::{self, Column, Place, Reading, Record, Records, kind};
use crate::data::{Located, Origin};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// How a row's columns make an example.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Alpaca's instruction, perhaps an input, and an output; as its prompt, or as a chat of one exchange.
    /// Without a column's name for it, the input is that of the column "input" in rows that have one.
    Instruction { instruction: Column, input: Option<Column>, output: Column, chat: bool },
    /// A list of role and content, or ShareGPT's of from and value.
    Chat { messages: Option<Column> },
    /// Two columns.
    PromptCompletion { prompt: Column, completion: Column, delimiter: String },
    /// Two templates over all columns.
    Templates { doc_to_text: Template, doc_to_target: Template, delimiter: String },
    /// One column of raw text.
    Text { text: Column },
    /// Rows that are also asked about: what is given, and what is right. A record may hold several.
    Questions { form: Arc<Form>, unnest: Vec<(String, String)> },
}

const INPUT: &str = "input";

/// Roles that a chat may have, each under the names that it goes by.
const ROLES: [(&str, &[&str]); 5] = [
    ("system", &["system"]),
    ("developer", &["developer"]),
    ("user", &["user", "human"]),
    ("assistant", &["assistant", "gpt", "chatgpt", "model"]),
    ("tool", &["tool"]),
];

/// The examples of the file at `path`, and the rows that make none.
pub(crate) fn read(
    path: &Path,
    reading: &Reading,
    shape: &Shape,
) -> Result<(Vec<Located<LanguageExample>>, Faulty)> {
    let mut records = records::read(path, reading)?;
    if let Shape::Questions { form, .. } = shape {
        form.arrange(&mut records)?;
    }
    let of = |record| match shape {
        Shape::Questions { form, unnest } => asked(&records, record, form, unnest),
        _ => vec![(record.place, example(&records, record, shape))],
    };
    let found: Vec<(Place, Result<LanguageExample>)> = records.records.iter().flat_map(of).collect();
    let (mut examples, mut faulty) = (Vec::with_capacity(found.len()), std::mem::take(&mut records.faulty));
    let file = Arc::new(path.to_owned());
    for (place, example) in found {
        let row = faulty.keep(place, example)?;
        examples.extend(row.map(|row| Located { row, origin: Origin::new(&file, place) }));
    }
    Ok((examples, faulty))
}

/// The rows of a record that are asked about.
fn asked(
    records: &Records,
    record: &Record,
    form: &Form,
    unnest: &[(String, String)],
) -> Vec<(Place, Result<LanguageExample>)> {
    let example = |asked: Result<Question>| {
        asked.map(|question| LanguageExample::Asked { question, delimiter: form.delimiter.clone() })
    };
    let questions = form.questions(records, record, unnest).into_iter();
    questions.map(|(_, asked)| (record.place, example(asked))).collect()
}

fn example(records: &Records, record: &Record, shape: &Shape) -> Result<LanguageExample> {
    match shape {
        Shape::Questions { .. } => unreachable!("questions are read by the record, which may hold several"),
        Shape::Text { text } => Ok(LanguageExample::Text(records.verbatim(record, text, "text")?)),
        Shape::Chat { messages } => Ok(LanguageExample::Chat(Conversation {
            messages: chat(records, record, messages.as_ref())?,
            tools: tools(records, record)?,
        })),
        Shape::PromptCompletion { prompt, completion, delimiter } => {
            let prompt = records.verbatim(record, prompt, "prompt")?;
            let completion = records.verbatim(record, completion, "completion")?;
            Ok(LanguageExample::Prompt { prompt, completion: format!("{delimiter}{completion}") })
        }
        Shape::Templates { doc_to_text, doc_to_target, delimiter } => {
            let columns = records.named(record);
            let prompt = rendered(records, record, "doc_to_text", doc_to_text, &columns)?;
            let completion = rendered(records, record, "doc_to_target", doc_to_target, &columns)?;
            Ok(LanguageExample::Prompt { prompt, completion: format!("{delimiter}{completion}") })
        }
        Shape::Instruction { instruction, input, output, chat } => {
            let instruction = records.text(record, instruction, "instruction")?;
            let output = records.verbatim(record, output, "output")?;
            let input = match input {
                Some(column) => records.optional_text(record, column, "input")?,
                None if records.has(record, INPUT) => {
                    records.optional_text(record, &Column::Name(INPUT.into()), "input")?
                }
                None => None,
            };
            Ok(match chat {
                true => exchange(instruction, input, output),
                false => LanguageExample::Prompt { prompt: alpaca(&instruction, input), completion: output },
            })
        }
    }
}

/// A template over all columns of a record; never blank.
pub(crate) fn rendered(
    records: &Records,
    record: &Record,
    what: &str,
    template: &Template,
    columns: &Map<String, Value>,
) -> Result<String> {
    let fault = |expected: &str, found: String| {
        Err(Error::malformed(&records.file, format!("{}, {what}", record.place), expected, found))
    };
    match template.render(columns) {
        Ok(text) if text.trim().is_empty() => fault("some text", "nothing".into()),
        Ok(text) => Ok(text),
        Err((expected, found)) => fault(&expected, found),
    }
}

/// The prompt of Stanford's Alpaca (Taori et al. 2023).
fn alpaca(instruction: &str, input: Option<String>) -> String {
    let (context, input) = match input {
        Some(input) => {
            (", paired with an input that provides further context", format!("### Input:\n{input}\n\n"))
        }
        None => ("", String::new()),
    };
    format!(
        "Below is an instruction that describes a task{context}. Write a response that appropriately completes the \
         request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
    )
}

fn exchange(instruction: String, input: Option<String>, output: String) -> LanguageExample {
    let asked = input.map_or(instruction.clone(), |input| format!("{instruction}\n\n{input}"));
    LanguageExample::Chat(vec![Message::new("user", asked), Message::new("assistant", output)].into())
}

fn chat(records: &Records, record: &Record, column: Option<&Column>) -> Result<Vec<Message>> {
    let named = |name: &str| Column::Name(name.into());
    let column = match column {
        Some(column) => column.clone(),
        None if !records.has(record, "messages") && records.has(record, "conversations") => {
            named("conversations")
        }
        None => named("messages"),
    };
    let fault = |place: &str, expected: &str, found: &str| {
        Error::malformed(&records.file, format!("{}, messages{place}", record.place), expected, found)
    };
    let value = records.value(record, &column, "messages")?;
    let list = value.as_array().ok_or_else(|| {
        fault("", "a list of {role, content} (as ShareGPT has it: {from, value})", kind(value))
    })?;
    let messages: Vec<Message> = (list.iter().enumerate())
        .map(|(index, value)| {
            message(value).map_err(|(expected, found)| fault(&format!("[{index}]"), expected, &found))
        })
        .collect::<Result<_>>()?;
    let answer = messages.iter().find(|message| message.role == "assistant");
    match answer {
        Some(_) => Ok(messages),
        None => Err(fault("", "an assistant's message", "none")),
    }
}

/// What a row says of the functions that the assistant may call: a list, or its JSON as text; `None` where it says nothing.
fn tools(records: &Records, record: &Record) -> Result<Option<Value>> {
    if !records.has(record, TOOLS) {
        return Ok(None);
    }
    let value = records.value(record, &Column::Name(TOOLS.into()), TOOLS)?;
    let parsed = value.as_str().map(|text| serde_json::from_str(text).unwrap_or(Value::Null));
    match parsed.as_ref().unwrap_or(value) {
        Value::Null if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) => {
            Ok(None)
        }
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::Array(list) => Ok(Some(Value::Array(list.clone()))),
        other => {
            let found = if value.is_string() { "text that is none" } else { kind(other) };
            let place = format!("{}, {TOOLS}", record.place);
            Err(Error::malformed(&records.file, place, "a list of tools' descriptions, or its JSON", found))
        }
    }
}

/// One turn; or what was expected and what came.
fn message(value: &Value) -> std::result::Result<Message, (&'static str, String)> {
    let Value::Object(fields) = value else { return Err(("an object", kind(value).into())) };
    let found = |keys: [&'static str; 2]| {
        keys.into_iter().find_map(|key| Some((key, fields.get(key)?))).ok_or_else(|| {
            let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
            format!("the keys {}", keys.join(", "))
        })
    };
    let expected = "text under \"role\" (or \"from\")";
    let (role_key, said) = found(["role", "from"]).map_err(|found| (expected, found))?;
    let said = said.as_str().ok_or_else(|| (expected, kind(said).to_owned()))?;
    let role = ROLES.iter().find(|(_, names)| names.contains(&said)).ok_or_else(|| {
        ("a role of system, developer, user (human), assistant (gpt) or tool", format!("\"{said}\""))
    })?;
    let calls = tool_calls(fields.get(CALLS))?;
    let content = match found(["content", "value"]) {
        Ok((_, Value::Null)) | Err(_) if calls.is_some() => None,
        Ok((_, value)) => Some(content(value)?),
        Err(found) => return Err((CONTENT, found)),
    };
    let blank = content.as_ref().is_none_or(|content| content.trim().is_empty());
    if role.0 == "assistant" && blank && calls.is_none() {
        return Err(("some text from the assistant", "nothing".into()));
    }
    let own = [role_key, "content", "value"];
    let mut more = fields.clone();
    more.retain(|key, _| !own.contains(&key.as_str()));
    if let Some(calls) = calls {
        more.insert(CALLS.into(), calls);
    }
    Ok(Message { role: role.0.to_owned(), content, more })
}

const CALLS: &str = "tool_calls";
/// The column that describes functions, as Transformers' `apply_chat_template` and TRL name it.
const TOOLS: &str = "tools";
const CONTENT: &str = "text under \"content\" (or \"value\"), or a list of parts with text";

/// What is said: a text, or a list of parts of type text, which follow one another as chat templates write them.
fn content(value: &Value) -> std::result::Result<String, (&'static str, String)> {
    let part = |part: &Value| {
        let stated = part.get("type").and_then(Value::as_str);
        match (stated, part.get("text")) {
            (Some("text") | None, Some(Value::String(text))) => Ok(text.clone()),
            (Some(other), _) if other != "text" => Err(("parts of type text alone", format!("\"{other}\""))),
            _ => Err(("parts with text", part.to_string().chars().take(60).collect())),
        }
    };
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        other => Err((CONTENT, kind(other).to_owned())),
    }
}

/// The tools that a turn calls, if it does. Arguments in a text become what the text says, as templates write them.
fn tool_calls(value: Option<&Value>) -> std::result::Result<Option<Value>, (&'static str, String)> {
    let mut calls = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(calls)) if calls.is_empty() => return Ok(None),
        Some(Value::Array(calls)) => calls.clone(),
        Some(other) => return Err(("a list under \"tool_calls\"", kind(other).to_owned())),
    };
    for call in &mut calls {
        let function = match call.get("function") {
            Some(_) => call.get_mut("function"),
            None => Some(call),
        };
        let Some(Value::Object(function)) = function else {
            return Err(("objects in \"tool_calls\"", "others".to_owned()));
        };
        let written = function.get("arguments").and_then(Value::as_str);
        if let Some(arguments @ Value::Object(_)) = written.and_then(|text| serde_json::from_str(text).ok()) {
            function.insert("arguments".into(), arguments);
        }
    }
    Ok(Some(Value::Array(calls)))
}

#[cfg(test)]
mod tests;
