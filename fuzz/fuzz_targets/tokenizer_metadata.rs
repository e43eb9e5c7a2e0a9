//! Whatever GGUF metadata say of a tokenizer, it is one that encodes and decodes, or an error.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use tenfold::model::gguf::{Array, Metadata, Value};
use tenfold::model::tokenizer::Tokenizer;

#[derive(Arbitrary, Debug)]
struct Vocabulary {
    model: u8,
    pre: u8,
    /// Whether the tokens that a model cannot do without are there as well.
    whole: bool,
    tokens: Vec<(String, f32, u8)>,
    merges: Vec<(u8, u8)>,
    ids: [Option<u16>; 5],
    flags: [Option<bool>; 4],
    charsmap: Vec<u8>,
    text: String,
}

impl Vocabulary {
    fn metadata(&self) -> Metadata {
        let model = ["gpt2", "llama", "t5", "bert", "none"][usize::from(self.model) % 5];
        let pre = ["gpt-2", "llama-bpe", "qwen2", "tekken", "deepseek-v3", "none"][usize::from(self.pre) % 6];
        let mut tokens = self.tokens.clone();
        if self.whole {
            let needed: Vec<String> = match model {
                "gpt2" => (0x21..0x180).filter_map(char::from_u32).map(String::from).collect(),
                "bert" => ["[UNK]", "[CLS]", "[SEP]"].map(str::to_owned).to_vec(),
                _ => vec!["<unk>".to_owned(), "\u{2581}".to_owned()],
            };
            tokens.extend(needed.into_iter().map(|token| {
                let kind = if token == "<unk>" { 2 } else { 1 };
                (token, -1.0, kind)
            }));
        }
        let token = |at: u8| tokens.get(usize::from(at) % tokens.len().max(1)).map_or("", |token| &token.0);
        let merges = self.merges.iter().map(|(a, b)| format!("{} {}", token(*a), token(*b))).collect();
        let mut values = BTreeMap::from([
            ("model".to_owned(), Value::String(model.into())),
            ("pre".to_owned(), Value::String(pre.into())),
            ("merges".to_owned(), Value::Array(Array::Strings(merges))),
            ("scores".to_owned(), Value::Array(Array::F32(tokens.iter().map(|token| token.1).collect()))),
            ("token_type".to_owned(), Value::Array(Array::U8(tokens.iter().map(|token| token.2 % 8).collect()))),
            ("tokens".to_owned(), Value::Array(Array::Strings(tokens.into_iter().map(|token| token.0).collect()))),
            ("precompiled_charsmap".to_owned(), Value::Array(Array::U8(self.charsmap.clone()))),
        ]);
        for (part, id) in ["bos", "eos", "unknown", "cls", "seperator"].iter().zip(self.ids) {
            values.extend(id.map(|id| (format!("{part}_token_id"), Value::U16(id))));
        }
        let flags = ["add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"];
        for (flag, truth) in flags.iter().zip(self.flags) {
            values.extend(truth.map(|truth| (flag.to_string(), Value::Bool(truth))));
        }
        let values = values.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
        Metadata::new("fuzzed.gguf", values.collect())
    }
}

fuzz_target!(|vocabulary: Vocabulary| {
    let Ok(tokenizer) = Tokenizer::from_metadata(&vocabulary.metadata()) else { return };
    if let Ok(encoding) = tokenizer.encode(&vocabulary.text, Some("pair"), 512) {
        assert!(encoding.ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
        let _ = tokenizer.decode(&encoding.ids, true);
    }
});
