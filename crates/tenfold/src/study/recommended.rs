//! `recommended/` in the run's folder: the recommended trial's adapter as Python loads it, by Transformers or PEFT. It is
//! made anew when another adapter is recommended.

use super::session::Session;
use super::store::RunFolder;
use crate::adapter::Context;
use crate::adapter::export::{Export, export};
use crate::adapter::file;
use crate::atomic;
use crate::device;
use crate::error::{Error, Result};
use crate::new_folder::NewFolder;
use crate::progress::{Event, Progress};
use crate::unfinished::Unfinished;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The folder, below the run's.
const NAME: &str = "recommended";
/// The file in it that says what it was made of; a folder without it is somebody else's.
const MARK: &str = "exported_from.json";
/// A folder in the making, and one that is replaced.
const NEW: &str = ".recommended.new.tmp";
const OLD: &str = ".recommended.old.tmp";

/// What the folder was made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// The adapter's folder, below the run's.
    adapter: String,
    /// SHA-256 of its files.
    sha256: String,
}

/// The content of [`MARK`].
#[derive(Debug, Serialize, Deserialize)]
struct Marked {
    #[serde(flatten)]
    mark: Mark,
    /// The sizes in bytes of the files that were made of it, by name.
    files: BTreeMap<String, u64>,
}

/// The name of the folder, if it holds the adapter as it is now.
pub(super) fn found(folder: &RunFolder, adapter: Option<&str>) -> Option<String> {
    let mark = mark(folder, adapter?).ok()?;
    let place = folder.file(NAME);
    let marked = written(&place).filter(|marked| marked.mark == mark)?;
    let is_whole = sizes(&place)
        .is_ok_and(|sizes| marked.files.iter().all(|(name, size)| sizes.get(name) == Some(size)));
    is_whole.then(|| NAME.to_owned())
}

/// Makes the folder hold the adapter; without one it goes. What cannot be written is told: the adapter itself is there.
pub(super) fn bring(
    session: &Session,
    folder: &RunFolder,
    adapter: Option<&str>,
    progress: &dyn Progress,
) -> Option<String> {
    let brought = NewFolder::clear(&folder.file(NEW)).and_then(|()| match adapter {
        None => remove(folder).map(|()| None),
        Some(adapter) => match found(folder, Some(adapter)) {
            Some(found) => Ok(Some(found)),
            None => make(session, folder, adapter, progress).map(Some),
        },
    });
    brought.unwrap_or_else(|error| {
        progress.event(Event::Note(format!("{NAME}/ was not written: {error}")));
        None
    })
}

fn make(session: &Session, folder: &RunFolder, adapter: &str, progress: &dyn Progress) -> Result<String> {
    let tokenize = |text: &str| session.base.tokenizer.words(text);
    let backend = device::beside(&*session.base.model)?;
    let context = Context { model: &*session.base.model, backend: &backend, seed: 0, tokenize: &tokenize };
    let source = folder.file(adapter);
    let what = Export { adapter: &source, model_files: &session.base.files, merged: false };
    replace(folder, |new| {
        export(&what, &context, new, progress)?;
        let marked = Marked { mark: mark(folder, adapter)?, files: sizes(new)? };
        let mark = serde_json::to_string_pretty(&marked).unwrap_or_default() + "\n";
        atomic::write(&new.join(MARK), mark.as_bytes())
    })?;
    Ok(NAME.to_owned())
}

/// Puts a folder that `make` makes in the place of the one that is there. However the process ends, neither the new one under
/// its temporary name nor the one that it replaces stays.
fn replace(folder: &RunFolder, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let place = folder.file(NAME);
    if place.exists() && written(&place).is_none() {
        let expected = format!("a folder that Tenfold made ({MARK} in it), which may be replaced");
        return Err(Error::malformed(&place, "the folder", expected, "another, which is left as it is"));
    }
    let [new, old] = [NEW, OLD].map(|name| folder.file(name));
    [&new, &old].into_iter().try_for_each(|left| cleared(left))?;
    let [new, old] = [new, old].map(Unfinished::begin);
    make(new.path())?;
    if place.exists() {
        fs::rename(&place, old.path()).map_err(Error::io("move", &place))?;
    }
    fs::rename(new.path(), &place).map_err(Error::io("write", &place))
}

/// Moves the folder to `place`, below the run's, if it is ours.
pub(super) fn set_aside(folder: &RunFolder, place: &Path) -> Result<()> {
    let from = folder.file(NAME);
    match written(&from) {
        Some(_) => fs::rename(&from, place.join(NAME)).map_err(Error::io("move", &from)),
        None => Ok(()),
    }
}

/// Removes a folder that is no longer what is recommended.
fn remove(folder: &RunFolder) -> Result<()> {
    let place = folder.file(NAME);
    if written(&place).is_some() { cleared(&place) } else { Ok(()) }
}

fn cleared(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn mark(folder: &RunFolder, adapter: &str) -> Result<Mark> {
    Ok(Mark { adapter: adapter.to_owned(), sha256: file::sha256(&folder.file(adapter))? })
}

/// The sizes in bytes of the files of a folder, by name.
fn sizes(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let bytes = entry.metadata().map_err(Error::io("read", folder))?.len();
        sizes.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
    }
    Ok(sizes)
}

fn written(place: &Path) -> Option<Marked> {
    serde_json::from_slice(&fs::read(place.join(MARK)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unfinished::is_begun;

    fn mark_of(adapter: &str, folder: &Path) {
        let mark = Mark { adapter: adapter.to_owned(), sha256: "0".repeat(64) };
        let marked = Marked { mark, files: BTreeMap::new() };
        fs::write(folder.join(MARK), serde_json::to_string(&marked).unwrap()).unwrap();
    }

    #[test]
    fn a_stop_at_any_moment_leaves_no_folder_under_a_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path());
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        for adapter in ["trials/a/adapter", "trials/b/adapter"] {
            replace(&folder, |new| {
                fs::create_dir_all(new).unwrap();
                mark_of(adapter, new);
                // A process that is stopped removes what is begun.
                assert!(is_begun(&folder.file(NEW)) && is_begun(&folder.file(OLD)));
                Ok(())
            })
            .unwrap();
            assert_eq!(
                (names(), written(&folder.file(NAME)).unwrap().mark.adapter),
                (vec![NAME.into()], adapter.into())
            );
        }
        let stopped = replace(&folder, |new| {
            fs::create_dir_all(new.join("half")).unwrap();
            Err(Error::Interrupted)
        });
        assert!(stopped.is_err() && names() == [NAME]);
        assert!(!is_begun(&folder.file(NEW)) && !is_begun(&folder.file(OLD)));
        // A folder of somebody else's is not replaced.
        fs::remove_file(folder.file(NAME).join(MARK)).unwrap();
        assert!(replace(&folder, |_| Ok(())).unwrap_err().to_string().contains("left as it is"));
    }
}
