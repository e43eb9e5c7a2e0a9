//! What the metrics may look at: the study's facts and its records, by method and purpose.

use super::{Accounting, Application, Baseline, Outcomes, Pace, Standing, TakenFrom, Timings, timings};
use crate::record::{Asked, Candidate, Disturbance, Outcome, Probed, Record, Repeat, Role, Test, Trained};
use crate::score::{Kind, Scoring, scoring, usual};
use crate::statistics::Estimate;
use crate::words::count;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// All a study left behind.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// What was studied and how.
    pub study: StudyFacts,
    /// Its records, in any order.
    pub records: &'a [Record],
    /// What the probes measured, by method.
    timings: BTreeMap<String, Timings>,
    /// What was worked out of them already.
    pub(crate) known: Known,
}

/// Results that several metrics ask for. A copy of the evidence works them out anew, as its records may be others.
#[derive(Debug, Default)]
pub(crate) struct Known {
    outcomes: Mutex<BTreeMap<OutcomesOf, Option<Arc<Outcomes>>>>,
    standing: OnceLock<Arc<Standing>>,
    baseline: OnceLock<Option<Arc<Baseline>>>,
    untuned: OnceLock<Option<Arc<Outcomes>>>,
}

/// Method, domain and score.
type OutcomesOf = (String, Option<String>, &'static str);

impl Clone for Known {
    fn clone(&self) -> Known {
        Known::default()
    }
}

/// What was studied and how, in words where the report only repeats it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StudyFacts {
    /// The study's name.
    pub name: String,
    /// The purpose it recommends for: "balanced", "memory" …; see `report::Purpose`.
    pub purpose: String,
    /// The methods in the study's order.
    pub methods: Vec<MethodFacts>,
    /// Seeds of the comparison.
    pub seeds: Vec<u64>,
    /// Sizes of the small-data curve.
    pub small_data: Vec<usize>,
    /// Draws of each size.
    pub small_data_draws: usize,
    /// How much worse than full fine-tuning still counts as as good, in the unit of the score.
    pub margin: f64,
    /// Half the width of the interval over seeds that is wanted, in the unit of the score.
    pub wanted_half_width: f64,
    /// Rows in a training batch.
    pub batch_size: usize,
    /// Applications that response times are held against.
    pub applications: Vec<Application>,
    /// How energy is accounted for.
    pub energy: Accounting,
    /// Where the learning rates come from, in a sentence.
    pub learning_rates: String,
    /// The data: task, source, rows in each split, label shares, hash; a few sentences.
    pub data: String,
    /// What makes scores on the data doubtful, such as test rows that are trained on: sentences without a full stop.
    pub doubts: Vec<String>,
    /// The names of the labels by their numbers; empty where answers are no labels or the names are not known.
    pub labels: Vec<String>,
    /// The base model: name, parameters, weights' type, hash; a sentence.
    pub model: String,
    /// The machine; a sentence.
    pub machine: String,
    /// The mixture that every method was trained on once more, in words; empty: none.
    pub mixture: String,
    /// Why forgetting was not measured; empty where it was.
    pub forgetting: String,
    /// Benchmarks that were not run, by name, each with why.
    pub absent_benchmarks: Vec<(String, String)>,
    /// Trials of the study that were not run, by method.
    pub missing: BTreeMap<String, usize>,
    /// The day the report was made, as it is to be shown.
    pub generated_at: String,
    /// Wall time of the whole study, in seconds.
    pub elapsed_seconds: f64,
}

/// One method of the study.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MethodFacts {
    /// Its name in the study and in the records: "lora-r32".
    pub name: String,
    /// Its name for people: "LoRA, rank 32".
    pub title: String,
    /// The adapter's type: "lora", "full".
    pub kind: String,
    /// True if it can be merged into the base.
    pub mergeable: bool,
    /// The learning rate of its main trials, and what else the search found for it.
    pub chosen: Option<Candidate>,
    /// The adapter of the seed that did best on the validation rows, below the run's folder: "trials/…/adapter".
    pub adapter: Option<String>,
}

/// A trial that could not be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure<'a> {
    /// The method's name.
    pub method: &'a str,
    /// What the trial was for.
    pub role: &'a Role,
    /// Its seed.
    pub seed: u64,
    /// Why, for people.
    pub reason: &'a str,
}

impl StudyFacts {
    /// The name of a label, or its number where it has none.
    pub fn plain_label(&self, label: u32) -> String {
        self.labels.get(label as usize).cloned().unwrap_or_else(|| label.to_string())
    }

    /// A label within a sentence: `"good"`, `label 1`.
    pub fn label(&self, label: u32) -> String {
        let named = self.labels.get(label as usize).map(|name| format!("\"{name}\""));
        named.unwrap_or_else(|| format!("label {label}"))
    }
}

impl<'a> Evidence<'a> {
    /// What a study's records say.
    pub fn new(study: StudyFacts, records: &'a [Record]) -> Evidence<'a> {
        let of = |record: &Record| {
            Some((record.trial.method.clone(), Timings::of(record.measured.probe.as_deref()?)?))
        };
        let timings = records.iter().filter_map(of).collect();
        Evidence { study, records, timings, known: Known::default() }
    }

    /// The task's own score: that of any main run, or accuracy before there is one.
    pub fn scoring(&self) -> &'static Scoring {
        let main = self.study.methods.iter().find_map(|method| Some(self.main(&method.name).first()?.1));
        main.and_then(|run| scoring(&run.metric).ok()).unwrap_or_else(|| usual(Kind::Labels))
    }

    /// Full fine-tuning, the yardstick, if the study has it.
    pub fn full(&self) -> Option<&MethodFacts> {
        self.study.methods.iter().find(|method| method.kind == "full")
    }

    /// The facts of a method.
    pub fn method(&self, name: &str) -> Option<&MethodFacts> {
        self.study.methods.iter().find(|method| method.name == name)
    }

    /// Trained runs of the comparison, by rising seed.
    pub fn main(&self, method: &str) -> Vec<(u64, &'a Trained)> {
        self.by_seed(method, &Role::Main)
    }

    /// Runs trained on the mixture of domains, by rising seed.
    pub fn mixture(&self, method: &str) -> Vec<(u64, &'a Trained)> {
        self.by_seed(method, &Role::Mixture)
    }

    fn by_seed(&self, method: &str, wanted: &Role) -> Vec<(u64, &'a Trained)> {
        let mut runs: Vec<(u64, &Trained)> =
            self.trained(method).filter(|(role, ..)| *role == wanted).map(|(_, s, t)| (s, t)).collect();
        runs.sort_by_key(|(seed, _)| *seed);
        runs
    }

    /// Runs of the small-data curve: examples, draw, run; in rising order.
    pub fn small_data(&self, method: &str) -> Vec<(usize, usize, &'a Trained)> {
        let mut runs: Vec<_> = self
            .trained(method)
            .filter_map(|(role, _, run)| match role {
                Role::SmallData { examples, draw } => Some((*examples, *draw, run)),
                _ => None,
            })
            .collect();
        runs.sort_by_key(|(examples, draw, _)| (*examples, *draw));
        runs
    }

    /// Runs of standard benchmarks: name, seed, run; by name and seed.
    pub fn benchmarks(&self, method: &str) -> Vec<(&'a str, u64, &'a Trained)> {
        let mut runs: Vec<_> = self
            .trained(method)
            .filter_map(|(role, seed, run)| match role {
                Role::Benchmark { name } => Some((name.as_str(), seed, run)),
                _ => None,
            })
            .collect();
        runs.sort_by_key(|(name, seed, _)| (*name, *seed));
        runs
    }

    /// What its models said to tasks that they were not trained on: task, seed, answers; by task and seed.
    pub fn asked(&self, method: &str) -> Vec<(&'a str, u64, &'a Asked)> {
        let mut asked: Vec<_> = self
            .of(method)
            .filter_map(|record| match (&record.trial.role, &record.outcome) {
                (Role::Asked { name }, Outcome::Asked(asked)) => {
                    Some((name.as_str(), record.trial.seed, &**asked))
                }
                _ => None,
            })
            .collect();
        asked.sort_by_key(|(name, seed, _)| (*name, *seed));
        asked
    }

    /// What was measured of the method alone on the machine.
    pub fn probe(&self, method: &str) -> Option<&Timings> {
        self.timings.get(method)
    }

    /// The same round by round.
    pub fn probed(&self, method: &str) -> Option<&'a Probed> {
        self.of(method).find_map(|record| record.measured.probe.as_deref())
    }

    /// How many times as long one method takes as another, within rounds that timed both; with what disturbed them. `None` if no
    /// rounds did.
    pub fn ratio(&self, one: &str, other: &str, pace: Pace) -> Option<(Estimate, Option<Disturbance>)> {
        timings::ratio(self.probed(one)?, self.probed(other)?, pace)
    }

    /// Whether the method's probe gave the bits of its trial again.
    pub fn repeat(&self, method: &str) -> Option<&'a Repeat> {
        self.of(method).find_map(|record| match &record.outcome {
            Outcome::Probed(repeat) => Some(repeat),
            _ => None,
        })
    }

    /// Every trial that could not be run, in the study's order of methods.
    pub fn failures(&self) -> Vec<Failure<'a>> {
        let mut failures: Vec<Failure> = self
            .records
            .iter()
            .filter_map(|record| match &record.outcome {
                Outcome::Failed { reason } => Some(Failure {
                    method: &record.trial.method,
                    role: &record.trial.role,
                    seed: record.trial.seed,
                    reason,
                }),
                _ => None,
            })
            .collect();
        let place = |name: &str| self.study.methods.iter().position(|m| m.name == name);
        failures
            .sort_by_key(|f| (place(f.method).unwrap_or(usize::MAX), f.method, role_name(f.role), f.seed));
        failures
    }

    /// Every domain that a main run was tested on, the one trained on first.
    pub fn domains(&self) -> Vec<&'a str> {
        let mut domains: Vec<&str> = Vec::new();
        for method in &self.study.methods {
            for (_, run) in self.main(&method.name) {
                for test in &run.tests {
                    if !domains.contains(&test.domain.as_str()) {
                        domains.push(&test.domain);
                    }
                }
            }
        }
        domains
    }

    /// The answers of a method's main runs in one domain (`None`: the one trained on), scored as the task is.
    pub fn outcomes(&self, method: &str, domain: Option<&str>) -> Option<Arc<Outcomes>> {
        self.outcomes_by(self.scoring(), method, domain)
    }

    /// What the base model itself answers on the first test split; `None` where it cannot.
    pub fn untuned(&self) -> Option<Arc<Outcomes>> {
        let mut runs = self.records.iter().filter_map(|record| match &record.outcome {
            Outcome::Trained(run) => run.untuned.as_ref(),
            _ => None,
        });
        let found = || Outcomes::new(self.scoring(), &[runs.next()?]).map(Arc::new);
        self.known.untuned.get_or_init(found).clone()
    }

    /// Draws the test rows of every domain once for all methods, by the task's own score and its parts.
    pub(super) fn draw_together(&self) {
        let own = self.scoring();
        let others = self.domains().into_iter().skip(1).map(Some);
        let mut sets: Vec<(&'static Scoring, Option<&str>)> =
            std::iter::once(None).chain(others).map(|domain| (own, domain)).collect();
        sets.extend(own.parts.iter().filter_map(|part| scoring(part).ok()).map(|part| (part, None)));
        for (by, domain) in sets {
            let methods = self.study.methods.iter();
            let found: Vec<Arc<Outcomes>> =
                methods.filter_map(|method| self.outcomes_by(by, &method.name, domain)).collect();
            Outcomes::draw_together(&found.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        }
    }

    /// The answers of a method's runs on the mixture in one domain, scored as the task is.
    pub fn mixed_outcomes(&self, method: &str, domain: Option<&str>) -> Option<Outcomes> {
        let tests: Option<Vec<&Test>> =
            self.mixture(method).iter().map(|(_, run)| test_of(run, domain)).collect();
        Outcomes::new(self.scoring(), &tests?)
    }

    /// The same by another score of such answers.
    pub fn outcomes_by(
        &self,
        scoring: &'static Scoring,
        method: &str,
        domain: Option<&str>,
    ) -> Option<Arc<Outcomes>> {
        let key = (method.to_owned(), domain.map(str::to_owned), scoring.name);
        let mut known = self.known.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.entry(key).or_insert_with(|| {
            let tests: Option<Vec<&Test>> =
                self.main(method).iter().map(|(_, run)| test_of(run, domain)).collect();
            Outcomes::new(scoring, &tests?).map(Arc::new)
        });
        found.clone()
    }

    /// How the methods stand to one another.
    pub fn standing(&self) -> Arc<Standing> {
        self.known.standing.get_or_init(|| Arc::new(Standing::of(self))).clone()
    }

    /// What always giving the same answer scores; `None` where answers are no labels.
    pub fn baseline(&self) -> Option<Arc<Baseline>> {
        self.known.baseline.get_or_init(|| Baseline::of(self).map(Arc::new)).clone()
    }

    /// Why a method has no main run, for people.
    pub fn why_no_main(&self, method: &str) -> String {
        self.why_none(method, |role| *role == Role::Main, "no finished run")
    }

    /// Why a method has no run on the mixture of domains, for people.
    pub fn why_no_mixture(&self, method: &str) -> String {
        self.why_none(method, |role| *role == Role::Mixture, "no finished run on the mixture")
    }

    /// Why a method has no probe, for people.
    pub fn why_no_probe(&self, method: &str) -> String {
        self.why_none(method, |role| *role == Role::Probe, "not probed alone on the machine")
    }

    /// Why a method has no small-data runs, for people.
    pub fn why_no_small_data(&self, method: &str) -> String {
        self.why_none(method, |role| matches!(role, Role::SmallData { .. }), "no small-data runs")
    }

    /// Why a method has none of the runs that a metric's figures are taken from; `None` if it has some.
    pub fn why_without(&self, method: &str, from: TakenFrom) -> Option<String> {
        match from {
            TakenFrom::Main => self.main(method).is_empty().then(|| self.why_no_main(method)),
            TakenFrom::SmallData => {
                self.small_data(method).is_empty().then(|| self.why_no_small_data(method))
            }
            TakenFrom::Probe => self.probe(method).is_none().then(|| self.why_no_probe(method)),
            TakenFrom::Benchmarks => None,
        }
    }

    fn why_none(&self, method: &str, wanted: impl Fn(&Role) -> bool, otherwise: &str) -> String {
        let failures: Vec<Failure> = self.failures().into_iter().filter(|f| f.method == method).collect();
        let failed = failures.iter().find(|f| wanted(f.role));
        // A method that never trained is not probed either: its first failure is the reason.
        let failed = failed.or_else(|| failures.first().filter(|_| self.trained(method).next().is_none()));
        failed.map_or_else(|| otherwise.to_owned(), |f| format!("failed: {}", f.reason))
    }

    fn of(&self, method: &str) -> impl Iterator<Item = &'a Record> {
        let (records, method) = (self.records, method.to_owned());
        records.iter().filter(move |record| record.trial.method == method)
    }

    fn trained(&self, method: &str) -> impl Iterator<Item = (&'a Role, u64, &'a Trained)> {
        self.of(method).filter_map(|record| match &record.outcome {
            Outcome::Trained(run) => Some((&record.trial.role, record.trial.seed, &**run)),
            _ => None,
        })
    }
}

/// The test split of a domain; without a name that of the domain trained on.
pub(super) fn test_of<'t>(run: &'t Trained, domain: Option<&str>) -> Option<&'t Test> {
    match domain {
        None => run.tests.first(),
        Some(name) => run.tests.iter().find(|test| test.domain == name),
    }
}

/// What a trial is for, in words.
pub(crate) fn role_name(role: &Role) -> String {
    match role {
        Role::Main => "comparison".to_owned(),
        Role::Mixture => "mixture of domains".to_owned(),
        Role::Search { candidate, rung: 0 } => format!("search, learning rate {candidate}"),
        Role::Search { candidate, rung } => format!("search, learning rate {candidate}, rung {}", rung + 1),
        Role::SmallData { examples, draw } => {
            format!("small data, {}, draw {}", count(*examples, "example"), draw + 1)
        }
        Role::Probe => "probe".to_owned(),
        Role::Benchmark { name } => format!("benchmark {name}"),
        Role::Asked { name } => format!("asked {name}"),
    }
}
