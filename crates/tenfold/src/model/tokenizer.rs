//! Text to token ids, as the model's own tokenizer.json says, special tokens included, never padded.

mod wordpiece;

use super::Extents;
use crate::{Error, Result, guard};
use std::fs;
use std::path::{Path, PathBuf};
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

/// What a model reads instead of text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// One id for each token.
    pub ids: Vec<u32>,
    /// 0 for tokens of the first text, 1 for those of the second, as the tokenizer's template says.
    pub type_ids: Vec<u32>,
    /// Whether tokens were cut off to keep within the length asked for.
    pub truncated: bool,
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: PathBuf,
    vocab_size: usize,
    token_types: usize,
}

impl Tokenizer {
    /// The tokenizer of the model in `folder`: its tokenizer.json, or else the vocab.txt of a BERT model.
    pub fn from_dir(folder: &Path) -> Result<Tokenizer> {
        let file = folder.join("tokenizer.json");
        if file.is_file() {
            let content = fs::read(&file).map_err(Error::io("read", &file))?;
            return Self::from_json(file, &content);
        }
        let vocabulary = folder.join("vocab.txt");
        if vocabulary.is_file() {
            let content = wordpiece::describe(&vocabulary, &folder.join("tokenizer_config.json"))?;
            return Self::from_json(vocabulary, &content);
        }
        Err(Error::malformed(folder, "tokenizer", "tokenizer.json, or vocab.txt of a BERT model", "neither"))
    }

    /// The ids of `text`, or of `text` and `pair`, with the special tokens of the model; at most `max_length` of them.
    /// What is too much is cut from the end of the longer text first, as Hugging Face's "longest_first".
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        let special = self.special_tokens(pair.is_some());
        if max_length <= special {
            let found = format!("{max_length}, of which special tokens take {special}");
            return Err(Error::malformed(
                &self.file,
                "maximum length",
                format!("more than {special} tokens"),
                found,
            ));
        }
        let encode = || self.encode_within(text, pair, max_length - special);
        self.guarded(encode, || format!("the text \"{}\"", text.chars().take(60).collect::<String>()))
    }

    /// The ids of a text's words alone, without special tokens.
    pub fn words(&self, text: &str) -> Result<Vec<u32>> {
        let encode = || Ok(self.inner.encode(text, false)?.get_ids().to_vec());
        self.guarded(encode, || format!("the text \"{}\"", text.chars().take(60).collect::<String>()))
    }

    /// One more than the highest id this tokenizer can give.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Refuses a model whose embeddings have no rows for what this tokenizer can give.
    pub fn check(&self, extents: &Extents) -> Result<()> {
        for (what, given, rows) in [
            ("words", self.vocab_size, extents.vocab_size),
            ("types of tokens", self.token_types, extents.token_types),
        ] {
            if given > rows {
                let expected = format!("at most {rows} {what}, as many as the model's embeddings");
                return Err(Error::malformed(&self.file, "vocabulary", expected, given.to_string()));
            }
        }
        Ok(())
    }

    fn from_json(file: PathBuf, content: &[u8]) -> Result<Tokenizer> {
        let mut inner = load(&file, content)?;
        // Both are settings of whoever published the file (all-MiniLM-L6-v2: cut at and padded to 128), not of the model.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::malformed(&file, "truncation", "none", error.to_string()))?;
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if vocab_size == 0 {
            return Err(Error::malformed(file, "model.vocab", "one token or more", "none"));
        }
        let mut tokenizer = Tokenizer { inner, file, vocab_size, token_types: 0 };
        // What stands around every text need not be in the vocabulary, and its types are stated nowhere else.
        for pair in [None, Some("a")] {
            let Ok(around) = tokenizer.encode("a", pair, usize::MAX) else { continue };
            let most = |numbers: &[u32]| numbers.iter().max().map_or(0, |most| *most as usize + 1);
            tokenizer.vocab_size = tokenizer.vocab_size.max(most(&around.ids));
            if pair.is_none() {
                tokenizer.token_types = most(&around.type_ids);
            }
        }
        Ok(tokenizer)
    }

    fn special_tokens(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |template| template.added_tokens(pair))
    }

    fn encode_within(&self, text: &str, pair: Option<&str>, room: usize) -> tokenizers::Result<Encoding> {
        let first = self.inner.encode(text, false)?;
        let mut second = pair.map(|pair| self.inner.encode(pair, false)).transpose()?;
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        let truncated = first.len() + second.as_ref().map_or(0, |second| second.len()) > room;
        let cut = TruncationParams {
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        let (first, second) = truncate_encodings(first, second, &cut)?;
        let whole = self.inner.post_process(first, second, true)?;
        Ok(Encoding { ids: whole.get_ids().to_vec(), type_ids: whole.get_type_ids().to_vec(), truncated })
    }

    /// Runs the library and names the file if it fails.
    fn guarded<T>(
        &self,
        work: impl FnOnce() -> tokenizers::Result<T>,
        on: impl FnOnce() -> String,
    ) -> Result<T> {
        let reason = match guard::quietly(work) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        let expected = format!("a tokenizer that can encode {}", on());
        Err(Error::malformed(&self.file, "tokenizer", expected, format!("the fault: {reason}")))
    }
}

fn load(file: &Path, content: &[u8]) -> Result<tokenizers::Tokenizer> {
    let found = match guard::quietly(|| tokenizers::Tokenizer::from_bytes(content)) {
        Ok(Ok(tokenizer)) => return Ok(tokenizer),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    Err(Error::malformed(
        file,
        "whole file",
        "a tokenizer as Hugging Face's tokenizers library writes it",
        found,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let plain = wordpiece::describe(&vocabulary.path().join("vocab.txt"), Path::new("none")).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&plain).unwrap();
        json["truncation"] = serde_json::json!({"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
        json["padding"] = serde_json::json!({"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
        let folder = folder(&[("tokenizer.json", json.to_string())]);
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        let encoding = tokenizer.encode("a good film", None, 64).unwrap();
        assert_eq!((encoding.ids, encoding.truncated), (vec![2, 4, 5, 6, 3], false));
    }

    #[test]
    fn hostile_files_are_errors_that_name_the_file() {
        let vocabulary = folder(&[("vocab.txt", WORDS.join("\n"))]);
        let good = wordpiece::describe(&vocabulary.path().join("vocab.txt"), Path::new("none")).unwrap();
        let good = String::from_utf8(good).unwrap();
        let unigram = r#"{"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]}}"#;
        let deep = "[".repeat(100_000);
        for content in [
            "",
            "{}",
            "[]",
            "null",
            unigram,
            &deep,
            &good[..good.len() / 2],
            &good.replace("\"[UNK]\"", "\"?\""),
        ] {
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
        let good = wordpiece::describe(&vocabulary.path().join("vocab.txt"), Path::new("none")).unwrap();
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
        let Some(folder) = super::super::store::at_hand("all-minilm-l6-v2") else {
            eprintln!("not run: all-minilm-l6-v2 is neither in TENFOLD_MODEL nor in the cache");
            return;
        };
        #[derive(serde::Deserialize)]
        struct Golden {
            texts: Vec<String>,
            input_ids: Vec<Vec<u32>>,
        }
        let golden = include_str!("../../tests/golden/real/all-minilm-l6-v2.json");
        let golden: Golden = serde_json::from_str(golden).unwrap();
        let tokenizer = Tokenizer::from_dir(&folder).unwrap();
        assert_eq!(tokenizer.vocab_size(), 30522);
        for (text, padded) in golden.texts.iter().zip(&golden.input_ids) {
            let length = padded.iter().rposition(|&id| id != 0).unwrap() + 1;
            assert_eq!(tokenizer.encode(text, None, 512).unwrap().ids, padded[..length], "{text}");
        }
    }
}
