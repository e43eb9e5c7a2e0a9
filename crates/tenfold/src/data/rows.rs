//! Labelled rows out of a file's records: text, perhaps a second text, and a label, each with its place.

use super::records::{self, Column, Encoding, Format, Place, Record, Records, kind};
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

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
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
    pub(crate) label: String,
}

/// The rows of the file at `path`.
pub(crate) fn read(path: &Path, layout: &Layout) -> Result<Vec<Row>> {
    let records = records::read(path, layout.format, layout.encoding, layout.header)?;
    let pair = |record: &Record| {
        layout.text_pair.as_ref().map(|column| records.text(record, column, "text_pair")).transpose()
    };
    let row = |record: &Record| {
        Ok(Row {
            place: record.place,
            text: records.text(record, &layout.text, "text")?,
            text_pair: pair(record)?,
            label: label(&records, record, &layout.label)?,
        })
    };
    records.records.iter().map(row).collect()
}

/// A label is a name, a number or a truth value.
fn label(records: &Records, record: &Record, column: &Column) -> Result<String> {
    match records.value(record, column, "label")? {
        Value::String(_) => records.text(record, column, "label"),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => {
            let place = format!("{}, label", record.place);
            Err(Error::malformed(&records.file, place, "a name or a number", kind(other)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn layout(header: bool) -> Layout {
        let name = |name: &str| Column::Name(name.into());
        let (text, label) =
            if header { (name("sentence"), name("label")) } else { (Column::Number(1), Column::Number(0)) };
        Layout { text, text_pair: None, label, header, format: None, encoding: Encoding::Utf8 }
    }

    fn rows_of(name: &str, content: &[u8], layout: &Layout) -> Result<Vec<(Place, String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let flat = |row: Row| (row.place, row.text, row.label);
        Ok(read(&path, layout)?.into_iter().map(flat).collect())
    }

    fn fault(name: &str, content: &[u8], layout: &Layout) -> String {
        rows_of(name, content, layout).unwrap_err().to_string()
    }

    fn row(line: usize, text: &str, label: &str) -> (Place, String, String) {
        (Place::Line(line), text.into(), label.into())
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
    fn parquet_and_json_arrays_give_labelled_rows_too() {
        let layout = Layout { text: Column::Name("text".into()), ..layout(true) };
        let parquet = include_bytes!("../../tests/parquet/flat.gzip.parquet");
        let rows = rows_of("a.parquet", parquet, &layout).unwrap();
        let place = Place::Row { group: 2, row: 2 };
        assert_eq!((rows.len(), rows[5].clone()), (6, (place, "a \u{e9} z".into(), "1".into())));
        let rows = rows_of("a.json", b"[{\"text\": \"x\", \"label\": true}]", &layout).unwrap();
        assert_eq!(rows, [(Place::Element(1), "x".into(), "true".into())]);
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
                "line 1, text: expected some text, found a number",
            ),
            ("a.jsonl", "{\"text\": \"x\"}", &named, "a column named \"sentence\", found the columns text"),
            (
                "a.jsonl",
                "{\"sentence\": \"x\", \"label\": 1}\nnonsense",
                &named,
                "line 2: expected a JSON object",
            ),
            ("a.jsonl", "{}", &numbered, "by name"),
            ("a.rows", "1\tgood", &numbered, "format = \"tsv\""),
            ("a.tsv", "sentense\tlabel\nx\t1", &named, "did you mean \"sentense\"?"),
            ("a.txt", "1\tgood", &numbered, "a column by name"),
        ] {
            let error = fault(name, content.as_bytes(), layout);
            assert!(error.contains(expected), "{error}");
        }
    }
}
