//! Records of TSV, CSV, JSON, plain-text and Parquet files: bytes in, named values out, each with its place.
//!
//! TSV fields are never quoted, CSV fields may be. A record that does not fit is kept among the faulty ones with its
//! place; none is lost.

use super::faulty::Faulty;
use super::language::Template;
use super::parquet;
use crate::error::nearest;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Tsv,
    Csv,
    /// JSON lines; or, as in a file that ends in .json, one array of objects, or one object over several lines.
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

/// Whether the first row of a table names its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    Given(bool),
    /// It does if one of these stands in it.
    IfNamed(Vec<String>),
}

/// How a file is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// None: as its name's ending says. A Parquet file is known by its first bytes.
    pub(crate) format: Option<Format>,
    pub(crate) encoding: Encoding,
    pub(crate) header: Header,
    /// Whether lines of a table may be longer than the first.
    pub(crate) extra_columns: bool,
    /// Writes `true` for the records that are wanted, and `false` for others; none: all are.
    pub(crate) keep: Option<Template>,
}

/// The column of a file that is one text.
pub(crate) const TEXT: &str = "text";

/// Where a record stands in its file; all count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Those that do not fit.
    pub(crate) faulty: Faulty,
    /// Whether the file is one text.
    pub(crate) is_text: bool,
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

/// The records of the file at `path`.
pub(crate) fn read(path: &Path, reading: &Reading) -> Result<Records> {
    let mut records = read_all(path, reading)?;
    if let Some(keep) = &reading.keep {
        records.keep(keep)?;
    }
    Ok(records)
}

fn read_all(path: &Path, reading: &Reading) -> Result<Records> {
    let mut records = Records {
        file: path.to_owned(),
        header: Vec::new(),
        records: Vec::new(),
        faulty: Faulty::default(),
        is_text: false,
    };
    let format = match reading.format {
        _ if is_parquet(path)? => Format::Parquet,
        Some(format) => format,
        None => format_of(path)?,
    };
    if format == Format::Parquet {
        records.records = parquet::read(path)?;
        return Ok(records);
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let content = decode(path, &bytes, reading.encoding)?;
    if content.trim().is_empty() {
        return Err(Error::malformed(path, "line 1", "rows", "an empty file"));
    }
    match format {
        Format::Csv => records.fill(reading, csv_lines(path, &content)?)?,
        Format::Tsv => records.fill(reading, tsv_lines(&content))?,
        Format::Text => {
            let fields = Map::from_iter([(TEXT.to_owned(), Value::String(content.into_owned()))]);
            records.is_text = true;
            records.records.push(Record { place: Place::Line(1), fields: Fields::Object(fields) });
        }
        _ if content.trim_start().starts_with('[') => records.take(json_array(path, &content)?)?,
        _ => match whole_object(&content) {
            Some(whole) => {
                let fields = whole.map_err(|error| {
                    let place = format!("line {}", error.line());
                    Error::malformed(path, place, "one JSON object to its end", error.to_string())
                })?;
                records.records.push(Record { place: Place::Line(1), fields: Fields::Object(fields) });
            }
            None => records.take(json_lines(path, &content))?,
        },
    }
    Ok(records)
}

/// Whether the file begins as Parquet files do, whatever its name.
fn is_parquet(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = fs::File::open(path).map_err(Error::io("read", path))?;
    file.take(4).read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(start == b"PAR1")
}

impl Records {
    /// The first of `columns` that a record has, as the same rows are published in several layouts; by number only where
    /// columns have no names, or none was asked for. Without any the first, for an error to name.
    pub(crate) fn column<'c>(&self, record: &Record, columns: &'c [Column]) -> &'c Column {
        let names = columns.iter().any(|column| matches!(column, Column::Name(_)));
        let has = |column: &&Column| match (column, &record.fields) {
            (Column::Name(name), fields) => self.find(fields, name).is_some(),
            (Column::Number(_), Fields::Table(_)) => self.header.is_empty() || !names,
            (Column::Number(_), Fields::Object(_)) => false,
        };
        columns.iter().find(has).unwrap_or(&columns[0])
    }

    /// Refuses a table whose first row names none of `columns`.
    pub(crate) fn check_header(&self, columns: &[Column], what: &str) -> Result<()> {
        let names: Vec<&str> = (columns.iter())
            .filter_map(|column| match column {
                Column::Name(name) => Some(name.as_str()),
                Column::Number(_) => None,
            })
            .collect();
        let known = |name: &&str| self.header.iter().any(|heading| heading == name);
        if self.header.is_empty() || names.is_empty() || names.iter().any(known) {
            return Ok(());
        }
        let hint = nearest(names[0], self.header.iter().map(String::as_str));
        let hint = hint.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        let expected = format!("a column named \"{}\"", names.join("\" or \""));
        let found = format!("the columns {}{hint}", self.header.join(", "));
        Err(Error::malformed(&self.file, format!("first row, {what}"), expected, found))
    }

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

    /// Leaves those that `wanted` says true of.
    fn keep(&mut self, wanted: &Template) -> Result<()> {
        for record in std::mem::take(&mut self.records) {
            let said = wanted.render(&self.named(&record));
            let said = match said.as_deref().map(str::trim) {
                Ok("true" | "True") => Ok(Some(record)),
                Ok("false" | "False") => Ok(None),
                other => {
                    let writes = "a template over the columns that writes true or false".to_owned();
                    let (expected, found) =
                        other.map_or_else(Clone::clone, |said| (writes, format!("\"{said}\"")));
                    let place = format!("{}, keep", record.place);
                    Err((record.place, Error::malformed(&self.file, place, expected, found)))
                }
            };
            match said {
                Ok(kept) => self.records.extend(kept),
                Err((place, error)) => drop(self.faulty.keep::<()>(place, Err(error))?),
            }
        }
        Ok(())
    }

    /// Takes records, and the faults of those that are none.
    fn take(&mut self, records: Vec<(Place, Result<Fields>)>) -> Result<()> {
        for (place, fields) in records {
            let record = self.faulty.keep(place, fields)?.map(|fields| Record { place, fields });
            self.records.extend(record);
        }
        Ok(())
    }

    /// Takes the lines of a table, all as wide as the first.
    fn fill(&mut self, reading: &Reading, mut lines: Vec<(usize, Vec<String>)>) -> Result<()> {
        let width = lines.first().map_or(0, |(_, fields)| fields.len());
        let header = match (&reading.header, lines.first()) {
            (Header::Given(header), Some(_)) => *header,
            (Header::IfNamed(names), Some((_, first))) => {
                first.iter().any(|heading| names.iter().any(|name| heading.trim() == name))
            }
            (_, None) => false,
        };
        if header {
            self.header = lines.remove(0).1.iter().map(|heading| heading.trim().to_owned()).collect();
            let again =
                |(place, name): &(usize, &String)| !name.is_empty() && self.header[..*place].contains(name);
            if let Some((_, twice)) = self.header.iter().enumerate().find(again) {
                let found = format!("\"{twice}\" twice");
                return Err(Error::malformed(&self.file, "first row", "columns whose names differ", found));
            }
        }
        let table = lines.into_iter().map(|(line, fields)| {
            let place = Place::Line(line);
            if fields.len() != width && !(reading.extra_columns && fields.len() > width) {
                let expected = format!("{width} columns as in the first line");
                let found = match fields.as_slice() {
                    [only] if only.trim().is_empty() => "an empty line".into(),
                    _ => format!("{} columns", fields.len()),
                };
                return (place, Err(Error::malformed(&self.file, place.to_string(), expected, found)));
            }
            (place, Ok(Fields::Table(fields.into_iter().map(Value::String).collect())))
        });
        let table = table.collect();
        self.take(table)
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
        Some("txt" | "text" | "md" | "raw" | "tokens") => Ok(Format::Text),
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

fn json_lines(path: &Path, content: &str) -> Vec<(Place, Result<Fields>)> {
    let lines = content.trim_end_matches(['\r', '\n']).split('\n').enumerate();
    lines
        .map(|(index, line)| {
            let place = Place::Line(index + 1);
            let fields = serde_json::from_str(line).map(Fields::Object).map_err(|error| {
                Error::malformed(path, place.to_string(), "a JSON object", error.to_string())
            });
            (place, fields)
        })
        .collect()
}

/// One object that does not end on its first line, or what is wrong with it; none where lines are objects by themselves.
fn whole_object(content: &str) -> Option<serde_json::Result<Map<String, Value>>> {
    let object = serde_json::from_str::<Map<String, Value>>;
    let first = object(content.lines().next()?);
    let goes_on = content.lines().nth(1).is_some() && first.is_err_and(|error| error.is_eof());
    let whole = goes_on.then(|| object(content))?;
    (whole.is_ok() || !content.lines().any(|line| object(line).is_ok())).then_some(whole)
}

fn json_array(path: &Path, content: &str) -> Result<Vec<(Place, Result<Fields>)>> {
    let elements: Vec<Value> = serde_json::from_str(content).map_err(|error| {
        let place = format!("line {}", error.line());
        Error::malformed(path, place, "one JSON array of objects", error.to_string())
    })?;
    let record = |(index, element): (usize, Value)| {
        let place = Place::Element(index + 1);
        let fields = match element {
            Value::Object(fields) => Ok(Fields::Object(fields)),
            other => Err(Error::malformed(path, place.to_string(), "a JSON object", kind(&other))),
        };
        (place, fields)
    };
    Ok(elements.into_iter().enumerate().map(record).collect())
}
