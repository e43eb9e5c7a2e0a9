//! Labelled rows out of a file's records: text, perhaps a second text, and a label, each with its place.

use super::faulty::Faulty;
use super::language::Template;
use super::language::read::rendered;
use super::records::{self, Column, Fields, Place, Reading, Record, Records, kind};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Where in a file the fields of a row are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) text: Field,
    pub(crate) text_pair: Option<Field>,
    pub(crate) label: Vec<Column>,
    /// Where a row's weight is; none of rows without one.
    pub(crate) weight: Option<Vec<Column>>,
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
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
    pub(crate) label: String,
    pub(crate) weight: Option<f32>,
}

/// A file's rows, and those that do not fit.
#[derive(Debug)]
pub(crate) struct FileRows {
    pub(crate) file: PathBuf,
    pub(crate) rows: Vec<Row>,
    pub(crate) faulty: Faulty,
    /// The names that the file gives the numbers in its column of labels, in their order; none if it gives none.
    pub(crate) classes: Option<Vec<String>>,
}

/// The rows of the file at `path`.
pub(crate) fn read(path: &Path, layout: &Layout) -> Result<FileRows> {
    let mut records = records::read(path, &layout.reading)?;
    records.check_rows()?;
    for (field, what) in [(Some(&layout.text), "text"), (layout.text_pair.as_ref(), "text_pair")] {
        if let Some(Field::Columns(columns)) = field {
            records.check_header(columns, what)?;
        }
    }
    records.check_header(&layout.label, "label")?;
    if let Some(columns) = &layout.weight {
        records.check_header(columns, "weight")?;
    }
    let pair = |record: &Record| {
        layout.text_pair.as_ref().map(|field| text(&records, record, field, "text_pair")).transpose()
    };
    let row = |record: &Record| {
        Ok(Row {
            place: record.place,
            text: text(&records, record, &layout.text, "text")?,
            text_pair: pair(record)?,
            label: label(&records, record, layout)?,
            weight: layout.weight.as_ref().map(|columns| weight(&records, record, columns)).transpose()?,
        })
    };
    let found: Vec<(Place, Result<Row>)> =
        records.records.iter().map(|record| (record.place, row(record))).collect();
    let (mut rows, mut faulty) = (Vec::with_capacity(found.len()), std::mem::take(&mut records.faulty));
    for (place, row) in found {
        rows.extend(faulty.keep(place, row)?);
    }
    refuse_swallowed(&records, layout, &mut rows, &mut faulty)?;
    let of_table = matches!(records.records.first(), Some(Record { fields: Fields::Table(_), .. }));
    if of_table && let Some(remark) = unusual_length(&rows) {
        faulty.remark(format!("{}: {remark}", path.display()));
    }
    for remark in padded(&rows) {
        faulty.remark(format!("{}: {remark}", path.display()));
    }
    rows.iter_mut().for_each(|row| row.label = row.label.trim().to_owned());
    let column = records.records.first().map(|record| records.column(record, &layout.label));
    let classes = match column {
        Some(Column::Name(name)) => records.classes.get(name).cloned(),
        _ => None,
    };
    Ok(FileRows { file: path.to_owned(), rows, faulty, classes })
}

/// Refuses rows whose quoted text holds lines that are labelled rows themselves: a quote that opened where none was meant
/// has swallowed them.
fn refuse_swallowed(
    records: &Records,
    layout: &Layout,
    rows: &mut Vec<Row>,
    faulty: &mut Faulty,
) -> Result<()> {
    for (place, lines) in &records.swallowed {
        let mut labels: Vec<String> = Vec::new();
        for fields in lines {
            let values = fields.iter().cloned().map(Value::String).collect();
            let record = Record { place: *place, fields: Fields::Table(values) };
            labels.extend(label(records, &record, layout).ok());
        }
        let known = |label: &String| rows.iter().any(|row| row.place != *place && row.label == *label);
        if labels.len() < FEWEST_SWALLOWED || !labels.iter().all(known) {
            continue;
        }
        rows.retain(|row| row.place != *place);
        let expected = "a quoted field that ends before the next row begins; double a quote that is part of a quoted text \
                        (\"\"), or remove the stray quote";
        let found =
            format!("a field that goes on over {} lines that are labelled rows themselves", labels.len());
        faulty
            .keep::<Row>(*place, Err(Error::malformed(&records.file, place.to_string(), expected, found)))?;
    }
    Ok(())
}

/// Fewer lines with a known label may be part of a text.
const FEWEST_SWALLOWED: usize = 2;

/// A text this many times as long as that of the row in the middle is unusual …
const UNUSUAL: usize = 200;
/// … if there are this many rows to compare it with.
const ENOUGH_ROWS: usize = 20;

/// What to say of the longest text, where it is unlike all others.
fn unusual_length(rows: &[Row]) -> Option<String> {
    if rows.len() < ENOUGH_ROWS {
        return None;
    }
    let mut lengths: Vec<usize> = rows.iter().map(|row| row.text.len()).collect();
    let (_, median, _) = lengths.select_nth_unstable(rows.len() / 2);
    let median = *median;
    let longest = rows.iter().max_by_key(|row| row.text.len())?;
    (longest.text.len() > median.max(1) * UNUSUAL).then(|| {
        format!(
            "{}: a text of {} bytes, where half of the rows have at most {median}: look for a stray quote or a missing \
             line end",
            longest.place,
            longest.text.len()
        )
    })
}

/// What to say of labels that stand with blanks around them in some rows and without in others.
fn padded(rows: &[Row]) -> Vec<String> {
    let mut with_blanks: BTreeMap<&str, &Row> = BTreeMap::new();
    let mut plain: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        match row.label.trim() {
            bare if bare == row.label => *plain.entry(bare).or_default() += 1,
            bare => drop(with_blanks.entry(bare).or_insert(row)),
        }
    }
    let remark = |(bare, row): (&str, &Row)| {
        plain.contains_key(bare).then(|| {
            format!(
                "{}: the label \"{}\" has blanks around it and is taken for \"{bare}\"",
                row.place,
                row.label.escape_debug()
            )
        })
    };
    with_blanks.into_iter().filter_map(remark).collect()
}

fn text(records: &Records, record: &Record, field: &Field, what: &str) -> Result<String> {
    match field {
        Field::Columns(columns) => records.text(record, records.column(record, columns), what),
        Field::Template(template) => {
            Ok(rendered(records, record, what, template, &records.named(record))?.trim().to_owned())
        }
    }
}

/// A label is a name, a number or a truth value; blanks around it included.
fn label(records: &Records, record: &Record, layout: &Layout) -> Result<String> {
    let column = records.column(record, &layout.label);
    match records.value(record, column, "label")? {
        Value::String(_) => records.verbatim(record, column, "label"),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => {
            let place = format!("{}, label", record.place);
            Err(Error::malformed(&records.file, place, "a name or a number", kind(other)))
        }
    }
}

/// What a row counts in the loss: a finite number above 0. Of a row that shall not count at all nothing would be learnt.
fn weight(records: &Records, record: &Record, columns: &[Column]) -> Result<f32> {
    let column = records.column(record, columns);
    let value = records.value(record, column, "weight")?;
    let number = match value {
        Value::String(text) => text.trim().parse::<f32>().ok(),
        Value::Number(number) => number.as_f64().map(|number| number as f32),
        _ => None,
    };
    number.filter(|number| number.is_finite() && *number > 0.0).ok_or_else(|| {
        let found = match value {
            Value::String(text) => format!("\"{}\"", text.trim()),
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        Error::malformed(&records.file, format!("{}, weight", record.place), "a finite number above 0", found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Encoding;
    use crate::data::faulty::Malformed;
    use crate::data::records::Header;
    use std::fs;

    fn layout(header: bool) -> Layout {
        let name = |name: &str| Column::Name(name.into());
        let (text, label) =
            if header { (name("sentence"), name("label")) } else { (Column::Number(1), Column::Number(0)) };
        layout_of(vec![text], vec![label], Header::Given(header))
    }

    fn layout_of(text: Vec<Column>, label: Vec<Column>, header: Header) -> Layout {
        let reading = Reading::with(header);
        Layout { text: Field::Columns(text), text_pair: None, label, weight: None, reading }
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
        let utf_16: Vec<u8> = "\u{feff}1\tcaf\u{e9}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(rows_of("a.tsv", &utf_16, &layout(false)).unwrap(), [row(1, "caf\u{e9}", "1")]);
    }

    #[test]
    fn every_malformed_row_is_an_error_with_its_line() {
        let (named, numbered) = (layout(true), layout(false));
        for (name, content, layout, expected) in [
            ("a.tsv", "1\tgood\n0\tbad\textra", &numbered, "line 2: expected 2 columns"),
            ("a.tsv", "1\tgood\n\n0\tbad", &numbered, "an empty line"),
            ("a.tsv", "1\tgood\n0\t  ", &numbered, "line 2, text: expected some text, found nothing"),
            ("a.tsv", "1", &numbered, "a column 1, counted from 0, found 1 column"),
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
            ("a.txt", "1\tgood", &numbered, "format = \"tsv\""),
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

    #[test]
    fn a_stray_quote_is_refused_with_its_line_and_takes_no_other_row_with_it() {
        let mut content = "sentence,label\n".to_owned();
        for i in 2..=60 {
            content += &match i {
                11 => "\"awful film 11,0\n".to_owned(),
                41 => "\"good, really\",1\n".to_owned(),
                i => format!("film {i},{}\n", i % 2),
            };
        }
        let error = fault("a.csv", content.as_bytes(), &layout(true));
        assert!(
            error.contains("1 of 59 rows is malformed") && error.contains("line 11: expected"),
            "{error}"
        );
        assert!(error.contains("opened on line 11, that closes on line 41"), "{error}");
        let open = content.replace("\"good, really\"", "good");
        let error = fault("a.csv", open.as_bytes(), &layout(true));
        assert!(error.contains("line 11: ") && error.contains("a quote opened and never closed"), "{error}");
    }

    #[test]
    fn rows_within_a_quoted_text_are_no_part_of_it() {
        let few = "label,sentence\n1,\"one\n0,two\n1,three\nend\"\n0,four\n1,five\n";
        let error = fault("a.csv", few.as_bytes(), &layout(true));
        assert!(error.contains("line 2: expected a quoted field that ends before the next row"), "{error}");
        assert!(error.contains("over 2 lines that are labelled rows"), "{error}");
        // What stands before the comma is no label.
        let text = "label,sentence\n1,\"one\nDear sir, two\nDear madam, three\nend\"\n0,four\n1,five\n";
        assert_eq!(rows_of("a.csv", text.as_bytes(), &layout(true)).unwrap().len(), 3);
    }

    fn remarks(name: &str, content: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        read(&path, &layout(true)).unwrap().faulty.take_remarks()
    }

    #[test]
    fn texts_far_longer_than_others_and_labels_with_blanks_are_told_of() {
        let rows = |long: usize| {
            let row = |i: usize| format!("{},{}\n", "x".repeat(if i == 7 { long } else { 20 }), i % 2);
            "sentence,label\n".to_owned() + &(0..30).map(row).collect::<String>()
        };
        let told = remarks("a.csv", &rows(5000));
        assert!(told[0].contains("a.csv: line 9: a text of 5000 bytes"), "{told:?}");
        assert_eq!(remarks("a.csv", &rows(3000)), [""; 0]);
        let told = remarks("a.csv", "sentence,label\na, yes\nb,yes\nc, no\n");
        assert_eq!(told.len(), 1);
        assert!(
            told[0].ends_with("line 2: the label \" yes\" has blanks around it and is taken for \"yes\""),
            "{told:?}"
        );
    }

    #[test]
    fn labels_are_faulty_on_the_line_of_the_file_that_they_are_on() {
        let content = "\u{feff}sentence,label\r\n\r\n\"two\r\nlines\",1\r\n\r\nlast,\r\n";
        let error = fault("a.csv", content.as_bytes(), &layout(true));
        assert!(error.contains("line 6, label: expected some text, found nothing"), "{error}");
    }

    #[test]
    fn what_else_separates_columns_or_ends_lines_is_told_or_read() {
        let error = fault("a.csv", b"sentence;label\ngood, very;1\n", &layout(true));
        assert!(error.contains("with semicolons") && error.contains("delimiter = \";\""), "{error}");
        let mut semicolons = layout(true);
        semicolons.reading.separator = Some(b';');
        let rows = rows_of("a.csv", b"sentence;label\ngood, very;1\n", &semicolons).unwrap();
        assert_eq!(rows, [row(2, "good, very", "1")]);
        let error = fault("a.csv", b"1;good\n0;bad\n", &layout(false));
        assert!(error.contains("found 1 column, with semicolons"), "{error}");
        let rows = rows_of("a.tsv", b"sentence\tlabel\rgood\t1\rbad\t0\r", &layout(true)).unwrap();
        assert_eq!(rows, [row(2, "good", "1"), row(3, "bad", "0")]);
        let error = fault("a.txt", b"sentence,label\ngood,1\n", &layout(true));
        assert!(error.contains("read as one text") && error.contains("format = \"csv\""), "{error}");
    }

    #[test]
    fn a_weight_is_a_finite_number_above_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let read_weights = |content: &str| {
            let path = folder.path().join("a.csv");
            fs::write(&path, content).unwrap();
            let weighted = Layout { weight: Some(vec![Column::Name("w".into())]), ..layout(true) };
            let found = read(&path, &weighted)?;
            found.faulty.settle(&path, found.rows.len(), Malformed::Refuse)?;
            Ok::<_, Error>(found.rows.into_iter().map(|row| row.weight).collect::<Vec<_>>())
        };
        let found = read_weights("sentence,label,w\nfine,1,2\nbad,0, 0.25 \n").unwrap();
        assert_eq!(found, [Some(2.0), Some(0.25)]);
        for (weight, shown) in
            [("0", "0"), ("-1", "-1"), ("heavy", "heavy"), ("inf", "inf"), ("1e99", "1e99")]
        {
            let words =
                read_weights(&format!("sentence,label,w\nfine,1,{weight}\n")).unwrap_err().to_string();
            let told = words.contains("weight: expected a finite number above 0") && words.contains(shown);
            assert!(told, "{words}");
        }
        let words = read_weights("sentence,label,weights\nfine,1,2\n").unwrap_err().to_string();
        assert!(words.contains("weight: expected a column named \"w\""), "{words}");
    }
}
