//! From a [`Task`] to its rows: finding the files, numbering the labels, checking that it can be trained.

mod labels;
mod language;
mod passages;
mod questions;
mod split;

pub use questions::QuestionSet;

use super::{Columns, Files, Rows, Source, Task, TaskKind};
use crate::data::records::Reading;
use crate::data::rows::{self, FileRows, Layout, Row};
use crate::data::{Dataset, Domain, Example, TestShare, classes, vader};
use crate::{Error, Result, plain_file};
use std::path::{Path, PathBuf};

impl Task {
    /// Reads all rows. Rows that are not on this machine are [`Error::MissingData`].
    pub fn read(&self) -> Result<Dataset> {
        self.read_from(std::env::var_os("TENFOLD_DATA").map(PathBuf::from).as_deref())
    }

    fn read_from(&self, data: Option<&Path>) -> Result<Dataset> {
        let other = match &self.kind {
            TaskKind::Language { .. } => Some("language models"),
            TaskKind::Extraction(_) => Some("answers in passages"),
            TaskKind::Classification(_) | TaskKind::Regression(_) => None,
        };
        if let Some(of) = other {
            let why = format!("its rows are for {of} (output_type = \"{}\")", self.output_type);
            return Err(Error::Unsupported {
                what: format!("classification on task \"{}\"", self.name),
                why,
            });
        }
        let reader = Reader { task: self, data };
        let found = self.domains.iter().map(|domain| reader.found(domain)).collect::<Result<Vec<_>>>()?;
        let labels = labels::of(self, &found)?;
        let mut notes = Vec::new();
        let mut splits = Vec::new();
        notes.extend(labels::alike(&labels, &found));
        for (domain, found) in self.domains.iter().zip(found) {
            splits.push(self.splits(domain, found, &labels, &mut notes)?);
        }
        let mut splits = splits.into_iter().zip(self.domains());
        let Some((mut first, name)) = splits.next() else {
            return Err(self.fault("domains", "one or more", "none"));
        };
        if first.validation.is_empty() {
            (first.train, first.validation) = self.held_out(first.train, |row| self.class(row))?;
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

    /// The rows of a domain with their labels' numbers.
    fn splits(
        &self,
        domain: &Source,
        found: Found,
        labels: &[String],
        notes: &mut Vec<String>,
    ) -> Result<Splits> {
        let [train, validation, test] = match found {
            Found::Files(files) => *files,
            Found::Builtin(splits) => {
                notes.push(splits.note);
                return Ok(Splits { train: splits.train, validation: splits.validation, test: splits.test });
            }
        };
        let train = self.numbered(labels, train, notes)?;
        let validation = self.numbered(labels, validation, notes)?;
        let test = self.numbered(labels, test, notes)?;
        match domain.test_share() {
            None => Ok(Splits { train, validation, test }),
            Some(share) => {
                let (train, test) = self.tested(&domain.name, share, train, |row| self.class(row), notes)?;
                Ok(Splits { train, validation, test })
            }
        }
    }

    /// A file's rows with their labels' numbers; none without a file.
    fn numbered(
        &self,
        labels: &[String],
        file: Option<FileRows>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Example>> {
        match file {
            Some(file) => labels::examples(self, labels, file, notes),
            None => Ok(Vec::new()),
        }
    }

    /// What of a row keeps its share in splits: its label, unless that is one of many numbers.
    fn class(&self, row: &Example) -> u32 {
        if self.is_regression() { 0 } else { row.label }
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
        let files = match &source.rows {
            Rows::Builtin(name) => return Ok(Some(vader::read(name)?.train)),
            Rows::Files(files) => files,
        };
        let Some(rows) = reader.rows(files, Split::Train)? else { return Ok(None) };
        let rows = labels::examples(self, labels, rows, notes)?;
        match files.test_share {
            None => Ok(Some(rows)),
            Some(share) => {
                let class = |row: &Example| self.class(row);
                Ok(Some(self.tested(domain, share, rows, class, &mut Vec::new())?.0))
            }
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

impl Source {
    /// The share of its training file that is its test, if there is one.
    fn test_share(&self) -> Option<TestShare> {
        match &self.rows {
            Rows::Files(files) => files.test_share,
            Rows::Builtin(_) => None,
        }
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
    Files(Box<[Option<FileRows>; 3]>),
}

impl Reader<'_> {
    fn found(&self, domain: &Source) -> Result<Found> {
        match &domain.rows {
            Rows::Builtin(name) => Ok(Found::Builtin(vader::read(name)?)),
            Rows::Files(files) => Ok(Found::Files(Box::new([
                self.rows(files, Split::Train)?,
                self.rows(files, Split::Validation)?,
                self.rows(files, Split::Test)?,
            ]))),
        }
    }

    /// The rows of the first of a split's files that is there; none if it has none.
    fn rows(&self, files: &Files, split: Split) -> Result<Option<FileRows>> {
        let paths = match split {
            Split::Train => &files.train,
            Split::Validation => &files.validation,
            Split::Test => &files.test,
        };
        if paths.is_empty() {
            return Ok(None);
        }
        let path = self.find(paths)?;
        let Some(columns) = self.task.kind.columns() else {
            return Err(self.task.fault("columns", "[columns] with text and label", "nothing"));
        };
        let mut found = rows::read(&path, &layout(columns, files, split))?;
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
        if let Some(other) = looked.iter().find(|path| path.exists()) {
            // A folder, a pipe or a device of that name.
            plain_file::open(other).map_err(Error::io("read", other))?;
        }
        let wanted = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ");
        Err(Error::MissingData { task: self.task.name.clone(), wanted, looked })
    }
}

/// A split of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Train,
    Validation,
    Test,
}

fn layout(columns: &Columns, files: &Files, split: Split) -> Layout {
    Layout {
        text: columns.text.clone(),
        text_pair: columns.text_pair.clone(),
        label: columns.label.clone(),
        // Scores are of rows that count alike, so the others need no weights.
        weight: columns.weight.clone().filter(|_| split == Split::Train),
        reading: Reading {
            format: files.format,
            encoding: files.encoding,
            header: columns.header.clone(),
            separator: files.separator,
            list: files.list.clone(),
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

#[cfg(test)]
mod hub;

#[cfg(test)]
mod tests;
