//! Whether another language task's rows can stand beside those of the study's task, and how.

use crate::data::language::{LanguageExample, Question};
use crate::data::{Domain, Located, Splits};
use crate::error::{Error, Result};
use crate::study::domains::numbers;
use crate::task::{OutputType, QuestionMetric, Questions, Task};
use std::sync::Arc;

/// How another task's rows stand beside those of the study's task: asked in their own way, scored in the study's.
pub(super) struct Alike {
    /// The number in the study's list of choices of each of theirs, where all rows of a task have the same.
    numbers: Option<Vec<usize>>,
    /// How they are asked; none where only their likelihood is looked at.
    pub way: Option<Arc<Questions>>,
}

/// How a task's rows are asked, where more than their likelihood is looked at.
pub(super) fn way(task: &Task) -> Option<&Questions> {
    task.questions().filter(|asked| asked.output_type != OutputType::LoglikelihoodRolling)
}

impl Alike {
    /// Questions with choices have one label space, the same choices in any order; where choices come with each row, and of
    /// all other rows, the score is the same. `is_judged`: by a head, choice by choice.
    pub(super) fn of(ours: &Task, theirs: &Task, is_judged: bool) -> Result<Alike> {
        let of = |task| way(task).map(|asked| if is_judged { asked.judged() } else { asked.clone() });
        let (own, other) = match (of(ours), of(theirs)) {
            (None, None) if theirs.is_language() => return Ok(Alike { numbers: None, way: None }),
            (Some(own), Some(other)) if own.output_type == other.output_type => (own, other),
            _ => return Err(other_score(ours, theirs)),
        };
        let numbers = match (own.label_space(), other.label_space()) {
            (Some(own), Some(other)) => Some(numbers(&theirs.name, "doc_to_choice", &other, &own)?),
            (None, None) => None,
            (own, other) => {
                let words = |space: Option<Vec<String>>| match space {
                    Some(choices) => format!("one list for all rows: {}", choices.join(", ")),
                    None => "choices of each row's own".to_owned(),
                };
                let expected = format!("{}, as the study's task \"{}\" has it", words(own), ours.name);
                return Err(fault(theirs, "doc_to_choice", expected, words(other)));
            }
        };
        // What choices are worth needs more than their places where they stand for answers.
        let by_answers = |metric: &QuestionMetric| {
            matches!(metric, QuestionMetric::Em | QuestionMetric::F1 | QuestionMetric::EmF1)
        };
        let is_placed = numbers.is_some() && !own.metrics.iter().take(1).any(by_answers);
        if !is_placed && own.metrics.first() != other.metrics.first() {
            return Err(other_score(ours, theirs));
        }
        let way = Some(Arc::new(Questions { metrics: own.metrics, ..other }));
        Ok(Alike { numbers, way })
    }

    /// The other task's rows, their choices numbered as the study's are.
    pub(super) fn rows(&self, theirs: &Task) -> Result<Splits<Located<LanguageExample>>> {
        let data = theirs.read_language_tests()?;
        let Some(numbers) = &self.numbers else { return Ok(data) };
        let renumbered = |rows: Vec<Located<LanguageExample>>| {
            rows.into_iter().map(|row| row.map(|row| renumber(row, numbers))).collect()
        };
        let tests = data.tests.into_iter();
        Ok(Splits {
            train: renumbered(data.train),
            validation: renumbered(data.validation),
            tests: tests.map(|test| Domain { examples: renumbered(test.examples), ..test }).collect(),
            ..data
        })
    }
}

fn renumber(row: LanguageExample, numbers: &[usize]) -> LanguageExample {
    match row {
        LanguageExample::Asked { question: question @ Question::Choice { .. }, delimiter } => {
            LanguageExample::Asked { question: question.renumbered(numbers), delimiter }
        }
        row => row,
    }
}

/// Answers of another kind, or worth something else.
pub(super) fn other_score(ours: &Task, theirs: &Task) -> Error {
    let words = |task: &Task| format!("{} by {}", task.output_type, task.metric);
    let expected = format!("{}, as the study's task \"{}\" has them", words(ours), ours.name);
    fault(theirs, "output_type, metric", expected, words(theirs))
}

fn fault(theirs: &Task, key: &str, expected: String, found: String) -> Error {
    Error::malformed(format!("task \"{}\"", theirs.name), key, expected, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(ours: &str, theirs: &str, is_judged: bool) -> Result<Alike> {
        Alike::of(&Task::load(ours).unwrap(), &Task::load(theirs).unwrap(), is_judged)
    }

    #[test]
    fn tasks_with_one_label_space_or_one_score_stand_beside_one_another() {
        for (ours, theirs) in
            [("arc_easy", "openbookqa"), ("arc_easy", "arc_challenge"), ("squad_lm", "squad2_lm")]
        {
            assert!(alike(ours, theirs, false).is_ok_and(|alike| alike.numbers.is_none()), "{ours} {theirs}");
        }
        assert_eq!(alike("wic", "boolq", false).unwrap().numbers, Some(vec![0, 1]));
        // Weighed alone, whatever they are asked elsewhere.
        assert!(alike("wikitext", "wikitext", false).is_ok_and(|alike| alike.way.is_none()));
    }

    #[test]
    fn rows_are_asked_in_their_own_way_and_scored_in_the_studys() {
        let alike = alike("squad_lm", "squad2_lm", false).unwrap();
        let (own, way) = (Task::load("squad2_lm").unwrap(), alike.way.unwrap());
        assert_eq!(way.way_of_asking(), own.questions().unwrap().way_of_asking());
        assert_eq!(way.metrics, Task::load("squad_lm").unwrap().questions().unwrap().metrics);
    }

    #[test]
    fn others_are_refused_by_both_their_names() {
        for (ours, theirs, expected) in [
            ("boolq", "mmlu", "doc_to_choice: expected those of the study's task: no, yes, found A, B, C, D"),
            (
                "boolq",
                "arc_easy",
                "expected one list for all rows: no, yes, as the study's task \"boolq\" has it",
            ),
            ("arc_easy", "boolq", "found one list for all rows: no, yes"),
            (
                "gsm8k",
                "squad_lm",
                "expected generate_until by exact_match, as the study's task \"gsm8k\" has them",
            ),
            ("boolq", "sst2", "found classification by accuracy"),
            ("wikitext", "gsm8k", "found generate_until by exact_match"),
            ("superglue_multirc", "arc_easy", "expected multiple_choice by multirc"),
        ] {
            let message = alike(ours, theirs, false).err().unwrap().to_string();
            assert!(
                message.contains(expected) && message.contains(&format!("task \"{theirs}\"")),
                "{message}"
            );
        }
    }
}
