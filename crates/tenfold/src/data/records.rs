//! Records of TSV, CSV, JSON, plain-text and Parquet files: bytes in, named values out, each with its place.
//!
//! TSV fields are never quoted, CSV fields may be. A record that does not fit is an error with its place; none is
//! skipped.

use super::parquet;
use crate::error::nearest;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Tsv,
    Csv,
    /// JSON lines; or, as in a file that ends in .json, one array of objects.
    #[serde(alias = "json")]
    Jsonl,
    /// The whole file is one text, in the column "text".
    Text,
    Parquet,
}

impl Format {
    /// What a task file may say.
    pub(crate) const NAMES: [&str; 6] = ["tsv", "csv", "jsonl", "json", "text", "parquet"];
}

/// How a file's bytes stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
}

/// One column: by its name, or by its number, starting at 0, in files whose first row names none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Column {
    Number(usize),
    Name(String),
}

/// Where a record stands in its file; all count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Line(usize),
    Element(usize),
    Row { group: usize, row: usize },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Element(element) => write!(f, "element {element}"),
            Place::Row { group, row } => write!(f, "row group {group}, row {row}"),
        }
    }
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) file: PathBuf,
    /// The names of a table's columns; none without a header, and none for files that name them in each record.
    header: Vec<String>,
    pub(crate) records: Vec<Record>,
}

/// One record: values by number or by name.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) fields: Fields,
}

#[derive(Debug)]
pub(crate) enum Fields {
    Table(Vec<Value>),
    Object(Map<String, Value>),
}

/// The records of the file at `path`; a table's first row names its columns if `header`.
pub(crate) fn read(path: &Path, format: Option<Format>, encoding: Encoding, header: bool) -> Result<Records> {
    let format = match format {
        Some(format) => format,
        None => format_of(path)?,
    };
    if format == Format::Parquet {
        return Ok(Records { file: path.to_owned(), header: Vec::new(), records: parquet::read(path)? });
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let content = decode(path, &bytes, encoding)?;
    if content.trim().is_empty() {
        return Err(Error::malformed(path, "line 1", "rows", "an empty file"));
    }
    let mut records = Records { file: path.to_owned(), header: Vec::new(), records: Vec::new() };
    match format {
        Format::Csv => records.fill(header, csv_lines(path, &content)?)?,
        Format::Tsv => records.fill(header, tsv_lines(&content))?,
        Format::Text => {
            let fields = Map::from_iter([("text".to_owned(), Value::String(content.into_owned()))]);
            records.records.push(Record { place: Place::Line(1), fields: Fields::Object(fields) });
        }
        _ if content.trim_start().starts_with('[') => records.records = json_array(path, &content)?,
        _ => records.records = json_lines(path, &content)?,
    }
    Ok(records)
}

impl Records {
    /// The value of `column`, which the task calls `what`.
    pub(crate) fn value<'a>(&self, record: &'a Record, column: &Column, what: &str) -> Result<&'a Value> {
        let fault = |expected: String, found: String| {
            Error::malformed(&self.file, format!("{}, {what}", record.place), expected, found)
        };
        match (&record.fields, column) {
            (Fields::Table(values), Column::Number(number)) => values.get(*number).ok_or_else(|| {
                let width = values.len();
                fault(format!("a column {number}, counted from 0"), format!("{width} columns"))
            }),
            (Fields::Object(_), Column::Number(number)) => {
                Err(fault("a column by name, since this format numbers none".into(), number.to_string()))
            }
            (fields, Column::Name(name)) => self.find(fields, name).ok_or_else(|| {
                let names = self.names(fields);
                let hint = nearest(name, names.iter().copied());
                let hint = hint.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
                fault(format!("a column named \"{name}\""), format!("the columns {}{hint}", names.join(", ")))
            }),
        }
    }

    /// The text of `column` as it is; never blank.
    pub(crate) fn verbatim(&self, record: &Record, column: &Column, what: &str) -> Result<String> {
        let found = match self.value(record, column, what)? {
            Value::String(text) if text.trim().is_empty() => "nothing",
            Value::String(text) => return Ok(text.clone()),
            other => kind(other),
        };
        Err(Error::malformed(&self.file, format!("{}, {what}", record.place), "some text", found))
    }

    /// The text of `column` without white space around it; never empty.
    pub(crate) fn text(&self, record: &Record, column: &Column, what: &str) -> Result<String> {
        Ok(self.verbatim(record, column, what)?.trim().to_owned())
    }

    /// As [`text`](Self::text), but null or blank is none.
    pub(crate) fn optional_text(
        &self,
        record: &Record,
        column: &Column,
        what: &str,
    ) -> Result<Option<String>> {
        match self.value(record, column, what)? {
            Value::Null => Ok(None),
            Value::String(text) if text.trim().is_empty() => Ok(None),
            _ => self.text(record, column, what).map(Some),
        }
    }

    /// All values of a record by name; columns without a header go by "column_0", "column_1" …
    pub(crate) fn named(&self, record: &Record) -> Map<String, Value> {
        match &record.fields {
            Fields::Object(fields) => fields.clone(),
            Fields::Table(values) => {
                let name = |i: usize| self.header.get(i).cloned().unwrap_or_else(|| format!("column_{i}"));
                values.iter().enumerate().map(|(i, value)| (name(i), value.clone())).collect()
            }
        }
    }

    /// Whether a record has a column of that name.
    pub(crate) fn has(&self, record: &Record, name: &str) -> bool {
        self.find(&record.fields, name).is_some()
    }

    fn find<'a>(&self, fields: &'a Fields, name: &str) -> Option<&'a Value> {
        match fields {
            Fields::Object(fields) => fields.get(name),
            Fields::Table(values) => values.get(self.header.iter().position(|heading| heading == name)?),
        }
    }

    fn names<'a>(&'a self, fields: &'a Fields) -> Vec<&'a str> {
        match fields {
            Fields::Object(fields) => fields.keys().map(String::as_str).collect(),
            Fields::Table(_) => self.header.iter().map(String::as_str).collect(),
        }
    }

    /// Takes the lines of a table, all as wide as the first.
    fn fill(&mut self, header: bool, mut lines: Vec<(usize, Vec<String>)>) -> Result<()> {
        let width = lines.first().map_or(0, |(_, fields)| fields.len());
        if header && !lines.is_empty() {
            self.header = lines.remove(0).1.iter().map(|heading| heading.trim().to_owned()).collect();
        }
        for (line, fields) in lines {
            if fields.len() != width {
                let expected = format!("{width} columns as in the first line");
                let found = match fields.as_slice() {
                    [only] if only.trim().is_empty() => "an empty line".into(),
                    _ => format!("{} columns", fields.len()),
                };
                return Err(Error::malformed(&self.file, format!("line {line}"), expected, found));
            }
            let fields = Fields::Table(fields.into_iter().map(Value::String).collect());
            self.records.push(Record { place: Place::Line(line), fields });
        }
        Ok(())
    }
}

/// ISO 8859-1: every byte is the character of that number.
pub(crate) fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A value's kind, for people.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn format_of(path: &Path) -> Result<Format> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("tsv" | "tab") => Ok(Format::Tsv),
        Some("csv") => Ok(Format::Csv),
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        Some("txt" | "text" | "md") => Ok(Format::Text),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::malformed(
            path,
            "file name",
            "an ending of .tsv, .csv, .jsonl, .json, .txt or .parquet, or format = \"tsv\" (csv, jsonl, json, \
             text, parquet) in the task's domain",
            extension.map_or("no ending".into(), |extension| format!(".{extension}")),
        )),
    }
}

fn decode<'a>(path: &Path, bytes: &'a [u8], encoding: Encoding) -> Result<Cow<'a, str>> {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return Err(Error::malformed(
            path,
            "byte 0",
            "UTF-8 or Latin-1 text",
            "the byte order mark of UTF-16",
        ));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if encoding == Encoding::Latin1 {
        return Ok(Cow::Owned(latin_1(bytes)));
    }
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let expected = "UTF-8 (if the file is Latin-1, say encoding = \"latin-1\" in the task's domain)";
        Error::malformed(path, format!("line {line}"), expected, format!("the byte 0x{byte:02x}"))
    })
}

fn tsv_lines(content: &str) -> Vec<(usize, Vec<String>)> {
    let lines = content.trim_end_matches(['\r', '\n']).split('\n').enumerate();
    let fields = |line: &str| line.trim_end_matches('\r').split('\t').map(str::to_owned).collect();
    lines.map(|(index, line)| (index + 1, fields(line))).collect()
}

fn csv_lines(path: &Path, content: &str) -> Result<Vec<(usize, Vec<String>)>> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content.as_bytes());
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            Error::malformed(path, format!("after row {}", lines.len()), "a CSV row", error.to_string())
        })?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        lines.push((line, record.iter().map(str::to_owned).collect()));
    }
    Ok(lines)
}

fn json_lines(path: &Path, content: &str) -> Result<Vec<Record>> {
    let lines = content.trim_end_matches(['\r', '\n']).split('\n').enumerate();
    lines
        .map(|(index, line)| {
            let place = Place::Line(index + 1);
            let fields = serde_json::from_str(line).map_err(|error| {
                Error::malformed(path, place.to_string(), "a JSON object", error.to_string())
            })?;
            Ok(Record { place, fields: Fields::Object(fields) })
        })
        .collect()
}

fn json_array(path: &Path, content: &str) -> Result<Vec<Record>> {
    let elements: Vec<Value> = serde_json::from_str(content).map_err(|error| {
        let place = format!("line {}", error.line());
        Error::malformed(path, place, "one JSON array of objects", error.to_string())
    })?;
    let record = |(index, element): (usize, Value)| {
        let place = Place::Element(index + 1);
        match element {
            Value::Object(fields) => Ok(Record { place, fields: Fields::Object(fields) }),
            other => Err(Error::malformed(path, place.to_string(), "a JSON object", kind(&other))),
        }
    };
    elements.into_iter().enumerate().map(record).collect()
}
