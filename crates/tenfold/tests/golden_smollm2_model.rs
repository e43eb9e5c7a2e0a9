//! Reference figures of SmolLM2-135M-Instruct in Q4_1: log-probabilities, logits and greedy words of its GGUF file.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::path::{Path, PathBuf};
use tenfold::adapter::Tuning;
use tenfold::model::checkpoint::read_tensors;
use tenfold::model::{self, Batch, Forward, IGNORE, TaskType, Wanted};
use tenfold::score::argmax;
use tenfold_tensor::{Cpu, Dtype, Ragged, without_gradients};

/// The model's folder, if the cache holds it.
fn folder() -> Option<PathBuf> {
    model::store::cached("smollm2-135m")
}

fn golden(name: &str) -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("TENFOLD_GOLDEN").map_or_else(own, PathBuf::from).join("real").join(name)
}

fn batch(ids: &[u32]) -> Batch {
    let labels = ids[1..].iter().copied().chain([IGNORE]).collect();
    let ragged = Ragged::from_lengths([ids.len()]);
    Batch { type_ids: vec![0; ids.len()], ids: ids.to_vec(), ragged, labels, decoder: None }
}

#[test]
fn golden_smollm2_log_probabilities_logits_and_greedy_words() {
    let Some(folder) = folder() else {
        eprintln!("skipped: smollm2-135m is not in the cache; `tenfold model pull smollm2-135m` brings it");
        return;
    };
    let text = std::fs::read_to_string(golden("smollm2-135m-instruct.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let figures = read_tensors(&golden("smollm2-135m-instruct.safetensors")).unwrap();
    // As its blocks, and widened when it is read: the same numbers either way.
    for dtype in [None, Some(Dtype::F32)] {
        let smollm2 = model::load(&folder, TaskType::CausalLm, &Cpu::new(), dtype).unwrap();
        let tuning = Tuning::untouched(&*smollm2);
        let forward = Forward::evaluation(&tuning);
        let last = |ids: &[u32]| {
            let hidden = smollm2.hidden_states(&forward, &batch(ids), &Wanted::Last(vec![1])).unwrap();
            smollm2.vocabulary().unwrap().logits(&forward, &hidden).unwrap().numbers().unwrap()
        };
        for (number, case) in cases["cases"].as_array().unwrap().iter().enumerate() {
            let list = |key: &str| -> Vec<u32> {
                case[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
            };
            let ids = list("input_ids");
            let found =
                without_gradients(|| model::log_probabilities(&*smollm2, &forward, &batch(&ids))).unwrap();
            let expected = &figures[&format!("{number}.token_logprobs")].data;
            let off = found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
            assert!(off < 1e-3, "case {number}: log-probabilities off by {off:e}");
            let expected = &figures[&format!("{number}.last_logits")].data;
            let logits = without_gradients(|| last(&ids));
            let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            let off = logits.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs())) / largest;
            assert!(off < 1e-3, "case {number}: logits off by {off:e}");
            if dtype.is_some() {
                continue;
            }
            let mut ids = ids;
            for expected in list("greedy_ids") {
                let word = argmax(&without_gradients(|| last(&ids))).unwrap() as u32;
                assert_eq!(word, expected, "case {number} after {} tokens", ids.len());
                ids.push(word);
            }
        }
    }
}
