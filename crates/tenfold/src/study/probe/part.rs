//! What a probe's process is asked to measure, and what it answers: a line of JSON each.

use crate::record::{Arrivals, Load, Memory, Point, Quiet, Stretch};
use serde::{Deserialize, Serialize};

/// A part of a probe that is timed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Scoring test rows at the evaluation's batch size.
    Inference,
    /// A pass over a batch of one size.
    InferencePoint(Size),
    /// Whole requests under a load.
    Load { arrivals: Arrivals, merged: bool },
    /// The trial's first steps.
    Training,
    /// A training step on a batch of one size.
    TrainingPoint(Size),
}

/// A batch of rows of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Size {
    pub rows: usize,
    /// Tokens of each row.
    pub length: usize,
}

/// What there is to measure of a method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ready {
    pub threads: usize,
    /// The process's peak once the model, the rows and the method were there.
    pub loading_peak_bytes: Option<u64>,
    pub answers_requests: bool,
    /// Whether requests are measured of the merged form too.
    pub is_merged: bool,
    /// Tokens of a row at the most.
    pub longest: usize,
}

/// What a probe's process answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It is ready for requests.
    Ready(Ready),
    Inference {
        stretch: Stretch,
        questions: u64,
        memory: Memory,
    },
    Training {
        stretch: Stretch,
        memory: Memory,
        losses: Vec<f32>,
    },
    Point(Point),
    Load(Load),
    /// The part cannot be measured, for this reason.
    Failed(String),
}

impl Answer {
    /// How disturbed the part was; above 1 is too much.
    pub(super) fn severity(&self) -> f64 {
        let disturbance = match self {
            Answer::Inference { stretch, .. } | Answer::Training { stretch, .. } => {
                &stretch.speed.disturbance
            }
            Answer::Point(point) => &point.disturbance,
            Answer::Load(load) => &load.disturbance,
            Answer::Ready(_) | Answer::Failed(_) => &None,
        };
        disturbance.as_ref().filter(|found| found.quiet() == Quiet::No).map_or(0.0, |found| found.severity())
    }

    /// Notes how often the part was measured.
    pub(super) fn tried(&mut self, tries: usize) {
        let note = |disturbance: &mut Option<crate::record::Disturbance>| {
            disturbance.iter_mut().for_each(|found| found.tries = tries);
        };
        match self {
            Answer::Inference { stretch, .. } | Answer::Training { stretch, .. } => {
                note(&mut stretch.speed.disturbance);
                note(&mut stretch.energy.disturbance);
            }
            Answer::Point(point) => note(&mut point.disturbance),
            Answer::Load(load) => note(&mut load.disturbance),
            Answer::Ready(_) | Answer::Failed(_) => {}
        }
    }
}
