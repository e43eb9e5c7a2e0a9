//! The run's folder: its lock, its trials' folders and records.

use super::kept::{self, Kept, Unusable};
use super::plan::{Fit, Job, RUNGS};
use crate::atomic;
use crate::error::{Error, Result};
use crate::lock::{self, Lock};
use crate::model;
use crate::plain_file::{self, is_own_folder};
use crate::progress::{Event, Progress};
use crate::record::{Outcome, Record};
use crate::seal;
use std::fs;
use std::io::ErrorKind;
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
pub(super) struct RunFolder {
    path: PathBuf,
    /// Which folder it is, wherever it is moved; none before it is there, or where the system does not tell.
    identity: Option<Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|folder| (folder.dev(), folder.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.is_dir().then_some((0, 0))
}

impl RunFolder {
    /// The folder as it is.
    pub(super) fn new(path: &Path) -> RunFolder {
        RunFolder { path: path.to_owned(), identity: identity(path) }
    }

    /// Makes the folder where there is none, and makes sure that no other process works in it while the lock lives.
    pub(super) fn locked(path: &Path) -> Result<(RunFolder, Lock)> {
        atomic::create_folders(path).map_err(Error::io("create", path))?;
        atomic::create_own_folders(path, [TRIALS])?;
        let lock = lock::take(path)?;
        let folder = RunFolder::new(path);
        folder.sweep();
        Ok((folder, lock))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error if the path does not lead to this folder any more: whatever is written there then is half a run.
    pub(super) fn check_here(&self) -> Result<()> {
        let is_here = self.identity.is_none() || self.identity == identity(&self.path);
        let is_whole = is_here && self.path.join(TRIALS).is_dir();
        if is_whole { Ok(()) } else { Err(Error::Moved { folder: self.path.clone() }) }
    }

    /// The error, or that the folder was moved or removed, where that is why.
    pub(super) fn blamed(&self, error: Error) -> Error {
        match error {
            Error::Interrupted => error,
            // The folder of a trial goes before the run's own where all of it is removed.
            Error::Io { action: "write" | "create" | "rename", ref path, ref source }
                if source.kind() == ErrorKind::NotFound && path.starts_with(self.path.join(TRIALS)) =>
            {
                Error::Moved { folder: self.path.clone() }
            }
            error => self.check_here().err().unwrap_or(error),
        }
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of a trial.
    pub(super) fn trial(&self, name: &str) -> PathBuf {
        self.path.join(TRIALS).join(name)
    }

    /// The names of the folders of all trials, in their order.
    pub(super) fn trials(&self) -> Vec<String> {
        let all = fs::read_dir(self.path.join(TRIALS)).into_iter().flatten().flatten();
        let mut names: Vec<String> = all.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The adapter that a trial left, as a path below the run's folder, if it is there.
    pub(super) fn adapter(&self, name: &str) -> Option<String> {
        is_own_folder(&self.trial(name).join(ADAPTER)).then(|| format!("{TRIALS}/{name}/{ADAPTER}"))
    }

    /// Only the lock's holder may: what lies half-written in a run that nobody works on stays so.
    fn sweep(&self) {
        atomic::sweep(&self.path);
        for trial in fs::read_dir(self.path.join(TRIALS)).into_iter().flatten().flatten() {
            let trial = trial.path();
            for folder in [trial.join(ADAPTER), trial].iter().filter(|folder| is_own_folder(folder)) {
                atomic::sweep(folder);
            }
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

    /// Refuses a folder with records that cannot be believed.
    pub(super) fn check_records(&self) -> Result<()> {
        let damaged = kept::damaged(&self.path.join(TRIALS))?;
        if damaged.is_empty() {
            return Ok(());
        }
        let faults = damaged.iter().map(|one| format!("{}: {}", one.path.display(), one.fault)).collect();
        Err(Error::DamagedRecords { folder: self.path.clone(), faults })
    }

    /// Renames records that cannot be believed, and says which: their trials are run again.
    pub(super) fn set_damaged_aside(&self, progress: &dyn Progress) -> Result<()> {
        for Unusable { path, fault } in kept::damaged(&self.path.join(TRIALS))? {
            let aside = kept::set_aside(&path)?;
            let words =
                format!("{}: {fault}; it is kept as {aside}, and its trial is run again", path.display());
            progress.event(Event::Note(words));
        }
        Ok(())
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
        self.check_here()?;
        model::unchanged()?;
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
        self.check_here()?;
        let folder = atomic::create_own_folders(&self.path, [TRIALS, &job.name])?;
        let path = folder.join("trial.json");
        let text = serde_json::to_string_pretty(&job.trial).unwrap_or_default();
        if plain_file::read_own(&path, plain_file::RECORD).ok().is_none_or(|there| there != text.as_bytes()) {
            atomic::write(&path, text.as_bytes())?;
        }
        Ok(folder)
    }

    /// The trial that a folder is for.
    pub(super) fn job(&self, name: &str) -> Result<Job> {
        let path = self.trial(name).join("trial.json");
        let text = plain_file::read_own_text(&path, plain_file::RECORD).map_err(Error::io("read", &path))?;
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
        let first = RunFolder::locked(dir.path()).unwrap();
        match RunFolder::locked(dir.path()) {
            Err(Error::Busy { process, .. }) => assert_eq!(process, Some(std::process::id())),
            other => panic!("{:?}", other.err()),
        }
        drop(first);
        assert!(RunFolder::locked(dir.path()).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_moved_or_removed_or_replaced_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let (folder, _lock) = RunFolder::locked(&path).unwrap();
        let trial = crate::metric::synthetic::World::new().records[0].trial.clone();
        let job = Job { name: "lora-s0".into(), trial, fit: Fit::AsIs };
        folder.prepare(&job).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let moved = |error: Error| matches!(error, Error::Moved { .. });
        assert!(moved(folder.prepare(&job).unwrap_err()) && !path.exists());
        // Another folder of the same name is not the run's.
        fs::create_dir_all(path.join(TRIALS)).unwrap();
        assert!(moved(folder.prepare(&job).unwrap_err()));
        assert_eq!(fs::read_dir(path.join(TRIALS)).unwrap().count(), 0);
        let denied = Error::io("write", &path)(std::io::Error::other("x"));
        assert!(moved(folder.blamed(denied)));
        fs::remove_dir_all(&path).unwrap();
        fs::rename(dir.path().join("moved"), &path).unwrap();
        folder.prepare(&job).unwrap();
        assert!(matches!(folder.blamed(Error::Interrupted), Error::Interrupted));
    }
}
