//! Files that are whole or not there.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` to `path`: either the old file stays or the whole new one stands in its place.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes a file beside `path`, brings it to the disk and renames it into place.
pub(crate) fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    produce(path, |file| write(file).map_err(Error::io("write", path)))
}

/// The same, where more than the writing can go wrong, or be given up.
pub(crate) fn produce(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.{number}.tmp", std::process::id()));
    let whole = File::create(&temporary).map_err(Error::io("write", path)).and_then(|file| {
        let mut file = BufWriter::new(Steady { file, waiting: 0 });
        write(&mut file)?;
        let synced =
            file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.file.sync_all());
        synced.and_then(|()| fs::rename(&temporary, path)).map_err(Error::io("write", path))
    });
    whole.inspect_err(|_| {
        // What could not be written is of no use; that it may still lie there is not worth a second error.
        let _ = fs::remove_file(&temporary);
    })
}

/// A file that is brought to the disk while it is written, so that its end, which nothing can stop, does not take long.
struct Steady {
    file: File,
    /// Bytes that the disk may not have.
    waiting: usize,
}

/// So many bytes are left to the system at the most.
const WAITING: usize = 32 << 20;

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.waiting += written;
        if self.waiting >= WAITING {
            self.file.sync_data()?;
            self.waiting = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes what a killed process left of files that it was writing in `folder`.
pub(crate) fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert!(write_with(&path, |_| Err(io::Error::other("disk full"))).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(write(&dir.path().join("missing/record.json"), b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".record.json.77.0.tmp", "record.json", "notes.tmp", ".hidden"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        sweep(dir.path());
        assert!(!dir.path().join(".record.json.77.0.tmp").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
