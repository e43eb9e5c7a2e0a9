//! From a task and a model to rows as the model reads them: one way for each kind of task.

use super::{Base, choices, labelled, language, passages};
use crate::adapter::file::Reads;
use crate::data::Example;
use crate::data::language::Question;
use crate::data::{PassageQuestion, Splits};
use crate::error::Result;
use crate::progress::{Progress, told_if_slow};
use crate::record::DataIdentity;
use crate::score::Scoring;
use crate::study::config::Study;
use crate::task::{Extraction, Questions, Task, TaskKind};
use crate::train::{Rows, Target};
use std::sync::{Arc, Mutex};

/// A task's rows as a model reads them, and what a study has to know of them.
pub(in crate::study) struct PreparedTask {
    pub data_identity: DataIdentity,
    /// What a row is.
    pub reads: Reads,
    /// The labels' names, one for each output of the head.
    pub labels: Vec<String>,
    /// The number that each label stands for, where numbers are foretold.
    pub values: Vec<f64>,
    /// What answers are worth.
    pub scoring: &'static Scoring,
    /// Who published the rows, and under which licence.
    pub source: String,
    /// What is trained on, each row or question by its text and label, of which small draws are made.
    pub train_examples: Vec<Example>,
    pub train: Rows,
    pub validation: Rows,
    pub tests: Vec<(String, Rows)>,
    /// Rows of several domains to train on, where the study has a mixture, and their SHA-256.
    pub mixture: Rows,
    pub mixture_sha256: String,
    /// The general text on which forgetting is measured.
    pub general: General,
    /// Tokens of a row at the most.
    pub length: usize,
    /// What users would send, for latency.
    pub requests: Requests,
    /// What a reader of the results should know about the rows.
    pub notes: Vec<String>,
    /// What makes scores on them doubtful: sentences without a full stop.
    pub doubts: Vec<String>,
}

/// Rows as users would send them.
pub(in crate::study) enum Requests {
    /// Texts, or pairs of them, to be labelled.
    Texts(Vec<Example>),
    /// Questions with choices to be judged.
    Choices(Arc<Questions>, Vec<Question>),
    /// Questions about passages.
    Passages(Extraction, Vec<PassageQuestion>),
}

/// A text that is not of the task, and what the base model makes of it.
#[derive(Default)]
pub(in crate::study) struct General {
    pub(super) rows: Rows,
    /// SHA-256 of the text, hexadecimal; empty where there is none.
    pub sha256: String,
    pub(super) base: Mutex<Option<f64>>,
}

/// What is prepared, and for what.
pub(super) struct Preparing<'a> {
    pub study: &'a Study,
    pub base: &'a Base,
    pub task: &'a Task,
    pub part: Part,
    /// Tokens of a row at the most.
    pub length: usize,
    pub progress: &'a dyn Progress,
}

/// The part that a task plays in a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The one that methods are compared on, with further domains and a mixture.
    Main,
    /// A standard benchmark: its own rows alone, all of its tests.
    Benchmark,
}

impl Preparing<'_> {
    /// How many rows to train on, to validate by and to test on in each domain; 0 for all.
    pub fn counts(&self) -> [usize; 3] {
        let Study { train_rows, validation_rows, test_rows, .. } = *self.study;
        [train_rows, validation_rows, if self.part == Part::Main { test_rows } else { 0 }]
    }

    /// Whether a head judges what a language model is asked.
    fn has_head(&self) -> bool {
        !self.base.model.task().is_language_modelling()
    }
}

/// Rows of a study, encoded.
pub(super) struct Encoded {
    pub train: Rows,
    pub validation: Rows,
    pub tests: Vec<(String, Rows)>,
    pub mixture: Rows,
    pub mixture_sha256: String,
    /// What makes scores on these rows doubtful: sentences.
    pub doubts: Vec<String>,
}

impl Encoded {
    /// How many rows to train on and to test on were cut.
    pub fn truncated(&self) -> usize {
        self.train.truncated() + self.tests.iter().map(|(_, rows)| rows.truncated()).sum::<usize>()
    }
}

/// Reads and encodes the rows of a task for a model.
pub(super) fn prepare(preparing: &Preparing) -> Result<PreparedTask> {
    let Preparing { task, base, .. } = preparing;
    let title = format!("reading and encoding the rows of {}", task.name);
    let prepared = told_if_slow(preparing.progress, &title, || match task.kind() {
        TaskKind::Classification(_) | TaskKind::Regression(_) => labelled::prepare(preparing),
        TaskKind::Extraction(extraction) => passages::prepare(preparing, *extraction),
        TaskKind::Language { questions, .. } if preparing.has_head() => {
            choices::prepare(preparing, questions.as_deref())
        }
        TaskKind::Language { .. } => language::prepare(preparing),
    })?;
    let mut notes = prepared.notes;
    notes.extend(base.notes.iter().filter(|_| preparing.part == Part::Main).cloned());
    let asked = task.questions().filter(|_| !preparing.has_head());
    notes.extend(asked.and_then(Questions::compared_by).map(|by| format!("{}: {by}", task.name)));
    Ok(PreparedTask { notes, ..prepared })
}

impl PreparedTask {
    /// Encoded rows with what is the same for every kind of task. Of each kind's own there is nothing yet: no labels, no
    /// examples, no requests.
    pub(super) fn of<T>(preparing: &Preparing, data: Splits<T>, encoded: Encoded) -> Result<PreparedTask> {
        let task = preparing.task;
        let scoring = if preparing.has_head() { task.judged_scoring()? } else { task.scoring()? };
        let said = [task.source.as_str(), &task.licence].into_iter().filter(|said| !said.is_empty());
        let scored = |rows: Rows| rows.scored_by(scoring);
        Ok(PreparedTask {
            data_identity: DataIdentity { task: task.name.clone(), sha256: data.sha256 },
            reads: Reads::Text,
            labels: Vec::new(),
            values: Vec::new(),
            scoring,
            source: said.collect::<Vec<_>>().join("; "),
            train_examples: Vec::new(),
            train: scored(encoded.train),
            validation: scored(encoded.validation),
            tests: encoded.tests.into_iter().map(|(name, rows)| (name, scored(rows))).collect(),
            mixture: scored(encoded.mixture),
            mixture_sha256: encoded.mixture_sha256,
            general: General::default(),
            length: preparing.length,
            requests: Requests::Texts(Vec::new()),
            notes: data.notes,
            doubts: encoded.doubts,
        })
    }

    /// What is to be said of a row with that label.
    pub(super) fn target(&self, label: u32) -> Target {
        labelled::target(&self.values, label)
    }
}

impl Requests {
    /// The request of that number as the model reads it, tokens and all; `None` if there are none.
    pub(in crate::study) fn rows(
        &self,
        base: &Base,
        task: &PreparedTask,
        number: usize,
    ) -> Result<Option<Rows>> {
        fn at<T: Clone>(all: &[T], number: usize) -> Option<Vec<T>> {
            (!all.is_empty()).then(|| vec![all[number % all.len()].clone()])
        }
        let (tokenizer, length) = (&*base.tokenizer, task.length);
        match self {
            Requests::Texts(examples) => at(examples, number)
                .map(|one| Rows::encode_as(tokenizer, &one, length, |label| task.target(label)))
                .transpose(),
            Requests::Choices(questions, asked) => {
                at(asked, number).map(|one| Rows::choices(tokenizer, questions, one, length)).transpose()
            }
            Requests::Passages(extraction, asked) => {
                at(asked, number).map(|one| Rows::windows(tokenizer, extraction, one, length)).transpose()
            }
        }
    }

    /// Whether there are none.
    pub(in crate::study) fn is_empty(&self) -> bool {
        match self {
            Requests::Texts(examples) => examples.is_empty(),
            Requests::Choices(_, asked) => asked.is_empty(),
            Requests::Passages(_, asked) => asked.is_empty(),
        }
    }
}
