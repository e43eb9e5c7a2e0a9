//! Rows: what a task's files are read into, how they are split, and which rows a small draw takes.

mod decode;
pub(crate) mod faulty;
pub mod language;
mod origin;
pub(crate) mod parquet;
pub(crate) mod passages;
pub(crate) mod records;
pub(crate) mod rows;
mod split;
pub(crate) mod vader;

pub use decode::{decode_text, read_text};
pub use origin::{Located, Origin};
pub use passages::PassageQuestion;
pub use split::subset;

use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

pub(crate) use decode::{Encoding, latin_1};
pub(crate) use split::{TestShare, hold_out};

/// One labelled row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The text, without white space around it; never empty.
    pub text: String,
    /// The second text, for tasks on pairs.
    pub pair: Option<String>,
    /// Index into [`Dataset::labels`].
    pub label: u32,
    /// What it counts in the loss that is trained on, a finite number above 0; none: as much as any other.
    pub weight: Option<f32>,
}

/// The test rows of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain<T = Example> {
    /// The domain's name: "movie", "tweets".
    pub name: String,
    /// Its rows.
    pub examples: Vec<T>,
}

/// All rows of a task, whatever they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits<T> {
    /// What is trained on.
    pub train: Vec<T>,
    /// What learning rates and steps are chosen by; never trained or tested on.
    pub validation: Vec<T>,
    /// What is reported: first the domain that is trained on, then the others.
    pub tests: Vec<Domain<T>>,
    /// SHA-256 over all rows of all splits in order, hexadecimal.
    pub sha256: String,
    /// What a reader of the results should know about how the rows came about.
    pub notes: Vec<String>,
}

/// A row of whatever kind, as far as splits, draws and domains go.
pub(crate) trait Row: Clone {
    /// What a test row may have in common with a row that is trained on, for people.
    const SHARED: &'static str;
    /// That itself.
    type Shared<'a>: Eq + Hash
    where
        Self: 'a;

    /// What a test row may have in common with a row that is trained on.
    fn shared(&self) -> Self::Shared<'_>;

    /// The row by what is given and by the label whose share a draw keeps.
    fn drawn(&self) -> Example;

    /// The label whose share a draw keeps, and of which training keeps a row.
    fn class(&self) -> u32 {
        self.drawn().label
    }

    /// A hash of what rows that stay in one split have in common, another for each purpose.
    fn split_hash(&self, purpose: &str) -> [u8; 32];

    /// Feeds every field with its length before it, so that no two different rows feed the same bytes.
    fn put(&self, hash: &mut Sha256);
}

/// All rows of a task with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The labels' names, in the order of their numbers.
    pub labels: Vec<String>,
    /// The number that each label stands for, where numbers are foretold; else none.
    pub values: Vec<f64>,
    /// What is trained on.
    pub train: Vec<Example>,
    /// What learning rates and steps are chosen by; never trained or tested on.
    pub validation: Vec<Example>,
    /// What is reported: first the domain that is trained on, then the others.
    pub tests: Vec<Domain>,
    /// SHA-256 over all rows of all splits in order, hexadecimal.
    pub sha256: String,
    /// What a reader of the results should know about how the rows came about.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Puts the splits together and computes the hash.
    pub fn new(
        labels: Vec<String>,
        train: Vec<Example>,
        validation: Vec<Example>,
        tests: Vec<Domain>,
        notes: Vec<String>,
    ) -> Dataset {
        let sha256 = fingerprint(&labels, &train, &validation, &tests);
        Dataset { labels, values: Vec::new(), train, validation, tests, sha256, notes }
    }

    /// The same, whose labels stand for these numbers.
    pub(crate) fn with_values(self, values: Vec<f64>) -> Dataset {
        Dataset { values, ..self }
    }
}

impl<T> Splits<T> {
    /// Puts the splits together: computes the hash and notes what tests and training have in common.
    pub(crate) fn new(
        train: Vec<T>,
        validation: Vec<T>,
        tests: Vec<Domain<T>>,
        notes: Vec<String>,
    ) -> Splits<T>
    where
        T: Row,
    {
        let mut parts = vec![("train", train.as_slice()), ("validation", validation.as_slice())];
        parts.extend(tests.iter().map(|domain| (domain.name.as_str(), domain.examples.as_slice())));
        let sha256 = fingerprint_of(&parts);
        Splits { train, validation, tests, sha256, notes }
    }
}

impl Row for Example {
    const SHARED: &'static str = "a text";
    type Shared<'a> = (&'a str, Option<&'a str>);

    fn shared(&self) -> (&str, Option<&str>) {
        (&self.text, self.pair.as_deref())
    }

    fn drawn(&self) -> Example {
        self.clone()
    }

    fn class(&self) -> u32 {
        self.label
    }

    fn split_hash(&self, purpose: &str) -> [u8; 32] {
        split::text_hash(purpose, self)
    }

    fn put(&self, hash: &mut Sha256) {
        put_text(hash, &self.text);
        put_count(hash, usize::from(self.pair.is_some()));
        put_text(hash, self.pair.as_deref().unwrap_or_default());
        hash.update(self.label.to_le_bytes());
        if let Some(weight) = self.weight {
            put_text(hash, "weight");
            hash.update(weight.to_le_bytes());
        }
    }
}

/// A sentence for each domain some of whose test rows, by the domain's name, have a text, or a prompt, or a passage, that
/// is also trained on.
pub(crate) fn shared<'a, T: Row>(train: &'a [T], tests: &[(&str, &'a [T])]) -> Vec<String> {
    let seen: HashSet<T::Shared<'a>> = train.iter().map(T::shared).collect();
    let note = |(name, examples): &(&str, &'a [T])| {
        let shared = examples.iter().filter(|row| seen.contains(&row.shared())).count();
        let (rows, what) = (examples.len(), T::SHARED);
        (shared > 0)
            .then(|| format!("{name}: {shared} of {rows} test rows have {what} that is also trained on"))
    };
    tests.iter().filter_map(note).collect()
}

/// The labels that occur in `examples`.
pub(crate) fn classes(examples: &[Example]) -> BTreeSet<u32> {
    examples.iter().map(|example| example.label).collect()
}

/// Every field goes in with its length before it, so that no two different sets of rows feed the same bytes.
fn fingerprint(labels: &[String], train: &[Example], validation: &[Example], tests: &[Domain]) -> String {
    let mut hash = Sha256::new();
    put_count(&mut hash, labels.len());
    for label in labels {
        put_text(&mut hash, label);
    }
    put_rows(&mut hash, "train", train);
    put_rows(&mut hash, "validation", validation);
    for domain in tests {
        put_rows(&mut hash, &domain.name, &domain.examples);
    }
    hexadecimal(&hash.finalize())
}

/// SHA-256 over named sets of rows, hexadecimal.
pub(crate) fn fingerprint_of<T: Row>(parts: &[(&str, &[T])]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|(name, examples)| put_rows(&mut hash, name, examples));
    hexadecimal(&hash.finalize())
}

fn put_rows<T: Row>(hash: &mut Sha256, name: &str, rows: &[T]) {
    put_text(hash, name);
    put_count(hash, rows.len());
    rows.iter().for_each(|row| row.put(hash));
}

pub(crate) fn put_text(hash: &mut Sha256, text: &str) {
    put_count(hash, text.len());
    hash.update(text.as_bytes());
}

pub(crate) fn put_count(hash: &mut Sha256, count: usize) {
    hash.update((count as u64).to_le_bytes());
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, label: u32) -> Example {
        Example { text: text.into(), pair: None, label, weight: None }
    }

    fn dataset(train: Vec<Example>, test: Vec<Example>) -> Dataset {
        let labels = vec!["no".into(), "yes".into()];
        Dataset::new(labels, train, vec![], vec![Domain { name: "here".into(), examples: test }], vec![])
    }

    #[test]
    fn the_hash_tells_every_change_and_every_move_between_splits() {
        let one = dataset(vec![row("a", 0), row("b", 1)], vec![row("c", 0)]);
        assert_eq!(one, dataset(vec![row("a", 0), row("b", 1)], vec![row("c", 0)]));
        for other in [
            dataset(vec![row("b", 1), row("a", 0)], vec![row("c", 0)]),
            dataset(vec![row("a", 0), row("b", 0)], vec![row("c", 0)]),
            dataset(vec![row("a", 0)], vec![row("b", 1), row("c", 0)]),
            dataset(vec![row("ab", 0), row("", 1)], vec![row("c", 0)]),
        ] {
            assert_ne!(one.sha256, other.sha256);
        }
    }

    #[test]
    fn a_test_row_that_is_also_trained_on_is_noted() {
        let (train, test) = ([row("a", 0), row("b", 1)], [row("b", 1), row("c", 0)]);
        let notes = shared(&train, &[("here", &test), ("there", &test[1..])]);
        assert_eq!(notes, ["here: 1 of 2 test rows have a text that is also trained on"]);
    }
}
