//! What makes no sense in a study: all of it at once, a line each with its key.

use super::{MethodSettings, Probing, Study};
use crate::error::nearest;
use crate::load::{MOST_SIDE_BY_SIDE, RATES};
use crate::study::aliases;
use crate::train::MOST;
use crate::words::thousands;
use crate::{adapter, metric};
use std::path::Path;
use std::time::Duration;

/// No batch or row that is probed is larger.
const MOST_PROBED: usize = 1 << 20;

/// More tries than this would take longer than waiting for a quiet machine.
const MOST_RETRIES: usize = 100;
/// Rounds of a probe at the most.
const MOST_ROUNDS: usize = 100;

/// What a study states of a method beside the method's own settings.
const OWN: [&str; 4] = ["type", "learning_rate", "learning_rates", "space"];

/// More candidates than this for one method are a slip.
const MOST_CANDIDATES: usize = 1000;

impl Study {
    /// One line for each value that makes no sense.
    pub(super) fn faults(&self) -> Vec<String> {
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
        require(!self.seeds.is_empty(), "seeds: expected one or more, such as [0, 1, 2], found none".into());
        let small = &self.small_data;
        for (key, twice) in [
            ("seeds", repeated(&self.seeds)),
            ("benchmarks", repeated(&self.benchmarks)),
            ("ask", repeated(&self.ask)),
            ("domains", repeated(&self.domains)),
            ("small_data.examples", repeated(&small.examples)),
        ] {
            require(
                twice.is_none(),
                format!("{key}: expected each once, found {} twice", twice.unwrap_or_default()),
            );
        }
        require(
            !self.domains.contains(&self.task),
            format!("domains: expected other tasks than the study's own, found \"{}\"", self.task),
        );
        let text = &self.forgetting_text;
        require(
            text.is_empty() || Path::new(text).is_file(),
            format!("forgetting_text: expected a file of text, found \"{text}\", where there is none"),
        );
        require(
            !self.methods.is_empty(),
            "methods: expected at least one table such as [methods.lora]".into(),
        );
        let snapshots = Duration::try_from_secs_f64(self.snapshot_seconds).is_ok();
        let found = self.snapshot_seconds;
        require(
            snapshots,
            format!("snapshot_seconds: expected a number of seconds, 0 or more, found {found}"),
        );
        require(self.margin >= 0.0, format!("margin: expected 0 or more, found {}", self.margin));
        require(
            self.wanted_half_width > 0.0,
            format!("wanted_half_width: expected a number above 0, found {}", self.wanted_half_width),
        );
        let weights = || self.mixture.values();
        let adds_up = (weights().sum::<f64>() - 1.0).abs() < 1e-6 && weights().all(|weight| *weight > 0.0);
        let given: Vec<String> =
            self.mixture.iter().map(|(name, weight)| format!("{name} = {weight}")).collect();
        require(
            self.mixture.is_empty() || adds_up,
            format!(
                "mixture: expected weights above 0 that add up to 1, such as movie = 0.5, amazon = 0.5; \
                 found {}, in all {}",
                given.join(", "),
                (weights().sum::<f64>() * 1e6).round() / 1e6
            ),
        );
        let search = &self.search;
        require(
            (1..=MOST_CANDIDATES).contains(&search.candidates),
            format!("search.candidates: expected 1 to {MOST_CANDIDATES}, found {}", search.candidates),
        );
        require(
            search.num_train_epochs >= 0.0,
            format!(
                "search.num_train_epochs: expected 0, for the study's, or a number above 0, found {}",
                search.num_train_epochs
            ),
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
            "small_data.examples: expected numbers above 0, found 0".into(),
        );
        for (key, sizes) in [("batch_sizes", &self.probe.batch_sizes), ("lengths", &self.probe.lengths)] {
            let wrong = sizes.iter().find(|size| !(1..=MOST_PROBED).contains(*size));
            require(
                wrong.is_none(),
                format!(
                    "probe.{key}: expected numbers of 1 to {}, found {}",
                    thousands(MOST_PROBED as u64),
                    wrong.copied().unwrap_or_default()
                ),
            );
        }
        // Without curves nobody asks for their draws and steps.
        let least = usize::from(!small.examples.is_empty());
        for (key, count, least) in [
            ("small_data.steps", small.steps, least),
            ("small_data.draws", small.draws, least),
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
        if let Err(error) = self.device() {
            faults.push(format!("device: {error}"));
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

/// The first value that stands there before.
fn repeated<T: PartialEq + std::fmt::Debug>(values: &[T]) -> Option<String> {
    let again = |(place, value): &(usize, &T)| values[..*place].contains(*value);
    values.iter().enumerate().find(again).map(|(_, value)| format!("{value:?}"))
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
        let rounds = ((1..=MOST_ROUNDS).contains(&self.rounds), self.rounds.to_string());
        each("rounds", "1 to 100", vec![rounds]);
        let retries = (self.retries <= MOST_RETRIES, self.retries.to_string());
        each("retries", "0 to 100", vec![retries]);
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
    /// One line for each setting that makes no sense.
    fn faults(&self) -> Vec<String> {
        let method = match adapter::method(&self.kind) {
            Ok(method) => method,
            Err(error) => return vec![format!("type: {error}")],
        };
        let mut faults = Vec::new();
        for (key, fault) in adapter::faults(method, &self.settings) {
            let names: Vec<&str> = method.settings.iter().map(|(name, _)| *name).collect();
            let meant = || {
                let own = nearest(&key, OWN).map(|own| format!("did you mean \"{own}\"?"));
                aliases::of_method(&names, &key).or(own)
            };
            faults.push(match (!names.contains(&key.as_str())).then(meant).flatten() {
                Some(meant) => format!("{key}: there is no such setting: {meant}"),
                None => format!("{key}: {fault}"),
            });
        }
        for rate in self.learning_rate.iter().chain(&self.learning_rates) {
            if !(rate.is_finite() && *rate > 0.0) {
                faults.push(format!("learning_rate: expected a number above 0, found {rate}"));
            }
        }
        faults
    }
}
