//! From a task's test rows to questions, with the examples that may stand before them.

use super::Reader;
use super::split::reading;
use crate::data::faulty::Malformed;
use crate::data::language::{LanguageExample, Question, Sampler, Shots};
use crate::data::records::{self, Header};
use crate::data::{Row, TestShare, hexadecimal, put_count, put_text};
use crate::task::{Files, Questions, Rows, Source, Task, TaskKind};
use crate::{Error, Result};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The questions of one domain.
#[derive(Debug, Clone)]
pub struct QuestionSet {
    /// The domain's name.
    pub domain: String,
    /// Questions in the order of the file.
    pub questions: Vec<Question>,
    /// Where the row of each stands: "line 7".
    pub places: Vec<String>,
    /// What stands before everything else.
    pub description: String,
    /// The examples that stand before each question, in their order.
    pub shots: Vec<Vec<Question>>,
    /// Rows that could not be read, each with its file and place; they are not among the questions.
    pub malformed: Vec<String>,
    /// The same of the file that examples are drawn from; they are not among the examples.
    pub malformed_examples: Vec<String>,
    /// What a reader should know about files that were taken all the same: sentences that name the file.
    pub remarks: Vec<String>,
}

impl Task {
    /// Reads the test rows of all domains: at most `limit` of each, each with `num_fewshot` examples before it (the task's
    /// own number if none). Rows that make no question are refused together, or left out and
    /// told of if `skip_malformed` or if the task says so.
    pub fn read_questions(
        &self,
        num_fewshot: Option<usize>,
        limit: Option<usize>,
        skip_malformed: bool,
    ) -> Result<Vec<QuestionSet>> {
        let data = std::env::var_os("TENFOLD_DATA").map(PathBuf::from);
        self.read_questions_from(data.as_deref(), num_fewshot, limit, skip_malformed)
    }

    pub(super) fn read_questions_from(
        &self,
        data: Option<&Path>,
        num_fewshot: Option<usize>,
        limit: Option<usize>,
        skip_malformed: bool,
    ) -> Result<Vec<QuestionSet>> {
        let Some(questions) = self.questions() else {
            let what = format!("asking a language model for task \"{}\"", self.name);
            let why = "it states no doc_to_text and doc_to_target with a metric of answers".into();
            return Err(Error::Unsupported { what, why });
        };
        let reader = Reader { task: self, data };
        let wanted = Wanted {
            reader: &reader,
            questions,
            num_fewshot: num_fewshot.unwrap_or(questions.num_fewshot),
            limit,
            malformed: if skip_malformed { Malformed::Skip } else { self.malformed },
        };
        self.domains.iter().map(|domain| wanted.set(domain)).collect()
    }
}

impl QuestionSet {
    /// Questions with nothing before them.
    pub fn bare(domain: &str, questions: Vec<Question>) -> QuestionSet {
        QuestionSet {
            domain: domain.to_owned(),
            places: (1..=questions.len()).map(|row| format!("row {row}")).collect(),
            questions,
            description: String::new(),
            shots: Vec::new(),
            malformed: Vec::new(),
            malformed_examples: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// SHA-256 over all that is asked, hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        put_text(&mut hash, &self.description);
        for questions in std::iter::once(&self.questions).chain(&self.shots) {
            put_count(&mut hash, questions.len());
            questions.iter().for_each(|question| question.put(&mut hash));
        }
        hexadecimal(&hash.finalize())
    }
}

struct Wanted<'a> {
    reader: &'a Reader<'a>,
    questions: &'a Questions,
    num_fewshot: usize,
    limit: Option<usize>,
    malformed: Malformed,
}

/// Questions, their places, and what could not be read.
#[derive(Default)]
struct Found {
    questions: Vec<Question>,
    places: Vec<String>,
    malformed: Vec<String>,
    remarks: Vec<String>,
}

impl Wanted<'_> {
    fn set(&self, domain: &Source) -> Result<QuestionSet> {
        let Rows::Files(files) = &domain.rows else {
            return Err(self.reader.task.fault("domains", "files, for a language model", "built-in rows"));
        };
        let (mut found, own_pool) = match files.test_share {
            None => (self.read(files, &files.test)?, None),
            Some(share) => {
                let (rest, test) = self.tested(domain, share, self.read(files, &files.train)?)?;
                (test, Some(rest))
            }
        };
        let joined = self.questions.form.joined(std::mem::take(&mut found.questions).into_iter());
        found.places = joined.iter().map(|(row, _)| found.places[*row].clone()).collect();
        found.questions = joined.into_iter().map(|(_, question)| question).collect();
        let (pool, among) = match self.num_fewshot {
            0 => (Found::default(), false),
            _ => self.pool(files, &found, own_pool)?,
        };
        if let Some(limit) = self.limit {
            found.questions.truncate(limit);
            found.places.truncate(limit);
        }
        let spare = among || self.questions.sampler == Sampler::OneMore;
        let needed = if self.num_fewshot == 0 { 0 } else { self.num_fewshot + usize::from(spare) };
        if pool.questions.len() < needed {
            let expected = format!("{needed} rows to draw {} examples from", self.num_fewshot);
            let place = format!("domain \"{}\"", domain.name);
            return Err(self.reader.task.fault(&place, &expected, &pool.questions.len().to_string()));
        }
        let mut shots = Shots::new(&pool.questions, self.num_fewshot, self.questions.sampler, among);
        let first = self.questions.sampler == Sampler::FirstN && !among;
        let sets = if first { found.questions.len().min(1) } else { found.questions.len() };
        let shots = (found.questions.iter().take(sets))
            .map(|question| shots.next(question).into_iter().cloned().collect())
            .collect();
        let description = match &self.questions.description {
            Some(template) => {
                let name = Map::from_iter([("domain".to_owned(), Value::String(domain.name.clone()))]);
                template
                    .render(&name)
                    .map_err(|(expected, found)| self.reader.task.fault("description", &expected, &found))?
            }
            None => String::new(),
        };
        Ok(QuestionSet {
            domain: domain.name.clone(),
            questions: found.questions,
            places: found.places,
            description,
            shots,
            malformed: found.malformed,
            malformed_examples: pool.malformed,
            remarks: [found.remarks, pool.remarks].concat(),
        })
    }

    /// Of all rows of a training file those to learn from and those of its test, as studies part them.
    fn tested(&self, domain: &Source, share: TestShare, all: Found) -> Result<(Found, Found)> {
        let delimiter = &self.questions.form.delimiter;
        let row =
            |(question, place)| (LanguageExample::Asked { question, delimiter: delimiter.clone() }, place);
        let (examples, places): (Vec<_>, Vec<_>) = all.questions.into_iter().zip(all.places).map(row).unzip();
        let picked = share.picked(&examples, Row::class);
        let told = Found { malformed: all.malformed, remarks: all.remarks, ..Found::default() };
        let (mut rest, mut test) = (Found::default(), told);
        for ((example, place), picked) in examples.into_iter().zip(places).zip(picked) {
            let LanguageExample::Asked { question, .. } = example else { continue };
            let part = if picked { &mut test } else { &mut rest };
            part.questions.push(question);
            part.places.push(place);
        }
        if test.questions.is_empty() || rest.questions.is_empty() {
            let place = format!("domain \"{}\", test_fraction", domain.name);
            let expected = "rows to test on and rows beside them, of other prompts";
            return Err(self.reader.task.fault(
                &place,
                expected,
                &format!("{} to test on", test.questions.len()),
            ));
        }
        Ok((rest, test))
    }

    /// The rows that examples come from, as the harness chooses them: those stated, of training, of validation, or else the
    /// test's own. `rest` is what is left of the training file that the test is a share of.
    fn pool(&self, files: &Files, tests: &Found, rest: Option<Found>) -> Result<(Found, bool)> {
        if let (Some(rest), true) = (rest, files.fewshot.is_empty()) {
            return Ok((rest, false));
        }
        for paths in [&files.fewshot, &files.train, &files.validation] {
            if !paths.is_empty() {
                return Ok((self.read(files, paths)?, false));
            }
        }
        // What could not be read of the test's own is told of with the test.
        Ok((Found { questions: tests.questions.clone(), ..Found::default() }, true))
    }

    fn read(&self, files: &Files, paths: &[PathBuf]) -> Result<Found> {
        let path = self.reader.find(paths)?;
        let header = match &self.reader.task.kind {
            TaskKind::Language { rows, .. } => Some(rows.header.clone()),
            _ => None,
        };
        let reading = reading(files, header.unwrap_or(Header::Given(true)));
        let mut records = records::read(&path, &reading)?;
        self.questions.form.arrange(&mut records)?;
        let (mut found, mut faulty) = (Found::default(), std::mem::take(&mut records.faulty));
        for record in &records.records {
            let asked = self.questions.form.questions(&records, record, &self.questions.unnest);
            for (place, asked) in asked {
                if let Some(question) = faulty.keep(record.place, asked)? {
                    found.questions.push(question);
                    found.places.push(place);
                }
            }
        }
        found.remarks = faulty.take_remarks();
        match self.malformed {
            Malformed::Skip => found.malformed = faulty.lines(&path),
            Malformed::Refuse => {
                faulty.settle(&path, found.questions.len(), Malformed::Refuse)?;
            }
        }
        if found.questions.is_empty() {
            let first = found.malformed.first().map(|fault| format!(" (the first: {fault})"));
            let none = format!("none that makes a question{}", first.unwrap_or_default());
            return Err(Error::malformed(&path, "whole file", "a row or more", none));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HEAD: &str = "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\noutput_type = \"multiple_choice\"\n\
        metric = \"acc\"\ndoc_to_choice = [\"no\", \"yes\"]\n";

    fn read(
        keys: &str,
        files: &[(&str, &str)],
        shots: usize,
        limit: Option<usize>,
        skip: bool,
    ) -> Result<Vec<QuestionSet>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join("task.toml");
        fs::write(&path, format!("{HEAD}{keys}")).unwrap();
        let task = Task::load(path.to_str().unwrap()).unwrap();
        task.read_questions_from(None, Some(shots), limit, skip)
    }

    #[test]
    fn malformed_rows_are_listed_with_their_lines_and_counted() {
        let keys = "doc_to_text = \"{{q}}\"\ndoc_to_target = \"{{a}}\"\n[[domains]]\nname = \"d\"\ntest = \"t.jsonl\"\n";
        let rows = "{\"q\": \"one\", \"a\": 1}\n{\"q\": \"two\", \"a\": 7}\n{\"a\": 0}\n{\"q\": \"four\", \"a\": \"no\"}\n";
        let error = read(keys, &[("t.jsonl", rows)], 0, None, false).unwrap_err().to_string();
        for expected in [
            "line 2, doc_to_target",
            "found \"7\"",
            "line 3, doc_to_text: expected a column named \"q\", found the columns a",
            "2 of 4 rows",
            "malformed = \"skip\"",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let nulls = rows.replace("\"two\", \"a\": 7", "null, \"a\": 0").replace("\"no\"", "null");
        let error = read(keys, &[("t.jsonl", &nulls)], 0, None, false).unwrap_err().to_string();
        for expected in [
            "line 2, doc_to_text: expected something in column \"q\", found null",
            "line 4, doc_to_target: expected something in column \"a\", found null",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let error = read(&keys.replace("{{q}}", "{{qq}}"), &[("t.jsonl", rows)], 0, None, false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("4 of 4 rows") && !error.contains("skip"), "{error}");
        let sets = read(keys, &[("t.jsonl", rows)], 0, None, true).unwrap();
        assert_eq!((sets[0].questions.len(), sets[0].malformed.len()), (2, 2));
        assert_eq!(sets[0].places, ["line 1", "line 4"]);
        assert!(read(keys, &[("t.jsonl", "{\"a\": 0}\n")], 0, None, true).is_err());
    }

    #[test]
    fn what_is_odd_about_a_file_is_told() {
        let keys = "doc_to_text = \"{{q}}\"\ndoc_to_target = \"{{a}}\"\n[[domains]]\nname = \"d\"\ntest = \"t.jsonl\"\nencoding = \"latin-1\"\n";
        let file = [("t.jsonl", "{\"q\": \"caf\u{e9}\", \"a\": 1}\n")];
        let set = read(keys, &file, 0, None, false).unwrap().remove(0);
        let [told] = set.remarks.as_slice() else { panic!("{:?}", set.remarks) };
        assert!(told.contains("t.jsonl is valid UTF-8"), "{told}");
    }

    #[test]
    fn malformed_rows_of_the_file_of_examples_are_listed_too() {
        let keys = "doc_to_text = \"{{q}}\"\ndoc_to_target = \"{{a}}\"\n[[domains]]\nname = \"d\"\n\
            test = \"t.jsonl\"\nfewshot = \"f.jsonl\"\n";
        let good = "{\"q\": \"one\", \"a\": 1}\n";
        let pool = "{\"q\": \"two\", \"a\": 0}\n{\"q\": \"three\", \"a\": 7}\n{\"q\": \"four\", \"a\": 1}\n";
        let files = [("t.jsonl", good), ("f.jsonl", pool)];
        let error = read(keys, &files, 1, None, false).unwrap_err().to_string();
        assert!(error.contains("f.jsonl: 1 of 3 rows is malformed"), "{error}");
        let set = read(keys, &files, 1, None, true).unwrap().remove(0);
        let [told] = set.malformed_examples.as_slice() else { panic!("{:?}", set.malformed_examples) };
        assert!(told.contains("f.jsonl: line 2, doc_to_target: expected the number"), "{told}");
        assert!(set.malformed.is_empty());
        // Without examples the file is not read.
        assert!(read(keys, &files, 0, None, false).unwrap()[0].malformed_examples.is_empty());
        // Where the test's own rows are the examples, each is told of once.
        let alone = keys.replace("fewshot = \"f.jsonl\"\n", "").replace("t.jsonl", "f.jsonl");
        let set = read(&alone, &files, 1, None, true).unwrap().remove(0);
        assert_eq!((set.malformed.len(), set.malformed_examples.len()), (1, 0));
    }

    #[test]
    fn a_share_of_the_training_file_is_asked_and_the_rest_is_shown() {
        let keys = "doc_to_text = \"{{q}}\"\ndoc_to_target = \"{{a}}\"\n[[domains]]\nname = \"d\"\ntrain = \"t.jsonl\"\n\
            test_fraction = 0.25\n";
        let rows: String = (0..20).map(|i| format!("{{\"q\": \"{i}\", \"a\": {}}}\n", i % 2)).collect();
        let set = read(keys, &[("t.jsonl", &rows)], 2, None, false).unwrap().remove(0);
        assert_eq!((set.questions.len(), set.places.len()), (6, 6));
        assert!(set.shots.iter().flatten().all(|shown| !set.questions.contains(shown)));
    }

    #[test]
    fn lists_within_records_make_rows_and_domains_may_share_a_pattern() {
        let keys = "doc_to_text = \"{{p.text}} {{question.q}} {{answer.text}}\"\ndoc_to_target = \"{{answer.label}}\"\n\
            unnest = [[\"question\", \"p.questions\"], [\"answer\", \"question.answers\"]]\n\
            description = \"About {{domain}}.\"\n\
            [[domains]]\nnames = [\"x\", \"y\"]\ntest = \"{name}_test.jsonl\"\nfewshot = \"{name}_dev.jsonl\"\n";
        let row = "{\"p\": {\"text\": \"T\", \"questions\": [{\"q\": \"Q\", \"answers\": [{\"text\": \"A\", \"label\": 0}, \
            {\"text\": \"B\", \"label\": 1}]}]}}\n";
        let files =
            [("x_test.jsonl", row), ("y_test.jsonl", row), ("x_dev.jsonl", row), ("y_dev.jsonl", row)];
        let sets = read(keys, &files, 2, Some(1), false).unwrap();
        assert_eq!((sets.len(), sets[1].description.as_str()), (2, "About y."));
        assert_eq!(sets[0].questions[0].worked(" "), ("T Q A".into(), " no".into()));
        assert_eq!(sets[0].places, ["line 1, question 1, answer 1"]);
        assert_eq!((sets[0].shots.len(), sets[0].shots[0].len()), (1, 2));
        assert_ne!(sets[0].sha256(), sets[1].sha256());
        let error = read(keys, &files, 3, None, false).unwrap_err().to_string();
        assert!(error.contains("expected 3 rows to draw 3 examples from, found 2"), "{error}");
        let broken = [("x_test.jsonl", "{\"p\": 1}\n"), files[1], files[2], files[3]];
        let error = read(keys, &broken, 0, None, false).unwrap_err().to_string();
        assert!(error.contains("line 1, unnest: expected a list at p.questions, found nothing"), "{error}");
    }
}
