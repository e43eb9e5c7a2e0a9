//! SHA-256 of weights, remembered beside them so that it is computed once.

use crate::data::hexadecimal;
use crate::model::checkpoint::{INDEX, WEIGHTS, shards};
use crate::model::gguf;
use crate::progress::Progress;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The hash of a model's weights: of its one file (GGUF too), or of the list of its shards' names and hashes.
pub(super) fn of_weights(folder: &Path, progress: &dyn Progress) -> Result<String> {
    let single = gguf::only(folder).unwrap_or_else(|| folder.join(WEIGHTS));
    if single.is_file() {
        return of_file(&single, progress);
    }
    let mut hash = Sha256::new();
    for shard in shards(&folder.join(INDEX))? {
        let sha256 = of_file(&folder.join(&shard), progress)?;
        hash.update(format!("{shard} {sha256}\n"));
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// The hash of a file: the remembered one, if the file's size and time are still those it was computed at.
pub(super) fn of_file(file: &Path, progress: &dyn Progress) -> Result<String> {
    let state = state(file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".sha256");
    let memory = file.with_file_name(name);
    if let Some(sha256) = fs::read_to_string(&memory).ok().and_then(|memory| remembered(&memory, &state)) {
        return Ok(sha256);
    }
    let sha256 = compute(file, progress)?;
    // A folder that cannot be written to costs a moment at each start, no more.
    let _ = crate::atomic::write_with(&memory, |memory| writeln!(memory, "{sha256} {state}"));
    Ok(sha256)
}

/// The hash of a file, always computed.
pub(super) fn compute(path: &Path, progress: &dyn Progress) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
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

/// Size and time of a file: what changes when its content does.
fn state(file: &Path) -> Result<String> {
    let metadata = fs::metadata(file).map_err(Error::io("read", file))?;
    let modified = metadata.modified().map_err(Error::io("read the time of", file))?;
    let nanoseconds = modified.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    Ok(format!("{} {nanoseconds}", metadata.len()))
}

fn remembered(memory: &str, state: &str) -> Option<String> {
    let (sha256, remembered) = memory.trim_end().split_once(' ')?;
    let whole = sha256.len() == 64 && sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
    (whole && remembered == state).then(|| sha256.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_hash_is_remembered_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(WEIGHTS);
        fs::write(&file, "abc").unwrap();
        let first = of_weights(folder.path(), &Silent).unwrap();
        assert_eq!(first, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

        // A memory that belongs to the file is believed …
        let memory = folder.path().join("model.safetensors.sha256");
        let other = "0".repeat(64);
        fs::write(&memory, fs::read_to_string(&memory).unwrap().replace(&first, &other)).unwrap();
        assert_eq!(of_weights(folder.path(), &Silent).unwrap(), other);
        // … one of another time or size, or a damaged one, is not.
        let touched = File::options().append(true).open(&file).unwrap();
        touched.set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
        assert_eq!(of_weights(folder.path(), &Silent).unwrap(), first);
        fs::write(&memory, "nonsense").unwrap();
        assert_eq!(of_weights(folder.path(), &Silent).unwrap(), first);
    }

    #[test]
    fn shards_are_hashed_together() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(INDEX),
            r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
        )
        .unwrap();
        fs::write(folder.path().join("a.safetensors"), "a").unwrap();
        fs::write(folder.path().join("b.safetensors"), "b").unwrap();
        let first = of_weights(folder.path(), &Silent).unwrap();
        fs::write(folder.path().join("b.safetensors"), "bb").unwrap();
        assert_ne!(of_weights(folder.path(), &Silent).unwrap(), first);
    }
}
