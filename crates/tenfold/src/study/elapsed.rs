//! Seconds that all commands on a run took together, kept beside its trials.

use super::store::RunFolder;
use crate::error::{Error, Result};
use crate::plain_file::open_own;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The time that this process adds to a run's.
#[derive(Debug)]
pub(super) struct Elapsed {
    path: PathBuf,
    /// Up to when its time was added.
    added: Mutex<Instant>,
}

impl Elapsed {
    /// From now on.
    pub(super) fn start(folder: &RunFolder) -> Elapsed {
        Elapsed { path: path(folder), added: Mutex::new(Instant::now()) }
    }

    /// Adds the time since the last call; other processes add theirs.
    pub(super) fn add(&self) -> Result<()> {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        self.write(now.duration_since(*added).as_secs_f64())?;
        *added = now;
        Ok(())
    }

    /// Adds nothing: to look at a finished run is no part of it.
    pub(super) fn leave(&self) -> Result<()> {
        self.write(0.0)
    }

    fn write(&self, seconds: f64) -> Result<()> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut write = || {
            let mut file = open_own(&self.path, &mut options)?;
            file.lock()?;
            let before = seconds_in(&mut file);
            file.rewind()?;
            // Of one width, so that a process that is killed here leaves no part of a number.
            writeln!(file, "{:16.1}", before + seconds)
        };
        write().map_err(Error::io("write", &self.path))
    }
}

/// What all commands on a run took until now.
pub(super) fn seconds(folder: &RunFolder) -> f64 {
    open_own(&path(folder), File::options().read(true)).map_or(0.0, |mut file| seconds_in(&mut file))
}

fn seconds_in(file: &mut File) -> f64 {
    let mut text = String::new();
    let read = file.take(64).read_to_string(&mut text);
    let seconds = read.ok().and_then(|_| text.lines().next()?.trim().parse().ok());
    seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0).unwrap_or(0.0)
}

fn path(folder: &RunFolder) -> PathBuf {
    folder.file("elapsed_seconds")
}
