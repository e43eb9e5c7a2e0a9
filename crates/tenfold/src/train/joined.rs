//! Rows that make up one answer together: the choices of a question, or the windows of a passage.

use super::{Rows, Target};
use crate::data::language::Question;
use crate::data::{Example, PassageQuestion};
use crate::error::{Error, Result};
use crate::model::tokenizer::{Tokenizer, Window};
use crate::task::{Extraction, Questions};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Whose rows they are.
#[derive(Debug, Clone)]
pub struct Joined {
    /// What they belong to.
    pub whole: Whole,
    /// For each row, the question it is of and its place among that question's rows.
    pub of: Vec<(u32, Part)>,
}

/// What rows are parts of.
#[derive(Debug, Clone)]
pub enum Whole {
    /// Questions with choices, each of which a head judges right or wrong.
    Choices {
        /// What is made of the answers.
        questions: Arc<Questions>,
        /// The questions.
        asked: Arc<[Question]>,
    },
    /// Questions whose answers are parts of passages.
    Passages {
        /// How answers are found.
        extraction: Extraction,
        /// The questions.
        asked: Arc<[PassageQuestion]>,
    },
}

/// What part a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The choice of that number.
    Choice(usize),
    /// A window of a passage.
    Window {
        /// The place in the row of the window's first token.
        first: usize,
        /// Where its tokens lie in the passage, in bytes.
        offsets: Arc<[Range<usize>]>,
    },
}

impl Joined {
    /// The rows of each question, in the order in which the questions come first.
    pub fn questions(&self) -> Vec<(usize, Vec<usize>)> {
        let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (row, (question, _)) in self.of.iter().enumerate() {
            let place = *places.entry(*question).or_insert_with(|| {
                found.push((*question as usize, Vec::new()));
                found.len() - 1
            });
            found[place].1.push(row);
        }
        found
    }

    /// How many rows `count` questions have at the most.
    pub(super) fn most_rows(&self, count: usize) -> usize {
        let mut rows: Vec<usize> = self.questions().iter().map(|(_, rows)| rows.len()).collect();
        rows.sort_unstable_by_key(|rows| std::cmp::Reverse(*rows));
        rows.iter().take(count).sum()
    }

    pub(super) fn select(&self, picks: &[usize]) -> Joined {
        Joined { whole: self.whole.clone(), of: picks.iter().map(|row| self.of[*row].clone()).collect() }
    }
}

impl Rows {
    /// Every choice of every question as a pair of texts that is right or wrong: the context, and what is said to it. The
    /// way of BERT's heads with ReCoRD and MultiRC in SuperGLUE's baselines (Wang et al. 2019).
    pub fn choices(
        tokenizer: &Tokenizer,
        questions: &Arc<Questions>,
        asked: Vec<Question>,
        max_length: usize,
    ) -> Result<Rows> {
        let (mut examples, mut of) = (Vec::new(), Vec::new());
        for (number, question) in (0..).zip(&asked) {
            let Question::Choice { contexts, choices, golds, .. } = question else {
                let expected = "questions with choices (output_type = \"multiple_choice\")";
                return Err(Error::malformed("task", "output_type", expected, "others"));
            };
            for choice in 0..contexts.len().max(choices.len()) {
                let of_choice = |texts: &[String]| {
                    texts.get(choice).or(texts.first()).map_or("", |text| text.trim()).to_owned()
                };
                let label = u32::from(golds.contains(&choice));
                examples.push(Example {
                    text: of_choice(contexts),
                    pair: Some(of_choice(choices)),
                    label,
                    weight: None,
                });
                of.push((number, Part::Choice(choice)));
            }
        }
        let whole = Whole::Choices { questions: questions.clone(), asked: asked.into() };
        Ok(Rows::encode(tokenizer, &examples, max_length)?.joined_as(Joined { whole, of }))
    }

    /// Every window of every passage. An answer that a window does not hold whole is looked for at its first token, as "no
    /// answer" is; of several answers the first is learnt.
    pub fn windows(
        tokenizer: &Tokenizer,
        extraction: &Extraction,
        asked: Vec<PassageQuestion>,
        max_length: usize,
    ) -> Result<Rows> {
        let windows: Vec<_> = (asked.par_iter())
            .map(|row| tokenizer.windows(&row.question, &row.passage, max_length, extraction.doc_stride))
            .collect::<Result<_>>()?;
        let (mut encodings, mut targets, mut of) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (row, found)) in (0..).zip(asked.iter().zip(windows)) {
            for Window { encoding, tokens, first } in found.windows {
                let offsets: Arc<[Range<usize>]> = found.offsets[tokens].into();
                let span = row.answers.first().and_then(|answer| span(&offsets, answer));
                targets
                    .push(Target::Span(span.map_or([0, 0], |span| span.map(|token| (first + token) as u32))));
                encodings.push(encoding);
                of.push((number, Part::Window { first, offsets }));
            }
        }
        let whole = Whole::Passages { extraction: *extraction, asked: asked.into() };
        Ok(Rows::of(encodings, targets).joined_as(Joined { whole, of }))
    }
}

/// First and last token of an answer that lies within these tokens.
fn span(offsets: &[Range<usize>], answer: &Range<usize>) -> Option<[usize; 2]> {
    let (start, end) = (offsets.first()?.start, offsets.last()?.end);
    if answer.start < start || answer.end > end {
        return None;
    }
    let first = offsets.iter().rposition(|token| token.start <= answer.start)?;
    let last = offsets.iter().position(|token| token.end >= answer.end)?;
    Some([first, last.max(first)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::Encoding;

    #[test]
    fn a_question_is_never_cut_in_two_and_counts_are_of_questions() {
        // Of 1, 3 and 2 windows; the longest row is the last question's.
        let tokens = [4, 2, 2, 2, 3, 9];
        let of =
            [0, 1, 1, 1, 2, 2].map(|question| (question, Part::Window { first: 0, offsets: Arc::new([]) }));
        let encoding =
            |len: &usize| Encoding { ids: vec![1; *len], type_ids: vec![0; *len], truncated: false };
        let each = Rows::of(tokens.iter().map(encoding).collect(), vec![Target::Span([0, 0]); tokens.len()]);
        let whole = Whole::Passages { extraction: Extraction::default(), asked: Arc::new([]) };
        let rows = each.clone().joined_as(Joined { whole, of: of.to_vec() });
        let asked = |rows: &Rows| rows.joined().map(|joined| joined.questions());
        assert_eq!(rows.questions(), 3);
        for count in 0..5 {
            let first = rows.first_questions(count);
            assert_eq!((first.questions(), first.len()), (count.min(3), [0, 1, 4, 6, 6][count]));
            assert_eq!(asked(&first).unwrap(), asked(&rows).unwrap()[..count.min(3)]);
        }
        assert_eq!(asked(&rows.select_questions(&[2, 0])).unwrap(), [(2, vec![0, 1]), (0, vec![2])]);
        let batches = |rows: &Rows, count| {
            rows.question_batches(count).map(|batch| (batch.questions(), batch.len())).collect::<Vec<_>>()
        };
        assert_eq!(batches(&rows, 4), [(2, 4), (1, 2)]);
        assert_eq!(batches(&rows, 1), [(1, 1), (1, 3), (1, 2)]);
        assert_eq!((batches(&each, 4), batches(&Rows::default(), 4)), (vec![(4, 4), (2, 2)], vec![]));
        // One question may have three rows, and the longest rows of all may be its.
        let lengths = |rows: &Rows| (0..rows.len()).map(|row| rows.tokens(row)).collect::<Vec<_>>();
        assert_eq!(lengths(&rows.longest(1)), [9, 4, 3]);
        assert_eq!((rows.longest(2).len(), rows.longest(7).len()), (5, 6));
        assert_eq!((lengths(&each.longest(2)), each.first_questions(2).len()), (vec![9, 4], 2));
    }

    #[test]
    fn an_answer_is_the_tokens_it_touches_where_a_window_holds_all_of_it() {
        let offsets = [0..2, 3..6, 6..7, 8..12];
        assert_eq!(span(&offsets, &(3..7)), Some([1, 2]));
        assert_eq!(span(&offsets, &(4..5)), Some([1, 1]));
        assert_eq!(span(&offsets, &(0..12)), Some([0, 3]));
        assert_eq!(span(&offsets[1..], &(0..2)), None);
        assert_eq!(span(&offsets[..2], &(3..7)), None);
        assert_eq!(span(&[], &(0..1)), None);
    }
}
