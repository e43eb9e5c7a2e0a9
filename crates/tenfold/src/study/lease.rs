//! Leases: which process has a trial in hand, and which may compute on a machine. The operating system ends those of a
//! process that dies.

use super::plan::Job;
use super::store::RunFolder;
use crate::error::Result;
use crate::lock::{Kind, Lock};
use crate::progress::Progress;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;

/// A trial that this process has in hand.
#[derive(Debug)]
pub(super) struct Lease(Lock);

impl Lease {
    /// Takes a trial in hand; `None` if another process has it.
    pub(super) fn attempt(folder: &RunFolder, job: &Job) -> Result<Option<Lease>> {
        Ok(folder.lease(job)?.map(Lease))
    }

    /// Ends it: what came of the trial is written.
    pub(super) fn end(self) {
        self.0.remove();
    }
}

/// Who computes on this machine of the processes that work on a run.
#[derive(Debug)]
pub(super) struct Machines {
    path: PathBuf,
}

impl Machines {
    /// Of the run in a folder.
    pub(super) fn new(folder: &RunFolder) -> Machines {
        Machines { path: folder.file(&format!("machine-{}.lock", name())) }
    }

    /// The right to compute beside others.
    pub(super) fn share(&self, progress: &dyn Progress) -> Result<Lock> {
        let waiting = "waiting for another process, which probes on this machine";
        Lock::wait(&self.path, Kind::Shared, waiting, progress)
    }

    /// The right to compute while no other process of the run does on this machine.
    pub(super) fn alone(&self, progress: &dyn Progress) -> Result<Lock> {
        let waiting = "waiting for other processes of this run, to probe alone on this machine";
        Lock::wait(&self.path, Kind::Exclusive, waiting, progress)
    }
}

/// A name for this machine as it runs: another container on it has the same.
fn name() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let host = || fs::read_to_string("/proc/sys/kernel/hostname");
    let name = boot.or_else(|_| host()).unwrap_or_default();
    Sha256::digest(name.trim()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
