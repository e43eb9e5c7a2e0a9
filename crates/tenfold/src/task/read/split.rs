//! Train, validation and test rows of a task whose domains are all files, whatever the rows are.

use super::Reader;
use crate::Result;
use crate::data::records::{Header, Reading};
use crate::data::{Domain, Row, Splits};
use crate::task::{Files, Rows, Source, Task};
use std::path::PathBuf;

/// With fewer training rows and no validation file there is nothing to hold out.
const FEWEST_TO_HOLD_OUT: usize = 10;

impl Reader<'_> {
    /// All splits, each file's rows read by `rows`. Without a validation file a part of the training rows is held out; a
    /// task without a training file has tests alone.
    pub(super) fn split<T: Row>(
        &self,
        rows: impl Fn(&Files, &[PathBuf], &mut Vec<String>) -> Result<Vec<T>>,
        hold_out: impl Fn(Vec<T>) -> (Vec<T>, Vec<T>),
        as_asked: impl Fn(Vec<T>) -> Vec<T>,
    ) -> Result<Splits<T>> {
        let notes = &mut Vec::new();
        let task = self.task;
        let Some((first, others)) = task.domains.split_first() else {
            return Err(task.fault("domains", "one or more", "none"));
        };
        let files = task.files(first)?;
        let mut train = match files.train.as_slice() {
            [] => Vec::new(),
            paths => rows(files, paths, notes)?,
        };
        let validation = match files.validation.as_slice() {
            [] if files.train.is_empty() => Vec::new(),
            [] => {
                let (rest, validation) = task.held_out(train, &hold_out)?;
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
            tests.push(Domain {
                name: domain.name.clone(),
                examples: as_asked(rows(files, &files.test, notes)?),
            });
        }
        Ok(Splits::new(train, as_asked(validation), tests, std::mem::take(notes)))
    }

    /// The training rows of a further domain, read by `rows`; `None` if it has none.
    pub(super) fn training<T>(
        &self,
        domain: &str,
        rows: impl FnOnce(&Files, &[PathBuf]) -> Result<Vec<T>>,
    ) -> Result<Option<Vec<T>>> {
        let Some(source) = self.task.domains.iter().skip(1).find(|source| source.name == domain) else {
            return Ok(None);
        };
        match self.task.files(source)? {
            files if files.train.is_empty() => Ok(None),
            files => rows(files, &files.train).map(Some),
        }
    }
}

impl Task {
    /// Takes validation rows out of those to train on. Refused where most rows are so alike that they would go with them.
    pub(super) fn held_out<T: Row>(
        &self,
        train: Vec<T>,
        hold_out: impl Fn(Vec<T>) -> (Vec<T>, Vec<T>),
    ) -> Result<(Vec<T>, Vec<T>)> {
        let all = train.len();
        let refused = |expected: &str, found: &str| Err(self.fault("domains[0].train", expected, found));
        if all < FEWEST_TO_HOLD_OUT {
            let expected = format!("{FEWEST_TO_HOLD_OUT} training rows or more, or a validation file");
            return refused(&expected, &format!("{all} rows"));
        }
        let (train, validation) = hold_out(train);
        let held = validation.len();
        if held > train.len() {
            let shared = T::SHARED;
            let expected =
                format!("a validation file beside it, as rows that share {shared} are held out together");
            return refused(&expected, &format!("{held} of {all} rows held out"));
        }
        Ok((train, validation))
    }

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
