//! A study's text laid over the defaults: every fault at once, each with its key and the nearest that exists.

use super::config::Study;
use crate::error::{Error, Result, nearest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

/// The study of a text with `key=value` changes, and what does not fit; `path` is for messages.
pub(super) fn resolve(path: &Path, text: &str, set: &[String]) -> Result<(Study, Vec<String>)> {
    let given: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let place =
            error.span().map_or("the file".into(), |span| format!("line {}", line_of(text, span.start)));
        Error::malformed(path, place, "TOML", error.message().to_owned())
    })?;
    let mut faults = Vec::new();
    let given = toml::Value::Table(given);
    refuse_infinite("", &given, &mut faults);
    let mut given = match serde_json::to_value(given) {
        Ok(Value::Object(given)) => given,
        _ => Map::new(),
    };
    for change in set {
        apply(&mut given, change, &mut faults);
    }
    Ok((lay_over_defaults(given, &mut faults), faults))
}

/// Lays what was given over the defaults, table by table.
fn lay_over_defaults(mut given: Map<String, Value>, faults: &mut Vec<String>) -> Study {
    let mut table = |key: &str| match given.remove(key) {
        None => Map::new(),
        Some(Value::Object(table)) => table,
        Some(other) => {
            faults.push(format!("{key}: expected a table, found {other}"));
            Map::new()
        }
    };
    let [train, search, small_data, probe, energy, methods] =
        ["train", "search", "small_data", "probe", "energy", "methods"].map(&mut table);
    let mut study: Study = overlay("", given, faults);
    study.train = overlay("train.", train, faults);
    study.search = overlay("search.", search, faults);
    study.small_data = overlay("small_data.", small_data, faults);
    study.probe = overlay("probe.", probe, faults);
    study.energy = overlay("energy.", energy, faults);
    for (name, settings) in methods {
        let Value::Object(mut settings) = settings else {
            faults.push(format!("methods.{name}: expected a table, found {settings}"));
            continue;
        };
        settings.entry("type").or_insert_with(|| name.clone().into());
        let before = faults.len();
        for (key, is_so, expected) in STATED {
            if let Some(found) = settings.get(*key).filter(|value| !is_so(value)) {
                faults.push(format!("methods.{name}.{key}: expected {expected}, found {}", shown(found)));
            }
        }
        if faults.len() > before {
            continue;
        }
        match serde_json::from_value(Value::Object(settings)) {
            Ok(method) => drop(study.methods.insert(name, method)),
            Err(error) => faults.push(format!("methods.{name}: {error}")),
        }
    }
    study
}

/// What a study may state of a method beside its settings: key, whether a value is so, and what is expected.
type Stated = (&'static str, fn(&Value) -> bool, &'static str);
const STATED: &[Stated] = &[
    ("type", Value::is_string, "the name of a method in quotation marks"),
    ("learning_rate", Value::is_number, "a number above 0"),
    ("learning_rates", is_list_of_numbers, "a list of numbers such as [1e-4, 1e-3]"),
    ("space", Value::is_object, "a table of settings, each with a list or a range"),
];

fn is_list_of_numbers(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_number))
}

/// What is wrong with a value that its key cannot have, for people: serde names types of the program.
fn in_words(error: &serde_json::Error, default: &Value, found: &Value) -> String {
    let said = error.to_string();
    let expected = if let Some((_, variants)) =
        said.split_once("unknown variant ").and_then(|(_, rest)| rest.split_once("expected "))
    {
        variants.replace("one of ", "").replace('`', "\"")
    } else if let Some((_, expected)) = said.rsplit_once("expected ").filter(|_| said.starts_with("invalid "))
    {
        match (default, expected) {
            (Value::Array(items), _) if !items.is_empty() => format!("a list such as {}", shown(default)),
            (Value::Array(_), _) => {
                "a list such as [\"a\", \"b\"], or of numbers where those are meant".into()
            }
            (_, "usize" | "u64" | "u32") => "a whole number, 0 or more".into(),
            (_, "f64" | "f32") => "a number".into(),
            (_, "a boolean") => "true or false".into(),
            (_, "a string") => "text in quotation marks".into(),
            (_, "a map") => "a table".into(),
            (_, other) => other.to_owned(),
        }
    } else {
        return said;
    };
    format!("expected {expected}, found {}", shown(found))
}

/// A value as TOML has it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The defaults of `T` with the given keys in their places; each key that does not fit is a fault.
fn overlay<T: Default + Serialize + DeserializeOwned>(
    section: &str,
    given: Map<String, Value>,
    faults: &mut Vec<String>,
) -> T {
    let Ok(Value::Object(mut whole)) = serde_json::to_value(T::default()) else { return T::default() };
    for (key, value) in given {
        let Some(default) = whole.get(&key).cloned() else {
            let hint = nearest(&key, whole.keys().map(String::as_str));
            let hint = hint.map_or(String::new(), |name| format!(": did you mean \"{section}{name}\"?"));
            faults.push(format!("{section}{key}: there is no such key{hint}"));
            continue;
        };
        whole.insert(key.clone(), value);
        if let Err(error) = T::deserialize(Value::Object(whole.clone())) {
            let found = whole.get(&key).unwrap_or(&Value::Null);
            faults.push(format!("{section}{key}: {}", in_words(&error, &default, found)));
            whole.insert(key, default);
        }
    }
    T::deserialize(Value::Object(whole)).unwrap_or_default()
}

/// Applies one "a.b=value"; the value is TOML, or else a string.
fn apply(given: &mut Map<String, Value>, change: &str, faults: &mut Vec<String>) {
    let Some((path, text)) = change.split_once('=') else {
        faults.push(format!("--set {change}: expected key=value"));
        return;
    };
    let parsed =
        format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    if let Some(parsed) = &parsed {
        refuse_infinite(path.trim(), parsed, faults);
    }
    let parsed: Option<Value> = parsed.and_then(|value| serde_json::to_value(value).ok());
    let value = parsed.unwrap_or_else(|| text.trim().into());
    let mut parts = path.trim().split('.').peekable();
    let mut table = given;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            table.insert(part.to_owned(), value);
            return;
        }
        match table.entry(part).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(inner) => table = inner,
            _ => {
                faults.push(format!("--set {change}: {part} is not a table"));
                return;
            }
        }
    }
}

/// TOML has infinite numbers and ones that are none; as JSON they would be null, as if nothing had been given.
fn refuse_infinite(key: &str, value: &toml::Value, faults: &mut Vec<String>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            faults.push(format!("{key}: expected a finite number, found {number}"));
        }
        toml::Value::Array(items) => items.iter().for_each(|item| refuse_infinite(key, item, faults)),
        toml::Value::Table(table) => {
            table.iter().for_each(|(name, value)| refuse_infinite(&below(name), value, faults));
        }
        _ => {}
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
