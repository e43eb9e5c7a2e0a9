//! What the rows of a task are, and what is said of them.

use super::{Columns, Extraction, Language, Questions};

/// The kinds of tasks, each with what its file says of its rows.
#[derive(Debug, Clone)]
pub(crate) enum TaskKind {
    /// A text, or a pair of texts, has one of several labels. Without columns the rows are built in.
    Classification(Option<Columns>),
    /// A text, or a pair of texts, has a number.
    Regression(Option<Columns>),
    /// The answer to a question is a part of a passage.
    Extraction(Extraction),
    /// A language model goes on from what it reads.
    Language {
        /// What a row is.
        rows: Box<Language>,
        /// How it is asked, where more than the loss of its rows is looked at.
        questions: Option<Box<Questions>>,
    },
}

impl TaskKind {
    /// Where the fields of labelled rows are.
    pub fn columns(&self) -> Option<&Columns> {
        match self {
            TaskKind::Classification(columns) | TaskKind::Regression(columns) => columns.as_ref(),
            TaskKind::Extraction(_) | TaskKind::Language { .. } => None,
        }
    }
}
