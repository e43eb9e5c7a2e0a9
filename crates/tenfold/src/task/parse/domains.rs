//! The keys of `[[domains]]`: which files a domain's rows are in, and how they are read.

use super::Faults;
use crate::data::language::Template;
use crate::data::records::Format;
use crate::data::{Encoding, TestShare, vader};
use crate::task::{Files, Rows, Source};
use toml::{Table, Value};

/// The keys of a domain.
pub(super) const KEYS: [&str; 14] = [
    "name",
    "names",
    "builtin",
    "train",
    "validation",
    "test",
    "test_fraction",
    "test_seed",
    "fewshot",
    "format",
    "delimiter",
    "records",
    "encoding",
    "keep",
];

/// The domains of a task.
pub(super) fn domains(table: &Table, faults: &mut Faults) -> Vec<Source> {
    let list = table.get("domains").and_then(Value::as_array).filter(|list| !list.is_empty());
    let Some(list) = list else {
        let found = table.get("domains").map_or("nothing".into(), Value::to_string);
        faults.add("domains", "one [[domains]] or more", &found);
        return Vec::new();
    };
    list.iter().enumerate().flat_map(|(index, value)| named_domains(index, value, faults)).collect()
}

/// One domain; or one for each of its `names`, which stand for `{name}` in its paths.
fn named_domains(index: usize, value: &Value, faults: &mut Faults) -> Vec<Source> {
    let Some(names) = value.get("names") else { return domain(index, value, faults).into_iter().collect() };
    let listed: Option<Vec<&str>> =
        names.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
    let (Some(listed), Some(table)) = (listed.filter(|names| !names.is_empty()), value.as_table()) else {
        faults.add(
            &format!("domains[{index}].names"),
            "a list of names in quotation marks",
            &names.to_string(),
        );
        return Vec::new();
    };
    let mut domains = Vec::new();
    for name in listed {
        let mut table = table.clone();
        table.remove("names");
        table.iter_mut().for_each(|(_, value)| put_name(value, name));
        table.insert("name".into(), Value::String(name.into()));
        let before = faults.0.len();
        domains.extend(domain(index, &Value::Table(table), faults));
        if faults.0.len() > before {
            break;
        }
    }
    domains
}

fn put_name(value: &mut Value, name: &str) {
    match value {
        Value::String(text) => *text = text.replace("{name}", name),
        Value::Array(list) => list.iter_mut().for_each(|value| put_name(value, name)),
        _ => {}
    }
}

fn domain(index: usize, value: &Value, faults: &mut Faults) -> Option<Source> {
    let place = format!("domains[{index}].");
    let Some(table) = value.as_table() else {
        faults.add(&format!("domains[{index}]"), "a table", value.type_str());
        return None;
    };
    faults.unknown_keys(&place, table, &KEYS);
    let name = faults.text(&place, table, "name").unwrap_or_default();
    if table.contains_key("builtin") {
        for key in table.keys().filter(|key| !["name", "builtin"].contains(&key.as_str())) {
            faults.add(&format!("{place}{key}"), "builtin or files, not both", key);
        }
        let builtin = faults.choice(&place, table, "builtin", &vader::NAMES)?;
        return Some(Source { name, rows: Rows::Builtin(builtin) });
    }
    let test = faults.paths(&place, table, "test");
    let test_share = test_share(&place, table, faults);
    let format = faults.choice_or_none(&place, table, "format", &Format::NAMES);
    let encoding = faults.choice_or_none(&place, table, "encoding", &Encoding::NAMES);
    let keep = match table.get("keep") {
        None => None,
        Some(Value::String(source)) => Template::parse(source)
            .map_err(|error| faults.add(&format!("{place}keep"), "a Jinja template", &error))
            .ok(),
        Some(other) => {
            let expected = "a template in quotation marks that writes true or false";
            faults.add(&format!("{place}keep"), expected, &other.to_string());
            None
        }
    };
    let separator = delimiter(&place, table, format.as_deref(), faults);
    let list = records(&place, table, format.as_deref(), faults);
    let files = Files {
        keep,
        test_share,
        separator,
        list,
        train: faults.paths(&place, table, "train"),
        validation: faults.paths(&place, table, "validation"),
        test,
        fewshot: faults.paths(&place, table, "fewshot"),
        format: format.and_then(|name| Value::String(name).try_into::<Format>().ok()),
        encoding: encoding
            .and_then(|name| Value::String(name).try_into::<Encoding>().ok())
            .unwrap_or_default(),
    };
    Some(Source { name, rows: Rows::Files(Box::new(files)) })
}

/// A domain has a test file, or a share of its training file is its test.
fn test_share(place: &str, table: &Table, faults: &mut Faults) -> Option<TestShare> {
    let has = |key: &str| table.contains_key(key);
    if !has("test_fraction") {
        if !has("test") {
            let expected = "a file, or test_fraction = 0.2 for a share of train, or builtin = \"…\"";
            faults.add(&format!("{place}test"), expected, "nothing");
        }
        if has("test_seed") {
            faults.add(&format!("{place}test_seed"), "test_fraction with it", "test_seed alone");
        }
        return None;
    }
    if has("test") {
        faults.add(&format!("{place}test_fraction"), "test or test_fraction, not both", "both");
    }
    if !has("train") {
        faults.add(&format!("{place}test_fraction"), "train with it, of which it is a share", "no train");
    }
    let fraction = match table.get("test_fraction") {
        Some(Value::Float(fraction)) if *fraction > 0.0 && *fraction < 1.0 => *fraction,
        other => {
            let found = other.map(Value::to_string).unwrap_or_default();
            faults.add(&format!("{place}test_fraction"), "a number between 0 and 1", &found);
            return None;
        }
    };
    let seed = match table.get("test_seed") {
        None => Some(0),
        Some(value) => {
            let seed = value.as_integer().and_then(|seed| u64::try_from(seed).ok());
            if seed.is_none() {
                faults.add(&format!("{place}test_seed"), "a whole number, 0 or more", &value.to_string());
            }
            seed
        }
    };
    Some(TestShare { fraction, seed: seed? })
}

/// What separates the fields of a table: one character of ASCII.
fn delimiter(place: &str, table: &Table, format: Option<&str>, faults: &mut Faults) -> Option<u8> {
    let value = table.get("delimiter")?;
    let key = format!("{place}delimiter");
    if format.is_some_and(|format| format != "csv") {
        faults.add(&key, "format = \"csv\" with it, or no format", format.unwrap_or_default());
    }
    match value.as_str().map(str::as_bytes) {
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
        _ => {
            faults.add(&key, "one character, as \";\", \"|\" or \"\\t\"", &value.to_string());
            None
        }
    }
}

/// The keys that lead to the list of records in a JSON document.
fn records(place: &str, table: &Table, format: Option<&str>, faults: &mut Faults) -> Option<String> {
    let value = table.get("records")?;
    let key = format!("{place}records");
    if format.is_some_and(|format| format != "json" && format != "jsonl") {
        faults.add(&key, "format = \"json\" with it, or no format", format.unwrap_or_default());
    }
    match value.as_str() {
        Some(keys) if keys.split('.').all(|key| !key.is_empty()) => Some(keys.to_owned()),
        _ => {
            let expected = "the keys that lead to the list, as \"data.items\"";
            faults.add(&key, expected, &value.to_string());
            None
        }
    }
}
