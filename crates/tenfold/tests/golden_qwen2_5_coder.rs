//! Reference figures of Qwen2.5-Coder-0.5B-Instruct as it is published in Q4_K_M, a mixture of Q4_K, Q5_0, Q6_K and Q8_0:
//! token ids, log-probabilities and greedy words by Transformers over the dequantized weights.
//!
//! The figures are in `tests/golden`, or in the folder that TENFOLD_GOLDEN names (same layout); the model must be in
//! the cache, or nothing is run.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tenfold::adapter::Tuning;
use tenfold::model::gguf::{self, Gguf};
use tenfold::model::tokenizer::Tokenizer;
use tenfold::model::{self, Batch, Forward, IGNORE, TaskType, Wanted, store};
use tenfold::score::argmax;
use tenfold_tensor::{Cpu, Ragged, without_gradients};

const NAME: &str = "qwen2.5-coder-0.5b";

#[derive(Deserialize)]
struct Golden {
    prompt: String,
    prompt_ids: Vec<u32>,
    greedy: Vec<u32>,
    greedy_text: String,
    text: String,
    text_ids: Vec<u32>,
    logprobs: Vec<f32>,
}

fn golden() -> Golden {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = std::env::var_os("TENFOLD_GOLDEN").map_or_else(own, PathBuf::from);
    let content = std::fs::read(folder.join("real/qwen2.5-coder-0.5b-q4_k_m.json")).unwrap();
    serde_json::from_slice(&content).unwrap()
}

fn folder() -> Option<PathBuf> {
    let folder = store::cached(NAME);
    if folder.is_none() {
        eprintln!("skipped: {NAME} is not in the cache; `tenfold model pull {NAME}` brings it");
    }
    folder
}

fn batch(ids: &[u32]) -> Batch {
    let labels = ids[1..].iter().copied().chain([IGNORE]).collect();
    let ragged = Ragged::from_lengths([ids.len()]);
    Batch { type_ids: vec![0; ids.len()], ids: ids.to_vec(), ragged, labels, decoder: None }
}

#[test]
fn golden_qwen2_5_coder_token_ids_and_formats() {
    let Some(folder) = folder() else { return };
    let (golden, gguf) = (golden(), Gguf::open(&gguf::only(&folder).unwrap()).unwrap());
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    for (text, ids) in [(&golden.prompt, &golden.prompt_ids), (&golden.text, &golden.text_ids)] {
        assert_eq!(&tokenizer.encode(text, None, 512).unwrap().ids, ids);
        assert_eq!(&tokenizer.decode(ids, false).unwrap(), text);
    }
    assert_eq!(tokenizer.decode(&golden.greedy, false).unwrap(), golden.greedy_text);
    let formats: BTreeSet<&str> = gguf.names().map(|name| gguf.get(name).unwrap().dtype.name()).collect();
    assert_eq!(formats.into_iter().collect::<Vec<_>>(), ["F32", "Q4_K", "Q5_0", "Q6_K", "Q8_0"]);
}

#[test]
fn golden_qwen2_5_coder_log_probabilities_and_greedy_words() {
    let Some(folder) = folder() else { return };
    let golden = golden();
    let qwen = model::load(&folder, TaskType::CausalLm, &Cpu::new(), None).unwrap();
    let tuning = Tuning::untouched(&*qwen);
    let forward = Forward::evaluation(&tuning);
    let found = without_gradients(|| model::log_probabilities(&*qwen, &forward, &batch(&golden.text_ids)));
    let found = found.unwrap();
    let off = found.iter().zip(&golden.logprobs).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(off < 1e-3, "log-probabilities off by {off:e}: {found:?}");
    let mut ids = golden.prompt_ids;
    for expected in golden.greedy {
        let hidden = || qwen.hidden_states(&forward, &batch(&ids), &Wanted::Last(vec![1])).unwrap();
        let logits = without_gradients(|| qwen.vocabulary().unwrap().logits(&forward, &hidden()).unwrap());
        let word = argmax(&logits.numbers().unwrap()).unwrap() as u32;
        assert_eq!(word, expected, "after {} tokens", ids.len());
        ids.push(word);
    }
}
