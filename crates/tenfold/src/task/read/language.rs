//! From a task for language models to its rows.

use super::Reader;
use super::split::{Split, reading};
use crate::data::hold_out_language;
use crate::data::language::{LanguageDataset, LanguageDomain, LanguageExample, read};
use crate::task::{Files, Task};
use crate::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

impl Task {
    /// Reads all rows of a task for language models. Rows that are not on this machine are [`Error::MissingData`].
    pub fn read_language(&self) -> Result<LanguageDataset> {
        self.read_language_from(std::env::var_os("TENFOLD_DATA").map(PathBuf::from).as_deref())
    }

    pub(super) fn read_language_from(&self, data: Option<&Path>) -> Result<LanguageDataset> {
        let reader = Reader { task: self, data };
        if self.language.is_none() {
            let why = format!("its rows are for output_type = \"{}\"", self.output_type);
            let what = format!("a language model on task \"{}\"", self.name);
            return Err(Error::Unsupported { what, why });
        }
        let mut notes = Vec::new();
        let rows = |files: &Files, paths: &[PathBuf], notes: &mut Vec<String>| {
            reader.language_rows(files, paths, notes)
        };
        let Split { train, validation, tests } = reader.split(rows, hold_out_language, &mut notes)?;
        // What is asked has every right answer to it; what is learnt has one in each row.
        let validation = self.joined(validation);
        let named = |(name, examples)| LanguageDomain { name, examples: self.joined(examples) };
        let tests: Vec<LanguageDomain> = tests.into_iter().map(named).collect();
        note_shared(&train, &tests, &mut notes);
        Ok(LanguageDataset::new(train, validation, tests, notes))
    }

    /// Rows as a model is asked about them.
    fn joined(&self, examples: Vec<LanguageExample>) -> Vec<LanguageExample> {
        let Some(form) =
            self.questions().map(|questions| &questions.form).filter(|form| form.join_references)
        else {
            return examples;
        };
        let question = |example| match example {
            LanguageExample::Asked { question, .. } => Some(question),
            _ => None,
        };
        let joined = form.joined(examples.into_iter().filter_map(question)).into_iter();
        let example = |question| LanguageExample::Asked { question, delimiter: form.delimiter.clone() };
        joined.map(|(_, question)| example(question)).collect()
    }
}

impl Reader<'_> {
    fn language_rows(
        &self,
        files: &Files,
        paths: &[PathBuf],
        notes: &mut Vec<String>,
    ) -> Result<Vec<LanguageExample>> {
        let Some(language) = &self.task.language else { return Ok(Vec::new()) };
        let path = self.find(paths)?;
        let reading = reading(files, language.header.clone());
        let (examples, faulty) = read::read(&path, &reading, &language.shape)?;
        notes.extend(faulty.settle(&path, examples.len(), self.task.malformed)?);
        match examples.is_empty() {
            true => Err(Error::malformed(path, "after the header", "one row or more", "none")),
            false => Ok(examples),
        }
    }
}

fn note_shared(train: &[LanguageExample], tests: &[LanguageDomain], notes: &mut Vec<String>) {
    let seen: HashSet<String> = train.iter().map(LanguageExample::given).collect();
    for domain in tests {
        let shared = domain.examples.iter().filter(|example| seen.contains(&example.given())).count();
        if shared > 0 {
            let (name, rows) = (&domain.name, domain.examples.len());
            notes.push(format!("{name}: {shared} of {rows} test rows have a prompt that is also trained on"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn data(files: &[(&str, String)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn gsm8k_is_read_as_lm_evaluation_harness_writes_it() {
        let row = |i: usize| format!("{{\"question\": \"Q{i}?\", \"answer\": \"#### {i}\"}}\n");
        let rows = (0..20).map(row).collect::<String>();
        let data = data(&[("gsm8k/train.jsonl", rows), ("gsm8k/test.jsonl", row(3))]);
        let dataset = Task::load("gsm8k").unwrap().read_language_from(Some(data.path())).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len()), (18, 2));
        let [LanguageExample::Asked { question, delimiter }] = dataset.tests[0].examples.as_slice() else {
            panic!("{:?}", dataset.tests);
        };
        assert_eq!(question.worked(delimiter), ("Question: Q3?\nAnswer:".into(), " #### 3".into()));
    }

    #[test]
    fn e2e_has_a_validation_file_and_keeps_publisher_s_splits() {
        let row = |i: usize| format!("mr,ref\n\"name[N{i}], area[x]\",N{i} is in x.\n");
        let data = data(&[
            ("e2e_nlg/trainset.csv", row(1)),
            ("e2e_nlg/devset.csv", row(2)),
            ("e2e_nlg/testset_w_refs.csv", row(1)),
        ]);
        let dataset = Task::load("e2e_nlg").unwrap().read_language_from(Some(data.path())).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len(), dataset.tests.len()), (1, 1, 1));
        assert_eq!(dataset.notes, ["e2e_nlg: 1 of 1 test rows have a prompt that is also trained on"]);
        assert_ne!(dataset.train, dataset.validation);
    }

    #[test]
    fn each_kind_of_task_says_so_when_asked_for_the_other() {
        let error = Task::load("gsm8k").unwrap().read_from(None).unwrap_err().to_string();
        assert!(error.contains("its rows are for language models"), "{error}");
        let error = Task::load("sst2").unwrap().read_language_from(None).unwrap_err().to_string();
        assert!(error.contains("output_type = \"classification\""), "{error}");
        assert!(matches!(
            Task::load("gsm8k").unwrap().read_language_from(None),
            Err(Error::MissingData { .. })
        ));
    }
}
