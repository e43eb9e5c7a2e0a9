//! Tests of the kinds of tokenizers that are said as a tokenizer.json, on tiny vocabularies made here.

use super::byte_level::letter;
use super::*;
use crate::model::gguf::{Array, Value};
use std::collections::BTreeMap;
use std::fs;

/// GGUF metadata of a tokenizer.
pub(super) struct Meta(pub(super) BTreeMap<String, Value>);

impl Meta {
    fn new(model: &str, tokens: &[&str]) -> Meta {
        let tokens = tokens.iter().map(|token| token.to_string()).collect();
        let mut meta = Meta(BTreeMap::new());
        meta.set("model", Value::String(model.into())).set("tokens", Value::Array(Array::Strings(tokens)));
        meta
    }

    pub(super) fn set(&mut self, key: &str, value: Value) -> &mut Meta {
        self.0.insert(format!("tokenizer.ggml.{key}"), value);
        self
    }

    fn types(&mut self, types: &[i32]) -> &mut Meta {
        self.set("token_type", Value::Array(Array::I32(types.to_vec())))
    }

    fn scores(&mut self, scores: &[f32]) -> &mut Meta {
        self.set("scores", Value::Array(Array::F32(scores.to_vec())))
    }

    fn id(&mut self, part: &str, id: u32) -> &mut Meta {
        self.set(&format!("{part}_token_id"), Value::U32(id))
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_metadata(&Metadata::new("m.gguf", self.0.clone()))
    }

    fn fault(&self) -> String {
        self.tokenizer().map(|_| ()).unwrap_err().to_string()
    }
}

/// All bytes, then two merged tokens and three special ones.
fn byte_tokens() -> Vec<String> {
    let letters = (0..=255).map(|byte| letter(byte).to_string());
    letters.chain(["ab", "\u{120}ab", "<|bos|>", "<|im_end|>", "<tool>"].map(str::to_owned)).collect()
}

pub(super) fn byte_level() -> Meta {
    let tokens = byte_tokens();
    let mut meta = Meta::new("gpt2", &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    let merges = ["a b", "\u{120} ab"].map(str::to_owned).to_vec();
    meta.set("merges", Value::Array(Array::Strings(merges)));
    meta.types(&[vec![1; 258], vec![3, 3, 4]].concat()).id("bos", 258).id("eos", 259);
    meta
}

#[test]
fn byte_level_bpe_of_gguf_reads_every_text_and_gives_it_back() {
    let tokenizer = byte_level().tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), 261);
    let ids = tokenizer.words("ab ab<|im_end|>c<tool>").unwrap();
    assert_eq!(ids, [256, 257, 259, u32::from(b'c'), 260]);
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "ab ab<|im_end|>c<tool>");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "ab abc<tool>");
    for text in
        ["", " ", "\n\n  x\t", "caf\u{e9} \u{5317}\u{4eac}\u{1f642}", "\0\u{7f}\u{ad}", &"ab ".repeat(3000)]
    {
        let ids = tokenizer.words(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids()), (Some(258), &[259][..]));
    assert_eq!(tokenizer.special_tokens(), [(258, "<|bos|>".to_owned()), (259, "<|im_end|>".to_owned())]);
    assert_eq!((tokenizer.token_id("ab"), tokenizer.token(257).as_deref()), (Some(256), Some("\u{120}ab")));
    assert!(tokenizer.decode(&[9999], false).unwrap_err().to_string().contains("a token of id 9999"));
}

#[test]
fn bos_and_eos_stand_where_the_file_says() {
    let ids = |meta: &Meta| meta.tokenizer().unwrap().encode("ab", None, 8).unwrap().ids;
    assert_eq!(ids(&byte_level()), [256]);
    assert_eq!(ids(byte_level().set("pre", Value::String("llama-bpe".into()))), [258, 256]);
    let mut both = byte_level();
    both.set("add_bos_token", Value::Bool(true)).set("add_eos_token", Value::Bool(true));
    assert_eq!(ids(&both), [258, 256, 259]);
    let pair = both.tokenizer().unwrap().encode("ab", Some("ab"), 8).unwrap();
    assert_eq!((pair.ids, pair.type_ids), (vec![258, 256, 259, 258, 256, 259], vec![0; 6]));
    assert_eq!(ids(both.set("add_bos_token", Value::Bool(false))), [256, 259]);
}

#[test]
fn each_pre_tokenizer_splits_as_its_family_does() {
    let words = |pre: &str, text: &str| {
        let mut meta = byte_level();
        let tokenizer = meta.set("pre", Value::String(pre.into())).tokenizer().unwrap();
        let mut split = tokenizers::PreTokenizedString::from(text);
        tokenizers::PreTokenizer::pre_tokenize(tokenizer.inner.get_pre_tokenizer().unwrap(), &mut split)
            .unwrap();
        let splits = split.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
        splits.into_iter().map(|(_, (from, to), _)| text[from..to].to_owned()).collect::<Vec<_>>()
    };
    let text = "I'LL x12345,\n\n  y";
    assert_eq!(words("gpt-2", text), ["I", "'", "LL", " x", "12345", ",", "\n\n ", " y"]);
    assert_eq!(words("llama-bpe", text), ["I", "'LL", " x", "123", "45", ",\n\n", " ", " y"]);
    for pre in ["smaug-bpe", "dbrx"] {
        assert_eq!(words(pre, text), words("llama-bpe", text));
    }
    assert_eq!(words("gpt-4o", "I'LL aBcD 1234/\n"), ["I'LL", " a", "Bc", "D", " ", "123", "4", "/\n"]);
    assert_eq!(words("mpt", text), words("olmo", text));
    assert_eq!(words("qwen2", text), ["I", "'LL", " x", "1", "2", "3", "4", "5", ",\n\n", " ", " y"]);
    assert_eq!(words("tekken", "aBcD12"), ["a", "Bc", "D", "1", "2"]);
    assert_eq!(words("deepseek-v3", "1234\u{5317}a+b"), ["123", "4", "\u{5317}", "a", "+b"]);
    let mut composed = byte_level();
    let tokenizer = composed.set("pre", Value::String("qwen2".into())).tokenizer().unwrap();
    assert_eq!(tokenizer.words("e\u{301}").unwrap(), tokenizer.words("\u{e9}").unwrap());
    let unknown = byte_level().set("pre", Value::String("viking".into())).fault();
    assert!(unknown.contains("the pre-tokenizer \"viking\" is not supported: known are gpt-2"), "{unknown}");
}

/// `<unk> <s> </s>`, the 256 bytes, then pieces; the last two have equal scores.
pub(super) fn pieces() -> Meta {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let words = ["\u{2581}", "a", "b", "c", "bc", "ab", "\u{2581}a", "\u{2581}\u{2581}", "[USER]"];
    let tokens = ["<unk>", "<s>", "</s>"].into_iter().chain(bytes.iter().map(String::as_str)).chain(words);
    let mut meta = Meta::new("llama", &tokens.collect::<Vec<_>>());
    let scores = [vec![0.0; 259], vec![-10.0, -10.0, -10.0, -10.0, -1.0, -2.0, -3.0, -4.0, 0.0]].concat();
    meta.types(&[vec![2, 3, 3], vec![6; 256], vec![1; 8], vec![4]].concat()).scores(&scores);
    meta.id("bos", 1).id("eos", 2).id("unknown", 0);
    meta
}

#[test]
fn sentencepiece_bpe_merges_by_score_and_falls_back_to_bytes() {
    let tokenizer = pieces().tokenizer().unwrap();
    let (blank, a, bc, blank_a, blanks, user) = (259, 260, 263, 265, 266, 267);
    // "bc" is better than "ab", which is better than the blank with its "a".
    assert_eq!(tokenizer.encode("abc", None, 64).unwrap().ids, [1, blank_a, bc]);
    assert_eq!(tokenizer.words("a  a").unwrap(), [blank_a, blank, blank_a]);
    assert_eq!(tokenizer.words("   ").unwrap(), [blanks, blanks]);
    let bytes = |text: &str| text.bytes().map(|byte| 3 + u32::from(byte)).collect::<Vec<_>>();
    assert_eq!(tokenizer.words("\u{1f642}\n").unwrap(), [vec![blank], bytes("\u{1f642}\n")].concat());
    assert_eq!(tokenizer.words("[USER]a").unwrap(), [user, blank_a]);
    for text in ["", "abc", "  a b", "caf\u{e9}\n\n \u{5317}\u{1f642}", &"abc a".repeat(2000)] {
        let ids = tokenizer.words(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
    let mut bare = pieces();
    let tokenizer = bare.set("add_space_prefix", Value::Bool(false)).tokenizer().unwrap();
    assert_eq!(tokenizer.encode("a a", None, 8).unwrap().ids, [1, a, blank_a]);
    assert_eq!(tokenizer.decode(&[a, blank_a], true).unwrap(), "a a");
}

#[test]
fn signs_of_a_turn_swallow_the_white_space_behind_them_in_phi_3_alone() {
    let mut meta = pieces();
    meta.set("add_space_prefix", Value::Bool(false));
    let (a, newline) = (260, 3 + 10);
    let words = |meta: &Meta| meta.tokenizer().unwrap().words("</s>\na<s>\na").unwrap();
    assert_eq!(words(&meta), [2, newline, a, 1, newline, a]);
    meta.0.insert("general.architecture".into(), Value::String("phi3".into()));
    assert_eq!(words(&meta), [2, a, 1, newline, a], "but not the token before a text");
}

/// Gemma's files have blanks in tokens that stand for themselves, and "\u{2581}" in those that are merged.
#[test]
fn runs_of_blanks_that_are_tokens_of_their_own_are_taken_before_merges() {
    let mut meta = pieces();
    meta.set("add_space_prefix", Value::Bool(false));
    let Some(Value::Array(Array::Strings(tokens))) = meta.0.get_mut("tokenizer.ggml.tokens") else {
        panic!()
    };
    tokens[267] = "   ".into();
    let tokenizer = meta.tokenizer().unwrap();
    let (blank, a, blank_a, blanks, three) = (259, 260, 265, 266, 267);
    for (text, ids) in [
        ("a   a", vec![a, three, a]),
        ("a    a", vec![a, three, blank_a]),
        ("a  a", vec![a, blank, blank_a]),
        ("a     ", vec![a, three, blanks]),
    ] {
        assert_eq!(tokenizer.words(text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
}

pub(super) fn unigram() -> Meta {
    let tokens = ["<pad>", "</s>", "<unk>", "\u{2581}", "\u{2581}a", "b", "ab", "\u{2581}ab", "<extra_id_0>"];
    let mut meta = Meta::new("t5", &tokens);
    meta.types(&[3, 3, 2, 1, 1, 1, 1, 1, 4]).id("eos", 1).id("unknown", 2);
    meta.scores(&[0.0, 0.0, 0.0, -2.0, -3.0, -3.0, -4.5, -7.0, 0.0]);
    meta
}

#[test]
fn unigram_takes_the_likeliest_pieces() {
    let tokenizer = unigram().tokenizer().unwrap();
    // The two ways to "ab": a piece of -7, or two of -3.
    assert_eq!(tokenizer.encode("ab", None, 8).unwrap().ids, [4, 5, 1]);
    assert_eq!(tokenizer.words("  ab   a ").unwrap(), [4, 5, 4]);
    assert_eq!(tokenizer.words("a<extra_id_0> x").unwrap(), [4, 8, 3, 2]);
    assert_eq!(tokenizer.decode(&[4, 5, 4, 1], true).unwrap(), "ab a");
    assert_eq!(tokenizer.encode("", None, 8).unwrap().ids, [1]);
}

#[test]
fn wordpiece_of_gguf_is_that_of_vocab_txt() {
    let words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[unused1]",
        "a",
        "good",
        "film",
        "##s",
        "un",
        "##good",
        "!",
        // A capital that has no small letter.
        "\u{211d}",
    ];
    let written: Vec<String> = (words.iter())
        .map(|word| match word.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None if word.starts_with('[') => word.to_string(),
            None => format!("\u{2581}{word}"),
        })
        .collect();
    let mut meta = Meta::new("bert", &written.iter().map(String::as_str).collect::<Vec<_>>());
    meta.types(&[vec![3; 5], vec![1; 9]].concat());
    meta.id("unknown", 1).id("cls", 2).id("seperator", 3).id("padding", 0).id("mask", 4);
    let ours = meta.tokenizer().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.txt"), words.join("\n")).unwrap();
    let theirs = Tokenizer::from_dir(folder.path()).unwrap();
    for (text, pair) in
        [("A GOOD films ungood!? [MASK]", None), ("", None), ("caf\u{e9} s", Some("good [unused1]"))]
    {
        assert_eq!(ours.encode(text, pair, 64).unwrap(), theirs.encode(text, pair, 64).unwrap(), "{text}");
    }
    assert_eq!(ours.words("GOOD").unwrap(), [7]);
    let cased = Meta::new("bert", &["[UNK]", "[CLS]", "[SEP]", "\u{2581}Good"]).tokenizer().unwrap();
    assert_eq!(cased.words("Good good").unwrap(), [3, 0]);
}

/// Pieces with nothing around texts.
fn plain(tokens: &[&str]) -> Meta {
    let mut meta = Meta::new("llama", tokens);
    meta.set("add_bos_token", Value::Bool(false));
    meta
}

#[test]
fn faults_of_metadata_are_told() {
    for (fault, expected) in [
        (Meta::new("rwkv", &["a"]).fault(), "m.gguf: the tokenizer \"rwkv\" is not supported"),
        (
            Meta::new("gpt2", &["a"]).set("merges", Value::Array(Array::Strings(vec![]))).fault(),
            "none for '\u{120}'",
        ),
        (
            byte_level().set("merges", Value::Array(Array::Strings(vec!["ab".into()]))).fault(),
            "tokenizer.ggml.merges 0",
        ),
        (byte_level().set("merges", Value::Array(Array::Strings(vec!["a zz".into()]))).fault(), "m.gguf"),
        (byte_level().id("eos", 261).fault(), "eos_token_id: expected an id below 261, found 261"),
        (byte_level().types(&[1, 2]).fault(), "as many values as there are tokens, 261, found 2"),
        (byte_level().types(&[9; 261]).fault(), "a type of 0 to 6 for token 0, found 9"),
        (pieces().scores(&[f32::NAN; 268]).fault(), "expected a finite score, found NaN"),
        (plain(&["a", "a"]).scores(&[0.0; 2]).fault(), "each token once"),
        (plain(&["a"]).scores(&[0.0]).fault(), "an unknown token, or a token for each of the 256 bytes"),
        (Meta::new("bert", &["[UNK]"]).fault(), "the token \"[CLS]\""),
        (unigram().set("precompiled_charsmap", Value::Array(Array::U8(vec![7; 9]))).fault(), "m.gguf"),
        (
            unigram().set("add_bos_token", Value::Bool(true)).fault(),
            "bos_token_id: expected the token to be put",
        ),
        (Meta(BTreeMap::new()).fault(), "tokenizer.ggml.tokens: expected an array of strings"),
    ] {
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
}

/// Makes metadata of random parts of good ones: whatever comes is a tokenizer that encodes, or an error.
#[test]
fn random_metadata_never_panic() {
    let mut state = 3u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut made = 0;
    for round in 0..300 {
        let mut meta = vec![byte_level(), pieces(), unigram()].swap_remove(round % 3);
        for _ in 0..1 + random(2) {
            let keys: Vec<String> = meta.0.keys().cloned().collect();
            let key = keys[random(keys.len())].clone();
            match meta.0.get_mut(&key) {
                Some(Value::Array(Array::Strings(texts))) => {
                    let (from, to) = (random(texts.len()), random(texts.len()));
                    let changed = [texts[from].clone(), String::new(), "\u{2581}".into(), "x y".into()];
                    texts[to] = changed[random(4)].clone();
                }
                Some(Value::Array(Array::F32(numbers))) => {
                    let at = random(numbers.len());
                    numbers[at] = [f32::NAN, f32::MAX, f32::MIN, 0.0][random(4)];
                }
                Some(Value::Array(Array::I32(numbers))) => {
                    let at = random(numbers.len());
                    numbers[at] = random(8) as i32 - 1;
                }
                Some(id @ Value::U32(_)) => *id = Value::U32(random(300) as u32),
                _ => drop(meta.0.remove(&key)),
            }
        }
        if let Ok(tokenizer) = meta.tokenizer() {
            made += 1;
            if let Ok(ids) = tokenizer.words("ab  caf\u{e9} \u{1f642}<unk> [USER]\n") {
                let _ = tokenizer.decode(&ids, true);
            }
        }
    }
    assert!(made > 30, "{made}");
}

/// A field of a protobuf message: bytes, a small number, or a float.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = vec![number << 3 | 2];
    while length >= 0x80 {
        out.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// A SentencePiece model with the pieces of the metadata.
fn spiece(meta: &Meta, model_type: u8) -> Vec<u8> {
    let metadata = Metadata::new("m", meta.0.clone());
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap();
    let scores = metadata.f32s("tokenizer.ggml.scores").unwrap();
    let types = metadata.integers("tokenizer.ggml.token_type").unwrap();
    let mut model = Vec::new();
    for ((token, score), kind) in tokens.iter().zip(scores).zip(types) {
        let score = [vec![2 << 3 | 5], score.to_le_bytes().to_vec()].concat();
        let piece = [bytes_field(1, token.as_bytes()), score, vec![3 << 3, kind as u8]].concat();
        model.extend(bytes_field(1, &piece));
    }
    // A field of 64 bits, unknown to us, must be passed over.
    model.extend([7 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    let eos = if model_type == 1 { 1 } else { 2 };
    model.extend(bytes_field(2, &[3 << 3, model_type, 0xd0, 2, eos]));
    if model_type == 2 {
        model.extend(bytes_field(3, &[4 << 3, 0]));
    }
    model
}

#[test]
fn sentencepiece_files_are_read_as_their_metadata_in_gguf() {
    for (meta, model_type, name) in [(unigram(), 1, "spiece.model"), (pieces(), 2, "tokenizer.model")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), spiece(&meta, model_type)).unwrap();
        let entries: Vec<String> = match model_type {
            1 => vec![r#""8": {"content": "<extra_id_0>", "special": true}"#.into()],
            _ => vec![r#""268": {"content": "<new>", "special": true}"#.into()],
        };
        let config = format!(r#"{{"added_tokens_decoder": {{{}}}, "eos_token": "</s>"}}"#, entries.join(","));
        fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [0, 2]}"#).unwrap();
        let (file, gguf) = (Tokenizer::from_dir(folder.path()).unwrap(), meta.tokenizer().unwrap());
        for text in ["", "ab  a b", "abc\u{e9}<extra_id_0> [USER]x", " \n a"] {
            assert_eq!(file.encode(text, None, 99).unwrap(), gguf.encode(text, None, 99).unwrap(), "{text}");
        }
        assert_eq!(file.eos_ids(), if model_type == 1 { &[0, 2, 1][..] } else { &[0, 2] });
        assert_eq!(file.token_id("<new>"), (model_type == 2).then_some(268));
    }
}

#[test]
fn damaged_sentencepiece_files_never_panic() {
    let good = spiece(&unigram(), 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spiece.model");
    let mut state = 2u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for _ in 0..500 {
        let mut damaged = good.clone();
        let place = random(damaged.len());
        match random(3) {
            0 => damaged.truncate(place),
            1 => damaged[place] = 0xff,
            _ => damaged[place] = random(256) as u8,
        }
        fs::write(&path, damaged).unwrap();
        match Tokenizer::from_dir(folder.path()) {
            Ok(tokenizer) => drop(tokenizer.words("ab \u{e9}")),
            Err(error) => assert!(error.to_string().contains("spiece.model"), "{error}"),
        }
    }
}

#[test]
fn vocab_json_with_merges_is_read_and_other_classes_are_refused_by_name() {
    let tokens = byte_tokens();
    let vocab: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write("vocab.json", &serde_json::Value::Object(vocab).to_string());
    write("merges.txt", "#version: 0.2\na b\n\u{120} ab\n");
    let config = r#"{"tokenizer_class": "GPT2TokenizerFast", "bos_token": "<|bos|>", "eos_token": {"content": "<|im_end|>"},
        "added_tokens_decoder": {"260": {"content": "<tool>", "special": false}, "300": {"content": "<far>", "special": true}}}"#;
    write("tokenizer_config.json", config);
    let (file, gguf) = (Tokenizer::from_dir(folder.path()).unwrap(), byte_level().tokenizer().unwrap());
    for text in ["", "ab ab<|im_end|>c<tool>", "\n\n  caf\u{e9}\t\u{1f642} 's"] {
        assert_eq!(file.encode(text, None, 99).unwrap(), gguf.encode(text, None, 99).unwrap(), "{text}");
    }
    assert_eq!((file.bos_id(), file.eos_ids()), (Some(258), &[259][..]));
    assert_eq!((file.words("<far>").unwrap(), file.vocab_size()), (vec![300], 301));

    write(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "RobertaTokenizer", "cls_token": "<|bos|>", "sep_token": "<tool>"}"#,
    );
    let roberta = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(roberta.encode("ab", None, 9).unwrap().ids, [258, 256, 260]);
    assert_eq!(roberta.encode("ab", Some("ab"), 9).unwrap().ids, [258, 256, 260, 260, 256, 260]);

    for (name, content, expected) in [
        ("merges.txt", "a b c\n", "merges.txt: line 1: expected two tokens and one blank"),
        ("vocab.json", r#"{"a": -1}"#, "vocab.json: a: expected a token's id, found -1"),
        (
            "tokenizer_config.json",
            r#"{"tokenizer_class": "BartTokenizer"}"#,
            "the tokenizer class BartTokenizer",
        ),
    ] {
        write(name, content);
        let error = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// Texts that tokenizers stumble over.
pub(super) const HARD: [&str; 14] = [
    "",
    " ",
    "   ",
    "\n",
    "Hello, world! It's 3.14159, isn't it?",
    "  two  blanks   three \t tab\r\nline\n\n\n",
    "caf\u{e9} cafe\u{301} na\u{ef}ve \u{2126} \u{fb01}ne \u{ff21}\u{ff22}",
    "\u{5317}\u{4eac}\u{3053}\u{3093} \u{627}\u{644}\u{633} \u{e01}\u{e33}",
    "\u{1f642}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{1f1e9}\u{1f1ea}",
    "\u{0}\u{1}\u{7f}\u{ad}\u{200b}\u{feff}\u{fffd}\u{a0}x",
    "<extra_id_0> in <extra_id_99></s> <pad>the<unk> <|endoftext|> end",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "def f(x):\n    return x**2  # \u{b2}\n",
    " leading and trailing ",
];

/// Against tokenizer.json of published models, in the folder that TENFOLD_TOKENIZERS names (t5/, gpt2/).
#[test]
fn older_files_give_the_ids_of_tokenizer_json() {
    let Some(published) = std::env::var_os("TENFOLD_TOKENIZERS").map(PathBuf::from) else {
        eprintln!("not run: TENFOLD_TOKENIZERS names no folder with t5/ and gpt2/");
        return;
    };
    for (name, files) in [("t5", &["spiece.model"][..]), ("gpt2", &["vocab.json", "merges.txt"])] {
        let published = published.join(name);
        let whole = Tokenizer::from_dir(&published).unwrap();
        for config in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let config = ["tokenizer_config.json"].into_iter().filter(|_| config);
            for file in files.iter().copied().chain(config).filter(|file| published.join(file).is_file()) {
                fs::copy(published.join(file), folder.path().join(file)).unwrap();
            }
            let older = Tokenizer::from_dir(folder.path()).unwrap();
            assert_eq!(older.vocab_size(), whole.vocab_size());
            let long = [HARD.join(" "), "a".repeat(20_000), " \n".repeat(3000), "\u{1f642}".repeat(900)];
            for text in HARD.into_iter().chain(long.iter().map(String::as_str)) {
                let (ours, theirs) =
                    (older.encode(text, None, 1 << 20).unwrap(), whole.encode(text, None, 1 << 20).unwrap());
                assert_eq!(ours, theirs, "{name}: {:?}", text.chars().take(60).collect::<String>());
                for skip in [true, false] {
                    assert_eq!(
                        older.decode(&ours.ids, skip).unwrap(),
                        whole.decode(&ours.ids, skip).unwrap()
                    );
                }
                let pair = older.encode(text, Some("b"), 1 << 20).unwrap();
                assert_eq!(pair.ids, whole.encode(text, Some("b"), 1 << 20).unwrap().ids);
            }
        }
    }
}
