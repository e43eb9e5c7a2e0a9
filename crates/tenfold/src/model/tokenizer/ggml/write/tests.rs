//! Tests of tokenizers on their way into GGUF metadata, on the tiny vocabularies that reading them is tested on.

use super::super::super::kinds_tests::{Meta, byte_level, pieces, unigram};
use super::super::{SCORES, describe};
use super::compare::TEXTS;
use super::*;
use std::fs;

/// A folder with the tokenizer that metadata describe, as a tokenizer.json, changed, and its tokenizer_config.json.
fn folder(meta: &Meta, config: &str, change: impl FnOnce(&mut Json)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let described = describe(&Metadata::new("m.gguf", meta.0.clone())).unwrap();
    let mut json: Json = serde_json::from_slice(&described.json).unwrap();
    change(&mut json);
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    folder
}

/// Whatever the metadata said stands in those that come back, but for scores, which may be others in the same order.
fn comes_back(meta: &Meta, config: &str, rows: usize) -> Keys {
    let keys = to_ggml(&Folder::new(folder(meta, config, |_| ()).path()), rows).unwrap();
    for (key, value) in &meta.0 {
        if key != SCORES && rows == tokens(meta) {
            assert_eq!(keys.get(key), Some(value), "{key}");
        }
    }
    let [own, theirs] =
        [&meta.0, &keys].map(|keys| Tokenizer::from_metadata(&Metadata::new("m", keys.clone())).unwrap());
    for text in TEXTS {
        assert_eq!(own.encode(text, None, 999).unwrap(), theirs.encode(text, None, 999).unwrap(), "{text}");
    }
    keys
}

fn tokens(meta: &Meta) -> usize {
    Metadata::new("m", meta.0.clone()).strings(TOKENS).unwrap().len()
}

fn fault(meta: &Meta, config: &str, change: impl FnOnce(&mut Json)) -> String {
    to_ggml(&Folder::new(folder(meta, config, change).path()), tokens(meta)).unwrap_err().to_string()
}

const ENDS: &str = r#"{"bos_token": "<|bos|>", "eos_token": {"content": "<|im_end|>"}}"#;

#[test]
fn byte_level_bpe_comes_back_under_the_name_that_splits_alike() {
    for (pre, name) in [
        ("gpt-2", "gpt-2"),
        ("gpt-neox", "olmo"),
        ("llama3", "llama-bpe"),
        ("qwen2", "qwen2"),
        ("tekken", "tekken"),
        ("deepseek-v3", "deepseek-v3"),
        ("starcoder", "command-r"),
    ] {
        let mut meta = byte_level();
        meta.set("pre", Value::String(pre.into()));
        let folder = folder(&meta, ENDS, |_| ());
        assert_eq!(
            to_ggml(&Folder::new(folder.path()), 261).unwrap()["tokenizer.ggml.pre"],
            Value::String(name.into())
        );
        comes_back(meta.set("pre", Value::String(name.into())), ENDS, 261);
    }
    // Where digits are set apart first, blanks before them are no part of a word.
    let digits = |json: &mut Json| {
        let steps = json["pre_tokenizer"]["pretokenizers"].as_array_mut().unwrap();
        steps.insert(0, serde_json::json!({"type": "Digits", "individual_digits": true}));
    };
    let keys = to_ggml(&Folder::new(folder(&byte_level(), ENDS, digits).path()), 261).unwrap();
    assert_eq!(keys["tokenizer.ggml.pre"], Value::String("command-r".into()));
}

#[test]
fn the_tokens_around_texts_rows_without_a_token_and_a_template_go_along() {
    let mut meta = byte_level();
    meta.set("pre", Value::String("llama-bpe".into()));
    meta.set("add_eos_token", Value::Bool(true));
    let config = r#"{"bos_token": "<|bos|>", "eos_token": "<|im_end|>", "chat_template": "{{ bos_token }}"}"#;
    let keys = comes_back(&meta, config, 300);
    let key = |key: &str| &keys[&format!("tokenizer.{key}")];
    assert_eq!(*key("chat_template"), Value::String("{{ bos_token }}".into()));
    assert_eq!([key("ggml.add_bos_token"), key("ggml.add_eos_token")], [&Value::Bool(true); 2]);
    assert_eq!([key("ggml.bos_token_id"), key("ggml.eos_token_id")], [&Value::U32(258), &Value::U32(259)]);
    let metadata = Metadata::new("m", keys.clone());
    assert_eq!(metadata.strings(TOKENS).unwrap()[299], "[PAD299]");
    assert_eq!(metadata.integers(TYPES).unwrap()[257..262], [1, 3, 3, 4, 5]);
}

#[test]
fn sentencepiece_and_wordpiece_come_back() {
    let ends = r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}"#;
    comes_back(&pieces(), ends, 268);
    comes_back(pieces().set("add_space_prefix", Value::Bool(false)), ends, 270);
    let ends = r#"{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}"#;
    let keys = comes_back(&unigram(), ends, 9);
    assert_eq!(keys[SCORES], unigram().0[SCORES]);
    comes_back(unigram().set("remove_extra_whitespaces", Value::Bool(false)), ends, 12);

    let words =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s", "un", "##good", "!"];
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.txt"), words.join("\n")).unwrap();
    let keys = to_ggml(&Folder::new(folder.path()), 13).unwrap();
    let Value::Array(Array::Strings(tokens)) = &keys[TOKENS] else { panic!("no strings") };
    assert_eq!(tokens[4..9], ["[MASK]", "\u{2581}a", "\u{2581}good", "\u{2581}film", "s"]);
    for (part, id) in [("unknown", 1), ("bos", 2), ("cls", 2), ("eos", 3), ("seperator", 3), ("mask", 4)] {
        assert_eq!(keys[&format!("tokenizer.ggml.{part}_token_id")], Value::U32(id), "{part}");
    }
}

#[test]
fn what_ggml_cannot_say_is_refused_with_the_reason() {
    let set =
        |place: &'static str, value: Json| move |json: &mut Json| *json.pointer_mut(place).unwrap() = value;
    let split = serde_json::json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
    let strip = serde_json::json!({"type": "Strip", "strip_left": true, "strip_right": true});
    for (error, expected) in [
        (
            fault(&byte_level(), ENDS, set("/pre_tokenizer", split)),
            "splits by [\"x+\"] in a GGUF file is not supported",
        ),
        (fault(&byte_level(), ENDS, set("/normalizer", strip)), "the normalizer {"),
        (
            fault(&pieces(), "{}", |json| json["model"]["merges"].as_array_mut().unwrap().truncate(1)),
            "no SentencePiece model",
        ),
        (
            fault(&pieces(), "{}", |json| {
                let merges = json["model"]["merges"].as_array_mut().unwrap();
                merges.push(merges[0].clone());
            }),
            "stands out of order",
        ),
        // A token that swallows the blanks before it.
        (fault(&byte_level(), ENDS, set("/added_tokens/0/lstrip", true.into())), "would become"),
        (fault(&pieces(), "{}", set("/normalizer", Json::Null)), "would become"),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error =
        to_ggml(&Folder::new(folder(&byte_level(), ENDS, |_| ()).path()), 260).unwrap_err().to_string();
    assert!(error.contains("at most 260 tokens"), "{error}");
}
