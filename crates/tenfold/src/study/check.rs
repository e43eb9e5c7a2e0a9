//! A study held against its model and its rows before anything is trained: what does not fit must not wait for its turn.

use super::config::{MethodSettings, Study};
use super::session::Session;
use crate::adapter::{self, Context, Entry, Tuning};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::record::Candidate;
use crate::task::{Questions, Task};
use crate::train::Order;
use crate::unit::Unit;
use crate::words::{be, count, list, thousands};
use serde_json::Map;

/// Refuses a study that asks for what its model and its rows cannot give, and says what of it will not be done.
pub(super) fn check(study: &Study, session: &Session, progress: &dyn Progress) -> Result<()> {
    let mut faults = measures(study, session);
    faults.extend(methods(study, session)?);
    if !faults.is_empty() {
        return Err(Error::Faults { file: "study".into(), faults });
    }
    let note = |words: String| progress.event(Event::Note(words));
    let rows = session.task.train_examples.len();
    let too_many: Vec<String> =
        study.small_data.examples.iter().filter(|count| **count >= rows).map(usize::to_string).collect();
    if !too_many.is_empty() {
        let (counts, all) = (list(&too_many), count(rows, "training row"));
        note(format!(
            "small_data.examples: {counts} {} left out, for there are {all} in all",
            be(too_many.len())
        ));
    }
    let steps = Order::new(&study.train, &session.task.train, 0).steps();
    if study.train.warmup_steps >= steps {
        note(format!(
            "train.warmup_steps: {} of {}: the learning rate is still rising when training ends",
            thousands(study.train.warmup_steps as u64),
            count(steps, "step")
        ));
    }
    if !study.forgetting_text.is_empty() && session.base.model.decoder_start().is_some() {
        note(
            "forgetting_text: not measured, for an encoder-decoder has no loss of a text that is no answer"
                .into(),
        );
    }
    Ok(())
}

impl Study {
    /// Refuses methods to train that the study does not have.
    pub(super) fn check_only(&self, only: &[String]) -> Result<()> {
        let unknown = only.iter().find(|name| !self.methods.contains_key(*name));
        let names = self.methods.keys().map(String::as_str);
        unknown.map_or(Ok(()), |name| Err(Error::unknown("method of this study", name, names)))
    }
}

/// Refuses a task that the model has no answers to.
pub(super) fn answerable(session: &Session, task: &str) -> Result<()> {
    let task = Task::load(task)?;
    let asked = task.questions().filter(|_| session.base.model.task().is_language_modelling());
    asked.map_or(Ok(()), Questions::check_weighable)
}

/// What is wrong with what is to be measured.
fn measures(study: &Study, session: &Session) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(error) = answerable(session, &study.task) {
        faults.push(format!("task: {error}"));
    }
    if session.task.scoring.unit == Unit::Share {
        let name = session.task.scoring.name;
        for (key, found) in [("margin", study.margin), ("wanted_half_width", study.wanted_half_width)] {
            if found > 1.0 {
                faults.push(format!("{key}: expected 0 to 1, as {name} is a share (0.01 is one point in a hundred), found {found}"));
            }
        }
    }
    if !study.forgetting_text.is_empty() && !session.base.model.task().is_language_modelling() {
        let family = session.base.model.family();
        faults.push(format!(
            "forgetting_text: expected none, as a model with a head has no loss of a text, found \"{}\" for {family}",
            study.forgetting_text
        ));
    }
    faults
}

/// What is wrong with methods that cannot be made on the model, with any settings that the study may try.
fn methods(study: &Study, session: &Session) -> Result<Vec<String>> {
    let model = session.without_numbers()?;
    let tokenize = |text: &str| session.base.tokenizer.words(text);
    let backend = model.word_embeddings().tensor.backend();
    let context = Context { model: &*model, backend, seed: 0, tokenize: &tokenize };
    let searched = study.candidates()?;
    let mut faults = Vec::new();
    for (name, given) in study.ordered_methods() {
        let as_is = [Candidate { learning_rate: 0.0, settings: Map::new() }];
        let (mut tried, mut entries) = (Vec::new(), Vec::new());
        for candidate in searched.get(name).map_or(&as_is[..], Vec::as_slice) {
            let (settings, _) = study.with(given, candidate)?;
            if tried.contains(&settings) {
                continue;
            }
            let made =
                Tuning::new(adapter::method(&given.kind)?, &settings, &context, session.task.labels.len());
            match made {
                Ok(tuning) => entries.extend(adapter::entries(&settings, &tuning, &*model)?),
                Err(error) => {
                    let fault = fault(name, given, error)?;
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
            tried.push(settings);
        }
        faults.extend(without_effect(name, &entries));
    }
    Ok(faults)
}

/// Entries of a method's settings that have no effect with any of the settings that the study may try.
fn without_effect(name: &str, entries: &[Entry]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for Entry { key, entry, fault } in entries {
        let same = |other: &&Entry| other.key == *key && other.entry == *entry;
        let Some(fault) = fault.as_ref().filter(|_| entries.iter().filter(same).all(|e| e.fault.is_some()))
        else {
            continue;
        };
        let fault = format!("methods.{name}.{key}: {entry}: {fault}");
        if !told.contains(&fault) {
            told.push(fault);
        }
    }
    told
}

/// The fault of a method, with the key that it has in the study. What is no fault of it is an error at once.
fn fault(name: &str, given: &MethodSettings, error: Error) -> Result<String> {
    match error {
        Error::Malformed { place, expected, found, .. } => {
            // The place of a fault that no setting is to blame for is the method itself.
            let key = if place == given.kind { String::new() } else { format!(".{place}") };
            Ok(format!("methods.{name}{key}: expected {expected}, found {found}"))
        }
        Error::Faults { faults, .. } => Ok(format!("methods.{name}.{}", faults.join("; "))),
        other => Err(other),
    }
}
