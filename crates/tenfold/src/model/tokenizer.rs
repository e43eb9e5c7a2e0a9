//! Text to token ids and back, as the model's own tokenizer says, special tokens included, never padded.
//!
//! Whatever a model brings is said as a tokenizer.json, which Hugging Face's tokenizers library then carries out.

mod byte_level;
pub(super) mod config;
mod ggml;
mod limits;
mod parts;
mod protobuf;
mod sentencepiece;
mod windows;
mod wordpiece;

pub(super) use ggml::describe as describe_gguf;
pub use windows::{Window, Windows};

pub(super) use ggml::SPECIAL;

use super::Extents;
use super::files::Folder;
use super::gguf::{self, Gguf, Metadata};
use crate::guard;
use crate::plain_file;
use crate::{Error, Result, first_bytes};
use config::Config;
pub(super) use ggml::to_ggml;
use std::path::{Path, PathBuf};
use tokenizers::models::ModelWrapper;
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

/// The files of a tokenizer, by any one set of which it is whole.
pub(super) const FILES: [&[&str]; 5] = [
    &["tokenizer.json"],
    &["vocab.txt"],
    &["vocab.json", "merges.txt"],
    &["spiece.model"],
    &["tokenizer.model"],
];

/// What a model reads instead of text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// One id for each token.
    pub ids: Vec<u32>,
    /// 0 for tokens of the first text, 1 for those of the second, as the tokenizer's template says.
    pub type_ids: Vec<u32>,
    /// Whether tokens were cut off to keep within the length asked for.
    pub truncated: bool,
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: PathBuf,
    vocab_size: usize,
    token_types: usize,
    bos: Option<u32>,
    eos: Vec<u32>,
    /// The file that states `eos`.
    eos_file: PathBuf,
    notes: Vec<String>,
}

impl Tokenizer {
    /// The tokenizer of the model in `folder`: its tokenizer.json, or else what older tokenizers left (vocab.txt,
    /// vocab.json with merges.txt, spiece.model, tokenizer.model), or else that of its one GGUF file.
    pub fn from_dir(folder: &Path) -> Result<Tokenizer> {
        Self::of_folder(&Folder::new(folder))
    }

    /// The same of a folder whose small files others look into too.
    pub(super) fn of_folder(folder: &Folder) -> Result<Tokenizer> {
        let config = Config::read(folder)?;
        let Some((file, json)) = described(folder.path(), &config)? else {
            let folder = folder.path();
            let file = gguf::only(folder).ok_or_else(|| none(folder))?;
            return Self::from_gguf(&Gguf::open(&file)?);
        };
        Self::of_described(folder, &config, file, &json)
    }

    /// The tokenizer of a folder whose files say this tokenizer.json.
    fn of_described(folder: &Folder, config: &Config, file: PathBuf, json: &[u8]) -> Result<Tokenizer> {
        let mut tokenizer = Self::from_json(file, json)?;
        let id = |token: Option<&str>| tokenizer.token_id(token?);
        let (bos, eos) = (id(config.token("bos_token")), id(config.token("eos_token")));
        tokenizer.bos = bos;
        let stated = config::end_ids(folder)?;
        tokenizer.eos_file =
            stated.as_ref().map_or_else(|| config.file().to_owned(), |(file, _)| file.clone());
        tokenizer.eos = once(stated.into_iter().flat_map(|(_, ids)| ids).chain(eos));
        Ok(tokenizer)
    }

    /// The tokenizer in the metadata of a GGUF file.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer> {
        Self::from_metadata(gguf.metadata())
    }

    /// The same, without the file's tensors.
    pub fn from_metadata(metadata: &Metadata) -> Result<Tokenizer> {
        let described = ggml::describe(metadata)?;
        let mut tokenizer = Self::from_json(metadata.file().to_owned(), &described.json)?;
        tokenizer.bos = described.bos;
        tokenizer.eos = once(described.eos);
        Ok(tokenizer)
    }

    /// The ids of `text`, or of `text` and `pair`, with the special tokens of the model; at most `max_length` of them.
    /// What is too much is cut from the end of the longer text first, as Hugging Face's "longest_first".
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        let special = self.special_count(pair.is_some());
        if max_length <= special {
            let found = format!("{max_length}, of which special tokens take {special}");
            return Err(Error::malformed(
                &self.file,
                "maximum length",
                format!("more than {special} tokens"),
                found,
            ));
        }
        let encode = || self.encode_within(text, pair, max_length - special);
        self.guarded(encode, || format!("the text \"{}\"", text.chars().take(60).collect::<String>()))
    }

    /// The text that the ids stand for; the special tokens among them are left out or written as they are.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(Error::malformed(&self.file, "vocabulary", format!("a token of id {id}"), "none"));
        }
        // Some of the library's decoders take one token or more.
        if skip_special && ids.iter().all(|id| self.is_special(*id)) {
            return Ok(String::new());
        }
        self.guarded(
            || self.inner.decode(ids, skip_special),
            || format!("the ids back, {} of them", ids.len()),
        )
    }

    fn is_special(&self, id: u32) -> bool {
        self.token(id).is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// The id of a token, as the vocabulary writes it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of that id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The ids that end a generated text, each once; none if the model's files name none.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The token that begins texts, if the model's files name one (which does not mean that [`Self::encode`] puts it).
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Ids and text of all special tokens, in the order of their ids.
    pub fn special_tokens(&self) -> Vec<(u32, String)> {
        let added = self.inner.get_added_tokens_decoder().into_iter();
        let mut special: Vec<_> =
            added.filter(|(_, token)| token.special).map(|(id, token)| (id, token.content)).collect();
        special.sort();
        special
    }

    /// The ids of a text that a model goes on from, with what stands around every text. A text that itself begins with the
    /// token that begins texts gets no second one, as in lm-evaluation-harness; Transformers puts two, which no model has
    /// seen in its training.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text, None, usize::MAX)?.ids;
        if self.repeats_bos(&ids, text)? {
            ids.remove(0);
        }
        Ok(ids)
    }

    /// Whether a text begins with the very token that this tokenizer puts before every text.
    pub fn begins_twice(&self, text: &str) -> Result<bool> {
        self.repeats_bos(&self.encode(text, None, usize::MAX)?.ids, text)
    }

    fn repeats_bos(&self, ids: &[u32], text: &str) -> Result<bool> {
        let Some(bos) = self.bos else { return Ok(false) };
        let leading = |ids: &[u32]| ids.iter().take_while(|id| **id == bos).count();
        Ok(leading(ids) > 1 && leading(ids) > leading(&self.words(text)?))
    }

    /// What a user should know about how this tokenizer differs from its files: sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The ids of a text's words alone: nothing stands around them, but special tokens written in the text are known.
    pub fn words(&self, text: &str) -> Result<Vec<u32>> {
        let encode = || Ok(self.inner.encode(text, false)?.get_ids().to_vec());
        self.guarded(encode, || format!("the text \"{}\"", text.chars().take(60).collect::<String>()))
    }

    /// One more than the highest id this tokenizer can give.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Refuses a model whose embeddings have no rows for what this tokenizer can give.
    pub fn check(&self, extents: &Extents) -> Result<()> {
        for (what, given, rows) in [
            ("words", self.vocab_size, extents.vocab_size),
            ("types of tokens", self.token_types, extents.token_types),
        ] {
            if given > rows {
                let expected = format!("at most {rows} {what}, as many as the model's embeddings");
                return Err(Error::malformed(&self.file, "vocabulary", expected, given.to_string()));
            }
        }
        if let Some(id) = self.eos.iter().find(|id| **id as usize >= extents.vocab_size) {
            let expected = format!("ids of tokens, below the vocabulary's {}", extents.vocab_size);
            return Err(Error::malformed(&self.eos_file, "eos_token_id", expected, id.to_string()));
        }
        Ok(())
    }

    fn from_json(file: PathBuf, content: &[u8]) -> Result<Tokenizer> {
        let mut inner = load(&file, content)?;
        let notes = without_dropout(&mut inner, &file).into_iter().collect();
        // Both are settings of whoever published the file (all-MiniLM-L6-v2: cut at and padded to 128), not of the model.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::malformed(&file, "truncation", "none", error.to_string()))?;
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if vocab_size == 0 {
            return Err(Error::malformed(file, "model.vocab", "one token or more", "none"));
        }
        let mut tokenizer = Tokenizer {
            inner,
            eos_file: file.clone(),
            file,
            vocab_size,
            token_types: 0,
            bos: None,
            eos: Vec::new(),
            notes,
        };
        // What stands around every text need not be in the vocabulary, and its types are stated nowhere else.
        for pair in [None, Some("a")] {
            let Ok(around) = tokenizer.encode("a", pair, usize::MAX) else { continue };
            let most = |numbers: &[u32]| numbers.iter().max().map_or(0, |most| *most as usize + 1);
            tokenizer.vocab_size = tokenizer.vocab_size.max(most(&around.ids));
            if pair.is_none() {
                tokenizer.token_types = most(&around.type_ids);
            }
        }
        Ok(tokenizer)
    }

    fn special_count(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |template| template.added_tokens(pair))
    }

    fn encode_within(&self, text: &str, pair: Option<&str>, room: usize) -> tokenizers::Result<Encoding> {
        let first = self.inner.encode(text, false)?;
        let mut second = pair.map(|pair| self.inner.encode(pair, false)).transpose()?;
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        let truncated = first.len() + second.as_ref().map_or(0, |second| second.len()) > room;
        let cut = TruncationParams {
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        let (first, second) = truncate_encodings(first, second, &cut)?;
        let whole = self.inner.post_process(first, second, true)?;
        Ok(Encoding { ids: whole.get_ids().to_vec(), type_ids: whole.get_type_ids().to_vec(), truncated })
    }

    /// Runs the library and names the file if it fails.
    fn guarded<T>(
        &self,
        work: impl FnOnce() -> tokenizers::Result<T>,
        on: impl FnOnce() -> String,
    ) -> Result<T> {
        let reason = match guard::quietly(work) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        let expected = format!("a tokenizer that can work on {}", on());
        Err(Error::malformed(&self.file, "tokenizer", expected, format!("the fault: {reason}")))
    }
}

/// The tokenizer.json of a Hugging Face folder, or what its older files say as one, and the file that says it.
fn described(folder: &Path, config: &Config) -> Result<Option<(PathBuf, Vec<u8>)>> {
    let path = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    Ok(Some(if let Some(file) = path("tokenizer.json") {
        let content = read(&file)?;
        (file, content)
    } else if let Some(file) = path("vocab.txt") {
        let json = wordpiece::describe(&file, config)?;
        (file, json)
    } else if let (Some(file), Some(_)) = (path("vocab.json"), path("merges.txt")) {
        (file, byte_level::describe(folder, config)?)
    } else if let Some(file) = path("spiece.model").or_else(|| path("tokenizer.model")) {
        let json = sentencepiece::describe(&file, config)?;
        (file, json)
    } else {
        return Ok(None);
    }))
}

/// That a folder has no tokenizer.
fn none(folder: &Path) -> Error {
    let expected = "tokenizer.json, vocab.txt, vocab.json with merges.txt, spiece.model, tokenizer.model, or one GGUF file";
    Error::malformed(folder, "tokenizer", expected, "none of them")
}

/// The bytes of one of a tokenizer's files.
fn read(file: &Path) -> Result<Vec<u8>> {
    first_bytes::read(file, "a file of a tokenizer", plain_file::TOKENIZER)
}

/// The text of one.
fn read_text(file: &Path) -> Result<String> {
    first_bytes::read_text(file, "a file of a tokenizer", plain_file::TOKENIZER)
}

/// Switches off the dropout of merges, by which the same text would get other tokens each time. That of Unigram cannot be
/// stated in a tokenizer.json.
fn without_dropout(inner: &mut tokenizers::Tokenizer, file: &Path) -> Option<String> {
    let ModelWrapper::BPE(bpe) = inner.get_model() else { return None };
    let dropout = bpe.dropout.filter(|dropout| *dropout > 0.0)?;
    let mut bpe = bpe.clone();
    bpe.dropout = None;
    inner.with_model(bpe);
    Some(format!(
        "{}: model.dropout = {dropout} is off: with it the same text would get other tokens each time",
        file.display()
    ))
}

/// The ids in their order, each at its first place alone.
fn once(ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut seen = Vec::new();
    for id in ids {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

fn load(file: &Path, content: &[u8]) -> Result<tokenizers::Tokenizer> {
    limits::check(file, content)?;
    let found = match guard::quietly(|| tokenizers::Tokenizer::from_bytes(content)) {
        Ok(Ok(tokenizer)) => return Ok(tokenizer),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    Err(Error::malformed(
        file,
        "whole file",
        "a tokenizer as Hugging Face's tokenizers library writes it",
        found,
    ))
}

#[cfg(test)]
mod kinds_tests;
#[cfg(test)]
mod tests;
