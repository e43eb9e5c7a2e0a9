//! What a search tries of a method: a list or a range for each setting, and the candidates taken from them.

use crate::record::Candidate;
use crate::statistics::SplitMix;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tenfold_tensor::random;

/// The learning rate's name in a space.
pub(super) const LEARNING_RATE: &str = "learning_rate";
/// Before the names of settings of training, as in a study's `[train]`.
pub(super) const TRAIN: &str = "train.";

/// More points than this are not gone through one by one.
const MOST_POINTS: usize = 10_000;
/// As many draws for each candidate, before a space is said to have no more points.
const DRAWS: u64 = 200;

/// Settings by name, each with what it may be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Space(BTreeMap<String, Axis>);

/// What a setting may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Axis {
    /// One of these.
    Choice(Vec<Value>),
    /// Any number from the one to the other.
    Range {
        low: f64,
        high: f64,
        /// Evenly over the logarithm.
        log: bool,
        /// Whole numbers alone: both ends were given as such.
        whole: bool,
    },
}

impl Space {
    /// The space of a study's table, and what is wrong with it. `train` may be a table of its own.
    pub(super) fn of(given: &Map<String, Value>) -> (Space, Vec<String>) {
        let (mut axes, mut faults) = (BTreeMap::new(), Vec::new());
        let mut put = |name: String, value: &Value| match Axis::of(value) {
            Ok(axis) => drop(axes.insert(name, axis)),
            Err(fault) => faults.push(format!("space.{name}: {fault}")),
        };
        for (name, value) in given {
            match value {
                Value::Object(table) if name == TRAIN.trim_end_matches('.') => {
                    table.iter().for_each(|(name, value)| put(format!("{TRAIN}{name}"), value));
                }
                other => put(name.clone(), other),
            }
        }
        (Space(axes), faults)
    }

    /// The same with an axis more, unless it has it.
    pub(super) fn or(mut self, name: &str, axis: Axis) -> Space {
        self.0.entry(name.to_owned()).or_insert(axis);
        self
    }

    /// Its settings, with values that stand for all: every choice, or both ends.
    pub(super) fn extremes(&self) -> impl Iterator<Item = (&str, Vec<Value>)> {
        self.0.iter().map(|(name, axis)| (name.as_str(), axis.extremes()))
    }

    /// Whether it has this setting.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Every combination, in the order of the lists; the last setting changes fastest. `None` if there is a range, or if
    /// there are too many.
    pub(super) fn grid(&self) -> Option<Vec<Map<String, Value>>> {
        let mut points = vec![Map::new()];
        for (name, axis) in &self.0 {
            let Axis::Choice(choices) = axis else { return None };
            if points.len().checked_mul(choices.len())? > MOST_POINTS {
                return None;
            }
            let with = |point: &Map<String, Value>, choice: &Value| {
                let mut point = point.clone();
                point.insert(name.clone(), choice.clone());
                point
            };
            points = points
                .iter()
                .flat_map(|point| choices.iter().map(move |choice| with(point, choice)))
                .collect();
        }
        Some(points)
    }

    /// `count` different points drawn at random (Bergstra and Bengio 2012, "Random Search for Hyper-Parameter
    /// Optimization"); fewer if the space has fewer. Each setting's draw is a function of the seed, its name and the
    /// draw's number, so that methods meet the same share of the way from the lower end of a range to the upper.
    pub(super) fn random(&self, count: usize, seed: u64) -> Vec<Map<String, Value>> {
        if let Some(mut points) = self.grid() {
            let stream = random::mix(random::key(seed, "points"), points.len() as u64);
            let order = random::permutation(stream, points.len());
            return order.into_iter().take(count).map(|point| std::mem::take(&mut points[point])).collect();
        }
        let mut points: Vec<Map<String, Value>> = Vec::new();
        for draw in 0..DRAWS * count as u64 {
            let of = |(name, axis): (&String, &Axis)| {
                (name.clone(), axis.at(SplitMix::stream(random::key(seed, name), draw).uniform()))
            };
            let point: Map<String, Value> = self.0.iter().map(of).collect();
            if points.len() < count && !points.contains(&point) {
                points.push(point);
            }
            if points.len() == count {
                break;
            }
        }
        points
    }
}

impl Axis {
    /// A list of learning rates.
    pub(super) fn rates(rates: &[f64]) -> Axis {
        Axis::Choice(rates.iter().map(|rate| (*rate).into()).collect())
    }

    /// From the lowest to the highest of some learning rates, evenly over the logarithm.
    pub(super) fn between(rates: &[f64]) -> Axis {
        let (low, high) =
            rates.iter().fold((f64::INFINITY, 0.0f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        Axis::Range { low, high, log: true, whole: false }
    }

    fn of(value: &Value) -> Result<Axis, String> {
        match value {
            Value::Array(choices) if choices.is_empty() => {
                Err("expected one value or more, found none".into())
            }
            Value::Array(choices) => {
                match choices.iter().enumerate().find(|(i, c)| choices[..*i].contains(c)) {
                    Some((_, twice)) => Err(format!("expected different values, found {twice} twice")),
                    None => Ok(Axis::Choice(choices.clone())),
                }
            }
            Value::Object(table) => Axis::range(table),
            other => Err(format!("expected a list such as [4, 8], or {EXAMPLE}, found {other}")),
        }
    }

    fn range(table: &Map<String, Value>) -> Result<Axis, String> {
        if let Some(key) = table.keys().find(|key| !["low", "high", "scale"].contains(&key.as_str())) {
            return Err(format!("there is no \"{key}\" in a range: expected {EXAMPLE}"));
        }
        let log = match table.get("scale").map(Value::as_str) {
            None | Some(Some("linear")) => false,
            Some(Some("log")) => true,
            _ => return Err("scale: expected \"log\" or \"linear\"".into()),
        };
        let end = |key: &str| table.get(key).filter(|end| end.is_number());
        let (Some(first), Some(last)) = (end("low"), end("high")) else {
            return Err(format!("expected numbers for low and high, as in {EXAMPLE}"));
        };
        let whole = [first, last].iter().all(|end| end.as_i64().is_some());
        let (low, high) = (first.as_f64().unwrap_or(f64::NAN), last.as_f64().unwrap_or(f64::NAN));
        if low >= high || (log && low <= 0.0) {
            let least = if log { "above 0 and " } else { "" };
            return Err(format!("expected low {least}below high, found {first} and {last}"));
        }
        Ok(Axis::Range { low, high, log, whole })
    }

    fn extremes(&self) -> Vec<Value> {
        match self {
            Axis::Choice(choices) => choices.clone(),
            Axis::Range { .. } => vec![self.at(0.0), self.at(1.0)],
        }
    }

    /// The value at a share of the way, 0 to 1.
    fn at(&self, share: f64) -> Value {
        match self {
            Axis::Choice(choices) => {
                choices[((share * choices.len() as f64) as usize).min(choices.len() - 1)].clone()
            }
            Axis::Range { low, high, log, whole } => {
                let value = if *log { low * (high / low).powf(share) } else { low + (high - low) * share };
                let value = if *whole { value.round() } else { rounded(value) }.clamp(*low, *high);
                if *whole { (value as i64).into() } else { value.into() }
            }
        }
    }
}

const EXAMPLE: &str = "{ low = 1e-5, high = 1e-2, scale = \"log\" }";

/// Three digits: no result hangs on more, and people read them.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// A point as a candidate: its learning rate, or the one that the method states, and the rest.
pub(super) fn candidate(mut point: Map<String, Value>, stated: Option<f64>) -> Option<Candidate> {
    let own = point.remove(LEARNING_RATE).and_then(|rate| rate.as_f64());
    Some(Candidate { learning_rate: own.or(stated)?, settings: point })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn space(given: Value) -> Space {
        let (space, faults) = Space::of(given.as_object().unwrap());
        assert!(faults.is_empty(), "{faults:?}");
        space
    }

    #[test]
    fn a_grid_is_every_combination_and_a_range_has_none() {
        let points = space(json!({ "r": [4, 8], "train": { "weight_decay": [0.0, 0.1] } })).grid().unwrap();
        assert_eq!(points.len(), 4);
        assert_eq!(points[1], *json!({ "r": 4, "train.weight_decay": 0.1 }).as_object().unwrap());
        assert_eq!(space(json!({ "r": { "low": 4, "high": 8 } })).grid(), None);
    }

    #[test]
    fn draws_are_different_within_their_ranges_and_the_same_for_the_same_seed() {
        let given = json!({
            "learning_rate": { "low": 1e-5, "high": 1e-2, "scale": "log" },
            "r": { "low": 2, "high": 64, "scale": "log" },
            "target": ["a", "b"],
        });
        let points = space(given.clone()).random(400, 3);
        assert_eq!(points.len(), 400);
        assert_eq!(points, space(given.clone()).random(400, 3));
        assert_ne!(points, space(given).random(400, 4));
        let rates: Vec<f64> = points.iter().map(|p| p["learning_rate"].as_f64().unwrap()).collect();
        assert!(rates.iter().all(|rate| (1e-5..=1e-2).contains(rate)));
        // Log-uniform: a third of the draws in each decade.
        for decade in [1e-5, 1e-4, 1e-3] {
            let share = rates.iter().filter(|rate| (decade..decade * 10.0).contains(*rate)).count();
            assert!((100..=166).contains(&share), "{share} of 400 in {decade:e}");
        }
        let ranks: Vec<i64> = points.iter().map(|p| p["r"].as_i64().unwrap()).collect();
        assert!(
            ranks.iter().all(|r| (2..=64).contains(r)) && ranks.iter().filter(|r| **r < 11).count() > 150
        );
        let a = points.iter().filter(|p| p["target"] == "a").count();
        assert!((160..=240).contains(&a), "{a}");
    }

    #[test]
    fn a_small_space_gives_each_of_its_points_once_and_no_more() {
        let small = space(json!({ "r": [1, 2, 3], "s": [true, false] }));
        let mut points = small.random(9, 0);
        assert_eq!(points.len(), 6);
        points.sort_by_key(|point| point["r"].as_i64());
        points.dedup();
        assert_eq!(points.len(), 6);
        assert_eq!(space(json!({ "r": { "low": 1, "high": 3 } })).random(9, 0).len(), 3);
    }

    #[test]
    fn every_fault_of_a_space_names_its_setting() {
        let given = json!({
            "a": [], "b": 3, "c": { "low": 2, "high": 1 }, "d": { "low": 0, "high": 1, "scale": "log" },
            "e": { "low": 0, "high": 1, "scale": "ln" }, "f": { "low": 1 }, "g": [1, 1],
            "h": { "low": 0, "high": 1, "step": 1 }, "train": { "i": "x" },
        });
        let (found, faults) = Space::of(given.as_object().unwrap());
        assert_eq!((found.0.len(), faults.len()), (0, 9), "{faults:?}");
        for (name, fault) in ["a", "b", "c", "d", "e", "f", "g", "h", "train.i"].iter().zip(&faults) {
            assert!(fault.starts_with(&format!("space.{name}: ")), "{fault}");
        }
    }
}
