//! A study's candidates: what the search tries of each method, and a method with a candidate's settings in their places.

use super::config::{MethodSettings, Strategy, Study};
use super::space::{Axis, LEARNING_RATE, Space, TRAIN, candidate};
use crate::adapter::{self, Method};
use crate::error::{Error, Result};
use crate::record::Candidate;
use crate::train::TrainSettings;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Settings of training that all candidates share: rows are encoded once, and the budget says how long to train.
const SHARED: [&str; 7] =
    ["max_length", "train_on", "overlong", "memory_limit", "pass_tokens", "num_train_epochs", "max_steps"];
/// Settings of training that decide how many steps the rows make.
const SIZES: [&str; 3] = ["batch_size", "gradient_accumulation_steps", "max_tokens"];

impl MethodSettings {
    /// Whether something of it is searched for.
    pub(super) fn is_searched(&self) -> bool {
        self.learning_rate.is_none() || !self.space.is_empty()
    }

    /// What it is searched in, and what is wrong with that: the learning rate is one of those given, or of the method's
    /// own, where the study states none.
    fn searched_in(&self, strategy: Strategy, count: usize) -> Result<(Space, Vec<String>)> {
        let (space, faults) = Space::of(&self.space);
        if self.learning_rate.is_some() {
            return Ok((space, faults));
        }
        let own = adapter::method(&self.kind)?.learning_rates;
        let rates = if self.learning_rates.is_empty() { own } else { &self.learning_rates };
        let axis = match strategy {
            Strategy::Grid if self.learning_rates.is_empty() => Axis::rates(&spaced(own, count)),
            Strategy::Grid => Axis::rates(rates),
            _ => Axis::between(rates),
        };
        Ok((space.or(LEARNING_RATE, axis), faults))
    }
}

impl Study {
    /// What the search tries of every method that it is for, in an order that the study alone decides.
    pub(super) fn candidates(&self) -> Result<BTreeMap<String, Vec<Candidate>>> {
        let searched = self.methods.iter().filter(|(_, method)| method.is_searched());
        searched.map(|(name, method)| Ok((name.clone(), self.candidates_of(method)?))).collect()
    }

    /// A method's resolved settings and those of training, with a candidate's in their places.
    pub(super) fn with(
        &self,
        method: &MethodSettings,
        candidate: &Candidate,
    ) -> Result<(Value, TrainSettings)> {
        let (mut own, mut train) = (method.settings.clone(), to_map(&self.train));
        for (name, value) in &candidate.settings {
            match name.strip_prefix(TRAIN) {
                Some(name) => drop(train.insert(name.to_owned(), value.clone())),
                None => drop(own.insert(name.clone(), value.clone())),
            }
        }
        let train = serde_json::from_value(Value::Object(train))
            .map_err(|error| Error::malformed("study", "train", "settings of training", error.to_string()))?;
        Ok((adapter::resolve(adapter::method(&method.kind)?, &own)?, train))
    }

    /// Positions of the model that each of the methods takes, at the most of its candidates.
    pub(super) fn virtual_tokens(&self) -> Result<Vec<usize>> {
        let of = |method: &MethodSettings| {
            let all = match method.is_searched() {
                true => self.candidates_of(method)?,
                false => vec![Candidate { learning_rate: 1.0, settings: Map::new() }],
            };
            let taken = all.iter().map(|candidate| {
                Ok(self.with(method, candidate)?.0.as_object().map_or(0, adapter::virtual_tokens))
            });
            Ok(taken.collect::<Result<Vec<usize>>>()?.into_iter().max().unwrap_or(0))
        };
        self.methods.values().map(of).collect()
    }

    /// What is wrong with a method's part of the search.
    pub(super) fn search_faults(&self, method: &MethodSettings) -> Vec<String> {
        let Ok(known) = adapter::method(&method.kind) else { return Vec::new() };
        if !method.is_searched() {
            return Vec::new();
        }
        let (wanted, strategy) = (self.search.candidates, self.search.strategy);
        let Ok((space, mut faults)) = method.searched_in(strategy, wanted) else { return Vec::new() };
        if method.space.contains_key(LEARNING_RATE) && !method.learning_rates.is_empty() {
            faults.push("learning_rates: the space says which are tried".into());
        }
        if method.learning_rate.is_some() && space.contains(LEARNING_RATE) {
            faults.push("learning_rate: the space says which are tried".into());
        }
        for (name, values) in space.extremes() {
            faults.extend(
                self.axis_fault(known, method, name, &values).map(|fault| format!("space.{name}: {fault}")),
            );
        }
        if faults.is_empty() {
            faults.extend(self.unequal_search(method, &space));
        }
        faults
    }

    fn candidates_of(&self, method: &MethodSettings) -> Result<Vec<Candidate>> {
        let (space, _) = method.searched_in(self.search.strategy, self.search.candidates)?;
        let points = match self.search.strategy {
            Strategy::Grid => space.grid().unwrap_or_default(),
            Strategy::Random | Strategy::SuccessiveHalving => {
                space.random(self.search.candidates, self.search.seed)
            }
        };
        Ok(points.into_iter().filter_map(|point| candidate(point, method.learning_rate)).collect())
    }

    /// What is wrong with the values of one setting.
    fn axis_fault(
        &self,
        known: &Method,
        method: &MethodSettings,
        name: &str,
        values: &[Value],
    ) -> Option<String> {
        if name == LEARNING_RATE {
            let is_rate = |rate: &Value| rate.as_f64().is_some_and(|rate| rate.is_finite() && rate > 0.0);
            let wrong = values.iter().find(|value| !is_rate(value))?;
            return Some(format!("expected numbers above 0, found {wrong}"));
        }
        let Some(setting) = name.strip_prefix(TRAIN) else {
            if let Some(stated) = method.settings.get(name) {
                return Some(format!("it is searched for, and stated as {stated}: take one of the two out"));
            }
            let with = |value: &Value| {
                let own = Map::from_iter([(name.to_owned(), value.clone())]);
                adapter::faults(known, &own).into_iter().next().map(|(_, fault)| fault)
            };
            return values.iter().find_map(with);
        };
        if SHARED.contains(&setting) {
            return Some("it is the same for all candidates".into());
        }
        if SIZES.contains(&setting) && self.search.budget == 0 {
            return Some(
                "it decides how many steps a candidate takes: state search.budget, so that all take as many"
                    .into(),
            );
        }
        let train = to_map(&self.train);
        if !train.contains_key(setting) {
            let names = train.keys().map(String::as_str);
            return Some(Error::unknown("setting of training", setting, names).to_string());
        }
        let with = |value: &Value| {
            let mut train = train.clone();
            train.insert(setting.to_owned(), value.clone());
            match serde_json::from_value::<TrainSettings>(Value::Object(train)) {
                Ok(train) => {
                    let key = format!("{TRAIN}{setting}: ");
                    let fault = train.faults().into_iter().next()?;
                    Some(fault.strip_prefix(&key).map(str::to_owned).unwrap_or(fault))
                }
                Err(error) => Some(error.to_string()),
            }
        };
        values.iter().find_map(with)
    }

    /// What is wrong with the number of a method's candidates: every method must have as many.
    fn unequal_search(&self, method: &MethodSettings, space: &Space) -> Option<String> {
        let wanted = self.search.candidates;
        if self.search.strategy == Strategy::Grid && space.grid().is_none() {
            return Some(
                "space: a grid takes short lists; for ranges say search.strategy = \"random\" or \"successive_halving\""
                    .into(),
            );
        }
        let found = self.candidates_of(method).ok()?.len();
        let key = if method.space.is_empty() { "learning_rates" } else { "space" };
        (found != wanted).then(|| {
            format!(
                "{key}: expected {wanted}, as search.candidates says, so that every method has the same chance; \
                 found {found}"
            )
        })
    }
}

/// So many of the rates, as far apart as they allow: all, where that are no more.
fn spaced(rates: &[f64], count: usize) -> Vec<f64> {
    let count = count.min(rates.len());
    (0..count).map(|i| rates[(2 * i + 1) * rates.len() / (2 * count)]).collect()
}

fn to_map(train: &TrainSettings) -> Map<String, Value> {
    match serde_json::to_value(train) {
        Ok(Value::Object(train)) => train,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<Study> {
        let head = "name = 'a'\nmodel = 'm'\ntask = 'vader'\n";
        Study::parse(Path::new("study.toml"), &format!("{head}{text}"), &[])
    }

    fn faults(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn without_a_space_a_grid_is_the_learning_rates_as_ever() {
        let study = parse("[methods.lora]\n[methods.full]\nlearning_rate = 1e-4\n").unwrap();
        let candidates = study.candidates().unwrap();
        assert_eq!(candidates.keys().collect::<Vec<_>>(), ["lora"]);
        let rates: Vec<f64> = candidates["lora"].iter().map(|candidate| candidate.learning_rate).collect();
        assert_eq!(rates, adapter::method("lora").unwrap().learning_rates);
        let few = |count| spaced(&[1.0, 2.0, 3.0, 4.0], count);
        assert_eq!([few(1), few(2), few(3)], [vec![3.0], vec![2.0, 4.0], vec![1.0, 3.0, 4.0]]);
        assert_eq!((few(4), few(0)), (few(9), vec![]));
    }

    #[test]
    fn a_candidate_stands_in_the_settings_of_its_method_and_of_training() {
        let study = parse(
            "[search]\nstrategy = 'random'\ncandidates = 6\n[methods.lora]\nlora_alpha = 32\n[methods.lora.space]\nr = [4, 8, 16]\n\
             learning_rate = { low = 1e-4, high = 1e-2, scale = 'log' }\ntrain.weight_decay = [0.0, 0.1]\n",
        )
        .unwrap();
        let candidates = &study.candidates().unwrap()["lora"];
        assert_eq!(candidates.len(), 6);
        for candidate in candidates {
            let (adapter, train) = study.with(&study.methods["lora"], candidate).unwrap();
            assert_eq!(adapter["r"], candidate.settings["r"]);
            assert_eq!(adapter["lora_alpha"], 32);
            assert_eq!(train.weight_decay, candidate.settings["train.weight_decay"].as_f64().unwrap());
            assert!((1e-4..=1e-2).contains(&candidate.learning_rate));
        }
        assert_eq!(Study::parse(Path::new("s"), &study.to_toml(), &[]).unwrap(), study);
    }

    #[test]
    fn the_longest_prompt_that_is_tried_is_what_all_rows_leave_room_for() {
        let study = parse(
            "[methods.lora]\nlearning_rate = 1e-3\n[methods.prompt_tuning]\nlearning_rate = 1e-1\n\
             [methods.prompt_tuning.space]\nnum_virtual_tokens = [5, 20, 10, 40]\n",
        )
        .unwrap();
        assert_eq!(study.virtual_tokens().unwrap(), [0, 40]);
    }

    #[test]
    fn what_cannot_be_searched_is_said_with_its_key() {
        for (text, expected) in [
            (
                "[methods.lora.space]\nr = [4, 8]\n",
                "methods.lora.space: expected 4, as search.candidates says",
            ),
            ("[methods.lora.space]\nr = { low = 1, high = 9 }\n", "a grid takes short lists"),
            (
                "[methods.lora.space]\nrr = [1]\n",
                "methods.lora.space.rr: there is no such setting: did you mean \"r\"?",
            ),
            (
                "[methods.lora.space]\nr = [4, 0, 8, 16]\n",
                "space.r: expected a whole number of 1 or more, found 0",
            ),
            (
                "[methods.lora]\nr = 8\n[methods.lora.space]\nr = [1, 2, 4, 8]\n",
                "space.r: it is searched for, and stated as 8",
            ),
            ("[methods.lora.space]\ntrain.weight_dekay = [0.1]\n", "did you mean \"weight_decay\""),
            (
                "[methods.lora.space]\ntrain.weight_decay = [-1.0]\n",
                "space.train.weight_decay: expected 0 or more, found -1",
            ),
            ("[methods.lora.space]\ntrain.max_length = [8]\n", "the same for all candidates"),
            ("[methods.lora.space]\ntrain.batch_size = [8]\n", "state search.budget"),
            ("[methods.lora.space]\nlearning_rate = [-1.0]\n", "numbers above 0"),
            (
                "[methods.lora]\nlearning_rate = 1e-3\nspace.learning_rate = [1e-3]\n",
                "the space says which are tried",
            ),
            ("[search]\nstrategy = 'randon'\n[methods.lora]\n", "search.strategy"),
            (
                "[search]\nstrategy = 'random'\n[methods.lora]\nlearning_rate = 1e-3\nspace.r = [1, 2]\n",
                "expected 4",
            ),
            ("[search]\nbudget = 3\n[methods.lora]\n", "search.budget"),
            ("[search]\neta = 1\n[methods.lora]\n", "search.eta"),
        ] {
            let said = faults(text);
            assert!(said.contains(expected), "{expected} not in:\n{said}");
        }
    }
}
