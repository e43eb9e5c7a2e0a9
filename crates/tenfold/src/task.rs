//! A task: labelled rows with a name, a source and a score. One file in `tasks/`, versioned data without code; docs/tasks.md
//! lists its keys.
//!
//! ```toml
//! name = "support"
//! output_type = "classification"
//! metric = "accuracy"
//!
//! [columns]
//! text = "message"
//! label = "kind"
//!
//! [[domains]]
//! name = "mail"
//! train = "mail/train.csv"
//! test = "mail/test.csv"
//! ```
//!
//! Paths are relative to the folder that `TENFOLD_DATA` names, or else to the task file's own.

mod extraction;
mod group;
mod kind;
mod parse;
mod questions;
mod read;

pub use extraction::Extraction;
pub use group::Group;
pub(crate) use kind::TaskKind;
pub use questions::{OutputType, QuestionMetric, Questions};
pub use read::QuestionSet;

use crate::data::faulty::Malformed;
use crate::data::language::Template;
use crate::data::language::read::Shape;
use crate::data::records::{Column, Format, Header};
use crate::data::rows::Field;
use crate::data::{Encoding, TestShare, read_text};
use crate::plain_file;
use crate::score::{Scoring, scoring};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A task as its file states it; [`Task::read`] reads the rows.
#[derive(Debug, Clone)]
pub struct Task {
    /// The name it is asked for by.
    pub name: String,
    /// One line for people; its name, where the file has no title.
    pub title: String,
    /// Who published the rows; empty where the file does not say.
    pub source: String,
    /// The rows' licence; empty where the file does not say.
    pub licence: String,
    /// What the model puts out: "classification", "regression", "extractive"; of language models "generate_until" or "loglikelihood_rolling".
    pub output_type: String,
    /// How it is scored: a name in [`crate::score::SCORINGS`].
    pub metric: String,
    /// The labels in the order of their numbers; without them, those of the training file, sorted.
    pub labels: Option<Vec<String>>,
    malformed: Malformed,
    file: PathBuf,
    folder: Option<PathBuf>,
    kind: TaskKind,
    domains: Vec<Source>,
}

/// The output type of tasks whose labels are numbers.
const REGRESSION: &str = "regression";
/// The output type of tasks whose answers are parts of passages.
const EXTRACTIVE: &str = "extractive";

/// The files that make up the built-in tasks, each by the name it is shown under in errors.
const BUILTIN: &[(&str, &str)] = &[
    ("tasks/vader.toml", include_str!("../../../tasks/vader.toml")),
    ("tasks/film_reviews.toml", include_str!("../../../tasks/film_reviews.toml")),
    ("tasks/sst2.toml", include_str!("../../../tasks/sst2.toml")),
    ("tasks/banking77.toml", include_str!("../../../tasks/banking77.toml")),
    ("tasks/boolq.toml", include_str!("../../../tasks/boolq.toml")),
    ("tasks/cb.toml", include_str!("../../../tasks/cb.toml")),
    ("tasks/copa.toml", include_str!("../../../tasks/copa.toml")),
    ("tasks/multirc.toml", include_str!("../../../tasks/multirc.toml")),
    ("tasks/record.toml", include_str!("../../../tasks/record.toml")),
    ("tasks/sglue_rte.toml", include_str!("../../../tasks/sglue_rte.toml")),
    ("tasks/wic.toml", include_str!("../../../tasks/wic.toml")),
    ("tasks/wsc.toml", include_str!("../../../tasks/wsc.toml")),
    ("tasks/mmlu.toml", include_str!("../../../tasks/mmlu.toml")),
    ("tasks/glue_cola.toml", include_str!("../../../tasks/glue_cola.toml")),
    ("tasks/glue_mrpc.toml", include_str!("../../../tasks/glue_mrpc.toml")),
    ("tasks/glue_stsb.toml", include_str!("../../../tasks/glue_stsb.toml")),
    ("tasks/glue_qqp.toml", include_str!("../../../tasks/glue_qqp.toml")),
    ("tasks/glue_mnli.toml", include_str!("../../../tasks/glue_mnli.toml")),
    ("tasks/glue_qnli.toml", include_str!("../../../tasks/glue_qnli.toml")),
    ("tasks/glue_rte.toml", include_str!("../../../tasks/glue_rte.toml")),
    ("tasks/glue_wnli.toml", include_str!("../../../tasks/glue_wnli.toml")),
    ("tasks/superglue_boolq.toml", include_str!("../../../tasks/superglue_boolq.toml")),
    ("tasks/superglue_cb.toml", include_str!("../../../tasks/superglue_cb.toml")),
    ("tasks/superglue_rte.toml", include_str!("../../../tasks/superglue_rte.toml")),
    ("tasks/superglue_wic.toml", include_str!("../../../tasks/superglue_wic.toml")),
    ("tasks/superglue_wsc.toml", include_str!("../../../tasks/superglue_wsc.toml")),
    ("tasks/superglue_copa.toml", include_str!("../../../tasks/superglue_copa.toml")),
    ("tasks/superglue_multirc.toml", include_str!("../../../tasks/superglue_multirc.toml")),
    ("tasks/superglue_record.toml", include_str!("../../../tasks/superglue_record.toml")),
    ("tasks/squad.toml", include_str!("../../../tasks/squad.toml")),
    ("tasks/squad2.toml", include_str!("../../../tasks/squad2.toml")),
    ("tasks/squad_lm.toml", include_str!("../../../tasks/squad_lm.toml")),
    ("tasks/squad2_lm.toml", include_str!("../../../tasks/squad2_lm.toml")),
    ("tasks/gsm8k.toml", include_str!("../../../tasks/gsm8k.toml")),
    ("tasks/arc_easy.toml", include_str!("../../../tasks/arc_easy.toml")),
    ("tasks/arc_challenge.toml", include_str!("../../../tasks/arc_challenge.toml")),
    ("tasks/hellaswag.toml", include_str!("../../../tasks/hellaswag.toml")),
    ("tasks/piqa.toml", include_str!("../../../tasks/piqa.toml")),
    ("tasks/winogrande.toml", include_str!("../../../tasks/winogrande.toml")),
    ("tasks/openbookqa.toml", include_str!("../../../tasks/openbookqa.toml")),
    ("tasks/truthfulqa_mc1.toml", include_str!("../../../tasks/truthfulqa_mc1.toml")),
    ("tasks/truthfulqa_mc2.toml", include_str!("../../../tasks/truthfulqa_mc2.toml")),
    ("tasks/wikitext.toml", include_str!("../../../tasks/wikitext.toml")),
    ("tasks/e2e_nlg.toml", include_str!("../../../tasks/e2e_nlg.toml")),
    ("tasks/banking77_lm.toml", include_str!("../../../tasks/banking77_lm.toml")),
];

/// The tasks that need no file of the user's; the rows of some must be fetched from their publisher first.
pub fn builtin() -> Result<Vec<Task>> {
    BUILTIN.iter().map(|(file, content)| parse::parse(Path::new(file), None, content)).collect()
}

impl Task {
    /// The built-in task of that name, or the task in the file at that path.
    pub fn load(name_or_path: &str) -> Result<Task> {
        let builtin = builtin()?;
        let names: Vec<String> = builtin.iter().map(|task| task.name.clone()).collect();
        if let Some(task) = builtin.into_iter().find(|task| task.name == name_or_path) {
            return Ok(task);
        }
        let path = Path::new(name_or_path);
        let is_path = path.components().count() > 1 || path.extension().is_some_and(|end| end == "toml");
        if !is_path && !path.is_file() {
            return Err(Error::unknown("task", name_or_path, names.iter().map(String::as_str)));
        }
        let content = read_text(path, plain_file::SETTINGS)?;
        parse::parse(path, path.parent(), &content)
    }

    /// What becomes of rows that do not fit.
    pub(crate) fn malformed(&self) -> Malformed {
        self.malformed
    }

    /// What its rows are.
    pub(crate) fn kind(&self) -> &TaskKind {
        &self.kind
    }

    /// Whether its rows are for language models: then [`Task::read_language`] reads them, else [`Task::read`].
    pub fn is_language(&self) -> bool {
        matches!(self.kind, TaskKind::Language { .. })
    }

    /// How a language model is asked about its rows, where more than their loss is looked at.
    pub fn questions(&self) -> Option<&Questions> {
        match &self.kind {
            TaskKind::Language { questions, .. } => questions.as_deref(),
            _ => None,
        }
    }

    /// How answers are found in passages, where its rows are such: then [`Task::read_passages`] reads them.
    pub fn extraction(&self) -> Option<&Extraction> {
        match &self.kind {
            TaskKind::Extraction(extraction) => Some(extraction),
            _ => None,
        }
    }

    /// The same task with these domains alone, in the task's order.
    pub fn only(mut self, domains: &[String]) -> Result<Task> {
        for name in domains {
            if !self.domains().any(|known| known == name) {
                return Err(Error::unknown("domain", name, self.domains()));
            }
        }
        self.domains.retain(|domain| domains.is_empty() || domains.contains(&domain.name));
        Ok(self)
    }

    /// Whether its labels are numbers, of which one is foretold.
    pub fn is_regression(&self) -> bool {
        matches!(self.kind, TaskKind::Regression(_))
    }

    /// How its answers are scored in a study.
    pub fn scoring(&self) -> Result<&'static Scoring> {
        self.scoring_as(self.questions())
    }

    /// The same where a head judges each choice.
    pub(crate) fn judged_scoring(&self) -> Result<&'static Scoring> {
        self.scoring_as(self.questions().map(Questions::judged).as_ref())
    }

    fn scoring_as(&self, questions: Option<&Questions>) -> Result<&'static Scoring> {
        match questions {
            None => scoring(&self.metric),
            Some(questions) => match questions.metrics.first().and_then(|metric| metric.scoring()) {
                Some(name) => scoring(name),
                None => Err(Error::Unsupported {
                    what: format!("a study by {}", self.metric),
                    why: "`tenfold eval` alone computes it; take another of the task's metrics as its first"
                        .into(),
                }),
            },
        }
    }

    /// The names of the domains: first the one that is trained on.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|domain| domain.name.as_str())
    }
}

/// Where the fields of labelled rows are.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    text: Field,
    text_pair: Option<Field>,
    label: Vec<Column>,
    /// What training rows weigh in the loss; none: all the same.
    weight: Option<Vec<Column>>,
    header: Header,
    extra_columns: bool,
}

/// What the rows of a language task are.
#[derive(Debug, Clone)]
pub(crate) struct Language {
    shape: Shape,
    header: Header,
}

#[derive(Debug, Clone)]
struct Source {
    name: String,
    rows: Rows,
}

#[derive(Debug, Clone)]
enum Rows {
    Builtin(String),
    Files(Box<Files>),
}

/// Each list holds the paths to look at, in order; an empty one means that there is no such split.
#[derive(Debug, Clone)]
struct Files {
    train: Vec<PathBuf>,
    validation: Vec<PathBuf>,
    test: Vec<PathBuf>,
    /// Which share of `train` is the test instead.
    test_share: Option<TestShare>,
    /// Where worked examples come from, if not from `train`.
    fewshot: Vec<PathBuf>,
    format: Option<Format>,
    encoding: Encoding,
    /// What separates the fields of a table that is read as CSV; none: a comma.
    separator: Option<u8>,
    /// Where in a JSON document the list of records is; none: it is the document, or its lines.
    list: Option<String>,
    /// Which of a file's records are the domain's; none: all.
    keep: Option<Template>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_tasks_are_well_formed_and_found_by_name() {
        for task in builtin().unwrap() {
            let found = Task::load(&task.name).unwrap();
            assert_eq!((found.title, found.licence.is_empty()), (task.title, false));
        }
        assert_eq!(
            Task::load("vader").unwrap().domains().collect::<Vec<_>>(),
            ["movie", "amazon", "nyt", "tweets"]
        );
    }

    #[test]
    fn an_unknown_task_is_refused_with_the_nearest_name_and_a_missing_file_with_its_path() {
        assert!(Task::load("vaderr").unwrap_err().to_string().contains("did you mean \"vader\"?"));
        assert!(Task::load("no/such.toml").unwrap_err().to_string().starts_with("cannot read no/such.toml"));
    }

    #[test]
    fn the_built_in_rows_make_a_dataset() {
        let dataset = Task::load("vader").unwrap().read().unwrap();
        assert_eq!(dataset.labels, ["negative", "positive"]);
        assert_eq!((dataset.train.len(), dataset.validation.len()), (7671, 500));
        let tests: Vec<_> =
            dataset.tests.iter().map(|test| (test.name.as_str(), test.examples.len())).collect();
        assert_eq!(tests, [("movie", 1000), ("amazon", 1000), ("nyt", 1000), ("tweets", 1000)]);
        assert_eq!(dataset.notes.len(), 4);
    }
}
