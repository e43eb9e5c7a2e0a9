//! Whatever bytes a safetensors file is made of, opening it and widening its numbers is an error or an answer, those of
//! bitsandbytes' matrices in 4 bits among them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;
use tenfold::model::checkpoint::{Checkpoint, read_tensors};

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("fuzzed.safetensors");
    std::fs::write(&path, bytes).expect("room for the file");
    if let Ok(tensors) = read_tensors(&path) {
        for tensor in tensors.values() {
            assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
        }
    }
    if let Ok(checkpoint) = Checkpoint::open_file(&path) {
        for name in checkpoint.names() {
            let view = checkpoint.get(name).expect("a tensor that was named");
            assert_eq!(view.len(), view.to_f32().len());
            let _ = view.first_not_finite();
        }
    }
});
