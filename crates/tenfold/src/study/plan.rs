//! From a study to its trials, and from a trial to its name on disk.

use super::config::Study;
use super::facts::{AskedFacts, Facts, TaskFacts};
use super::naming::name;
use super::search;
use crate::adapter;
use crate::device;
use crate::error::{Error, Result};
use crate::record::{Candidate, Fit, Role, Trial};
use crate::train::TrainSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The version of the code in every trial's name: raise it when a change alters results.
pub const CODE: &str = concat!("tenfold ", env!("CARGO_PKG_VERSION"), " engine 11");

/// A trial to run, and the name of its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to run.
    pub trial: Trial,
    /// The name of its folder.
    pub name: String,
}

impl Job {
    /// The job of a trial.
    pub(super) fn of(trial: Trial) -> Job {
        Job { name: name(&trial), trial }
    }
}

/// A trial's `train` value: how to train, and on how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrialSettings {
    pub learning_rate: f64,
    /// Questions, where several rows make up one; so the two below.
    pub train_rows: usize,
    pub validation_rows: usize,
    pub test_rows: usize,
    /// Successive halving: the rungs up to the one that the trial is for, each by what part of the whole training it ends
    /// after: 9 is a ninth of the steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<usize>,
    /// SHA-256 of the rows of a mixture of domains, which then are trained on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mixture: String,
    /// SHA-256 of the general text on which forgetting is measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub general_text: String,
    /// The device, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(flatten)]
    pub train: TrainSettings,
}

impl TrialSettings {
    /// The settings that memory depends on: not how long it is trained, nor how fast.
    pub(super) fn of_any_length(&self) -> TrainSettings {
        TrainSettings { num_train_epochs: 1.0, max_steps: 0, ..self.train.clone() }
    }

    /// The same, trained so that it fits.
    pub(super) fn fitted(mut self, fit: &Fit) -> TrialSettings {
        self.train.pass_tokens = fit.pass_tokens;
        self.train.gradient_checkpointing = fit.gradient_checkpointing;
        self
    }
}

/// The key of [`TrialSettings::rungs`].
pub(super) const RUNGS: &str = "rungs";
/// The key of what is probed, beside the settings.
const PROBE: &str = "probe";

/// What each method is compared with.
pub(super) type Chosen = BTreeMap<String, Candidate>;

/// Makes the trials of one study: a function of the study, and of what its model and data are.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub study: &'a Study,
    pub facts: &'a Facts,
}

impl Plan<'_> {
    /// A rung of the search: what is left of each method's candidates.
    pub(super) fn search(&self, field: &BTreeMap<String, Vec<Candidate>>, rung: usize) -> Result<Vec<Job>> {
        let (search, mut jobs) = (&self.study.search, Vec::new());
        for (name, candidates) in field {
            for candidate in candidates {
                let mut settings = self.settings(name, candidate, &self.facts.task)?;
                settings.test_rows = 0;
                if search.train_rows > 0 {
                    settings.train_rows = search.train_rows.min(settings.train_rows);
                }
                if search.num_train_epochs > 0.0 {
                    settings.train.num_train_epochs = search.num_train_epochs;
                }
                if let Some(steps) = search::whole_training(search) {
                    train_for(&mut settings.train, steps, settings.train_rows);
                }
                if search::entrants(search).len() > 1 {
                    settings.rungs = search::parts(search);
                    settings.rungs.truncate(rung + 1);
                }
                let role = Role::Search { candidate: candidate.clone(), rung };
                jobs.push(self.job(name, candidate, role, self.study.seeds[0], settings)?);
            }
        }
        Ok(jobs)
    }

    /// The comparison itself: every method with every seed.
    pub(super) fn main(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        self.for_each(chosen, |name, candidate| {
            let job = |seed: &u64| {
                let mut settings = self.settings(name, candidate, &self.facts.task)?;
                settings.general_text = self.facts.task.general_text.clone();
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
                let mut settings = self.settings(name, candidate, &self.facts.task)?;
                settings.train_rows = self.facts.task.mixture;
                settings.mixture = self.facts.task.mixture_sha256.clone();
                self.job(name, candidate, Role::Mixture, *seed, settings)
            };
            self.study.seeds.iter().map(job).collect()
        })
    }

    /// The small-data curves. Every draw has rows and a seed of its own.
    pub(super) fn small_data(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        let small = &self.study.small_data;
        let available = self.facts.task.examples;
        self.for_each(chosen, |name, candidate| {
            let mut jobs = Vec::new();
            for examples in small.examples.iter().copied().filter(|examples| *examples < available) {
                for draw in 0..small.draws {
                    let mut settings = self.settings(name, candidate, &self.facts.task)?;
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
    pub(super) fn benchmark(&self, task: &TaskFacts, chosen: &Chosen) -> Result<Vec<Job>> {
        self.for_each(chosen, |method, candidate| {
            let job = |seed: &u64| {
                let role = Role::Benchmark { name: task.data.task.clone() };
                let job =
                    self.job(method, candidate, role, *seed, self.settings(method, candidate, task)?)?;
                Ok(Job::of(Trial { data: task.data.clone(), ..job.trial }))
            };
            self.study.seeds.iter().map(job).collect()
        })
    }

    /// A task that every model of the comparison is asked.
    pub(super) fn asked(&self, asked: &AskedFacts, chosen: &Chosen) -> Result<Vec<Job>> {
        let after = |job: Job| {
            let (role, data) = (Role::Asked { name: asked.name.clone() }, asked.data(&job.trial.data));
            Job::of(Trial { role, data, ..job.trial })
        };
        Ok(self.main(chosen)?.into_iter().map(after).collect())
    }

    /// The trial that trained the model which is asked.
    pub(super) fn trained_by(&self, asked: &Trial) -> Job {
        Job::of(Trial { role: Role::Main, data: self.facts.task.data.clone(), ..asked.clone() })
    }

    /// One probe of every method.
    pub(super) fn probes(&self, chosen: &Chosen) -> Result<Vec<Job>> {
        if !self.study.probe.enabled {
            return Ok(Vec::new());
        }
        self.for_each(chosen, |name, candidate| {
            // As the main trial has it, whose first steps the probe repeats.
            let mut settings = self.settings(name, candidate, &self.facts.task)?;
            settings.general_text = self.facts.task.general_text.clone();
            let mut job = self.job(name, candidate, Role::Probe, self.study.seeds[0], settings)?;
            // What is probed decides the probe's name too.
            let train = &mut job.trial.train;
            train[PROBE] = serde_json::to_value(&self.study.probe).unwrap_or(Value::Null);
            train[PROBE]["idle_seconds"] = self.study.energy.idle_seconds.into();
            Ok(vec![Job::of(job.trial)])
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

    fn settings(&self, name: &str, candidate: &Candidate, task: &TaskFacts) -> Result<TrialSettings> {
        let (_, mut train) = self.study.with(&self.study.methods[name], candidate)?;
        // How a trial fits into a machine's memory is no part of what was asked for.
        train.memory_limit = None;
        Ok(TrialSettings {
            learning_rate: candidate.learning_rate,
            train_rows: task.train,
            validation_rows: task.validation,
            test_rows: task.tests.iter().map(|(_, rows)| *rows).max().unwrap_or(0),
            rungs: Vec::new(),
            mixture: String::new(),
            general_text: String::new(),
            device: device_of(self.study),
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
        let (mut adapter, _) = self.study.with(given, candidate)?;
        adapter["type"] = given.kind.clone().into();
        Ok(Job::of(Trial {
            code: self.facts.code.clone(),
            model: self.facts.model.clone(),
            data: self.facts.task.data.clone(),
            method: name.into(),
            adapter,
            train: serde_json::to_value(settings).unwrap_or(Value::Null),
            role,
            seed,
        }))
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

/// The device, if it is not the usual one.
fn device_of(study: &Study) -> Option<String> {
    Some(study.device.clone()).filter(|name| *name != device::usual().name)
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
        table.remove(PROBE);
    }
    let train = serde_json::from_value(train).map_err(|error| {
        Error::malformed("trial", "train", "the settings of a training run", error.to_string())
    })?;
    Ok((adapter::method(kind)?, settings, train))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finished trials keep their names.
    #[test]
    fn the_usual_device_is_no_part_of_a_trials_name() {
        let settings = |device: &str| {
            let study = Study { device: device.into(), ..Study::default() };
            serde_json::to_value(device_of(&study)).unwrap()
        };
        assert_eq!((settings("cpu"), settings("reference")), (Value::Null, "reference".into()));
        let bare = r#"{"learning_rate": 1e-3, "train_rows": 1, "validation_rows": 1, "test_rows": 1}"#;
        let train = serde_json::to_value(TrainSettings::default()).unwrap();
        let mut old: Value = serde_json::from_str(bare).unwrap();
        old.as_object_mut().unwrap().extend(train.as_object().unwrap().clone());
        let settings: TrialSettings = serde_json::from_value(old.clone()).unwrap();
        assert_eq!((settings.device.clone(), serde_json::to_value(settings).unwrap()), (None, old));
    }
}
