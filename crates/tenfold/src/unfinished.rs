//! Files and folders that are being written under temporary names, so that nothing of them stays however the process ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All that are being written by this process.
static BEGUN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file or folder under a temporary name. Whatever is there under this name is removed in the end: nothing, if it was
/// moved to its place.
pub(crate) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// Call this before the file or folder is created.
    pub(crate) fn begin(path: PathBuf) -> Unfinished {
        begun().insert(path.clone());
        Unfinished { path }
    }

    /// The temporary name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut begun = begun();
        remove(&self.path);
        begun.remove(&self.path);
    }
}

/// Removes all that is unfinished, for a process that ends at once, without waiting for its threads. Whoever begins or ends
/// a file after this waits for ever.
pub fn remove_all() {
    let begun = begun();
    begun.iter().for_each(|path| remove(path));
    std::mem::forget(begun);
}

/// Whether a file or folder is registered as being written.
#[cfg(test)]
pub(crate) fn is_begun(path: &Path) -> bool {
    begun().contains(path)
}

fn begun() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What cannot be removed is in nobody's way.
fn remove(path: &Path) {
    // Threads that go on may put another file into a folder while it is emptied.
    const ATTEMPTS: usize = 10;
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
        let _ = (0..ATTEMPTS).any(|_| fs::remove_dir_all(path).is_ok());
    } else {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_to_its_place_stays_and_what_is_not_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join(".file.tmp"), dir.path().join(".folder.tmp"));
        for is_moved in [true, false] {
            let begun = [Unfinished::begin(file.clone()), Unfinished::begin(folder.clone())];
            fs::write(&file, "x").unwrap();
            fs::create_dir_all(folder.join("inner")).unwrap();
            fs::write(folder.join("inner/file"), "x").unwrap();
            if is_moved {
                fs::rename(begun[0].path(), dir.path().join("file")).unwrap();
                fs::rename(begun[1].path(), dir.path().join("folder")).unwrap();
            }
        }
        assert!(dir.path().join("file").is_file() && dir.path().join("folder/inner/file").is_file());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(!begun().iter().any(|path| path.starts_with(dir.path())));
    }
}
