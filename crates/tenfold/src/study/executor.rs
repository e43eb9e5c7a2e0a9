//! A study's phases in their order: the records that are there are taken, and an executor runs the trials that are not.

use super::config::Study;
use super::plan::{Chosen, Job, Plan};
use super::search::{chosen, entrants, promoted};
use super::store::RunFolder;
use crate::error::Result;
use crate::record::{Candidate, Outcome, Record, Role, Trial};
use crate::score::{Scoring, scoring};
use std::collections::{BTreeMap, HashSet};

/// Runs jobs of a study: jobs are data, and what comes of them are records.
pub(super) trait Executor {
    /// Runs jobs of one phase, which do not depend on one another; gives a record of each that could be run.
    fn run(&self, phase: &Phase, jobs: Vec<Job>) -> Result<Vec<Record>>;
}

/// What trials that do not depend on one another are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Search {
        rung: usize,
        rungs: usize,
    },
    Comparison,
    /// One method trained once, without a comparison.
    Training,
    Mixture,
    SmallData,
    Benchmark(String),
    Asked(String),
    Probes,
}

impl Phase {
    /// Its name for people.
    pub(super) fn title(&self) -> String {
        match self {
            Phase::Search { rungs: 1, .. } => "search".to_owned(),
            Phase::Search { rung, rungs } => format!("search, rung {} of {rungs}", rung + 1),
            Phase::Comparison => "comparison".to_owned(),
            Phase::Training => "training".to_owned(),
            Phase::Mixture => "mixture of domains".to_owned(),
            Phase::SmallData => "small data".to_owned(),
            Phase::Benchmark(name) => format!("benchmark {name}"),
            Phase::Asked(name) => format!("asking {name}"),
            Phase::Probes => "probes".to_owned(),
        }
    }
}

/// Who runs the trials that are not there.
#[derive(Clone, Copy)]
pub(super) struct Workers<'a> {
    pub executor: &'a dyn Executor,
    /// The methods to run, by their names in the study; empty: all. Of the others what is there counts.
    pub only: &'a [String],
}

/// A study's trials: those that are there, and those that are not.
#[derive(Debug, Default)]
pub struct Finished {
    /// All records of the study as it is now.
    pub records: Vec<Record>,
    /// The learning rate that each method took, and what else was found for it.
    pub chosen: BTreeMap<String, Candidate>,
    /// How many trials were run just now; the others were there already.
    pub ran: usize,
    /// The trials that are not there. Of a method without a learning rate these are the trials of its search alone, for
    /// the others depend on it.
    pub missing: Vec<Trial>,
}

/// A study on its way through its phases.
pub(super) struct Course<'a> {
    plan: Plan<'a>,
    folder: &'a RunFolder,
    workers: Option<Workers<'a>>,
    finished: Finished,
}

impl<'a> Course<'a> {
    /// At its beginning. Without workers what is not there stays missing.
    pub(super) fn new(plan: Plan<'a>, folder: &'a RunFolder, workers: Option<Workers<'a>>) -> Course<'a> {
        Course { plan, folder, workers, finished: Finished::default() }
    }

    /// Through all phases.
    pub(super) fn whole(mut self) -> Result<Finished> {
        self.search()?;
        let (plan, facts, chosen) = (self.plan, self.plan.facts, self.finished.chosen.clone());
        self.phase(&Phase::Comparison, plan.main(&chosen)?)?;
        self.phase(&Phase::Mixture, plan.mixture(&chosen)?)?;
        self.phase(&Phase::SmallData, plan.small_data(&chosen)?)?;
        for task in &facts.benchmarks {
            self.phase(&Phase::Benchmark(task.data.task.clone()), plan.benchmark(task, &chosen)?)?;
        }
        for asked in &facts.asked {
            let jobs = plan.asked(asked, &chosen)?;
            // What failed to be trained cannot be asked; that has its own line in the report.
            let failed = |job: &Job| self.has_failed(&plan.trained_by(&job.trial).trial);
            let jobs = jobs.into_iter().filter(|job| !failed(job)).collect();
            self.phase(&Phase::Asked(asked.name.clone()), jobs)?;
        }
        self.phase(&Phase::Probes, plan.probes(&chosen)?)?;
        Ok(self.finished)
    }

    /// Through the one training of methods whose settings are known.
    pub(super) fn training(mut self, chosen: &Chosen) -> Result<Finished> {
        self.phase(&Phase::Training, self.plan.main(chosen)?)?;
        Ok(self.finished)
    }

    /// The search rung by rung, and what each method takes.
    fn search(&mut self) -> Result<()> {
        let study: &Study = self.plan.study;
        let scoring = self.scoring()?;
        let (all, rungs) = (study.candidates()?, entrants(&study.search));
        let (mut field, mut done) = (all.clone(), Vec::new());
        for rung in 0..rungs.len() {
            let jobs = self.plan.search(&field, rung)?;
            self.phase(&Phase::Search { rung, rungs: rungs.len() }, jobs.clone())?;
            done.extend(jobs);
            // Which candidates go on is not known where one of them was not trained.
            field.retain(|method, _| !self.is_missing(method));
            if let Some(next) = rungs.get(rung + 1) {
                field = promoted(&field, &self.finished.records, scoring, rung, *next);
            }
        }
        if self.workers.is_some() {
            let over = done.iter().filter(|job| !self.is_missing(&job.trial.method));
            over.for_each(|job| self.folder.forget(job));
        }
        let mut found = chosen(study, &all, &self.finished.records, scoring);
        // One whose search is not over would be taken for one that was never searched.
        found.retain(|method, _| !self.is_missing(method));
        self.finished.chosen = found;
        Ok(())
    }

    fn phase(&mut self, phase: &Phase, jobs: Vec<Job>) -> Result<()> {
        let (mut wanted, mut names) = (Vec::new(), HashSet::new());
        // What is named twice, a learning rate say, is one trial in one folder.
        for job in jobs.into_iter().filter(|job| names.insert(job.name.clone())) {
            let is_wanted = self.is_wanted(&job);
            // A failed trial is run again by who runs any.
            let there = if is_wanted { self.folder.finished(&job)? } else { self.folder.record(&job)? };
            match there {
                Some(record) => self.finished.records.push(record),
                None if is_wanted => wanted.push(job),
                None => self.finished.missing.push(job.trial),
            }
        }
        let Some(workers) = self.workers.filter(|_| !wanted.is_empty()) else { return Ok(()) };
        let records = workers.executor.run(phase, wanted.clone())?;
        self.finished.ran += records.len();
        let left = wanted.into_iter().map(|job| job.trial);
        self.finished
            .missing
            .extend(left.filter(|trial| records.iter().all(|record| record.trial != *trial)));
        self.finished.records.extend(records);
        Ok(())
    }

    /// Whether a trial is to be run if it is not there.
    fn is_wanted(&self, job: &Job) -> bool {
        self.workers
            .is_some_and(|workers| workers.only.is_empty() || workers.only.contains(&job.trial.method))
    }

    fn is_missing(&self, method: &str) -> bool {
        self.finished.missing.iter().any(|trial| trial.method == method)
    }

    fn has_failed(&self, trial: &Trial) -> bool {
        let is_failed =
            |record: &Record| record.trial == *trial && matches!(record.outcome, Outcome::Failed { .. });
        self.finished.records.iter().any(is_failed)
    }

    fn scoring(&self) -> Result<&'static Scoring> {
        scoring(&self.plan.facts.task.metric)
    }
}

/// Whether a record is of a trained trial of the comparison.
pub(super) fn is_trained(record: &Record) -> bool {
    record.trial.role == Role::Main && matches!(record.outcome, Outcome::Trained(_))
}
