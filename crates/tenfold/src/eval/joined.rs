//! Answers that several rows make up: of choices the one that is surest to be right, of passages the likeliest part.

use super::Answer;
use super::tally;
use crate::adapter::Tuning;
use crate::data::language::Question;
use crate::error::Result;
use crate::model::Forward;
use crate::record::Answers;
use crate::score::{ExactF1, argmax, squad1, squad2_row};
use crate::task::Extraction;
use crate::train::{Joined, Part, Source, Whole};
use std::ops::Range;
use tenfold_tensor::without_gradients;

/// Answers to the questions that the rows are of, and the mean loss of the rows.
pub(super) fn answer(
    tuning: &Tuning,
    source: &Source,
    joined: &Joined,
    go_on: impl Fn() -> Result<()>,
) -> Result<(Answers, f64)> {
    match &joined.whole {
        Whole::Choices { questions, asked } => {
            let (mut sure, mut loss) = (Vec::new(), 0.0);
            each_pass(tuning, source, go_on, |picks, logits| {
                for (row, logits) in picks.iter().zip(logits.chunks_exact(2)) {
                    let [wrong, right] = log_softmax([logits[0], logits[1]]);
                    let Part::Choice(choice) = joined.of[*row].1 else { continue };
                    loss -= if golds(&asked[joined.of[*row].0 as usize]).contains(&choice) {
                        right
                    } else {
                        wrong
                    };
                    sure.push(right);
                }
                Ok(())
            })?;
            let wholes = joined.questions();
            let answers: Vec<Answer> =
                wholes.iter().map(|(number, rows)| judged(&asked[*number], rows, &sure)).collect();
            let asked: Vec<Question> = wholes.iter().map(|(number, _)| asked[*number].clone()).collect();
            Ok((tally::answers(questions, &asked, &answers)?, loss / sure.len().max(1) as f64))
        }
        Whole::Passages { extraction, asked } => {
            let (mut windows, mut loss): (Vec<Spans>, f64) = (Vec::new(), 0.0);
            each_pass(tuning, source, go_on, |picks, logits| {
                let mut rest = logits;
                for row in picks {
                    let (own, later) = rest.split_at(2 * source.rows().encoding(*row).ids.len());
                    rest = later;
                    let side =
                        |side: usize| -> Vec<f32> { own.iter().skip(side).step_by(2).copied().collect() };
                    let sides = [side(0), side(1)];
                    let labels = source.rows().batch(&[*row]).labels;
                    let each = sides.iter().zip(labels.ids()?);
                    let each = each.map(|(logits, label)| nats(logits, *label as usize));
                    loss += each.sum::<f64>() / 2.0;
                    windows.push(match &joined.of[*row].1 {
                        Part::Window { first, offsets } => Spans::of(&sides, *first, offsets, extraction),
                        Part::Choice(_) => Spans::default(),
                    });
                }
                Ok(())
            })?;
            let (mut exact, mut f1, mut answerable) = (Vec::new(), Vec::new(), Vec::new());
            for (number, rows) in joined.questions() {
                let question = &asked[number];
                let best = Spans::joined(rows.iter().map(|row| &windows[*row]), extraction);
                let said = best.map_or("", |place| part(&question.passage, &place));
                let scores = score(said, &question.texts(), extraction);
                exact.push(scores.exact);
                f1.push(scores.f1);
                answerable.push(!question.answers.is_empty());
            }
            Ok((Answers::Matches { exact, f1, answerable }, loss / windows.len().max(1) as f64))
        }
    }
}

/// Logits of all rows, pass by pass, each with the rows that it is of.
fn each_pass(
    tuning: &Tuning,
    source: &Source,
    go_on: impl Fn() -> Result<()>,
    mut take: impl FnMut(&[usize], &[f32]) -> Result<()>,
) -> Result<()> {
    let forward = Forward::evaluation(tuning);
    let rows: Vec<usize> = (0..source.rows().len()).collect();
    for picks in super::by_tokens(source, &rows) {
        go_on()?;
        let logits = without_gradients(|| source.logits(&forward, picks))?;
        take(picks, &logits.numbers()?)?;
    }
    Ok(())
}

fn golds(question: &Question) -> &[usize] {
    match question {
        Question::Choice { golds, .. } => golds,
        _ => &[],
    }
}

/// What a head said to a question whose choices are these rows: ln p of each being right.
fn judged(question: &Question, rows: &[usize], sure: &[f64]) -> Answer {
    let log_likelihoods: Vec<f64> = rows.iter().map(|row| sure[*row]).collect();
    Answer::Choice {
        chosen: argmax(&log_likelihoods).unwrap_or(0),
        is_greedy: Vec::new(),
        unconditional: Vec::new(),
        golds: golds(question).to_vec(),
        log_likelihoods,
    }
}

fn log_softmax(logits: [f32; 2]) -> [f64; 2] {
    let logits = logits.map(f64::from);
    let most = logits[0].max(logits[1]);
    let sum = most + logits.iter().map(|logit| (logit - most).exp()).sum::<f64>().ln();
    logits.map(|logit| logit - sum)
}

/// −ln p of one of several.
fn nats(logits: &[f32], label: usize) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    most + sum.ln() - logits.get(label).map_or(most, |logit| f64::from(*logit))
}

fn score(said: &str, answers: &[&str], extraction: &Extraction) -> ExactF1 {
    match extraction.unanswerable {
        true => squad2_row(said, answers),
        false => squad1(&[(said, answers)]).unwrap_or(ExactF1 { exact: 0.0, f1: 0.0 }),
    }
}

/// The text at that place. A token of bytes may begin or end within a character, which is then taken whole.
fn part<'a>(passage: &'a str, place: &Range<usize>) -> &'a str {
    let start = (0..=place.start).rev().find(|byte| passage.is_char_boundary(*byte)).unwrap_or(0);
    let end = (place.end..=passage.len()).find(|byte| passage.is_char_boundary(*byte));
    &passage[start..end.unwrap_or(passage.len())]
}

/// What a window says: its likeliest answers, and what speaks for none.
#[derive(Debug, Default)]
struct Spans {
    /// Where in the passage, in bytes, and the sum of the logits of first and last token.
    spans: Vec<(f64, Range<usize>)>,
    /// The same sum of the row's first token, which stands for "no answer".
    none: f64,
}

impl Spans {
    /// All pairs of the likeliest first and last tokens that are an answer of allowed length (Devlin et al. 2019, as in
    /// Transformers' scripts).
    fn of(sides: &[Vec<f32>; 2], first: usize, offsets: &[Range<usize>], how: &Extraction) -> Spans {
        let best = |logits: &[f32]| -> Vec<usize> {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            order.truncate(how.n_best_size);
            order
        };
        let [starts, ends] = [best(&sides[0]), best(&sides[1])];
        let within = |token: usize| token.checked_sub(first).filter(|token| *token < offsets.len());
        let sum = |start: usize, end: usize| f64::from(sides[0][start]) + f64::from(sides[1][end]);
        let mut spans = Vec::new();
        for start in starts.iter().copied() {
            for end in ends.iter().copied() {
                let (Some(from), Some(to)) = (within(start), within(end)) else { continue };
                if from <= to && to - from < how.max_answer_length {
                    spans.push((sum(start, end), offsets[from].start..offsets[to].end));
                }
            }
        }
        Spans { spans, none: if sides[0].is_empty() { 0.0 } else { sum(0, 0) } }
    }

    /// The answer of all windows of a passage together; `None` for no answer.
    fn joined<'a>(windows: impl Iterator<Item = &'a Spans>, how: &Extraction) -> Option<Range<usize>> {
        let (mut spans, mut none): (Vec<&(f64, Range<usize>)>, f64) = (Vec::new(), f64::INFINITY);
        for window in windows {
            none = none.min(window.none);
            spans.extend(window.spans.iter().filter(|(_, place)| !place.is_empty()));
        }
        let sums: Vec<f64> = spans.iter().map(|(sum, _)| *sum).collect();
        let (sum, place) = spans[argmax(&sums)?];
        let withheld = how.unanswerable && none - sum > how.null_score_diff_threshold;
        (!withheld).then(|| place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(unanswerable: bool) -> Extraction {
        Extraction { n_best_size: 3, max_answer_length: 2, unanswerable, ..Extraction::default() }
    }

    /// [CLS] question [SEP] a b c [SEP]: the passage's tokens are the rows 3 to 5.
    fn window(starts: [f32; 7], ends: [f32; 7], unanswerable: bool) -> Spans {
        Spans::of(&[starts.to_vec(), ends.to_vec()], 3, &[0..1, 2..3, 4..5], &how(unanswerable))
    }

    #[test]
    fn an_answer_ends_where_it_begins_or_later_within_its_length_and_lies_in_the_passage() {
        // The likeliest first token is of the question, the likeliest last one before the first.
        let found = window([0.0, 9.0, 0.0, 1.0, 5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 8.0, 2.0, 1.0, 0.0], false);
        assert_eq!(Spans::joined([&found].into_iter(), &how(false)), Some(0..1));
        // From the first to the last token would be the likeliest, but is three long.
        let found = window([0.0, 0.0, 0.0, 9.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 2.0, 9.0, 0.0], false);
        assert_eq!(Spans::joined([&found].into_iter(), &how(false)), Some(0..3));
    }

    #[test]
    fn the_best_window_answers_and_none_does_where_all_think_so() {
        let weak = window([3.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], true);
        let strong = window([1.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0], true);
        let joined = |windows: &[&Spans]| Spans::joined(windows.iter().copied(), &how(true));
        assert_eq!(joined(&[&weak]), None);
        assert_eq!(joined(&[&weak, &strong]), Some(2..3));
        assert_eq!(Spans::joined([&weak].into_iter(), &how(false)), Some(0..1));
        assert_eq!(joined(&[]), None);
        let patient = Extraction { null_score_diff_threshold: 5.0, ..how(true) };
        assert_eq!(Spans::joined([&weak].into_iter(), &patient), Some(0..1));
    }

    #[test]
    fn losses_are_cross_entropies_and_a_cut_character_is_taken_whole() {
        assert!((nats(&[0.0, 0.0], 1) - 2f64.ln()).abs() < 1e-12);
        assert!((log_softmax([1.0, 3.0])[1] + (1.0 + (-2f64).exp()).ln()).abs() < 1e-12);
        assert_eq!(part("né à", &(2..3)), "é");
    }
}
