//! Tokenizers out of GGUF metadata (`tokenizer.ggml.*`), said as a tokenizer.json; [`write`] is the way back.

mod write;

pub(in crate::model) use write::to_ggml;

use super::byte_level::{self, Split};
use super::parts::{Added, Around, BLANK, Parts, numbered};
use super::sentencepiece::{Kind, Pieces};
use super::wordpiece;
use crate::model::gguf::Metadata;
use crate::{Error, Result};

/// Special tokens by Hugging Face's name and GGUF's.
pub(in crate::model) const SPECIAL: [(&str, &str); 7] = [
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("unk_token", "unknown"),
    // The key is spelled so.
    ("sep_token", "seperator"),
    ("pad_token", "padding"),
    ("cls_token", "cls"),
    ("mask_token", "mask"),
];

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// Tokens that end a turn of a conversation whatever the file calls its end.
const ENDS_OF_TURN: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];

/// A tokenizer.json, and what it has no place for.
pub(in crate::model) struct Described {
    pub(in crate::model) json: Vec<u8>,
    pub(in crate::model) bos: Option<u32>,
    pub(in crate::model) eos: Vec<u32>,
}

/// The tokenizer that the metadata describe.
pub(in crate::model) fn describe(metadata: &Metadata) -> Result<Described> {
    let vocabulary = Vocabulary::read(metadata)?;
    let parts = match metadata.string("tokenizer.ggml.model")? {
        "gpt2" => vocabulary.byte_level()?,
        "llama" => vocabulary.pieces(false)?,
        "t5" => vocabulary.pieces(true)?,
        "bert" => vocabulary.wordpiece()?,
        other => {
            return Err(Error::Unsupported {
                what: format!("{}: the tokenizer \"{other}\"", metadata.file().display()),
                why: "known are gpt2, llama, t5 and bert".into(),
            });
        }
    };
    let mut eos = Vec::new();
    for name in ["eos", "eot", "eom"] {
        eos.extend(vocabulary.id(name)?);
    }
    let ends = ENDS_OF_TURN.iter().filter_map(|end| {
        let id = vocabulary.tokens.iter().position(|token| token == end)?;
        (vocabulary.kinds[id] == Kind::Control).then_some(id as u32)
    });
    eos.extend(ends);
    Ok(Described { json: parts.json(), bos: vocabulary.id("bos")?, eos })
}

struct Vocabulary<'a> {
    metadata: &'a Metadata,
    tokens: &'a [String],
    kinds: Vec<Kind>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Vocabulary<'a>> {
        let tokens = metadata.strings(TOKENS)?;
        let mut kinds = vec![Kind::Normal; tokens.len()];
        if let Some(types) = metadata.optional(TYPES, Metadata::integers)? {
            same_length(metadata, TYPES, tokens.len(), types.len())?;
            for (id, number) in types.into_iter().enumerate() {
                kinds[id] = Kind::from_number(number).ok_or_else(|| {
                    metadata.fault(TYPES, format!("a type of 0 to 6 for token {id}"), number.to_string())
                })?;
            }
        }
        Ok(Vocabulary { metadata, tokens, kinds })
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let key = format!("tokenizer.ggml.{name}");
        Ok(self.metadata.optional(&key, Metadata::bool)?.unwrap_or(default))
    }

    /// The id of a token by its part: "bos", "eos", "unknown" …
    fn id(&self, part: &str) -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{part}_token_id");
        let id = self.metadata.optional(&key, Metadata::u32)?;
        match id.filter(|id| *id as usize >= self.tokens.len()) {
            None => Ok(id),
            Some(id) => {
                Err(self.metadata.fault(&key, format!("an id below {}", self.tokens.len()), id.to_string()))
            }
        }
    }

    fn around(&self, bos_first: bool, eos_last: bool) -> Result<Around> {
        let part = |name: &str, wanted: bool| -> Result<Option<(String, u32)>> {
            if !wanted {
                return Ok(None);
            }
            let id = self.id(name)?.ok_or_else(|| {
                let key = format!("tokenizer.ggml.{name}_token_id");
                self.metadata.fault(&key, "the token to be put around texts", "no such key")
            })?;
            Ok(Some((self.tokens[id as usize].clone(), id)))
        };
        Ok(Around {
            before: part("bos", self.flag("add_bos_token", bos_first)?)?,
            after: part("eos", self.flag("add_eos_token", eos_last)?)?,
        })
    }

    fn byte_level(&self) -> Result<Parts> {
        const PRE: &str = "tokenizer.ggml.pre";
        let name = self.metadata.optional(PRE, Metadata::string)?.unwrap_or("default");
        let split = Split::named(name).ok_or_else(|| Error::Unsupported {
            what: format!("{}: the pre-tokenizer \"{name}\"", self.metadata.file().display()),
            why: format!("known are {}", Split::known()),
        })?;
        let file = self.metadata.file();
        let vocab = numbered(file, TOKENS, self.tokens.iter().map(String::as_str))?;
        let mut merges = Vec::new();
        for (number, merge) in self.metadata.strings(MERGES)?.iter().enumerate() {
            merges.push(byte_level::pair(merge).ok_or_else(|| {
                let place = format!("{MERGES} {number}");
                Error::malformed(file, place, "two tokens and one blank", format!("{merge:?}"))
            })?);
        }
        let prefix = self.flag("add_space_prefix", false)?;
        let parts = byte_level::parts(file, vocab, merges, split, prefix)?;
        let post_processor = self.around(split.add_bos, false)?.template();
        Ok(Parts { added: self.added(), post_processor, ..parts })
    }

    fn added(&self) -> Vec<Added> {
        let ids = self.kinds.iter().enumerate();
        let added = ids.filter_map(|(id, kind)| {
            let special = match kind {
                Kind::Control | Kind::Unknown => true,
                Kind::UserDefined => false,
                Kind::Normal | Kind::Unused | Kind::Byte => return None,
            };
            Some(Added { special, ..Added::special(id as u32, &self.tokens[id]) })
        });
        added.filter(|added| !added.content.is_empty()).collect()
    }

    fn pieces(&self, unigram: bool) -> Result<Parts> {
        let scores = self.metadata.f32s(SCORES)?;
        same_length(self.metadata, SCORES, self.tokens.len(), scores.len())?;
        let mut kinds = self.kinds.clone();
        if let Some(id) = self.id("unknown")? {
            kinds[id as usize] = Kind::Unknown;
        }
        let charsmap = self.metadata.optional("tokenizer.ggml.precompiled_charsmap", Metadata::bytes)?;
        let pieces = Pieces {
            tokens: (self.tokens.iter().cloned().zip(scores).zip(kinds))
                .map(|((token, score), kind)| (token, *score, kind))
                .collect(),
            unigram,
            charsmap: charsmap.unwrap_or_default(),
            add_dummy_prefix: self.flag("add_space_prefix", true)?,
            remove_extra_whitespaces: self.flag("remove_extra_whitespaces", unigram)?,
            around: self.around(!unigram, unigram)?,
        };
        let mut parts = pieces.parts(self.metadata.file())?;
        if !unigram && self.is_phi3()? {
            // A file has no place for it; Phi-3's own tokenizer, and llama.cpp, do so.
            let plain = ["<unk>", "<s>", "<|endoftext|>"];
            for added in parts.added.iter_mut().filter(|added| added.special) {
                added.rstrip = !plain.contains(&added.content.as_str());
            }
        }
        Ok(parts)
    }

    fn is_phi3(&self) -> Result<bool> {
        Ok(self.metadata.optional("general.architecture", Metadata::string)? == Some("phi3"))
    }

    /// The file has U+2581 before tokens that begin words, and takes "##" from those that go on with them.
    fn wordpiece(&self) -> Result<Parts> {
        let bracketed = |token: &str| token.starts_with('[') && token.ends_with(']');
        let written =
            self.tokens.iter().zip(&self.kinds).map(|(token, kind)| match token.strip_prefix(BLANK) {
                Some(word) => word.to_owned(),
                None if *kind == Kind::Normal && !bracketed(token) => format!("##{token}"),
                None => token.clone(),
            });
        let tokens: Vec<String> = written.collect();
        // An uncased vocabulary has no capitals but in its special tokens, and no text could become others of a cased one.
        // Some are of no case though Unicode has them as capitals, the sign for real numbers among them.
        let cased = tokens.iter().any(|token| !bracketed(token) && token.to_lowercase() != *token);
        let token = |part: &str, other: &str, default: &str| -> Result<String> {
            let id = self.id(part)?.or(self.id(other)?);
            Ok(id.map_or(default, |id| tokens[id as usize].as_str()).to_owned())
        };
        let settings = wordpiece::Settings {
            lowercase: !cased,
            chinese: true,
            strip_accents: None,
            unk: token("unknown", "unknown", "[UNK]")?,
            cls: token("cls", "bos", "[CLS]")?,
            // The key is spelled so.
            sep: token("seperator", "eos", "[SEP]")?,
            pad: token("padding", "padding", "[PAD]")?,
            mask: token("mask", "mask", "[MASK]")?,
        };
        wordpiece::parts(self.metadata.file(), TOKENS, tokens.iter().map(String::as_str), &settings)
    }
}

fn same_length(metadata: &Metadata, key: &str, tokens: usize, found: usize) -> Result<()> {
    if found == tokens {
        return Ok(());
    }
    Err(metadata.fault(key, format!("as many values as there are tokens, {tokens}"), found.to_string()))
}
