//! The tokenizer of a Hugging Face folder as GGUF metadata.
//!
//! What its tokenizer.json says is put into the keys that llama.cpp knows, these are read back as any file's are, and both
//! tokenizers are given the same texts. What differs cannot be said in a GGUF file and is refused.

use super::super::byte_level::{self, Split};
use super::super::config::Config;
use super::super::parts::{Around, BLANK};
use super::super::sentencepiece::{Kind, Pieces};
use super::super::{Tokenizer, described};
use super::{MERGES, SCORES, TOKENS, TYPES};
use crate::model::chat_template;
use crate::model::gguf::{Array, Metadata, Value};
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Named values for a GGUF file.
type Keys = BTreeMap<String, Value>;

/// The tokenizer and the chat template of a folder whose model has embeddings for so many tokens.
pub(in crate::model) fn to_ggml(folder: &Path, rows: usize) -> Result<Keys> {
    let config = Config::read(folder)?;
    let own = Tokenizer::from_dir(folder)?;
    let none = || Error::malformed(folder, "tokenizer", "the files of a Hugging Face tokenizer", "none");
    let (file, json) = described(folder, &config)?.ok_or_else(none)?;
    let json = serde_json::from_slice(&json)
        .map_err(|error| Error::malformed(&file, "whole file", "a JSON object", error.to_string()))?;
    let source = Source::new(file, &own, &config, json, rows)?;
    let mut why = "nothing in it says how".to_owned();
    for mut keys in source.ways()? {
        let read = Tokenizer::from_metadata(&Metadata::new(&source.file, keys.clone()));
        match read.and_then(|theirs| source.difference(&theirs)) {
            Ok(None) => {
                let template = chat_template::source(folder)?;
                keys.extend(
                    template.map(|(_, text)| ("tokenizer.chat_template".to_owned(), Value::String(text))),
                );
                return Ok(keys);
            }
            Ok(Some(difference)) => why = difference,
            Err(error) => why = error.to_string(),
        }
    }
    Err(source.refuse("the tokenizer", why))
}

/// A tokenizer that is to be said in ggml's keys.
struct Source<'a> {
    file: PathBuf,
    own: &'a Tokenizer,
    config: &'a Config,
    json: Json,
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    /// What stands before and behind every text.
    around: [Option<u32>; 2],
}

impl<'a> Source<'a> {
    fn new(
        file: PathBuf,
        own: &'a Tokenizer,
        config: &'a Config,
        json: Json,
        rows: usize,
    ) -> Result<Source<'a>> {
        if own.vocab_size > rows {
            let expected = format!("at most {rows} tokens, as many as the model's embeddings");
            return Err(Error::malformed(file, "vocabulary", expected, own.vocab_size.to_string()));
        }
        // Rows of the embeddings without a token, which llama.cpp calls so too.
        let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![Kind::Unused; rows];
        for (token, id) in own.inner.get_vocab(true) {
            let place = id as usize;
            if kinds[place] != Kind::Unused {
                let [first, second] =
                    [tokens[place].clone().min(token.clone()), tokens[place].clone().max(token)];
                let found = format!("{first:?} and {second:?}");
                return Err(Error::malformed(file, format!("token {id}"), "one token", found));
            }
            (tokens[place], kinds[place]) = (token, Kind::Normal);
        }
        for (id, added) in own.inner.get_added_tokens_decoder() {
            kinds[id as usize] = if added.special { Kind::Control } else { Kind::UserDefined };
        }
        let mut source = Source { file, own, config, json, tokens, kinds, around: [None; 2] };
        source.around = source.read_around()?;
        Ok(source)
    }

    /// The keys that may say it, the likeliest first.
    fn ways(&self) -> Result<Vec<Keys>> {
        let model = &self.json["model"];
        let steps = flat(&self.json["pre_tokenizer"], "pretokenizers");
        let byte_level = steps.iter().any(|step| step["type"] == "ByteLevel");
        match model["type"].as_str() {
            Some("WordPiece") => Ok(vec![self.wordpiece()?]),
            Some("Unigram") => self.unigram(),
            Some("BPE") if byte_level => Ok(vec![self.byte_level(&steps)?]),
            // Files of old do not name it.
            Some("BPE") => self.bpe_of_pieces(),
            other => Err(self.refuse(
                &format!("a model of type {other:?}"),
                "BPE, Unigram and WordPiece are known".into(),
            )),
        }
    }

    fn byte_level(&self, steps: &[&Json]) -> Result<Keys> {
        let mut patterns = Vec::new();
        let mut prefix = false;
        for step in steps {
            let pattern = step["pattern"]["Regex"].as_str();
            let isolated = step["behavior"] == "Isolated" && step["invert"] == false;
            let kept = step["behavior"] == "Removed" && step["invert"] == true;
            match (step["type"].as_str(), pattern) {
                (Some("Split"), Some(pattern)) if isolated || kept => patterns.push(pattern),
                (Some("Digits"), _) if step["individual_digits"] == true => patterns.push(byte_level::DIGITS),
                (Some("ByteLevel"), _) => {
                    prefix = step["add_prefix_space"] == true;
                    if step["use_regex"] != false {
                        patterns.push(byte_level::GPT2_PATTERN);
                    }
                }
                _ => {
                    return Err(
                        self.refuse(&format!("the pre-tokenizer {step}"), "ggml has none such".into())
                    );
                }
            }
        }
        let forms = flat(&self.json["normalizer"], "normalizers");
        if let Some(other) = forms.iter().find(|form| form["type"] != "NFC") {
            return Err(self
                .refuse(&format!("the normalizer {other}"), "ggml has none such for byte-level BPE".into()));
        }
        let pre = Split::splitting(&patterns, !forms.is_empty()).ok_or_else(|| {
            let why = format!("there is no name known for it; those known are {}", Split::known());
            self.refuse(&format!("a pre-tokenizer that splits by {patterns:?}"), why)
        })?;
        let merges = self.merges()?.iter().map(|[first, second]| format!("{first} {second}")).collect();
        let mut keys = self.keys("gpt2", self.tokens.clone());
        keys.insert("tokenizer.ggml.pre".into(), Value::String(pre.into()));
        keys.insert(MERGES.into(), Value::Array(Array::Strings(merges)));
        keys.extend(self.switches(prefix));
        Ok(keys)
    }

    fn unigram(&self) -> Result<Vec<Keys>> {
        let entries = self.json["model"]["vocab"].as_array().map_or(&[][..], Vec::as_slice);
        let scored = entries.iter().filter_map(|entry| Some((entry[0].as_str()?, entry[1].as_f64()? as f32)));
        let scores: HashMap<&str, f32> = scored.collect();
        // Never worth taking, as what no text should become.
        let scores = self.tokens.iter().zip(&self.kinds).map(|(token, kind)| match kind {
            Kind::Unused => -10_000.0,
            _ => scores.get(token.as_str()).copied().unwrap_or_default(),
        });
        let unknown = self.json["model"]["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let mut keys = self.pieces("t5", scores.collect(), unknown);
        for form in flat(&self.json["normalizer"], "normalizers") {
            if let Some(charsmap) = form["precompiled_charsmap"].as_str() {
                let bytes = STANDARD.decode(charsmap).map_err(|error| {
                    Error::malformed(&self.file, "precompiled_charsmap", "base64", error.to_string())
                })?;
                keys.insert("tokenizer.ggml.precompiled_charsmap".into(), Value::Array(Array::U8(bytes)));
            }
        }
        Ok(self.spaced(&keys, &[true, false]))
    }

    /// A vocabulary whose merges follow from scores: a piece's is the place of the first merge that makes it.
    fn bpe_of_pieces(&self) -> Result<Vec<Keys>> {
        let merges = self.merges()?;
        let mut ranks = HashMap::new();
        for (place, [first, second]) in merges.iter().enumerate() {
            ranks.entry(format!("{first}{second}")).or_insert(place);
        }
        let unknown = self.json["model"]["unk_token"].as_str().and_then(|token| self.own.token_id(token));
        let scores: Vec<f32> = (self.tokens.iter().zip(&self.kinds).enumerate())
            .map(|(id, (token, kind))| match kind {
                Kind::Normal => -(ranks.get(token).copied().unwrap_or(merges.len() + id) as f32),
                _ => 0.0,
            })
            .collect();
        let keys = self.pieces("llama", scores.clone(), unknown);
        let pieces = Pieces {
            tokens: (self.tokens.iter().cloned().zip(scores).zip(self.kinds_of_pieces(unknown)))
                .map(|((token, score), kind)| (token, score, kind))
                .collect(),
            unigram: false,
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: false,
            around: Around::default(),
        };
        let ours: BTreeSet<[&str; 2]> = merges.iter().map(|[a, b]| [a.as_str(), b.as_str()]).collect();
        let theirs: BTreeSet<[&str; 2]> = pieces.merges().into_iter().collect();
        let ordered = merges.windows(2).all(|pair| {
            let [before, after] =
                [&pair[0], &pair[1]].map(|[first, second]| ranks.get(&format!("{first}{second}")));
            before <= after
        });
        if let Some(pair) = ours.symmetric_difference(&theirs).next() {
            let why = format!("scores tell no such merges, as of {pair:?}: it is no SentencePiece model");
            return Err(self.refuse("BPE that is not of bytes", why));
        }
        if !ordered {
            return Err(
                self.refuse("BPE that is not of bytes", "its merges are in no order of pieces".into())
            );
        }
        Ok(self.spaced(&keys, &[false]))
    }

    fn wordpiece(&self) -> Result<Keys> {
        // The sign for a blank before tokens that begin words, none of "##" before those that go on.
        let written = self.tokens.iter().map(|token| match token.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None if token.starts_with('[') && token.ends_with(']') => token.clone(),
            None => format!("{BLANK}{token}"),
        });
        let mut keys = self.keys("bert", written.collect());
        for (parts, id) in [(["cls", "bos"], self.around[0]), (["seperator", "eos"], self.around[1])] {
            let id = id.ok_or_else(|| {
                let why =
                    "ggml puts a token before a text and one behind it, and this has not both".to_owned();
                self.refuse("WordPiece without them", why)
            })?;
            keys.extend(parts.map(|part| id_key(part, id)));
        }
        for (part, token) in [("unknown", "[UNK]"), ("padding", "[PAD]"), ("mask", "[MASK]")] {
            if !keys.contains_key(&id_key(part, 0).0) {
                keys.extend(self.own.token_id(token).map(|id| id_key(part, id)));
            }
        }
        Ok(keys)
    }

    /// Keys that all kinds have.
    fn keys(&self, model: &str, tokens: Vec<String>) -> Keys {
        let types = self.kinds.iter().map(|kind| kind.number()).collect();
        let mut keys = Keys::from([
            ("tokenizer.ggml.model".to_owned(), Value::String(model.into())),
            (TOKENS.to_owned(), Value::Array(Array::Strings(tokens))),
            (TYPES.to_owned(), Value::Array(Array::I32(types))),
        ]);
        let named = [
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("unk_token", "unknown"),
            // The key is spelled so.
            ("sep_token", "seperator"),
            ("pad_token", "padding"),
            ("cls_token", "cls"),
            ("mask_token", "mask"),
        ];
        for (name, part) in named {
            let id = self.config.token(name).and_then(|token| self.own.token_id(token));
            keys.extend(id.map(|id| id_key(part, id)));
        }
        let ends = self.own.eos_ids();
        for (part, id) in [("bos", self.around[0]), ("eos", ends.first().copied().or(self.around[1]))] {
            if let Some(id) = id {
                let (key, value) = id_key(part, id);
                keys.entry(key).or_insert(value);
            }
        }
        // Whatever else ends a text has two more places.
        let eos = keys.get("tokenizer.ggml.eos_token_id").cloned();
        let others = ends.iter().map(|id| Value::U32(*id)).filter(|id| Some(id) != eos.as_ref());
        keys.extend(others.zip(["eot", "eom"]).map(|(id, part)| (id_key(part, 0).0, id)));
        keys
    }

    fn kinds_of_pieces(&self, unknown: Option<u32>) -> Vec<Kind> {
        let byte_fallback = self.json["model"]["byte_fallback"] == true;
        let is_byte = |token: &str| {
            let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
        };
        let kinds = self.tokens.iter().zip(&self.kinds).enumerate();
        kinds
            .map(|(id, (token, kind))| match kind {
                _ if unknown == Some(id as u32) => Kind::Unknown,
                Kind::Normal if byte_fallback && is_byte(token) => Kind::Byte,
                kind => *kind,
            })
            .collect()
    }

    fn pieces(&self, model: &str, scores: Vec<f32>, unknown: Option<u32>) -> Keys {
        let mut keys = self.keys(model, self.tokens.clone());
        let types = self.kinds_of_pieces(unknown).into_iter().map(Kind::number).collect();
        keys.insert(TYPES.into(), Value::Array(Array::I32(types)));
        keys.insert(SCORES.into(), Value::Array(Array::F32(scores)));
        keys.insert("tokenizer.ggml.pre".into(), Value::String("default".into()));
        keys.extend(unknown.map(|id| id_key("unknown", id)));
        keys
    }

    /// The keys with each way to treat blanks.
    fn spaced(&self, keys: &Keys, remove_extra: &[bool]) -> Vec<Keys> {
        let ways = remove_extra.iter().flat_map(|remove| [true, false].map(|prefix| (*remove, prefix)));
        ways.map(|(remove, prefix)| {
            let mut keys = keys.clone();
            keys.extend(self.switches(prefix));
            keys.insert("tokenizer.ggml.remove_extra_whitespaces".into(), Value::Bool(remove));
            keys
        })
        .collect()
    }

    fn switches(&self, prefix: bool) -> [(String, Value); 3] {
        [
            ("add_space_prefix", prefix),
            ("add_bos_token", self.around[0].is_some()),
            ("add_eos_token", self.around[1].is_some()),
        ]
        .map(|(key, on)| (format!("tokenizer.ggml.{key}"), Value::Bool(on)))
    }

    fn merges(&self) -> Result<Vec<[String; 2]>> {
        let entries = self.json["model"]["merges"].as_array().map_or(&[][..], Vec::as_slice);
        let pair = |entry: &Json| match entry {
            Json::String(line) => byte_level::pair(line).map(|pair| pair.map(str::to_owned)),
            pair => Some([pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()]),
        };
        let merges = entries.iter().map(|entry| {
            pair(entry).ok_or_else(|| {
                Error::malformed(&self.file, "model.merges", "pairs of tokens", entry.to_string())
            })
        });
        merges.collect()
    }

    fn read_around(&self) -> Result<[Option<u32>; 2]> {
        let (words, whole) = (self.own.words("a")?, self.own.encode("a", None, usize::MAX)?.ids);
        let at = whole.windows(words.len().max(1)).position(|window| window == words);
        let parts = at.map(|at| [&whole[..at], &whole[at + words.len()..]]);
        match parts {
            Some(parts) if parts.iter().all(|part| part.len() < 2) => {
                Ok(parts.map(|part| part.first().copied()))
            }
            _ => {
                let what = format!("{whole:?} for a text of {words:?}");
                Err(self.refuse(&what, "ggml puts at most one token before a text and one behind it".into()))
            }
        }
    }

    fn refuse(&self, what: &str, why: String) -> Error {
        Error::Unsupported { what: format!("{}: {what} in a GGUF file", self.file.display()), why }
    }

    /// What the two tokenizers do not agree on, if there is anything.
    fn difference(&self, theirs: &Tokenizer) -> Result<Option<String>> {
        for id in 0..self.own.vocab_size as u32 {
            let [own, other] = [self.own, theirs].map(|tokenizer| tokenizer.token(id));
            if own.is_some() && own != other {
                return Ok(Some(format!("token {id} would be {other:?} and not {own:?}")));
            }
        }
        let missing = self.own.eos_ids().iter().find(|id| !theirs.eos_ids().contains(id));
        if let Some(id) = missing {
            return Ok(Some(format!("there is no place for token {id}, which ends texts")));
        }
        for text in self.texts()? {
            let mut read = Vec::new();
            for tokenizer in [self.own, theirs] {
                let pair = (self.json["model"]["type"] == "WordPiece").then_some(text.as_str());
                read.push([
                    tokenizer.encode(&text, None, usize::MAX)?,
                    tokenizer.encode(&text, pair, usize::MAX)?,
                ]);
            }
            if let [own, other] = read.as_slice()
                && own != other
            {
                let [own, other] = [own, other].map(|read| format!("{:?}", read[0].ids));
                return Ok(Some(format!("{text:?} would become {other} and not {own}")));
            }
        }
        Ok(None)
    }

    /// Texts at which tokenizers differ: edge cases, tokens of the whole vocabulary, and all tokens that were added.
    fn texts(&self) -> Result<Vec<String>> {
        let mut texts: Vec<String> = TEXTS.map(str::to_owned).into();
        texts.push("x".repeat(150));
        let step = self.own.vocab_size.div_ceil(4096);
        let ids = (0..self.own.vocab_size as u32).step_by(step).filter(|id| self.own.token(*id).is_some());
        for ids in ids.collect::<Vec<u32>>().chunks(64) {
            texts.push(self.own.decode(ids, false)?);
        }
        for added in self.own.inner.get_added_tokens_decoder().into_values() {
            let token = added.content;
            texts.extend([format!("a{token}b"), format!("a  {token} b\n{token}\n{token} ")]);
        }
        texts.sort();
        Ok(texts)
    }
}

fn id_key(part: &str, id: u32) -> (String, Value) {
    (format!("tokenizer.ggml.{part}_token_id"), Value::U32(id))
}

/// The steps of a sequence, or the one step that a value is.
fn flat<'a>(value: &'a Json, list: &str) -> Vec<&'a Json> {
    match (value, value[list].as_array()) {
        (Json::Null, _) => Vec::new(),
        (_, Some(steps)) => steps.iter().flat_map(|step| flat(step, list)).collect(),
        (step, None) => vec![step],
    }
}

const TEXTS: [&str; 18] = [
    "",
    " ",
    "   \n\n  \t\r\n ",
    "The capital of France is Paris, isn't it? I'LL say they've 'd it'S.",
    "  leading, trailing  and   inner    blanks  ",
    "0 1 22 333 4444 55555 3.14159 1,000,000 x12345y 2024-01-31T23:59",
    "a  1   2    33 x  \u{2167}\u{b2}\u{bd} \u{664}\u{665}\u{666}",
    "caf\u{e9} cafe\u{301} na\u{ef}ve \u{212b}\u{fb01} STRASSE stra\u{df}e \u{130}stanbul \u{3a3}\u{3c2}",
    "\u{5317}\u{4eac}\u{306f}\u{3072}\u{3089}\u{304c}\u{306a} \u{d55c}\u{ad6d}\u{c5b4} \u{e20}\u{e32}\u{e29}\u{e32} \u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
    "\u{645}\u{631}\u{62d}\u{628}\u{627} \u{5e9}\u{5c1}\u{5b8}\u{5dc}\u{5d5}\u{5b9}\u{5dd}",
    "\u{1f642}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f1e9}\u{1f1ea}\u{2764}\u{fe0f}",
    "def f(x):\n    return {'a': [x**2, \"b\"]}  # \\n\n\tif x != None: pass;;",
    "<div class=\"a\">&amp;</div> https://x.org/?q=1&r=%20#top user@mail.com $5 50% ~~ ___ --- ...",
    "\u{a0}no\u{2009}break\u{3000}wide\u{200b}zero\u{ad}soft\u{feff}mark",
    "\u{0}\u{1}\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}",
    "\u{2581}under \u{2581}\u{2581}score ##ing [PAD1] [UNK] <s> </s> <0x41> <unk>",
    "HTTPServer camelCase SCREAMING_SNAKE MiXeD UnBelievable\u{2019}s \u{201c}quoted\u{201d}\u{2014}dash",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa     bbbb\n\n\n\ncccc",
];

#[cfg(test)]
mod tests;
