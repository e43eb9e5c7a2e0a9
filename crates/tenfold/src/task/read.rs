//! From a [`Task`] to its rows: finding the files, numbering the labels, checking that it can be trained.

mod language;
mod passages;
mod questions;
mod split;

pub use questions::QuestionSet;

use super::parse::F1_OF_TWO;
use super::{Columns, Files, Rows, Source, Task};
use crate::data::faulty::Malformed;
use crate::data::records::Reading;
use crate::data::rows::{self, FileRows, Layout, Row};
use crate::data::{Dataset, Domain, Example, classes, hold_out, vader};
use crate::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

impl Task {
    /// Reads all rows. Rows that are not on this machine are [`Error::MissingData`].
    pub fn read(&self) -> Result<Dataset> {
        self.read_from(std::env::var_os("TENFOLD_DATA").map(PathBuf::from).as_deref())
    }

    fn read_from(&self, data: Option<&Path>) -> Result<Dataset> {
        if self.is_language() || self.extraction.is_some() {
            let of = if self.is_language() { "language models" } else { "answers in passages" };
            let why = format!("its rows are for {of} (output_type = \"{}\")", self.output_type);
            return Err(Error::Unsupported {
                what: format!("classification on task \"{}\"", self.name),
                why,
            });
        }
        let reader = Reader { task: self, data };
        let found = self.domains.iter().map(|domain| reader.found(domain)).collect::<Result<Vec<_>>>()?;
        let labels = self.labels_of(&found)?;
        let mut notes = Vec::new();
        let mut splits = Vec::new();
        for found in found {
            splits.push(self.splits(found, &labels, &mut notes)?);
        }
        let mut splits = splits.into_iter().zip(self.domains());
        let Some((mut first, name)) = splits.next() else {
            return Err(self.fault("domains", "one or more", "none"));
        };
        if first.validation.is_empty() {
            (first.train, first.validation) = self.held_out(first.train, hold_out)?;
            notes.push(format!("{name}: {} validation rows are held out of train", first.validation.len()));
        }
        self.check(&labels, &first, &mut notes)?;
        let domain = |(splits, name): (Splits, &str)| Domain { name: name.to_owned(), examples: splits.test };
        let tests =
            [Domain { name: name.to_owned(), examples: first.test }].into_iter().chain(splits.map(domain));
        let dataset = Dataset::new(labels.clone(), first.train, first.validation, tests.collect(), notes);
        match self.is_regression() {
            true => Ok(dataset.with_values(labels.iter().filter_map(|label| label.parse().ok()).collect())),
            false => Ok(dataset),
        }
    }

    /// The labels: those listed, or those of the built-in rows, or those that occur; of numbers all, of names those that
    /// can be learnt.
    fn labels_of(&self, found: &[Found]) -> Result<Vec<String>> {
        if found.iter().any(|found| matches!(found, Found::Builtin(_))) {
            let own = vader::LABELS.map(str::to_owned).to_vec();
            return Ok(own);
        }
        let labels = match &self.labels {
            Some(labels) => labels.clone(),
            None => {
                let splits = found.iter().flat_map(|found| match found {
                    Found::Files(files) => files.as_slice(),
                    Found::Builtin(_) => &[],
                });
                let learnt = splits.take(if self.is_regression() { usize::MAX } else { 1 });
                collect_labels(learnt.flatten().flat_map(|file| &file.rows))
            }
        };
        if F1_OF_TWO.contains(&self.metric.as_str()) && labels.len() != 2 {
            let expected = format!("two for metric = \"{}\"", self.metric);
            return Err(self.fault("labels", &expected, &labels.join(", ")));
        }
        Ok(labels)
    }

    /// The rows of a domain with their labels' numbers.
    fn splits(&self, found: Found, labels: &[String], notes: &mut Vec<String>) -> Result<Splits> {
        let mut number = |file: Option<FileRows>| match file {
            Some(file) => examples(labels, file, self.malformed, notes),
            None => Ok(Vec::new()),
        };
        match found {
            Found::Builtin(splits) => {
                notes.push(splits.note);
                Ok(Splits { train: splits.train, validation: splits.validation, test: splits.test })
            }
            Found::Files([train, validation, test]) => {
                Ok(Splits { train: number(train)?, validation: number(validation)?, test: number(test)? })
            }
        }
    }

    /// The training rows of a further domain, whose labels are numbered as in `labels`; `None` if it has none. What was left
    /// out of them is added to `notes`.
    pub fn training(
        &self,
        domain: &str,
        labels: &[String],
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<Example>>> {
        let data = std::env::var_os("TENFOLD_DATA").map(PathBuf::from);
        let reader = Reader { task: self, data: data.as_deref() };
        let Some(source) = self.domains.iter().skip(1).find(|source| source.name == domain) else {
            return Ok(None);
        };
        match &source.rows {
            Rows::Builtin(name) => Ok(Some(vader::read(name)?.train)),
            Rows::Files(files) => match reader.rows(files, &files.train)? {
                None => Ok(None),
                Some(rows) => examples(labels, rows, self.malformed, notes).map(Some),
            },
        }
    }

    fn check(&self, labels: &[String], splits: &Splits, notes: &mut Vec<String>) -> Result<()> {
        let trained = classes(&splits.train);
        if trained.len() < 2 {
            let found = match trained.first().and_then(|&label| labels.get(label as usize)) {
                Some(label) => format!("only \"{label}\""),
                None => "no rows".into(),
            };
            return Err(self.fault("domains[0].train", "rows of two labels or more", &found));
        }
        for (number, label) in labels.iter().enumerate().filter(|_| !self.is_regression()) {
            if !trained.contains(&(number as u32)) {
                notes.push(format!("no training row is labelled \"{label}\": it cannot be learnt"));
            }
        }
        Ok(())
    }

    fn fault(&self, place: &str, expected: &str, found: &str) -> Error {
        Error::malformed(&self.file, place, expected, found)
    }
}

struct Splits {
    train: Vec<Example>,
    validation: Vec<Example>,
    test: Vec<Example>,
}

struct Reader<'a> {
    task: &'a Task,
    data: Option<&'a Path>,
}

/// The rows of a domain as its files have them: train, validation, test.
enum Found {
    Builtin(vader::Splits),
    Files([Option<FileRows>; 3]),
}

impl Reader<'_> {
    fn found(&self, domain: &Source) -> Result<Found> {
        match &domain.rows {
            Rows::Builtin(name) => Ok(Found::Builtin(vader::read(name)?)),
            Rows::Files(files) => Ok(Found::Files([
                self.rows(files, &files.train)?,
                self.rows(files, &files.validation)?,
                self.rows(files, &files.test)?,
            ])),
        }
    }

    /// The rows of the first of `paths` that is there; none if there are none.
    fn rows(&self, files: &Files, paths: &[PathBuf]) -> Result<Option<FileRows>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let path = self.find(paths)?;
        let Some(columns) = &self.task.columns else {
            return Err(self.task.fault("columns", "[columns] with text and label", "nothing"));
        };
        let mut found = rows::read(&path, &layout(columns, files))?;
        if self.task.is_regression() {
            let mut numbered = Vec::with_capacity(found.rows.len());
            for row in found.rows {
                let (place, row) = (row.place, numeric(&path, row));
                numbered.extend(found.faulty.keep(place, row)?);
            }
            found.rows = numbered;
        }
        Ok(Some(found))
    }

    /// The first of `paths` that is there, in the data folder or beside the task file.
    fn find(&self, paths: &[PathBuf]) -> Result<PathBuf> {
        let folders: Vec<&Path> = [self.data, self.task.folder.as_deref()].into_iter().flatten().collect();
        let mut looked = Vec::new();
        for folder in &folders {
            looked.extend(paths.iter().map(|path| folder.join(path)));
        }
        if folders.is_empty() {
            looked.extend(paths.iter().filter(|path| path.is_absolute()).cloned());
        }
        if let Some(found) = looked.iter().find(|path| path.is_file()) {
            return Ok(found.clone());
        }
        let wanted = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ");
        Err(Error::MissingData { task: self.task.name.clone(), wanted, looked })
    }
}

fn layout(columns: &Columns, files: &Files) -> Layout {
    Layout {
        text: columns.text.clone(),
        text_pair: columns.text_pair.clone(),
        label: columns.label.clone(),
        reading: Reading {
            format: files.format,
            encoding: files.encoding,
            header: columns.header.clone(),
            extra_columns: columns.extra_columns,
            keep: files.keep.clone(),
        },
    }
}

/// A row whose label is a number, written so that equal numbers are equal labels.
fn numeric(file: &Path, row: Row) -> Result<Row> {
    match row.label.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Row { label: (number + 0.0).to_string(), ..row }),
        _ => {
            let place = format!("{}, label", row.place);
            Err(Error::malformed(file, place, "a number", format!("\"{}\"", row.label)))
        }
    }
}

/// The labels that occur: by number if all are numbers, by name otherwise.
fn collect_labels<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let distinct: BTreeSet<&str> = rows.map(|row| row.label.as_str()).collect();
    let mut labels: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
    let number = |label: &String| label.parse::<f64>().ok().filter(|number| number.is_finite());
    if labels.iter().all(|label| number(label).is_some()) {
        labels.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(std::cmp::Ordering::Equal));
    }
    labels
}

/// A file's rows with their labels' numbers; those that do not fit are refused, or left out and noted.
fn examples(
    labels: &[String],
    file: FileRows,
    malformed: Malformed,
    notes: &mut Vec<String>,
) -> Result<Vec<Example>> {
    let FileRows { file, rows, mut faulty } = file;
    let numbers: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
    let numbered = |row: Row| match number(labels, &numbers, &row.label) {
        Some(label) => Ok(Example { text: row.text, pair: row.text_pair, label }),
        None => {
            let known = labels.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
            let expected = format!("one of the {} labels {known}, or its number from 0", labels.len());
            Err(Error::malformed(&file, row.place.to_string(), expected, format!("\"{}\"", row.label)))
        }
    };
    let mut examples = Vec::with_capacity(rows.len());
    for row in rows {
        let place = row.place;
        examples.extend(faulty.keep(place, numbered(row))?);
    }
    notes.extend(faulty.settle(&file, examples.len(), malformed)?);
    match examples.is_empty() {
        true => Err(Error::malformed(&file, "after the header", "one row or more", "none")),
        false => Ok(examples),
    }
}

/// A label by its name; or by its number, unless names themselves are numbers.
fn number(labels: &[String], numbers: &HashMap<&str, u32>, label: &str) -> Option<u32> {
    let is_number = |name: &String| name.parse::<i64>().is_ok();
    let by_number = || {
        let index: u32 = label.parse().ok()?;
        ((index as usize) < labels.len() && !labels.iter().any(is_number)).then_some(index)
    };
    numbers.get(label).copied().or_else(by_number)
}

#[cfg(test)]
mod hub;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HEAD: &str = "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n\
        output_type = \"classification\"\nmetric = \"accuracy\"\n";
    const COLUMNS: &str = "[columns]\ntext = \"sentence\"\nlabel = \"label\"\n";
    const DOMAIN: &str = "[[domains]]\nname = \"here\"\ntrain = \"train.tsv\"\ntest = \"test.tsv\"\n";

    /// Writes the task and its files into a folder of its own and reads it.
    fn read(task: &str, files: &[(&str, &str)]) -> Result<Dataset> {
        read_whole(&format!("{HEAD}{task}"), files)
    }

    fn read_whole(task: &str, files: &[(&str, &str)]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join("task.toml");
        fs::write(&path, task).unwrap();
        Task::load(path.to_str().unwrap()).unwrap().read_from(None)
    }

    fn many(labels: &[&str]) -> String {
        let row = |i: usize| format!("text {i}\t{}\n", labels[i % labels.len()]);
        "sentence\tlabel\n".to_owned() + &(0..40).map(row).collect::<String>()
    }

    #[test]
    fn labels_go_by_name_or_number_and_are_collected_where_none_are_listed() {
        let test = ("test.tsv", "sentence\tlabel\nfine\t1\nbad\tno\n");
        let listed = format!("labels = [\"no\", \"yes\"]\n{COLUMNS}{DOMAIN}");
        let dataset = read(&listed, &[("train.tsv", &many(&["no", "1"])), test]).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len()), (36, 4));
        assert_eq!(dataset.tests[0].examples.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0]);

        let open = format!("{COLUMNS}{DOMAIN}");
        let test = ("test.tsv", "sentence\tlabel\nfine\t10\n");
        let dataset = read(&open, &[("train.tsv", &many(&["10", "9", "-1"])), test]).unwrap();
        assert_eq!(dataset.labels, ["-1", "9", "10"]);
        assert_eq!(dataset.tests[0].examples[0].label, 2);
    }

    #[test]
    fn pairs_validation_files_and_further_domains_are_read() {
        let task = "[columns]\ntext = 0\ntext_pair = 2\nlabel = 1\n\
            [[domains]]\nname = \"a\"\ntrain = [\"absent.tsv\", \"a.tsv\"]\nvalidation = \"v.csv\"\ntest = \"a.tsv\"\n\
            [[domains]]\nname = \"b\"\ntest = \"b.txt\"\nformat = \"tsv\"\nencoding = \"latin-1\"\n";
        let files = [("a.tsv", "x\tyes\ty\nz\tno\tw\n"), ("v.csv", "q,yes,r\n"), ("b.txt", "k\tno\tl\n")];
        let dataset = read(task, &files).unwrap();
        assert_eq!(dataset.labels, ["no", "yes"]);
        assert_eq!(dataset.train[0], Example { text: "x".into(), pair: Some("y".into()), label: 1 });
        assert_eq!((dataset.validation.len(), dataset.tests[1].name.as_str()), (1, "b"));
        assert!(dataset.notes.iter().any(|note| note.contains("also trained on")), "{:?}", dataset.notes);
    }

    #[test]
    fn rows_that_cannot_be_trained_on_are_refused_with_the_reason() {
        let task = format!("labels = [\"no\", \"yes\"]\n{COLUMNS}{DOMAIN}");
        let test = ("test.tsv", "sentence\tlabel\nfine\tyes\n");
        for (train, expected) in [
            (
                many(&["no", "maybe"]),
                "line 3: expected one of the 2 labels no, yes, or its number from 0, found \"maybe\"",
            ),
            (many(&["no", "2"]), "found \"2\""),
            (many(&["no"]), "expected rows of two labels or more, found only \"no\""),
            ("sentence\tlabel\na\tno\nb\tyes\n".into(), "expected 10 training rows or more"),
            ("sentence\tlabel\n".into(), "expected one row or more, found none"),
            (
                "sentence\tlabel\n".to_owned() + &"a\tno\na\tyes\n".repeat(5),
                "expected a validation file beside it, as rows that share a text are held out together, \
                 found 10 of 10 rows held out",
            ),
        ] {
            let error = read(&task, &[("train.tsv", &train), test]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn missing_files_are_told_apart_from_faulty_ones() {
        let task = Task::load("sst2").unwrap();
        match task.read_from(Some(Path::new("no/such/folder"))) {
            Err(error @ Error::MissingData { .. }) => {
                let text = error.to_string();
                assert!(text.contains("SST-2/train.tsv") && text.contains("TENFOLD_DATA"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(task.read_from(None), Err(Error::MissingData { .. })));
    }

    #[test]
    fn the_data_folder_comes_before_the_task_files_own() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("glue_sst2")).unwrap();
        for (name, rows) in
            [("train_full.tsv", many(&["0", "1"])), ("dev.tsv", "sentence\tlabel\nfine \t1\n".into())]
        {
            fs::write(data.path().join("glue_sst2").join(name), rows).unwrap();
        }
        let dataset = Task::load("sst2").unwrap().read_from(Some(data.path())).unwrap();
        assert_eq!((dataset.train.len(), dataset.tests[0].examples[0].text.as_str()), (36, "fine"));
    }

    #[test]
    fn numbers_are_foretold_as_numbers_and_what_is_none_is_malformed() {
        let task = format!("{COLUMNS}{DOMAIN}")
            .replace("[columns]", "output_type = \"regression\"\nmetric = \"pearson\"\n[columns]");
        let head = HEAD.replace("output_type = \"classification\"\nmetric = \"accuracy\"\n", "");
        let test = ("test.tsv", "sentence\tlabel\nfine\t1\nbad\t-0.0\n");
        let train = many(&["3.25", "10", "0", "1.0"]);
        let dataset = read_whole(&format!("{head}{task}"), &[("train.tsv", &train), test]).unwrap();
        assert_eq!(dataset.values, [0.0, 1.0, 3.25, 10.0]);
        let of =
            |rows: &[Example]| rows.iter().map(|row| dataset.values[row.label as usize]).collect::<Vec<_>>();
        assert_eq!(of(&dataset.tests[0].examples), [1.0, 0.0]);
        let train = train + "x\tNaN\ny\tmuch\n";
        let error =
            read_whole(&format!("{head}{task}"), &[("train.tsv", &train), test]).unwrap_err().to_string();
        assert!(error.contains("2 of 42 rows") && error.contains("a number, found \"NaN\""), "{error}");
    }

    #[test]
    fn malformed_rows_are_skipped_on_demand_and_noted() {
        let train = many(&["no", "yes"]) + "x\tmaybe\nshort\n";
        let files = [("train.tsv", train.as_str()), ("test.tsv", "sentence\tlabel\nfine\tyes\n")];
        let task = format!("labels = [\"no\", \"yes\"]\n{COLUMNS}{DOMAIN}");
        let error = read(&task, &files).unwrap_err().to_string();
        assert!(
            error.contains("2 of 42 rows are malformed:\n  line 42: expected one of the 2 labels"),
            "{error}"
        );
        let dataset = read(&format!("malformed = \"skip\"\n{task}"), &files).unwrap();
        assert_eq!(dataset.train.len() + dataset.validation.len(), 40);
        let note = dataset.notes.iter().find(|note| note.contains("malformed")).unwrap();
        assert!(note.contains("2 of 42 rows are malformed and left out: line 42, line 43"), "{note}");
    }

    #[test]
    fn f1_needs_two_labels() {
        let head = HEAD.replace("accuracy", "f1");
        let files = [("train.tsv", &*many(&["0", "1", "2"])), ("test.tsv", "sentence\tlabel\nfine\t1\n")];
        let error = read_whole(&format!("{head}{COLUMNS}{DOMAIN}"), &files).unwrap_err().to_string();
        assert!(error.contains("two for metric = \"f1\", found 0, 1, 2"), "{error}");
    }
}
