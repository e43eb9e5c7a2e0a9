//! The keys of `[[domains]]`: which files a domain's rows are in, and how they are read.

use super::Faults;
use crate::data::language::Template;
use crate::data::records::{Encoding, Format};
use crate::data::vader;
use crate::task::{Files, Rows, Source};
use toml::{Table, Value};

const DOMAIN_KEYS: [&str; 10] =
    ["name", "names", "builtin", "train", "validation", "test", "fewshot", "format", "encoding", "keep"];

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
    faults.unknown_keys(&place, table, &DOMAIN_KEYS);
    let name = faults.text(&place, table, "name").unwrap_or_default();
    if table.contains_key("builtin") {
        for key in table.keys().filter(|key| !["name", "builtin"].contains(&key.as_str())) {
            faults.add(&format!("{place}{key}"), "builtin or files, not both", key);
        }
        let builtin = faults.choice(&place, table, "builtin", &vader::NAMES)?;
        return Some(Source { name, rows: Rows::Builtin(builtin) });
    }
    let test = faults.paths(&place, table, "test");
    if !table.contains_key("test") {
        faults.add(&format!("{place}test"), "a file, or builtin = \"…\"", "nothing");
    }
    let format = faults.choice_or_none(&place, table, "format", &Format::NAMES);
    let encoding = faults.choice_or_none(&place, table, "encoding", &["utf-8", "latin-1"]);
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
    let files = Files {
        keep,
        train: faults.paths(&place, table, "train"),
        validation: faults.paths(&place, table, "validation"),
        test,
        fewshot: faults.paths(&place, table, "fewshot"),
        format: format.and_then(|name| Value::String(name).try_into::<Format>().ok()),
        encoding: encoding
            .and_then(|name| Value::String(name).try_into::<Encoding>().ok())
            .unwrap_or_default(),
    };
    Some(Source { name, rows: Rows::Files(files) })
}
