//! Choices as a label space: whether all rows of a task have the same ones, and the same question with them in another
//! task's order.

use super::Question;
use super::question::{Asks, Choices, Form, derived};
use serde_json::Map;

impl Form {
    /// The choices, where every row has the same: templates that read no column. `None` where choices or contexts come with
    /// each row, or where there are none.
    pub(crate) fn label_space(&self) -> Option<Vec<String>> {
        let Asks::Choice { choices, .. } = &self.asks else { return None };
        if self.texts.len() > 1 {
            return None;
        }
        // A name that is no column is a fault, so what can be written without any reads none.
        let mut columns = Map::new();
        for (name, template) in &self.derive {
            columns
                .extend(template.render(&columns).ok().map(|text| (name.clone(), derived(template, text))));
        }
        match choices {
            Choices::Each(templates) => templates.iter().map(|one| one.render(&columns).ok()).collect(),
            Choices::List(template) => serde_json::from_str(&template.render(&columns).ok()?).ok(),
        }
    }
}

impl Question {
    /// The same question, whose choice `i` becomes choice `numbers[i]`: each of as many choices goes to a place of its own.
    pub(crate) fn renumbered(self, numbers: &[usize]) -> Question {
        let Question::Choice { contexts, choices, golds, answers, references } = self else { return self };
        let moved = |texts: Vec<String>| {
            if texts.len() != numbers.len() {
                return texts;
            }
            let mut placed: Vec<(usize, String)> = numbers.iter().copied().zip(texts).collect();
            placed.sort_by_key(|(number, _)| *number);
            placed.into_iter().map(|(_, text)| text).collect()
        };
        let golds = golds.into_iter().map(|gold| numbers.get(gold).copied().unwrap_or(gold)).collect();
        Question::Choice {
            contexts: moved(contexts),
            choices: moved(choices),
            golds,
            answers: moved(answers),
            references,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;

    #[test]
    fn a_label_space_is_choices_that_no_row_brings() {
        let space = |task: &str| Task::load(task).unwrap().questions().unwrap().label_space();
        assert_eq!(space("boolq").unwrap(), ["no", "yes"]);
        assert_eq!(space("banking77_lm").unwrap().len(), 77);
        for own in ["superglue_copa", "arc_easy", "winogrande", "gsm8k", "wikitext"] {
            assert_eq!(space(own), None, "{own}");
        }
    }

    #[test]
    fn a_renumbered_question_has_the_same_answer() {
        let texts = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
        let question = Question::Choice {
            contexts: vec!["?".into()],
            choices: texts(["a", "b", "c"]),
            golds: vec![0, 2],
            answers: texts(["A", "B", "C"]),
            references: vec!["A".into()],
        };
        let moved = Question::Choice {
            contexts: vec!["?".into()],
            choices: texts(["b", "c", "a"]),
            golds: vec![2, 1],
            answers: texts(["B", "C", "A"]),
            references: vec!["A".into()],
        };
        assert_eq!(question.worked(" "), moved.worked(" "));
        assert_eq!(question.renumbered(&[2, 0, 1]), moved);
    }
}
