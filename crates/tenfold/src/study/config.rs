//! `study.toml`: the whole of a study, checked all at once.

use super::overlay;
use crate::adapter;
use crate::error::{Error, Result};
use crate::load::{MOST_SIDE_BY_SIDE, RATES};
use crate::metric::{self, Accounting, Application};
use crate::train::{MOST, TrainSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tenfold_tensor::Dtype;

/// A study with everything resolved. Serialises to the TOML that it is read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Study {
    /// Its name, also that of its folder under `runs/`.
    pub name: String,
    /// A folder, a Hugging Face id or a catalog name.
    pub model: String,
    /// How frozen matrices are kept in memory: "stored" (as the file has them), "f32", "bf16", "q8_0", "q4_0", "nf4", …
    pub weights: String,
    /// A built-in task, or the path of a task file.
    pub task: String,
    /// Further tasks with the same labels, whose test rows are further domains: names or paths of task files.
    pub domains: Vec<String>,
    /// A file of general text: how much language models forget is the rise of their loss on it. Empty: not measured.
    pub forgetting_text: String,
    /// Standard benchmarks to run as well: names or paths of task files.
    pub benchmarks: Vec<String>,
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
    pub num_train_epochs: usize,
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
    /// Training steps that are timed, after two that are not.
    pub steps: usize,
    /// Requests whose time is taken under each load.
    pub requests: usize,
    /// Seconds of each load instead of a number of requests; 0: the number.
    pub seconds: f64,
    /// Requests at the beginning of each load that are answered and not counted.
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
    /// Batch sizes at which memory and speed of training are measured, each with every one of `lengths`.
    pub batch_sizes: Vec<usize>,
    /// Tokens of every row of such a batch; those above what the study's rows may have become that.
    pub lengths: Vec<usize>,
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

/// No batch or row that is probed is larger.
const MOST_PROBED: usize = 1 << 20;

/// More candidates than this for one method are a slip.
const MOST_CANDIDATES: usize = 1000;

/// The weights' format that leaves each as the file has it.
pub(super) const STORED: &str = "stored";

impl Default for Study {
    fn default() -> Study {
        Study {
            name: String::new(),
            model: String::new(),
            weights: STORED.into(),
            task: String::new(),
            domains: Vec::new(),
            forgetting_text: String::new(),
            benchmarks: Vec::new(),
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
            num_train_epochs: 0,
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
            steps: 10,
            requests: 100,
            seconds: 0.0,
            warm_up: 5,
            servers: 1,
            clients: vec![1, 4],
            rates: Vec::new(),
            utilisations: vec![0.5, 0.8],
            batch_sizes: vec![8, 16, 32],
            lengths: vec![32, 64, 128],
        }
    }
}

impl Study {
    /// Reads a study file; `set` holds `key=value` changes such as "train.batch_size=16".
    pub fn read(path: &Path, set: &[String]) -> Result<Study> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Study::parse(path, &text, set)
    }

    /// Reads a study's text; `path` is for messages.
    pub fn parse(path: &Path, text: &str, set: &[String]) -> Result<Study> {
        let (study, mut faults) = overlay::resolve(path, text, set)?;
        faults.extend(study.faults());
        if faults.is_empty() { Ok(study) } else { Err(Error::Faults { file: path.to_owned(), faults }) }
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

    /// The format in which frozen matrices are kept; none: each as the file has it.
    pub fn dtype(&self) -> Result<Option<Dtype>> {
        format_of_weights(&self.weights)
    }

    /// One line for each value that makes no sense.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.train.faults();
        let mut require = |fine: bool, fault: String| {
            if !fine {
                faults.push(fault);
            }
        };
        let is_name = |name: &str| {
            let plain = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
            !name.is_empty() && name.chars().all(plain) && !name.starts_with('.')
        };
        require(
            is_name(&self.name),
            format!("name: expected letters, digits, - and _, found \"{}\"", self.name),
        );
        require(
            !self.model.is_empty(),
            "model: expected a folder, a Hugging Face id or a catalog name".into(),
        );
        require(!self.task.is_empty(), "task: expected a built-in task or the path of a task file".into());
        require(!self.seeds.is_empty(), "seeds: expected at least one".into());
        require(
            !self.methods.is_empty(),
            "methods: expected at least one table such as [methods.lora]".into(),
        );
        let snapshots = Duration::try_from_secs_f64(self.snapshot_seconds).is_ok();
        require(snapshots, "snapshot_seconds: expected a number of seconds, 0 or more".into());
        require(self.margin >= 0.0, format!("margin: expected 0 or more, found {}", self.margin));
        require(
            self.wanted_half_width > 0.0,
            format!("wanted_half_width: expected a number above 0, found {}", self.wanted_half_width),
        );
        let weights = || self.mixture.values();
        let adds_up = (weights().sum::<f64>() - 1.0).abs() < 1e-6 && weights().all(|weight| *weight > 0.0);
        require(
            self.mixture.is_empty() || adds_up,
            "mixture: expected weights above 0 that add up to 1, such as movie = 0.5, amazon = 0.5".into(),
        );
        let search = &self.search;
        require(
            (1..=MOST_CANDIDATES).contains(&search.candidates),
            format!("search.candidates: expected 1 to {MOST_CANDIDATES}, found {}", search.candidates),
        );
        require(search.eta >= 2, format!("search.eta: expected 2 or more, found {}", search.eta));
        require(
            search.budget == 0 || (search.candidates..=MOST).contains(&search.budget),
            format!(
                "search.budget: expected 0, or a step or more for each candidate, found {}",
                search.budget
            ),
        );
        require(
            !self.small_data.examples.contains(&0),
            "small_data.examples: expected numbers above 0".into(),
        );
        for (key, sizes) in [("batch_sizes", &self.probe.batch_sizes), ("lengths", &self.probe.lengths)] {
            let fine = sizes.iter().all(|size| (1..=MOST_PROBED).contains(size));
            require(fine, format!("probe.{key}: expected numbers of 1 to {MOST_PROBED}"));
        }
        let small = &self.small_data;
        for (key, count, least) in [
            ("small_data.steps", small.steps, 0),
            ("small_data.draws", small.draws, 0),
            ("probe.steps", self.probe.steps, 1),
            ("probe.requests", self.probe.requests, 1),
            ("probe.warm_up", self.probe.warm_up, 0),
        ] {
            let fits = (least..=MOST).contains(&count);
            require(fits, format!("{key}: expected {least} to 1,000,000,000, found {count}"));
        }
        faults.extend(self.probe.faults());
        faults.extend(self.energy.faults());
        faults.extend(metric::application_faults(&self.applications));
        if let Err(error) = self.dtype() {
            faults.push(format!("weights: {error}"));
        }
        if let Err(error) = crate::report::Purpose::named(&self.purpose) {
            faults.push(format!("purpose: {error}"));
        }
        for (name, method) in &self.methods {
            faults.extend(method.faults().into_iter().map(|fault| format!("methods.{name}.{fault}")));
        }
        if faults.is_empty() {
            for (name, method) in &self.methods {
                let found = self.search_faults(method).into_iter();
                faults.extend(found.map(|fault| format!("methods.{name}.{fault}")));
            }
        }
        faults
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

impl Probing {
    /// One line for each load that cannot be made.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut each = |key: &str, expected: &str, found: Vec<(bool, String)>| {
            let wrong = found.into_iter().filter(|(fine, _)| !fine);
            faults.extend(wrong.map(|(_, found)| format!("probe.{key}: expected {expected}, found {found}")));
        };
        let count = |count: &usize| ((1..=MOST_SIDE_BY_SIDE).contains(count), count.to_string());
        let within =
            |least: f64, most: f64| move |number: &f64| ((least..=most).contains(number), number.to_string());
        each("servers", "1 to 1,024", vec![count(&self.servers)]);
        each("clients", "numbers from 1 to 1,024", self.clients.iter().map(count).collect());
        let seconds = "0 to 3,600 seconds";
        each("seconds", seconds, vec![within(0.0, 3600.0)(&self.seconds)]);
        let rates = "requests a second, 0.001 to 1,000,000";
        each("rates", rates, self.rates.iter().map(within(*RATES.start(), *RATES.end())).collect());
        let shares = "shares of the capacity, 0.01 to 10";
        each("utilisations", shares, self.utilisations.iter().map(within(0.01, 10.0)).collect());
        faults
    }
}

impl MethodSettings {
    fn faults(&self) -> Vec<String> {
        let method = match adapter::method(&self.kind) {
            Ok(method) => method,
            Err(error) => return vec![format!("type: {error}")],
        };
        let mut faults = Vec::new();
        match adapter::resolve(method, &self.settings) {
            Ok(_) => {}
            Err(Error::Faults { faults: own, .. }) => faults.extend(own),
            Err(other) => faults.push(other.to_string()),
        }
        for rate in self.learning_rate.iter().chain(&self.learning_rates) {
            if !(rate.is_finite() && *rate > 0.0) {
                faults.push(format!("learning_rate: expected a number above 0, found {rate}"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = 'a'\nmodel = 'm'\ntask = 'vader'\n[methods.lora]\nr = 4\n";

    fn parse(text: &str, set: &[&str]) -> Result<Study> {
        let set: Vec<String> = set.iter().map(|change| (*change).to_owned()).collect();
        Study::parse(Path::new("study.toml"), text, &set)
    }

    #[test]
    fn a_resolved_study_reads_back_as_itself() {
        let study = parse(
            SMALL,
            &[
                "train.batch_size=16",
                "train.pass_tokens=256",
                "train.memory_limit=2GiB",
                "seeds=[7]",
                "methods.lora.r=2",
                "methods.full.learning_rate=1e-5",
            ],
        )
        .unwrap();
        assert_eq!((study.train.batch_size, study.train.pass_tokens), (16, Some(256)));
        assert_eq!(study.train.memory_limit.unwrap().0, 2 << 30);
        assert_eq!(parse(SMALL, &["rows=spread"]).unwrap().rows, Picked::Spread);
        assert_eq!(study.seeds, [7]);
        assert_eq!(study.methods["lora"].settings["r"], 2);
        assert_eq!(study.methods["full"].kind, "full");
        assert_eq!(parse(&study.to_toml(), &[]).unwrap(), study);
    }

    #[test]
    fn all_faults_come_at_once_each_with_its_key() {
        let text = "nam = 'a'\nmodel = 'm'\nseeds = 'x'\n[train]\nbatch_sise = 4\nnum_train_epochs = 0\n[methods.lroa]\n[methods.lora]\nrr = 1\n";
        let message = parse(text, &["train=3"]).unwrap_err().to_string();
        for expected in [
            "nam: there is no such key: did you mean \"name\"?",
            "seeds:",
            "task:",
            "lroa",
            "did you mean \"lora\"?",
            "\"rr\"",
        ] {
            assert!(message.contains(expected), "{expected} not in:\n{message}");
        }
        let message = parse(text, &[]).unwrap_err().to_string();
        for expected in ["train.batch_sise", "train.batch_size", "train.num_train_epochs"] {
            assert!(message.contains(expected), "{expected} not in:\n{message}");
        }
    }

    #[test]
    fn weights_are_a_format_that_is_written() {
        for known in ["f32", "bf16", "q8_0", "q4_0", "nf4"] {
            let study = parse(SMALL, &[&format!("weights='{known}'")]).unwrap();
            assert_eq!(study.dtype().unwrap().unwrap().name(), known);
        }
        for unknown in ["q4_k", "fp8", ""] {
            let message = parse(SMALL, &[&format!("weights='{unknown}'")]).unwrap_err().to_string();
            assert!(message.contains("weights: there is no format of weights"), "{message}");
        }
    }

    #[test]
    fn every_method_gets_as_many_candidates() {
        let message = parse(SMALL, &["methods.lora.learning_rates=[1e-3]", "search.candidates=2"])
            .unwrap_err()
            .to_string();
        assert!(message.contains("methods.lora.learning_rates: expected 2"), "{message}");
        assert!(parse(SMALL, &["search.candidates=5"]).is_err(), "LoRA has four of its own");
        assert!(parse(SMALL, &["search.candidates=5", "methods.lora.learning_rate=1e-3"]).is_ok());
    }

    #[test]
    fn loads_applications_and_energy_are_checked_all_at_once() {
        let own = "[[applications]]\nname = 'chat'\ntarget_seconds = 1.5\nquantile = 0.99\n";
        let study =
            parse(&(SMALL.to_owned() + own), &["probe.rates=[2, 50.5]", "energy.grid_grams_per_kwh=30"]);
        let study = study.unwrap();
        let chat = &study.applications[0];
        assert_eq!((chat.name.as_str(), chat.target_seconds, chat.good_seconds), ("chat", 1.5, None));
        assert_eq!((chat.quantile, &study.probe.rates[..]), (0.99, &[2.0, 50.5][..]));
        assert_eq!(parse(&study.to_toml(), &[]).unwrap(), study);

        let changes = [
            "probe.clients=[4, 0]",
            "probe.servers=0",
            "probe.rates=[-1.0, 3]",
            "probe.utilisations=[0.5, 70]",
            "probe.seconds=1e9",
            "probe.warm_up=99999999999",
            "energy.idle_seconds=-2",
            "energy.grid_grams_per_kwh=-400",
            "energy.subtract_idel=true",
        ];
        let own =
            "[[applications]]\nname = 'real_time'\ntarget_seconds = 0\ngood_seconds = 3\nquantile = 95\n";
        let message = parse(&(SMALL.to_owned() + own), &changes).unwrap_err().to_string();
        for expected in [
            "probe.clients: expected numbers from 1 to 1,024, found 0",
            "probe.servers: expected 1 to 1,024, found 0",
            "probe.rates: expected requests a second, 0.001 to 1,000,000, found -1",
            "probe.utilisations: expected shares of the capacity, 0.01 to 10, found 70",
            "probe.seconds: expected 0 to 3,600 seconds, found 1000000000",
            "probe.warm_up: expected 0 to 1,000,000,000",
            "did you mean \"energy.subtract_idle\"?",
            "energy.idle_seconds: expected 0 to 3,600 seconds, found -2",
            "energy.grid_grams_per_kwh: expected grams of CO2e for a kilowatt-hour, 0 to 10,000, found -400",
            "applications.real_time: there is one of that name already",
            "applications.real_time.target_seconds: expected seconds above 0, found 0",
            "applications.real_time.good_seconds: expected seconds above 0, at most target_seconds, found 3",
            "applications.real_time.quantile: expected a share between 0 and 1, such as 0.95, found 95",
        ] {
            assert!(message.contains(expected), "{expected} not in:\n{message}");
        }
        let unknown = SMALL.to_owned() + "[[applications]]\nname = 'x'\ntarget = 3\n";
        let message = parse(&unknown, &[]).unwrap_err().to_string();
        assert!(message.contains("applications: unknown field `target`"), "{message}");
    }

    #[test]
    fn broken_toml_names_its_line() {
        let message = parse("name = 'a'\nmodel = \n", &[]).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}
