//! The executor of this process: trials side by side over the one base, and probes one after the other. Every trial is run
//! under a lease, so that several processes may work in one run's folder.

use super::asking::Asking;
use super::benchmarks::Benchmarks;
use super::config::Study;
use super::elapsed::Elapsed;
use super::executor::{Executor, Phase};
use super::lease::{Lease, Machines};
use super::plan::{Job, Plan};
use super::probe;
use super::session::Session;
use super::store::RunFolder;
use super::trial::{Work, title};
use crate::error::{Error, Result};
use crate::lock::PAUSE;
use crate::meter::machine;
use crate::progress::{Event, Job as Bar, Progress};
use crate::record::{Measured, Outcome, Record, SCHEMA};
use crate::words::count;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Runs trials in this process.
pub(super) struct Local<'a> {
    pub plan: Plan<'a>,
    pub session: &'a Session,
    pub benchmarks: &'a Benchmarks,
    pub folder: &'a RunFolder,
    pub machines: &'a Machines,
    pub elapsed: &'a Elapsed,
    /// A command that probes: run folder and trial name are appended to it.
    pub probe_command: &'a [OsString],
    pub progress: &'a dyn Progress,
}

impl Executor for Local<'_> {
    fn run(&self, phase: &Phase, jobs: Vec<Job>) -> Result<Vec<Record>> {
        match phase {
            Phase::Probes => self.probes(jobs),
            Phase::Asked(name) => self.asked(name, &jobs),
            Phase::Benchmark(name) => {
                let of = |session: &&Session| session.task.data_identity.task == *name;
                let session = self.benchmarks.sessions.iter().find(of).unwrap_or(self.session);
                self.side_by_side(phase, session, jobs)
            }
            _ => self.side_by_side(phase, self.session, jobs),
        }
    }
}

/// Trials of a phase on their way.
struct State {
    queue: VecDeque<Job>,
    /// Names of trials that another process had in hand: whatever it made of them counts.
    elsewhere: Vec<String>,
    records: Vec<Record>,
    error: Option<Error>,
}

/// What a worker does next.
enum Next {
    Run(Box<Job>, Lease),
    Wait,
    End,
}

impl Local<'_> {
    /// Runs trials over one base; they share out the cores, and a lone one has them all.
    fn side_by_side(&self, phase: &Phase, session: &Session, jobs: Vec<Job>) -> Result<Vec<Record>> {
        let total = jobs.len();
        let bar = Bar::new();
        self.progress.event(Event::Started {
            job: bar,
            title: phase.title(),
            unit: "trials",
            total: Some(total as u64),
        });
        let study: &Study = self.plan.study;
        let workers = if study.workers == 0 { machine::cores() } else { study.workers }.min(total);
        let threads = (machine::cores() / workers).max(1);
        let state = State { queue: jobs.into(), elsewhere: Vec::new(), records: Vec::new(), error: None };
        let state = Mutex::new(state);
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
        state.error.map_or(Ok(state.records), Err)
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
            let next = self.next(&mut lock());
            let outcome = match next {
                Ok(Next::End) => return,
                Ok(Next::Wait) => {
                    std::thread::sleep(PAUSE);
                    let stopped = self.progress.stop_requested();
                    if stopped { Err(Error::Interrupted) } else { self.folder.check_here().map(|()| None) }
                }
                Ok(Next::Run(job, lease)) => pool.install(|| self.training(session, &job)).map(|record| {
                    lease.end();
                    Some(record)
                }),
                Err(error) => Err(error),
            };
            let mut state = lock();
            match outcome {
                Ok(record) => state.records.extend(record),
                Err(error) => drop(state.error.get_or_insert(error)),
            }
            let done = state.records.len() as u64;
            drop(state);
            self.progress.event(Event::Advanced { job: bar, done, note: String::new() });
        }
    }

    /// The next trial that no other process has in hand; what others finished meanwhile is taken.
    fn next(&self, state: &mut State) -> Result<Next> {
        if state.error.is_some() {
            return Ok(Next::End);
        }
        for _ in 0..state.queue.len() {
            let Some(job) = state.queue.pop_front() else { break };
            let Some(lease) = Lease::attempt(self.folder, &job)? else {
                if !state.elsewhere.contains(&job.name) {
                    state.elsewhere.push(job.name.clone());
                }
                state.queue.push_back(job);
                continue;
            };
            match self.there(&job, state.elsewhere.contains(&job.name))? {
                None => return Ok(Next::Run(Box::new(job), lease)),
                Some(record) => {
                    lease.end();
                    state.records.push(record);
                }
            }
        }
        Ok(if state.queue.is_empty() { Next::End } else { Next::Wait })
    }

    /// The record that another process may have left of a trial since it was planned.
    fn there(&self, job: &Job, was_elsewhere: bool) -> Result<Option<Record>> {
        if was_elsewhere { self.folder.record(job) } else { self.folder.finished(job) }
    }

    /// Runs one trial, or takes what another process makes of it.
    fn leased(&self, job: &Job, run: impl FnOnce() -> Result<Record>) -> Result<Record> {
        let (lease, waited) = self.lease(job)?;
        let record = match self.there(job, waited)? {
            Some(record) => record,
            None => run()?,
        };
        lease.end();
        Ok(record)
    }

    /// Waits until no other process has a trial in hand; also whether one had.
    fn lease(&self, job: &Job) -> Result<(Lease, bool)> {
        let mut waited = false;
        loop {
            if let Some(lease) = Lease::attempt(self.folder, job)? {
                return Ok((lease, waited));
            }
            if self.progress.stop_requested() {
                return Err(Error::Interrupted);
            }
            self.folder.check_here()?;
            waited = true;
            std::thread::sleep(PAUSE);
        }
    }

    fn training(&self, session: &Session, job: &Job) -> Result<Record> {
        let _machine = self.machines.share(self.progress)?;
        let folder = self.folder.prepare(job)?;
        let fit = match session.fit(&job.trial, self.plan.study.train.memory_limit)? {
            Ok(fit) => fit,
            Err(reason) => return self.failed(job, reason),
        };
        if let Some(how) = &fit.changed {
            self.progress.event(Event::Note(format!("{}: {how}", title(&job.trial))));
        }
        let snapshot_every = Duration::from_secs_f64(self.plan.study.snapshot_seconds);
        // Workers share out the cores, and have a thread each at the least.
        let threads = machine::cores().max(self.plan.study.workers);
        let work = Work {
            session,
            job,
            fit: &fit,
            folder: &folder,
            snapshot_every,
            progress: self.progress,
            threads,
        };
        match work.run() {
            Ok((trained, time)) => {
                let outcome = Outcome::Trained(Box::new(trained));
                let measured = Measured { fit: Some(fit), training: Some(time), ..measured() };
                self.keep(job, outcome, measured)
            }
            // These concern the whole study, not the trial.
            Err(error @ (Error::Io { .. } | Error::Interrupted)) => Err(error),
            Err(error) => {
                self.folder.check_here()?;
                self.failed(job, error.to_string())
            }
        }
    }

    /// Asks the models of the comparison, one after the other, what they were not trained on.
    fn asked(&self, name: &str, jobs: &[Job]) -> Result<Vec<Record>> {
        let of = |asking: &&Asking| asking.facts().name == name;
        let Some(asking) = self.benchmarks.asked.iter().find(of) else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        for job in jobs {
            let trained = self.plan.trained_by(&job.trial).name;
            let Some(adapter) = self.folder.adapter(&trained) else {
                let words = format!("{}: its adapter is not there, so it is not asked", title(&job.trial));
                self.progress.event(Event::Note(words));
                continue;
            };
            records.push(self.leased(job, || self.ask(asking, job, &adapter))?);
        }
        Ok(records)
    }

    fn ask(&self, asking: &Asking, job: &Job, adapter: &str) -> Result<Record> {
        let _machine = self.machines.share(self.progress)?;
        self.folder.prepare(job)?;
        self.progress.event(Event::Note(title(&job.trial)));
        match asking.ask(self.session, self.folder.path(), adapter, self.progress) {
            Ok(asked) => self.keep(job, Outcome::Asked(Box::new(asked)), measured()),
            Err(error @ (Error::Io { .. } | Error::Interrupted)) => Err(error),
            Err(error) => self.failed(job, error.to_string()),
        }
    }

    /// Probes all methods in turns, each in a process of its own, while no other process of the run computes on this
    /// machine.
    fn probes(&self, jobs: Vec<Job>) -> Result<Vec<Record>> {
        let (mut records, mut leases, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            // Whoever probes has all of them: one process at a time waits for the first.
            let (lease, waited) = self.lease(&job)?;
            match self.there(&job, waited)? {
                Some(record) => {
                    lease.end();
                    records.push(record);
                }
                None => {
                    leases.push(lease);
                    left.push(job);
                }
            }
        }
        if left.is_empty() {
            return Ok(records);
        }
        let _machine = self.machines.alone(self.progress)?;
        let probed = probe::probes(self.plan.study, self.folder, &left, self.probe_command, self.progress);
        // A probe that was ended for want of its folder was not interrupted.
        let probed = probed.map_err(|error| self.folder.check_here().err().unwrap_or(error))?;
        for (record, lease) in probed.into_iter().zip(leases) {
            let job = Job::of(record.trial.clone());
            records.push(self.keep(&job, record.outcome, record.measured)?);
            lease.end();
        }
        Ok(records)
    }

    fn failed(&self, job: &Job, reason: String) -> Result<Record> {
        self.keep(job, Outcome::Failed { reason }, measured())
    }

    fn keep(&self, job: &Job, outcome: Outcome, measured: Measured) -> Result<Record> {
        if let Outcome::Failed { reason } = &outcome {
            self.progress.event(Event::Note(format!("{} failed: {reason}", title(&job.trial))));
        }
        let record = Record { schema: SCHEMA, trial: job.trial.clone(), outcome, measured };
        self.folder.keep(job, &record)?;
        self.elapsed.add()?;
        Ok(record)
    }
}

/// What is measured of every trial.
pub(super) fn measured() -> Measured {
    Measured { machine: machine::describe(), fit: None, training: None, probe: None }
}
