//! Metric 8: standard benchmarks, trained and scored as their publishers do.

use super::evidence::right_or_wrong;
use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::statistics::{Runs, score};
use std::collections::BTreeMap;

pub(super) static METRIC: Metric = Metric {
    number: 8,
    name: "benchmarks",
    title: "Standard benchmarks",
    unit: "% accuracy on each benchmark's own evaluation split",
    direction: Direction::Higher,
    source: "Each benchmark trained and scored as its publisher does. Mean over seeds, bootstrap interval over seeds and \
             rows.",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let mut runs: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    for (name, _, run) in evidence.benchmarks(method) {
        if let Some(test) = run.tests.first() {
            runs.entry(name).or_default().push(right_or_wrong(test));
        }
    }
    let names = names(evidence);
    if names.is_empty() {
        let note = &evidence.study.benchmark_note;
        let reason = if note.is_empty() { "not run".to_owned() } else { format!("not run: {note}") };
        let reading = Reading::unavailable(reason);
        return vec![Figure::new("none", "Benchmarks", Unit::Share, Direction::Higher, reading)];
    }
    let figure = |name: &String| {
        let found = runs.get(name.as_str()).and_then(|outcomes| Runs::new(outcomes));
        let reading = Reading::measured(found.as_ref().map(score), "no finished run");
        Figure::new(name.clone(), name.clone(), Unit::Share, Direction::Higher, reading)
    };
    names.iter().map(figure).collect()
}

/// Every benchmark that any method was run on.
fn names(evidence: &Evidence) -> Vec<String> {
    let of = |method: &super::MethodFacts| evidence.benchmarks(&method.name);
    let mut names: Vec<String> =
        evidence.study.methods.iter().flat_map(of).map(|(name, ..)| name.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}
