//! The phases of a study: which of its trials are there, and the others run.

use super::benchmarks::Benchmarks;
use super::child;
use super::config::Study;
use super::elapsed::Elapsed;
use super::plan::{Chosen, Fit, Job, Plan};
use super::run::{Finished, Options};
use super::search::{chosen, entrants, promoted};
use super::session::Session;
use super::store::RunFolder;
use super::trial::{Work, title};
use crate::error::{Error, Result};
use crate::meter::machine;
use crate::progress::{Event, Job as Bar, Progress};
use crate::record::{Outcome, Record, SCHEMA};
use crate::words::count;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(super) struct Runner<'a> {
    study: &'a Study,
    options: &'a Options,
    folder: &'a RunFolder,
    elapsed: Elapsed,
    progress: &'a dyn Progress,
}

impl<'a> Runner<'a> {
    /// A runner of trials in the folder of `options`.
    pub(super) fn new(
        study: &'a Study,
        options: &'a Options,
        folder: &'a RunFolder,
        progress: &'a dyn Progress,
    ) -> Runner<'a> {
        Runner { study, options, elapsed: Elapsed::start(folder), folder, progress }
    }

    /// Seconds that all commands on the run took together.
    pub(super) fn elapsed(&self, finished: &Finished) -> Result<f64> {
        self.folder.check_here()?;
        match (self.options.run_missing, finished.ran) {
            (false, _) => Ok(self.elapsed.before()),
            (true, 0) => self.elapsed.leave(),
            (true, _) => self.elapsed.keep(),
        }
    }

    /// Runs jobs that are not finished; gives the records of all, and whether one was run.
    pub(super) fn records(
        &self,
        phase: &str,
        session: &Session,
        jobs: Vec<Job>,
    ) -> Result<(Vec<Record>, bool)> {
        let mut finished = Finished::default();
        self.trials(phase, session, jobs, &mut finished)?;
        Ok((finished.records, finished.ran > 0))
    }

    /// Runs the search rung by rung, and says what each method takes.
    pub(super) fn search(&self, plan: &Plan, finished: &mut Finished) -> Result<()> {
        let (mut field, rungs) = (self.study.candidates()?, entrants(&self.study.search));
        let mut done = Vec::new();
        let is_missing =
            |finished: &Finished, method: &str| finished.missing.iter().any(|trial| trial.method == method);
        for rung in 0..rungs.len() {
            let jobs = plan.search(&field, rung)?;
            let phase = match rungs.len() {
                1 => "search".to_owned(),
                all => format!("search, rung {} of {all}", rung + 1),
            };
            self.trials(&phase, plan.session, jobs.clone(), finished)?;
            done.extend(jobs);
            // Which candidates go on is not known where one of them was not trained.
            field.retain(|method, _| !is_missing(finished, method));
            if let Some(next) = rungs.get(rung + 1) {
                field = promoted(&field, &finished.records, plan.session.scoring, rung, *next);
            }
        }
        let over = done.iter().filter(|job| !is_missing(finished, &job.trial.method));
        over.for_each(|job| self.folder.forget(job));
        let all = self.study.candidates()?;
        let mut found = chosen(self.study, &all, &finished.records, plan.session.scoring);
        // One whose search is not over would be taken for one that was never searched.
        found.retain(|method, _| !is_missing(finished, method));
        finished.chosen = found;
        Ok(())
    }

    /// Trains every method on the standard benchmarks whose rows are here.
    pub(super) fn benchmarks(
        &self,
        all: &Benchmarks,
        chosen: &Chosen,
        finished: &mut Finished,
    ) -> Result<()> {
        for session in &all.sessions {
            let name = &session.data_identity.task;
            let plan = Plan { study: self.study, session };
            let jobs = plan.benchmark(name, chosen)?;
            self.trials(&format!("benchmark {name}"), session, jobs, finished)?;
        }
        Ok(())
    }

    /// Asks every trained model of the comparison, one after the other, what it was not trained on.
    pub(super) fn asked(
        &self,
        all: &mut Benchmarks,
        plan: &Plan,
        chosen: &Chosen,
        finished: &mut Finished,
    ) -> Result<()> {
        for asking in &mut all.asked {
            for (job, trained) in plan.asked(asking, chosen)? {
                if let Some(record) = self.there(&job)? {
                    finished.records.push(record);
                    continue;
                }
                // What failed to be trained cannot be asked; that has its own line in the report.
                let Some(adapter) = self.folder.adapter(&trained) else {
                    let words =
                        format!("{}: its adapter is not there, so it is not asked", title(&job.trial));
                    self.progress.event(Event::Note(words));
                    continue;
                };
                if !self.is_wanted(&job) {
                    finished.missing.push(job.trial);
                    continue;
                }
                self.folder.prepare(&job)?;
                self.progress.event(Event::Note(title(&job.trial)));
                let outcome = match asking.ask(plan.session, &self.options.out, &adapter, self.progress) {
                    Ok(asked) => Outcome::Asked(Box::new(asked)),
                    Err(error @ (Error::Io { .. } | Error::Interrupted)) => return Err(error),
                    Err(error) => self.failed(&job, error.to_string()),
                };
                finished.ran += 1;
                finished.records.push(self.record(&job, outcome)?);
            }
        }
        Ok(())
    }

    /// Runs trials side by side over the one base; they share out the cores, and a lone one has them all.
    pub(super) fn trials(
        &self,
        phase: &str,
        session: &Session,
        jobs: Vec<Job>,
        finished: &mut Finished,
    ) -> Result<()> {
        let mut queue = VecDeque::new();
        let mut names = HashSet::new();
        // What is named twice, a learning rate say, is one trial in one folder.
        for job in jobs.into_iter().filter(|job| names.insert(job.name.clone())) {
            match self.there(&job)? {
                Some(record) => finished.records.push(record),
                None if self.is_wanted(&job) => queue.push_back(job),
                None => finished.missing.push(job.trial),
            }
        }
        let total = queue.len();
        if total == 0 {
            return Ok(());
        }
        let bar = Bar::new();
        self.progress.event(Event::Started {
            job: bar,
            title: phase.into(),
            unit: "trials",
            total: Some(total as u64),
        });
        let workers = if self.study.workers == 0 { machine::cores() } else { self.study.workers };
        let state = Mutex::new(State { queue, records: Vec::new(), error: None });
        let workers = workers.min(total);
        let threads = (machine::cores() / workers).max(1);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let work = || self.work(session, &state, threads, bar);
                if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, work) {
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    state.error.get_or_insert(Error::io("start", "a thread")(error));
                }
            }
        });
        self.progress.event(Event::Finished { job: bar, note: count(total, "trial") });
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        finished.ran += state.records.len();
        finished.records.extend(state.records);
        state.error.map_or(Ok(()), Err)
    }

    /// One worker: takes trials until there are none, or until one meets trouble that concerns all.
    fn work(&self, session: &Session, state: &Mutex<State>, threads: usize, bar: Bar) {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool,
            Err(error) => {
                lock().error = Some(Error::io("start", "a thread")(std::io::Error::other(error.to_string())));
                return;
            }
        };
        loop {
            let job = {
                let mut state = lock();
                if state.error.is_some() {
                    return;
                }
                match state.queue.pop_front() {
                    Some(job) => job,
                    None => return,
                }
            };
            let outcome = pool.install(|| self.trial(session, &job));
            let mut state = lock();
            match outcome {
                Ok(record) => state.records.push(record),
                Err(error) => drop(state.error.get_or_insert(error)),
            }
            let done = state.records.len() as u64;
            drop(state);
            self.progress.event(Event::Advanced { job: bar, done, note: String::new() });
        }
    }

    fn trial(&self, session: &Session, job: &Job) -> Result<Record> {
        let folder = self.folder.prepare(job)?;
        match &job.fit {
            Fit::AsIs => {}
            Fit::Changed(how) => {
                self.progress.event(Event::Note(format!("{}: {how}", title(&job.trial))));
            }
            Fit::Refused(reason) => return self.record(job, self.failed(job, reason.clone())),
        }
        let snapshot_every = Duration::from_secs_f64(self.study.snapshot_seconds);
        // Workers share out the cores, and have a thread each at the least.
        let threads = machine::cores().max(self.study.workers);
        let work = Work { session, job, folder: &folder, snapshot_every, progress: self.progress, threads };
        let outcome = match work.run() {
            Ok(trained) => Outcome::Trained(Box::new(trained)),
            // These concern the whole study, not the trial.
            Err(error @ (Error::Io { .. } | Error::Interrupted)) => return Err(error),
            Err(error) => {
                self.folder.check_here()?;
                self.failed(job, error.to_string())
            }
        };
        self.record(job, outcome)
    }

    /// Probes one after the other, each in a process of its own.
    pub(super) fn probes(&self, jobs: Vec<Job>, finished: &mut Finished) -> Result<()> {
        for job in jobs {
            if let Some(record) = self.there(&job)? {
                finished.records.push(record);
                continue;
            }
            if !self.is_wanted(&job) {
                finished.missing.push(job.trial);
                continue;
            }
            self.folder.prepare(&job)?;
            if let Fit::Refused(reason) = &job.fit {
                finished.records.push(self.record(&job, self.failed(&job, reason.clone()))?);
                finished.ran += 1;
                continue;
            }
            let bar = Bar::new();
            self.progress.event(Event::Started {
                job: bar,
                title: title(&job.trial),
                unit: "probe",
                total: None,
            });
            let stop = || self.progress.stop_requested() || self.folder.check_here().is_err();
            let failure = child::probe(&self.options.probe_command, &self.options.out, &job.name, stop);
            // A probe that was ended for want of its folder was not interrupted.
            let failure = failure.map_err(|error| self.folder.check_here().err().unwrap_or(error))?;
            self.progress.event(Event::Finished { job: bar, note: String::new() });
            self.folder.check_here()?;
            let record = match (self.folder.finished(&job)?, failure) {
                (Some(record), _) => record,
                (None, reason) => {
                    let reason = reason.unwrap_or_else(|| "the probe ended without a record".into());
                    self.record(&job, self.failed(&job, reason))?
                }
            };
            finished.ran += 1;
            finished.records.push(record);
        }
        Ok(())
    }

    /// The record of a trial that need not be run, or is not to be.
    fn there(&self, job: &Job) -> Result<Option<Record>> {
        if self.is_wanted(job) { self.folder.finished(job) } else { self.folder.record(job) }
    }

    /// Whether a trial is to be run if it is not there.
    fn is_wanted(&self, job: &Job) -> bool {
        let Options { run_missing, only, .. } = self.options;
        *run_missing && (only.is_empty() || only.contains(&job.trial.method))
    }

    fn failed(&self, job: &Job, reason: String) -> Outcome {
        self.progress.event(Event::Note(format!("{} failed: {reason}", title(&job.trial))));
        Outcome::Failed { reason }
    }

    fn record(&self, job: &Job, outcome: Outcome) -> Result<Record> {
        let record =
            Record { schema: SCHEMA, trial: job.trial.clone(), machine: machine::describe(), outcome };
        self.folder.keep(job, &record)?;
        self.elapsed.keep()?;
        Ok(record)
    }
}

struct State {
    queue: VecDeque<Job>,
    records: Vec<Record>,
    error: Option<Error>,
}
