//! What a recommendation is for, and the figures that decide it.

use crate::metric::{Findings, Unit};
use serde::Serialize;

/// What a method must keep of the best score where accuracy is not the purpose.
const FLOOR: f64 = 0.95;

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

    /// How it chooses, for people; `allowed` is how much worse than the best score a method may be.
    pub(super) fn rule(self, allowed: &str) -> String {
        let least = match self {
            Purpose::Accuracy => return "The best mean score over the seeds.".to_owned(),
            Purpose::SmallData => {
                return "The largest area under the small-data curve (score over log n).".to_owned();
            }
            Purpose::Balanced => {
                "the lowest geometric mean of training memory, training time, adapter size and p95 response time, each as \
                 a multiple of the lowest and counted at most 10"
            }
            Purpose::Memory => "the lowest peak memory in training",
            Purpose::Speed => "the fastest training",
            Purpose::Latency => {
                "the lowest p95 response time, one request at a time, adapters not merged, of those that keep to the study's \
                 own response-time targets"
            }
            Purpose::Storage => "the smallest adapter",
            Purpose::Energy => "the fewest joules in training",
        };
        format!(
            "Among the methods that the data do not show to be worse than the best score by more than {allowed}: {least}. A \
             figure that was measured on a disturbed machine decides nothing."
        )
    }

    /// Whether a score that is far enough below the best one keeps a method from being recommended.
    pub(super) fn asks_for_a_good_score(self) -> bool {
        !matches!(self, Purpose::Accuracy | Purpose::SmallData)
    }

    /// How much worse than the best score a method may be, in the unit of the score: the study's margin where likeness to
    /// the best is the point, else 5 % of the best score. Of a best score that is not above 0 there is no part.
    pub(super) fn allowed(self, findings: &Findings) -> f64 {
        let (scoring, margin) = (findings.standing.scoring, findings.evidence.study.margin);
        let Some(best) = findings.standing.best().map(|place| findings.standing.means[place]) else {
            return margin;
        };
        match self {
            Purpose::Balanced => margin,
            _ if scoring.kept(best, best).is_nan() => margin,
            _ => scoring.shortfall(best, scoring.part(best, FLOOR)),
        }
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

    /// True for a time: of these one says "slow" and "fast", not "much" and "little".
    pub(super) fn is_time(self) -> bool {
        matches!(self, Cost::TrainTime | Cost::Latency)
    }

    /// The cost itself, to be shown: less is better.
    pub(super) fn of(self, findings: &Findings, method: &str) -> Option<f64> {
        let (metric, key) = self.figure();
        self.from(findings, findings.estimate(method, metric, key)?.value)
    }

    /// The cost where it may decide: not one that was measured on a disturbed machine.
    pub(super) fn deciding(self, findings: &Findings, method: &str) -> Option<f64> {
        let (metric, key) = self.figure();
        self.from(findings, findings.deciding_estimate(method, metric, key)?.value)
    }

    fn from(self, findings: &Findings, figure: f64) -> Option<f64> {
        match self {
            Cost::TrainTime => Some(1.0 / figure).filter(|time| *time > 0.0 && time.is_finite()),
            Cost::SmallDataLoss => Some(findings.standing.scoring.to_perfect(figure)),
            _ => Some(figure),
        }
    }

    /// Why a method has none that may decide.
    pub(super) fn why_none(self, findings: &Findings, method: &str) -> String {
        let (metric, key) = self.figure();
        format!("no figure for {} ({})", self.words(), findings.why_missing(method, metric, key))
    }

    /// The cost as people say it: "148 MB of memory in training".
    pub(super) fn write(self, findings: &Findings, method: &str) -> Option<String> {
        let value = self.amount(findings, method)?;
        let mergeable = findings.evidence.method(method).is_some_and(|facts| facts.mergeable);
        let words = match self {
            Cost::TrainMemory => format!("{value} of memory in training"),
            Cost::TrainTime | Cost::TrainEnergy => format!("{value} for 1,000 training examples"),
            Cost::AdapterSize => format!("{value} on disk"),
            Cost::Latency if mergeable => format!("{value} for a response (p95, not merged)"),
            Cost::Latency => format!("{value} for a response (p95)"),
            Cost::SmallDataLoss => format!("{value} on average over the small-data curve"),
        };
        Some(if self.deciding(findings, method).is_none() {
            format!("{words} (measured on a disturbed machine)")
        } else {
            words
        })
    }

    /// The amount alone: "148 MB".
    pub(super) fn amount(self, findings: &Findings, method: &str) -> Option<String> {
        let value = self.of(findings, method)?;
        Some(match self {
            Cost::TrainMemory | Cost::AdapterSize => Unit::Bytes.write(value),
            Cost::TrainTime => Unit::Seconds.write(value * 1000.0),
            Cost::Latency => Unit::Seconds.write(value),
            Cost::TrainEnergy => Unit::Joules.write(value),
            Cost::SmallDataLoss => {
                let (metric, key) = self.figure();
                super::value(findings, method, metric, key)
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
