//! The files of one model: each is read and parsed when it is first asked for, and never again.
//!
//! Weights are mapped, not read. Clones share what was parsed, so whoever needs a model in several forms (two heads, a copy
//! without numbers, the tokenizer's files beside an adapter) passes its [`ModelFiles`] on.

use super::chat_template::ChatTemplate;
use super::checkpoint::Checkpoint;
use super::config::{self, Config};
use super::gguf::{self, Gguf};
use super::source::Source;
use super::store::Memory;
use super::tokenizer::Tokenizer;
use super::weights::Loader;
use super::{CONFIG, Model, TaskType, family, ggml, mapped, unused};
use crate::error::Result;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::{Backend, Dtype};

/// A model's files: a Hugging Face folder, a GGUF file, or a folder with one. Clones are of the same files.
///
/// ```no_run
/// use tenfold::model::ModelFiles;
/// use tenfold_tensor::Cpu;
///
/// let files = ModelFiles::open("all-minilm-l6-v2".as_ref())?;
/// let loaded = files.load(files.usual_task()?, &Cpu::new(), None)?;
/// let tokenizer = files.tokenizer()?;
/// tokenizer.check(&loaded.model.extents())?;
/// # Ok::<(), tenfold::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ModelFiles(Arc<Files>);

#[derive(Debug)]
struct Files {
    folder: Folder,
    memory: Option<Memory>,
    gguf: Once<Option<Arc<Gguf>>>,
    /// What a GGUF file says in Hugging Face's words.
    restored: Once<(Arc<Config>, Arc<Checkpoint>)>,
    checkpoint: Once<Arc<Checkpoint>>,
    tokenizer: Once<Arc<Tokenizer>>,
    chat_template: Once<Option<Arc<ChatTemplate>>>,
}

/// A model, and what its user should know about its files.
pub struct Loaded {
    /// The model.
    pub model: Arc<dyn Model>,
    /// Sentences, none of which keeps the model from working: tensors that nothing uses, keys that change nothing here.
    pub notes: Vec<String>,
}

impl ModelFiles {
    /// The files of the model at `dir`: a folder with config.json, a GGUF file, or a folder with one and no config.json. Fails
    /// if there is a GGUF file and it is none; what stands in a folder is judged when it is asked for.
    pub fn open(dir: &Path) -> Result<ModelFiles> {
        let files = ModelFiles::at(dir, None);
        files.gguf()?;
        Ok(files)
    }

    /// The same without a look at them. `memory` keeps beyond this process what was found out about large files.
    pub(super) fn at(dir: &Path, memory: Option<Memory>) -> ModelFiles {
        ModelFiles(Arc::new(Files {
            folder: Folder::new(dir),
            memory,
            gguf: Once::default(),
            restored: Once::default(),
            checkpoint: Once::default(),
            tokenizer: Once::default(),
            chat_template: Once::default(),
        }))
    }

    /// The folder, or the GGUF file.
    pub fn dir(&self) -> &Path {
        self.0.folder.path()
    }

    /// The folder's small files.
    pub(super) fn folder(&self) -> &Folder {
        &self.0.folder
    }

    /// The GGUF file that this is, or that stands in place of config.json.
    pub fn gguf(&self) -> Result<Option<Arc<Gguf>>> {
        self.0.gguf.get(|| {
            let dir = self.dir();
            let file = if gguf::is_gguf(dir) { Some(dir.to_owned()) } else { gguf::only(dir) };
            Ok(file.map(|file| Gguf::open(&file)).transpose()?.map(Arc::new))
        })
    }

    /// config.json, or what a GGUF file says in its place.
    pub(super) fn config(&self) -> Result<Arc<Config>> {
        match self.restored()? {
            Some((config, _)) => Ok(config),
            None => self.0.folder.config(),
        }
    }

    /// The weights by Hugging Face's names.
    pub(super) fn checkpoint(&self) -> Result<Arc<Checkpoint>> {
        if let Some((_, checkpoint)) = self.restored()? {
            return Ok(checkpoint);
        }
        let open = || Checkpoint::open_shards(self.dir(), || self.0.folder.weight_map());
        self.0.checkpoint.get(|| open().map(Arc::new))
    }

    fn restored(&self) -> Result<Option<(Arc<Config>, Arc<Checkpoint>)>> {
        let Some(gguf) = self.gguf()? else { return Ok(None) };
        let restore =
            || ggml::open(&gguf).map(|(config, checkpoint)| (Arc::new(config), Arc::new(checkpoint)));
        self.0.restored.get(restore).map(Some)
    }

    /// What the model is used for where nothing else is said.
    pub fn usual_task(&self) -> Result<TaskType> {
        Ok(family(&*self.config()?)?.task)
    }

    /// The model for a type of task; matrices are kept in `dtype`, by default each as the file has it. Weights that are
    /// infinite or none are refused by the tensor's name, which takes one pass over the files, remembered.
    pub fn load(
        &self,
        task: TaskType,
        backend: &Arc<dyn Backend>,
        dtype: impl Into<Option<Dtype>>,
    ) -> Result<Loaded> {
        let (config, checkpoint) = (self.config()?, self.checkpoint()?);
        if backend.holds_numbers() {
            self.look_for_numbers(&checkpoint)?;
        }
        let (family, source) = (family(&config)?, Source::Checkpoint(checkpoint));
        let loader = Loader::new(&source, backend, dtype.into());
        let model = (family.load)(&config, task, &loader)?;
        let mut notes = unused::check(&config, task, &loader)?;
        if let Some(gguf) = self.gguf()? {
            notes.extend(ggml::remarks(&gguf)?);
        }
        Ok(Loaded { model, notes })
    }

    /// Looks through all weights for numbers that are infinite or none, unless it is remembered that there are none.
    fn look_for_numbers(&self, checkpoint: &Checkpoint) -> Result<()> {
        let Some(memory) = &self.0.memory else { return Ok(()) };
        let files = self.weight_files()?;
        if files.iter().all(|file| memory.is_finite(file)) {
            checkpoint.trust();
            return Ok(());
        }
        let note = memory.noting_finite(&files);
        if checkpoint.not_finite().is_empty() && mapped::unchanged_below(self.dir()).is_ok() {
            note();
        }
        Ok(())
    }

    /// The files that hold the weights.
    pub(super) fn weight_files(&self) -> Result<Vec<PathBuf>> {
        if let Some(gguf) = self.gguf()? {
            return Ok(gguf.files().map(Path::to_owned).collect());
        }
        let single = self.dir().join(super::checkpoint::WEIGHTS);
        if single.is_file() {
            return Ok(vec![single]);
        }
        Ok(self.shards()?.iter().map(|shard| self.dir().join(shard)).collect())
    }

    /// The names of the files that the index of a sharded model names, each once.
    pub(super) fn shards(&self) -> Result<Vec<String>> {
        let mut shards: Vec<String> = self.0.folder.weight_map()?.values().cloned().collect();
        shards.sort();
        shards.dedup();
        Ok(shards)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        self.0.tokenizer.get(|| {
            let tokenizer = match self.gguf()? {
                Some(gguf) => Tokenizer::from_gguf(&gguf),
                None => Tokenizer::of_folder(&self.0.folder),
            };
            tokenizer.map(Arc::new)
        })
    }

    /// The chat template, if there is one.
    pub fn chat_template(&self) -> Result<Option<Arc<ChatTemplate>>> {
        self.0.chat_template.get(|| {
            let template = match self.gguf()? {
                Some(gguf) => ChatTemplate::from_gguf(gguf.metadata()),
                None => ChatTemplate::of_folder(&self.0.folder),
            };
            Ok(template?.map(Arc::new))
        })
    }
}

/// What a JSON file holds.
type Object = Map<String, Value>;

/// The small files of a folder that several readers look into.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    objects: Mutex<BTreeMap<&'static str, Option<Arc<Object>>>>,
    config: Once<Arc<Config>>,
    weight_map: Once<Arc<BTreeMap<String, String>>>,
}

impl Folder {
    pub fn new(path: &Path) -> Folder {
        Folder {
            path: path.to_owned(),
            objects: Mutex::default(),
            config: Once::default(),
            weight_map: Once::default(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The object in a JSON file of that name; `None` without the file.
    pub fn object(&self, name: &'static str) -> Result<Option<Arc<Object>>> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = objects.get(name) {
            return Ok(known.clone());
        }
        let file = self.path.join(name);
        let object = match file.is_file() {
            false => None,
            true if name == CONFIG => Some(Arc::new(config::keys_of(&file)?)),
            true => Some(Arc::new(config::object_of(&file)?)),
        };
        objects.insert(name, object.clone());
        Ok(object)
    }

    /// config.json, which must be there.
    pub fn config(&self) -> Result<Arc<Config>> {
        self.config.get(|| {
            let file = self.path.join(CONFIG);
            let keys = match self.object(CONFIG)? {
                Some(keys) => (*keys).clone(),
                // Says why there is none.
                None => config::keys_of(&file)?,
            };
            Config::of_file(&file, keys).map(Arc::new)
        })
    }

    /// Which shard holds which tensor.
    fn weight_map(&self) -> Result<Arc<BTreeMap<String, String>>> {
        let index = || self.path.join(super::checkpoint::INDEX);
        self.weight_map.get(|| super::checkpoint::weight_map(&index()).map(Arc::new))
    }
}

/// What is worked out when it is first asked for. Nothing is kept of what fails.
#[derive(Debug)]
struct Once<T>(Mutex<Option<T>>);

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once(Mutex::new(None))
    }
}

impl<T: Clone> Once<T> {
    fn get(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let read = read()?;
        *known = Some(read.clone());
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
