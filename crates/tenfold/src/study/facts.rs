//! `facts.json`: what a study's model and data are. With the study and the records it is all that a report needs, so that
//! a report is made without the model and the data, on any machine, also while the run goes on.

use super::benchmarks::Benchmarks;
use super::config::Study;
use super::plan::CODE;
use super::session::Session;
use super::store::RunFolder;
use crate::atomic;
use crate::data::hexadecimal;
use crate::error::{Error, Result};
use crate::plain_file;
use crate::record::{DataIdentity, ModelIdentity};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::Path;

/// The file's name, in the run's folder.
pub(super) const FACTS: &str = "facts.json";

/// Version of the file's schema.
const SCHEMA: u32 = 1;

/// What decides a study's trials besides its settings, and what a report says of the model and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// [`SCHEMA`] of the writer.
    schema: u32,
    /// Version of the code that runs the trials; a part of their names.
    pub code: String,
    /// The base model.
    pub model: ModelIdentity,
    /// The model's family: "bert".
    pub family: String,
    /// The study's own task.
    pub task: TaskFacts,
    /// Standard benchmarks whose rows are here.
    pub benchmarks: Vec<TaskFacts>,
    /// Tasks to ask without training on them whose rows are here.
    pub asked: Vec<AskedFacts>,
    /// Benchmarks that are not run, by name, each with the reason.
    pub absent_benchmarks: Vec<(String, String)>,
    /// Why forgetting is not measured; empty where it is.
    pub forgetting: String,
    /// What a reader should know about the rows: sentences without a full stop.
    pub notes: Vec<String>,
    /// What makes scores on them doubtful: sentences without a full stop.
    pub doubts: Vec<String>,
}

/// A task's rows, as far as trials and reports depend on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TaskFacts {
    /// Which rows.
    pub data: DataIdentity,
    /// Who published them, and under which licence.
    pub source: String,
    /// The labels' names by their numbers; empty where answers are no labels.
    pub labels: Vec<String>,
    /// How answers are scored: a name in [`crate::score::SCORINGS`].
    pub metric: String,
    /// Training questions; a question has one row or several.
    pub train: usize,
    /// Rows of which small draws are made.
    pub examples: usize,
    /// Validation questions.
    pub validation: usize,
    /// Test questions by domain, the one trained on first.
    pub tests: Vec<(String, usize)>,
    /// Questions of the mixture of domains; 0 without one.
    pub mixture: usize,
    /// SHA-256 of the mixture's rows; empty without one.
    pub mixture_sha256: String,
    /// SHA-256 of the text on which forgetting is measured; empty without one.
    pub general_text: String,
}

/// A task that models are asked without being trained on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AskedFacts {
    /// The task's name.
    pub name: String,
    /// SHA-256 of all that is asked.
    pub sha256: String,
}

impl Facts {
    /// The facts of a study whose model and data are open.
    pub(super) fn of(study: &Study, session: &Session, benchmarks: &Benchmarks) -> Facts {
        Facts {
            schema: SCHEMA,
            code: CODE.into(),
            model: session.base.identity.clone(),
            family: session.base.model.family().into(),
            task: TaskFacts::of(session),
            benchmarks: benchmarks.sessions.iter().map(TaskFacts::of).collect(),
            asked: benchmarks.asked.iter().map(|asking| asking.facts()).collect(),
            absent_benchmarks: benchmarks.absent.clone(),
            forgetting: forgetting(study, session),
            notes: session.task.notes.iter().cloned().chain(benchmarks.notes()).collect(),
            doubts: session.task.doubts.clone(),
        }
    }

    /// The facts in a run's folder; `None` if there are none.
    pub(super) fn read(folder: &RunFolder) -> Result<Option<Facts>> {
        let path = folder.file(FACTS);
        let text = match plain_file::read_own_text(&path, plain_file::RECORD) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let malformed = |expected: &str, found: String| Error::malformed(&path, "the file", expected, found);
        let facts: Facts = serde_json::from_str(&text).map_err(|error| {
            malformed("the facts of a run, as `tenfold run` writes them", error.to_string())
        })?;
        if facts.schema != SCHEMA {
            let expected = format!("schema {SCHEMA}; another version of Tenfold wrote this run");
            return Err(malformed(&expected, format!("schema {}", facts.schema)));
        }
        Ok(Some(facts))
    }

    /// The facts of a run that a report is to be made of.
    pub(super) fn of_run(folder: &RunFolder) -> Result<Facts> {
        Facts::read(folder)?.ok_or_else(|| Error::WithoutFacts { folder: folder.path().to_owned() })
    }

    /// Writes the file, where it does not hold the same already.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        let there = plain_file::read_own(path, plain_file::RECORD).ok();
        if there.is_some_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        atomic::write(path, text.as_bytes())
    }
}

impl AskedFacts {
    /// What decides the answers of a model that was trained on these rows.
    pub(super) fn data(&self, trained_on: &DataIdentity) -> DataIdentity {
        let both = format!("{} {} {}", trained_on.task, trained_on.sha256, self.sha256);
        DataIdentity { task: self.name.clone(), sha256: hexadecimal(&Sha256::digest(both)) }
    }
}

impl TaskFacts {
    /// How many rows there are of each kind, and the hashes of those that the data's own does not cover.
    pub(super) fn rows(&self) -> Value {
        json!({
            "train": self.train,
            "validation": self.validation,
            "tests": self.tests,
            "mixture": self.mixture,
            "mixture_sha256": self.mixture_sha256,
            "general_text": self.general_text,
        })
    }

    fn of(session: &Session) -> TaskFacts {
        let tests = session.task.tests.iter().map(|(name, rows)| (name.clone(), rows.questions()));
        TaskFacts {
            data: session.task.data_identity.clone(),
            source: session.task.source.clone(),
            labels: session.task.labels.clone(),
            metric: session.task.scoring.name.to_owned(),
            train: session.task.train.questions(),
            examples: session.task.train_examples.len(),
            validation: session.task.validation.questions(),
            tests: tests.collect(),
            mixture: session.task.mixture.questions(),
            mixture_sha256: session.task.mixture_sha256.clone(),
            general_text: session.task.general.sha256.clone(),
        }
    }
}

/// Why forgetting is not measured; empty where it is.
fn forgetting(study: &Study, session: &Session) -> String {
    let task = session.base.model.task();
    let reason = match (task.is_language_modelling(), study.forgetting_text.is_empty()) {
        (false, _) => "an encoder with a classification head has no language-model loss that could rise",
        (true, true) => "the study names no text: forgetting_text",
        (true, false) if session.task.general.sha256.is_empty() => {
            "an encoder-decoder has no loss of a text that is not an answer"
        }
        (true, false) => "",
    };
    reason.to_owned()
}

#[cfg(test)]
impl Facts {
    /// Facts of a small study.
    pub(super) fn example() -> Facts {
        let sha256 = "0".repeat(64);
        let task = TaskFacts {
            data: DataIdentity { task: "vader".into(), sha256: sha256.clone() },
            source: String::new(),
            labels: vec!["bad".into(), "good".into()],
            metric: "accuracy".into(),
            train: 96,
            examples: 96,
            validation: 16,
            tests: vec![("movie".into(), 32)],
            mixture: 0,
            mixture_sha256: String::new(),
            general_text: String::new(),
        };
        Facts {
            schema: SCHEMA,
            code: CODE.into(),
            model: ModelIdentity { name: "m".into(), sha256, parameters: 1000, weights: "f32".into() },
            family: "bert".into(),
            task,
            benchmarks: Vec::new(),
            asked: Vec::new(),
            absent_benchmarks: Vec::new(),
            forgetting: String::new(),
            notes: Vec::new(),
            doubts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn facts_read_back_as_they_were_written_and_others_are_told() {
        let run = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(run.path());
        assert_eq!(Facts::read(&folder).unwrap(), None);
        let none = Facts::of_run(&folder).unwrap_err().to_string();
        let place = run.path().display();
        assert!(
            none.contains(&format!("`tenfold run {place}/study.toml --out {place}` writes it")),
            "{none}"
        );
        let facts = Facts::example();
        facts.write(&folder.file(FACTS)).unwrap();
        assert_eq!(Facts::read(&folder).unwrap(), Some(facts.clone()));
        let text = fs::read_to_string(folder.file(FACTS)).unwrap();
        for (what, expected) in [
            (text.replace("\"schema\": 1", "\"schema\": 9"), "found schema 9"),
            (text[..text.len() / 2].to_owned(), "expected the facts of a run"),
            (text.replace("\"tests\"", "\"test\""), "missing field `tests`"),
        ] {
            fs::write(folder.file(FACTS), what).unwrap();
            let said = Facts::read(&folder).unwrap_err().to_string();
            assert!(said.contains(FACTS) && said.contains(expected), "{said}");
        }
    }
}
