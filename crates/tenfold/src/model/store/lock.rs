//! One process at a time fetches a model.

use crate::plain_file::open_own;
use crate::progress::{Event, Progress};
use crate::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Held until dropped; the operating system lets go of it if the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Waits for the lock of that name, asking every now and then whether to go on.
pub(super) fn acquire(folder: &Path, name: &str, progress: &dyn Progress) -> Result<Lock> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let path = folder.join(format!("{name}.lock"));
    let open = open_own(&path, File::options().create(true).truncate(false).write(true));
    let file = open.map_err(Error::io("create", &path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            Err(TryLockError::WouldBlock) if progress.stop_requested() => return Err(Error::Interrupted),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress.event(Event::Note(format!("waiting for another process that fetches {name}")));
                    told = true;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
