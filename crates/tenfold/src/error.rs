//! Everything that can go wrong, said so that a person can mend it.

use crate::bytes::Bytes;
use crate::words::{be, count, excerpt, one_line};
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the library: what was being done, where, what was expected and what came.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", named(path))]
    Io {
        /// What was tried: "read", "write", "create", "rename", "lock" …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file was read but does not hold what its format promises.
    #[error(
        "{}: {}: expected {}, found {}",
        named(file),
        one_line(place),
        one_line(expected),
        one_line(found)
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where in it: a key, a line, a byte offset, a tensor's name.
        place: String,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },

    /// A file of which some rows do not fit.
    #[error(
        "{}: {count} of {rows} rows {} malformed:\n  {}{}{}",
        named(file), be(*count), lines(shown), more(*count, shown.len()), way_on(*count, *rows)
    )]
    MalformedRows {
        /// The file.
        file: PathBuf,
        /// How many of its rows do not.
        count: usize,
        /// How many it has.
        rows: usize,
        /// The first of them, a line each: place, what was expected, what came.
        shown: Vec<String>,
    },

    /// A configuration file with one or more faults, all of them listed.
    #[error("{}: {} to mend:\n  {}", named(file), count(faults.len(), "fault"), faults.join("\n  "))]
    Faults {
        /// The file.
        file: PathBuf,
        /// One line a fault: key, what was expected, what came.
        faults: Vec<String>,
    },

    /// A name that is not in a registry or catalog.
    #[error("there is no {kind} named \"{}\"{}", one_line(name), suggestion(nearest, known))]
    Unknown {
        /// What was looked for: "method", "model", "task" …
        kind: &'static str,
        /// The name as it was given.
        name: String,
        /// The known name that is closest to it.
        nearest: Option<String>,
        /// All names that are known.
        known: Vec<String>,
    },

    /// A model that none of the known places could provide.
    #[error("model \"{}\" was not found. Tried:\n  {}\nPut config.json, model.safetensors and tokenizer.json into {}", one_line(name), tried.join("\n  "), named(put))]
    ModelNotFound {
        /// The model's name as it was given.
        name: String,
        /// One line for each place: where, and why not.
        tried: Vec<String>,
        /// The folder in which the files would be found next time.
        put: PathBuf,
    },

    /// A task whose rows are not on this machine.
    #[error(
        "the data of task \"{task}\" is not here: set TENFOLD_DATA to the folder that holds {wanted}{}",
        places(looked)
    )]
    MissingData {
        /// The task's name.
        task: String,
        /// The file, as the task names it.
        wanted: String,
        /// Every path that was looked at.
        looked: Vec<PathBuf>,
    },

    /// Something that is valid but that this version cannot do.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// The feature, key or value.
        what: String,
        /// Why not, and what to do instead.
        why: String,
    },

    /// Another process works in the same folder.
    #[error("{} is in use by another tenfold process{}; wait for it, or choose another folder with --out", folder.display(), process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    Busy {
        /// The run's folder.
        folder: PathBuf,
        /// The other process, where it left its number.
        process: Option<u32>,
    },

    /// The folder of a run is not where it was when the run began.
    #[error(
        "{} was moved, removed or replaced while the run was going on; what was finished before is in it: put it back, and \
         the same command goes on",
        folder.display()
    )]
    Moved {
        /// The run's folder, as it was given.
        folder: PathBuf,
    },

    /// Records of a run that cannot be believed, where nothing may be changed.
    #[error(
        "{}: {} cannot be used, so that no report is made and the one that may be there stays:\n  {}\n\
         `tenfold run` keeps damaged records under another name and runs their trials again",
        folder.display(), count(faults.len(), "record"), faults.join("\n  ")
    )]
    DamagedRecords {
        /// The run's folder.
        folder: PathBuf,
        /// One line for each: file, what was expected, what came.
        faults: Vec<String>,
    },

    /// A report that cannot be made anew, since what it was made from has changed.
    #[error(
        "{}: its report stays as it is, for it rests on {} that cannot be had now:\n  {}\nTo have them again, run the study \
         again",
        folder.display(), count(lost.len(), "trial"), lost.join("\n  ")
    )]
    Outdated {
        /// The run's folder.
        folder: PathBuf,
        /// The trials that cannot be had, each with the reason, a line each.
        lost: Vec<String>,
    },

    /// A run's folder from which no report can be made, since it does not say what its model and data are.
    #[error(
        "{0}: no facts.json is there: this is no run, the run has not opened its model and data yet, or an earlier version \
         of Tenfold made it; `tenfold run {0}/study.toml --out {0}` writes it",
        folder.display()
    )]
    WithoutFacts {
        /// The run's folder.
        folder: PathBuf,
    },

    /// The user asked to stop.
    #[error("stopped; the same command goes on from here")]
    Interrupted,

    /// A training run that does not fit into the memory it may take, however it is done.
    #[error(
        "training would take {} of memory for the whole process at the least, blocks recomputed and a row at a time, and {} are allowed ({parts}). \
         What would help: {help}, or a higher memory_limit",
        needed.words(), limit.words()
    )]
    Memory {
        /// What it would take.
        needed: Bytes,
        /// What it may take.
        limit: Bytes,
        /// Class by class.
        parts: String,
        /// Ways to need less.
        help: String,
    },

    /// A training run whose loss is no longer a number.
    #[error("the loss became {loss} at step {step}: {causes}")]
    Diverged {
        /// The optimizer step, counted from 0.
        step: usize,
        /// The loss that came.
        loss: f32,
        /// What most likely caused it, and what to do.
        causes: String,
    },

    /// A training run whose last step took its weights beyond all numbers.
    #[error("the weights are no longer numbers after step {step}: {causes}")]
    Overflowed {
        /// The optimizer step, counted from 0.
        step: usize,
        /// What most likely caused it, and what to do.
        causes: String,
    },

    /// An error of the engine.
    #[error(transparent)]
    Tensor(#[from] tenfold_tensor::Error),
}

impl Error {
    /// For `map_err` on file operations: `fs::read(path).map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// A file that does not hold what its format promises.
    pub fn malformed(
        file: impl AsRef<Path>,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::Malformed {
            file: file.as_ref().to_owned(),
            place: place.into(),
            expected: expected.into(),
            found: excerpt(found.into(), LONGEST_FOUND),
        }
    }

    /// A name that is not among `known`, with the nearest one as a suggestion.
    pub fn unknown<'a>(kind: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Error::Unknown { kind, name: name.to_owned(), nearest, known }
    }
}

/// Characters of what was found that an error shows.
const LONGEST_FOUND: usize = 600;

/// A path in one line that no terminal obeys.
fn named(path: &Path) -> String {
    one_line(&path.to_string_lossy()).into_owned()
}

/// Lines below a heading, each of which stays one.
fn lines(of: &[String]) -> String {
    of.iter().map(|line| one_line(line)).collect::<Vec<_>>().join("\n  ")
}

/// The candidate with the smallest edit distance to `name`, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = name.chars().count().div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!(": did you mean \"{name}\"?"),
        None => format!("; known are {}", known.join(", ")),
    }
}

fn places(looked: &[PathBuf]) -> String {
    let heading = if looked.is_empty() { "" } else { ". Looked for" };
    let paths: String = looked.iter().map(|path| format!("\n  {}", path.display())).collect();
    format!("{heading}{paths}")
}

/// What to do about malformed rows; without any of the rows there is nothing to go on with.
fn way_on(malformed: usize, rows: usize) -> &'static str {
    match malformed < rows {
        true => "\nTo go on without them, say malformed = \"skip\" in the task's file",
        false => "",
    }
}

fn more(all: usize, shown: usize) -> String {
    if all > shown { format!("\n  and {} more", all - shown) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_is_not() {
        let methods = ["lora", "ia3", "prefix_tuning", "prompt_tuning"];
        assert_eq!(nearest("Lroa", methods), Some("lora"));
        assert_eq!(nearest("prefix-tunning", methods), Some("prefix_tuning"));
        assert_eq!(nearest("quantum", methods), None);
    }

    #[test]
    fn faults_are_all_listed() {
        let error = Error::Faults { file: "study.toml".into(), faults: vec!["a".into(), "b".into()] };
        assert_eq!(error.to_string(), "study.toml: 2 faults to mend:\n  a\n  b");
    }
}
