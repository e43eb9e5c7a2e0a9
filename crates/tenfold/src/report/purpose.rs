//! What a recommendation is for, and the figures that decide it.

use crate::metric::{Findings, Unit};
use serde::Serialize;

/// What the method is to be good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// As good as the best, at the lowest cost all round.
    Balanced,
    /// The highest score.
    Accuracy,
    /// The least memory in training.
    Memory,
    /// The fastest training.
    Speed,
    /// The quickest answer.
    Latency,
    /// The best with few examples.
    SmallData,
    /// The smallest adapter: many adapters side by side.
    Storage,
    /// The least energy in training.
    Energy,
}

/// A figure of which less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    TrainMemory,
    TrainTime,
    AdapterSize,
    Latency,
    TrainEnergy,
    /// The small-data curve, turned round.
    SmallDataLoss,
}

impl Purpose {
    /// All of them, the default first.
    pub const ALL: [Purpose; 8] = [
        Purpose::Balanced,
        Purpose::Accuracy,
        Purpose::Memory,
        Purpose::Speed,
        Purpose::Latency,
        Purpose::SmallData,
        Purpose::Storage,
        Purpose::Energy,
    ];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Balanced => "balanced",
            Purpose::Accuracy => "accuracy",
            Purpose::Memory => "memory",
            Purpose::Speed => "speed",
            Purpose::Latency => "latency",
            Purpose::SmallData => "small-data",
            Purpose::Storage => "storage",
            Purpose::Energy => "energy",
        }
    }

    /// The purpose of this name; "many-adapters" is another name for "storage".
    pub fn named(name: &str) -> crate::Result<Purpose> {
        let wanted = if name == "many-adapters" { "storage" } else { name };
        let found = Purpose::ALL.into_iter().find(|purpose| purpose.name() == wanted);
        found.ok_or_else(|| crate::Error::unknown("purpose", name, Purpose::ALL.map(Purpose::name)))
    }

    /// How it chooses, for people: where likeness to the best decides, at a margin written so, and at twice that.
    pub(super) fn rule(self, [margin, twice]: [&str; 2]) -> String {
        let rule = match self {
            Purpose::Balanced => {
                return format!(
                    "Among the methods whose score the data cannot tell from the best (and which fall short by at most {twice}), \
                     or whose shortfall is within {margin} with 95 % confidence: the lowest geometric mean of training memory, \
                     training time, adapter size and p95 response time, each as a multiple of the lowest and counted at most 10."
                );
            }
            Purpose::Accuracy => "The best mean score over the seeds.",
            Purpose::Memory => {
                "The lowest peak memory in training among the methods that keep 95 % of the best score."
            }
            Purpose::Speed => "The fastest training among the methods that keep 95 % of the best score.",
            Purpose::Latency => {
                "The lowest p95 response time (merged where the method can) among the methods that keep 95 % of the best score."
            }
            Purpose::SmallData => "The largest area under the small-data curve (score over log n).",
            Purpose::Storage => "The smallest adapter among the methods that keep 95 % of the best score.",
            Purpose::Energy => {
                "The fewest joules in training among the methods that keep 95 % of the best score."
            }
        };
        rule.to_owned()
    }

    /// What it is about, after "for".
    pub fn words(self) -> &'static str {
        match self {
            Purpose::Balanced => "a balanced choice",
            Purpose::Accuracy => "the highest accuracy",
            Purpose::Memory => "the least memory in training",
            Purpose::Speed => "the fastest training",
            Purpose::Latency => "the quickest answers",
            Purpose::SmallData => "few training examples",
            Purpose::Storage => "many adapters side by side",
            Purpose::Energy => "the least energy in training",
        }
    }

    pub(super) fn costs(self) -> &'static [Cost] {
        match self {
            Purpose::Balanced => &[Cost::TrainMemory, Cost::TrainTime, Cost::AdapterSize, Cost::Latency],
            Purpose::Accuracy => &[],
            Purpose::Memory => &[Cost::TrainMemory],
            Purpose::Speed => &[Cost::TrainTime],
            Purpose::Latency => &[Cost::Latency],
            Purpose::SmallData => &[Cost::SmallDataLoss],
            Purpose::Storage => &[Cost::AdapterSize],
            Purpose::Energy => &[Cost::TrainEnergy],
        }
    }
}

impl Cost {
    /// Metric and key of the figure behind it.
    pub(super) fn figure(self) -> (&'static str, &'static str) {
        match self {
            Cost::TrainMemory => ("memory", "train_peak_bytes"),
            Cost::TrainTime => ("speed", "train_examples_per_second"),
            Cost::AdapterSize => ("parameters", "adapter_bytes"),
            Cost::Latency => ("response_time", "p95"),
            Cost::TrainEnergy => ("energy", "train_joules"),
            Cost::SmallDataLoss => ("small_data", "area"),
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Cost::TrainMemory => "training memory",
            Cost::TrainTime => "training speed",
            Cost::AdapterSize => "adapter size",
            Cost::Latency => "response time",
            Cost::TrainEnergy => "training energy",
            Cost::SmallDataLoss => "small data",
        }
    }

    /// The cost itself: less is better.
    pub(super) fn of(self, findings: &Findings, method: &str) -> Option<f64> {
        let (metric, key) = self.figure();
        let value = findings.estimate(method, metric, key).map(|e| e.value);
        match self {
            Cost::TrainTime => value.filter(|rate| *rate > 0.0).map(|rate| 1.0 / rate),
            Cost::SmallDataLoss => value.map(|area| findings.standing.scoring.to_perfect(area)),
            Cost::Latency => {
                let merged = findings.estimate(method, metric, "merged_p95").map(|e| e.value);
                value.into_iter().chain(merged).min_by(f64::total_cmp)
            }
            _ => value,
        }
    }

    /// The cost as people say it: "148 MB of memory in training".
    pub(super) fn write(self, findings: &Findings, method: &str) -> Option<String> {
        let value = self.of(findings, method)?;
        Some(match self {
            Cost::TrainMemory => format!("{} of memory in training", Unit::Bytes.write(value)),
            Cost::TrainTime => format!("{} for 1,000 training examples", Unit::Seconds.write(value * 1000.0)),
            Cost::AdapterSize => format!("{} on disk", Unit::Bytes.write(value)),
            Cost::Latency => format!("{} for a response (p95)", Unit::Seconds.write(value)),
            Cost::TrainEnergy => format!("{} for 1,000 training examples", Unit::Joules.write(value)),
            Cost::SmallDataLoss => {
                let (metric, key) = self.figure();
                format!(
                    "{} on average over the small-data curve",
                    super::value(findings, method, metric, key)
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_found_by_name_and_a_wrong_one_gets_a_suggestion() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::named(purpose.name()).unwrap(), purpose);
        }
        assert_eq!(Purpose::named("many-adapters").unwrap(), Purpose::Storage);
        let error = Purpose::named("memori").unwrap_err().to_string();
        assert!(error.contains("did you mean \"memory\""), "{error}");
    }
}
