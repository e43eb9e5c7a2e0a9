//! Seconds that all commands on a run took together, kept beside its trials.

use super::store::RunFolder;
use crate::atomic;
use crate::error::Result;
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
        let before = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let before = before.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
        Elapsed { path, before: before.unwrap_or(0.0), start: Instant::now() }
    }

    pub(super) fn keep(&self) -> Result<f64> {
        let seconds = self.before + self.start.elapsed().as_secs_f64();
        atomic::write(&self.path, format!("{seconds:.1}\n").as_bytes())?;
        Ok(seconds)
    }
}
