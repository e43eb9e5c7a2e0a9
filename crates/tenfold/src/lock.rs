//! Locks between processes: files that the operating system lets go of when their owner dies.

use crate::error::{Error, Result};
use crate::plain_file::open_own;
use crate::progress::{Event, Progress};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a lock that another process has is tried again.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Who may have a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any number of owners.
    Shared,
    /// One owner, and none that shares.
    Exclusive,
}

/// Held as long as its owner lives, and given back however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock at `path`, in a folder that is there; `None` if another process has it.
    pub(crate) fn attempt(path: &Path, kind: Kind) -> Result<Option<Lock>> {
        loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = open_own(path, &mut options).map_err(Error::io("lock", path))?;
            if !locked(&file, path, kind)? {
                return Ok(None);
            }
            let mut lock = Lock { file, path: path.to_owned() };
            // Its last owner may have removed the file since it was opened: that lock is nobody's.
            if lock.stands() {
                if kind == Kind::Exclusive {
                    lock.sign()?;
                }
                return Ok(Some(lock));
            }
        }
    }

    /// Waits until the lock can be had; `waiting` is told to the user if that is not at once.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the user stops the wait.
    pub(crate) fn wait(path: &Path, kind: Kind, waiting: &str, progress: &dyn Progress) -> Result<Lock> {
        let mut told = false;
        loop {
            if let Some(lock) = Lock::attempt(path, kind)? {
                return Ok(lock);
            }
            if progress.stop_requested() {
                return Err(Error::Interrupted);
            }
            if !told {
                progress.event(Event::Note(waiting.to_owned()));
                told = true;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Lets others share it; `None` if another process took it for itself meanwhile, since the system lets go of the one
    /// lock before it gives the other.
    pub(crate) fn share(self) -> Result<Option<Lock>> {
        Ok(locked(&self.file, &self.path, Kind::Shared)?.then_some(self))
    }

    /// Gives it back, and removes its file.
    pub(crate) fn remove(self) {
        // While it is held: who waits for it sees that the file is gone.
        let _ = fs::remove_file(&self.path);
    }

    /// Writes the process into the file, for those who find it locked.
    fn sign(&mut self) -> Result<()> {
        let written = self.file.set_len(0).and_then(|()| writeln!(self.file, "{}", std::process::id()));
        written.map_err(Error::io("write", &self.path))
    }

    #[cfg(unix)]
    fn stands(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let own = self.file.metadata().ok().map(identity);
        own.is_some() && own == fs::symlink_metadata(&self.path).ok().map(identity)
    }

    #[cfg(not(unix))]
    fn stands(&self) -> bool {
        true
    }
}

/// Takes the lock of a folder that is there, or says which process has it.
pub(crate) fn take(folder: &Path) -> Result<Lock> {
    let path = folder.join("lock");
    let busy = || Error::Busy { folder: folder.to_owned(), process: owner(&path) };
    Lock::attempt(&path, Kind::Exclusive)?.ok_or_else(busy)
}

/// The process that left its number in a lock's file.
pub(crate) fn owner(path: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = open_own(path, File::options().read(true)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether the lock was to be had.
fn locked(file: &File, path: &Path, kind: Kind) -> Result<bool> {
    let tried = match kind {
        Kind::Shared => file.try_lock_shared(),
        Kind::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_alone_or_many_share_it_and_a_removed_lock_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        let attempt = |kind| Lock::attempt(&path, kind).unwrap();
        let alone = attempt(Kind::Exclusive).unwrap();
        assert!(attempt(Kind::Exclusive).is_none() && attempt(Kind::Shared).is_none());
        assert_eq!(owner(&path), Some(std::process::id()));
        let shared = alone.share().unwrap().unwrap();
        let other = attempt(Kind::Shared).unwrap();
        assert!(attempt(Kind::Exclusive).is_none());
        drop((shared, other));
        // What one holds is removed by it: the next one has a file of its own.
        let held = attempt(Kind::Exclusive).unwrap();
        held.remove();
        assert!(!path.exists());
        let next = attempt(Kind::Exclusive).unwrap();
        assert!(path.exists() && attempt(Kind::Exclusive).is_none());
        drop(next);
    }
}
