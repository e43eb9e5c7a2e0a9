//! What a trial leaves behind: the only durable result schema, written by atomic rename.
//!
//! A record holds evidence, not conclusions: every metric is a pure function of records.

mod answers;
mod disturbance;
mod load;
mod probed;

pub use answers::Answers;
pub(crate) use disturbance::worst;
pub use disturbance::{Disturbance, Quiet};
pub use load::{Arrivals, Load};
pub use probed::{Energy, EnergySource, Gpu, Lap, Memory, Point, Probed, Repeat, Round, Speed, Stretch};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version of this schema; a record of another version is not read but trained anew.
pub const SCHEMA: u32 = 3;

/// One finished or failed trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// What was run; its hash names the trial's folder.
    pub trial: Trial,
    /// What came of it: byte for byte the same wherever it runs.
    #[serde(rename = "result")]
    pub outcome: Outcome,
    /// What was measured of the run: other times and another machine give other figures.
    pub measured: Measured,
}

/// What depends on the machine and the moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The machine it ran on.
    pub machine: Machine,
    /// How training was made to fit into that machine's memory; none where nothing was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
    /// Time of training beside other trials: not for comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingTime>,
    /// Speed, memory, latency and energy, of a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Box<Probed>>,
}

/// How a trial is trained so that it fits into a machine's memory. Every step learns from the same rows; sums are rounded
/// in another order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Tokens that go through the model at a time at the most; none: a batch at a time.
    pub pass_tokens: Option<usize>,
    /// Whether blocks are computed again in the backward pass.
    pub gradient_checkpointing: bool,
    /// What was changed so that it fits, in words; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

/// How long training took, beside other trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingTime {
    /// Wall time of training alone.
    pub seconds: f64,
    /// What disturbed it; other trials beside it, in the same process, do not count.
    pub disturbance: Option<Disturbance>,
}

/// All that decides a trial's result, down to the bit. Two equal trials give equal bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Version of the code that runs it.
    pub code: String,
    /// The base model.
    pub model: ModelIdentity,
    /// The data.
    pub data: DataIdentity,
    /// The method's name in the study: "lora", "lora-r32".
    pub method: String,
    /// The method's resolved settings, `type` among them: "lora", "full" …
    pub adapter: Value,
    /// The resolved training settings.
    pub train: Value,
    /// What the trial is for.
    pub role: Role,
    /// Seed of everything random in it.
    pub seed: u64,
}

/// Which base model, exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The name it was asked for by.
    pub name: String,
    /// SHA-256 over all files that decide its results, hexadecimal: weights, configuration, tokenizer, chat template.
    pub sha256: String,
    /// Parameters of the base model without a task's head.
    pub parameters: u64,
    /// How the frozen weights are kept in memory: "f32", "bf16", "q8_0", "nf4", …
    pub weights: String,
}

/// Which rows, exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataIdentity {
    /// The task's name.
    pub task: String,
    /// SHA-256 over all rows of all splits in order, hexadecimal.
    pub sha256: String,
}

/// What a trial is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Role {
    /// One seed of the comparison, on all training rows.
    Main,
    /// One seed of the comparison trained on a mixture of domains, with as many rows.
    Mixture,
    /// One candidate of the search; judged on the validation split alone.
    Search {
        /// The candidate.
        #[serde(flatten)]
        candidate: Candidate,
        /// The rung of successive halving that it was trained to, from 0.
        #[serde(default)]
        rung: usize,
    },
    /// One point of the small-data curve.
    SmallData {
        /// How many training rows.
        examples: usize,
        /// Which of the nested draws.
        draw: usize,
    },
    /// Speed, memory, latency and energy, alone on the machine, in a process of its own.
    Probe,
    /// What a main run's model says to the questions of a task that it was not trained on.
    Asked {
        /// The task's name: "mmlu".
        name: String,
    },
    /// A standard benchmark, by its task's name, trained and scored as its publishers do.
    Benchmark {
        /// The benchmark's name: "sst2".
        name: String,
    },
}

/// What a search tries of a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The learning rate.
    pub learning_rate: f64,
    /// Settings in which it differs from what the study states: the method's own, and those of training with "train."
    /// before their names.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

impl std::fmt::Display for Candidate {
    /// "3e-3, r = 8".
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:e}", self.learning_rate)?;
        self.settings.iter().try_for_each(|(name, value)| match value {
            Value::String(word) => write!(f, ", {name} = {word}"),
            other => write!(f, ", {name} = {other}"),
        })
    }
}

/// The machine, as far as a reader of figures needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Logical cores that the process may use.
    pub cores: usize,
    /// Installed memory.
    pub memory_bytes: u64,
    /// The instruction set that the kernels chose: "avx512", "avx2", "scalar".
    pub simd: String,
    /// Operating system and architecture.
    pub system: String,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It trained and was scored.
    Trained(Box<Trained>),
    /// It was measured, and gave these bits again.
    Probed(Repeat),
    /// What a tuned model said when it was asked.
    Asked(Box<Asked>),
    /// It could not be run; the study went on without it.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// Evidence of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Size of what was trained.
    pub parameters: Parameters,
    /// Optimizer steps done.
    pub steps: usize,
    /// Rows that passed through training, counted again in each epoch.
    pub examples: u64,
    /// Real tokens (no padding; the method's virtual tokens not counted) that passed through training.
    pub tokens: u64,
    /// The training loss of every step, in nats.
    pub losses: Vec<f32>,
    /// Scores on the validation split, in the order of steps; the last one belongs to the last step.
    pub validation: Vec<Validation>,
    /// The step whose weights were kept.
    pub best_step: usize,
    /// True if training ended before its planned last step.
    pub stopped_early: bool,
    /// The task's own metric, by which `validation` and `train_score` are scored: "accuracy", "matthews"; see
    /// [`crate::score::SCORINGS`].
    pub metric: String,
    /// Score on (at most 1,000 of) the rows it was trained on, dropout off, with the kept weights.
    pub train_score: Score,
    /// Results on the test splits: first the domain that was trained on.
    pub tests: Vec<Test>,
    /// What the base model itself answers on the first test split, where it can: language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untuned: Option<Test>,
    /// A language model's loss on general text before and after, where the study names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgetting: Option<Forgetting>,
}

/// What training did to a language model's loss on a text that is not of the task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forgetting {
    /// Nats per token of the base model.
    pub before: f64,
    /// Nats per token of the tuned one.
    pub after: f64,
}

/// Size of what a method trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Trained numbers, the task's head included.
    pub trainable: u64,
    /// Of these, the task's head.
    pub head: u64,
    /// Numbers of the base model that the method keeps in use.
    pub base: u64,
    /// Size of the adapter's files on disk.
    pub adapter_bytes: u64,
}

/// One look at the validation split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Optimizer steps done by then.
    pub step: usize,
    /// The score.
    pub score: Score,
}

/// Loss and score over a set of rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Rows scored.
    pub examples: usize,
    /// Mean loss over all labels: cross-entropy in nats, of numbers the squared error.
    pub loss: f64,
    /// The task's own score in its own unit; none where it is not defined, as a correlation with a constant.
    pub value: Option<f64>,
}

/// What was answered on one test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The domain's name: "movie", "tweets".
    pub domain: String,
    /// The task's own metric, by its name in [`crate::score::SCORINGS`].
    pub metric: String,
    /// The answers, from which every score can be had again.
    pub answers: Answers,
    /// Loss and score over the rows.
    pub score: Score,
    /// Rows that a language model was asked about with a prompt longer than its window, so that a part was not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: usize,
}

/// Whether a count is not worth a line.
pub(crate) fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Answers of a tuned model to the questions of a task that it was not trained on, and of the base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The task's own metric, by its name in [`crate::score::SCORINGS`].
    pub metric: String,
    /// Worked examples before each question.
    pub num_fewshot: usize,
    /// What the base model said, by domain.
    pub before: Vec<Said>,
    /// What the tuned model said, by domain.
    pub after: Vec<Said>,
}

/// Answers to the questions of one domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The domain's name.
    pub domain: String,
    /// The answers, from which every score can be had again.
    pub answers: Answers,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn records_read_back_as_they_were_written() {
        let speed = Speed { examples: 3, tokens: 40, batch_seconds: vec![0.1], disturbance: None };
        let memory = Memory {
            by_class: BTreeMap::from([("base".into(), 7)]),
            peak_bytes: 7,
            process_peak_bytes: None,
        };
        let source = EnergySource::Estimate { watts_per_core: 8.0, because: "no counters".into() };
        let laps = vec![Lap { joules: 0.7, seconds: 0.1 }];
        let energy = Energy {
            joules: 1.5,
            seconds: 0.2,
            processor_seconds: Some(0.3),
            source,
            laps,
            disturbance: None,
        };
        let point = |answer_tokens| {
            let seconds = vec![0.1];
            Point { batch_size: 8, length: 32, answer_tokens, peak_bytes: 100, seconds, disturbance: None }
        };
        assert_eq!([0, 24].map(|answers| point(answers).tokens()), [256, 280]);
        let mut load = Load::empty(Arrivals::Open { rate: 12.5, share: Some(0.5) }, 2);
        load.latency.record(0.012);
        let stretch = Stretch { speed, energy: energy.clone() };
        let round = Round {
            training: stretch.clone(),
            inference: stretch,
            points: vec![point(24)],
            inference_points: vec![point(0)],
            loads: vec![load],
        };
        let probed = Probed {
            threads: 2,
            loading_peak_bytes: Some(7),
            inference_questions: 2,
            training_memory: memory.clone(),
            inference_memory: memory,
            idle_energy: Some(energy),
            gpu: Some(Gpu { names: vec!["A100".into()], watts: Some(58.0), utilisation: None }),
            together: 1,
            rounds: vec![round.clone(), round],
        };
        let settings = Map::from_iter([("r".to_owned(), Value::from(8))]);
        let candidate = Candidate { learning_rate: 3e-3, settings };
        assert_eq!(candidate.to_string(), "3e-3, r = 8");
        let role = Role::Search { candidate, rung: 1 };
        assert_eq!(serde_json::from_str::<Role>(&serde_json::to_string(&role).unwrap()).unwrap(), role);
        let text = serde_json::to_string(&probed).unwrap();
        assert_eq!(serde_json::from_str::<Probed>(&text).unwrap(), probed);
        let repeat = Repeat { steps: 2, first_difference: None };
        for outcome in [Outcome::Probed(repeat), Outcome::Failed { reason: "why".into() }] {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        }
    }

    #[test]
    fn records_of_before_read_without_what_was_not_counted_then() {
        let text = r#"{"batch_size": 8, "length": 32, "peak_bytes": 100, "seconds": [0.1]}"#;
        assert_eq!(serde_json::from_str::<Point>(text).unwrap().tokens(), 256);
        let text = r#"{"joules": 1.5, "seconds": 0.2, "processor_seconds": 0.3, "laps": [],
            "source": {"source": "rapl", "zones": []}}"#;
        assert_eq!(serde_json::from_str::<Energy>(text).unwrap().processor_seconds, Some(0.3));
    }
}
