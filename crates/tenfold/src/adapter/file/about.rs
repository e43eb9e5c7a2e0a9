//! What an adapter's folder says besides PEFT's two files: `tenfold.json` (the method, the base model, what a row was) and
//! `labels.json` (the labels' names). PEFT passes over both.

use crate::adapter::Tuning;
use crate::data::{hexadecimal, read_text};
use crate::error::{Error, Result};
use crate::model::{TaskType, catalog, store};
use crate::plain_file;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the file that says what PEFT's configuration has no place for.
pub const ABOUT: &str = "tenfold.json";
/// Name of the file with the labels' names in an adapter's folder.
pub const LABELS: &str = "labels.json";

/// Version of `tenfold.json`.
const FORMAT: u32 = 1;

/// The content of `tenfold.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// [`FORMAT`] of the writer.
    format: u32,
    /// The method's name in studies: "full".
    pub method: String,
    /// What the model is asked for.
    pub task_type: TaskType,
    /// What it was trained over.
    pub base_model: BaseModel,
    /// SHA-256 of the file with the adapter's tensors, hexadecimal, if the writer knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tensors_sha256: Option<String>,
    /// What a row was, if the writer knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Reads>,
}

/// What a row of the training data was, and a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// One text.
    Text,
    /// Two texts: a pair to be labelled, a context and a choice, or a question and a passage.
    Pair,
    /// A conversation, in the words of the model's chat template.
    Chat,
}

/// The base model of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseModel {
    /// The name it was asked for by: a folder, an id on the Hugging Face Hub or a name of the catalog.
    pub name: String,
    /// Its id on the Hub, where its files are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Where it was when the adapter was trained: absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// SHA-256 of its weights ([`Located::weights_sha256`](store::Located::weights_sha256)), if the writer knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
}

impl BaseModel {
    /// The model of that name, which was found in `dir`. A folder of the name hides the catalog's and the Hub's.
    pub fn of(name: &str, dir: &Path) -> Result<BaseModel> {
        let hub = match store::is_meant(Path::new(name)) {
            true => None,
            false => match catalog::find(&catalog::entries()?, name) {
                Some(entry) => entry.hub.clone(),
                None => store::is_hub_id(name).then(|| name.to_owned()),
            },
        };
        let path = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        Ok(BaseModel { name: name.to_owned(), hub, path: Some(path), weights_sha256: None })
    }

    /// A model of which nothing but the name is known.
    pub fn named(name: &str) -> BaseModel {
        BaseModel { name: name.to_owned(), hub: None, path: None, weights_sha256: None }
    }

    /// What PEFT finds it by (`base_model_name_or_path`): the id on the Hub, else the folder.
    pub fn name_or_path(&self) -> String {
        let path = self.path.as_ref().map(|path| path.to_string_lossy().into_owned());
        self.hub.clone().or(path).unwrap_or_else(|| self.name.clone())
    }
}

impl About {
    /// What there is to say of a tuning of a base model.
    pub fn of(tuning: &Tuning, base_model: &BaseModel, reads: Option<Reads>) -> About {
        let (method, task_type) = (tuning.method().name.to_owned(), tuning.task());
        About {
            format: FORMAT,
            method,
            task_type,
            base_model: base_model.clone(),
            tensors_sha256: None,
            reads,
        }
    }

    /// Writes the file beside the adapter's tensors, with their hash.
    pub(super) fn write_beside(&self, tensors: &Path, dir: &Path) -> Result<()> {
        About { tensors_sha256: Some(sha256_of(tensors)?), ..self.clone() }.write(dir)
    }

    /// Writes the file into an adapter's folder.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).unwrap_or_else(|error| unreachable!("plain values: {error}"));
        crate::atomic::write(&dir.join(ABOUT), (text + "\n").as_bytes())
    }

    /// Reads the file of an adapter's folder; `None` without one, as beside adapters that PEFT wrote.
    pub fn read(dir: &Path) -> Result<Option<About>> {
        let path = dir.join(ABOUT);
        let Some(text) = text_of(&path)? else { return Ok(None) };
        let fault =
            |found: String| Error::malformed(&path, "whole file", "what Tenfold says of an adapter", found);
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
        if value["format"].as_u64().is_some_and(|format| format > u64::from(FORMAT)) {
            let expected = format!("{FORMAT}, the newest that this version of Tenfold reads");
            return Err(Error::malformed(&path, "format", expected, value["format"].to_string()));
        }
        serde_json::from_value(value).map(Some).map_err(|error| fault(error.to_string()))
    }
}

/// Writes what the outputs of a classifier's head are called into the folder of its adapter.
pub fn write_labels(dir: &Path, tuning: &Tuning, labels: &[String]) -> Result<()> {
    if tuning.task() != TaskType::SequenceClassification || labels.len() < 2 {
        return Ok(());
    }
    let text = serde_json::to_string(labels).unwrap_or_else(|error| unreachable!("a list of texts: {error}"));
    crate::atomic::write(&dir.join(LABELS), (text + "\n").as_bytes())
}

/// The names of the labels of an adapter, as many as its head has outputs; none if its folder does not tell.
pub fn read_labels(dir: &Path, outputs: usize) -> Result<Option<Vec<String>>> {
    let path = dir.join(LABELS);
    let Some(text) = text_of(&path)? else { return Ok(None) };
    let expected = format!("a list of {outputs} names, one for each output of the head");
    let fault = |found: String| Error::malformed(&path, "whole file", expected.clone(), found);
    let labels: Vec<String> = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    if labels.len() != outputs {
        return Err(fault(format!("{} names", labels.len())));
    }
    match labels.iter().enumerate().find(|(place, label)| labels[..*place].contains(label)) {
        Some((_, twice)) => Err(fault(format!("{twice:?} twice"))),
        None => Ok(Some(labels)),
    }
}

/// SHA-256 of a file, hexadecimal.
pub(super) fn sha256_of(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = plain_file::open(path).map_err(Error::io("read", path))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The text of a file; `None` if there is none.
fn text_of(path: &Path) -> Result<Option<String>> {
    if path.exists() { read_text(path, plain_file::SETTINGS).map(Some) } else { Ok(None) }
}
