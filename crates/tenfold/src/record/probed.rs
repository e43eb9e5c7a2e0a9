//! Evidence of a probe: speed, memory, response times and energy of one method.

use super::{Disturbance, Load, is_zero};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Evidence of a probe: one method in a process of its own, timed in rounds with the other methods of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Threads that the probe used.
    pub threads: usize,
    /// The operating system's peak of the resident set of the process until the model, the rows and the method were there;
    /// none where it does not tell.
    pub loading_peak_bytes: Option<u64>,
    /// Whole questions among the rows that inference answers in a round, fewer where rows are choices or windows.
    pub inference_questions: u64,
    /// Peak memory of training, at the study's batch size.
    pub training_memory: Memory,
    /// Peak memory of inference.
    pub inference_memory: Memory,
    /// Energy of the idle machine, measured before anything was read. `None` where no counter can be read, or none was
    /// asked for.
    pub idle_energy: Option<Energy>,
    /// The machine's GPUs over the whole probe, where there are any.
    pub gpu: Option<Gpu>,
    /// When the rounds began, in milliseconds since 1970: methods with the same number were timed in the same rounds.
    pub together: u64,
    /// What was timed, round by round.
    pub rounds: Vec<Round>,
}

/// Every part of a probe, timed once. The same parts stand in the same order in every round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Training at the study's batch size.
    pub training: Stretch,
    /// Inference at the study's evaluation batch size.
    pub inference: Stretch,
    /// Training at several sizes of the batch.
    pub points: Vec<Point>,
    /// Inference at the same sizes.
    pub inference_points: Vec<Point>,
    /// Whole requests (text in, label out) under one load after the other, the adapter not merged and then, where the
    /// method can, merged into the base. One client, one request at a time, comes first of each form.
    pub loads: Vec<Load>,
}

/// A stretch of work: its speed and its energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// How long it took.
    pub speed: Speed,
    /// What it took.
    pub energy: Energy,
}

/// Training steps, or passes of inference, on a batch of rows of one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Rows in the batch.
    pub batch_size: usize,
    /// Tokens of each, those of an encoder-decoder's answer left out.
    pub length: usize,
    /// Tokens of all of an encoder-decoder's answers together; 0 in records of before they were counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answer_tokens: usize,
    /// The engine's own account of the peak, in bytes.
    pub peak_bytes: u64,
    /// Seconds of each step or pass, warm-up left out.
    pub seconds: Vec<f64>,
    /// What disturbed the timing; none in records of before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<Disturbance>,
}

impl Point {
    /// Real tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.batch_size * self.length + self.answer_tokens
    }
}

/// A stretch of work and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Rows worked through.
    pub examples: u64,
    /// Real tokens worked through; 0 of questions to a language model, which reads and writes others than its rows have.
    pub tokens: u64,
    /// Seconds of each batch, warm-up left out; their sum belongs to `examples` and `tokens`.
    pub batch_seconds: Vec<f64>,
    /// What disturbed the timing; none in records of before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<Disturbance>,
}

/// Peak memory, by the engine's own account and by the operating system's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Engine's bytes at the moment of the peak, by class: "base", "trainable", "gradients",
    /// "optimizer", "activations", "workspace".
    pub by_class: BTreeMap<String, u64>,
    /// Their sum at that moment.
    pub peak_bytes: u64,
    /// The operating system's peak of the resident set of the process, where it tells.
    pub process_peak_bytes: Option<u64>,
}

/// Joules, and how they were come by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules over the stretch of work; 0 where neither counters nor processor time can be read.
    pub joules: f64,
    /// Seconds of the stretch.
    pub seconds: f64,
    /// Processor time (all threads) over the stretch, where the system tells.
    pub processor_seconds: Option<f64>,
    /// Where the joules come from.
    pub source: EnergySource,
    /// Equal parts of the stretch, such as its steps, where it has such; they may leave out its beginning and its end.
    pub laps: Vec<Lap>,
    /// What disturbed the stretch; none in records of before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<Disturbance>,
}

/// Joules of one step or batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lap {
    /// Its joules.
    pub joules: f64,
    /// Its seconds.
    pub seconds: f64,
}

/// GPUs, over a stretch of time. The engine computes on processors: what they draw is in no joules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// What they call themselves.
    pub names: Vec<String>,
    /// Mean power of all together, where they tell.
    pub watts: Option<f64>,
    /// The share of the time in which they were busy, on average over them, where they tell.
    pub utilisation: Option<f64>,
}

/// Where joules come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum EnergySource {
    /// The processor's own counters (RAPL through powercap, Intel's or AMD's): packages and memory, idle included.
    Rapl {
        /// Names of what was counted: "package-0", "dram".
        zones: Vec<String>,
    },
    /// No counter here: processor seconds times an assumed power for each busy core.
    Estimate {
        /// The assumption.
        watts_per_core: f64,
        /// Why no counter was read, for people.
        because: String,
    },
}

/// Whether a second run with the same seed gave the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Steps that were repeated.
    pub steps: usize,
    /// The first step whose loss differed in any bit, if one did.
    pub first_difference: Option<usize>,
}
