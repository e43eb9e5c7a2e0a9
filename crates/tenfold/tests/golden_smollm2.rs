//! Reference figures of SmolLM2-135M-Instruct, a language model in a GGUF file, by Transformers.
//!
//! The figures are in `tests/golden`, or in the folder that TENFOLD_GOLDEN names (same layout); the model must be in
//! the cache, or nothing is run.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tenfold::data::language::Message;
use tenfold::model::chat_template::ChatTemplate;
use tenfold::model::gguf::{self, Gguf};
use tenfold::model::store;
use tenfold::model::tokenizer::Tokenizer;

const NAME: &str = "smollm2-135m";

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    chat_template_rendered: String,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    input_ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    greedy_text: String,
}

fn golden() -> Golden {
    let folder: PathBuf = match std::env::var_os("TENFOLD_GOLDEN") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    };
    let content = std::fs::read(folder.join("real/smollm2-135m-instruct.json")).unwrap();
    serde_json::from_slice(&content).unwrap()
}

fn model() -> Option<Gguf> {
    let Some(folder) = store::cached(NAME) else {
        eprintln!("skipped: {NAME} is not in the cache; `tenfold model pull {NAME}` brings it");
        return None;
    };
    Some(Gguf::open(&gguf::only(&folder).unwrap()).unwrap())
}

#[test]
fn golden_smollm2_token_ids_and_texts() {
    let Some(gguf) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos_id(), tokenizer.eos_ids()), (49152, Some(1), &[2][..]));
    for case in golden().cases {
        assert_eq!(tokenizer.encode(&case.text, None, 512).unwrap().ids, case.input_ids, "{}", case.text);
        assert_eq!(tokenizer.decode(&case.input_ids, false).unwrap(), case.text);
        assert_eq!(tokenizer.decode(&case.greedy_ids, false).unwrap(), case.greedy_text);
    }
}

#[test]
fn golden_smollm2_chat_template() {
    let Some(gguf) = model() else { return };
    let template = ChatTemplate::from_gguf(gguf.metadata()).unwrap().unwrap();
    let rendered = template.render(&[Message::new("user", "Hi")], None, true).unwrap();
    assert_eq!(rendered, golden().chat_template_rendered);
}

#[test]
fn golden_smollm2_tensors_have_the_shapes_of_the_model() {
    let Some(gguf) = model() else { return };
    assert_eq!(gguf.names().count(), 272);
    assert_eq!(gguf.metadata().u32("llama.block_count").unwrap(), 30);
    gguf.require("token_embd.weight", &[49152, 576]).unwrap();
    gguf.require("blk.29.attn_k.weight", &[192, 576]).unwrap();
    gguf.require("blk.0.ffn_down.weight", &[576, 1536]).unwrap();
}
