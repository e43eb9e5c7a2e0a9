//! How a trial fits into the memory of the machine that runs it: found after the trial has its name, which says what was
//! asked for and nothing of the machine.

use super::plan::{TrialSettings, parts};
use super::session::Session;
use crate::adapter::Method;
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::meter::memory;
use crate::model::Model;
use crate::record::{Fit, Role, Trial};
use crate::train::{Rows, Subject, TrainSettings, fit};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What was found for trials of one kind: seeds, draws and learning rates share it.
#[derive(Default)]
pub(super) struct Fits(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The model on a backend that holds no numbers, once it was needed.
    model: Option<Arc<dyn Model>>,
    /// By method, settings and rows.
    found: BTreeMap<String, Fitting>,
}

/// How a trial fits, or why it does not.
pub(super) type Fitting = std::result::Result<Fit, String>;

impl Session {
    /// How a trial is trained within `limit`, or within nine tenths of what the machine, or the process's control group,
    /// has; or why it fits in no way.
    pub(super) fn fit(&self, trial: &Trial, limit: Option<Bytes>) -> Result<Fitting> {
        let (method, adapter, how) = parts(trial)?;
        // A tenth of the whole machine stays with the system and all else.
        let usual = || memory::limit_bytes().map(|all| Bytes(all / 10 * 9));
        let Some(limit) = limit.or_else(usual) else { return Ok(Ok(as_is(&how.train))) };
        let (pool, questions) = match trial.role {
            Role::SmallData { examples, .. } => (&self.task.train, examples),
            Role::Mixture => (&self.task.mixture, how.train_rows),
            _ => (&self.task.train, how.train_rows),
        };
        let is_mixture = trial.role == Role::Mixture;
        let key =
            json!([method.name, adapter, how.of_any_length(), is_mixture, questions, limit.0]).to_string();
        let mut known = self.fits.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        if let Some(found) = known.found.get(&key) {
            return Ok(found.clone());
        }
        let model = match &known.model {
            Some(model) => model,
            None => known.model.insert(self.without_numbers()?),
        };
        // Any rows may be drawn: those with the longest may be among them.
        let rows = pool.longest(questions);
        let found = self.fitted(&**model, method, &adapter, &rows, &how, limit);
        known.found.insert(key, found.clone());
        Ok(found)
    }

    fn fitted(
        &self,
        model: &dyn Model,
        method: &'static Method,
        adapter: &Value,
        rows: &Rows,
        how: &TrialSettings,
        limit: Bytes,
    ) -> Fitting {
        let subject = Subject {
            model,
            method,
            settings: adapter,
            labels: self.task.labels.len(),
            rows,
            tokenize: &|text| self.base.tokenizer.words(text),
            keeps_base: true,
        };
        match fit(&subject, &how.train, limit) {
            Ok(fitted) => Ok(Fit { changed: fitted.changed, ..as_is(&fitted.train) }),
            Err(error @ Error::Memory { .. }) => Err(error.to_string()),
            // What else is wrong is the trial's own to say.
            Err(_) => Ok(as_is(&how.train)),
        }
    }
}

/// Trained as the settings say.
fn as_is(train: &TrainSettings) -> Fit {
    let TrainSettings { pass_tokens, gradient_checkpointing, .. } = *train;
    Fit { pass_tokens, gradient_checkpointing, changed: None }
}
