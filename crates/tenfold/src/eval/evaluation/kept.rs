//! Answers on disk, so that an evaluation goes on where it was stopped and none writes over another's.
//!
//! ```text
//! OUT/<task>/<hash>/samples/<domain>.jsonl    a line that says what was asked of whom, then one for each row, sealed
//! OUT/<task>/<hash>/results.json              scores, made of the samples alone
//! ```
//!
//! `<hash>` is that of all that decides the answers: the same questions to the same model are not asked again, others have
//! a folder of their own.

use super::Identity;
use crate::atomic;
use crate::data::hexadecimal;
use crate::error::{Error, Result};
use crate::eval::asking::Said;
use crate::lock::{self, Lock};
use crate::model;
use crate::plain_file;
use crate::seal::{opened, sealed};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Version of the files.
const SCHEMA: u32 = 3;
/// Version of the code that asks; it changes when answers do.
const CODE: &str = "eval 2";
/// Rows of a block: what is kept and gone on from.
pub(super) const BLOCK: usize = 32;
/// Digits of a folder's hash.
const DIGITS: usize = 16;

/// The first line of a file of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    schema: u32,
    code: String,
    identity: Identity,
    task: String,
    domain: String,
    asked: String,
    rows: usize,
}

#[derive(Serialize, Deserialize)]
struct Sample {
    row: usize,
    place: String,
    #[serde(flatten)]
    said: Said,
}

/// The folder of one evaluation, which no other process works in.
pub(super) struct Place {
    folder: PathBuf,
    _lock: Lock,
}

/// The answers of one domain.
pub(super) struct Kept {
    path: PathBuf,
    file: File,
    said: Vec<Said>,
    /// The first line whose words are not those that were written; it and all behind it are asked again.
    damaged: Option<usize>,
}

impl Header {
    /// `asked` stands for the questions and for how they are put.
    pub(super) fn new(identity: Identity, task: &str, domain: &str, asked: String, rows: usize) -> Header {
        let (task, domain) = (task.to_owned(), domain.to_owned());
        Header { schema: SCHEMA, code: CODE.into(), identity, task, domain, asked, rows }
    }

    fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl Place {
    /// The folder for answers with these headers, made if it is not there.
    pub(super) fn open(out: &Path, task: &str, headers: &[Header]) -> Result<Place> {
        let all: String = headers.iter().map(Header::line).collect();
        let hash = &hexadecimal(&Sha256::digest(all))[..DIGITS];
        atomic::create_folders(out).map_err(Error::io("create", out))?;
        let folder = atomic::create_own_folders(out, [&*file_name(task), hash])?;
        atomic::create_own_folders(&folder, ["samples"])?;
        let lock = lock::take(&folder)?;
        atomic::sweep(&folder);
        Ok(Place { folder, _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The answers of whole blocks that were kept, and the file open behind them. A file that does not begin as it must is
    /// begun anew.
    pub(super) fn domain(&self, header: &Header) -> Result<Kept> {
        let path = self.folder.join("samples").join(format!("{}.jsonl", file_name(&header.domain)));
        let text = match plain_file::read_own(&path, plain_file::RECORD) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let first = header.line();
        let (mut said, mut length, mut damaged) = (Vec::new(), first.len(), None);
        if lines.next() == Some(&first) {
            let (mut read, mut end) = (Vec::new(), length);
            for line in lines {
                let object = opened(line.trim_end().as_bytes());
                let sample = object.and_then(|object| serde_json::from_slice::<Sample>(&object).ok());
                let Some(sample) = sample.filter(|sample| sample.row == read.len()) else {
                    damaged = Some(read.len() + 2);
                    break;
                };
                read.push(sample.said);
                end += line.len();
                if read.len() % BLOCK == 0 || read.len() == header.rows {
                    (said, length) = (read.clone(), end);
                }
            }
        } else {
            atomic::write(&path, first.as_bytes())?;
        }
        let opened = plain_file::open_own(&path, File::options().write(true));
        let file = opened.and_then(|mut file| {
            file.set_len(length as u64)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        });
        let file = file.map_err(Error::io("write", &path))?;
        Ok(Kept { path, file, said, damaged })
    }
}

impl Kept {
    /// How many answers were kept when it was opened.
    pub(super) fn len(&self) -> usize {
        self.said.len()
    }

    /// That answers were damaged and are asked again, if they were.
    pub(super) fn damage(&self) -> Option<String> {
        let (path, line) = (self.path.display(), self.damaged?);
        Some(format!(
            "{path}: line {line} was changed or damaged: it and what stands behind it are asked again"
        ))
    }

    /// What was kept when it was opened.
    pub(super) fn take(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// Keeps the answers of a block that begins with row `first`.
    pub(super) fn keep(&mut self, first: usize, places: &[String], said: &[Said]) -> Result<()> {
        model::unchanged()?;
        let mut lines = String::new();
        for (row, said) in (first..).zip(said) {
            let place = places.get(row).cloned().unwrap_or_default();
            let sample = Sample { row, place, said: said.clone() };
            lines.push_str(&sealed(&serde_json::to_string(&sample).unwrap_or_default()));
            lines.push('\n');
        }
        let kept = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        kept.map_err(Error::io("write", &self.path))
    }
}

/// A name as a file's: what could lead elsewhere is replaced, and told apart by a hash.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') {
        return name.to_owned();
    }
    let mended: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let hash = &hexadecimal(&Sha256::digest(name))[..8];
    format!("{}-{hash}", mended.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_of_their_folder_and_apart() {
        assert_eq!(file_name("arc_easy"), "arc_easy");
        for name in ["../up", "a/b", ".hidden", "", "a b"] {
            let file = file_name(name);
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
        }
        assert_ne!(file_name("a/b"), file_name("a b"));
    }
}
