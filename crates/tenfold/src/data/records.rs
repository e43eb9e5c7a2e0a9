//! Records of TSV, CSV, JSON, plain-text and Parquet files: bytes in, named values out, each with its place.
//!
//! A record that does not fit is kept among the faulty ones with its place; none is lost.

mod format;
mod json;
mod table;

pub(crate) use format::Format;

use super::decode::{self, Encoding};
use super::faulty::Faulty;
use super::language::Template;
use super::parquet::{self, Classes};
use crate::error::nearest;
use crate::plain_file;
use crate::words::count;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use table::Line;

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
    /// What stands between the fields of a table that is read as CSV; none: a comma.
    pub(crate) separator: Option<u8>,
    /// Where in a JSON document the list of records is: "data.items"; none: it is the document, or its lines.
    pub(crate) list: Option<String>,
    /// Whether lines of a table may be longer than the first.
    pub(crate) extra_columns: bool,
    /// Writes `true` for the records that are wanted, and `false` for others; none: all are.
    pub(crate) keep: Option<Template>,
}

impl Reading {
    /// A file whose name says its format, in UTF-8, all of its records.
    pub(crate) fn with(header: Header) -> Reading {
        Reading {
            format: None,
            encoding: Encoding::default(),
            header,
            separator: None,
            list: None,
            extra_columns: false,
            keep: None,
        }
    }
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
    /// Lines within quoted fields that have as many fields as the table, by the places of the records they are in: rows,
    /// perhaps, that a stray quote has swallowed.
    pub(crate) swallowed: Vec<(Place, Vec<Vec<String>>)>,
    /// What the numbers of columns stand for, where the file says so.
    pub(crate) classes: Classes,
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
        swallowed: Vec::new(),
        classes: Classes::new(),
        is_text: false,
    };
    let format = match reading.format {
        _ if is_parquet(path)? => Format::Parquet,
        Some(format) => format,
        None if reading.separator.is_some() => Format::Csv,
        None if reading.list.is_some() => Format::Jsonl,
        None => Format::of(path)?,
    };
    if format == Format::Parquet {
        (records.records, records.classes) = parquet::read(path)?;
        return Ok(records);
    }
    let bytes = decode::read_rows(path)?;
    let content = decode::decode(path, &bytes, reading.encoding)?;
    if content.trim().is_empty() {
        return Err(Error::malformed(path, "line 1", "rows", "an empty file"));
    }
    if reading.encoding == Encoding::Latin1 && !bytes.is_ascii() && std::str::from_utf8(&bytes).is_ok() {
        let name = path.display();
        let remark = "is valid UTF-8, but the task says encoding = \"latin-1\": check letters with accents";
        records.faulty.remark(format!("{name} {remark}"));
    }
    if format == Format::Text {
        let fields = Map::from_iter([(TEXT.to_owned(), Value::String(content.into_owned()))]);
        records.is_text = true;
        records.records.push(Record { place: Place::Line(1), fields: Fields::Object(fields) });
        return Ok(records);
    }
    let content = table::with_line_ends(&content);
    match format {
        Format::Csv => {
            let separator = reading.separator.unwrap_or(b',');
            records.fill(reading, table::csv(&content, separator), separator)?;
        }
        Format::Tsv => records.fill(reading, table::tsv(&content), b'\t')?,
        _ => records.take_json(reading, &content)?,
    }
    Ok(records)
}

/// Whether the file begins as Parquet files do, whatever its name.
fn is_parquet(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = plain_file::open(path).map_err(Error::io("read", path))?;
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
                let hint = match values.as_slice() {
                    [Value::String(only)] => other_separator(only, None),
                    _ => None,
                };
                let found = format!("{}{}", count(values.len(), "column"), hint.unwrap_or_default());
                fault(format!("a column {number}, counted from 0"), found)
            }),
            (Fields::Object(_), Column::Number(number)) => {
                Err(fault("a column by name, since this format numbers none".into(), number.to_string()))
            }
            (_, Column::Name(name)) if self.is_text && name != TEXT => {
                Err(self.only_text(&format!("a column named \"{name}\"")))
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

    /// The fault of a file that is one text where columns are asked for.
    fn only_text(&self, expected: &str) -> Error {
        let found = "a file that is read as one text: if its lines are rows, say format = \"csv\" (with delimiter = \";\" \
                     or another) or format = \"tsv\" in the task's domain";
        Error::malformed(&self.file, "file name", expected, found)
    }

    /// Refuses a file that is one text where rows have columns.
    pub(crate) fn check_rows(&self) -> Result<()> {
        if self.is_text { Err(self.only_text("rows with columns")) } else { Ok(()) }
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

    /// Takes what JSON holds.
    fn take_json(&mut self, reading: &Reading, content: &str) -> Result<()> {
        let path = self.file.clone();
        if let Some(keys) = &reading.list {
            return self.take(json::within(&path, content, keys)?);
        }
        if content.trim_start().starts_with('[') {
            return self.take(json::array(&path, content)?);
        }
        match json::whole_object(&path, content) {
            Some(whole) => {
                let fields = Fields::Object(whole?);
                self.records.push(Record { place: Place::Line(1), fields });
                Ok(())
            }
            None => self.take(json::lines(&path, content)),
        }
    }

    /// Takes the lines of a table, all as wide as the first.
    fn fill(&mut self, reading: &Reading, mut lines: Vec<Line>, separator: u8) -> Result<()> {
        let Some(first) = lines.first() else { return Ok(()) };
        let first = match &first.fields {
            Ok(fields) => fields,
            Err(fault) => {
                let (expected, found) = fault.words(first.number);
                return Err(Error::malformed(&self.file, format!("line {}", first.number), expected, found));
            }
        };
        let width = first.len();
        let header = match &reading.header {
            Header::Given(header) => *header,
            Header::IfNamed(names) => {
                first.iter().any(|heading| names.iter().any(|name| heading.trim() == name))
            }
        };
        if header {
            let first = lines.remove(0).fields.unwrap_or_default();
            let names = first.iter().map(|heading| heading.trim().to_owned()).collect();
            self.take_header(names, char::from(separator))?;
        }
        let mut table = Vec::with_capacity(lines.len());
        for line in lines {
            let place = Place::Line(line.number);
            self.look_within(place, line.inner, width);
            let fields = self.fields(reading, line.number, line.fields, width);
            table.push((place, fields));
        }
        self.take(table)
    }

    /// Takes the names of a table's columns, which differ.
    fn take_header(&mut self, header: Vec<String>, separator: char) -> Result<()> {
        let again = |(place, name): &(usize, &String)| !name.is_empty() && header[..*place].contains(name);
        if let Some((_, twice)) = header.iter().enumerate().find(again) {
            let found = format!("\"{twice}\" twice");
            return Err(Error::malformed(&self.file, "first row", "columns whose names differ", found));
        }
        if let [only] = header.as_slice()
            && let Some(hint) = other_separator(only, Some(separator))
        {
            let found = format!("one field, \"{only}\"{hint}");
            return Err(Error::malformed(&self.file, "first row", "the columns' names", found));
        }
        self.header = header;
        Ok(())
    }

    /// The fields of a line, as many as the first line has.
    fn fields(
        &self,
        reading: &Reading,
        line: usize,
        fields: Result<Vec<String>, table::QuoteFault>,
        width: usize,
    ) -> Result<Fields> {
        let fault =
            |(expected, found)| Err(Error::malformed(&self.file, format!("line {line}"), expected, found));
        let fields = match fields {
            Ok(fields) => fields,
            Err(quote) => return fault(quote.words(line)),
        };
        if fields.len() != width && !(reading.extra_columns && fields.len() > width) {
            let found = match fields.as_slice() {
                [only] if only.trim().is_empty() => "an empty line".into(),
                _ => count(fields.len(), "column"),
            };
            return fault((format!("{} as in the first line", count(width, "column")), found));
        }
        Ok(Fields::Table(fields.into_iter().map(Value::String).collect()))
    }

    /// Looks at the lines within the quoted fields of the record at `place`: those as wide as the table may be rows.
    fn look_within(&mut self, place: Place, inner: Vec<Vec<String>>, width: usize) {
        let lines = inner.len();
        let rows: Vec<Vec<String>> =
            inner.into_iter().filter(|fields| width > 1 && fields.len() == width).collect();
        if rows.len() >= FEW_LINES && rows.len() == lines {
            let (name, rows) = (self.file.display(), rows.len());
            self.faulty.remark(format!(
                "{name}: {place}: a quoted field goes on over {rows} lines that look like rows themselves: look for a \
                 stray quote"
            ));
        }
        if !rows.is_empty() {
            self.swallowed.push((place, rows));
        }
    }
}

/// As many lines within a quoted field that look like rows are no accident.
const FEW_LINES: usize = 3;

/// What to say of a line that is one field but seems to hold several, which something else than expected separates.
fn other_separator(only: &str, own: Option<char>) -> Option<String> {
    const SEPARATORS: [(char, &str, &str); 4] =
        [(';', "semicolons", ";"), ('\t', "tabs", "\\t"), ('|', "bars", "|"), (',', "commas", ",")];
    let (_, what, key) = SEPARATORS
        .into_iter()
        .find(|(separator, ..)| Some(*separator) != own && only.contains(*separator))?;
    Some(format!(
        ", with {what}: if these separate its columns, say delimiter = \"{key}\" in the task's domain"
    ))
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
