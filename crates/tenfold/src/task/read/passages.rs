//! From a task of passages to its rows.

use super::Reader;
use super::split::reading;
use crate::data::records::Header;
use crate::data::{PassageQuestion, Splits, passages};
use crate::task::{Files, Task};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

impl Task {
    /// Reads all rows of a task whose answers are parts of passages. Rows that are not on this machine are
    /// [`Error::MissingData`].
    pub fn read_passages(&self) -> Result<Splits<PassageQuestion>> {
        self.read_passages_from(std::env::var_os("TENFOLD_DATA").map(PathBuf::from).as_deref())
    }

    /// The training rows of a further domain; `None` if it has none. What was left out of them is added to `notes`.
    pub fn passage_training(
        &self,
        domain: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<PassageQuestion>>> {
        let data = std::env::var_os("TENFOLD_DATA").map(PathBuf::from);
        let reader = Reader { task: self, data: data.as_deref() };
        reader.training(domain, |files, paths| reader.passage_rows(files, paths, notes))
    }

    fn read_passages_from(&self, data: Option<&Path>) -> Result<Splits<PassageQuestion>> {
        if self.extraction().is_none() {
            let why = format!("its rows are for output_type = \"{}\"", self.output_type);
            let what = format!("answers in passages on task \"{}\"", self.name);
            return Err(Error::Unsupported { what, why });
        }
        let reader = Reader { task: self, data };
        let rows = |files: &Files, paths: &[PathBuf], notes: &mut Vec<String>| {
            reader.passage_rows(files, paths, notes)
        };
        reader.split(rows, |rows| rows)
    }
}

impl Reader<'_> {
    fn passage_rows(
        &self,
        files: &Files,
        paths: &[PathBuf],
        notes: &mut Vec<String>,
    ) -> Result<Vec<PassageQuestion>> {
        let path = self.find(paths)?;
        let reading = reading(files, Header::Given(true));
        let unanswerable = self.task.extraction().is_some_and(|extraction| extraction.unanswerable);
        let (questions, faulty) = passages::read(&path, &reading, unanswerable)?;
        notes.extend(faulty.settle(&path, questions.len(), self.task.malformed)?);
        match questions.is_empty() {
            true => Err(Error::malformed(path, "whole file", "one question or more", "none")),
            false => Ok(questions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::fs;

    #[test]
    fn squad_is_read_with_questions_on_one_passage_kept_together() {
        let article = |i: usize| {
            format!(
                "{{\"title\": \"T\", \"paragraphs\": [{{\"context\": \"Passage {i} says x{i}.\", \"qas\": [\
                 {{\"id\": \"a\", \"question\": \"What?\", \"answers\": [{{\"text\": \"x{i}\", \"answer_start\": {}}}]}},\
                 {{\"id\": \"b\", \"question\": \"Which?\", \"answers\": [{{\"text\": \"says\", \"answer_start\": {}}}]}}]}}]}}",
                14 + i.to_string().len(),
                9 + i.to_string().len(),
            )
        };
        let file = |all: std::ops::Range<usize>| {
            format!("{{\"data\": [{}]}}", all.map(article).collect::<Vec<_>>().join(", "))
        };
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("squad")).unwrap();
        for (name, content) in [("train-v1.1.json", file(0..40)), ("dev-v1.1.json", file(39..44))] {
            fs::write(folder.path().join("squad").join(name), content).unwrap();
        }
        let task = Task::load("squad").unwrap();
        let data = task.read_passages_from(Some(folder.path())).unwrap();
        assert_eq!((data.train.len() + data.validation.len(), data.tests[0].examples.len()), (80, 10));
        assert!(
            data.validation.len() >= 2 && data.validation.len().is_multiple_of(2),
            "{}",
            data.validation.len()
        );
        let held: HashSet<&str> = data.validation.iter().map(|row| &*row.passage).collect();
        assert!(data.train.iter().all(|row| !held.contains(&*row.passage)));
        assert_eq!(data.tests[0].examples[0].texts(), ["x39"]);
        assert!(matches!(task.read_passages_from(None), Err(Error::MissingData { .. })));
        let one = (0..20).map(|_| article(1)).collect::<Vec<_>>().join(", ");
        fs::write(folder.path().join("squad/train-v1.1.json"), format!("{{\"data\": [{one}]}}")).unwrap();
        let error = task.read_passages_from(Some(folder.path())).unwrap_err().to_string();
        let shared = "a validation file beside it: rows that share a passage are held out together";
        assert!(error.contains(shared) && error.contains("found none of 40 rows"), "{error}");
        assert!(Task::load("sst2").unwrap().read_passages_from(None).is_err());
    }
}
