//! SentencePiece vocabularies, unigram (Kudo 2018) and BPE by score, from spiece.model, tokenizer.model or GGUF.

use super::config::Config;
use super::parts::{Added, Around, BLANK, Parts, numbered};
use super::protobuf::{Field, Message};
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// What a piece is for; GGUF counts the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    pub(super) fn from_number(number: i64) -> Option<Kind> {
        Some(match number {
            // GGUF's "undefined".
            0 | 1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }

    pub(super) fn number(self) -> i32 {
        match self {
            Kind::Normal => 1,
            Kind::Unknown => 2,
            Kind::Control => 3,
            Kind::UserDefined => 4,
            Kind::Unused => 5,
            Kind::Byte => 6,
        }
    }
}

/// A vocabulary with all that decides how text becomes pieces of it.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) tokens: Vec<(String, f32, Kind)>,
    /// Unigram, or else BPE by score.
    pub(super) unigram: bool,
    /// Unicode normalisation as SentencePiece compiles it; empty for none.
    pub(super) charsmap: Vec<u8>,
    /// Whether a text begins with a blank that it does not have.
    pub(super) add_dummy_prefix: bool,
    /// Whether runs of blanks count as one and those at the ends for nothing.
    pub(super) remove_extra_whitespaces: bool,
    pub(super) around: Around,
}

impl Pieces {
    pub(super) fn parts(self, file: &Path) -> Result<Parts> {
        let tokens = || self.tokens.iter().map(|(token, ..)| token.as_str());
        let vocab = numbered(file, "token", tokens())?;
        if let Some((id, (token, score, _))) =
            self.tokens.iter().enumerate().find(|(_, (_, score, _))| !score.is_finite())
        {
            let place = format!("token {id}, {token:?}");
            return Err(Error::malformed(file, place, "a finite score", score.to_string()));
        }
        let unknown = self.tokens.iter().position(|(.., kind)| *kind == Kind::Unknown);
        let bytes = self.tokens.iter().filter(|(.., kind)| *kind == Kind::Byte).count();
        if bytes != 256 && unknown.is_none() {
            let expected = "an unknown token, or a token for each of the 256 bytes";
            return Err(Error::malformed(
                file,
                "token types",
                expected,
                format!("{bytes} of bytes, none unknown"),
            ));
        }
        let model = if self.unigram {
            let vocab: Vec<_> = self.tokens.iter().map(|(token, score, _)| json!([token, score])).collect();
            json!({"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": bytes == 256})
        } else {
            let unknown = unknown.map(|id| &self.tokens[id].0);
            json!({"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": bytes == 256, "ignore_merges": false,
                "vocab": vocab, "merges": self.merges()})
        };
        let added = (self.tokens.iter().enumerate())
            .filter(|(_, (token, ..))| !token.is_empty())
            .filter_map(|(id, (token, _, kind))| {
                let special = match kind {
                    Kind::Control | Kind::Unknown => true,
                    Kind::UserDefined => false,
                    Kind::Normal | Kind::Unused | Kind::Byte => return None,
                };
                Some(Added { special, ..Added::special(id as u32, token) })
            })
            .collect();
        let (normalizer, pre_tokenizer) = self.splitting();
        let decoder = self.decoder();
        let post_processor = self.around.template();
        Ok(Parts { added, normalizer, pre_tokenizer, post_processor, decoder, model })
    }

    fn splitting(&self) -> (Value, Value) {
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            steps.push(
                json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&self.charsmap)}),
            );
        }
        if self.remove_extra_whitespaces {
            // What is left of blanks at the front is what the dummy prefix would be.
            let blank = if self.add_dummy_prefix { BLANK } else { ' ' };
            steps.push(json!({"type": "Strip", "strip_left": !self.add_dummy_prefix, "strip_right": true}));
            steps.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": blank}));
        }
        let words = if self.unigram {
            let scheme = if self.add_dummy_prefix { "first" } else { "never" };
            json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": true})
        } else {
            // Not split: merges may cross words, as those of runs of blanks do.
            if self.add_dummy_prefix {
                steps.push(json!({"type": "Prepend", "prepend": BLANK}));
            }
            steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK}));
            Value::Null
        };
        let normalizer =
            if steps.is_empty() { Value::Null } else { json!({"type": "Sequence", "normalizers": steps}) };
        (normalizer, words)
    }

    fn decoder(&self) -> Value {
        if self.unigram {
            let scheme = if self.add_dummy_prefix { "always" } else { "never" };
            return json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": true});
        }
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.add_dummy_prefix {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }

    /// The merges that make each normal piece out of two others, the best score first, as Transformers derives them.
    pub(super) fn merges(&self) -> Vec<[&str; 2]> {
        let normal = || self.tokens.iter().enumerate().filter(|(_, (.., kind))| *kind == Kind::Normal);
        let ids: HashMap<&str, usize> = normal().map(|(id, (token, ..))| (token.as_str(), id)).collect();
        let mut merges = Vec::new();
        for (_, (token, score, _)) in normal() {
            for (at, _) in token.char_indices().skip(1) {
                let pair = token.split_at(at);
                if let (Some(first), Some(second)) = (ids.get(pair.0), ids.get(pair.1)) {
                    merges.push((*score, *first, *second, [pair.0, pair.1]));
                }
            }
        }
        let chars = |text: &str| text.chars().count();
        merges.sort_by(|(a, first, second, pair), (b, other_first, other_second, other)| {
            // Longer parts first where scores are equal, then the order of the vocabulary.
            b.total_cmp(a)
                .then_with(|| chars(other[0]).cmp(&chars(pair[0])))
                .then_with(|| chars(other[1]).cmp(&chars(pair[1])))
                .then_with(|| (first, second).cmp(&(other_first, other_second)))
        });
        merges.into_iter().map(|(.., pair)| pair).collect()
    }
}

/// spiece.model or tokenizer.model, with the tokenizer_config.json beside it, said as a tokenizer.json.
pub(super) fn describe(file: &Path, config: &Config) -> Result<Vec<u8>> {
    let content = super::read(file)?;
    let (mut pieces, bos, eos) = read(file, &content)?;
    let class = config.class().unwrap_or(if pieces.unigram { "T5Tokenizer" } else { "LlamaTokenizer" });
    let (bos_first, eos_last, extra) = match class {
        "T5Tokenizer" => (false, true, true),
        "LlamaTokenizer" | "GemmaTokenizer" => (true, false, false),
        _ => {
            return Err(config.unsupported(
                class,
                "the SentencePiece models of T5Tokenizer, LlamaTokenizer and GemmaTokenizer",
            ));
        }
    };
    let mut added = config.added()?;
    if extra && added.is_empty() {
        // T5's sentinels, which its class adds after the vocabulary, the last one first.
        added = (0..100)
            .map(|i| Added::special((pieces.tokens.len() + i) as u32, &format!("<extra_id_{}>", 99 - i)))
            .collect();
    }
    added.sort_by_key(|added| added.id);
    for Added { id, content, .. } in &added {
        match pieces.tokens.get(*id as usize) {
            Some((token, ..)) if token == content => {}
            None if *id as usize == pieces.tokens.len() => {
                pieces.tokens.push((content.clone(), 0.0, Kind::Control))
            }
            other => {
                let expected = format!("the token {content:?} of tokenizer_config.json");
                let found = other.map_or("the vocabulary's end".into(), |(token, ..)| format!("{token:?}"));
                return Err(Error::malformed(file, format!("token {id}"), expected, found));
            }
        }
    }
    let token = |id: Option<usize>| id.and_then(|id| Some((pieces.tokens.get(id)?.0.clone(), id as u32)));
    let around = Around {
        before: token(bos).filter(|_| config.truth("add_bos_token").unwrap_or(bos_first)),
        after: token(eos).filter(|_| config.truth("add_eos_token").unwrap_or(eos_last)),
    };
    pieces.around = around;
    let mut parts = pieces.parts(file)?;
    parts.added.retain(|piece| added.iter().all(|other| other.id != piece.id));
    parts.added.extend(added);
    Ok(parts.json())
}

/// A ModelProto (sentencepiece_model.proto): the pieces, and the ids of bos and eos.
fn read(file: &Path, content: &[u8]) -> Result<(Pieces, Option<usize>, Option<usize>)> {
    let mut pieces = Pieces {
        tokens: Vec::new(),
        unigram: true,
        charsmap: Vec::new(),
        add_dummy_prefix: true,
        remove_extra_whitespaces: true,
        around: Around::default(),
    };
    let (mut bos, mut eos) = (Some(1), Some(2));
    for field in Message::new(file, content, 0) {
        let (number, field) = field?;
        match (number, field) {
            (1, Field::Bytes(piece)) => pieces.tokens.push(read_piece(file, &piece)?),
            (2, Field::Bytes(trainer)) => {
                for field in trainer {
                    match field? {
                        (3, Field::Number(1)) => pieces.unigram = true,
                        (3, Field::Number(2)) => pieces.unigram = false,
                        (3, Field::Number(kind)) => {
                            let why = format!("unigram (1) and BPE (2) are known, not model type {kind}");
                            return Err(Error::Unsupported { what: file.display().to_string(), why });
                        }
                        (41, Field::Number(id)) => bos = usize::try_from(id.cast_signed()).ok(),
                        (42, Field::Number(id)) => eos = usize::try_from(id.cast_signed()).ok(),
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(normalizer)) => {
                for field in normalizer {
                    match field? {
                        (2, Field::Bytes(charsmap)) => pieces.charsmap = charsmap.bytes().to_vec(),
                        (3, Field::Number(truth)) => pieces.add_dummy_prefix = truth != 0,
                        (4, Field::Number(truth)) => pieces.remove_extra_whitespaces = truth != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if pieces.tokens.is_empty() {
        return Err(Error::malformed(file, "whole file", "a SentencePiece model", "one without pieces"));
    }
    Ok((pieces, bos, eos))
}

fn read_piece(file: &Path, piece: &Message) -> Result<(String, f32, Kind)> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, Kind::Normal);
    let fault = |expected: &str, found: String| {
        Error::malformed(file, format!("piece at byte {}", piece.start()), expected, found)
    };
    for field in piece.clone() {
        match field? {
            (1, Field::Bytes(bytes)) => {
                text = std::str::from_utf8(bytes.bytes())
                    .map_err(|error| fault("text in UTF-8", error.to_string()))?
                    .to_owned();
            }
            (2, Field::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Field::Number(number)) => {
                let known =
                    i64::try_from(number).ok().filter(|number| *number > 0).and_then(Kind::from_number);
                kind = known.ok_or_else(|| fault("a type of 1 to 6", number.to_string()))?;
            }
            _ => {}
        }
    }
    Ok((text, score, kind))
}
