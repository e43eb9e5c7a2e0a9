//! Files that are whole or not there.

use crate::error::{Error, Result};
use crate::plain_file::is_own_folder;
use crate::unfinished::Unfinished;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
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
    // It goes in the end unless it is renamed: what could not be written is of no use.
    let temporary = Unfinished::begin(temporary);
    let file = create_new(temporary.path()).map_err(Error::io("write", path))?;
    let mut file = BufWriter::new(Steady { file, waiting: 0 });
    write(&mut file)?;
    let synced =
        file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.file.sync_all());
    let placed = synced.and_then(|()| fs::rename(temporary.path(), path)).and_then(|()| sync_parent(path));
    placed.map_err(Error::io("write", path))
}

/// A file that was not there before. One of that name is what a killed process of the same number left, or a link that
/// someone laid in the way: it goes, and is not written through.
fn create_new(path: &Path) -> io::Result<File> {
    let create = || File::options().write(true).create_new(true).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        other => other,
    }
}

/// Brings the name of a file or folder to the disk: without this, a crash of the machine can undo a rename that has
/// returned.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    // On other systems folders cannot be opened as files are.
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()) {
            // Some file systems keep their folders in order by themselves, and say that there is nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes the folder `path` and those above it that are missing, and brings their names to the disk.
pub(crate) fn create_folders(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folders(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| sync_parent(path)),
    }
}

/// Makes the folders `names` inside of each other below `top`, which must be there: the folder of a run, say. A symbolic
/// link in place of one of them is refused: what is written below it would land elsewhere.
pub(crate) fn create_own_folders<'a>(
    top: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<PathBuf> {
    names.into_iter().try_fold(top.to_owned(), |folder, name| {
        let folder = folder.join(name);
        if !is_own_folder(&folder) {
            fs::create_dir(&folder).and_then(|()| sync_parent(&folder)).or_else(|error| {
                // Another process may have made it in between.
                if is_own_folder(&folder) {
                    Ok(())
                } else {
                    Err(Error::io("create", &folder)(blamed(&folder, error)))
                }
            })?;
        }
        Ok(folder)
    })
}

/// "File exists" says too little of what is in a folder's way.
fn blamed(path: &Path, error: io::Error) -> io::Error {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => io::Error::new(
            io::ErrorKind::InvalidInput,
            "a symbolic link stands in its place, which may lead to a folder of someone else",
        ),
        _ => error,
    }
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
    fn a_file_takes_the_place_of_a_link_and_leaves_what_the_link_led_to() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("record.json"));
        write(&target, b"precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(
            (fs::read(&target).unwrap(), fs::read(&link).unwrap()),
            (b"precious".to_vec(), b"new".to_vec())
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        std::os::unix::fs::symlink(&target, dir.path().join("temporary")).unwrap();
        create_new(&dir.path().join("temporary")).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn folders_are_made_inside_of_each_other_and_never_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (run, elsewhere) = (dir.path().join("new/run"), dir.path().join("elsewhere"));
        assert!(create_own_folders(&run, ["trials"]).is_err());
        create_folders(&run).unwrap();
        assert_eq!(create_own_folders(&run, ["trials", "a"]).unwrap(), run.join("trials/a"));
        assert!(create_own_folders(&run, ["trials", "a"]).is_ok());
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, run.join("trials/b")).unwrap();
        let error = create_own_folders(&run, ["trials", "b", "adapter"]).unwrap_err().to_string();
        assert!(error.contains("trials/b") && error.contains("a symbolic link"), "{error}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        write(&run.join("trials/c"), b"x").unwrap();
        assert!(create_own_folders(&run, ["trials", "c"]).unwrap_err().to_string().contains("exists"));
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
