//! `study.toml`: the whole of a study, checked all at once.
//!
//! Relative paths in it (model, task, domains, benchmarks, ask, forgetting_text) are looked for beside the file itself, or
//! else in the current directory. The study.toml in a run's folder has them absolute.

mod faults;

use super::overlay;
use crate::adapter;
use crate::data::read_text;
use crate::device::{self, Device};
use crate::error::{Error, Result};
use crate::metric::{Accounting, Application};
use crate::plain_file;
use crate::train::TrainSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use tenfold_tensor::Dtype;

/// A study with everything resolved. Serialises to the TOML that it is read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Study {
    /// Its name, also that of its folder under `runs/`.
    pub name: String,
    /// A folder, a GGUF file, a Hugging Face id or a catalog name.
    pub model: String,
    /// What the model is called in records and reports; empty: as `model` says it.
    pub model_name: String,
    /// How frozen matrices are kept in memory: "stored" (as the file has them), "f32", "bf16", "q8_0", "q4_0", "nf4", …
    pub weights: String,
    /// What it is computed on: "cpu", or another of `device::DEVICES`.
    pub device: String,
    /// A built-in task, or the path of a task file.
    pub task: String,
    /// Further tasks with the same labels or choices, or of answers by the same score, whose test rows are further
    /// domains: names or paths of task files.
    pub domains: Vec<String>,
    /// A file of general text: how much language models forget is the rise of their loss on it. Empty: not measured.
    pub forgetting_text: String,
    /// Standard benchmarks to run as well: names or paths of task files.
    pub benchmarks: Vec<String>,
    /// Tasks that the base model and every tuned one are asked without being trained on them, as `tenfold eval --task` asks.
    pub ask: Vec<String>,
    /// Rows of each of their domains at the most; 0: all.
    pub ask_rows: usize,
    /// What the recommendation is for.
    pub purpose: String,
    /// One trial of every method for each.
    pub seeds: Vec<u64>,
    /// Which rows are used where not all are.
    pub rows: Picked,
    /// Training rows to use; 0: all.
    pub train_rows: usize,
    /// Validation rows to use; 0: all.
    pub validation_rows: usize,
    /// Test rows to use of each domain; 0: all.
    pub test_rows: usize,
    /// Trials side by side; 0: one for each core.
    pub workers: usize,
    /// Seconds between snapshots of a running trial.
    pub snapshot_seconds: f64,
    /// How much worse than full fine-tuning still counts as as good, in the unit of the score.
    pub margin: f64,
    /// Half the width of the interval over seeds that is wanted, in the unit of the score: the report says how many
    /// seeds that would take.
    pub wanted_half_width: f64,
    /// Where the learning rates come from, for the report; empty: from this study's own search.
    pub learning_rate_note: String,
    /// Applications that response times are held against, beside those that stand in `metric::applications`.
    pub applications: Vec<Application>,
    /// How to train.
    pub train: TrainSettings,
    /// Domains with training rows and their weights: every method is trained once more on as many rows of this mixture.
    pub mixture: BTreeMap<String, f64>,
    /// The search for learning rates and other settings.
    pub search: Search,
    /// The small-data curves.
    pub small_data: SmallData,
    /// The probes.
    pub probe: Probing,
    /// How energy is accounted for.
    pub energy: Accounting,
    /// The methods by their names in this study.
    pub methods: BTreeMap<String, MethodSettings>,
}

/// Which rows of a file are used where not all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picked {
    /// The first ones.
    First,
    /// Some of all the file, the labels' shares as in all of it: for files that are sorted by label.
    Spread,
}

/// The search for a learning rate and other settings, of the methods that the study gives no learning rate or a space:
/// the same number of candidates, rows and steps for every one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// How candidates are found.
    pub strategy: Strategy,
    /// Candidates of each method.
    pub candidates: usize,
    /// Optimizer steps for each method in all; 0: as many as the candidates' epochs take.
    pub budget: usize,
    /// Successive halving: one candidate in so many goes on, to be trained so many times as far.
    pub eta: usize,
    /// Seed of the candidates that are drawn.
    pub seed: u64,
    /// Training rows; 0: the study's.
    pub train_rows: usize,
    /// Epochs; 0: the study's.
    pub num_train_epochs: f64,
}

/// How a search finds its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Every combination of the lists.
    Grid,
    /// Drawn from lists and ranges.
    Random,
    /// Drawn as at random, and given up early where others do better.
    SuccessiveHalving,
}

/// The small-data curves: every method on few rows, several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SmallData {
    /// Numbers of training rows; empty: no curves.
    pub examples: Vec<usize>,
    /// Draws of each.
    pub draws: usize,
    /// Optimizer steps of each trial.
    pub steps: usize,
}

/// The probes: one method at a time, alone on the machine, in a process of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probing {
    /// Whether to probe.
    pub enabled: bool,
    /// Rounds: in each of them every method is measured once, in another order. What follows is shared out among them.
    pub rounds: usize,
    /// Training steps that are timed, in each round after two that are not.
    pub steps: usize,
    /// Requests whose time is taken under each load.
    pub requests: usize,
    /// Seconds of each load instead of a number of requests; 0: the number.
    pub seconds: f64,
    /// Requests at the beginning of each load that are answered and not counted, in each round.
    pub warm_up: usize,
    /// Requests that are worked on side by side; they share out the threads.
    pub servers: usize,
    /// Closed loads: so many clients, each of which sends its next request when the last is answered. One client, whose
    /// requests are answered one at a time, is always measured.
    pub clients: Vec<usize>,
    /// Open loads: requests a second, at random moments (Poisson arrivals), whether or not earlier ones are answered.
    pub rates: Vec<f64>,
    /// Open loads whose rates are these shares of the method's own capacity, as the closed loads found it.
    pub utilisations: Vec<f64>,
    /// Batch sizes at which memory and speed of training and of inference are measured, each with every one of `lengths`.
    pub batch_sizes: Vec<usize>,
    /// Tokens of every row of such a batch; those above what the study's rows may have become that.
    pub lengths: Vec<usize>,
    /// How often the disturbed rounds of a part are measured again at the most, for all methods, once the rounds are over and
    /// where fewer than half of them were quiet; the least disturbed try is kept.
    pub retries: usize,
}

/// A method in a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodSettings {
    /// The method in the registry; default: the table's own name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its learning rate; none: searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Learning rates to search among; empty: the method's own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub learning_rates: Vec<f64>,
    /// What else is searched for: by setting a list or `{ low, high, scale }`, those of training in a table `train`.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub space: Map<String, Value>,
    /// The method's own settings, as given.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// The weights' format that leaves each as the file has it.
pub(super) const STORED: &str = "stored";

impl Default for Study {
    fn default() -> Study {
        Study {
            name: String::new(),
            model: String::new(),
            model_name: String::new(),
            weights: STORED.into(),
            device: device::usual().name.into(),
            task: String::new(),
            domains: Vec::new(),
            forgetting_text: String::new(),
            benchmarks: Vec::new(),
            ask: Vec::new(),
            ask_rows: 0,
            purpose: "balanced".into(),
            seeds: vec![0, 1, 2],
            rows: Picked::First,
            train_rows: 0,
            validation_rows: 0,
            test_rows: 0,
            workers: 0,
            snapshot_seconds: 10.0,
            margin: 0.01,
            wanted_half_width: 0.01,
            learning_rate_note: String::new(),
            applications: Vec::new(),
            train: TrainSettings::default(),
            mixture: BTreeMap::new(),
            search: Search::default(),
            small_data: SmallData::default(),
            probe: Probing::default(),
            energy: Accounting::default(),
            methods: BTreeMap::new(),
        }
    }
}

impl Default for Search {
    fn default() -> Search {
        Search {
            strategy: Strategy::Grid,
            candidates: 4,
            budget: 0,
            eta: 3,
            seed: 0,
            train_rows: 0,
            num_train_epochs: 0.0,
        }
    }
}

impl Default for SmallData {
    fn default() -> SmallData {
        SmallData { examples: vec![16, 32, 64, 128, 256], draws: 5, steps: 40 }
    }
}

impl Default for Probing {
    fn default() -> Probing {
        Probing {
            enabled: true,
            rounds: 3,
            steps: 12,
            requests: 100,
            seconds: 0.0,
            warm_up: 5,
            servers: 1,
            clients: vec![1, 4],
            rates: Vec::new(),
            utilisations: vec![0.5, 0.8],
            batch_sizes: vec![8, 16, 32],
            lengths: vec![32, 64, 128],
            retries: 2,
        }
    }
}

impl Study {
    /// Reads a study file; `set` holds `key=value` changes such as "train.batch_size=16".
    pub fn read(path: &Path, set: &[String]) -> Result<Study> {
        let text = read_text(path, plain_file::SETTINGS)?;
        Study::parse(path, &text, set)
    }

    /// Reads a study's text, as that of the file at `path`.
    pub fn parse(path: &Path, text: &str, set: &[String]) -> Result<Study> {
        let (study, mut faults) = overlay::resolve(path, text, set)?;
        let study = study.located(path)?;
        // A value that could not be taken has its fault already; the default in its place is not to blame.
        let key = |fault: &str| fault.split_once(':').map_or(String::new(), |(key, _)| key.to_owned());
        let taken: Vec<String> = faults.iter().map(|fault| key(fault)).collect();
        let is_new = |fault: &String| {
            let key = key(fault);
            !taken.iter().any(|taken| *taken == key || taken.starts_with(&format!("{key}.")))
        };
        faults.extend(study.faults().into_iter().filter(is_new));
        if faults.is_empty() {
            return Ok(study);
        }
        let faults = faults.into_iter().map(|fault| overlay::with_option(fault, set)).collect();
        Err(Error::Faults { file: path.to_owned(), faults })
    }

    /// What the model is called.
    pub fn name_of_model(&self) -> &str {
        if self.model_name.is_empty() { &self.model } else { &self.model_name }
    }

    /// The methods in the order of the registry, those of one type by name.
    pub fn ordered_methods(&self) -> Vec<(&String, &MethodSettings)> {
        let place =
            |method: &MethodSettings| adapter::METHODS.iter().position(|known| known.name == method.kind);
        let mut methods: Vec<_> = self.methods.iter().collect();
        methods.sort_by_key(|(_, method)| place(method));
        methods
    }

    /// The study as TOML, all defaults written out.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_else(|error| unreachable!("a study is plain values: {error}"))
    }

    /// What it is computed on.
    pub fn device(&self) -> Result<&'static Device> {
        device::device(&self.device)
    }

    /// The format in which frozen matrices are kept; none: each as the file has it.
    pub fn dtype(&self) -> Result<Option<Dtype>> {
        format_of_weights(&self.weights)
    }
}

/// The format of that name, in which frozen matrices can be kept; none for "stored": each as the file has it.
pub fn format_of_weights(name: &str) -> Result<Option<Dtype>> {
    if name == STORED {
        return Ok(None);
    }
    let known = Dtype::ALL.into_iter().filter(|dtype| dtype.can_quantize());
    let dtype = known.clone().find(|dtype| dtype.name() == name);
    let names = known.map(Dtype::name).chain([STORED]);
    dtype.map(Some).ok_or_else(|| Error::unknown("format of weights", name, names))
}

#[cfg(test)]
mod tests;
