//! Further domains of a study: test rows of other tasks with the same labels, and a mixture of domains to train on.

use crate::data::{Dataset, Domain, Example, fingerprint_of, shared, subset};
use crate::error::{Error, Result};
use crate::task::Task;
use std::collections::BTreeMap;

/// What the study's other tasks and the task's own further domains bring.
#[derive(Default)]
pub(super) struct Further {
    /// Test rows, by domains whose names nobody else has.
    pub tests: Vec<Domain>,
    /// Training rows by domain, of those that have some.
    train: BTreeMap<String, Vec<Example>>,
}

/// Rows of several domains to train on.
#[derive(Default)]
pub(super) struct Mixed {
    /// What was left out of its rows.
    pub notes: Vec<String>,
    pub examples: Vec<Example>,
    /// SHA-256 of the rows, hexadecimal.
    pub sha256: String,
}

impl Further {
    /// Reads the tasks `others`, whose labels must be those of `data` by name, in any order.
    pub(super) fn read(data: &Dataset, others: &[String]) -> Result<Further> {
        let mut further = Further::default();
        for name in others {
            let task = Task::load(name)?;
            let other = task.read()?;
            let numbers = numbers(&task.name, &other.labels, &data.labels)?;
            let renumber = |examples: Vec<Example>| -> Vec<Example> {
                examples.into_iter().map(|e| Example { label: numbers[e.label as usize], ..e }).collect()
            };
            let (alone, mut train) = (other.tests.len() == 1, Some(renumber(other.train)));
            for domain in other.tests {
                let name = if alone { task.name.clone() } else { format!("{}/{}", task.name, domain.name) };
                if data.tests.iter().chain(&further.tests).any(|known| known.name == name) {
                    let expected = "domains whose names differ";
                    return Err(Error::malformed("study", "domains", expected, format!("\"{name}\" twice")));
                }
                // A task is trained on the first of its domains.
                further.train.extend(train.take().map(|rows| (name.clone(), rows)));
                further.tests.push(Domain { name, examples: renumber(domain.examples) });
            }
        }
        Ok(further)
    }

    /// Puts the test rows behind those of the study's own task.
    pub(super) fn join(self, data: &mut Dataset) {
        if self.tests.is_empty() {
            return;
        }
        let known: &[Example] = &[];
        let more = self.tests.iter().map(|domain| (domain.name.as_str(), domain.examples.as_slice()));
        data.sha256 =
            fingerprint_of(&[(data.sha256.as_str(), known)].into_iter().chain(more).collect::<Vec<_>>());
        data.notes.extend(shared(&data.train, &self.tests));
        data.tests.extend(self.tests);
    }

    /// `count` training rows: of each domain its share, each label in it with its own. Weights add up to 1.
    pub(super) fn mix(
        &self,
        task: &Task,
        data: &Dataset,
        home: &[Example],
        weights: &BTreeMap<String, f64>,
        count: usize,
    ) -> Result<Mixed> {
        let (mut mixed, mut reached) = (Mixed::default(), 0.0);
        for (name, weight) in weights {
            // Of the whole, so that no row is lost to rounding.
            let before = mixed.examples.len();
            reached += weight;
            let wanted = ((reached * count as f64).round() as usize).saturating_sub(before);
            let own;
            let rows = match self.train.get(name) {
                Some(rows) => rows.as_slice(),
                None if data.tests.first().is_some_and(|first| first.name == *name) => home,
                None => {
                    own = task.training(name, &data.labels, &mut mixed.notes)?;
                    own.as_deref().ok_or_else(|| {
                        let known = task.domains().chain(self.train.keys().map(String::as_str));
                        Error::unknown("domain with training rows", name, known)
                    })?
                }
            };
            if rows.len() < wanted {
                let expected = format!("{wanted} training rows, {weight} of {count}");
                let key = format!("mixture.{name}");
                return Err(Error::malformed("study", key, expected, format!("{} rows", rows.len())));
            }
            mixed.examples.extend(subset(rows, wanted, 0).into_iter().map(|row| rows[row].clone()));
        }
        mixed.sha256 = fingerprint_of(&[("mixture", &mixed.examples)]);
        Ok(mixed)
    }
}

/// The number in `ours` of each of a task's labels.
fn numbers(task: &str, theirs: &[String], ours: &[String]) -> Result<Vec<u32>> {
    let number = |label: &String| ours.iter().position(|own| own == label).map(|number| number as u32);
    let numbers: Option<Vec<u32>> = theirs.iter().map(number).collect();
    numbers.filter(|numbers| numbers.len() == ours.len()).ok_or_else(|| {
        let (expected, found) = (ours.join(", "), theirs.join(", "));
        Error::malformed(
            format!("task \"{task}\""),
            "labels",
            format!("those of the study's task: {expected}"),
            found,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, label: u32) -> Example {
        Example { text: text.into(), pair: None, label }
    }

    #[test]
    fn labels_are_matched_by_name_and_others_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ours = names(&["negative", "positive"]);
        assert_eq!(numbers("t", &names(&["positive", "negative"]), &ours).unwrap(), [1, 0]);
        for other in [&["positive", "negative", "neutral"][..], &["good", "bad"], &["positive"]] {
            let message = numbers("t", &names(other), &ours).unwrap_err().to_string();
            assert!(message.contains("negative, positive"), "{message}");
        }
    }

    #[test]
    fn a_mixture_has_each_domains_share_and_all_rows_that_were_asked_for() {
        let home: Vec<Example> = (0..60).map(|i| row(&format!("home {i}"), i % 2)).collect();
        let away: Vec<Example> = (0..40).map(|i| row(&format!("away {i}"), i % 2)).collect();
        let labels = vec!["no".to_owned(), "yes".to_owned()];
        let tests = vec![Domain { name: "movie".into(), examples: vec![] }];
        let data = Dataset::new(labels, home.clone(), vec![], tests, vec![]);
        let further = Further { tests: vec![], train: BTreeMap::from([("shop".to_owned(), away)]) };
        let task = Task::load("vader").unwrap();
        let mix = |weights: &[(&str, f64)], count| {
            let weights = weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
            further.mix(&task, &data, &home, &weights, count)
        };
        let mixed = mix(&[("movie", 2.0 / 3.0), ("shop", 1.0 / 3.0)], 50).unwrap();
        let from = |name: &str| mixed.examples.iter().filter(|row| row.text.starts_with(name)).count();
        assert_eq!((from("home"), from("away")), (33, 17));
        assert_ne!(mixed.sha256, mix(&[("movie", 0.5), ("shop", 0.5)], 50).unwrap().sha256);
        assert!(
            mix(&[("movie", 0.1), ("shop", 0.9)], 50).err().unwrap().to_string().contains("mixture.shop")
        );
        assert!(
            mix(&[("movie", 0.5), ("shopp", 0.5)], 50)
                .err()
                .unwrap()
                .to_string()
                .contains("did you mean \"shop\"")
        );
        // A domain of the task itself.
        assert_eq!(mix(&[("movie", 0.5), ("amazon", 0.5)], 50).unwrap().examples.len(), 50);
    }
}
