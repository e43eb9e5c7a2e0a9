//! Records of JSON files: one object a line, an array of objects, or a list within a document.

use super::{Fields, Place, kind};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

pub(super) type Found = Vec<(Place, Result<Fields>)>;

/// One object a line. Blank lines are none.
pub(super) fn lines(path: &Path, content: &str) -> Found {
    let lines = content.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
    let object = |(index, line): (usize, &str)| {
        let place = Place::Line(index + 1);
        let fields = serde_json::from_str(line).map(Fields::Object).map_err(|error| {
            let found = format!("{} in column {}", fault(line, &error), error.column());
            Error::malformed(path, place.to_string(), "a JSON object", found)
        });
        (place, fields)
    };
    lines.map(object).collect()
}

/// One object that does not end on its first line, or what is wrong with it; none where lines are objects by themselves.
pub(super) fn whole_object(path: &Path, content: &str) -> Option<Result<Map<String, Value>>> {
    let object = serde_json::from_str::<Map<String, Value>>;
    let first = object(content.lines().next()?);
    let goes_on = content.lines().nth(1).is_some() && first.is_err_and(|error| error.is_eof());
    let whole = goes_on.then(|| object(content))?;
    let is_one = whole.is_ok() || !content.lines().any(|line| object(line).is_ok());
    is_one.then(|| whole.map_err(|error| malformed(path, content, "one JSON object to its end", &error)))
}

/// An array of objects.
pub(super) fn array(path: &Path, content: &str) -> Result<Found> {
    let elements: Vec<Value> = serde_json::from_str(content)
        .map_err(|error| malformed(path, content, "one JSON array of objects", &error))?;
    Ok(objects(path, elements))
}

/// The list at `keys` ("data.items") in a document that is one JSON value.
pub(super) fn within(path: &Path, content: &str, keys: &str) -> Result<Found> {
    let mut value: Value = serde_json::from_str(content)
        .map_err(|error| malformed(path, content, "one JSON document", &error))?;
    let mut walked = Vec::new();
    for key in keys.split('.') {
        let next = value.get_mut(key).map(Value::take);
        value = next.ok_or_else(|| {
            let place = if walked.is_empty() { "whole file".into() } else { walked.join(".") };
            let found = match &value {
                Value::Object(fields) => {
                    format!("the keys {}", fields.keys().cloned().collect::<Vec<_>>().join(", "))
                }
                other => kind(other).to_owned(),
            };
            Error::malformed(path, place, format!("the key \"{key}\" (records = \"{keys}\")"), found)
        })?;
        walked.push(key);
    }
    match value {
        Value::Array(elements) => Ok(objects(path, elements)),
        other => Err(Error::malformed(path, keys, "a list of objects", kind(&other))),
    }
}

fn objects(path: &Path, elements: Vec<Value>) -> Found {
    let record = |(index, element): (usize, Value)| {
        let place = Place::Element(index + 1);
        let fields = match element {
            Value::Object(fields) => Ok(Fields::Object(fields)),
            other => Err(Error::malformed(path, place.to_string(), "a JSON object", kind(&other))),
        };
        (place, fields)
    };
    elements.into_iter().enumerate().map(record).collect()
}

fn malformed(path: &Path, content: &str, expected: &str, error: &serde_json::Error) -> Error {
    let place = format!("line {}, column {}", error.line(), error.column());
    Error::malformed(path, place, expected, fault(content, error))
}

/// What is wrong with a JSON text, without the place. The numbers that Python writes and JSON lacks are named.
fn fault(content: &str, error: &serde_json::Error) -> String {
    let line = content.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let near = error.column().saturating_sub(2)..error.column() + 1;
    let starts = |name: &&&str| {
        near.clone().any(|start| line.get(start..).is_some_and(|rest| rest.starts_with(**name)))
    };
    if let Some(name) = ["NaN", "Infinity"].iter().find(starts) {
        return format!("{name}, which Python writes and JSON does not know: write null or a number");
    }
    let words = error.to_string();
    words.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(found: Found) -> Vec<String> {
        found.into_iter().filter_map(|(_, fields)| Some(fields.err()?.to_string())).collect()
    }

    #[test]
    fn numbers_that_only_python_knows_are_named_with_their_line() {
        let path = Path::new("a.jsonl");
        let found =
            faults(lines(path, "{\"a\": 1}\n\n{\"a\": NaN}\n{\"a\": -Infinity}\n{\"a\": Infinity}\n"));
        assert_eq!(found.len(), 3);
        assert!(
            found[0].starts_with("a.jsonl: line 3: ") && found[0].contains("NaN, which Python writes"),
            "{found:?}"
        );
        assert!(found[1..].iter().all(|fault| fault.contains("found Infinity, which Python")), "{found:?}");
        let error = array(path, "[\n{\"a\": 1},\n{\"a\": NaN}]").unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("NaN, which"), "{error}");
        let plain = faults(lines(path, "{\"a\": }"));
        assert!(plain[0].ends_with("found expected value in column 7"), "{plain:?}");
    }

    #[test]
    fn a_list_within_a_document_is_found_by_its_keys() {
        let path = Path::new("a.json");
        let content = "{\"data\": {\"items\": [{\"a\": 1}, 2]}}";
        let found = within(path, content, "data.items").unwrap();
        assert_eq!((found.len(), found[1].0), (2, Place::Element(2)));
        assert!(found[1].1.is_err());
        for (keys, expected) in [
            ("rows", "whole file: expected the key \"rows\" (records = \"rows\"), found the keys data"),
            ("data.rows", "data: expected the key \"rows\""),
            ("data", "data: expected a list of objects, found an object"),
        ] {
            let error = within(path, content, keys).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
