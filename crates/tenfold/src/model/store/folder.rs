//! Whether a folder holds a whole model, and in words what it lacks.

use crate::model::checkpoint::{INDEX, WEIGHTS};
use crate::model::{ModelFiles, gguf, tokenizer};
use std::fs;
use std::path::Path;

/// Weights as PyTorch pickles them; their shards have a number before the end.
const PICKLE: &str = "pytorch_model";
/// Puts what was pickled into a safetensors file, names and numbers as they are.
const CONVERSION: &str = "import glob, torch, safetensors.torch as s; s.save_file({k: v.clone().contiguous() for f in \
    sorted(glob.glob('pytorch_model*.bin')) for k, v in torch.load(f, map_location='cpu', weights_only=True).items()}, \
    'model.safetensors', {'format': 'pt'})";

/// Whether a path that may also be a name is meant as a path: a model is there, whole or not.
pub(crate) fn is_meant(path: &Path) -> bool {
    path.join("config.json").is_file()
        || gguf::only(path).is_some()
        || (gguf::is_gguf(path) && path.is_file())
}

/// Whether a folder holds a part of a model.
pub(super) fn is_begun(folder: &Path) -> bool {
    is_meant(folder)
        || [WEIGHTS, INDEX].iter().any(|name| folder.join(name).is_file())
        || names(folder).iter().any(|name| is_pickle(name))
}

/// What a folder lacks to be a model, if anything.
pub(super) fn missing(files: &ModelFiles) -> Option<String> {
    let folder = files.dir();
    if gguf::only(folder).is_some() {
        return None;
    }
    if !folder.join("config.json").is_file() {
        return Some("config.json".into());
    }
    if !tokenizer::FILES.iter().any(|files| files.iter().all(|file| folder.join(file).is_file())) {
        return Some("tokenizer.json".into());
    }
    if folder.join(WEIGHTS).is_file() {
        return None;
    }
    let index = folder.join(INDEX);
    match files.shards() {
        Ok(shards) => shards.into_iter().find(|shard| !folder.join(shard).is_file()),
        // Whoever reads the index next says what is wrong with it.
        Err(_) if index.is_file() => None,
        Err(_) => Some(WEIGHTS.into()),
    }
}

/// What is missing, and what there is instead.
pub(super) fn missing_words(folder: &Path, missing: &str) -> String {
    let names = names(folder);
    let of = |what: &dyn Fn(&str) -> bool| names.iter().find(|name| what(name)).map(String::as_str);
    let instead = if missing == "config.json" {
        of(&|name| name == "adapter_config.json")
            .map(|_| "this is an adapter's folder: give it as --adapter beside its base model".to_owned())
    } else if missing != WEIGHTS {
        folder
            .join(INDEX)
            .is_file()
            .then(|| format!("which {INDEX} names"))
            .filter(|_| missing != "tokenizer.json")
    } else if let Some(pickle) = of(&is_pickle) {
        Some(format!(
            "and {pickle} is not read, for a pickle can run any program. In that folder, convert it by:\n    \
             python -c \"{CONVERSION}\""
        ))
    } else if let Some(shard) = of(&|name| name.starts_with("model-") && name.ends_with(".safetensors")) {
        Some(format!("and {shard} is of no use without {INDEX}, which says where each tensor is"))
    } else if let Some(other) = of(&|name| name.ends_with(".safetensors")) {
        Some(format!("but {other}; if that is the model, rename it"))
    } else {
        of(&|name| name == "tf_model.h5" || name == "flax_model.msgpack")
            .map(|other| format!("and {other} is not read: take the model in safetensors"))
    };
    instead.map_or_else(|| missing.to_owned(), |instead| format!("{missing}, {instead}"))
}

/// The names of a folder's files, in alphabetical order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_pickle(name: &str) -> bool {
    name.starts_with(PICKLE) && name.ends_with(".bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_there_is_instead() {
        for (present, missing, expected) in [
            (&["pytorch_model.bin"][..], WEIGHTS, "pytorch_model.bin is not read"),
            (&["pytorch_model-00001-of-00002.bin"], WEIGHTS, "python -c \"import glob, torch"),
            (&["model-00001-of-00002.safetensors"], WEIGHTS, "without model.safetensors.index.json"),
            (&["weights.safetensors"], WEIGHTS, "but weights.safetensors"),
            (&["tf_model.h5"], WEIGHTS, "tf_model.h5 is not read"),
            (&["adapter_config.json"], "config.json", "give it as --adapter"),
            (&[INDEX], "model-00002-of-00002.safetensors", "which model.safetensors.index.json names"),
            (&[INDEX], "tokenizer.json", "tokenizer.json"),
            (&[], WEIGHTS, WEIGHTS),
        ] {
            let folder = tempfile::tempdir().unwrap();
            present.iter().for_each(|name| fs::write(folder.path().join(name), "x").unwrap());
            let words = missing_words(folder.path(), missing);
            assert!(words.starts_with(missing) && words.contains(expected), "{words}");
            assert!(words == missing || expected != missing, "{words}");
        }
    }
}
