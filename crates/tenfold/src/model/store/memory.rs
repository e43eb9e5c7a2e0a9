//! What was found out about large files and is remembered in the cache, never in the model's own folder: their hashes, and
//! that all of their numbers are finite.

use crate::data::hexadecimal;
use crate::plain_file;
use sha2::{Digest, Sha256};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Smaller files are looked through each time.
const WORTH_REMEMBERING: u64 = 1 << 20;

/// A file may change without a change of its times while the clock stands still for it. What was found out about a file that
/// changed less than this ago is not remembered, as git does not trust the time of such a file ("racy").
const RACY: Duration = Duration::from_secs(2);

/// A folder of the cache with a small file for each thing that is remembered.
#[derive(Debug, Clone)]
pub(in crate::model) struct Memory {
    folder: PathBuf,
    racy: Duration,
}

/// What is remembered of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fact {
    /// Its hash.
    Sha256,
    /// That its numbers are finite.
    Finite,
}

impl Fact {
    /// What the names of the files of this fact end with.
    fn end(self) -> &'static str {
        match self {
            Fact::Sha256 => "",
            Fact::Finite => ".finite",
        }
    }
}

/// Where one fact about one file is remembered, and the state of the file that it would be a fact about.
pub(super) struct Place {
    path: PathBuf,
    file: PathBuf,
    state: State,
    racy: Duration,
    began: SystemTime,
}

impl Memory {
    pub(in crate::model) fn new(folder: PathBuf) -> Memory {
        Memory { folder, racy: RACY }
    }

    /// The same that takes files' times for exact.
    #[cfg(test)]
    pub(in crate::model) fn trusting(self) -> Memory {
        Memory { racy: Duration::ZERO, ..self }
    }

    /// Where a fact is remembered of a file as it is now; `None` of a file that is not worth it, or whose changes cannot be
    /// told.
    pub(super) fn place(&self, file: &Path, fact: Fact) -> Option<Place> {
        let metadata = fs::metadata(file).ok().filter(|metadata| metadata.len() >= WORTH_REMEMBERING)?;
        let path = fs::canonicalize(file).ok()?;
        let name = hexadecimal(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
        Some(Place {
            path: self.folder.join(name + fact.end()),
            file: file.to_owned(),
            state: state_of(&metadata)?,
            racy: self.racy,
            began: SystemTime::now(),
        })
    }

    /// Whether it is remembered that all numbers of a file of weights, as it is now, are finite.
    pub(in crate::model) fn is_finite(&self, file: &Path) -> bool {
        let place = self.place(file, Fact::Finite);
        place.and_then(|place| place.remembered()).is_some_and(|word| word == FINITE)
    }

    /// To be called before the files are looked through; what it returns notes that their numbers are finite, if they have not
    /// changed meanwhile.
    pub(in crate::model) fn noting_finite(&self, files: &[PathBuf]) -> impl FnOnce() + use<> {
        let places: Vec<Place> = files.iter().filter_map(|file| self.place(file, Fact::Finite)).collect();
        move || places.iter().for_each(|place| place.remember(FINITE))
    }
}

/// What stands before the state of a file whose numbers are finite.
const FINITE: &str = "finite";

impl Place {
    /// The word that was written of the file in its present state.
    pub(super) fn remembered(&self) -> Option<String> {
        let line = plain_file::read_own_text(&self.path, plain_file::SETTINGS).ok()?;
        let (word, state) = line.trim_end().split_once(' ')?;
        (state == self.state.words()).then(|| word.to_owned())
    }

    /// Writes a word about the file, if it is certain that it did not change since the place was made.
    pub(super) fn remember(&self, word: &str) {
        let after = fs::metadata(&self.file).ok().and_then(|metadata| state_of(&metadata));
        if after.is_some_and(|after| after == self.state && after.at_rest(self.began, self.racy)) {
            // A cache that cannot be written to costs a moment at each start, no more.
            let folder = self.path.parent().unwrap_or(Path::new(""));
            let line = format!("{word} {}\n", self.state.words());
            let _ = crate::atomic::create_folders(folder)
                .map(|()| crate::atomic::write(&self.path, line.as_bytes()));
        }
    }
}

/// What changes when a file's content does. The time of change cannot be set back by a program, and another file in its
/// place has another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    bytes: u64,
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    changed: i128,
}

impl State {
    fn words(&self) -> String {
        let State { bytes, device, inode, modified, changed } = self;
        format!("{bytes} {device} {inode} {modified} {changed}")
    }

    /// Whether the file had not changed for so long at a time.
    fn at_rest(&self, at: SystemTime, long: Duration) -> bool {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        self.modified.max(self.changed) + (long.as_nanos() as i128) <= at
    }
}

#[cfg(unix)]
fn state_of(metadata: &Metadata) -> Option<State> {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds = |seconds: i64, more: i64| i128::from(seconds) * 1_000_000_000 + i128::from(more);
    Some(State {
        bytes: metadata.len(),
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Without a time of change and an inode nothing is certain.
#[cfg(not(unix))]
fn state_of(_: &Metadata) -> Option<State> {
    None
}
