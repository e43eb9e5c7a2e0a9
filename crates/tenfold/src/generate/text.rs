//! One answer as it grows: its ids, its text, and how much of the text no later token changes.

use super::FinishReason;
use crate::error::Result;

/// What a text in the making holds where a character's bytes are not all there yet.
const UNFINISHED: char = '\u{fffd}';

/// What ends an answer.
pub(super) struct Ends<'a> {
    pub ids: &'a [u32],
    pub strings: &'a [String],
    pub tokens: usize,
}

/// An answer in the making.
#[derive(Default)]
pub(super) struct Answer {
    pub ids: Vec<u32>,
    pub text: String,
    pub finished: Option<FinishReason>,
    said: String,
}

impl Answer {
    /// Takes the next token, and finishes the answer if that ends it.
    pub fn take(&mut self, id: u32, ends: &Ends, decode: &dyn Fn(&[u32]) -> Result<String>) -> Result<()> {
        self.ids.push(id);
        if ends.ids.contains(&id) {
            self.finished = Some(FinishReason::Eos);
            return Ok(());
        }
        self.text = decode(&self.ids)?;
        if let Some(at) = ends.strings.iter().filter_map(|stop| self.text.find(stop)).min() {
            self.text.truncate(at);
            self.finished = Some(FinishReason::StopString);
        } else if self.ids.len() >= ends.tokens {
            self.finished = Some(FinishReason::Length);
        }
        Ok(())
    }

    /// What has become certain of the text since this was asked last.
    pub fn piece(&mut self, ends: &Ends) -> Option<String> {
        let certain = match self.finished {
            Some(_) => self.text.as_str(),
            None => certain(&self.text, ends.strings),
        };
        // A decoder may take back a blank before a comma; what was said stays said.
        let piece = certain.strip_prefix(&self.said).filter(|piece| !piece.is_empty())?.to_owned();
        self.said.push_str(&piece);
        Some(piece)
    }
}

/// The text without unfinished characters, and without what may be the beginning of a stop string.
fn certain<'a>(text: &'a str, stops: &[String]) -> &'a str {
    let text = text.trim_end_matches(UNFINISHED);
    let open = |stop: &String| {
        let beginnings = stop.char_indices().map(|(at, _)| &stop[..at]);
        beginnings.rev().find(|beginning| text.ends_with(beginning)).map_or(0, str::len)
    };
    &text[..text.len() - stops.iter().map(open).max().unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[&[u8]] = &[b"Hi", b" \xe2", b"\x82", b"\xac", b".\n#", b"## x", b"#", b"end"];

    fn decode(ids: &[u32]) -> Result<String> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| BYTES[*id as usize]).copied().collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn run(ids: &[u32], stops: &[&str], tokens: usize) -> (Vec<String>, String, Option<FinishReason>) {
        let strings: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let ends = Ends { ids: &[7], strings: &strings, tokens };
        let (mut answer, mut pieces) = (Answer::default(), Vec::new());
        for id in ids {
            assert_eq!(answer.finished, None);
            answer.take(*id, &ends, &decode).unwrap();
            pieces.push(answer.piece(&ends).unwrap_or_default());
        }
        assert_eq!(answer.ids, ids);
        (pieces, answer.text, answer.finished)
    }

    #[test]
    fn a_character_is_said_when_its_bytes_are_all_there() {
        let (pieces, text, finished) = run(&[0, 1, 2, 3], &[], 9);
        assert_eq!(
            (pieces.as_slice(), text.as_str()),
            (["Hi", " ", "", "€"].map(String::from).as_slice(), "Hi €")
        );
        assert_eq!(finished, None);
    }

    #[test]
    fn a_stop_string_across_tokens_is_never_said() {
        let (pieces, text, finished) = run(&[0, 4, 5], &["\n###"], 9);
        assert_eq!((pieces, text.as_str()), (vec!["Hi".into(), ".".into(), "".into()], "Hi."));
        assert_eq!(finished, Some(FinishReason::StopString));
        // What only looked like one is said after all; the earliest of several counts.
        let (pieces, _, finished) = run(&[0, 4, 0], &["\n###"], 9);
        assert_eq!((pieces.concat(), pieces[1].as_str(), finished), ("Hi.\n#Hi".into(), ".", None));
        assert_eq!(run(&[0, 5], &["x", "##"], 9).1, "Hi");
    }

    #[test]
    fn an_answer_ends_with_an_end_token_or_when_it_is_long_enough_and_says_the_rest() {
        let (pieces, text, finished) = run(&[0, 6, 7], &["##"], 9);
        assert_eq!(
            (pieces.concat(), text.as_str(), finished),
            ("Hi#".into(), "Hi#", Some(FinishReason::Eos))
        );
        let (pieces, text, finished) = run(&[0, 1], &[], 2);
        assert_eq!((pieces.concat(), finished), (text, Some(FinishReason::Length)));
    }
}
