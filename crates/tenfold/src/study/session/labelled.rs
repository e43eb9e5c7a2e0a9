//! Rows with labels, or with numbers.

use super::{Encoded, Requests, Session, first, spread, spread_of};
use crate::data::{Example, shared};
use crate::error::Result;
use crate::progress::{Event, Progress};
use crate::study::config::{Picked, Study};
use crate::study::domains::{Further, Mixed};
use crate::task::Task;
use crate::train::{Rows, Target};
use crate::words::count;

/// The one output of a head that foretells numbers.
const NUMBER: &str = "a number";

impl Session {
    /// Reads and encodes rows with labels.
    pub(super) fn labelled(
        &mut self,
        study: &Study,
        task: &Task,
        [train_rows, validation_rows, test_rows]: [usize; 3],
        is_main: bool,
        progress: &dyn Progress,
    ) -> Result<Encoded> {
        let mut data = task.read()?;
        if study.rows == Picked::Spread {
            spread(&mut data.train, train_rows, <[Example]>::to_vec);
            spread(&mut data.validation, validation_rows, <[Example]>::to_vec);
            data.tests.iter_mut().for_each(|test| spread(&mut test.examples, test_rows, <[Example]>::to_vec));
            data.sha256 = spread_of(&data.sha256, [train_rows, validation_rows, test_rows]);
        }
        let further = if is_main { Further::read(&data, &study.domains)? } else { Further::default() };
        let length = self.length;
        self.values = data.values.clone();
        let encode = |examples: &[Example], rows: usize| {
            Rows::encode_as(&self.tokenizer, first(examples, rows), length, |label| self.target(label))
        };
        let train = encode(&data.train, train_rows)?;
        let validation = encode(&data.validation, validation_rows)?;
        let mixed = match is_main && !study.mixture.is_empty() {
            true => further.mix(task, &data, first(&data.train, train_rows), &study.mixture, train.len())?,
            false => Mixed::default(),
        };
        let mixture = encode(&mixed.examples, 0)?;
        further.join(&mut data);
        data.notes.extend(mixed.notes.iter().cloned());
        data.notes.extend(shared(&mixed.examples, &data.tests).iter().map(|note| format!("mixture: {note}")));
        let tests = (data.tests.iter())
            .map(|domain| Ok((domain.name.clone(), encode(&domain.examples, test_rows)?)))
            .collect::<Result<Vec<_>>>()?;
        (self.mixture, self.mixture_sha256) = (mixture, mixed.sha256);
        let truncated = train.truncated() + tests.iter().map(|(_, rows)| rows.truncated()).sum::<usize>();
        if truncated > 0 {
            let why = if length < study.train.max_length {
                "the model has no more positions beside the virtual tokens of the methods"
            } else {
                "train.max_length"
            };
            let were = if truncated == 1 { "was" } else { "were" };
            let rows = count(truncated, "row");
            let note = format!("{}: {rows} {were} cut to {length} tokens ({why})", task.name);
            progress.event(Event::Note(note));
        }
        let requests = data.tests.first().map_or(&[][..], |domain| &domain.examples);
        self.requests = Requests::Texts(requests.iter().take(200).cloned().collect());
        self.data_identity.sha256 = data.sha256;
        self.labels = if data.values.is_empty() { data.labels } else { vec![NUMBER.into()] };
        self.train_examples = data.train.into_iter().take(train.len()).collect();
        self.notes = data.notes;
        Ok(Encoded { train, validation, tests })
    }

    /// What is to be said of a row with that label.
    pub(super) fn target(&self, label: u32) -> Target {
        match self.values.get(label as usize) {
            Some(number) => Target::Number(*number as f32),
            None => Target::Label(label),
        }
    }
}
