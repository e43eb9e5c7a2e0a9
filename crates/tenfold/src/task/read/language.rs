//! From a task for language models to its rows.

use super::Reader;
use super::split::reading;
use crate::data::language::{LanguageExample, read};
use crate::data::{Located, Splits};
use crate::task::{Files, Rows, Task, TaskKind};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

impl Task {
    /// Reads all rows of a task for language models. Rows that are not on this machine are [`Error::MissingData`].
    pub fn read_language(&self) -> Result<Splits<Located<LanguageExample>>> {
        let first = self.domains.first().map(|first| &first.rows);
        if self.is_language() && matches!(first, Some(Rows::Files(files)) if files.train.is_empty()) {
            let why = "it has no training file: a language model can only be asked about its rows".into();
            return Err(Error::Unsupported { what: format!("training on task \"{}\"", self.name), why });
        }
        self.read_language_tests()
    }

    /// The same of a task that need not be trained on: it may have test rows alone.
    pub fn read_language_tests(&self) -> Result<Splits<Located<LanguageExample>>> {
        self.read_language_from(std::env::var_os("TENFOLD_DATA").map(PathBuf::from).as_deref())
    }

    /// The training rows of a further domain; `None` if it has none. What was left out of them is added to `notes`.
    pub fn language_training(
        &self,
        domain: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<Located<LanguageExample>>>> {
        let data = std::env::var_os("TENFOLD_DATA").map(PathBuf::from);
        let reader = Reader { task: self, data: data.as_deref() };
        reader.training(domain, |files, paths| reader.language_rows(files, paths, notes))
    }

    pub(super) fn read_language_from(&self, data: Option<&Path>) -> Result<Splits<Located<LanguageExample>>> {
        let reader = Reader { task: self, data };
        if !self.is_language() {
            let why = format!("its rows are for output_type = \"{}\"", self.output_type);
            let what = format!("a language model on task \"{}\"", self.name);
            return Err(Error::Unsupported { what, why });
        }
        let rows = |files: &Files, paths: &[PathBuf], notes: &mut Vec<String>| {
            reader.language_rows(files, paths, notes)
        };
        // What is asked has every right answer to it; what is learnt has one in each row.
        reader.split(rows, |rows| self.joined(rows))
    }

    /// Rows as a model is asked about them.
    fn joined(&self, examples: Vec<Located<LanguageExample>>) -> Vec<Located<LanguageExample>> {
        let Some(form) =
            self.questions().map(|questions| &questions.form).filter(|form| form.join_references)
        else {
            return examples;
        };
        let question = |example: Located<LanguageExample>| match example.row {
            LanguageExample::Asked { question, .. } => Some((question, example.origin)),
            _ => None,
        };
        let (questions, origins): (Vec<_>, Vec<_>) = examples.into_iter().filter_map(question).unzip();
        let joined = form.joined(questions.into_iter()).into_iter();
        let example = |question| LanguageExample::Asked { question, delimiter: form.delimiter.clone() };
        joined
            .map(|(row, question)| Located { row: example(question), origin: origins[row].clone() })
            .collect()
    }
}

impl Reader<'_> {
    fn language_rows(
        &self,
        files: &Files,
        paths: &[PathBuf],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Located<LanguageExample>>> {
        let TaskKind::Language { rows: language, .. } = &self.task.kind else { return Ok(Vec::new()) };
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
        let [row] = dataset.tests[0].examples.as_slice() else { panic!("{:?}", dataset.tests) };
        assert!(row.origin.to_string().ends_with("test.jsonl, line 1"), "{}", row.origin);
        let LanguageExample::Asked { question, delimiter } = &row.row else { panic!("{row:?}") };
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
        assert_eq!(dataset.notes, [""; 0]);
        assert_ne!(dataset.train, dataset.validation);
    }

    #[test]
    fn further_domains_may_be_trained_on_and_tasks_be_tests_alone() {
        let row = |i: usize| format!("{{\"prompt\": \"p{i}\", \"completion\": \"c\"}}\n");
        let file = |rows: std::ops::Range<usize>| rows.map(row).collect::<String>();
        let keys = "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n";
        let domain =
            |name: &str, more: &str| format!("[[domains]]\nname = \"{name}\"\ntest = \"b.jsonl\"\n{more}\n");
        let trained =
            "output_type = \"generate_until\"\nmetric = \"perplexity\"\nkind = \"prompt_completion\"\n";
        let train = |file: &str| format!("train = \"{file}\"");
        let all = [domain("a", &train("a.jsonl")), domain("b", &train("b.jsonl")), domain("c", "")].concat();
        let asked = "output_type = \"generate_until\"\nmetric = \"exact_match\"\ndoc_to_text = \"{{prompt}}\"\n\
             doc_to_target = \"{{completion}}\"\n";
        let data = data(&[
            ("a.jsonl", file(0..20)),
            ("b.jsonl", file(20..23)),
            ("t.toml", [keys, trained, &all].concat()),
            ("asked.toml", [keys, asked, &domain("a", "")].concat()),
        ]);
        let load = |name: &str| Task::load(data.path().join(name).to_str().unwrap()).unwrap();
        let (task, mut notes) = (load("t.toml"), Vec::new());
        let mut rows =
            |domain: &str| task.language_training(domain, &mut notes).unwrap().map(|rows| rows.len());
        // The first domain's rows are the study's own, without those that validate.
        assert_eq!(["a", "b", "c", "d"].map(&mut rows), [None, Some(3), None, None]);
        let asked = load("asked.toml");
        let tests = asked.read_language_tests().unwrap();
        assert_eq!((tests.train.len(), tests.validation.len(), tests.tests[0].examples.len()), (0, 0, 3));
        let error = asked.read_language().unwrap_err().to_string();
        assert!(error.contains("training on task \"t\"") && error.contains("no training file"), "{error}");
    }

    #[test]
    fn rows_of_one_prompt_are_not_held_out_to_the_last() {
        let read = |prompts: usize| {
            let row =
                |i: usize| format!("{{\"question\": \"Q{}?\", \"answer\": \"#### {i}\"}}\n", i % prompts);
            let rows = (0..20).map(row).collect::<String>();
            let data = data(&[("gsm8k/train.jsonl", rows), ("gsm8k/test.jsonl", row(3))]);
            Task::load("gsm8k").unwrap().read_language_from(Some(data.path()))
        };
        let error = read(1).unwrap_err().to_string();
        for expected in ["domains[0].train: expected a validation file", "share a prompt", "none of 20 rows"]
        {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert_eq!(read(2).unwrap().train.len(), 10);
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
