//! What a study makes of a task's rows, whatever they are: as many as it wants, with those of further domains.

use super::first;
use super::prepare::Encoded;
use crate::data::{Domain, Row, Splits, hexadecimal, shared, subset};
use crate::error::Result;
use crate::study::config::{Picked, Study};
use crate::study::domains::{Further, Mixed};
use crate::task::Task;
use crate::train::Rows;
use sha2::{Digest, Sha256};

/// How rows of one kind are read beside those of the study's task.
pub(super) struct Beside<A, B> {
    /// Another task's rows, if its answers are those of the study's task.
    pub other: A,
    /// The training rows of a further domain of the study's task itself; what was left out of them is told.
    pub training: B,
}

/// The rows of a study.
pub(super) struct Arranged<T> {
    pub data: Splits<T>,
    mixed: Mixed<T>,
    /// How many to train on, to validate by and to test on in each domain; 0 for all.
    counts: [usize; 3],
}

impl<T: Row> Arranged<T> {
    /// The rows of `task` alone, as a benchmark has them.
    pub(super) fn alone(study: &Study, mut data: Splits<T>, counts: [usize; 3]) -> Arranged<T> {
        if study.rows == Picked::Spread {
            spread(&mut data.train, counts[0]);
            spread(&mut data.validation, counts[1]);
            spread_tests(&mut data.tests, counts[2]);
            data.sha256 = hexadecimal(&Sha256::digest(format!("{} spread {counts:?}", data.sha256)));
        }
        Arranged { data, mixed: Mixed::default(), counts }
    }

    /// The same with all that the study says of further domains.
    pub(super) fn beside<A, B>(self, study: &Study, task: &Task, beside: Beside<A, B>) -> Result<Arranged<T>>
    where
        A: Fn(&Task) -> Result<Splits<T>>,
        B: Fn(&str, &mut Vec<String>) -> Result<Option<Vec<T>>>,
    {
        let Arranged { mut data, mut mixed, counts } = self;
        let mut further = Further::read(&data, &study.domains, beside.other)?;
        if study.rows == Picked::Spread {
            spread_tests(&mut further.tests, counts[2]);
        }
        if !study.mixture.is_empty() {
            let home = first(&data.train, counts[0]);
            let own = data.tests.first().map(|domain| (domain.name.as_str(), home));
            mixed = further.mix(task, own, &study.mixture, home.len(), beside.training)?;
        }
        further.join(&mut data);
        data.notes.append(&mut mixed.notes);
        Ok(Arranged { data, mixed, counts })
    }

    /// What is trained on.
    pub(super) fn train(&self) -> &[T] {
        first(&self.data.train, self.counts[0])
    }

    /// What is tested on in the domain that is trained on.
    pub(super) fn test(&self) -> &[T] {
        self.data.tests.first().map_or(&[][..], |domain| first(&domain.examples, self.counts[2]))
    }

    /// All rows as the model reads them, each split by its name; those to train on are encoded already.
    pub(super) fn encoded(
        &self,
        train: Rows,
        mut encode: impl FnMut(&str, &[T]) -> Result<Rows>,
    ) -> Result<Encoded> {
        let [_, validation, test] = self.counts;
        let tested: Vec<(&str, &[T])> = (self.data.tests.iter())
            .map(|domain| (domain.name.as_str(), first(&domain.examples, test)))
            .collect();
        let of_mixture = shared(&self.mixed.examples, &tested);
        let doubts = shared(self.train(), &tested).into_iter();
        let doubts = doubts.chain(of_mixture.iter().map(|note| format!("mixture: {note}"))).collect();
        let tests = (tested.into_iter())
            .map(|(name, rows)| Ok((name.to_owned(), encode(name, rows)?)))
            .collect::<Result<_>>()?;
        let mixture = match self.mixed.examples.as_slice() {
            [] => Rows::default(),
            examples => encode("mixture", examples)?,
        };
        Ok(Encoded {
            train,
            validation: encode("validation", first(&self.data.validation, validation))?,
            tests,
            mixture,
            mixture_sha256: self.mixed.sha256.clone(),
            doubts,
        })
    }
}

/// Leaves `rows` of them, all for 0: the shares of the labels stay as they are, and in any first part of them too.
fn spread<T: Row>(examples: &mut Vec<T>, rows: usize) {
    let rows = if rows == 0 { examples.len() } else { rows };
    let drawn: Vec<_> = examples.iter().map(T::drawn).collect();
    let picks = subset(&drawn, rows, SPREAD);
    *examples = picks.into_iter().map(|row| examples[row].clone()).collect();
}

fn spread_tests<T: Row>(tests: &mut [Domain<T>], rows: usize) {
    tests.iter_mut().for_each(|test| spread(&mut test.examples, rows));
}

/// The draw of [`subset`] that spread rows are; no small draw has so high a number.
const SPREAD: u64 = u64::MAX;
