//! Fetching a model from the Hugging Face Hub, by way of the hf-hub crate.
//!
//! hf-hub 0.5 keeps the files as Hugging Face's libraries do and goes on with partial ones. It has no time-outs and no
//! way to stop, and 1.0 would bring tokio, reqwest and the Xet client along. So it works in a thread of its own that
//! this one watches: no word from it for too long, or the wish to stop, and its work is given up. The thread notices at
//! the next bytes; if none ever come it stays in the operating system's hands and harms nobody.

use super::digest;
use crate::model::ModelFiles;
use crate::model::checkpoint::{INDEX, WEIGHTS, is_file_name};
use crate::model::tokenizer;
use crate::plain_file;
use crate::progress::{Event, Job, Progress};
use crate::{Error, Result};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use serde::Deserialize;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What is wanted and from where.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) endpoint: String,
    pub(super) id: String,
    pub(super) token: Option<String>,
    pub(super) cache: PathBuf,
    /// How long the Hub may take to answer at all; see [`DOWNLOAD_PATIENCE`].
    pub(super) patience: Duration,
}

/// A download that has begun may pause for this many times the patience.
const DOWNLOAD_PATIENCE: u32 = 6;

/// Bytes come in small pieces; nobody can look at them more often than this.
const EVENT_INTERVAL: Duration = Duration::from_millis(50);

/// Files that are fetched if the model has them, with those of its tokenizer; weights come after them.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// Fetches all files of a model; the inner error is the reason, for people, why the Hub could not give them.
pub(super) fn fetch(wanted: &Wanted, progress: &dyn Progress) -> Result<Result<PathBuf, String>> {
    let (sender, messages) = channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    let reporter = Reporter { sender, cancelled: cancelled.clone() };
    let task = wanted.clone();
    let spawned = thread::Builder::new().name("hub".into()).spawn(move || {
        let work = || download_all(&task, &reporter);
        let outcome = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err("its answer was not understood".into()));
        reporter.send(Message::Done(outcome));
    });
    if let Err(error) = spawned {
        return Ok(Err(format!("no thread for the download: {error}")));
    }
    let outcome = watch(wanted, &messages, progress);
    cancelled.store(true, Ordering::Relaxed);
    outcome
}

/// Whether a name can be that of a model on the Hub: "name" or "owner/name" of plain characters.
pub(super) fn is_id(name: &str) -> bool {
    let plain = |part: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(inside) && part.len() <= 96
    };
    name.split('/').count() <= 2 && name.split('/').all(plain)
}

/// The folder of a model's files in a cache as Hugging Face's libraries keep it, if the cache knows the model.
pub(super) fn snapshot(hub: &Path, id: &str) -> Option<PathBuf> {
    let model = hub.join(format!("models--{}", id.replace('/', "--")));
    let commit = plain_file::read_text(&model.join("refs").join("main"), plain_file::SETTINGS).ok()?;
    let commit = commit.trim();
    let folder = is_file_name(commit).then(|| model.join("snapshots").join(commit))?;
    folder.is_dir().then_some(folder)
}

/// The SHA-256 that the name of a cached file's blob promises. Large files are kept under their hash, small ones are not.
pub(super) fn blob_hash(file: &Path) -> Option<String> {
    let blob = fs::canonicalize(file).ok()?;
    let name = blob.file_name()?.to_str()?.to_owned();
    let in_blobs = blob.parent()?.file_name()? == "blobs";
    (in_blobs && name.len() == 64 && name.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(name)
}

enum Message {
    Listed(Option<u64>),
    Bytes(u64),
    Alive,
    Done(Result<PathBuf, String>),
}

/// Passes messages on as events until the work is done, stopped, or silent for too long.
fn watch(
    wanted: &Wanted,
    messages: &Receiver<Message>,
    progress: &dyn Progress,
) -> Result<Result<PathBuf, String>> {
    let job = Job::new();
    let (mut heard, mut patience, mut done, mut listed) = (Instant::now(), wanted.patience, 0, false);
    let (mut told, advanced) = (Instant::now(), |done| Event::Advanced { job, done, note: String::new() });
    let outcome = loop {
        if progress.stop_requested() {
            break Err(Error::Interrupted);
        }
        match messages.recv_timeout(Duration::from_millis(100).min(wanted.patience)) {
            Ok(Message::Done(outcome)) => break Ok(outcome),
            Ok(Message::Listed(total)) => {
                listed = true;
                patience = wanted.patience * DOWNLOAD_PATIENCE;
                let title = format!("downloading {} from {}", wanted.id, wanted.endpoint);
                progress.event(Event::Started { job, title, unit: "bytes", total });
            }
            Ok(Message::Bytes(bytes)) => {
                done += bytes;
                if told.elapsed() >= EVENT_INTERVAL {
                    told = Instant::now();
                    progress.event(advanced(done));
                }
            }
            Ok(Message::Alive) => {}
            Err(RecvTimeoutError::Disconnected) => break Ok(Err("the download ended without a word".into())),
            Err(RecvTimeoutError::Timeout) if heard.elapsed() < patience => continue,
            Err(RecvTimeoutError::Timeout) => {
                break Ok(Err(format!("no answer for {:.1} seconds", heard.elapsed().as_secs_f64())));
            }
        }
        heard = Instant::now();
    };
    if listed {
        progress.event(advanced(done));
        let note = match &outcome {
            Ok(Ok(_)) => "complete".into(),
            Ok(Err(reason)) => reason.clone(),
            Err(_) => "stopped".into(),
        };
        progress.event(Event::Finished { job, note });
    }
    outcome
}

/// The watched thread's side of the channel, towards hf-hub and towards the hash.
#[derive(Clone)]
struct Reporter {
    sender: Sender<Message>,
    cancelled: Arc<AtomicBool>,
}

impl Reporter {
    fn send(&self, message: Message) {
        // Nobody listens any more once the work was given up.
        let _ = self.sender.send(message);
    }
}

impl hf_hub::api::Progress for Reporter {
    fn init(&mut self, _: usize, _: &str) {}

    fn update(&mut self, bytes: usize) {
        if self.cancelled.load(Ordering::Relaxed) {
            // The only way out of hf-hub's copying; the partial file stays for the next time and its lock is let go.
            resume_unwind(Box::new("given up"));
        }
        self.send(Message::Bytes(bytes as u64));
    }

    fn finish(&mut self) {}
}

impl Progress for Reporter {
    fn event(&self, _: Event) {}

    fn stop_requested(&self) -> bool {
        self.send(Message::Alive);
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The Hub's list of a model's files, as far as it matters here.
#[derive(Deserialize)]
struct Listing {
    siblings: Vec<Listed>,
}

#[derive(Clone, Deserialize)]
struct Listed {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<LargeFile>,
}

#[derive(Clone, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
}

fn download_all(wanted: &Wanted, reporter: &Reporter) -> Result<PathBuf, String> {
    let builder = ApiBuilder::from_cache(hf_hub::Cache::new(wanted.cache.clone()));
    let builder =
        builder.with_endpoint(wanted.endpoint.clone()).with_token(wanted.token.clone()).with_progress(false);
    let repo = builder.build().map_err(|error| error.to_string())?.model(wanted.id.clone());
    let mut answer =
        repo.info_request().query("blobs", "true").call().map_err(|error| explain(&error.to_string()))?;
    let listing: Listing =
        answer.body_mut().read_json().map_err(|error| format!("its list of files: {error}"))?;
    let listed = |name: &str| listing.siblings.iter().find(|file| file.rfilename == name);
    let mut files: Vec<&Listed> = SMALL_FILES
        .iter()
        .chain(tokenizer::FILES.into_iter().flatten())
        .filter_map(|name| listed(name))
        .collect();
    let weights = listed(WEIGHTS).or_else(|| listed(INDEX));
    let others = ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack"];
    let other = others.into_iter().find(|name| listed(name).is_some());
    let other =
        other.map_or(String::new(), |name| format!(" ({name} is not read; convert it to safetensors)"));
    files.push(weights.ok_or_else(|| format!("it has the model, but no {WEIGHTS}{other}"))?);
    let shard_like =
        |file: &&Listed| file.rfilename.starts_with("model-") && file.rfilename.ends_with(".safetensors");
    let likely = files
        .iter()
        .copied()
        .chain(listing.siblings.iter().filter(|_| listed(WEIGHTS).is_none()).filter(shard_like));
    reporter.send(Message::Listed(likely.map(|file| file.size).sum()));
    let mut folder = None;
    for file in files {
        folder = download(&repo, wanted, file, reporter)?.parent().map(Path::to_owned);
    }
    let folder = folder.ok_or("it lists no files")?;
    let files = ModelFiles::at(&folder, None);
    if listed(WEIGHTS).is_none() {
        for shard in files.shards().map_err(|error| error.to_string())? {
            let file = listed(&shard).ok_or_else(|| format!("the shard {shard} is not among its files"))?;
            download(&repo, wanted, file, reporter)?;
        }
    }
    match super::folder::missing(&files) {
        Some(missing) => Err(format!("it has the model, but no {missing}")),
        None => Ok(folder),
    }
}

/// One file, checked by size and, where the Hub tells it, by hash; a damaged one is fetched a second time from its
/// beginning.
fn download(repo: &ApiRepo, wanted: &Wanted, file: &Listed, reporter: &Reporter) -> Result<PathBuf, String> {
    let name = &file.rfilename;
    if let Some(cached) =
        snapshot(&wanted.cache, &wanted.id).map(|folder| folder.join(name)).filter(|path| path.exists())
    {
        match verify(&cached, file, reporter) {
            Ok(()) => {
                reporter.send(Message::Bytes(file.size.unwrap_or_default()));
                return Ok(cached);
            }
            Err(_) => discard(&cached),
        }
    }
    let mut fault = String::new();
    for _ in 0..2 {
        let path = repo
            .download_with_progress(name, reporter.clone())
            .map_err(|error| explain(&error.to_string()))?;
        match verify(&path, file, reporter) {
            Ok(()) => return Ok(path),
            Err(found) => fault = found,
        }
        discard(&path);
    }
    Err(format!("{name}: {fault}"))
}

fn verify(path: &Path, file: &Listed, reporter: &Reporter) -> Result<(), String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if let Some(size) = file.size.filter(|size| *size != length) {
        return Err(format!("expected {size} bytes, found {length}"));
    }
    let Some(expected) = file.lfs.as_ref().and_then(|large| large.sha256.as_ref()) else { return Ok(()) };
    let found = digest::compute(path, reporter).map_err(|error| error.to_string())?;
    if found == *expected { Ok(()) } else { Err(format!("expected SHA-256 {expected}, found {found}")) }
}

/// Removes a file of the snapshot and the blob that it points to.
fn discard(path: &Path) {
    if let Ok(blob) = fs::canonicalize(path) {
        let _ = fs::remove_file(blob);
    }
    let _ = fs::remove_file(path);
}

/// hf-hub's words, and what they mean to the user.
fn explain(error: &str) -> String {
    let hint = if ["status: 401", "status: 403", "status: 404"].iter().any(|status| error.contains(status)) {
        " (no such model, or not open to everyone: set HF_TOKEN)"
    } else if error.contains("UnknownIssuer") {
        // Built with rustls, hf-hub knows the public authorities and cannot be told another.
        " (its certificate is from an authority that is not a public one, as behind some firewalls)"
    } else {
        ""
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for id in ["gpt2", "sentence-transformers/all-MiniLM-L6-v2", "a/b_c.d-1"] {
            assert!(is_id(id), "{id}");
        }
        for other in
            ["", "/", "a/", "/a", "./a", "../a", "a/b/c", "a b", "a/..", "-x", "c:\\a", "a?b", "\u{e9}"]
        {
            assert!(!is_id(other), "{other}");
        }
    }
}
