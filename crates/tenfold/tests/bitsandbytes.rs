//! A Llama that Transformers quantised with bitsandbytes 0.50.2 and saved (`tests/bitsandbytes_both_ways.py --save`): its
//! numbers, and training over it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold::adapter::{self, Context, Tuning};
use tenfold::model::checkpoint::{self, Checkpoint, read_tensors};
use tenfold::model::{self, Batch, Forward, IGNORE, Model, TaskType};
use tenfold_tensor::{Cpu, Dtype, Param, Ragged};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bitsandbytes")
}

fn load(dtype: Option<Dtype>) -> Arc<dyn Model> {
    model::load(&folder(), TaskType::CausalLm, &Cpu::new(), dtype).unwrap()
}

fn in_four_bits(model: &dyn Model) -> Vec<&str> {
    let weights = model.weights().into_iter().filter(|weight| weight.tensor.dtype() == Dtype::Nf4);
    weights.map(|weight| weight.name.as_str()).collect()
}

#[test]
fn every_matrix_widens_to_the_numbers_of_bitsandbytes() {
    let (ours, theirs) =
        (Checkpoint::open(&folder()).unwrap(), read_tensors(&folder().join("widened.safetensors")).unwrap());
    let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<u32>>();
    for (name, expected) in &theirs {
        let view = ours.require(name, &expected.shape).unwrap();
        assert_eq!(bits(&view.to_f32()), bits(&expected.data), "{name}");
        // Rows of 32 are half blocks.
        let whole = expected.shape[1] == 64;
        let dtype = if whole { checkpoint::Dtype::Blocks(Dtype::Nf4) } else { checkpoint::Dtype::F32 };
        assert_eq!(view.dtype, dtype, "{name}");
    }
    assert_eq!((theirs.len(), ours.names().filter(|name| name.ends_with("_proj.weight")).count()), (14, 14));
}

/// Loss and gradients of LoRA, started the same way.
fn lora(model: &dyn Model) -> (f32, Vec<f32>) {
    let backend = Cpu::new();
    let context = Context { model, backend: &backend, seed: 3, tokenize: &|_| Ok(vec![5]) };
    let method = adapter::method("lora").unwrap();
    let tuning = Tuning::new(method, &(method.defaults)(), &context, 2).unwrap();
    let ids: Vec<u32> = vec![1, 44, 7, 90, 13, 13, 2];
    let batch = Batch {
        type_ids: vec![0; ids.len()],
        ragged: Ragged::from_lengths([ids.len()]),
        labels: ids[1..].iter().copied().chain([IGNORE]).collect(),
        decoder: None,
        ids,
    };
    let loss = model::loss(model, &Forward::training(&tuning, 1, &[0]), &batch, 0.0).unwrap().mean;
    let number = loss.numbers().unwrap()[0];
    loss.backward(1.0).unwrap();
    let gradients = tuning.parameters();
    let gradients =
        gradients.iter().map(Param::gradient).map(|gradient| gradient.unwrap().unwrap_or_default());
    (number, gradients.flatten().collect())
}

#[test]
fn lora_trains_over_the_stored_blocks_as_over_the_widened_numbers() {
    let (stored, again, widened) = (load(None), load(Some(Dtype::Nf4)), load(Some(Dtype::F32)));
    let blocks = ["model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"];
    assert_eq!((in_four_bits(&*stored), in_four_bits(&*again)), (blocks.to_vec(), blocks.to_vec()));
    assert!(in_four_bits(&*widened).is_empty());
    let (expected, found) = (lora(&*widened), lora(&*stored));
    assert!((expected.0 - found.0).abs() < 1e-5, "{} and {}", expected.0, found.0);
    let largest = expected.1.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 1e-3 && expected.1.len() > 1000);
    assert!(expected.1.iter().zip(&found.1).all(|(a, b)| (a - b).abs() <= 1e-4 * largest));
    assert_eq!(lora(&*again), found, "not one byte was made anew");
}
