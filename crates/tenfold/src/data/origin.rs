//! Where rows come from: a file and a place in it, carried along so that what is wrong with a row later names it.

use super::records::Place;
use super::{Example, Row};
use sha2::Sha256;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file and a place in it: "train.jsonl, line 7".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    file: Arc<PathBuf>,
    place: Place,
}

impl Origin {
    pub(crate) fn new(file: &Arc<PathBuf>, place: Place) -> Origin {
        Origin { file: file.clone(), place }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The place in it: "line 7", "element 3", "row group 1, row 2".
    pub fn place(&self) -> String {
        self.place.to_string()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, {}", self.file.display(), self.place)
    }
}

/// A row and where it stands. Rows are compared by what they hold, wherever they stand.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The row.
    pub row: T,
    /// Where it stands.
    pub origin: Origin,
}

impl<T> Located<T> {
    /// What `change` makes of the row, in the same place.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { row: change(self.row), origin: self.origin }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.row
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Located<T>) -> bool {
        self.row == other.row
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: Row> Row for Located<T> {
    const SHARED: &'static str = T::SHARED;
    type Shared<'a>
        = T::Shared<'a>
    where
        T: 'a;

    fn shared(&self) -> T::Shared<'_> {
        self.row.shared()
    }

    fn drawn(&self) -> Example {
        self.row.drawn()
    }

    fn class(&self) -> u32 {
        self.row.class()
    }

    fn split_hash(&self, purpose: &str) -> [u8; 32] {
        self.row.split_hash(purpose)
    }

    fn put(&self, hash: &mut Sha256) {
        self.row.put(hash);
    }
}
