//! Byte-level BPE, GPT-2's and its descendants': vocabulary and merges, and how a text is split before they apply.

use super::config::Config;
use super::parts::{Added, Parts};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// How a text is split into words before its bytes are merged, by the name llama.cpp gives it.
#[derive(Debug)]
pub(super) struct Split {
    names: &'static [&'static str],
    /// Each splits further what the one before it left; none: GPT-2's own.
    patterns: &'static [&'static str],
    /// Whether text is first brought into Unicode's composed form.
    composed: bool,
    /// Whether a word that is a token is taken whole, whatever the merges say.
    ignore_merges: bool,
    /// Whether a text begins with the bos token, unless the file says otherwise.
    pub(super) add_bos: bool,
}

const GPT2: Split = Split {
    // Files without a name, or with "default", are from before llama.cpp told the kinds apart. SmolLM's own
    // tokenizer sets digits apart first, which differs where several blanks stand before one; Transformers reads such
    // files as GPT-2's all the same, and is what this is held against.
    names: &["gpt-2", "default", "phi-2", "roberta-bpe", "smollm"],
    patterns: &[],
    composed: false,
    ignore_merges: false,
    add_bos: false,
};

/// GPT-2's own pattern, as its publishers have it.
pub(super) const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's: words, numbers of up to three digits, signs.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Each digit by itself.
pub(super) const DIGITS: &str = r"\p{N}";

const SPLITS: [Split; 10] = [
    GPT2,
    // To llama.cpp these and SmolLM's are one: a SmolLM is written under the first name, to be read as it was meant.
    Split {
        names: &["command-r", "starcoder", "refact", "codeshell", "exaone", "minerva-7b"],
        patterns: &[DIGITS, GPT2_PATTERN],
        ..GPT2
    },
    // GPT-NeoX's tokenizer is OLMo's.
    Split { names: &["olmo", "gpt-neox", "mpt"], composed: true, ..GPT2 },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..GPT2
    },
    // SmolLM 3 has Llama 3's vocabulary, but no token before a text.
    Split { names: &["smaug-bpe"], patterns: &[LLAMA3], ignore_merges: true, ..GPT2 },
    // That of GPT-4, which Phi-4 has.
    Split { names: &["dbrx"], patterns: &[LLAMA3], ..GPT2 },
    // That of GPT-4o, which Phi-4-mini has.
    Split {
        names: &["gpt-4o"],
        patterns: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ..GPT2
    },
    Split {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        composed: true,
        ..GPT2
    },
    Split {
        names: &["tekken"],
        patterns: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: true,
        add_bos: true,
        ..GPT2
    },
    Split {
        names: &["deepseek-v3"],
        patterns: &[
            r"\p{N}{1,3}",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        ],
        ..GPT2
    },
];

impl Split {
    pub(super) fn named(name: &str) -> Option<&'static Split> {
        SPLITS.iter().find(|split| split.names.contains(&name))
    }

    /// The name of what splits by these patterns, one after the other, texts that are `composed` before or not.
    pub(super) fn splitting(patterns: &[&str], composed: bool) -> Option<&'static str> {
        let own = |split: &Split| if split.patterns.is_empty() { &[GPT2_PATTERN] } else { split.patterns };
        let split = SPLITS.iter().find(|split| own(split) == patterns && split.composed == composed)?;
        split.names.first().copied()
    }

    /// The names of all that are known.
    pub(super) fn known() -> String {
        SPLITS.iter().flat_map(|split| split.names).copied().collect::<Vec<_>>().join(", ")
    }
}

/// Vocabulary, merges and splitting as a tokenizer.json has them. A text loses the bytes that have no token, as with
/// Hugging Face's tokenizers; some published vocabularies have none for control characters, but all have the letters.
pub(super) fn parts(
    file: &Path,
    vocab: Map<String, Value>,
    merges: Vec<[&str; 2]>,
    split: &Split,
    add_prefix_space: bool,
) -> Result<Parts> {
    if let Some(missing) =
        (b' '..=b'~').map(letter).find(|letter| !vocab.contains_key(letter.to_string().as_str()))
    {
        let expected = "a token for each character of ASCII that can be seen";
        return Err(Error::malformed(file, "vocabulary", expected, format!("none for {missing:?}")));
    }
    let mut steps: Vec<Value> = (split.patterns.iter())
        .map(|pattern| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}))
        .collect();
    steps.push(json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
        "use_regex": split.patterns.is_empty()}));
    Ok(Parts {
        normalizer: if split.composed { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignore_merges, "vocab": vocab, "merges": merges}),
        ..Parts::default()
    })
}

/// The character that stands for a byte: itself if it can be seen, or else one of those from U+0100 on (Radford 2019).
pub(super) fn letter(byte: u8) -> char {
    let seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !seen(other)).count() as u32;
    char::from_u32(256 + before).unwrap_or_default()
}

/// vocab.json and merges.txt, with the tokenizer_config.json beside them, said as a tokenizer.json.
pub(super) fn describe(folder: &Path, config: &Config) -> Result<Vec<u8>> {
    let (vocabulary, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let class = config.class().unwrap_or("GPT2Tokenizer");
    let (split, roberta) = match class {
        "GPT2Tokenizer" => (Split::named("gpt-2"), false),
        "RobertaTokenizer" => (Split::named("gpt-2"), true),
        "GPTNeoXTokenizer" => (Split::named("gpt-neox"), false),
        "Qwen2Tokenizer" => (Split::named("qwen2"), false),
        _ => (None, false),
    };
    let known = "those of GPT2Tokenizer, RobertaTokenizer, GPTNeoXTokenizer and Qwen2Tokenizer";
    let split = split.ok_or_else(|| config.unsupported(class, known))?;
    let mut vocab = crate::model::config::object_of(&vocabulary)?;
    if let Some((token, id)) =
        vocab.iter().find(|(_, id)| id.as_u64().is_none_or(|id| id > u64::from(u32::MAX)))
    {
        return Err(Error::malformed(&vocabulary, token, "a token's id", id.to_string()));
    }
    let mut added = config.added()?;
    for (key, default) in [
        ("unk_token", Some(if roberta { "<unk>" } else { "<|endoftext|>" })),
        ("bos_token", roberta.then_some("<s>")),
        ("eos_token", roberta.then_some("</s>")),
        ("pad_token", roberta.then_some("<pad>")),
        ("mask_token", roberta.then_some("<mask>")),
    ] {
        let Some(token) = config.token(key).or(default) else { continue };
        let id = vocab.get(token).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        if let Some(id) = id.filter(|_| added.iter().all(|other| other.content != token)) {
            added.push(Added { lstrip: roberta && key == "mask_token", ..Added::special(id, token) });
        }
    }
    for Added { id, content, .. } in &added {
        vocab.insert(content.clone(), json!(id));
    }
    let post_processor = if roberta { roberta_around(&vocabulary, &vocab, config)? } else { Value::Null };
    let text = super::read_text(&merges)?;
    let prefix = config.truth("add_prefix_space").unwrap_or_default();
    let parts = parts(&vocabulary, vocab, pairs(&merges, &text)?, split, prefix)?;
    Ok(Parts { added, post_processor, ..parts }.json())
}

/// `<s> text </s>`, and `<s> text </s></s> pair </s>`.
fn roberta_around(file: &Path, vocab: &Map<String, Value>, config: &Config) -> Result<Value> {
    let token = |key: &str, default: &str| {
        let token = config.token(key).unwrap_or(default);
        let id = vocab.get(token).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let id =
            id.ok_or_else(|| Error::malformed(file, "tokens", format!("the token {token:?}"), "none such"))?;
        Ok::<_, Error>((token.to_owned(), id))
    };
    Ok(
        json!({"type": "RobertaProcessing", "cls": token("cls_token", "<s>")?, "sep": token("sep_token", "</s>")?,
        "trim_offsets": true, "add_prefix_space": false}),
    )
}

fn pairs<'a>(file: &Path, text: &'a str) -> Result<Vec<[&'a str; 2]>> {
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if (number == 0 && line.starts_with("#version")) || line.is_empty() {
            continue;
        }
        let pair = pair(line).ok_or_else(|| {
            Error::malformed(
                file,
                format!("line {}", number + 1),
                "two tokens and one blank",
                format!("{line:?}"),
            )
        })?;
        merges.push(pair);
    }
    Ok(merges)
}

/// The two tokens of a merge; no token of these vocabularies holds a blank.
pub(super) fn pair(line: &str) -> Option<[&str; 2]> {
    let (first, second) = line.trim_end_matches('\r').split_once(' ')?;
    (!first.is_empty() && !second.is_empty() && !second.contains(' ')).then_some([first, second])
}
