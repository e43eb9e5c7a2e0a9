//! Rows that do not fit: collected with their places, then refused together or, if the task says so, left out.

use super::records::Place;
use crate::words::be;
use crate::{Error, Result};
use std::path::Path;

/// Faulty rows that are shown; the others are counted.
const SHOWN: usize = 20;

/// What is done about a file with faulty rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// None of its rows is taken.
    #[default]
    Refuse,
    /// The others are, and it is said how many were left out.
    Skip,
}

impl Malformed {
    /// What a task file may say.
    pub(crate) const NAMES: [&str; 2] = ["refuse", "skip"];

    pub(crate) fn named(name: &str) -> Malformed {
        if name == "skip" { Malformed::Skip } else { Malformed::Refuse }
    }
}

/// The faulty rows of one file, and what else is odd about it.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    faults: Vec<(Place, String)>,
    remarks: Vec<String>,
}

impl Faulty {
    /// The row at `place`, or its fault kept. What is wrong with more than a row is an error at once.
    pub(crate) fn keep<T>(&mut self, place: Place, row: Result<T>) -> Result<Option<T>> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(Error::Malformed { place: words, expected, found, .. }) => {
                self.faults.push((place, format!("{words}: expected {expected}, found {found}")));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what a reader should know about a file that is taken all the same: a sentence that names the file.
    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// The remarks, which are then no longer kept.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// One line for each, with the file.
    pub(crate) fn lines(mut self, file: &Path) -> Vec<String> {
        self.faults.sort_by_key(|(place, _)| *place);
        self.faults.iter().map(|(_, fault)| format!("{}: {fault}", file.display())).collect()
    }

    /// Refuses the file of `good` rows and these; or the remarks, and in a sentence what was left out.
    pub(crate) fn settle(mut self, file: &Path, good: usize, malformed: Malformed) -> Result<Vec<String>> {
        let mut notes = self.take_remarks();
        if self.faults.is_empty() {
            return Ok(notes);
        }
        self.faults.sort_by_key(|(place, _)| *place);
        let (count, rows) = (self.faults.len(), self.faults.len() + good);
        let shown = self.faults.iter().take(SHOWN);
        match malformed {
            Malformed::Refuse => {
                let shown = shown.map(|(_, fault)| fault.clone()).collect();
                Err(Error::MalformedRows { file: file.to_owned(), count, rows, shown })
            }
            Malformed::Skip => {
                let mut places: Vec<String> = shown.map(|(place, _)| place.to_string()).collect();
                // A record may hold several rows.
                places.dedup();
                let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
                let (name, first) = (file.display(), &self.faults[0].1);
                notes.push(format!(
                    "{name}: {count} of {rows} rows {} malformed and left out: {}{more} (the first: {first})",
                    be(count),
                    places.join(", ")
                ));
                Ok(notes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(count: usize) -> Faulty {
        let mut faulty = Faulty::default();
        for line in (1..=count).rev() {
            let error = Error::malformed("a", format!("line {line}"), "a label", "none");
            assert!(faulty.keep::<()>(Place::Line(line), Err(error)).unwrap().is_none());
        }
        faulty
    }

    #[test]
    fn all_faults_are_counted_the_first_are_shown_and_the_way_on_is_named() {
        let error = faulty(25).settle(Path::new("a.tsv"), 75, Malformed::Refuse).unwrap_err().to_string();
        assert!(
            error.starts_with("a.tsv: 25 of 100 rows are malformed:\n  line 1: expected a label"),
            "{error}"
        );
        assert!(error.contains("\n  line 20: ") && !error.contains("line 21"), "{error}");
        assert!(error.contains("5 more") && error.contains("malformed = \"skip\""), "{error}");
    }

    #[test]
    fn what_is_left_out_is_said_and_nothing_else_is_kept_back() {
        let mut odd = faulty(21);
        odd.remark("a.tsv is odd".into());
        let notes = odd.settle(Path::new("a.tsv"), 9, Malformed::Skip).unwrap();
        let [remark, note] = notes.as_slice() else { panic!("{notes:?}") };
        assert_eq!(remark, "a.tsv is odd");
        assert!(
            note.starts_with("a.tsv: 21 of 30 rows are malformed and left out: line 1, line 2"),
            "{note}"
        );
        assert!(
            note.contains("line 20 and 1 more (the first: line 1: expected a label, found none)"),
            "{note}"
        );
        assert_eq!(faulty(0).settle(Path::new("a.tsv"), 3, Malformed::Refuse).unwrap(), Vec::<String>::new());
        let stopped = Faulty::default().keep::<()>(Place::Line(1), Err(Error::Interrupted));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
