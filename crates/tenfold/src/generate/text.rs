//! One answer as it grows: its ids, its text, and how much of the text no later token changes.
//!
//! Text is decoded as a stream: each token costs the decoding of the few before it, not of the whole answer. A finished
//! answer is decoded once as a whole, so that its text is the tokenizer's own whatever its decoder does.

use super::FinishReason;
use crate::error::Result;

/// What a text in the making holds where a character's bytes are not all there yet.
const UNFINISHED: char = '\u{fffd}';

/// Tokens that may wait for the rest of a character; what waits longer is no character.
const LONGEST_CHARACTER: usize = 16;

/// The text that ids stand for, special tokens left out.
pub(super) type Decode<'a> = dyn Fn(&[u32]) -> Result<String> + 'a;

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
    window: Window,
}

/// The last tokens of an answer: those that may still change its text, and some before them, since a decoder treats the
/// first token that it is given differently.
#[derive(Default)]
struct Window {
    /// Its first token.
    first: usize,
    /// The first token behind those whose text is settled.
    settled: usize,
    /// Where in the answer's text the window's begins.
    begins: usize,
}

impl Answer {
    /// Takes the next token, and finishes the answer if that ends it.
    pub fn take(&mut self, id: u32, ends: &Ends, decode: &Decode) -> Result<()> {
        self.ids.push(id);
        if ends.ids.contains(&id) {
            return self.finish(FinishReason::Eos, decode);
        }
        let own = decode(&self.ids[self.window.first..])?;
        self.text.truncate(self.window.begins);
        self.text.push_str(&own);
        // A stop string that is new ends in the window.
        let longest = ends.strings.iter().map(String::len).max().unwrap_or(0);
        let from = self.text.floor_char_boundary(self.window.begins.saturating_sub(longest));
        let is_last = self.ids.len() >= ends.tokens;
        if is_last || first_stop(&self.text[from..], ends.strings).is_some() {
            self.finish(FinishReason::Length, decode)?;
            if let Some(at) = first_stop(&self.text, ends.strings) {
                self.text.truncate(at);
                self.finished = Some(FinishReason::StopString);
            } else if !is_last {
                // The whole text does not hold what the window did.
                self.finished = None;
                self.window = Window::default();
            }
        }
        if self.finished.is_none() { self.settle(decode) } else { Ok(()) }
    }

    /// Ends the answer where it is; its text is then decoded as a whole, without the token that ended it.
    pub fn finish(&mut self, reason: FinishReason, decode: &Decode) -> Result<()> {
        let said = self.ids.len() - usize::from(reason == FinishReason::Eos);
        self.text = decode(&self.ids[..said])?;
        self.finished = Some(reason);
        Ok(())
    }

    /// Moves the window on where no later token changes the text before it: the text ends in a whole character, and that
    /// of the newest tokens, or of the newest one, is how it ends.
    fn settle(&mut self, decode: &Decode) -> Result<()> {
        let waiting = self.ids.len() - self.window.settled;
        if self.text.ends_with(UNFINISHED) && waiting < LONGEST_CHARACTER {
            return Ok(());
        }
        for first in [self.window.settled, self.ids.len() - 1] {
            let newest = decode(&self.ids[first..])?;
            // Of no text, as of special tokens, the first token would still be to come.
            if !newest.is_empty() && self.text.ends_with(&newest) {
                let (settled, begins) = (self.ids.len(), self.text.len() - newest.len());
                self.window = Window { first, settled, begins };
                break;
            }
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

/// Where the first of the stop strings begins.
fn first_stop(text: &str, stops: &[String]) -> Option<usize> {
    stops.iter().filter_map(|stop| text.find(stop)).min()
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
mod tests;
