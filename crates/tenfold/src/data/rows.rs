//! Labelled rows out of a file's records: text, perhaps a second text, and a label, each with its place.

use super::faulty::Faulty;
use super::language::Template;
use super::language::read::rendered;
use super::records::{self, Column, Place, Reading, Record, Records, kind};
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where in a file the fields of a row are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) text: Field,
    pub(crate) text_pair: Option<Field>,
    pub(crate) label: Vec<Column>,
    pub(crate) reading: Reading,
}

/// Where a text is.
#[derive(Debug, Clone)]
pub(crate) enum Field {
    /// In the first of these columns that there is.
    Columns(Vec<Column>),
    /// In several columns, put together so.
    Template(Template),
}

/// One row as the file gives it, white space around the fields removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
    pub(crate) label: String,
}

/// A file's rows, and those that do not fit.
#[derive(Debug)]
pub(crate) struct FileRows {
    pub(crate) file: PathBuf,
    pub(crate) rows: Vec<Row>,
    pub(crate) faulty: Faulty,
}

/// The rows of the file at `path`.
pub(crate) fn read(path: &Path, layout: &Layout) -> Result<FileRows> {
    let mut records = records::read(path, &layout.reading)?;
    for (field, what) in [(Some(&layout.text), "text"), (layout.text_pair.as_ref(), "text_pair")] {
        if let Some(Field::Columns(columns)) = field {
            records.check_header(columns, what)?;
        }
    }
    records.check_header(&layout.label, "label")?;
    let pair = |record: &Record| {
        layout.text_pair.as_ref().map(|field| text(&records, record, field, "text_pair")).transpose()
    };
    let row = |record: &Record| {
        Ok(Row {
            place: record.place,
            text: text(&records, record, &layout.text, "text")?,
            text_pair: pair(record)?,
            label: label(&records, record, records.column(record, &layout.label))?,
        })
    };
    let found: Vec<(Place, Result<Row>)> =
        records.records.iter().map(|record| (record.place, row(record))).collect();
    let (mut rows, mut faulty) = (Vec::with_capacity(found.len()), std::mem::take(&mut records.faulty));
    for (place, row) in found {
        rows.extend(faulty.keep(place, row)?);
    }
    Ok(FileRows { file: path.to_owned(), rows, faulty })
}

fn text(records: &Records, record: &Record, field: &Field, what: &str) -> Result<String> {
    match field {
        Field::Columns(columns) => records.text(record, records.column(record, columns), what),
        Field::Template(template) => {
            Ok(rendered(records, record, what, template, &records.named(record))?.trim().to_owned())
        }
    }
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
    use crate::data::faulty::Malformed;
    use crate::data::records::{Encoding, Header};
    use std::fs;

    fn layout(header: bool) -> Layout {
        let name = |name: &str| Column::Name(name.into());
        let (text, label) =
            if header { (name("sentence"), name("label")) } else { (Column::Number(1), Column::Number(0)) };
        layout_of(vec![text], vec![label], Header::Given(header))
    }

    fn layout_of(text: Vec<Column>, label: Vec<Column>, header: Header) -> Layout {
        let reading =
            Reading { format: None, encoding: Encoding::Utf8, header, extra_columns: false, keep: None };
        Layout { text: Field::Columns(text), text_pair: None, label, reading }
    }

    fn rows_of(name: &str, content: &[u8], layout: &Layout) -> Result<Vec<(Place, String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let flat = |row: Row| (row.place, row.text, row.label);
        let found = read(&path, layout)?;
        found.faulty.settle(&path, found.rows.len(), Malformed::Refuse)?;
        Ok(found.rows.into_iter().map(flat).collect())
    }

    fn fault(name: &str, content: &[u8], layout: &Layout) -> String {
        rows_of(name, content, layout).unwrap_err().to_string()
    }

    fn row(line: usize, text: &str, label: &str) -> (Place, String, String) {
        (Place::Line(line), text.into(), label.into())
    }

    #[test]
    fn a_table_names_no_two_columns_alike() {
        let said = fault("a.tsv", b"sentence\tlabel\t sentence\ngood\t1\tbad\n", &layout(true));
        assert!(
            said.contains("first row: expected columns whose names differ, found \"sentence\" twice"),
            "{said}"
        );
        let rows = rows_of("a.tsv", b"\tsentence\tlabel\t\nx\tgood\t1\ty\n", &layout(true)).unwrap();
        assert_eq!(rows, [row(2, "good", "1")], "columns without a name are no two of one name");
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
        let text = Field::Columns(vec![Column::Name("text".into())]);
        let layout = Layout { text, ..layout(true) };
        let parquet = include_bytes!("../../tests/parquet/flat.gzip.parquet");
        let rows = rows_of("a.parquet", parquet, &layout).unwrap();
        let place = Place::Row { group: 2, row: 2 };
        assert_eq!((rows.len(), rows[5].clone()), (6, (place, "a \u{e9} z".into(), "1".into())));
        let rows = rows_of("a.json", b"[{\"text\": \"x\", \"label\": true}]", &layout).unwrap();
        assert_eq!(rows, [(Place::Element(1), "x".into(), "true".into())]);
    }

    #[test]
    fn latin_1_is_read_when_said_and_named_when_not() {
        let mut latin = layout(false);
        latin.reading.encoding = Encoding::Latin1;
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

    #[test]
    fn one_layout_reads_what_is_published_in_several() {
        let name = |name: &str| Column::Name(name.into());
        let header = Header::IfNamed(vec!["sentence".into(), "score".into(), "label".into()]);
        let layout = layout_of(
            vec![name("sentence"), Column::Number(3)],
            vec![name("score"), name("label"), Column::Number(1)],
            header,
        );
        let bare = rows_of("a.tsv", b"gj04\t1\t\tGood.\ngj04\t0\t*\tBad.\n", &layout).unwrap();
        assert_eq!(bare, [row(1, "Good.", "1"), row(2, "Bad.", "0")]);
        let named = rows_of("a.tsv", b"index\tlabel\tsentence\n7\t1\tGood.\n", &layout).unwrap();
        assert_eq!(named, [row(2, "Good.", "1")]);
        let lines = rows_of("a.jsonl", b"{\"sentence\": \"Good.\", \"label\": 1}", &layout).unwrap();
        assert_eq!(lines, [row(1, "Good.", "1")]);
        // A number is no way out where columns have names.
        let error = fault("a.tsv", b"a\tlabel\tb\tc\n7\t1\t2\t3\n", &layout);
        assert!(error.contains("a column named \"sentence\""), "{error}");
        let mut wide = layout.clone();
        let lines = b"a\t1\tb\tx\na\t0\tb\ty\tmore\n";
        assert!(rows_of("a.tsv", lines, &wide).is_err());
        wide.reading.extra_columns = true;
        assert_eq!(rows_of("a.tsv", lines, &wide).unwrap()[1], row(2, "y", "0"));
    }

    #[test]
    fn texts_are_put_together_by_templates_and_parquet_is_known_by_its_bytes() {
        let mut layout = layout(true);
        layout.text = Field::Template(Template::parse("{{word}}: {{sentence}} ").unwrap());
        let rows = rows_of("a.jsonl", b"{\"word\": \"bank\", \"sentence\": \"x\", \"label\": true}", &layout);
        assert_eq!(rows.unwrap(), [row(1, "bank: x", "true")]);
        layout.text = Field::Columns(vec![Column::Name("text".into())]);
        layout.reading.format = Some(records::Format::Tsv);
        let parquet = include_bytes!("../../tests/parquet/flat.gzip.parquet");
        assert_eq!(rows_of("a.tsv", parquet, &layout).unwrap().len(), 6);
    }

    #[test]
    fn all_faulty_rows_come_at_once_in_their_order() {
        let error = fault("a.tsv", b"1\tgood\n0\tbad\textra\n1\t \n\n", &layout(false));
        let places = ["line 2: expected 2 columns", "line 3, text: expected some text"];
        let found: Vec<usize> = places.iter().map(|place| error.find(place).unwrap()).collect();
        assert!(error.contains("2 of 3 rows") && found[0] < found[1], "{error}");
    }
}
