//! The ten metrics: pure functions of recorded evidence, each with unit, direction and source.
//!
//! To add a metric: one file here and its line in [`METRICS`].

mod accuracy;
mod application;
mod asked;
mod baseline;
mod benchmarks;
mod by_label;
pub(crate) mod conditions;
mod consistency;
mod contrast;
mod cross_domain;
mod energy;
mod evidence;
mod findings;
mod memory;
mod outcomes;
mod parameters;
mod response_time;
mod search;
mod small_data;
mod speed;
#[cfg(test)]
pub(crate) mod synthetic;
mod timings;

pub use crate::score::Direction;
pub use crate::unit::Unit;
pub(crate) use crate::unit::digits;
pub(crate) use application::Kept;
pub use application::{Application, application_faults, applications};
pub use baseline::Baseline;
pub use by_label::{ByLabel, Confused, OneLabel, by_label};
pub use contrast::{Contrast, Reference};
pub use energy::Accounting;
pub(crate) use evidence::role_name;
pub use evidence::{Evidence, Failure, MethodFacts, StudyFacts};
pub use findings::{Findings, Standing};
pub use outcomes::Outcomes;
pub(crate) use response_time::better_form;
pub use search::{Edge, End, Searched, Tried, searched};
pub(crate) use small_data::curve as small_data_curve;
pub use timings::{Pace, Timings};

use crate::record::{Disturbance, worst};
use crate::statistics::Estimate;
use serde::Serialize;

/// Every metric, in the order of the report.
pub static METRICS: [&Metric; 10] = [
    &accuracy::METRIC,
    &speed::METRIC,
    &memory::METRIC,
    &parameters::METRIC,
    &small_data::METRIC,
    &cross_domain::METRIC,
    &response_time::METRIC,
    &benchmarks::METRIC,
    &consistency::METRIC,
    &energy::METRIC,
];

/// One of the ten.
#[derive(Debug)]
pub struct Metric {
    /// Its number in the report, from 1.
    pub number: usize,
    /// Its name for programs: "cross_domain".
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What its main figure is counted in, in words.
    pub unit: &'static str,
    /// Which way its main figure is better.
    pub direction: Direction,
    /// How it is measured and whose definition it follows.
    pub source: &'static str,
    /// What its figures are taken from.
    pub taken_from: TakenFrom,
    /// Its figures for the method of this name.
    pub compute: fn(&Evidence, &str) -> Vec<Figure>,
}

/// The runs of a method that a metric's figures are taken from. Without them it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenFrom {
    /// The trials of the comparison.
    Main,
    /// The trials of few rows.
    SmallData,
    /// The probe alone on the machine.
    Probe,
    /// Trials and questions of standard benchmarks, each of which says for itself what it lacks.
    Benchmarks,
}

/// One figure of one method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its name for programs, unique within the metric: "train_peak_bytes".
    pub key: String,
    /// Its name for people.
    pub label: String,
    /// What it is counted in.
    pub unit: Unit,
    /// Which way it is better.
    pub direction: Direction,
    /// What was found.
    pub reading: Reading,
    /// What disturbed the machine while the figure was measured, for people; `None` if nothing did, or where no time is
    /// measured. A disturbed figure is shown with a mark and decides nothing.
    pub disturbed: Option<String>,
}

/// What was found: measured, estimated, judged, or not to be had.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reading {
    /// It was measured.
    Measured {
        /// The figure.
        estimate: Estimate,
    },
    /// It rests on an assumption.
    Estimated {
        /// The figure.
        estimate: Estimate,
        /// The assumption, or how it was come by.
        how: String,
    },
    /// A word instead of a figure: a group, a verdict.
    Judged {
        /// The word: "good", "a", "identical".
        verdict: String,
        /// Good or bad, where the word is either.
        good: Option<bool>,
        /// What it rests on.
        because: String,
    },
    /// It cannot be had here.
    Unavailable {
        /// Why not.
        reason: String,
    },
}

impl Reading {
    /// The figure, measured or estimated.
    pub fn estimate(&self) -> Option<&Estimate> {
        match self {
            Reading::Measured { estimate } | Reading::Estimated { estimate, .. } => Some(estimate),
            Reading::Judged { .. } | Reading::Unavailable { .. } => None,
        }
    }

    fn measured(estimate: Option<Estimate>, reason: &str) -> Reading {
        match estimate {
            Some(estimate) if estimate.is_finite() => Reading::Measured { estimate },
            _ => Reading::unavailable(reason),
        }
    }

    fn unavailable(reason: impl Into<String>) -> Reading {
        Reading::Unavailable { reason: reason.into() }
    }
}

impl Figure {
    fn new(
        key: impl Into<String>,
        label: impl Into<String>,
        unit: Unit,
        direction: Direction,
        reading: Reading,
    ) -> Figure {
        Figure { key: key.into(), label: label.into(), unit, direction, reading, disturbed: None }
    }

    /// The figure with what disturbed the parts that it was measured from.
    fn disturbed_by<'a>(self, parts: impl IntoIterator<Item = Option<&'a Disturbance>>) -> Figure {
        Figure { disturbed: worst(parts), ..self }
    }

    /// What disturbed the figure, where it says something at all.
    pub fn mark(&self) -> Option<&str> {
        match self.reading {
            Reading::Unavailable { .. } => None,
            _ => self.disturbed.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_in_order_and_names_are_unique() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert_eq!(metric.number, index + 1);
            assert!(METRICS.iter().filter(|m| m.name == metric.name).count() == 1);
        }
    }

    #[test]
    fn every_metric_answers_for_every_method_with_finite_figures_and_unique_keys() {
        let world = synthetic::World::new();
        let evidence = world.evidence();
        for metric in METRICS {
            for method in &evidence.study.methods {
                let figures = (metric.compute)(&evidence, &method.name);
                assert!(!figures.is_empty(), "{} says nothing of {}", metric.name, method.name);
                for figure in &figures {
                    assert!(figure.reading.estimate().is_none_or(Estimate::is_finite), "{figure:?}");
                    assert_eq!(figures.iter().filter(|f| f.key == figure.key).count(), 1, "{}", figure.key);
                }
            }
        }
    }

    #[test]
    fn no_records_give_reasons_and_no_figures() {
        let world = synthetic::World::new();
        let evidence = Evidence::new(world.evidence().study, &[]);
        for metric in METRICS {
            for figure in (metric.compute)(&evidence, "lora") {
                assert!(figure.reading.estimate().is_none(), "{}: {figure:?}", metric.name);
            }
        }
    }
}
