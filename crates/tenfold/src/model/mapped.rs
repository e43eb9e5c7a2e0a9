//! Files of weights in memory maps, and whether they are still what they were.
//!
//! A map shows its file as it is at the moment of reading. Another program that writes into the file changes the numbers of
//! a model that is at work; one that cuts it short ends the process (which the command `tenfold` says in a line). So what a
//! map was read for is kept only if length, time and place of its file are those of the beginning ([`unchanged`]).

use crate::plain_file;
use crate::{Error, Result};
use memmap2::Mmap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file; 0 where the system has none.
    place: (u64, u64),
}

/// All maps of this process that are in use, and how their files were when they were mapped.
static MAPPED: Mutex<Vec<(Weak<Mmap>, PathBuf, Stamp)>> = Mutex::new(Vec::new());

/// Maps a plain file that is not empty.
pub(crate) fn map(path: &Path) -> Result<Arc<Mmap>> {
    let file = plain_file::open(path).map_err(Error::io("open", path))?;
    plain_file::note_read(path);
    let stamp = Stamp::of(&file.metadata().map_err(Error::io("read", path))?);
    // SAFETY: The map is only read. Tenfold replaces files by renaming a new one into place and never writes into one, so
    // the mapped bytes stay. Where another program changes them, numbers change, of which nothing but results depends:
    // every length and offset was copied out when it was checked. Where one cuts the file short, the process ends.
    let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?);
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    mapped.retain(|(map, ..)| map.strong_count() > 0);
    mapped.push((Arc::downgrade(&map), path.to_owned(), stamp));
    Ok(map)
}

/// Fails if a file that is mapped is not as it was when it was mapped. To be asked before anything is kept that was worked
/// out by means of a model.
pub fn unchanged() -> Result<()> {
    unchanged_of(|_| true)
}

/// The same of the files of one model: those at a path or below it.
pub(crate) fn unchanged_below(model: &Path) -> Result<()> {
    unchanged_of(|path| path.starts_with(model))
}

fn unchanged_of(is_asked: impl Fn(&Path) -> bool) -> Result<()> {
    let mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    for (_, path, stamp) in mapped.iter().filter(|(map, path, _)| map.strong_count() > 0 && is_asked(path)) {
        let changed = match std::fs::metadata(path) {
            Ok(metadata) => stamp.changed(&Stamp::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it is gone".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(how) = changed {
            let words = format!("it was changed while it was in use: {how}; run the command again");
            return Err(Error::io("go on with", path)(io::Error::other(words)));
        }
    }
    Ok(())
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { length: metadata.len(), modified: metadata.modified().ok(), place: place(metadata) }
    }

    /// How the file has become another.
    fn changed(&self, now: &Stamp) -> Option<String> {
        match (self, now) {
            (was, now) if was == now => None,
            (was, now) if was.length != now.length => {
                Some(format!("it had {} bytes and has {}", was.length, now.length))
            }
            (was, now) if was.place != now.place => Some("another file stands in its place".to_owned()),
            _ => Some("it was written to".to_owned()),
        }
    }
}

#[cfg(unix)]
fn place(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn place(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    /// `unchanged` is about the whole process, in which other tests map files of theirs.
    fn words_about(path: &Path) -> Option<String> {
        let error = unchanged().err()?.to_string();
        error.contains(&path.display().to_string()).then_some(error)
    }

    #[test]
    fn a_file_that_changes_under_its_map_is_told_and_one_that_is_no_longer_mapped_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let other = folder.path().join("other");
        let write = |file: &Path, text: &str| fs::write(file, text).unwrap();
        let longer = || write(&path, "longer than before");
        let touched = || {
            let file = File::options().append(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
        };
        let replaced = || {
            write(&other, "weights");
            let modified = path.metadata().unwrap().modified().unwrap();
            File::options().append(true).open(&other).unwrap().set_modified(modified).unwrap();
            fs::rename(&other, &path).unwrap();
        };
        let removed = || fs::remove_file(&path).unwrap();
        let changes: [(&str, &dyn Fn()); 4] = [
            ("it had 7 bytes and has 18", &longer),
            ("it was written to", &touched),
            ("another file stands in its place", &replaced),
            ("it is gone", &removed),
        ];
        for (expected, change) in changes {
            write(&path, "weights");
            let map = map(&path).unwrap();
            assert_eq!(words_about(&path), None);
            change();
            let words = words_about(&path).unwrap();
            assert!(words.contains(expected) && words.contains("run the command again"), "{words}");
            drop(map);
            assert_eq!(words_about(&path), None);
        }
    }
}
