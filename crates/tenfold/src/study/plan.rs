//! From a study to its trials, and from a trial to its name on disk.

use super::asking::Asking;
use super::config::Study;
use super::naming::name;
use super::search;
use super::session::Session;
use crate::adapter;
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::meter::memory;
use crate::record::{Candidate, Role, Trial};
use crate::train::{Order, TrainSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The version of the code in every trial's name: raise it when a change alters results.
pub const CODE: &str = concat!("tenfold ", env!("CARGO_PKG_VERSION"), " engine 10");

/// A trial and the name of its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to run.
    pub trial: Trial,
    /// The name of its folder.
    pub name: String,
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
    /// Questions, where several rows make up one; so the two below.
    pub train_rows: usize,
    pub validation_rows: usize,
    pub test_rows: usize,
    /// Successive halving: the steps after which the rungs end, up to the one that the trial is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<usize>,
    /// SHA-256 of the rows of a mixture of domains, which then are trained on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mixture: String,
    /// SHA-256 of the general text on which forgetting is measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub general_text: String,
    #[serde(flatten)]
    pub train: TrainSettings,
}

/// The key of [`TrialSettings::rungs`].
pub(super) const RUNGS: &str = "rungs";

/// What each method is compared with.
pub(super) type Chosen = BTreeMap<String, Candidate>;

/// Makes the trials of one study.
pub(super) struct Plan<'a> {
    pub study: &'a Study,
    pub session: &'a Session,
}

impl Plan<'_> {
    /// A rung of the search: what is left of each method's candidates.
    pub(super) fn search(&self, field: &BTreeMap<String, Vec<Candidate>>, rung: usize) -> Result<Vec<Job>> {
        let (search, mut jobs) = (&self.study.search, Vec::new());
        for (name, candidates) in field {
            for candidate in candidates {
                let mut settings = self.settings(name, candidate)?;
                settings.test_rows = 0;
                if search.train_rows > 0 {
                    settings.train_rows = search.train_rows.min(settings.train_rows);
                }
                if search.num_train_epochs > 0.0 {
                    settings.train.num_train_epochs = search.num_train_epochs;
                }
                let rows = || self.session.train.first_questions(settings.train_rows);
                if let Some(steps) = search::whole_training(search) {
                    train_for(&mut settings.train, steps, rows().len());
                }
                let seed = self.study.seeds[0];
                if search::entrants(search).len() > 1 {
                    let steps = Order::new(&settings.train, &rows(), seed).steps();
                    settings.rungs = search::stops(search, steps);
                    settings.rungs.truncate(rung + 1);
                }
                let role = Role::Search { candidate: candidate.clone(), rung };
                jobs.push(self.job(name, candidate, role, seed, settings)?);
            }
        }
        Ok(jobs)
    }

    /// The comparison itself: every method with every seed.
    pub(super) fn main(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        self.for_each(chosen, |name, candidate| {
            let job = |seed: &u64| {
                let mut settings = self.settings(name, candidate)?;
                settings.general_text = self.session.general.sha256.clone();
                self.job(name, candidate, Role::Main, *seed, settings)
            };
            self.study.seeds.iter().map(job).collect()
        })
    }

    /// Every method with every seed once more, on the mixture of domains, where the study has one.
    pub(super) fn mixture(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        if self.study.mixture.is_empty() {
            return Ok(Vec::new());
        }
        self.for_each(chosen, |name, candidate| {
            let job = |seed: &u64| {
                let mut settings = self.settings(name, candidate)?;
                settings.train_rows = self.session.mixture.questions();
                settings.mixture = self.session.mixture_sha256.clone();
                self.job(name, candidate, Role::Mixture, *seed, settings)
            };
            self.study.seeds.iter().map(job).collect()
        })
    }

    /// The small-data curves. Every draw has rows and a seed of its own.
    pub(super) fn small_data(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        let small = &self.study.small_data;
        let available = self.session.train_examples.len();
        self.for_each(chosen, |name, candidate| {
            let mut jobs = Vec::new();
            for examples in small.examples.iter().copied().filter(|examples| *examples < available) {
                for draw in 0..small.draws {
                    let mut settings = self.settings(name, candidate)?;
                    settings.validation_rows = 0;
                    // A question has one row or more: as many epochs as this takes are enough.
                    train_for(&mut settings.train, small.steps, examples);
                    settings.train.early_stopping_patience = 0;
                    let role = Role::SmallData { examples, draw };
                    jobs.push(self.job(name, candidate, role, self.seed_of_draw(draw), settings)?);
                }
            }
            Ok(jobs)
        })
    }

    /// A standard benchmark: every method with every seed, with the study's own settings.
    pub(super) fn benchmark(&self, name: &str, chosen: &Chosen) -> Result<Vec<Job>> {
        self.for_each(chosen, |method, candidate| {
            let job = |seed: &u64| {
                let role = Role::Benchmark { name: name.into() };
                self.job(method, candidate, role, *seed, self.settings(method, candidate)?)
            };
            self.study.seeds.iter().map(job).collect()
        })
    }

    /// A task that every model of the comparison is asked: each with the folder's name of the trial that trained it.
    pub(super) fn asked(&self, asking: &Asking, chosen: &Chosen) -> Result<Vec<(Job, String)>> {
        let after = |job: Job| {
            let mut trial = job.trial;
            trial.role = Role::Asked { name: asking.name().into() };
            trial.data = asking.data(&trial.data);
            (Job { name: name(&trial), trial, fit: Fit::AsIs }, job.name)
        };
        Ok(self.main(chosen)?.into_iter().map(after).collect())
    }

    /// One probe of every method.
    pub(super) fn probes(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        if !self.study.probe.enabled {
            return Ok(Vec::new());
        }
        self.for_each(chosen, |name, candidate| {
            // As the main trial has it, whose first steps the probe repeats.
            let settings = TrialSettings {
                general_text: self.session.general.sha256.clone(),
                ..self.settings(name, candidate)?
            };
            Ok(vec![self.job(name, candidate, Role::Probe, self.study.seeds[0], settings)?])
        })
    }

    fn for_each(
        &self,
        chosen: &Chosen,
        jobs: impl Fn(&str, &Candidate) -> Result<Vec<Job>>,
    ) -> Result<Vec<Job>> {
        let all: Result<Vec<Vec<Job>>> =
            chosen.iter().map(|(name, candidate)| jobs(name, candidate)).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    /// The study's seeds, and from there on numbers above them all.
    fn seed_of_draw(&self, draw: usize) -> u64 {
        let seeds = &self.study.seeds;
        let highest = seeds.iter().copied().max().unwrap_or(0);
        seeds.get(draw).copied().unwrap_or_else(|| highest.wrapping_add((draw - seeds.len()) as u64 + 1))
    }

    fn settings(&self, name: &str, candidate: &Candidate) -> Result<TrialSettings> {
        let (_, train) = self.study.with(&self.study.methods[name], candidate)?;
        Ok(TrialSettings {
            learning_rate: candidate.learning_rate,
            train_rows: self.session.train.questions(),
            validation_rows: self.session.validation.questions(),
            test_rows: self.session.tests.iter().map(|(_, rows)| rows.questions()).max().unwrap_or(0),
            rungs: Vec::new(),
            mixture: String::new(),
            general_text: String::new(),
            train,
        })
    }

    fn job(
        &self,
        name: &str,
        candidate: &Candidate,
        role: Role,
        seed: u64,
        settings: TrialSettings,
    ) -> Result<Job> {
        let given = &self.study.methods[name];
        let method = adapter::method(&given.kind)?;
        let (mut adapter, _) = self.study.with(given, candidate)?;
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
        Ok(Job { name: self::name(&trial), trial, fit })
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
        let questions = match role {
            Role::SmallData { examples, .. } => *examples,
            _ => settings.train_rows,
        };
        let pool = if *role == Role::Mixture { &self.session.mixture } else { &self.session.train };
        // Any may be drawn: those with the longest rows may be among them.
        match self.session.fit(method, adapter, &pool.longest(questions), &settings.train, limit) {
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

/// The name of the trial that trained the same candidate to the rung before.
pub(super) fn rung_before(trial: &Trial) -> Option<String> {
    let mut before = trial.clone();
    let Role::Search { rung, .. } = &mut before.role else { return None };
    *rung = rung.checked_sub(1)?;
    before.train.get_mut(RUNGS)?.as_array_mut()?.pop()?;
    Some(name(&before))
}

/// Trains for so many steps, whatever epochs they make.
fn train_for(train: &mut TrainSettings, steps: usize, rows: usize) {
    // Batches that count tokens may be one alone.
    let per_epoch = if train.max_tokens > 0 { 1 } else { train.steps_per_epoch(rows) };
    train.num_train_epochs = steps.div_ceil(per_epoch).max(1) as f64;
    train.max_steps = steps;
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
