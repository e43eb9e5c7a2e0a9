//! Tests of tokenizers.

use super::*;
use crate::model::files::Folder;
use std::fs;

const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "film", "##s", "un", "##good", "!", "cafe"];

fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn small() -> Tokenizer {
    let folder = folder(&[("vocab.txt", WORDS.join("\n"))]);
    Tokenizer::from_dir(folder.path()).unwrap()
}

#[test]
fn a_bert_vocabulary_without_tokenizer_json_is_enough() {
    let tokenizer = small();
    assert_eq!(tokenizer.vocab_size(), 12);
    let encoding = tokenizer.encode("A GOOD films caf\u{e9} ungood!? [SEP]", None, 64).unwrap();
    assert_eq!(encoding.ids, [2, 4, 5, 6, 7, 11, 8, 9, 10, 1, 3, 3]);
    assert!(!encoding.truncated && encoding.type_ids.iter().all(|&id| id == 0));
}

#[test]
fn a_cased_vocabulary_keeps_its_case() {
    let config = r#"{"do_lower_case": false, "strip_accents": null}"#;
    let folder = folder(&[("vocab.txt", WORDS.join("\n")), ("tokenizer_config.json", config.into())]);
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("Good good", None, 8).unwrap().ids, [2, 1, 5, 3]);
}

#[test]
fn pairs_have_two_types_and_the_longer_text_is_cut_first() {
    let tokenizer = small();
    let encoding = tokenizer.encode("a film", Some("good good good good good"), 8).unwrap();
    assert_eq!(encoding.ids, [2, 4, 6, 3, 5, 5, 5, 3]);
    assert_eq!(encoding.type_ids, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert!(encoding.truncated);
    let encoding = tokenizer.encode("a good film", None, 4).unwrap();
    assert_eq!((encoding.ids, encoding.truncated), (vec![2, 4, 5, 3], true));
    assert!(!tokenizer.encode("a good", None, 4).unwrap().truncated);
    assert!(tokenizer.encode("a", None, 2).unwrap_err().to_string().contains("more than 2 tokens"));
    assert_eq!(tokenizer.encode("", None, 3).unwrap().ids, [2, 3]);
}

#[test]
fn the_files_own_padding_and_truncation_are_left_aside() {
    let vocabulary = folder(&[("vocab.txt", WORDS.join("\n"))]);
    let plain = wordpiece::describe(
        &vocabulary.path().join("vocab.txt"),
        &Config::read(&Folder::new(Path::new("none"))).unwrap(),
    )
    .unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&plain).unwrap();
    json["truncation"] =
        serde_json::json!({"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    let folder = folder(&[("tokenizer.json", json.to_string())]);
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    let encoding = tokenizer.encode("a good film", None, 64).unwrap();
    assert_eq!((encoding.ids, encoding.truncated), (vec![2, 4, 5, 6, 3], false));
}

/// A BPE of a, b and "ab" that puts <s> before every text.
fn letters(dropout: serde_json::Value, config: &str) -> tempfile::TempDir {
    let added = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    };
    let around = parts::Around { before: Some(("<s>".into(), 0)), after: None };
    let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<s>"), added(1, "</s>")], "normalizer": null, "pre_tokenizer": null,
        "post_processor": around.template(), "decoder": null,
        "model": {"type": "BPE", "dropout": dropout, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}, "merges": [["a", "b"]]}});
    let settings = r#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
    folder(&[
        ("tokenizer.json", json.to_string()),
        ("tokenizer_config.json", settings.into()),
        ("config.json", config.into()),
    ])
}

#[test]
fn dropout_of_merges_is_off_and_said_to_be() {
    let folder = letters(0.5.into(), "{}");
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    for _ in 0..20 {
        assert_eq!(tokenizer.words("abababab").unwrap(), [4; 4]);
    }
    assert!(tokenizer.notes()[0].contains("tokenizer.json: model.dropout = 0.5 is off"));
    let folder = letters(serde_json::Value::Null, "{}");
    assert!(Tokenizer::from_dir(folder.path()).unwrap().notes().is_empty());
}

#[test]
fn a_prompt_that_begins_with_the_first_token_gets_no_second_one() {
    let folder = letters(serde_json::Value::Null, "{}");
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("<s>ab", None, 9).unwrap().ids, [0, 0, 4]);
    for (text, ids, twice) in [
        ("<s>ab", &[0, 4][..], true),
        ("ab", &[0, 4], false),
        ("<s><s>a", &[0, 0, 2], true),
        ("", &[0], false),
    ] {
        assert_eq!(tokenizer.prompt(text).unwrap(), ids, "{text}");
        assert_eq!(tokenizer.begins_twice(text).unwrap(), twice, "{text}");
    }
}

#[test]
fn an_end_beyond_the_vocabulary_is_refused_by_the_file_that_states_it() {
    let extents = |vocab_size| Extents {
        hidden_size: 1,
        num_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        kv_size: 1,
        vocab_size,
        max_positions: 1,
        token_types: usize::MAX,
        num_submodules: 1,
    };
    let folder = letters(serde_json::Value::Null, r#"{"eos_token_id": [1, 7]}"#);
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    tokenizer.check(&extents(8)).unwrap();
    let error = tokenizer.check(&extents(7)).unwrap_err().to_string();
    assert!(error.contains("config.json: eos_token_id: expected ids of tokens, below"), "{error}");
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": 9}"#).unwrap();
    let error = Tokenizer::from_dir(folder.path()).unwrap().check(&extents(7)).unwrap_err().to_string();
    assert!(error.contains("generation_config.json: eos_token_id") && error.ends_with("found 9"), "{error}");
}

#[test]
fn files_that_stand_for_others_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    for name in ["tokenizer.json", "vocab.txt", "spiece.model", "tokenizer_config.json"] {
        let folder = folder(&[(name, pointer.into())]);
        let error = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("git lfs pull"), "{error}");
    }
}

#[test]
fn hostile_files_are_errors_that_name_the_file() {
    let vocabulary = folder(&[("vocab.txt", WORDS.join("\n"))]);
    let good = wordpiece::describe(
        &vocabulary.path().join("vocab.txt"),
        &Config::read(&Folder::new(Path::new("none"))).unwrap(),
    )
    .unwrap();
    let good = String::from_utf8(good).unwrap();
    let unigram = r#"{"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]}}"#;
    let deep = "[".repeat(100_000);
    for content in
        ["", "{}", "[]", "null", unigram, &deep, &good[..good.len() / 2], &good.replace("\"[UNK]\"", "\"?\"")]
    {
        let folder = folder(&[("tokenizer.json", content.into())]);
        let error = match Tokenizer::from_dir(folder.path()) {
            Err(error) => error.to_string(),
            // What only shows when text comes.
            Ok(tokenizer) => match tokenizer.encode("b ?", None, 64) {
                Err(error) => error.to_string(),
                Ok(_) => continue,
            },
        };
        assert!(error.contains("tokenizer.json"), "{error}");
    }
    let empty = folder(&[]);
    assert!(Tokenizer::from_dir(empty.path()).unwrap_err().to_string().contains("vocab.txt"));
}

/// Damages a good file everywhere; whatever comes, it is an answer or an error.
#[test]
fn damaged_files_never_panic() {
    let vocabulary = folder(&[("vocab.txt", WORDS.join("\n"))]);
    let good = wordpiece::describe(
        &vocabulary.path().join("vocab.txt"),
        &Config::read(&Folder::new(Path::new("none"))).unwrap(),
    )
    .unwrap();
    let mut state = 1u64;
    for _ in 0..400 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut damaged = good.clone();
        let place = (state >> 33) as usize % damaged.len();
        damaged[place] = b"0\"{}[],:x9-"[(state >> 20) as usize % 11];
        if let Ok(tokenizer) = Tokenizer::from_json("damaged".into(), &damaged) {
            let _ = tokenizer.encode("a good films \u{1f642}", Some("x"), 16);
        }
    }
}

/// Against ids that Hugging Face's Python library gave, where the model is at hand.
#[test]
fn golden_ids_of_all_minilm_l6_v2() {
    let Some(folder) = crate::model::store::at_hand("all-minilm-l6-v2") else {
        eprintln!("not run: all-minilm-l6-v2 is neither in TENFOLD_MODEL nor in the cache");
        return;
    };
    #[derive(serde::Deserialize)]
    struct Golden {
        texts: Vec<String>,
        input_ids: Vec<Vec<u32>>,
    }
    let golden = include_str!("../../../tests/golden/real/all-minilm-l6-v2.json");
    let golden: Golden = serde_json::from_str(golden).unwrap();
    let tokenizer = Tokenizer::from_dir(&folder).unwrap();
    assert_eq!(tokenizer.vocab_size(), 30522);
    for (text, padded) in golden.texts.iter().zip(&golden.input_ids) {
        let length = padded.iter().rposition(|&id| id != 0).unwrap() + 1;
        assert_eq!(tokenizer.encode(text, None, 512).unwrap().ids, padded[..length], "{text}");
    }
}
