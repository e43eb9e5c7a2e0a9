//! Metric 8: standard benchmarks, trained and scored as their publishers do.

use super::{Direction, Evidence, Figure, Metric, Outcomes, Reading, TakenFrom, Unit, asked};
use crate::record::{Test, Trained};
use crate::score::{Kind, Scoring, average, scoring, usual};
use crate::statistics::mean;
use std::collections::BTreeMap;

pub(super) static METRIC: Metric = Metric {
    number: 8,
    name: "benchmarks",
    title: "Standard benchmarks",
    unit: "each benchmark's own score on its own evaluation split",
    direction: Direction::Higher,
    source: "Each benchmark trained and scored as its publisher does. Mean over seeds, bootstrap interval over seeds and \
             rows. GLUE and SuperGLUE: mean of the tasks, each the mean of its scores and splits; Student's t over seeds. \
             Tasks that were asked: as lm-evaluation-harness asks them, of the base model and of every tuned one; MMLU over all \
             questions and over those of each category. Every method takes the settings that the study states or its search found on the study's own task.",
    taken_from: TakenFrom::Benchmarks,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let splits = splits(evidence);
    let absent = &evidence.study.absent_benchmarks;
    let asked = asked::figures(evidence, method);
    if splits.is_empty() && absent.is_empty() && asked.is_empty() {
        let reading = Reading::unavailable("not run: the study names none");
        return vec![Figure::new("none", "Benchmarks", Unit::Share, Direction::Higher, reading)];
    }
    let mut figures: Vec<Figure> = splits.iter().flat_map(|split| split.figures(evidence, method)).collect();
    figures.extend(asked);
    figures.extend(absent.iter().map(|(name, why)| {
        let reading = Reading::unavailable(format!("not run: {why}"));
        Figure::new(name.clone(), name.clone(), Unit::Share, Direction::Higher, reading)
    }));
    figures.extend(SUITES.iter().filter_map(|suite| suite.figure(evidence, &splits, method)));
    figures
}

/// Benchmarks whose publisher adds them up: the mean of the tasks, of which each is the mean of its scores and splits.
struct Suite {
    key: &'static str,
    title: &'static str,
    tasks: &'static [&'static str],
}

const SUITES: [Suite; 3] = [
    Suite {
        key: "glue",
        title: "GLUE",
        tasks: &[
            "glue_cola",
            "sst2",
            "glue_mrpc",
            "glue_stsb",
            "glue_qqp",
            "glue_mnli",
            "glue_qnli",
            "glue_rte",
            "glue_wnli",
        ],
    },
    // Asked as the harness does, MultiRC answer by answer and CB by accuracy alone, which is not the publisher's score.
    Suite {
        key: "superglue_asked",
        title: "SuperGLUE as lm-evaluation-harness asks it",
        tasks: &["boolq", "cb", "copa", "multirc", "record", "sglue_rte", "wic", "wsc"],
    },
    // The same of models with a head.
    Suite {
        key: "superglue",
        title: "SuperGLUE",
        tasks: &[
            "superglue_boolq",
            "superglue_cb",
            "superglue_copa",
            "superglue_multirc",
            "superglue_record",
            "superglue_rte",
            "superglue_wic",
            "superglue_wsc",
        ],
    },
];

impl Suite {
    /// Its score where all of its tasks were run, or which are missing; nothing where hardly any was.
    fn figure(&self, evidence: &Evidence, splits: &[Split], method: &str) -> Option<Figure> {
        let run = |task: &&&str| splits.iter().any(|split| split.benchmark == **task);
        if self.tasks.iter().filter(run).count() < 2 {
            return None;
        }
        let missing: Vec<&str> = self.tasks.iter().filter(|task| !run(task)).copied().collect();
        let reading = match missing.as_slice() {
            [] => {
                Reading::measured(mean(&self.of_seeds(evidence, method)), "not every task has a finished run")
            }
            missing => Reading::unavailable(format!("not all of it was run: {} missing", missing.join(", "))),
        };
        Some(Figure::new(
            self.key,
            format!("{}, mean of tasks", self.title),
            Unit::Share,
            Direction::Higher,
            reading,
        ))
    }

    /// The score of every seed that all tasks were run with.
    fn of_seeds(&self, evidence: &Evidence, method: &str) -> Vec<f64> {
        let mut tasks: BTreeMap<u64, BTreeMap<&str, f64>> = BTreeMap::new();
        for (name, seed, run) in evidence.benchmarks(method) {
            let values: Option<Vec<f64>> = run.tests.iter().map(|test| test.score.value).collect();
            if let Some(value) = values.and_then(|values| average(&values)) {
                tasks.entry(seed).or_default().insert(name, value);
            }
        }
        let of = |scores: BTreeMap<&str, f64>| {
            let own: Option<Vec<f64>> = self.tasks.iter().map(|task| scores.get(task).copied()).collect();
            average(&own?)
        };
        tasks.into_values().filter_map(of).collect()
    }
}

/// One test split of a benchmark.
#[derive(Debug, PartialEq)]
struct Split<'a> {
    benchmark: &'a str,
    domain: &'a str,
    /// Whether it is the benchmark's first, which goes by the benchmark's name alone.
    first: bool,
    metric: &'a str,
}

impl Split<'_> {
    /// Its score, and those that the score is the mean of.
    fn figures(&self, evidence: &Evidence, method: &str) -> Vec<Figure> {
        let own = scoring(self.metric).unwrap_or_else(|_| usual(Kind::Labels));
        let label = if self.first {
            self.benchmark.to_owned()
        } else {
            format!("{} {}", self.benchmark, self.domain)
        };
        let parts = own.parts.iter().filter_map(|name| scoring(name).ok());
        let mut figures = vec![self.figure(evidence, method, own, label.clone())];
        figures
            .extend(parts.map(|part| self.figure(evidence, method, part, format!("{label}: {}", part.noun))));
        figures
    }

    fn figure(&self, evidence: &Evidence, method: &str, by: &'static Scoring, label: String) -> Figure {
        let tests = self.tests(evidence, method);
        let found = Outcomes::new(by, &tests).map(|outcomes| outcomes.estimate());
        let why = if tests.is_empty() { "no finished run" } else { "not defined on these answers" };
        let key = if by.name == self.metric {
            label.replace(' ', "_")
        } else {
            format!("{}_{}", label.split(':').next().unwrap_or_default().replace(' ', "_"), by.name)
        };
        Figure::new(key, label, by.unit, by.direction, Reading::measured(found, why))
    }

    fn tests<'t>(&self, evidence: &Evidence<'t>, method: &str) -> Vec<&'t Test> {
        let runs = evidence.benchmarks(method).into_iter().filter(|(name, ..)| *name == self.benchmark);
        runs.filter_map(|(_, _, run)| run.tests.iter().find(|test| test.domain == self.domain)).collect()
    }
}

/// Every test split of every benchmark that any method was run on, by name.
fn splits<'a>(evidence: &Evidence<'a>) -> Vec<Split<'a>> {
    let runs = evidence.study.methods.iter().flat_map(|method| evidence.benchmarks(&method.name));
    let mut runs: Vec<(&str, &Trained)> = runs.map(|(name, _, run)| (name, run)).collect();
    runs.sort_by_key(|(name, _)| *name);
    let mut splits: Vec<Split> = Vec::new();
    for (benchmark, run) in runs {
        for (place, test) in run.tests.iter().enumerate() {
            let split = Split { benchmark, domain: &test.domain, first: place == 0, metric: &test.metric };
            if !splits.contains(&split) {
                splits.push(split);
            }
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::World;
    use super::*;
    use crate::record::{Outcome, Role};

    #[test]
    fn every_split_of_a_benchmark_is_scored_as_it_says() {
        let world = World::new();
        let evidence = world.evidence();
        let mut records = evidence.records.to_vec();
        records.retain(|record| record.trial.method == "lora" && record.trial.role == Role::Main);
        for record in &mut records {
            record.trial.role = Role::Benchmark { name: "mnli".into() };
            if let Outcome::Trained(run) = &mut record.outcome {
                run.tests.truncate(2);
                run.tests[1].metric = "accuracy_f1".into();
            }
        }
        let evidence = Evidence::new(evidence.study.clone(), &records);
        let figures = compute(&evidence, "lora");
        let keys: Vec<&str> = figures.iter().map(|figure| figure.key.as_str()).collect();
        assert_eq!(keys, ["mnli", "mnli_restaurant", "mnli_restaurant_accuracy", "mnli_restaurant_f1"]);
        let value = |place: usize| figures[place].reading.estimate().unwrap().value;
        assert!((value(1) - (value(2) + value(3)) / 2.0).abs() < 1e-12);
        assert!(compute(&evidence, "full").iter().all(|figure| figure.reading.estimate().is_none()));
    }

    /// Every main run of LoRA as one run of each of these tasks.
    fn with_tasks(tasks: &[&str]) -> Vec<Figure> {
        let world = World::new();
        let evidence = world.evidence();
        let mains = evidence.records.iter();
        let mains = mains.filter(|record| record.trial.method == "lora" && record.trial.role == Role::Main);
        let run = |task: &str| Role::Benchmark { name: task.into() };
        let records: Vec<_> = mains
            .flat_map(|main| {
                tasks.iter().map(|task| {
                    let mut record = main.clone();
                    record.trial.role = run(task);
                    if let Outcome::Trained(run) = &mut record.outcome {
                        run.tests.truncate(1);
                        run.tests[0].score.value = Some(if *task == "glue_cola" { 0.4 } else { 0.85 });
                    }
                    record
                })
            })
            .collect();
        compute(&Evidence::new(evidence.study.clone(), &records), "lora")
    }

    #[test]
    fn a_suite_is_the_mean_of_its_tasks_or_says_which_are_missing() {
        let figures = with_tasks(SUITES[0].tasks);
        let suite = figures.iter().find(|figure| figure.key == "glue").unwrap();
        assert!((suite.reading.estimate().unwrap().value - (0.4 + 8.0 * 0.85) / 9.0).abs() < 1e-12);
        let figures = with_tasks(&SUITES[0].tasks[1..]);
        let Some(Reading::Unavailable { reason }) =
            figures.iter().find(|figure| figure.key == "glue").map(|figure| &figure.reading)
        else {
            panic!("{figures:?}")
        };
        assert_eq!(reason, "not all of it was run: glue_cola missing");
        assert!(with_tasks(&["sst2"]).iter().all(|figure| figure.key != "glue"));
    }
}
