//! The run's folder: its lock, its trials' folders and records.

use super::kept::{self, Kept, Unusable};
use super::plan::{Fit, Job, RUNGS};
use super::seal;
use crate::atomic;
use crate::error::{Error, Result};
use crate::lock::{self, Lock};
use crate::record::{Outcome, Record};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of all trials in that of the run.
const TRIALS: &str = "trials";
/// The folder of an adapter in that of its trial.
pub(super) const ADAPTER: &str = "adapter";
/// What a trial came to, in its folder.
pub(super) const RECORD: &str = "record.json";
/// From where a trial goes on, in its folder.
pub(super) const SNAPSHOT: &str = "snapshot.safetensors";

/// The folder of one run.
#[derive(Debug, Clone)]
pub(super) struct RunFolder(PathBuf);

impl RunFolder {
    /// The folder as it is, or will be.
    pub(super) fn new(path: &Path) -> RunFolder {
        RunFolder(path.to_owned())
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder of a trial.
    pub(super) fn trial(&self, name: &str) -> PathBuf {
        self.0.join(TRIALS).join(name)
    }

    /// The adapter that a trial left, as a path below the run's folder, if it is there.
    pub(super) fn adapter(&self, name: &str) -> Option<String> {
        self.trial(name).join(ADAPTER).is_dir().then(|| format!("{TRIALS}/{name}/{ADAPTER}"))
    }

    /// Makes the folder, and makes sure that no other process works in it while the lock lives.
    pub(super) fn lock(&self) -> Result<Lock> {
        fs::create_dir_all(self.0.join(TRIALS)).map_err(Error::io("create", &self.0))?;
        let lock = lock::take(&self.0)?;
        self.sweep();
        Ok(lock)
    }

    /// Only the lock's holder may: what lies half-written in a run that nobody works on stays so.
    fn sweep(&self) {
        atomic::sweep(&self.0);
        for trial in fs::read_dir(self.0.join(TRIALS)).into_iter().flatten().flatten() {
            atomic::sweep(&trial.path());
            atomic::sweep(&trial.path().join(ADAPTER));
        }
    }

    /// The record of a trial, however it ended; none if there is none that can be believed.
    pub(super) fn record(&self, job: &Job) -> Result<Option<Record>> {
        Ok(match kept::read(&self.trial(&job.name).join(RECORD))? {
            Some(Kept::Record(record)) if record.trial == job.trial => Some(*record),
            _ => None,
        })
    }

    /// What the record of the trial's folder of this name holds.
    pub(super) fn kept(&self, name: &str) -> Result<Option<Kept>> {
        kept::read(&self.trial(name).join(RECORD))
    }

    /// The records of all trials that cannot be believed. A record of a newer schema is an error.
    pub(super) fn damaged(&self) -> Result<Vec<Unusable>> {
        kept::damaged(&self.0.join(TRIALS))
    }

    /// The record, if the trial need not be run again.
    pub(super) fn finished(&self, job: &Job) -> Result<Option<Record>> {
        let record = self.record(job)?.filter(|record| !matches!(record.outcome, Outcome::Failed { .. }));
        if record.is_some() && !goes_on(job) {
            // Left by a process that was killed between writing the one and removing the other.
            self.forget(job);
        }
        Ok(record)
    }

    /// Writes a record, whole or not at all; what a trial needs no more goes.
    pub(super) fn keep(&self, job: &Job, record: &Record) -> Result<()> {
        let folder = self.trial(&job.name);
        let text =
            serde_json::to_string(record).unwrap_or_else(|error| unreachable!("plain values: {error}"));
        atomic::write(&folder.join(RECORD), seal::sealed(&text).as_bytes())?;
        if !goes_on(job) {
            self.forget(job);
        }
        Ok(())
    }

    /// Removes that from which a trial, or one that takes it further, would go on.
    pub(super) fn forget(&self, job: &Job) {
        let _ = fs::remove_file(self.trial(&job.name).join(SNAPSHOT));
    }

    /// Makes a trial's folder and says in it what it is.
    pub(super) fn prepare(&self, job: &Job) -> Result<PathBuf> {
        let folder = self.trial(&job.name);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let path = folder.join("trial.json");
        let text = serde_json::to_string_pretty(&job.trial).unwrap_or_default();
        if fs::read(&path).ok().is_none_or(|there| there != text.as_bytes()) {
            atomic::write(&path, text.as_bytes())?;
        }
        Ok(folder)
    }

    /// The trial that a folder is for.
    pub(super) fn job(&self, name: &str) -> Result<Job> {
        let path = self.trial(name).join("trial.json");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let trial = serde_json::from_str(&text).map_err(|error| {
            Error::malformed(&path, format!("line {}", error.line()), "a trial", error.to_string())
        })?;
        // Its settings are those that fitted.
        Ok(Job { trial, name: name.to_owned(), fit: Fit::AsIs })
    }
}

/// Whether another rung of the search may take a trial further.
fn goes_on(job: &Job) -> bool {
    job.trial.train.get(RUNGS).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_names_the_first_process() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path());
        let first = folder.lock().unwrap();
        match folder.lock() {
            Err(Error::Busy { process, .. }) => assert_eq!(process, Some(std::process::id())),
            other => panic!("{:?}", other.err()),
        }
        drop(first);
        assert!(folder.lock().is_ok());
    }
}
