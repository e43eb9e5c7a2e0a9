//! Tests of a model's files: each is read once, and its weights are looked through once.

use super::*;
use crate::error::Error;
use crate::model::checkpoint::{HostTensor, WEIGHTS, read_tensors, write_tensors};
use crate::plain_file::READ;
use std::fs;
use tenfold_tensor::{Cpu, Meta};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(name).join("model")
}

/// How often each file below a folder was read to be understood, by its name.
fn reads(folder: &Path) -> BTreeMap<String, usize> {
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let own = read.iter().filter(|(path, _)| path.starts_with(folder));
    own.map(|(path, times)| (path.file_name().unwrap().to_string_lossy().into_owned(), *times)).collect()
}

fn copied(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

#[test]
fn whatever_is_asked_of_a_folder_reads_each_file_once() {
    let folder = copied(&golden("llama"));
    let settings = r#"{"chat_template": "{{ messages[0].content }}", "bos_token": "a"}"#;
    fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
    fs::write(folder.path().join("generation_config.json"), "{}").unwrap();
    let words =
        r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}"#;
    fs::write(folder.path().join("tokenizer.json"), words).unwrap();
    let files = ModelFiles::open(folder.path()).unwrap();
    for _ in 0..2 {
        let task = files.usual_task().unwrap();
        files.load(task, &Cpu::new(), None).unwrap();
        files.clone().load(TaskType::SequenceClassification, &Meta::new(), None).unwrap();
        files.tokenizer().unwrap();
        assert!(files.chat_template().unwrap().is_some() && files.gguf().unwrap().is_none());
        let other = tempfile::tempdir().unwrap();
        crate::model::copy_tokenizer(&files, other.path()).unwrap();
        crate::model::copy_generation(&files, other.path()).unwrap();
        assert!(other.path().join("tokenizer.json").is_file());
    }
    let names = ["config.json", "generation_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(reads(folder.path()), names.map(|name| (name.to_owned(), 1)).into());
}

#[test]
fn whatever_is_asked_of_a_gguf_file_maps_it_once() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf/llama.gguf");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden, folder.path().join("llama.gguf")).unwrap();
    let files = ModelFiles::open(folder.path()).unwrap();
    for _ in 0..2 {
        files.load(files.usual_task().unwrap(), &Cpu::new(), None).unwrap();
        files.load(TaskType::CausalLm, &Meta::new(), None).unwrap();
        files.tokenizer().unwrap();
        files.chat_template().unwrap();
    }
    assert_eq!(reads(folder.path()), [("llama.gguf".to_owned(), 1)].into());
}

#[test]
fn nothing_is_kept_of_what_fails() {
    let folder = copied(&golden("llama"));
    let config = fs::read_to_string(folder.path().join(CONFIG)).unwrap();
    fs::write(folder.path().join(CONFIG), "{").unwrap();
    let files = ModelFiles::open(folder.path()).unwrap();
    assert!(matches!(files.usual_task(), Err(Error::Malformed { .. })));
    fs::write(folder.path().join(CONFIG), config).unwrap();
    assert_eq!(files.usual_task().unwrap(), TaskType::CausalLm);
}

/// A model with files that are worth remembering.
fn large(folder: &Path, last: f32) -> PathBuf {
    let config = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 8192, "max_position_embeddings": 32, "tie_word_embeddings": true}"#;
    fs::write(folder.join(CONFIG), config).unwrap();
    let random = crate::model::load_random(&folder.join(CONFIG), TaskType::CausalLm, 0, &Cpu::new(), None);
    let tensors = random.unwrap();
    let tensors = tensors.weights().into_iter().map(|weight| {
        let (shape, data) = (weight.tensor.shape().to_vec(), weight.tensor.numbers().unwrap());
        (weight.name.clone(), HostTensor { shape, data })
    });
    let mut tensors: BTreeMap<String, HostTensor> = tensors.collect();
    tensors.get_mut("model.norm.weight").unwrap().data[63] = last;
    let file = folder.join(WEIGHTS);
    write_tensors(&file, &tensors, &BTreeMap::new()).unwrap();
    file
}

#[cfg(unix)]
#[test]
fn weights_are_looked_through_once_and_that_is_remembered_until_the_file_changes() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = large(folder.path(), 1.0);
    let memory = || Some(Memory::new(cache.path().join("hashes")).trusting());
    let load = || {
        let files = ModelFiles::at(folder.path(), memory());
        files.load(TaskType::CausalLm, &Cpu::new(), None).map(|_| files)
    };
    assert!(!memory().unwrap().is_finite(&file));
    load().unwrap();
    assert!(memory().unwrap().is_finite(&file));
    // What is remembered is believed: a later load reads no number.
    assert!(load().unwrap().checkpoint().unwrap().not_finite().is_empty());
    std::thread::sleep(std::time::Duration::from_millis(20));
    large(folder.path(), f32::NAN);
    assert!(!memory().unwrap().is_finite(&file), "another state of the file");
    for _ in 0..2 {
        let error = load().err().unwrap().to_string();
        assert!(
            error.contains("model.norm.weight: expected finite numbers") && error.contains("place 63"),
            "{error}"
        );
    }
    let mut whole = read_tensors(&file).unwrap();
    whole.insert("nobody.asks".into(), HostTensor { shape: vec![2], data: vec![f32::INFINITY; 2] });
    whole.get_mut("model.norm.weight").unwrap().data[63] = 1.0;
    write_tensors(&file, &whole, &BTreeMap::new()).unwrap();
    load().unwrap();
    assert!(
        !memory().unwrap().is_finite(&file),
        "a tensor that nothing uses keeps the file from being trusted"
    );
}
