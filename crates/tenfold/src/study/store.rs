//! The run's folder: its lock, its trials' folders and records.

use super::config::Study;
use super::earlier;
use super::facts::Facts;
use super::kept::{self, Kept, Unusable};
use super::plan::{CODE, Job, RUNGS};
use crate::atomic;
use crate::error::{Error, Result};
use crate::lock::{self, Kind, Lock, PAUSE};
use crate::model;
use crate::plain_file::{self, is_own_folder};
use crate::progress::{Event, Progress};
use crate::record::{Outcome, Record};
use crate::seal;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The lock of the run's folder.
const LOCK: &str = "lock";
/// How often the lock is tried at the end of a run: for three seconds.
const CLOSING: usize = 30;
/// The file in a trial's folder that says which process runs the trial.
const LEASE: &str = "lease";
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
    /// The version of the code whose records count.
    code: String,
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
        RunFolder { path: path.to_owned(), identity: identity(path), code: CODE.into() }
    }

    /// Makes the folder where there is none.
    pub(super) fn made(path: &Path) -> Result<RunFolder> {
        atomic::create_folders(path).map_err(Error::io("create", path))?;
        atomic::create_own_folders(path, [TRIALS])?;
        Ok(RunFolder::new(path))
    }

    /// The folder of a run that is there, to be read. Records of the version `code` count.
    pub(super) fn of_code(self, code: &str) -> RunFolder {
        RunFolder { code: code.into(), ..self }
    }

    /// Makes the folder that of a study, and gives this process a seat in it as long as the lock lives. Several processes
    /// may work on one study; the first of them makes the folder ready.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if processes are at work there on another study, model or data.
    pub(super) fn enter(&self, study: &Study, facts: &Facts, progress: &dyn Progress) -> Result<Lock> {
        let path = self.file(LOCK);
        for _ in 0..3 {
            if let Some(lock) = Lock::attempt(&path, Kind::Exclusive)? {
                self.sweep();
                self.set_damaged_aside(progress)?;
                earlier::take_over(study, facts, self, progress)?;
                if let Some(lock) = lock.share()? {
                    return Ok(lock);
                }
            }
            let waiting = "waiting for another process, which is about to work in the run's folder";
            let lock = Lock::wait(&path, Kind::Shared, waiting, progress)?;
            if earlier::is_same(study, facts, self)? {
                return Ok(lock);
            }
            // Whoever was to make the folder ready may have died.
        }
        Err(Error::Busy { folder: self.path.clone(), process: lock::owner(&path) })
    }

    /// The right to write what concerns the whole run, once no other process works on it; `None` if others still do.
    pub(super) fn closing(&self, seat: Lock) -> Result<Option<Lock>> {
        drop(seat);
        // Others that are about to end need a moment.
        for _ in 0..CLOSING {
            if let Some(lock) = Lock::attempt(&self.file(LOCK), Kind::Exclusive)? {
                self.sweep();
                return Ok(Some(lock));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
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

    /// The adapter that a trial left, as a path below the run's folder, if it is there.
    pub(super) fn adapter(&self, name: &str) -> Option<String> {
        is_own_folder(&self.trial(name).join(ADAPTER)).then(|| format!("{TRIALS}/{name}/{ADAPTER}"))
    }

    /// Removes what killed processes left half-written, and their leases. Only the lock's exclusive holder may: nobody
    /// else works in the run then.
    fn sweep(&self) {
        atomic::sweep(&self.path);
        for trial in fs::read_dir(self.path.join(TRIALS)).into_iter().flatten().flatten() {
            let trial = trial.path();
            if is_own_folder(&trial) {
                sweep_trial(&trial);
                let _ = fs::remove_file(trial.join(LEASE));
            }
        }
    }

    /// Takes the lock that says which process runs a trial; `None` if another process has it. What a killed process left
    /// half-written there goes.
    pub(super) fn lease(&self, job: &Job) -> Result<Option<Lock>> {
        let trial = self.prepare(job)?;
        let lock = Lock::attempt(&trial.join(LEASE), Kind::Exclusive)?;
        if lock.is_some() {
            sweep_trial(&trial);
        }
        Ok(lock)
    }

    /// The record of a trial, however it ended; none if there is none that can be believed.
    pub(super) fn record(&self, job: &Job) -> Result<Option<Record>> {
        Ok(match kept::read(&self.trial(&job.name).join(RECORD), &self.code)? {
            Some(Kept::Record(record)) if record.trial == job.trial => Some(*record),
            _ => None,
        })
    }

    /// Refuses a folder with records that cannot be believed.
    pub(super) fn check_records(&self) -> Result<()> {
        let damaged = kept::damaged(&self.path.join(TRIALS), &self.code)?;
        if damaged.is_empty() {
            return Ok(());
        }
        let faults = damaged.iter().map(|one| format!("{}: {}", one.path.display(), one.fault)).collect();
        Err(Error::DamagedRecords { folder: self.path.clone(), faults })
    }

    /// Renames records that cannot be believed, and says which: their trials are run again.
    pub(super) fn set_damaged_aside(&self, progress: &dyn Progress) -> Result<()> {
        for Unusable { path, fault } in kept::damaged(&self.path.join(TRIALS), &self.code)? {
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
        Ok(Job { trial, name: name.to_owned() })
    }
}

/// Removes what a killed process left half-written in a trial's folder.
fn sweep_trial(trial: &Path) {
    let adapter = trial.join(ADAPTER);
    atomic::sweep(trial);
    if is_own_folder(&adapter) {
        atomic::sweep(&adapter);
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
    fn who_takes_a_trial_over_finds_nothing_half_written_and_the_last_one_leaves_no_lease() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::made(&dir.path().join("run")).unwrap();
        let trial = crate::metric::synthetic::World::new().records[0].trial.clone();
        let job = Job { name: "lora-s0".into(), trial };
        let path = folder.prepare(&job).unwrap();
        fs::create_dir(path.join(ADAPTER)).unwrap();
        let litter =
            [".record.json.7.0.tmp", "adapter/.adapter_config.json.7.1.tmp"].map(|name| path.join(name));
        let leave = || litter.iter().for_each(|path| fs::write(path, "half").unwrap());
        let lies = || litter.iter().any(|path| path.exists());
        leave();
        let lease = folder.lease(&job).unwrap().unwrap();
        assert!(!lies() && folder.lease(&job).unwrap().is_none());
        // Whoever does not have the trial leaves what its owner is about to write.
        leave();
        assert!(folder.lease(&job).unwrap().is_none() && lies());
        // A process that dies lets go of its lease and leaves the file.
        drop(lease);
        assert!(path.join(LEASE).exists());
        let seat = Lock::attempt(&folder.file(LOCK), Kind::Shared).unwrap().unwrap();
        let _closing = folder.closing(seat).unwrap().unwrap();
        assert!(!lies() && !path.join(LEASE).exists() && path.join("trial.json").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_moved_or_removed_or_replaced_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let folder = RunFolder::made(&path).unwrap();
        let trial = crate::metric::synthetic::World::new().records[0].trial.clone();
        let job = Job { name: "lora-s0".into(), trial };
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
