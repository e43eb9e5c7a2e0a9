//! An evaluation: a language model asked all questions of a task, block by block, each kept when it is done.
//!
//! Blocks of rows are computed by themselves, so that an evaluation that was stopped and goes on gives the same bits.

mod kept;

use super::asking::{Answer, Asker, Said};
use super::tally::{Tallied, answers as study_answers, tally};
use crate::atomic;
use crate::error::{Error, Result};
use crate::progress::{Event, Job, Progress};
use crate::record::Answers;
use crate::score::{Mmlu, mmlu};
use crate::statistics::pooled_error;
use crate::task::{QuestionMetric, QuestionSet, Questions, Task};
use crate::words::{be, count};
use kept::{BLOCK, Header, Kept, Place};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of `results.json`.
const SCHEMA: u32 = 1;

/// Who is asked, and how: with the questions it decides every answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The base model, by name and hash of its files.
    pub model: String,
    /// SHA-256 over all files that decide its answers, hexadecimal: weights, configuration, tokenizer.
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

/// Scores of one domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainResult {
    /// The domain's name.
    pub domain: String,
    /// Rows asked.
    pub rows: usize,
    /// Rows that could not be read, with their places.
    pub malformed: Vec<String>,
    /// The same of the file that examples are drawn from.
    pub malformed_examples: Vec<String>,
    /// Rows whose prompt was longer than the model's window, so that a part of it was not read.
    pub cut: usize,
    /// The scores.
    pub metrics: Vec<Tallied>,
    /// The answers as a study keeps them; none where the score is not defined on every row.
    #[serde(skip)]
    pub answers: Option<Answers>,
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
    /// Where its answers are kept.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
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
        let headers: Vec<Header> = sets.iter().map(|set| self.header(questions, set)).collect();
        let place = self.out.map(|out| Place::open(out, &self.task.name, &headers)).transpose()?;
        let total = sets.iter().map(|set| set.questions.len() as u64).sum();
        let bar = Job::new();
        progress.event(Event::Started {
            job: bar,
            title: self.task.name.clone(),
            unit: "rows",
            total: Some(total),
        });
        let kept = place.as_ref().map(|place| headers.iter().map(|header| place.domain(header)).collect());
        let kept: Vec<Kept> = kept.transpose()?.unwrap_or_default();
        kept.iter().filter_map(Kept::damage).for_each(|damage| progress.event(Event::Note(damage)));
        let there: usize = kept.iter().map(Kept::len).sum();
        if there > 0 {
            let words = format!(
                "{}: {there} of {} were there already",
                self.task.name,
                count(total as usize, "answer")
            );
            progress.event(Event::Note(words));
        }
        let mut kept = kept.into_iter();
        // What stands on disk of domains that are not reached yet counts, too.
        let (mut done, mut ahead) = (0, there as u64);
        let mut domains = Vec::new();
        for set in &sets {
            for remark in &set.remarks {
                progress.event(Event::Note(remark.clone()));
            }
            for fault in set.malformed.iter().chain(&set.malformed_examples) {
                progress.event(Event::Note(format!("left out: {fault}")));
            }
            let kept = kept.next();
            ahead -= kept.as_ref().map_or(0, |kept| kept.len() as u64);
            let keeps = kept.is_some();
            let said = self.said(asker, questions, set, kept, progress, &mut |rows| {
                let (note, rows) = (set.domain.clone(), done + rows as u64);
                progress.event(Event::Advanced { job: bar, done: rows, note });
                if keeps {
                    progress.event(Event::Kept { job: bar, done: rows + ahead, at_a_time: BLOCK as u64 });
                }
            });
            let said = match said {
                Ok(said) => said,
                Err(error) => {
                    progress.event(Event::Finished { job: bar, note: String::new() });
                    return Err(error);
                }
            };
            done += said.len() as u64;
            let cut = cut(&said);
            if let Some(note) = cut_note(&set.domain, cut, said.len()) {
                progress.event(Event::Note(note));
            }
            let answers: Vec<Answer> = said.into_iter().map(|said| said.answer).collect();
            let metrics = tally(questions, &set.questions, &answers)?;
            domains.push(DomainResult {
                domain: set.domain.clone(),
                rows: answers.len(),
                malformed: set.malformed.clone(),
                malformed_examples: set.malformed_examples.clone(),
                cut,
                metrics,
                answers: study_answers(questions, &set.questions, &answers).ok(),
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
            folder: place.as_ref().map(|place| place.folder().to_owned()),
        };
        if let Some(place) = &place {
            let json = serde_json::to_vec_pretty(&result).unwrap_or_default();
            crate::model::unchanged()?;
            atomic::write(&place.folder().join("results.json"), &json)?;
        }
        Ok(result)
    }

    /// All that decides the answers of a domain.
    fn header(&self, questions: &Questions, set: &QuestionSet) -> Header {
        Header::new(
            self.identity.clone(),
            &self.task.name,
            &set.domain,
            format!("{} {}", set.sha256(), questions.way_of_asking()),
            set.questions.len(),
        )
    }

    /// All answers of a domain: those kept, then the others.
    fn said(
        &self,
        asker: &Asker,
        questions: &Questions,
        set: &QuestionSet,
        mut kept: Option<Kept>,
        progress: &dyn Progress,
        advanced: &mut dyn FnMut(usize),
    ) -> Result<Vec<Said>> {
        let mut all = kept.as_mut().map_or_else(Vec::new, Kept::take);
        let go_on = || if progress.stop_requested() { Err(Error::Interrupted) } else { Ok(()) };
        advanced(all.len());
        while all.len() < set.questions.len() {
            go_on()?;
            let first = all.len();
            let block = first..(first + BLOCK).min(set.questions.len());
            let said = asker.ask(questions, set, block, &go_on, &mut || {})?;
            if let Some(kept) = &mut kept {
                kept.keep(first, &set.places, &said)?;
            }
            all.extend(said);
            advanced(all.len());
        }
        Ok(all)
    }
}

/// How many prompts were cut.
pub(crate) fn cut(said: &[Said]) -> usize {
    said.iter().filter(|said| said.cut > 0).count()
}

/// That some were, in a sentence; none if all were read whole.
pub(crate) fn cut_note(domain: &str, cut: usize, rows: usize) -> Option<String> {
    (cut > 0).then(|| {
        format!(
            "{domain}: {cut} of {rows} prompts {} longer than the model's window, and what had no room was not read",
            be(cut)
        )
    })
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
