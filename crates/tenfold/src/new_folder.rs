//! Folders that are whole or not there, as `atomic` is for files.

use crate::atomic::sync_parent;
use crate::error::{Error, Result};
use crate::progress::Job;
use crate::unfinished::Unfinished;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder in the making, beside the place where it is to stand. It is removed if it is not finished.
pub(crate) struct NewFolder {
    /// Where its files are written.
    pub(crate) folder: PathBuf,
    /// The name that it is to have.
    pub(crate) name: String,
    out: PathBuf,
    /// Removes it in the end, unless it was moved to its place.
    _unfinished: Unfinished,
}

/// The name of the folder `out`, which must not be there yet, or be empty.
pub(crate) fn free_name(out: &Path) -> Result<String> {
    let entries = match fs::read_dir(out) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("write a folder at", out)(error)),
    };
    match (entries, out.file_name()) {
        (None, Some(name)) => Ok(name.to_string_lossy().into_owned()),
        (Some(_), _) => {
            let found = "one with files in it, which are never written over";
            Err(Error::malformed(out, "the folder", "none, or an empty one", found))
        }
        (None, None) => Err(Error::malformed(out, "the path", "the name of a folder", "none")),
    }
}

impl NewFolder {
    /// Begins the folder `out`, which must not be there yet, or be empty.
    pub(crate) fn begin(out: &Path) -> Result<NewFolder> {
        let name = free_name(out)?;
        let folder = out.with_file_name(format!(".{name}.{}.{}.tmp", std::process::id(), Job::new().0));
        let unfinished = Unfinished::begin(folder.clone());
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        Ok(NewFolder { folder, name, out: out.to_owned(), _unfinished: unfinished })
    }

    /// Removes what processes that were killed left of the folder `out`. No other process may be making it.
    pub(crate) fn clear(out: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else { return Ok(()) };
        let begun = format!(".{}.", name.to_string_lossy());
        for entry in fs::read_dir(parent).map_err(Error::io("read", parent))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&begun) && name.ends_with(".tmp") {
                fs::remove_dir_all(entry.path()).map_err(Error::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Moves it to its place, in one step.
    pub(crate) fn put(self) -> Result<()> {
        fs::rename(&self.folder, &self.out)
            .and_then(|()| sync_parent(&self.out))
            .map_err(Error::io("write", &self.out))
    }
}
