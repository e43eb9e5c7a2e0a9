//! SHA-256 of a model's files. Those of large files are remembered in the cache, never in the model's own folder.

use super::memory::{Fact, Memory};
use crate::data::hexadecimal;
use crate::model::ModelFiles;
use crate::model::checkpoint::{INDEX, WEIGHTS};
use crate::plain_file;
use crate::progress::Progress;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::path::Path;

/// The files of a folder that decide, besides its weights, what a model computes, reads and says. All that are there
/// count, also those that another one stands in for.
const DECISIVE: [&str; 12] = [
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// Larger files take seconds to hash: what is no file of weights is told by its header before.
const LONG_TO_HASH: u64 = 64 << 20;

/// The hashes of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashes {
    /// Of its one file of weights (GGUF too), or of the list of its shards' names and hashes.
    pub(super) weights: String,
    /// Of all files that decide its results; of a GGUF file, which holds all, the same as `weights`.
    pub(super) model: String,
}

/// What hashes files.
pub(super) struct Hasher<'a> {
    progress: &'a dyn Progress,
    /// Where hashes are remembered; none: nothing is remembered or believed.
    memory: Option<Memory>,
}

impl<'a> Hasher<'a> {
    pub(super) fn new(memory: Option<Memory>, progress: &'a dyn Progress) -> Hasher<'a> {
        Hasher { progress, memory }
    }

    /// The hashes of a model.
    pub(super) fn of_model(&self, model: &ModelFiles) -> Result<Hashes> {
        // Refuses what is no such file before it is read whole.
        if let Some(gguf) = model.gguf()? {
            let hash = self.of_gguf(&gguf.files().collect::<Vec<_>>())?;
            return Ok(Hashes { weights: hash.clone(), model: hash });
        }
        if model.weight_files()?.iter().any(|file| is_long(file)) {
            model.checkpoint()?;
        }
        let folder = model.dir();
        let (weights, mut files) = self.of_weights(model)?;
        for name in DECISIVE {
            let file = folder.join(name);
            if file.is_file() {
                if is_long(&file) {
                    plain_file::check(&file, plain_file::TOKENIZER).map_err(Error::io("read", &file))?;
                }
                files.push((name.to_owned(), self.of_file(&file)?));
            }
        }
        files.sort();
        Ok(Hashes { weights, model: of_list(&files) })
    }

    /// The hash of a GGUF file; of a model that is split, of the list of the files' names and hashes.
    fn of_gguf(&self, files: &[&Path]) -> Result<String> {
        if let [one] = files {
            return self.of_file(one);
        }
        let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hashed = |file: &&Path| self.of_file(file).map(|hash| (name(file), hash));
        Ok(of_list(&files.iter().map(hashed).collect::<Result<Vec<_>>>()?))
    }

    /// The hash of a folder's weights, and the files that decide it with their hashes.
    fn of_weights(&self, model: &ModelFiles) -> Result<(String, Vec<(String, String)>)> {
        let folder = model.dir();
        let (single, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if single.is_file() {
            let hash = self.of_file(&single)?;
            return Ok((hash.clone(), vec![(WEIGHTS.to_owned(), hash)]));
        }
        let shards = model.shards()?.into_iter();
        let hashed = |shard: String| self.of_file(&folder.join(&shard)).map(|hash| (shard, hash));
        let mut files: Vec<(String, String)> = shards.map(hashed).collect::<Result<_>>()?;
        let weights = of_list(&files);
        files.push((INDEX.to_owned(), self.of_file(&index)?));
        Ok((weights, files))
    }

    /// The hash of a file: the remembered one, if it is certain that the file is still the same.
    pub(super) fn of_file(&self, file: &Path) -> Result<String> {
        let Some(place) = self.memory.as_ref().and_then(|memory| memory.place(file, Fact::Sha256)) else {
            return compute(file, self.progress);
        };
        if let Some(sha256) = place.remembered().filter(|sha256| is_sha256(sha256)) {
            return Ok(sha256);
        }
        let sha256 = compute(file, self.progress)?;
        place.remember(&sha256);
        Ok(sha256)
    }
}

fn is_long(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.len() >= LONG_TO_HASH)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The hash of a file, always computed.
pub(super) fn compute(path: &Path, progress: &dyn Progress) -> Result<String> {
    let mut file = plain_file::open(path).map_err(Error::io("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if progress.stop_requested() {
            return Err(Error::Interrupted);
        }
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The hash of files by their names and hashes.
fn of_list(files: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for (name, sha256) in files {
        hash.update(format!("{name} {sha256}\n"));
    }
    hexadecimal(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::fs::File;
    use std::thread::sleep;
    use std::time::Duration;

    fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
        fs::write(folder.join(name), content).unwrap();
    }

    fn of_model(folder: &Path) -> Hashes {
        Hasher::new(None, &Silent).of_model(&ModelFiles::open(folder).unwrap()).unwrap()
    }

    #[test]
    fn every_file_that_decides_a_result_makes_another_model_and_no_other_file_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, WEIGHTS, "abc");
        write(at, "config.json", r#"{"layer_norm_eps": 1e-12}"#);
        let mut last = of_model(at);
        assert_eq!(last.weights, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        for name in DECISIVE {
            let is_config = name == "config.json";
            write(at, name, if is_config { r#"{"layer_norm_eps": 0.5}"# } else { "{}" });
            let next = of_model(at);
            assert!(next.model != last.model && next.weights == last.weights, "{name}");
            last = next;
        }
        write(at, "README.md", "another");
        assert_eq!(of_model(at), last);
        // Which file holds the content counts as well.
        fs::rename(at.join("vocab.json"), at.join("merges.txt")).unwrap();
        assert_ne!(of_model(at).model, last.model);
    }

    #[test]
    fn shards_and_their_index_are_hashed_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, INDEX, r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
        write(at, "a.safetensors", "a");
        write(at, "b.safetensors", "b");
        let first = of_model(at);
        write(at, "b.safetensors", "bb");
        let second = of_model(at);
        assert!(second.weights != first.weights && second.model != first.model);
        write(at, INDEX, r#"{"weight_map": {"y": "a.safetensors", "x": "b.safetensors"}}"#);
        assert_ne!(of_model(at).model, second.model);
    }

    #[cfg(unix)]
    #[test]
    fn a_hash_is_remembered_in_the_cache_until_the_file_changes_however_it_is_disguised() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = folder.path().join(WEIGHTS);
        let content = vec![7u8; 1 << 20];
        fs::write(&file, &content).unwrap();
        let memory = Memory::new(cache.path().join("hashes"));
        let hasher = |memory| Hasher::new(Some(memory), &Silent);
        let first = hasher(memory.clone()).of_file(&file).unwrap();
        // The file is too young to be told from one that changes at once.
        assert!(!cache.path().join("hashes").exists());

        let hasher = hasher(memory.trusting());
        assert_eq!(hasher.of_file(&file).unwrap(), first);
        let memory = fs::read_dir(cache.path().join("hashes")).unwrap().next().unwrap().unwrap().path();
        let other = "0".repeat(64);
        fs::write(&memory, fs::read_to_string(&memory).unwrap().replace(&first, &other)).unwrap();
        assert_eq!(hasher.of_file(&file).unwrap(), other, "a memory of this state is believed");
        // As large as before and with the time of before, but not the same.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        sleep(Duration::from_millis(20));
        fs::write(&file, vec![8u8; content.len()]).unwrap();
        File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
        let second = hasher.of_file(&file).unwrap();
        assert!(second != first && second != other);
        fs::write(&memory, "nonsense").unwrap();
        assert_eq!(hasher.of_file(&file).unwrap(), second);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written beside the weights");
    }
}
