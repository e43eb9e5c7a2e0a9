//! Train, validation and test rows of a task whose domains are all files, whatever the rows are.

use super::Reader;
use crate::data::records::{Header, Reading};
use crate::task::{Files, Rows, Source, Task};
use crate::{Error, Result};
use std::path::PathBuf;

/// The rows of a task.
pub(super) struct Split<T> {
    pub train: Vec<T>,
    pub validation: Vec<T>,
    /// By domain: first the one that is trained on.
    pub tests: Vec<(String, Vec<T>)>,
}

impl Reader<'_> {
    /// All splits, each file's rows read by `rows`. Without a validation file a part of the training rows is held out.
    pub(super) fn split<T>(
        &self,
        rows: impl Fn(&Files, &[PathBuf], &mut Vec<String>) -> Result<Vec<T>>,
        hold_out: impl Fn(Vec<T>) -> (Vec<T>, Vec<T>),
        notes: &mut Vec<String>,
    ) -> Result<Split<T>> {
        let task = self.task;
        let Some((first, others)) = task.domains.split_first() else {
            return Err(task.fault("domains", "one or more", "none"));
        };
        let files = task.files(first)?;
        if files.train.is_empty() {
            let why = "it has no training file: a language model can only be asked about its rows".into();
            return Err(Error::Unsupported { what: format!("training on task \"{}\"", task.name), why });
        }
        let mut train = rows(files, &files.train, notes)?;
        let validation = match files.validation.as_slice() {
            [] => {
                task.check_hold_out(train.len())?;
                let (rest, validation) = hold_out(train);
                train = rest;
                let rows = validation.len();
                notes.push(format!("{}: {rows} validation rows are held out of train", first.name));
                validation
            }
            paths => rows(files, paths, notes)?,
        };
        let mut tests = Vec::new();
        for domain in std::iter::once(first).chain(others) {
            let files = task.files(domain)?;
            tests.push((domain.name.clone(), rows(files, &files.test, notes)?));
        }
        Ok(Split { train, validation, tests })
    }
}

impl Task {
    fn files<'a>(&self, domain: &'a Source) -> Result<&'a Files> {
        match &domain.rows {
            Rows::Files(files) => Ok(files),
            Rows::Builtin(name) => {
                Err(self.fault("domains", "files: the built-in rows are for classification", name))
            }
        }
    }
}

/// How a domain's files are read.
pub(super) fn reading(files: &Files, header: Header) -> Reading {
    Reading {
        format: files.format,
        encoding: files.encoding,
        header,
        extra_columns: false,
        keep: files.keep.clone(),
    }
}
