//! Running a study to its end: what is finished is kept, what is not goes on.

use super::benchmarks::Benchmarks;
use super::check::check;
use super::child;
use super::conclude::{Circumstances, Conclusion, conclude};
use super::config::Study;
use super::elapsed::Elapsed;
use super::plan::{Chosen, Fit, Job, Plan};
use super::search::{chosen, entrants, promoted};
use super::session::{Session, backend};
use super::store::RunFolder;
use super::trial::{Work, title};
use crate::atomic;
use crate::error::{Error, Result};
use crate::meter::machine;
use crate::progress::{Event, Job as Bar, Progress};
use crate::record::{Candidate, Outcome, Record, Role, SCHEMA};
use crate::words::count;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where and how to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The run's folder.
    pub out: PathBuf,
    /// Whether to run what is missing, or to report on what is there.
    pub run_missing: bool,
    /// A command that probes: run folder and trial name are appended to it. Its standard input ends when this
    /// process does, however it ends.
    pub probe_command: Vec<OsString>,
}

/// A study that ran to its end.
#[derive(Debug, Default)]
pub struct Finished {
    /// All records of the study as it is now.
    pub records: Vec<Record>,
    /// The learning rate that each method took, and what else was found for it.
    pub chosen: BTreeMap<String, Candidate>,
    /// How many trials were run just now; the others were there already.
    pub ran: usize,
    /// How many trials are missing, where the study was not to be run.
    pub missing: usize,
}

/// Runs all trials that are not finished, and writes the report.
pub fn run(study: &Study, options: &Options, progress: &dyn Progress) -> Result<(Finished, Conclusion)> {
    let folder = RunFolder::new(&options.out);
    let _lock = folder.lock()?;
    if options.run_missing {
        atomic::write(&folder.file("study.toml"), study.to_toml().as_bytes())?;
    }
    let runner = Runner::new(study, options, progress);
    let base = backend();
    let session = Session::open(study, &base, progress)?;
    if options.run_missing {
        check(study, &session, progress)?;
    }
    let mut benchmarks = Benchmarks::open(study, &session, progress)?;
    for note in session.notes.iter().chain(&benchmarks.notes()) {
        progress.event(Event::Note(note.clone()));
    }
    let plan = Plan { study, session: &session };
    let mut finished = Finished::default();
    runner.search(&plan, &mut finished)?;
    let chosen = finished.chosen.clone();
    runner.trials("comparison", &session, plan.main(&chosen)?, &mut finished)?;
    runner.trials("mixture of domains", &session, plan.mixture(&chosen)?, &mut finished)?;
    runner.trials("small data", &session, plan.small_data(&chosen)?, &mut finished)?;
    runner.benchmarks(&benchmarks, &chosen, &mut finished)?;
    runner.asked(&mut benchmarks, &plan, &chosen, &mut finished)?;
    runner.probes(plan.probes(&chosen)?, &mut finished)?;
    let elapsed_seconds = if finished.ran > 0 { runner.elapsed.keep() } else { runner.elapsed.leave() }?;
    let circumstances = Circumstances { chosen: &chosen, benchmarks: &benchmarks, elapsed_seconds };
    let conclusion = conclude(study, &session, &folder, &finished.records, &circumstances)?;
    if finished.missing == 0 {
        check_trained(&finished.records, &options.out)?;
    }
    Ok((finished, conclusion))
}

/// One failed method is a line in the report; a study that trained none has failed itself.
fn check_trained(records: &[Record], run: &Path) -> Result<()> {
    let is_trained =
        |record: &Record| record.trial.role == Role::Main && matches!(record.outcome, Outcome::Trained(_));
    if records.iter().any(is_trained) {
        return Ok(());
    }
    let faults = records.iter().filter_map(|record| match &record.outcome {
        Outcome::Failed { reason } => Some(format!("{}: {reason}", title(&record.trial))),
        _ => None,
    });
    Err(Error::Faults { file: run.to_owned(), faults: faults.collect() })
}

pub(super) struct Runner<'a> {
    study: &'a Study,
    options: &'a Options,
    folder: RunFolder,
    elapsed: Elapsed,
    progress: &'a dyn Progress,
}

impl<'a> Runner<'a> {
    /// A runner of trials in the folder of `options`.
    pub(super) fn new(study: &'a Study, options: &'a Options, progress: &'a dyn Progress) -> Runner<'a> {
        let folder = RunFolder::new(&options.out);
        Runner { study, options, elapsed: Elapsed::start(&folder), folder, progress }
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
    fn search(&self, plan: &Plan, finished: &mut Finished) -> Result<()> {
        let (mut field, rungs) = (self.study.candidates()?, entrants(&self.study.search));
        let mut done = Vec::new();
        for rung in 0..rungs.len() {
            let jobs = plan.search(&field, rung)?;
            let phase = match rungs.len() {
                1 => "search".to_owned(),
                all => format!("search, rung {} of {all}", rung + 1),
            };
            self.trials(&phase, plan.session, jobs.clone(), finished)?;
            done.extend(jobs);
            match rungs.get(rung + 1) {
                Some(next) if finished.missing == 0 => {
                    field = promoted(&field, &finished.records, plan.session.scoring, rung, *next)
                }
                _ => break,
            }
        }
        if finished.missing == 0 {
            done.iter().for_each(|job| self.folder.forget(job));
        }
        let all = self.study.candidates()?;
        finished.chosen = chosen(self.study, &all, &finished.records, plan.session.scoring);
        Ok(())
    }

    /// Trains every method on the standard benchmarks whose rows are here.
    fn benchmarks(&self, all: &Benchmarks, chosen: &Chosen, finished: &mut Finished) -> Result<()> {
        for session in &all.sessions {
            let name = &session.data_identity.task;
            let plan = Plan { study: self.study, session };
            let jobs = plan.benchmark(name, chosen)?;
            self.trials(&format!("benchmark {name}"), session, jobs, finished)?;
        }
        Ok(())
    }

    /// Asks every trained model of the comparison, one after the other, what it was not trained on.
    fn asked(
        &self,
        all: &mut Benchmarks,
        plan: &Plan,
        chosen: &Chosen,
        finished: &mut Finished,
    ) -> Result<()> {
        for asking in &mut all.asked {
            for (job, trained) in plan.asked(asking, chosen)? {
                if let Some(record) = self.folder.finished(&job)? {
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
                if !self.options.run_missing {
                    finished.missing += 1;
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
    fn trials(&self, phase: &str, session: &Session, jobs: Vec<Job>, finished: &mut Finished) -> Result<()> {
        let mut queue = VecDeque::new();
        let mut names = HashSet::new();
        // What is named twice, a learning rate say, is one trial in one folder.
        for job in jobs.into_iter().filter(|job| names.insert(job.name.clone())) {
            match self.folder.finished(&job)? {
                Some(record) => finished.records.push(record),
                None => queue.push_back(job),
            }
        }
        let total = queue.len();
        if !self.options.run_missing {
            finished.missing += total;
            return Ok(());
        }
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
                scope.spawn(|| self.work(session, &state, threads, bar));
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
        let work = Work { session, job, folder: &folder, snapshot_every, progress: self.progress };
        let outcome = match work.run() {
            Ok(trained) => Outcome::Trained(Box::new(trained)),
            // These concern the whole study, not the trial.
            Err(error @ (Error::Io { .. } | Error::Interrupted)) => return Err(error),
            Err(error) => self.failed(job, error.to_string()),
        };
        self.record(job, outcome)
    }

    /// Probes one after the other, each in a process of its own.
    fn probes(&self, jobs: Vec<Job>, finished: &mut Finished) -> Result<()> {
        for job in jobs {
            if let Some(record) = self.folder.finished(&job)? {
                finished.records.push(record);
                continue;
            }
            if !self.options.run_missing {
                finished.missing += 1;
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
            let stop = || self.progress.stop_requested();
            let failure = child::probe(&self.options.probe_command, &self.options.out, &job.name, stop)?;
            self.progress.event(Event::Finished { job: bar, note: String::new() });
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
