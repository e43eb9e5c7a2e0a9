//! A study's text laid over the defaults: every fault at once, each with its key and the nearest that exists.

use super::aliases;
use super::config::Study;
use crate::error::{Error, Result, nearest};
use crate::metric::Application;
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
    let given = finite("", toml::Value::Table(given), &mut faults);
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
    let own = given.remove("applications").map(|own| applications(own, faults));
    let mut study: Study = overlay("", given, faults);
    study.applications = own.unwrap_or_default();
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
        for (key, is_so, expected) in STATED {
            if let Some(found) = settings.get(*key).filter(|value| !is_so(value)) {
                faults.push(format!("methods.{name}.{key}: expected {expected}, found {}", shown(found)));
                settings.remove(*key);
            }
        }
        settings.entry("type").or_insert_with(|| name.clone().into());
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
            let near = || nearest(&key, whole.keys().map(String::as_str));
            let near = || near().map(|name| format!("did you mean \"{section}{name}\"?"));
            let hint = aliases::of_study(section, &key).or_else(near);
            let hint = hint.map_or(String::new(), |hint| format!(": {hint}"));
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

/// The study's own applications; of one that does not fit only the fault.
fn applications(given: Value, faults: &mut Vec<String>) -> Vec<Application> {
    const SECONDS: &str = "a number of seconds, such as 0.02";
    type Holds = fn(&Value) -> bool;
    const KEYS: [(&str, Holds, &str); 4] = [
        ("name", Value::is_string, "text in quotation marks"),
        ("target_seconds", Value::is_number, SECONDS),
        ("good_seconds", Value::is_number, SECONDS),
        ("quantile", Value::is_number, "a share such as 0.95"),
    ];
    let Value::Array(items) = given else {
        faults.push(format!(
            "applications: expected tables, each under [[applications]], found {}",
            shown(&given)
        ));
        return Vec::new();
    };
    let mut all = Vec::new();
    for (number, item) in items.into_iter().enumerate() {
        let named = item.get("name").and_then(Value::as_str).map(str::to_owned);
        let place = format!("applications.{}", named.unwrap_or_else(|| (number + 1).to_string()));
        let Value::Object(table) = &item else {
            faults.push(format!("{place}: expected a table, found {}", shown(&item)));
            continue;
        };
        let before = faults.len();
        for (key, value) in table {
            match KEYS.iter().find(|(known, ..)| known == key) {
                Some((_, is_so, _)) if is_so(value) => {}
                Some((.., expected)) => {
                    faults.push(format!("{place}.{key}: expected {expected}, found {}", shown(value)));
                }
                None => {
                    let hint = nearest(key, KEYS.map(|(known, ..)| known));
                    let hint = hint.map_or(String::new(), |name| format!(": did you mean \"{name}\"?"));
                    faults.push(format!("{place}.{key}: there is no such key{hint}"));
                }
            }
        }
        for (key, _, expected) in &KEYS[..2] {
            if !table.contains_key(*key) {
                faults.push(format!("{place}.{key}: expected {expected}, found none"));
            }
        }
        if faults.len() == before {
            match serde_json::from_value(item) {
                Ok(application) => all.push(application),
                Err(error) => faults.push(format!("{place}: {error}")),
            }
        }
    }
    all
}

/// A fault with the option that set the value, if one did.
pub(super) fn with_option(fault: String, set: &[String]) -> String {
    let is_set = |change: &&String| {
        let path = change.split_once('=').map_or("", |(path, _)| path.trim());
        let rest = fault.strip_prefix(path).filter(|_| !path.is_empty());
        rest.is_some_and(|rest| rest.starts_with([':', '.']))
    };
    match set.iter().rev().find(is_set) {
        Some(change) => format!("{fault} (--set {change})"),
        None => fault,
    }
}

/// Applies one "a.b=value"; the value is TOML, or else a string.
fn apply(given: &mut Map<String, Value>, change: &str, faults: &mut Vec<String>) {
    let Some((path, text)) = change.split_once('=') else {
        faults.push(format!("--set {change}: expected key=value"));
        return;
    };
    let parsed =
        format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    let before = faults.len();
    let parsed = parsed.map(|parsed| finite(path.trim(), parsed, faults));
    if faults.len() > before {
        return;
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

/// The value without infinite numbers and ones that are none, which TOML has, each of them a fault: as JSON they would be
/// null, as if nothing had been given.
fn finite(key: &str, value: toml::Value, faults: &mut Vec<String>) -> toml::Value {
    fn is_finite(value: &toml::Value) -> bool {
        match value {
            toml::Value::Float(number) => number.is_finite(),
            toml::Value::Array(items) => items.iter().all(is_finite),
            _ => true,
        }
    }
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        toml::Value::Table(table) => {
            let mut kept = toml::Table::new();
            for (name, value) in table {
                let key = below(&name);
                if is_finite(&value) {
                    kept.insert(name, finite(&key, value, faults));
                } else {
                    faults.push(format!("{key}: expected finite numbers, found {value}"));
                }
            }
            toml::Value::Table(kept)
        }
        value if is_finite(&value) => value,
        value => {
            faults.push(format!("{key}: expected finite numbers, found {value}"));
            value
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
