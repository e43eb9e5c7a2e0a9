//! MMLU's categories (Hendrycks et al., ICLR 2021): means of its 57 subjects.

use super::mean;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Subject and category, one a line.
const SUBJECTS: &str = include_str!("mmlu.tsv");

/// Accuracies of MMLU, 0 to 1, higher is better.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Mmlu {
    /// Over all questions: what Hendrycks' script and lm-evaluation-harness (`weight_by_size`) print.
    pub all: f64,
    /// Over all questions of a category: "stem", "humanities", "social_sciences", "other".
    pub categories: BTreeMap<&'static str, f64>,
    /// Mean over subjects, each as heavy as the others, as some papers have it.
    pub mean_of_subjects: f64,
}

/// The category of a subject, in Hugging Face's spelling: "college_physics" is of "stem". `None` for no subject of MMLU.
pub fn mmlu_category(subject: &str) -> Option<&'static str> {
    subjects().find(|(name, _)| *name == subject).map(|(_, category)| category)
}

/// From (subject, questions answered rightly, questions). `None` without questions. Fails on a subject that is not
/// MMLU's, or with more right answers than questions.
pub fn mmlu(results: &[(&str, usize, usize)]) -> Result<Option<Mmlu>> {
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (subject, right, questions) in results {
        let Some(category) = mmlu_category(subject) else {
            return Err(Error::unknown("subject of MMLU", subject, subjects().map(|(name, _)| name)));
        };
        if right > questions {
            let expected = format!("at most {questions} right answers, one for each question");
            return Err(Error::malformed("MMLU", *subject, expected, right.to_string()));
        }
        let sum = sums.entry(category).or_default();
        *sum = (sum.0 + right, sum.1 + questions);
    }
    let share = |(right, questions): (usize, usize)| (questions > 0).then(|| right as f64 / questions as f64);
    let total = sums.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let of_subjects = results.iter().filter_map(|(_, right, questions)| share((*right, *questions)));
    Ok(share(total).zip(mean(of_subjects)).map(|(all, mean_of_subjects)| Mmlu {
        all,
        categories: sums.iter().filter_map(|(category, sum)| Some((*category, share(*sum)?))).collect(),
        mean_of_subjects,
    }))
}

fn subjects() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUBJECTS.lines().filter_map(|line| line.split_once('\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_57_subjects_of_four_categories() {
        let mut counts = BTreeMap::new();
        subjects().for_each(|(_, category)| *counts.entry(category).or_insert(0) += 1);
        assert_eq!(subjects().count(), SUBJECTS.lines().count());
        let expected = [("humanities", 13), ("other", 13), ("social_sciences", 12), ("stem", 19)];
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(subjects().map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>().len(), 57);
    }

    #[test]
    fn questions_weigh_alike_and_subjects_apart() {
        let found = mmlu(&[("astronomy", 1, 1), ("anatomy", 1, 3), ("virology", 0, 4)]).unwrap().unwrap();
        assert_eq!((found.all, found.mean_of_subjects), (0.25, (1.0 + 1.0 / 3.0) / 3.0));
        assert_eq!(found.categories, BTreeMap::from([("stem", 0.5), ("other", 0.0)]));
        assert_eq!(mmlu(&[]).unwrap(), None);
        assert!(
            mmlu(&[("astronomi", 1, 1)]).unwrap_err().to_string().contains("did you mean \"astronomy\"?")
        );
        assert!(mmlu(&[("astronomy", 2, 1)]).is_err());
    }
}
