//! An evaluation: a language model asked all questions of a task, block by block, each kept when it is done.
//!
//! ```text
//! OUT/<task>/samples/<domain>.jsonl    a line that says what was asked of whom, then one for each row
//! OUT/<task>/results.json              scores, made of the samples alone
//! ```
//!
//! Blocks of rows are computed by themselves, so that an evaluation that was stopped and goes on gives the same bits.

use super::asking::{Answer, Asker};
use super::tally::{Tallied, tally};
use crate::atomic;
use crate::error::{Error, Result};
use crate::progress::{Event, Job, Progress};
use crate::score::{Mmlu, mmlu};
use crate::statistics::pooled_error;
use crate::task::{QuestionMetric, QuestionSet, Questions, Task};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Version of what is written; samples of another one are asked anew.
const SCHEMA: u32 = 1;
/// Version of the code that asks; it changes when answers do.
const CODE: &str = "eval 1";
/// Rows of a block.
const BLOCK: usize = 64;

/// Who is asked, and how: with the questions it decides every answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The base model, by name and hash of its files.
    pub model: String,
    /// SHA-256 of its weights, hexadecimal.
    pub model_sha256: String,
    /// How frozen weights are kept.
    pub weights: String,
    /// What is on it; none: the base as it is.
    pub adapter: Option<String>,
    /// SHA-256 of the adapter's files, hexadecimal.
    pub adapter_sha256: Option<String>,
    /// Whether it was folded into the base model's weights.
    pub merged: bool,
}

/// The first line of a file of samples.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    schema: u32,
    code: String,
    identity: Identity,
    task: String,
    domain: String,
    questions_sha256: String,
    rows: usize,
}

#[derive(Serialize, Deserialize)]
struct Sample {
    row: usize,
    place: String,
    #[serde(flatten)]
    answer: Answer,
}

/// Scores of one domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainResult {
    /// The domain's name.
    pub domain: String,
    /// Rows asked.
    pub rows: usize,
    /// Rows that could not be read, with their places.
    pub malformed: Vec<String>,
    /// The scores.
    pub metrics: Vec<Tallied>,
}

/// Scores of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskResult {
    /// Version of this file.
    pub schema: u32,
    /// The task's name.
    pub task: String,
    /// Who was asked.
    pub identity: Identity,
    /// Worked examples before each question.
    pub num_fewshot: usize,
    /// Rows of each domain at the most; none: all.
    pub limit: Option<usize>,
    /// Each domain.
    pub domains: Vec<DomainResult>,
    /// Over all rows of all domains, where there are several: each metric that is a mean of rows.
    pub all: Vec<Whole>,
    /// MMLU's categories, where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmlu: Option<Mmlu>,
}

/// A metric over all domains, each row as heavy as the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Whole {
    /// The metric.
    pub metric: QuestionMetric,
    /// The filter, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Mean over rows.
    pub value: f64,
    /// The harness's pooled standard error.
    pub standard_error: Option<f64>,
    /// Rows.
    pub rows: usize,
}

/// What to ask and where to keep it.
pub struct Evaluation<'a> {
    /// The task.
    pub task: &'a Task,
    /// Worked examples before each question; none: the task's own number.
    pub num_fewshot: Option<usize>,
    /// Rows of each domain at the most.
    pub limit: Option<usize>,
    /// Whether rows that cannot be read are left out and told of, instead of refused.
    pub skip_malformed: bool,
    /// Where samples and results are kept; none: nowhere.
    pub out: Option<&'a Path>,
    /// Who is asked.
    pub identity: Identity,
}

impl Evaluation<'_> {
    /// Asks what is missing, and scores.
    pub fn run(&self, asker: &Asker, progress: &dyn Progress) -> Result<TaskResult> {
        let Some(questions) = self.task.questions() else {
            let what = format!("asking a language model for task \"{}\"", self.task.name);
            return Err(Error::Unsupported { what, why: "it is no task with questions".into() });
        };
        let sets = self.task.read_questions(self.num_fewshot, self.limit, self.skip_malformed)?;
        let folder = self.out.map(|out| out.join(&self.task.name));
        if let Some(folder) = &folder {
            let samples = folder.join("samples");
            fs::create_dir_all(&samples).map_err(Error::io("create", &samples))?;
        }
        let total = sets.iter().map(|set| set.questions.len() as u64).sum();
        let bar = Job::new();
        progress.event(Event::Started {
            job: bar,
            title: self.task.name.clone(),
            unit: "rows",
            total: Some(total),
        });
        let mut done = 0;
        let mut domains = Vec::new();
        for set in &sets {
            for fault in &set.malformed {
                progress.event(Event::Note(format!("left out: {fault}")));
            }
            let path =
                folder.as_ref().map(|folder| folder.join("samples").join(format!("{}.jsonl", set.domain)));
            let answers = self.answers(asker, questions, set, path.as_deref(), progress, &mut |rows| {
                let note = set.domain.clone();
                progress.event(Event::Advanced { job: bar, done: done + rows as u64, note });
            });
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => {
                    progress.event(Event::Finished { job: bar, note: String::new() });
                    return Err(error);
                }
            };
            done += answers.len() as u64;
            let metrics = tally(questions, &set.questions, &answers)?;
            domains.push(DomainResult {
                domain: set.domain.clone(),
                rows: answers.len(),
                malformed: set.malformed.clone(),
                metrics,
            });
        }
        progress.event(Event::Finished { job: bar, note: String::new() });
        let result = TaskResult {
            schema: SCHEMA,
            task: self.task.name.clone(),
            identity: self.identity.clone(),
            num_fewshot: self.num_fewshot.unwrap_or(questions.num_fewshot),
            limit: self.limit,
            all: whole(&domains),
            mmlu: categories(&domains)?,
            domains,
        };
        if let Some(folder) = &folder {
            let json = serde_json::to_vec_pretty(&result).unwrap_or_default();
            atomic::write(&folder.join("results.json"), &json)?;
        }
        Ok(result)
    }

    /// All answers of a domain: those kept, then the others.
    fn answers(
        &self,
        asker: &Asker,
        questions: &Questions,
        set: &QuestionSet,
        path: Option<&Path>,
        progress: &dyn Progress,
        advanced: &mut dyn FnMut(usize),
    ) -> Result<Vec<Answer>> {
        let header = Header {
            schema: SCHEMA,
            code: CODE.into(),
            identity: self.identity.clone(),
            task: self.task.name.clone(),
            domain: set.domain.clone(),
            questions_sha256: set.sha256(),
            rows: set.questions.len(),
        };
        let (mut answers, mut file) = match path {
            Some(path) => {
                let (kept, file) = resume(path, &header)?;
                (kept, Some((path, file)))
            }
            None => (Vec::new(), None),
        };
        let go_on = || if progress.stop_requested() { Err(Error::Interrupted) } else { Ok(()) };
        advanced(answers.len());
        while answers.len() < set.questions.len() {
            go_on()?;
            let first = answers.len();
            let block = first..(first + BLOCK).min(set.questions.len());
            let said = asker.ask(questions, set, block, &go_on)?;
            if let Some((path, file)) = &mut file {
                keep(file, path, first, set, &said)?;
            }
            answers.extend(said);
            advanced(answers.len());
        }
        Ok(answers)
    }
}

/// The answers of whole blocks that a file holds to the same questions, and the file open behind them.
fn resume(path: &Path, header: &Header) -> Result<(Vec<Answer>, File)> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let known = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok());
    let first = serde_json::to_string(header).unwrap_or_default() + "\n";
    let mut kept = Vec::new();
    let mut length = first.len() as u64;
    if known.as_ref() == Some(header) {
        let (mut samples, mut end) = (Vec::new(), length);
        for line in lines {
            let Ok(sample) = serde_json::from_str::<Sample>(line) else { break };
            if sample.row != samples.len() {
                break;
            }
            samples.push(sample.answer);
            end += line.len() as u64;
            if samples.len() % BLOCK == 0 || samples.len() == header.rows {
                (kept, length) = (samples.clone(), end);
            }
        }
    } else {
        atomic::write(path, first.as_bytes())?;
    }
    let mut file = fs::OpenOptions::new().write(true).open(path).map_err(Error::io("write", path))?;
    let cut = file.set_len(length).and_then(|()| std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)));
    cut.map_err(Error::io("write", path))?;
    Ok((kept, file))
}

fn keep(file: &mut File, path: &Path, first: usize, set: &QuestionSet, said: &[Answer]) -> Result<()> {
    let mut lines = String::new();
    for (i, answer) in said.iter().enumerate() {
        let place = set.places.get(first + i).cloned().unwrap_or_default();
        let sample = Sample { row: first + i, place, answer: answer.clone() };
        lines.push_str(&serde_json::to_string(&sample).unwrap_or_default());
        lines.push('\n');
    }
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(Error::io("write", path))
}

fn whole(domains: &[DomainResult]) -> Vec<Whole> {
    let Some(first) = domains.first().filter(|_| domains.len() > 1) else { return Vec::new() };
    let over = |(place, metric): (usize, &Tallied)| {
        let of: Vec<&Tallied> = domains.iter().filter_map(|domain| domain.metrics.get(place)).collect();
        let rows: Vec<&Vec<f64>> = of.iter().filter_map(|one| one.rows.as_ref()).collect();
        let count: usize = rows.iter().map(|rows| rows.len()).sum();
        if rows.len() < domains.len() || count == 0 {
            return None;
        }
        let groups: Vec<(usize, f64)> = (of.iter().zip(&rows))
            .filter_map(|(one, rows)| Some((rows.len(), one.standard_error?)))
            .collect();
        Some(Whole {
            metric: metric.metric,
            filter: metric.filter.clone(),
            value: rows.iter().copied().flatten().sum::<f64>() / count as f64,
            standard_error: pooled_error(&groups).filter(|_| groups.len() == domains.len()),
            rows: count,
        })
    };
    first.metrics.iter().enumerate().filter_map(over).collect()
}

/// MMLU's categories, if every domain is one of its subjects.
fn categories(domains: &[DomainResult]) -> Result<Option<Mmlu>> {
    let known = |domain: &DomainResult| crate::score::mmlu_category(&domain.domain).is_some();
    if domains.len() < 2 || !domains.iter().all(known) {
        return Ok(None);
    }
    let right: Option<Vec<(&str, usize, usize)>> = (domains.iter())
        .map(|domain| {
            let rows = domain.metrics.first()?.rows.as_ref()?;
            Some((domain.domain.as_str(), rows.iter().filter(|row| **row == 1.0).count(), rows.len()))
        })
        .collect();
    right.map_or(Ok(None), |right| mmlu(&right))
}
