//! A text too long for a model, read in windows that overlap, with another text before each of them.

use super::{Encoding, Tokenizer};
use crate::{Error, Result};
use std::ops::Range;
use tokenizers::TruncationDirection;

/// Tokens of the text before the windows at the most (Devlin et al. 2019: `max_query_length`).
const MOST_BEFORE: usize = 64;

/// A text in windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Where each token of the whole text lies in it, in bytes.
    pub offsets: Vec<Range<usize>>,
    /// The windows in their order; one or more.
    pub windows: Vec<Window>,
}

/// A part of a text as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The text before, this part of the text, and the special tokens around them.
    pub encoding: Encoding,
    /// Which tokens of the whole text it holds.
    pub tokens: Range<usize>,
    /// The place of the first of these in `encoding`.
    pub first: usize,
}

impl Tokenizer {
    /// `text` behind `before` (of which 64 tokens are read at the most), in windows of at most `max_length` tokens with
    /// special ones. A window repeats the last `stride` tokens of the one before it, though never more than half of its own.
    pub fn windows(&self, before: &str, text: &str, max_length: usize, stride: usize) -> Result<Windows> {
        let on = || format!("the text \"{}\"", text.chars().take(60).collect::<String>());
        let (before, text) =
            self.guarded(|| Ok((self.inner.encode(before, false)?, self.inner.encode(text, false)?)), on)?;
        let mut before = before;
        before.truncate(MOST_BEFORE, 0, TruncationDirection::Right);
        let special = self.special_count(true) + before.len();
        let room = max_length.saturating_sub(special);
        if room < 2 {
            let found = format!("{max_length}, of which the question and special tokens take {special}");
            let expected = format!("{} tokens or more", special + 2);
            return Err(Error::malformed(&self.file, "maximum length", expected, found));
        }
        let offsets: Vec<Range<usize>> = text.get_offsets().iter().map(|(start, end)| *start..*end).collect();
        let step = room - stride.min(room / 2);
        let mut windows = Vec::new();
        for start in (0..).step_by(step) {
            let tokens = start..offsets.len().min(start + room);
            windows.push(self.guarded(|| self.window(&before, &text, tokens.clone()), on)?);
            if tokens.end == offsets.len() {
                break;
            }
        }
        Ok(Windows { offsets, windows })
    }

    fn window(
        &self,
        before: &tokenizers::Encoding,
        text: &tokenizers::Encoding,
        tokens: Range<usize>,
    ) -> tokenizers::Result<Window> {
        let part = part(text, tokens.clone());
        let whole = self.inner.post_process(before.clone(), Some(part), true)?;
        // The template ends with as many special tokens whatever stands before them.
        let behind = whole.get_special_tokens_mask().iter().rev().take_while(|mask| **mask == 1).count();
        let first = whole.len().saturating_sub(behind + tokens.len());
        let encoding = Encoding {
            ids: whole.get_ids().to_vec(),
            type_ids: whole.get_type_ids().to_vec(),
            truncated: false,
        };
        Ok(Window { encoding, tokens, first })
    }
}

/// Some tokens of an encoding, as those of a second text.
fn part(text: &tokenizers::Encoding, tokens: Range<usize>) -> tokenizers::Encoding {
    let of = tokens.clone();
    tokenizers::Encoding::new(
        text.get_ids()[of.clone()].to_vec(),
        vec![1; tokens.len()],
        text.get_tokens()[of.clone()].to_vec(),
        vec![None; tokens.len()],
        text.get_offsets()[of].to_vec(),
        vec![0; tokens.len()],
        vec![1; tokens.len()],
        Vec::new(),
        Default::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of one letter each, a BERT template.
    fn tokenizer() -> Tokenizer {
        let vocab: Vec<String> = ["[UNK]", "[CLS]", "[SEP]"]
            .iter()
            .map(|token| (*token).to_owned())
            .chain(('a'..='z').map(String::from))
            .collect();
        let vocab: Vec<String> =
            vocab.iter().enumerate().map(|(id, token)| format!("\"{token}\": {id}")).collect();
        let json = format!(
            r#"{{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {{"type": "Whitespace"}},
            "post_processor": {{"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}}, "decoder": null,
            "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "[UNK]"}}}}"#,
            vocab.join(", ")
        );
        Tokenizer::from_json("t.json".into(), json.as_bytes()).unwrap()
    }

    #[test]
    fn windows_overlap_and_together_hold_every_token() {
        let found = tokenizer().windows("q u", "a b c d e f g", 9, 1).unwrap();
        // Nine tokens less two of the question and three special ones leave four, of which one is repeated.
        let held: Vec<Range<usize>> = found.windows.iter().map(|window| window.tokens.clone()).collect();
        assert_eq!(held, [0..4, 3..7]);
        let second = &found.windows[1];
        assert_eq!(second.encoding.ids, [1, 19, 23, 2, 6, 7, 8, 9, 2]);
        assert_eq!(second.encoding.type_ids, [0, 0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!((second.first, found.offsets[3].clone()), (4, 6..7));
        assert_eq!(tokenizer().windows("q", "a b", 512, 128).unwrap().windows.len(), 1);
        // An overlap as wide as the window itself would go on for ever.
        assert!(tokenizer().windows("q", "a b c d e f g", 8, 99).unwrap().windows.len() < 7);
    }

    #[test]
    fn a_question_that_leaves_no_room_is_refused_and_a_long_one_is_cut() {
        let error = tokenizer().windows("q u", "a", 6, 0).unwrap_err().to_string();
        assert!(error.contains("expected 7 tokens or more"), "{error}");
        let long = vec!["q"; 100].join(" ");
        assert_eq!(tokenizer().windows(&long, "a b", 512, 0).unwrap().windows[0].first, 66);
    }
}
