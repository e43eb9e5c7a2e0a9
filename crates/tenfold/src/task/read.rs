//! From a [`Task`] to its rows: finding the files, numbering the labels, checking that it can be trained.

mod language;
mod questions;

pub use questions::QuestionSet;

use super::{Columns, Files, Rows, Source, Task};
use crate::data::rows::{self, Layout, Row};
use crate::data::{Dataset, Domain, Example, classes, hold_out, vader};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// With fewer training rows and no validation file there is nothing to hold out.
const FEWEST_TO_HOLD_OUT: usize = 10;

impl Task {
    /// Reads all rows. Rows that are not on this machine are [`Error::MissingData`].
    pub fn read(&self) -> Result<Dataset> {
        self.read_from(std::env::var_os("TENFOLD_DATA").map(PathBuf::from).as_deref())
    }

    fn read_from(&self, data: Option<&Path>) -> Result<Dataset> {
        if self.is_language() {
            let why = format!("its rows are for language models (output_type = \"{}\")", self.output_type);
            return Err(Error::Unsupported {
                what: format!("classification on task \"{}\"", self.name),
                why,
            });
        }
        let reader = Reader { task: self, data };
        let Some((first, others)) = self.domains.split_first() else {
            return Err(self.fault("domains", "one or more", "none"));
        };
        let mut notes = Vec::new();
        let (labels, mut splits) = reader.trained(first, &mut notes)?;
        if splits.validation.is_empty() {
            self.check_hold_out(splits.train.len())?;
            (splits.train, splits.validation) = hold_out(splits.train);
            notes.push(format!(
                "{}: {} validation rows are held out of train",
                first.name,
                splits.validation.len()
            ));
        }
        self.check(&labels, &splits, &mut notes)?;
        let mut tests = vec![Domain { name: first.name.clone(), examples: splits.test }];
        for domain in others {
            let examples = reader.test(domain, &labels, &mut notes)?;
            tests.push(Domain { name: domain.name.clone(), examples });
        }
        Ok(Dataset::new(labels, splits.train, splits.validation, tests, notes))
    }

    /// The training rows of a further domain, whose labels are numbered as in `labels`; `None` if it has none.
    pub fn training(&self, domain: &str, labels: &[String]) -> Result<Option<Vec<Example>>> {
        let data = std::env::var_os("TENFOLD_DATA").map(PathBuf::from);
        let reader = Reader { task: self, data: data.as_deref() };
        let Some(source) = self.domains.iter().skip(1).find(|source| source.name == domain) else {
            return Ok(None);
        };
        match &source.rows {
            Rows::Builtin(name) => Ok(Some(vader::read(name)?.train)),
            Rows::Files(files) if files.train.is_empty() => Ok(None),
            Rows::Files(files) => Ok(Some(examples(labels, reader.rows(files, &files.train)?)?)),
        }
    }

    fn check_hold_out(&self, rows: usize) -> Result<()> {
        if rows < FEWEST_TO_HOLD_OUT {
            let expected = format!("{FEWEST_TO_HOLD_OUT} training rows or more, or a validation file");
            return Err(self.fault("domains[0].train", &expected, &format!("{rows} rows")));
        }
        Ok(())
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
        for (number, label) in labels.iter().enumerate() {
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

impl Reader<'_> {
    /// The domain that is trained on, and with it the labels.
    fn trained(&self, domain: &Source, notes: &mut Vec<String>) -> Result<(Vec<String>, Splits)> {
        let files = match &domain.rows {
            Rows::Builtin(name) => {
                let splits = vader::read(name)?;
                notes.push(splits.note);
                let (train, validation, test) = (splits.train, splits.validation, splits.test);
                return Ok((vader::LABELS.map(str::to_owned).to_vec(), Splits { train, validation, test }));
            }
            Rows::Files(files) => files,
        };
        let train = self.rows(files, &files.train)?;
        let labels = match &self.task.labels {
            Some(labels) => labels.clone(),
            None => collect_labels(&train.1),
        };
        let validation = match files.validation.as_slice() {
            [] => Vec::new(),
            paths => examples(&labels, self.rows(files, paths)?)?,
        };
        let test = examples(&labels, self.rows(files, &files.test)?)?;
        Ok((labels.clone(), Splits { train: examples(&labels, train)?, validation, test }))
    }

    fn test(&self, domain: &Source, labels: &[String], notes: &mut Vec<String>) -> Result<Vec<Example>> {
        match &domain.rows {
            Rows::Files(files) => examples(labels, self.rows(files, &files.test)?),
            Rows::Builtin(name) => {
                if labels != vader::LABELS {
                    let expected = format!("{:?}, the labels of the built-in rows", vader::LABELS);
                    return Err(self.task.fault("labels", &expected, &format!("{labels:?}")));
                }
                let splits = vader::read(name)?;
                notes.push(splits.note);
                Ok(splits.test)
            }
        }
    }

    fn rows(&self, files: &Files, paths: &[PathBuf]) -> Result<(PathBuf, Vec<Row>)> {
        let path = self.find(paths)?;
        let Some(columns) = &self.task.columns else {
            return Err(self.task.fault("columns", "[columns] with text and label", "nothing"));
        };
        let rows = rows::read(&path, &layout(columns, files))?;
        if rows.is_empty() {
            return Err(Error::malformed(&path, "after the header", "one row or more", "none"));
        }
        Ok((path, rows))
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
        header: columns.header,
        format: files.format,
        encoding: files.encoding,
    }
}

/// The labels that occur: by number if all are numbers, by name otherwise.
fn collect_labels(rows: &[Row]) -> Vec<String> {
    let distinct: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    let mut labels: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
    if labels.iter().all(|label| label.parse::<i64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    labels
}

fn examples(labels: &[String], (path, rows): (PathBuf, Vec<Row>)) -> Result<Vec<Example>> {
    let numbered = |row: Row| match number(labels, &row.label) {
        Some(label) => Ok(Example { text: row.text, pair: row.text_pair, label }),
        None => {
            let known = labels.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
            let expected = format!("one of the {} labels {known}, or its number from 0", labels.len());
            Err(Error::malformed(&path, row.place.to_string(), expected, format!("\"{}\"", row.label)))
        }
    };
    rows.into_iter().map(numbered).collect()
}

/// A label by its name; or by its number, unless names themselves are numbers.
fn number(labels: &[String], label: &str) -> Option<u32> {
    let is_number = |name: &String| name.parse::<i64>().is_ok();
    let index = labels.iter().position(|name| name == label).or_else(|| {
        let index: usize = label.parse().ok()?;
        (index < labels.len() && !labels.iter().any(is_number)).then_some(index)
    })?;
    u32::try_from(index).ok()
}

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
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join("task.toml");
        fs::write(&path, format!("{HEAD}{task}")).unwrap();
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
}
