//! SHA-256 of a model's files. Those of large files are remembered in the cache, never in the model's own folder.

use crate::data::hexadecimal;
use crate::model::checkpoint::{self, INDEX, WEIGHTS, shards};
use crate::model::gguf::{self, Gguf};
use crate::plain_file;
use crate::progress::Progress;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Smaller files are hashed each time.
const WORTH_REMEMBERING: u64 = 1 << 20;

/// Larger files take seconds to hash: what is no file of weights is told by its header before.
const LONG_TO_HASH: u64 = 64 << 20;

/// A file may change without a change of its times while the clock stands still for it. The hash of a file that changed
/// less than this ago is not remembered, as git does not trust the time of such a file ("racy").
const RACY: Duration = Duration::from_secs(2);

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
    /// The folder that hashes are remembered in; none: nothing is remembered or believed.
    memory: Option<PathBuf>,
    racy: Duration,
}

impl<'a> Hasher<'a> {
    pub(super) fn new(memory: Option<PathBuf>, progress: &'a dyn Progress) -> Hasher<'a> {
        Hasher { progress, memory, racy: RACY }
    }

    /// The hashes of the model in a folder, or of a GGUF file.
    pub(super) fn of_model(&self, model: &Path) -> Result<Hashes> {
        let gguf = if model.is_file() { Some(model.to_owned()) } else { gguf::only(model) };
        if let Some(file) = gguf {
            let hash = self.of_gguf(&file)?;
            return Ok(Hashes { weights: hash.clone(), model: hash });
        }
        let (weights, mut files) = self.of_weights(model)?;
        for name in DECISIVE {
            let file = model.join(name);
            if file.is_file() {
                files.push((name.to_owned(), self.of_file(&file)?));
            }
        }
        files.sort();
        Ok(Hashes { weights, model: of_list(&files) })
    }

    /// The hash of a GGUF file; of a model that is split, whose first file this is, of the list of the files' names and
    /// hashes.
    fn of_gguf(&self, first: &Path) -> Result<String> {
        // Refuses what is no such model before it is read whole.
        let gguf = Gguf::open(first)?;
        let files: Vec<&Path> = gguf.files().collect();
        if let [one] = files.as_slice() {
            return self.of_file(one);
        }
        let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hashed = |file: &&Path| self.of_file(file).map(|hash| (name(file), hash));
        Ok(of_list(&files.iter().map(hashed).collect::<Result<Vec<_>>>()?))
    }

    /// The hash of a folder's weights, and the files that decide it with their hashes.
    fn of_weights(&self, folder: &Path) -> Result<(String, Vec<(String, String)>)> {
        let (single, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if single.is_file() {
            let hash = self.of_file(&single)?;
            return Ok((hash.clone(), vec![(WEIGHTS.to_owned(), hash)]));
        }
        let shards = shards(&index)?.into_iter();
        let hashed = |shard: String| self.of_file(&folder.join(&shard)).map(|hash| (shard, hash));
        let mut files: Vec<(String, String)> = shards.map(hashed).collect::<Result<_>>()?;
        let weights = of_list(&files);
        files.push((INDEX.to_owned(), self.of_file(&index)?));
        Ok((weights, files))
    }

    /// The hash of a file: the remembered one, if it is certain that the file is still the same.
    pub(super) fn of_file(&self, file: &Path) -> Result<String> {
        let metadata = fs::metadata(file).map_err(Error::io("read", file))?;
        if metadata.len() >= LONG_TO_HASH {
            check_header(file)?;
        }
        let Some((memory, state)) = self.memory(file, &metadata) else {
            return compute(file, self.progress);
        };
        if let Some(sha256) = plain_file::read_own_text(&memory, plain_file::SETTINGS)
            .ok()
            .and_then(|line| remembered(&line, &state))
        {
            return Ok(sha256);
        }
        let began = SystemTime::now();
        let sha256 = compute(file, self.progress)?;
        let after = fs::metadata(file).ok().and_then(|metadata| state_of(&metadata));
        if after.is_some_and(|after| after == state && after.at_rest(began, self.racy)) {
            // A cache that cannot be written to costs a moment at each start, no more.
            let folder = memory.parent().unwrap_or(Path::new(""));
            let line = format!("{sha256} {}\n", state.words());
            let _ = crate::atomic::create_folders(folder)
                .map(|()| crate::atomic::write(&memory, line.as_bytes()));
        }
        Ok(sha256)
    }

    /// Where the hash of a file would be remembered, and the state that it would be remembered of.
    fn memory(&self, file: &Path, metadata: &Metadata) -> Option<(PathBuf, State)> {
        let folder = self.memory.as_ref().filter(|_| metadata.len() >= WORTH_REMEMBERING)?;
        let path = fs::canonicalize(file).ok()?;
        let name = hexadecimal(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
        Some((folder.join(name), state_of(metadata)?))
    }
}

fn check_header(file: &Path) -> Result<()> {
    match file.extension().and_then(|end| end.to_str()) {
        _ if gguf::is_gguf(file) => gguf::Gguf::open(file).map(drop),
        Some("safetensors") => checkpoint::check_header(file),
        _ => plain_file::check(file, plain_file::TOKENIZER).map_err(Error::io("read", file)),
    }
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

/// What changes when a file's content does. The time of change cannot be set back by a program, and another file in its
/// place has another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    bytes: u64,
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    changed: i128,
}

impl State {
    fn words(&self) -> String {
        let State { bytes, device, inode, modified, changed } = self;
        format!("{bytes} {device} {inode} {modified} {changed}")
    }

    /// Whether the file had not changed for so long at a time.
    fn at_rest(&self, at: SystemTime, long: Duration) -> bool {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        self.modified.max(self.changed) + (long.as_nanos() as i128) <= at
    }
}

#[cfg(unix)]
fn state_of(metadata: &Metadata) -> Option<State> {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds = |seconds: i64, more: i64| i128::from(seconds) * 1_000_000_000 + i128::from(more);
    Some(State {
        bytes: metadata.len(),
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Without a time of change and an inode nothing is certain.
#[cfg(not(unix))]
fn state_of(_: &Metadata) -> Option<State> {
    None
}

/// The hash in a line that was written of that state.
fn remembered(line: &str, state: &State) -> Option<String> {
    let (sha256, remembered) = line.trim_end().split_once(' ')?;
    let whole = sha256.len() == 64 && sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
    (whole && remembered == state.words()).then(|| sha256.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::fs::File;
    use std::thread::sleep;

    fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
        fs::write(folder.join(name), content).unwrap();
    }

    fn of_model(folder: &Path) -> Hashes {
        Hasher::new(None, &Silent).of_model(folder).unwrap()
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
        let content = vec![7u8; WORTH_REMEMBERING as usize];
        fs::write(&file, &content).unwrap();
        let hasher = |racy| Hasher { racy, ..Hasher::new(Some(cache.path().join("hashes")), &Silent) };
        let first = hasher(RACY).of_file(&file).unwrap();
        // The file is too young to be told from one that changes at once.
        assert!(!cache.path().join("hashes").exists());

        let hasher = hasher(Duration::ZERO);
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
