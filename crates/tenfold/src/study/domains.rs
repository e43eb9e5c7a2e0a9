//! Further domains of a study: test rows of other tasks whose answers are the same and scored alike, and a mixture of
//! domains to train on.

use crate::data::{Domain, Row, Splits, fingerprint_of, subset};
use crate::error::{Error, Result};
use crate::task::Task;
use std::collections::BTreeMap;

/// What the study's other tasks and the task's own further domains bring.
pub(super) struct Further<T> {
    /// Test rows, by domains whose names nobody else has.
    pub tests: Vec<Domain<T>>,
    /// Training rows by domain, of those that have some.
    train: BTreeMap<String, Vec<T>>,
    /// What a reader should know about them, each with its task.
    notes: Vec<String>,
}

/// Rows of several domains to train on.
pub(super) struct Mixed<T> {
    /// What was left out of its rows.
    pub notes: Vec<String>,
    pub examples: Vec<T>,
    /// SHA-256 of the rows, hexadecimal.
    pub sha256: String,
}

impl<T> Default for Mixed<T> {
    fn default() -> Mixed<T> {
        Mixed { notes: Vec::new(), examples: Vec::new(), sha256: String::new() }
    }
}

impl<T: Row> Further<T> {
    /// Reads the tasks `others` by `read`, which refuses those whose answers are others than those of `data`.
    pub(super) fn read(
        data: &Splits<T>,
        others: &[String],
        read: impl Fn(&Task) -> Result<Splits<T>>,
    ) -> Result<Further<T>> {
        let mut further = Further { tests: Vec::new(), train: BTreeMap::new(), notes: Vec::new() };
        for name in others {
            let task = Task::load(name)?;
            let other = read(&task)?;
            further.notes.extend(other.notes.into_iter().map(|note| format!("{}: {note}", task.name)));
            let (alone, mut train) = (other.tests.len() == 1, Some(other.train));
            for domain in other.tests {
                let name = if alone { task.name.clone() } else { format!("{}/{}", task.name, domain.name) };
                if data.tests.iter().chain(&further.tests).any(|known| known.name == name) {
                    let expected = "domains whose names differ";
                    return Err(Error::malformed("study", "domains", expected, format!("\"{name}\" twice")));
                }
                // A task is trained on the first of its domains, if it has rows to train on.
                let rows = train.take().filter(|rows| !rows.is_empty());
                further.train.extend(rows.map(|rows| (name.clone(), rows)));
                further.tests.push(Domain { name, ..domain });
            }
        }
        Ok(further)
    }

    /// Puts the test rows behind those of the study's own task.
    pub(super) fn join(self, data: &mut Splits<T>) {
        if self.tests.is_empty() {
            return;
        }
        let known: &[T] = &[];
        let more = self.tests.iter().map(|domain| (domain.name.as_str(), domain.examples.as_slice()));
        data.sha256 =
            fingerprint_of(&[(data.sha256.as_str(), known)].into_iter().chain(more).collect::<Vec<_>>());
        data.notes.extend(self.notes);
        data.tests.extend(self.tests);
    }

    /// `count` training rows: of each domain its share, each label in it with its own. Weights add up to 1. `first` is the
    /// domain that is trained on; the rows of the task's own further domains are read by `training`.
    pub(super) fn mix(
        &self,
        task: &Task,
        first: Option<(&str, &[T])>,
        weights: &BTreeMap<String, f64>,
        count: usize,
        training: impl Fn(&str, &mut Vec<String>) -> Result<Option<Vec<T>>>,
    ) -> Result<Mixed<T>> {
        let (mut mixed, mut reached) = (Mixed::default(), 0.0);
        for (name, weight) in weights {
            // Of the whole, so that no row is lost to rounding.
            let before = mixed.examples.len();
            reached += weight;
            let wanted = ((reached * count as f64).round() as usize).saturating_sub(before);
            let own;
            let rows = match (self.train.get(name), first) {
                (Some(rows), _) => rows.as_slice(),
                (None, Some((known, home))) if known == name => home,
                (None, _) => {
                    own = training(name, &mut mixed.notes)?;
                    own.as_deref().ok_or_else(|| {
                        let known = task.domains().chain(self.train.keys().map(String::as_str));
                        Error::unknown("domain with training rows", name, known)
                    })?
                }
            };
            if wanted == 0 || rows.len() < wanted {
                let expected = format!("{} training rows or more, {weight} of {count}", wanted.max(1));
                let found =
                    if wanted == 0 { "a share of none".into() } else { format!("{} rows", rows.len()) };
                return Err(Error::malformed("study", format!("mixture.{name}"), expected, found));
            }
            let drawn: Vec<_> = rows.iter().map(T::drawn).collect();
            mixed.examples.extend(subset(&drawn, wanted, 0).into_iter().map(|row| rows[row].clone()));
        }
        mixed.sha256 = fingerprint_of(&[("mixture", &mixed.examples)]);
        Ok(mixed)
    }
}

/// The number in `ours` of each of a task's labels or choices, which must be the same by name, in any order; `key` is
/// where its file has them.
pub(super) fn numbers(task: &str, key: &str, theirs: &[String], ours: &[String]) -> Result<Vec<usize>> {
    if theirs == ours {
        return Ok((0..ours.len()).collect());
    }
    let number = |label: &String| ours.iter().position(|own| own == label);
    let numbers: Option<Vec<usize>> = theirs.iter().map(number).collect();
    let each_once = |numbers: &Vec<usize>| (0..ours.len()).all(|number| numbers.contains(&number));
    let same = numbers.filter(|numbers| numbers.len() == ours.len() && each_once(numbers));
    same.ok_or_else(|| {
        let expected = format!("those of the study's task: {}", ours.join(", "));
        Error::malformed(format!("task \"{task}\""), key, expected, theirs.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Example;

    fn row(text: &str, label: u32) -> Example {
        Example { text: text.into(), pair: None, label, weight: None }
    }

    #[test]
    fn labels_are_matched_by_name_and_others_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ours = names(&["negative", "positive"]);
        assert_eq!(numbers("t", "labels", &names(&["positive", "negative"]), &ours).unwrap(), [1, 0]);
        let others =
            [&["positive", "negative", "neutral"][..], &["good", "bad"], &["positive"], &["positive"; 2]];
        for other in others {
            let message = numbers("t", "labels", &names(other), &ours).unwrap_err().to_string();
            assert!(message.contains("negative, positive"), "{message}");
        }
    }

    #[test]
    fn a_mixture_has_each_domains_share_and_all_rows_that_were_asked_for() {
        let home: Vec<Example> = (0..60).map(|i| row(&format!("home {i}"), i % 2)).collect();
        let away: Vec<Example> = (0..40).map(|i| row(&format!("away {i}"), i % 2)).collect();
        let labels = vec!["no".to_owned(), "yes".to_owned()];
        let train = BTreeMap::from([("shop".to_owned(), away)]);
        let further = Further { tests: vec![], train, notes: vec![] };
        let task = Task::load("vader").unwrap();
        let mix = |weights: &[(&str, f64)], count| {
            let weights = weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
            let training = |name: &str, notes: &mut Vec<String>| task.training(name, &labels, notes);
            further.mix(&task, Some(("movie", &home)), &weights, count, training)
        };
        let mixed = mix(&[("movie", 2.0 / 3.0), ("shop", 1.0 / 3.0)], 50).unwrap();
        let from = |name: &str| mixed.examples.iter().filter(|row| row.text.starts_with(name)).count();
        assert_eq!((from("home"), from("away")), (33, 17));
        assert_ne!(mixed.sha256, mix(&[("movie", 0.5), ("shop", 0.5)], 50).unwrap().sha256);
        let none = mix(&[("movie", 0.999), ("shop", 0.001)], 50).err().unwrap().to_string();
        assert!(none.contains("mixture.shop: expected 1 training rows or more"), "{none}");
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
