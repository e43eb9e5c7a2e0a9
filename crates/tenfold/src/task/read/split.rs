//! Train, validation and test rows of a task whose domains are all files, whatever the rows are.

use super::Reader;
use crate::Result;
use crate::data::records::{Header, Reading};
use crate::data::{Domain, Row, Splits, TestShare, hold_out};
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
        let mut own_test = None;
        if let Some(share) = files.test_share {
            let (rest, test) = task.tested(&first.name, share, train, T::class, notes)?;
            (train, own_test) = (rest, Some(test));
        }
        let validation = match files.validation.as_slice() {
            [] if files.train.is_empty() => Vec::new(),
            [] => {
                let (rest, validation) = task.held_out(train, T::class)?;
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
            let examples = match (own_test.take(), files.test_share) {
                (Some(test), _) => test,
                (None, Some(share)) => {
                    let all = rows(files, &files.train, notes)?;
                    task.tested(&domain.name, share, all, T::class, notes)?.1
                }
                (None, None) => rows(files, &files.test, notes)?,
            };
            tests.push(Domain { name: domain.name.clone(), examples: as_asked(examples) });
        }
        Ok(Splits::new(train, as_asked(validation), tests, std::mem::take(notes)))
    }

    /// The training rows of a further domain, read by `rows`; `None` if it has none.
    pub(super) fn training<T: Row>(
        &self,
        domain: &str,
        rows: impl FnOnce(&Files, &[PathBuf]) -> Result<Vec<T>>,
    ) -> Result<Option<Vec<T>>> {
        let Some(source) = self.task.domains.iter().skip(1).find(|source| source.name == domain) else {
            return Ok(None);
        };
        let files = self.task.files(source)?;
        if files.train.is_empty() {
            return Ok(None);
        }
        let all = rows(files, &files.train)?;
        match files.test_share {
            Some(share) => Ok(Some(self.task.tested(domain, share, all, T::class, &mut Vec::new())?.0)),
            None => Ok(Some(all)),
        }
    }
}

impl Task {
    /// Takes validation rows out of those to train on, so that a row of each class stays. Refused where rows are so few or
    /// so alike that none or most of them would go.
    pub(super) fn held_out<T: Row>(
        &self,
        train: Vec<T>,
        class: impl Fn(&T) -> u32,
    ) -> Result<(Vec<T>, Vec<T>)> {
        let all = train.len();
        let refused = |expected: &str, found: &str| Err(self.fault("domains[0].train", expected, found));
        if all < FEWEST_TO_HOLD_OUT {
            let expected = format!("{FEWEST_TO_HOLD_OUT} training rows or more, or a validation file");
            return refused(&expected, &format!("{all} rows"));
        }
        let (train, validation) = hold_out(train, class);
        let (held, shared) = (validation.len(), T::SHARED);
        if held > train.len() {
            let expected =
                format!("a validation file beside it, as rows that share {shared} are held out together");
            return refused(&expected, &format!("{held} of {all} rows held out"));
        }
        if held == 0 {
            let expected = format!(
                "a validation file beside it: rows that share {shared} are held out together, and a row of each label \
                 stays in training"
            );
            return refused(&expected, &format!("none of {all} rows that can be held out"));
        }
        Ok((train, validation))
    }

    /// Takes the test rows of a domain that has a share of its training file for a test, and notes it.
    pub(super) fn tested<T: Row>(
        &self,
        domain: &str,
        share: TestShare,
        rows: Vec<T>,
        class: impl Fn(&T) -> u32,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<T>, Vec<T>)> {
        let all = rows.len();
        let TestShare { fraction, seed } = share;
        let (train, test) = share.split(rows, class);
        if train.is_empty() || test.is_empty() {
            let expected = format!(
                "rows to test on and rows to train on: rows that share {} stay together, and a row of each label stays in \
                 training",
                T::SHARED
            );
            let found = format!("{} of {all} rows to test on", test.len());
            return Err(self.fault(&format!("domain \"{domain}\", test_fraction"), &expected, &found));
        }
        notes.push(format!(
            "{domain}: {} of {all} rows of train are its test (test_fraction = {fraction}, test_seed = {seed})",
            test.len()
        ));
        Ok((train, test))
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
        separator: files.separator,
        list: files.list.clone(),
        keep: files.keep.clone(),
        ..Reading::with(header)
    }
}
