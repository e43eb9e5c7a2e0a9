//! From a study to its trials, and from a trial to its name on disk.

use super::config::Study;
use super::session::Session;
use crate::adapter;
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::meter::memory;
use crate::record::{Role, Trial};
use crate::train::TrainSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The version of the code in every trial's name: raise it when a change alters results.
pub const CODE: &str = concat!("tenfold ", env!("CARGO_PKG_VERSION"), " engine 5");

/// A trial and the name of its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to run.
    pub trial: Trial,
    /// Its name on disk.
    pub hash: String,
    /// How it fits into memory.
    pub fit: Fit,
}

/// What a limit of memory means for a trial.
#[derive(Debug, Clone, PartialEq)]
pub enum Fit {
    /// It runs as it is.
    AsIs,
    /// It runs in another way than the study says, in these words.
    Changed(String),
    /// It cannot run, for this reason.
    Refused(String),
}

/// A trial's `train` value: how to train, and on how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrialSettings {
    pub learning_rate: f64,
    pub train_rows: usize,
    pub validation_rows: usize,
    pub test_rows: usize,
    #[serde(flatten)]
    pub train: TrainSettings,
}

/// Hexadecimal name of a trial: the first 16 digits of the SHA-256 of all that decides its result.
pub fn hash(trial: &Trial) -> String {
    let text = serde_json::to_string(trial).unwrap_or_else(|error| unreachable!("plain values: {error}"));
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the trials of one study.
pub(super) struct Plan<'a> {
    pub study: &'a Study,
    pub session: &'a Session,
}

impl Plan<'_> {
    /// The search for learning rates, of the methods that have none.
    pub(super) fn search(&self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for (name, method) in self.study.methods.iter().filter(|(_, method)| method.learning_rate.is_none()) {
            for rate in method.candidates(self.study.search.candidates)? {
                let mut settings = self.settings(rate);
                let search = &self.study.search;
                settings.test_rows = 0;
                if search.train_rows > 0 {
                    settings.train_rows = search.train_rows.min(settings.train_rows);
                }
                if search.num_train_epochs > 0 {
                    settings.train.num_train_epochs = search.num_train_epochs;
                }
                jobs.push(self.job(
                    name,
                    Role::Search { learning_rate: rate },
                    self.study.seeds[0],
                    settings,
                )?);
            }
        }
        Ok(jobs)
    }

    /// The comparison itself: every method with every seed.
    pub(super) fn main(&self, rates: &BTreeMap<String, f64>) -> Result<Vec<Job>> {
        self.for_each(rates, |name, rate| {
            let jobs = self.study.seeds.iter();
            jobs.map(|seed| self.job(name, Role::Main, *seed, self.settings(rate))).collect()
        })
    }

    /// The small-data curves.
    pub(super) fn small_data(&self, rates: &BTreeMap<String, f64>) -> Result<Vec<Job>> {
        let small = &self.study.small_data;
        let available = self.session.train.len();
        self.for_each(rates, |name, rate| {
            let mut jobs = Vec::new();
            for examples in small.examples.iter().copied().filter(|examples| *examples < available) {
                for draw in 0..small.draws {
                    let mut settings = self.settings(rate);
                    settings.validation_rows = 0;
                    let per_epoch = settings.train.steps_per_epoch(examples);
                    settings.train.num_train_epochs = small.steps.div_ceil(per_epoch).max(1);
                    settings.train.max_steps = small.steps;
                    settings.train.early_stopping_patience = 0;
                    let seed = self.study.seeds[draw % self.study.seeds.len()];
                    jobs.push(self.job(name, Role::SmallData { examples, draw }, seed, settings)?);
                }
            }
            Ok(jobs)
        })
    }

    /// A standard benchmark: every method with every seed, with the study's own settings.
    pub(super) fn benchmark(&self, name: &str, rates: &BTreeMap<String, f64>) -> Result<Vec<Job>> {
        self.for_each(rates, |method, rate| {
            let role = Role::Benchmark { name: name.into() };
            let jobs = self.study.seeds.iter();
            jobs.map(|seed| self.job(method, role.clone(), *seed, self.settings(rate))).collect()
        })
    }

    /// One probe of every method.
    pub(super) fn probes(&self, rates: &BTreeMap<String, f64>) -> Result<Vec<Job>> {
        if !self.study.probe.enabled {
            return Ok(Vec::new());
        }
        self.for_each(rates, |name, rate| {
            Ok(vec![self.job(name, Role::Probe, self.study.seeds[0], self.settings(rate))?])
        })
    }

    fn for_each(
        &self,
        rates: &BTreeMap<String, f64>,
        jobs: impl Fn(&str, f64) -> Result<Vec<Job>>,
    ) -> Result<Vec<Job>> {
        let all: Result<Vec<Vec<Job>>> = rates.iter().map(|(name, rate)| jobs(name, *rate)).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    fn settings(&self, learning_rate: f64) -> TrialSettings {
        TrialSettings {
            learning_rate,
            train_rows: self.session.train.len(),
            validation_rows: self.session.validation.len(),
            test_rows: self.session.tests.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0),
            train: self.study.train.clone(),
        }
    }

    fn job(&self, name: &str, role: Role, seed: u64, settings: TrialSettings) -> Result<Job> {
        let given = &self.study.methods[name];
        let method = adapter::method(&given.kind)?;
        let mut adapter = adapter::resolve(method, &given.settings)?;
        let (settings, fit) = self.fit(method, &adapter, settings, &role);
        adapter["type"] = given.kind.clone().into();
        let mut trial = Trial {
            code: CODE.into(),
            model: self.session.model_identity.clone(),
            data: self.session.data_identity.clone(),
            method: name.into(),
            adapter,
            train: serde_json::to_value(settings).unwrap_or(Value::Null),
            role,
            seed,
        };
        if trial.role == Role::Probe {
            // What is probed decides the probe's name too.
            trial.train["probe"] = serde_json::to_value(&self.study.probe).unwrap_or(Value::Null);
            trial.train["probe"]["idle_seconds"] = self.study.energy.idle_seconds.into();
        }
        Ok(Job { hash: hash(&trial), trial, fit })
    }

    /// The settings with which a trial stays within the study's limit of memory: they name the trial, the limit does not.
    fn fit(
        &self,
        method: &'static adapter::Method,
        adapter: &Value,
        mut settings: TrialSettings,
        role: &Role,
    ) -> (TrialSettings, Fit) {
        let limit = settings.train.memory_limit.take();
        // A tenth of the whole machine stays with the system and all else.
        let usual = || memory::limit_bytes().map(|all| Bytes(all / 10 * 9));
        let Some(limit) = limit.or_else(usual) else { return (settings, Fit::AsIs) };
        let rows = match role {
            Role::SmallData { examples, .. } => *examples,
            _ => settings.train_rows,
        };
        match self.session.fit(method, adapter, rows, &settings.train, limit) {
            Ok(fitted) => {
                let fit = fitted.changed.map_or(Fit::AsIs, Fit::Changed);
                (TrialSettings { train: fitted.train, ..settings }, fit)
            }
            Err(error @ Error::Memory { .. }) => (settings, Fit::Refused(error.to_string())),
            // What else is wrong is the trial's own to say.
            Err(_) => (settings, Fit::AsIs),
        }
    }
}

/// The method of a trial, its settings without `type`, and how to train.
pub(super) fn parts(trial: &Trial) -> Result<(&'static adapter::Method, Value, TrialSettings)> {
    let kind = trial.adapter.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut settings = trial.adapter.clone();
    if let Value::Object(table) = &mut settings {
        table.remove("type");
    }
    let mut train = trial.train.clone();
    if let Value::Object(table) = &mut train {
        table.remove("probe");
    }
    let train = serde_json::from_value(train).map_err(|error| {
        Error::malformed("trial", "train", "the settings of a training run", error.to_string())
    })?;
    Ok((adapter::method(kind)?, settings, train))
}
