//! From rows to sequences: rendering, which tokens count in the loss, and what becomes of rows that are too long.
//!
//! A row's text is tokenised whole. Where a completion begins is found by tokenising what stands before it as well: the
//! tokens that both have in common from the left are given, the first that differs reaches into the completion.

use super::{Conversation, LanguageExample, LanguageTokenizer, LengthReport, Message, Sequence};
use crate::data::{Located, Origin};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// Which tokens count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// Completions with their end-of-text token, and every assistant's message with its end of turn. Encoder-decoders
    /// learn nothing else in any case.
    #[default]
    Completions,
    /// All tokens but the first, which nothing predicts.
    Everything,
}

/// What becomes of a row of more tokens than the limit. Raw text is never too long: it goes on in the next sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// Of a chat the oldest turns after the system prompt go first, whole; then the start of the prompt, or the end of
    /// one that an encoder reads. A row whose completion alone is too long is left out. No completion that stays is
    /// ever cut.
    #[default]
    TruncatePrompt,
    /// The row is left out.
    Drop,
    /// An error that names the row.
    Error,
}

/// How rows become sequences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceSettings {
    /// Tokens of a sequence at most, special tokens included.
    pub max_length: usize,
    /// Which tokens count.
    pub train_on: TrainOn,
    /// What becomes of longer rows.
    pub overlong: Overlong,
}

impl Default for SequenceSettings {
    fn default() -> SequenceSettings {
        SequenceSettings { max_length: 1024, train_on: TrainOn::default(), overlong: Overlong::default() }
    }
}

/// Sequences in the order of their rows, and what to tell about them before training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// One for each row that is kept; of raw text one for each `max_length` tokens.
    pub sequences: Vec<Sequence>,
    /// For each sequence the place of its row among all.
    pub of: Vec<usize>,
    /// Rows that could not be rendered or encoded.
    pub failed: Vec<Failed>,
    /// Their lengths, and how many rows were cut or left out.
    pub lengths: LengthReport,
}

/// A row, and where it stands.
pub trait Placed: Sync {
    /// The row.
    fn example(&self) -> &LanguageExample;

    /// Where it stands, if that is known.
    fn origin(&self) -> Option<&Origin>;
}

impl Placed for LanguageExample {
    fn example(&self) -> &LanguageExample {
        self
    }

    fn origin(&self) -> Option<&Origin> {
        None
    }
}

impl Placed for Located<LanguageExample> {
    fn example(&self) -> &LanguageExample {
        &self.row
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }
}

/// A row's place as errors name it: in its file, or else its number from 1 among those that are encoded.
struct RowName<'a> {
    origin: Option<&'a Origin>,
    number: usize,
}

impl fmt::Display for RowName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.origin {
            Some(origin) => origin.fmt(f),
            None => write!(f, "row {}", self.number),
        }
    }
}

/// A row that the chat template does not take, or the tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its place among all rows, from 0.
    pub place: usize,
    /// What went wrong, in the words of the template or the tokenizer.
    pub fault: String,
}

/// Renders and tokenises `examples`. It is an error if nothing is left to train on.
pub fn encode<E: Placed>(
    tokenizer: &dyn LanguageTokenizer,
    examples: &[E],
    settings: &SequenceSettings,
) -> Result<Encoded> {
    let encoder = Encoder { tokenizer, settings };
    rows(examples, settings, |name, example| encoder.row(name, example))
}

/// The same for an encoder-decoder: of each sequence the encoder reads what does not count, special tokens around it,
/// and the decoder answers the rest. Rows are prompts with completions.
pub fn encode_answers<E: Placed>(
    tokenizer: &dyn LanguageTokenizer,
    examples: &[E],
    settings: &SequenceSettings,
) -> Result<Encoded> {
    let encoder = Encoder { tokenizer, settings };
    rows(examples, settings, |name, example| encoder.answered(name, example))
}

/// All rows, each by `row`, which is told its name.
fn rows<E: Placed>(
    examples: &[E],
    settings: &SequenceSettings,
    row: impl Fn(&RowName, &LanguageExample) -> Result<Row> + Sync,
) -> Result<Encoded> {
    if settings.max_length < 2 {
        let why = "a sequence needs a token to predict and one before it".into();
        return Err(Error::Unsupported { what: format!("max_length = {}", settings.max_length), why });
    }
    let rows: Vec<Row> = (examples.par_iter().enumerate())
        .map(|(index, example)| {
            row(&RowName { origin: example.origin(), number: index + 1 }, example.example())
        })
        .collect::<Result<_>>()?;
    let count = |kind: fn(&Row) -> bool| rows.iter().filter(|row| kind(row)).count();
    let cut = count(|row| matches!(row, Row::Cut(_)));
    let overlong = count(|row| matches!(row, Row::Overlong));
    let unlabelled = count(|row| matches!(row, Row::Unlabelled));
    let failed: Vec<Failed> = (rows.iter().enumerate())
        .filter_map(|(place, row)| match row {
            Row::Failed(fault) => Some(Failed { place, fault: fault.clone() }),
            _ => None,
        })
        .collect();
    let each =
        |(place, row): (usize, Row)| row.sequences().into_iter().map(move |sequence| (place, sequence));
    let (of, sequences): (Vec<usize>, Vec<Sequence>) = rows.into_iter().enumerate().flat_map(each).unzip();
    if sequences.is_empty() {
        let mut why = format!(
            "of {} rows {overlong} are longer than {} tokens and {unlabelled} have nothing to learn",
            examples.len(),
            settings.max_length
        );
        if let Some(first) = failed.first() {
            let name = RowName { origin: examples[first.place].origin(), number: first.place + 1 };
            why += &format!(", and {} failed, the first ({name}): {}", failed.len(), first.fault);
        }
        return Err(Error::Unsupported { what: "training on these rows".into(), why });
    }
    let lengths =
        LengthReport { rows: examples.len(), cut, overlong, unlabelled, ..LengthReport::of(&sequences) };
    Ok(Encoded { sequences, of, failed, lengths })
}

/// What became of a row.
enum Row {
    Whole(Vec<Sequence>),
    Cut(Sequence),
    Overlong,
    Unlabelled,
    /// The template or the tokenizer does not take it, for this reason.
    Failed(String),
}

impl Row {
    /// A row, or that it failed where the fault is its own.
    fn or_failed(row: Result<Row>) -> Result<Row> {
        match row {
            Err(error @ (Error::Malformed { .. } | Error::Unsupported { .. })) => {
                Ok(Row::Failed(error.to_string()))
            }
            row => row,
        }
    }

    fn sequences(self) -> Vec<Sequence> {
        match self {
            Row::Whole(sequences) => sequences,
            Row::Cut(sequence) => vec![sequence],
            Row::Overlong | Row::Unlabelled | Row::Failed(_) => Vec::new(),
        }
    }
}

struct Encoder<'a> {
    tokenizer: &'a dyn LanguageTokenizer,
    settings: &'a SequenceSettings,
}

impl Encoder<'_> {
    fn row(&self, name: &RowName, example: &LanguageExample) -> Result<Row> {
        let example = &*example.plain();
        let made = match example {
            LanguageExample::Asked { .. } => unreachable!("a plain example"),
            LanguageExample::Text(text) => return Row::or_failed(self.text(text)),
            LanguageExample::Prompt { prompt, completion } => self.prompt(prompt, completion),
            LanguageExample::Chat(chat) => self.chat(name, chat).map(|whole| (whole, 0)),
        };
        let (whole, head) = match made {
            Ok(made) => made,
            Err(error) => return Row::or_failed(Err(error)),
        };
        let row = self.fit(name, whole, |whole, max| match example {
            LanguageExample::Chat(chat) => self.shorter_chat(name, chat, whole),
            _ => Ok(cut(&whole, head..whole.ids.len(), max)),
        })?;
        Ok(match row {
            Row::Whole(sequences) => {
                Row::Whole(sequences.into_iter().map(|whole| self.finish(whole)).collect())
            }
            Row::Cut(sequence) => Row::Cut(self.finish(sequence)),
            row => row,
        })
    }

    /// The end of a prompt goes first, as Hugging Face's tokenizers cut: what it asks for stands at its beginning.
    fn answered(&self, name: &RowName, example: &LanguageExample) -> Result<Row> {
        let example = &*example.plain();
        let LanguageExample::Prompt { prompt, completion } = example else {
            let why = "an encoder-decoder reads a prompt and answers it: rows have a prompt and a completion";
            let kind = if matches!(example, LanguageExample::Text(_)) { "raw text" } else { "a chat" };
            return Err(Error::Unsupported { what: format!("{name}, {kind}"), why: why.into() });
        };
        let made = (|| {
            let (ids, words) = (self.tokenizer.text_ids(prompt)?, self.tokenizer.ids(prompt)?);
            Ok((ids, words.len(), self.tokenizer.ids(completion)?))
        })();
        let (mut ids, words, answer) = match made {
            Ok(made) => made,
            Err(error) => return Row::or_failed(Err(error)),
        };
        let prompt = ids.len();
        if prompt == 0 {
            return Ok(Row::Unlabelled);
        }
        ids.extend(answer);
        ids.extend(self.tokenizer.end_id());
        let labelled = (0..ids.len()).map(|place| place >= prompt).collect();
        let first = self.tokenizer.first_id().map_or(0, |_| 1);
        self.fit(name, Sequence { ids, labelled }, |whole, max| {
            let excess = whole.ids.len() - max;
            Ok(words.checked_sub(excess).and_then(|kept| cut(&whole, first + kept..prompt, max)))
        })
    }

    /// A row within the limit: whole, or as `shorten` makes it if it is too long and that is wanted.
    fn fit(
        &self,
        name: &RowName,
        whole: Sequence,
        shorten: impl Fn(Sequence, usize) -> Result<Option<Sequence>>,
    ) -> Result<Row> {
        if whole.labels() == 0 {
            return Ok(Row::Unlabelled);
        }
        let (max, tokens) = (self.settings.max_length, whole.ids.len());
        if tokens <= max {
            return Ok(Row::Whole(vec![whole]));
        }
        let shorter = match self.settings.overlong {
            Overlong::Drop => None,
            Overlong::Error => {
                let why =
                    format!("max_length is {max}; raise it, or set overlong to truncate_prompt or drop");
                return Err(Error::Unsupported { what: format!("a row of {tokens} tokens ({name})"), why });
            }
            Overlong::TruncatePrompt => match shorten(whole, max) {
                Ok(shorter) => shorter,
                Err(error) => return Row::or_failed(Err(error)),
            },
        };
        Ok(shorter.map_or(Row::Overlong, Row::Cut))
    }

    /// Raw text in sequences of `max_length` tokens; the last one is as short as it comes.
    fn text(&self, text: &str) -> Result<Row> {
        let (mut ids, _) = self.begun(self.tokenizer.ids(text)?);
        ids.extend(self.tokenizer.end_id());
        let pieces = ids.chunks(self.settings.max_length).filter(|piece| piece.len() > 1);
        let sequences: Vec<Sequence> = pieces.map(|piece| everything(piece.to_vec())).collect();
        Ok(if sequences.is_empty() { Row::Unlabelled } else { Row::Whole(sequences) })
    }

    /// The sequence, and how many tokens at its start stay when it is cut.
    fn prompt(&self, prompt: &str, completion: &str) -> Result<(Sequence, usize)> {
        let whole = self.tokenizer.ids(&format!("{prompt}{completion}"))?;
        let given = common(&whole, &self.tokenizer.ids(prompt)?);
        let (mut ids, ahead) = self.begun(whole);
        ids.extend(self.tokenizer.end_id());
        let first = (ahead + given).max(1);
        let labelled = (0..ids.len()).map(|place| place >= first).collect();
        Ok((Sequence { ids, labelled }, usize::from(self.tokenizer.first_id().is_some())))
    }

    /// The tokens behind the one that begins every text, and how many were put before them: none where the text itself
    /// begins with that token.
    fn begun(&self, words: Vec<u32>) -> (Vec<u32>, usize) {
        let mut ids = Vec::from_iter(self.tokenizer.first_id().filter(|first| words.first() != Some(first)));
        let ahead = ids.len();
        ids.extend(words);
        (ids, ahead)
    }

    fn chat(&self, name: &RowName, Conversation { messages, tools }: &Conversation) -> Result<Sequence> {
        let render = |turns: usize, add_generation_prompt: bool| {
            self.tokenizer.render(&messages[..turns], tools.as_ref(), add_generation_prompt)
        };
        let whole = render(messages.len(), false)?;
        let mut ids = self.tokenizer.ids(&whole)?;
        let mut labelled = vec![false; ids.len()];
        let tokens_of = |text: &str| Ok::<_, Error>(common(&ids, &self.tokenizer.ids(text)?));
        for (index, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let before = render(index, true)?;
            let after = render(index + 1, false)?;
            if !(whole.starts_with(&after) && after.starts_with(&before)) {
                return Err(does_not_extend(name, index, &before, &after, &whole));
            }
            let (first, end) = (tokens_of(&before)?.max(1), tokens_of(&after)?);
            labelled.iter_mut().take(end).skip(first).for_each(|labelled| *labelled = true);
        }
        if messages.last().is_some_and(|message| message.role == "assistant") {
            self.end(&mut ids, &mut labelled);
        }
        Ok(Sequence { ids, labelled })
    }

    /// Puts the end-of-text token behind a chat whose template ends the assistant's turns with none: what is never learnt
    /// is never said, and the model would not stop.
    fn end(&self, ids: &mut Vec<u32>, labelled: &mut Vec<bool>) {
        let learnt = labelled.iter().rposition(|labelled| !labelled).map_or(0, |before| before + 1);
        if ids[learnt..].iter().any(|id| self.tokenizer.ends(*id)) {
            return;
        }
        if let Some(end) = self.tokenizer.end_id() {
            ids.push(end);
            labelled.push(true);
        }
    }

    /// Leaves out the oldest turns until the rest fits; then cuts the last exchange's prompt after the system prompt.
    fn shorter_chat(
        &self,
        name: &RowName,
        Conversation { messages, tools }: &Conversation,
        whole: Sequence,
    ) -> Result<Option<Sequence>> {
        let spoken = |message: &Message| message.role != "system" && message.role != "developer";
        let system = messages.iter().position(spoken).unwrap_or(messages.len());
        let answered = messages.iter().rposition(|message| message.role == "assistant").unwrap_or(0);
        let mut last = (messages.clone(), whole);
        for start in system + 1..answered {
            if messages[start].role != "user" {
                continue;
            }
            let messages = [&messages[..system], &messages[start..]].concat();
            let rest = Conversation { messages, tools: tools.clone() };
            let shorter = self.chat(name, &rest)?;
            if shorter.ids.len() <= self.settings.max_length {
                return Ok(Some(shorter));
            }
            last = (rest.messages, shorter);
        }
        let (rest, last) = last;
        let answer = rest.iter().position(|message| message.role == "assistant").unwrap_or(0);
        let tokens_of = |messages: &[Message]| match self.tokenizer.render(messages, tools.as_ref(), false) {
            Ok(text) => Ok(Some(common(&last.ids, &self.tokenizer.ids(&text)?))),
            // Some templates cannot render a system prompt alone; then it is cut as the rest of the prompt is.
            Err(_) => Ok::<_, Error>(None),
        };
        let prompt = match tokens_of(&rest[..answer])? {
            Some(end) => end,
            None => return Ok(None),
        };
        let first = common(&last.ids, &Vec::from_iter(self.tokenizer.first_id()));
        let head = if system > 0 { tokens_of(&rest[..system])?.unwrap_or(0) } else { 0 };
        let max = self.settings.max_length;
        Ok(cut(&last, head.max(first)..prompt, max).or_else(|| cut(&last, first..prompt, max)))
    }

    fn finish(&self, sequence: Sequence) -> Sequence {
        match self.settings.train_on {
            TrainOn::Completions => sequence,
            TrainOn::Everything => everything(sequence.ids),
        }
    }
}

fn everything(ids: Vec<u32>) -> Sequence {
    let labelled = (0..ids.len()).map(|place| place > 0).collect();
    Sequence { ids, labelled }
}

/// How many tokens two lists share from the left.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Takes the first tokens of `prompt` out, as many as the sequence has too many, if it has so many and leaves a token
/// before those that are learnt.
fn cut(sequence: &Sequence, prompt: Range<usize>, max: usize) -> Option<Sequence> {
    let excess = sequence.ids.len().checked_sub(max)?;
    let end = prompt.start.checked_add(excess)?;
    let learnt = sequence.labelled.iter().position(|labelled| *labelled)?;
    if end > prompt.end.min(learnt) || learnt == excess {
        return None;
    }
    let mut shorter = sequence.clone();
    shorter.ids.drain(prompt.start..end);
    shorter.labelled.drain(prompt.start..end);
    Some(shorter)
}

fn does_not_extend(name: &RowName, index: usize, before: &str, after: &str, whole: &str) -> Error {
    let (what, short, long) = if whole.starts_with(after) {
        ("the conversation before it with the generation prompt", before, after)
    } else {
        ("the conversation up to it", after, whole)
    };
    let same: usize =
        short.chars().zip(long.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let excerpt = |text: &str| format!("{:?}", text[same..].chars().take(30).collect::<String>());
    let why = format!(
        "{name}, message {}: {what} does not begin what follows (after {same} bytes {} became {}), so the \
         assistant's tokens cannot be told apart; use a chat template that writes a turn the same way whatever \
         follows, or rows of one exchange each",
        index + 1,
        excerpt(short),
        excerpt(long)
    );
    Error::Unsupported { what: "this chat template with this chat".into(), why }
}

#[cfg(test)]
mod tests;
