//! Rows of TSV, CSV and JSON-lines files: text in, fields out, each with the line it stands on.
//!
//! TSV fields are never quoted, CSV fields may be. A row that does not fit is an error with its line; none is skipped.

use crate::{Error, Result};
use serde::Deserialize;
use std::borrow::Cow;
use std::fs;
use std::path::Path;

/// How a file's rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Tsv,
    Csv,
    Jsonl,
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

/// One column: by the name in the file's header, or by its number, starting at 0.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Column {
    Number(usize),
    Name(String),
}

/// Where in a file the fields of a row are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) text: Column,
    pub(crate) text_pair: Option<Column>,
    pub(crate) label: Column,
    /// Whether the first row names the columns.
    pub(crate) header: bool,
    pub(crate) format: Option<Format>,
    pub(crate) encoding: Encoding,
}

/// One row as the file gives it, white space around the fields removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
    pub(crate) label: String,
}

/// The rows of the file at `path`.
pub(crate) fn read(path: &Path, layout: &Layout) -> Result<Vec<Row>> {
    let format = match layout.format {
        Some(format) => format,
        None => format_of(path)?,
    };
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let content = decode(path, &bytes, layout.encoding)?;
    match format {
        Format::Jsonl => json_rows(path, &content, layout),
        Format::Csv => table_rows(path, layout, csv_records(path, &content)?),
        Format::Tsv => table_rows(path, layout, tsv_records(&content)),
    }
}

/// ISO 8859-1: every byte is the character of that number.
pub(crate) fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// One row of a table before its columns are chosen: its line and its fields.
type Record = (usize, Vec<String>);

fn format_of(path: &Path) -> Result<Format> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("tsv" | "tab") => Ok(Format::Tsv),
        Some("csv") => Ok(Format::Csv),
        Some("jsonl" | "ndjson") => Ok(Format::Jsonl),
        _ => Err(Error::malformed(
            path,
            "file name",
            "an ending of .tsv, .csv or .jsonl, or format = \"tsv\" (csv, jsonl) in the task's domain",
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

fn tsv_records(content: &str) -> Vec<Record> {
    let lines = content.trim_end_matches(['\r', '\n']).split('\n').enumerate();
    let fields = |line: &str| line.trim_end_matches('\r').split('\t').map(str::to_owned).collect();
    lines.map(|(index, line)| (index + 1, fields(line))).collect()
}

fn csv_records(path: &Path, content: &str) -> Result<Vec<Record>> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            Error::malformed(path, format!("after row {}", records.len()), "a CSV row", error.to_string())
        })?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        records.push((line, record.iter().map(str::to_owned).collect()));
    }
    Ok(records)
}

fn table_rows(path: &Path, layout: &Layout, mut records: Vec<Record>) -> Result<Vec<Row>> {
    let Some((_, first)) = records.first() else {
        return Err(Error::malformed(path, "line 1", "rows", "an empty file"));
    };
    let width = first.len();
    let header = if layout.header { records.remove(0).1 } else { Vec::new() };
    let text = position(path, &layout.text, &header, width)?;
    let pair = layout.text_pair.as_ref().map(|column| position(path, column, &header, width)).transpose()?;
    let label = position(path, &layout.label, &header, width)?;
    let mut rows = Vec::with_capacity(records.len());
    for (line, fields) in records {
        if fields.len() != width {
            let expected = format!("{width} columns as in the first line");
            let found = match fields.as_slice() {
                [only] if only.trim().is_empty() => "an empty line".into(),
                _ => format!("{} columns", fields.len()),
            };
            return Err(Error::malformed(path, format!("line {line}"), expected, found));
        }
        rows.push(Row {
            line,
            text: filled(path, line, "text", &fields[text])?,
            text_pair: pair.map(|pair| filled(path, line, "text_pair", &fields[pair])).transpose()?,
            label: filled(path, line, "label", &fields[label])?,
        });
    }
    Ok(rows)
}

fn position(path: &Path, column: &Column, header: &[String], width: usize) -> Result<usize> {
    match column {
        Column::Number(number) if *number < width => Ok(*number),
        Column::Number(number) => {
            let expected = format!("a column {number}, counted from 0");
            Err(Error::malformed(path, "line 1", expected, format!("{width} columns")))
        }
        Column::Name(name) => header.iter().position(|heading| heading.trim() == name).ok_or_else(|| {
            let found = format!("the columns {}", header.join(", "));
            Error::malformed(path, "line 1", format!("a column named \"{name}\""), found)
        }),
    }
}

fn filled(path: &Path, line: usize, column: &str, field: &str) -> Result<String> {
    match field.trim() {
        "" => Err(Error::malformed(path, format!("line {line}, {column}"), "some text", "nothing")),
        text => Ok(text.to_owned()),
    }
}

fn json_rows(path: &Path, content: &str, layout: &Layout) -> Result<Vec<Row>> {
    let lines = content.trim_end_matches(['\r', '\n']).split('\n').enumerate();
    lines.map(|(index, text)| json_row(path, index + 1, text, layout)).collect()
}

fn json_row(path: &Path, line: usize, content: &str, layout: &Layout) -> Result<Row> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(content).map_err(|error| {
            Error::malformed(path, format!("line {line}"), "a JSON object", error.to_string())
        })?;
    let field = |column: &Column, what: &str| -> Result<String> {
        let place = format!("line {line}, {what}");
        let Column::Name(name) = column else {
            return Err(Error::malformed(
                path,
                place,
                "a column by name, since JSON has no numbered ones",
                "a number",
            ));
        };
        match object.get(name) {
            Some(serde_json::Value::String(text)) => filled(path, line, what, text),
            Some(serde_json::Value::Number(number)) if what == "label" => Ok(number.to_string()),
            Some(serde_json::Value::Bool(truth)) if what == "label" => Ok(truth.to_string()),
            Some(other) => Err(Error::malformed(path, place, format!("text under \"{name}\""), kind(other))),
            None => {
                let keys: Vec<&str> = object.keys().map(String::as_str).collect();
                let found = format!("the keys {}", keys.join(", "));
                Err(Error::malformed(path, place, format!("a key \"{name}\""), found))
            }
        }
    };
    Ok(Row {
        line,
        text: field(&layout.text, "text")?,
        text_pair: layout.text_pair.as_ref().map(|column| field(column, "text_pair")).transpose()?,
        label: field(&layout.label, "label")?,
    })
}

fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a truth value",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "text",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(header: bool) -> Layout {
        let name = |name: &str| Column::Name(name.into());
        let (text, label) =
            if header { (name("sentence"), name("label")) } else { (Column::Number(1), Column::Number(0)) };
        Layout { text, text_pair: None, label, header, format: None, encoding: Encoding::Utf8 }
    }

    fn rows_of(name: &str, content: &[u8], layout: &Layout) -> Result<Vec<(usize, String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let flat = |row: Row| (row.line, row.text, row.label);
        Ok(read(&path, layout)?.into_iter().map(flat).collect())
    }

    fn fault(name: &str, content: &[u8], layout: &Layout) -> String {
        rows_of(name, content, layout).unwrap_err().to_string()
    }

    fn row(line: usize, text: &str, label: &str) -> (usize, String, String) {
        (line, text.into(), label.into())
    }

    #[test]
    fn tab_separated_text_is_never_quoted_and_survives_marks_and_line_ends() {
        let content = b"\xef\xbb\xbfsentence\tlabel\r\n\"good \t1\r\nbad\"\t0\r\n\r\n";
        let rows = rows_of("a.tsv", content, &layout(true)).unwrap();
        assert_eq!(rows, [row(2, "\"good", "1"), row(3, "bad\"", "0")]);
        let rows = rows_of("a.tsv", b"1\tgood\n0\tbad", &layout(false)).unwrap();
        assert_eq!(rows, [row(1, "good", "1"), row(2, "bad", "0")]);
    }

    #[test]
    fn comma_separated_text_may_be_quoted_over_lines() {
        let content = b"label,sentence\n1,\"good, \"\"very\"\"\ngood\"\n0,bad\n";
        let rows = rows_of("a.csv", content, &layout(true)).unwrap();
        assert_eq!(rows, [row(2, "good, \"very\"\ngood", "1"), row(4, "bad", "0")]);
    }

    #[test]
    fn json_lines_take_labels_of_any_plain_kind() {
        let content =
            "{\"sentence\": \"caf\u{e9}\", \"label\": 1}\n{\"label\": \"no\", \"sentence\": \"x\"}\n";
        let rows = rows_of("a.jsonl", content.as_bytes(), &layout(true)).unwrap();
        assert_eq!(rows, [row(1, "caf\u{e9}", "1"), row(2, "x", "no")]);
    }

    #[test]
    fn latin_1_is_read_when_said_and_named_when_not() {
        let latin = Layout { encoding: Encoding::Latin1, ..layout(false) };
        assert_eq!(rows_of("a.tsv", b"1\tcaf\xe9", &latin).unwrap(), [row(1, "caf\u{e9}", "1")]);
        let error = fault("a.tsv", b"1\tgood\n1\tcaf\xe9", &layout(false));
        assert!(error.contains("line 2") && error.contains("latin-1") && error.contains("0xe9"), "{error}");
        assert!(fault("a.tsv", b"\xff\xfe1\0", &layout(false)).contains("UTF-16"));
    }

    #[test]
    fn every_malformed_row_is_an_error_with_its_line() {
        let (named, numbered) = (layout(true), layout(false));
        for (name, content, layout, expected) in [
            ("a.tsv", "1\tgood\n0\tbad\textra", &numbered, "line 2: expected 2 columns"),
            ("a.tsv", "1\tgood\n\n0\tbad", &numbered, "an empty line"),
            ("a.tsv", "1\tgood\n0\t  ", &numbered, "line 2, text: expected some text, found nothing"),
            ("a.tsv", "1", &numbered, "a column 1, counted from 0, found 1 columns"),
            (
                "a.tsv",
                "text\tlabel\nx\t1",
                &named,
                "a column named \"sentence\", found the columns text, label",
            ),
            ("a.csv", "label,sentence\n1", &named, "line 2: expected 2 columns"),
            ("a.csv", "", &named, "an empty file"),
            (
                "a.jsonl",
                "{\"sentence\": 3, \"label\": 1}",
                &named,
                "line 1, text: expected text under \"sentence\"",
            ),
            ("a.jsonl", "{\"text\": \"x\"}", &named, "found the keys text"),
            (
                "a.jsonl",
                "{\"sentence\": \"x\", \"label\": 1}\nnonsense",
                &named,
                "line 2: expected a JSON object",
            ),
            ("a.jsonl", "{}", &numbered, "by name"),
            ("a.txt", "1\tgood", &numbered, "format = \"tsv\""),
        ] {
            let error = fault(name, content.as_bytes(), layout);
            assert!(error.contains(expected), "{error}");
        }
    }
}
