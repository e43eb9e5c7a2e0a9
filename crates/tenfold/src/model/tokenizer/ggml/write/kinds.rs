//! What ggml's kinds of tokenizers are told, one kind after the other.

use super::{Keys, Source, id_key};
use crate::model::gguf::{Array, Value};
use crate::model::tokenizer::byte_level::{self, Split};
use crate::model::tokenizer::ggml::{MERGES, SCORES, TYPES};
use crate::model::tokenizer::parts::{Around, BLANK};
use crate::model::tokenizer::sentencepiece::{Kind, Pieces};
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use std::collections::{BTreeSet, HashMap};

impl Source<'_> {
    /// The keys that may say it, the likeliest first.
    pub(super) fn ways(&self) -> Result<Vec<Keys>> {
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
        let mut places = HashMap::new();
        for (place, [first, second]) in merges.iter().enumerate() {
            places.entry(format!("{first}{second}")).or_insert(place);
        }
        let unknown = self.json["model"]["unk_token"].as_str().and_then(|token| self.own.token_id(token));
        let kinds = self.kinds_of_pieces(unknown);
        let score = |(id, (token, kind)): (usize, (&String, &Kind))| match kind {
            Kind::Normal => -(places.get(token).copied().unwrap_or(merges.len() + id) as f32),
            _ => 0.0,
        };
        let scores: Vec<f32> = self.tokens.iter().zip(&kinds).enumerate().map(score).collect();
        self.check_merges(&merges, &scores, &kinds)?;
        Ok(self.spaced(&self.pieces("llama", scores, unknown), &[false]))
    }

    /// Refuses merges of normal pieces that are not those, or not in the order, that their scores tell.
    fn check_merges(&self, merges: &[[String; 2]], scores: &[f32], kinds: &[Kind]) -> Result<()> {
        let named = self.tokens.iter().zip(scores).zip(kinds);
        let tokens: Vec<_> = named.map(|((token, score), kind)| (token.clone(), *score, *kind)).collect();
        let normal = tokens.iter().filter(|(.., kind)| *kind == Kind::Normal);
        let normal: HashMap<String, f32> = normal.map(|(token, score, _)| (token.clone(), *score)).collect();
        let mut ours = BTreeSet::new();
        let mut least = f32::INFINITY;
        for pair @ [first, second] in merges {
            let Some(score) = normal.get(&format!("{first}{second}")) else { continue };
            if pair.iter().all(|part| normal.contains_key(part)) {
                if *score > least {
                    return Err(
                        self.refuse("BPE that is not of bytes", format!("{pair:?} stands out of order"))
                    );
                }
                least = *score;
                ours.insert([first.as_str(), second.as_str()]);
            }
        }
        let pieces = Pieces {
            tokens,
            unigram: false,
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: false,
            around: Around::default(),
        };
        let theirs: BTreeSet<[&str; 2]> = pieces.merges().into_iter().collect();
        match ours.symmetric_difference(&theirs).next() {
            None => Ok(()),
            Some(pair) => {
                let why = format!("scores tell no such merges, as of {pair:?}: it is no SentencePiece model");
                Err(self.refuse("BPE that is not of bytes", why))
            }
        }
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
}

/// The steps of a sequence, or the one step that a value is.
fn flat<'a>(value: &'a Json, list: &str) -> Vec<&'a Json> {
    match (value, value[list].as_array()) {
        (Json::Null, _) => Vec::new(),
        (_, Some(steps)) => steps.iter().flat_map(|step| flat(step, list)).collect(),
        (step, None) => vec![step],
    }
}
