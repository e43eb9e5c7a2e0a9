//! The values of a task file's keys, and what is wrong with them.

use crate::data::language::Template;
use crate::data::records::Column;
use crate::data::rows::Field;
use crate::error::nearest;
use std::path::PathBuf;
use toml::{Table, Value};

/// The faults found so far, and readers that add to them.
pub(super) struct Faults(pub(super) Vec<String>);

impl Faults {
    pub(super) fn add(&mut self, key: &str, expected: &str, found: &str) {
        self.0.push(format!("{key}: expected {expected}, found {found}"));
    }

    pub(super) fn unknown_keys(&mut self, place: &str, table: &Table, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("known are {}", known.join(", ")),
            };
            self.0.push(format!("{place}{key}: there is no such key; {hint}"));
        }
    }

    pub(super) fn text(&mut self, place: &str, table: &Table, key: &str) -> Option<String> {
        match table.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => return Some(text.trim().to_owned()),
            Some(other) => self.add(&format!("{place}{key}"), "text", &other.to_string()),
            None => self.add(&format!("{place}{key}"), "text", "nothing"),
        }
        None
    }

    pub(super) fn choice(&mut self, place: &str, table: &Table, key: &str, known: &[&str]) -> Option<String> {
        let text = self.text(place, table, key)?;
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        let expected = match nearest(&text, known.iter().copied()) {
            Some(name) => format!("\"{name}\""),
            None => known.join(" or "),
        };
        self.add(&format!("{place}{key}"), &expected, &format!("\"{text}\""));
        None
    }

    pub(super) fn choice_or_none(
        &mut self,
        place: &str,
        table: &Table,
        key: &str,
        known: &[&str],
    ) -> Option<String> {
        table.contains_key(key).then(|| self.choice(place, table, key, known)).flatten()
    }

    /// Columns, or a template over all of them.
    pub(super) fn field(&mut self, table: &Table, key: &str, required: bool) -> Option<Field> {
        match table.get(key) {
            Some(Value::String(source)) if source.contains("{{") => {
                let template = Template::parse(source).map_err(|error| {
                    self.add(&format!("columns.{key}"), "a Jinja template", &error);
                });
                template.ok().map(Field::Template)
            }
            _ => self.columns(table, key, required).map(Field::Columns),
        }
    }

    /// One column, or several to look for in order.
    pub(super) fn columns(&mut self, table: &Table, key: &str, required: bool) -> Option<Vec<Column>> {
        match table.get(key) {
            Some(Value::Array(list)) if !list.is_empty() => {
                list.iter().map(|value| self.column_of(key, Some(value))).collect()
            }
            None if !required => None,
            value => Some(vec![self.column_of(key, value)?]),
        }
    }

    pub(super) fn column(&mut self, table: &Table, key: &str) -> Option<Column> {
        self.column_of(key, table.get(key))
    }

    fn column_of(&mut self, key: &str, value: Option<&Value>) -> Option<Column> {
        let found = match value {
            None => "nothing".into(),
            Some(Value::String(name)) if !name.trim().is_empty() => {
                return Some(Column::Name(name.trim().into()));
            }
            Some(Value::Integer(number)) if *number >= 0 => {
                return usize::try_from(*number).ok().map(Column::Number);
            }
            Some(other) => other.to_string(),
        };
        self.add(&format!("columns.{key}"), "a column's name, or its number from 0", &found);
        None
    }

    /// Whether a table's first row names its columns, as it does when one goes by its name.
    pub(super) fn header(&mut self, columns: &Table, any_named: bool) -> bool {
        let header = match columns.get("header") {
            None => any_named,
            Some(Value::Boolean(header)) => *header,
            Some(other) => {
                self.add("columns.header", "true or false", &other.to_string());
                true
            }
        };
        if any_named && !header {
            self.add("columns.header", "true, since a column goes by its name", "false");
        }
        header
    }

    pub(super) fn paths(&mut self, place: &str, table: &Table, key: &str) -> Vec<PathBuf> {
        let value = table.get(key);
        let paths: Option<Vec<PathBuf>> = match value {
            None => return Vec::new(),
            Some(Value::String(path)) if !path.is_empty() => Some(vec![path.into()]),
            Some(Value::Array(list)) if !list.is_empty() => list
                .iter()
                .map(|path| path.as_str().filter(|path| !path.is_empty()).map(PathBuf::from))
                .collect(),
            Some(_) => None,
        };
        paths.unwrap_or_else(|| {
            let found = value.map(Value::to_string).unwrap_or_default();
            self.add(&format!("{place}{key}"), "a path, or a list of paths to look at in order", &found);
            Vec::new()
        })
    }
}
