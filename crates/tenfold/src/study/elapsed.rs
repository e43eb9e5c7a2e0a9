//! Seconds that all commands on a run took together, kept beside its trials.

use super::store::RunFolder;
use crate::atomic;
use crate::error::Result;
use crate::plain_file;
use std::path::PathBuf;
use std::time::Instant;

/// A clock that begins where the last command on the run stopped.
pub(super) struct Elapsed {
    path: PathBuf,
    before: f64,
    start: Instant,
}

impl Elapsed {
    pub(super) fn start(folder: &RunFolder) -> Elapsed {
        let path = folder.file("elapsed_seconds");
        let before = plain_file::read_own_text(&path, plain_file::RECORD)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let before = before.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
        Elapsed { path, before: before.unwrap_or(0.0), start: Instant::now() }
    }

    /// All of it up to now, kept.
    pub(super) fn keep(&self) -> Result<f64> {
        self.write(self.before + self.start.elapsed().as_secs_f64())
    }

    /// What was kept before.
    pub(super) fn before(&self) -> f64 {
        self.before
    }

    /// What was kept before: to look at a finished run is no part of it.
    pub(super) fn leave(&self) -> Result<f64> {
        self.write(self.before)
    }

    fn write(&self, seconds: f64) -> Result<f64> {
        atomic::write(&self.path, format!("{seconds:.1}\n").as_bytes())?;
        Ok(seconds)
    }
}
