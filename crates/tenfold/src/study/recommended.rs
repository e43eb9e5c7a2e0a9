//! `recommended/` in the run's folder: the recommended trial's adapter as Python loads it, by Transformers or PEFT. It is
//! made anew when another adapter is recommended.

use super::session::{Session, backend};
use super::store::RunFolder;
use crate::adapter::Context;
use crate::adapter::export::{Export, export};
use crate::adapter::file;
use crate::atomic;
use crate::error::{Error, Result};
use crate::new_folder::NewFolder;
use crate::progress::{Event, Progress};
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
    let [new, old, place] = [NEW, OLD, NAME].map(|name| folder.file(name));
    [&new, &old].into_iter().try_for_each(|left| cleared(left))?;
    if place.exists() && written(&place).is_none() {
        let expected = format!("a folder that Tenfold made ({MARK} in it), which may be replaced");
        return Err(Error::malformed(&place, "the folder", expected, "another, which is left as it is"));
    }
    let tokenize = |text: &str| session.tokenizer.words(text);
    let backend = backend();
    let context = Context { model: &*session.model, backend: &backend, seed: 0, tokenize: &tokenize };
    let source = folder.file(adapter);
    let what = Export { adapter: &source, model_dir: session.model_dir(), merged: false };
    export(&what, &context, &new, progress)?;
    let marked = Marked { mark: mark(folder, adapter)?, files: sizes(&new)? };
    let mark = serde_json::to_string_pretty(&marked).unwrap_or_default() + "\n";
    atomic::write(&new.join(MARK), mark.as_bytes())?;
    if place.exists() {
        fs::rename(&place, &old).map_err(Error::io("move", &place))?;
    }
    fs::rename(&new, &place).map_err(Error::io("write", &place))?;
    cleared(&old)?;
    Ok(NAME.to_owned())
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
