//! Metric 7: how long a whole request takes, and whether that suits an application.

use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::statistics::quantile;

/// What an application asks of a response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Application {
    /// Its name for programs.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Seconds that 95 % of requests must keep to.
    pub target_seconds: f64,
    /// Seconds at which it is good.
    pub good_seconds: f64,
}

/// The applications that a verdict is given for.
pub const APPLICATIONS: [Application; 3] = [
    Application {
        key: "customer_support",
        title: "Customer support",
        target_seconds: 2.0,
        good_seconds: 1.0,
    },
    Application { key: "real_time", title: "Real-time decisions", target_seconds: 0.5, good_seconds: 0.2 },
    Application { key: "documents", title: "Document processing", target_seconds: 5.0, good_seconds: 3.0 },
];

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

pub(super) static METRIC: Metric = Metric {
    number: 7,
    name: "response_time",
    title: "Response time",
    unit: "seconds for a whole request, one at a time (concurrency 1)",
    direction: Direction::Lower,
    source: "Probe: text in, label out, tokenizer included. Interval: order statistics (binomial), no distribution \
             assumed. Merged: the adapter folded into the base first. The verdicts look at p95 in the better of the two forms: \
             customer support within 2 s (good: 1 s), real-time decisions 500 ms (200 ms), document processing 5 s (3 s).",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let probe = evidence.probe(method);
    let why = evidence.why_no_probe(method);
    let unmergeable = evidence.method(method).is_some_and(|m| !m.mergeable);
    let why_merged = match (probe, unmergeable) {
        (_, true) => "cannot be merged into the base",
        (Some(_), false) => "not measured merged",
        (None, false) => &why,
    };
    let forms = [
        ("", "", probe.map(|p| &p.latency_seconds), why.as_str()),
        ("merged_", ", merged", probe.and_then(|p| p.merged_latency_seconds.as_ref()), why_merged),
    ];
    let mut figures = Vec::new();
    for (prefix, suffix, seconds, why) in forms {
        for (name, q) in QUANTILES {
            let reading = Reading::measured(seconds.and_then(|s| quantile(s, q)), why);
            let (key, label) = (format!("{prefix}{name}"), format!("{name}{suffix}"));
            figures.push(Figure::new(key, label, Unit::Seconds, Direction::Lower, reading));
        }
    }
    let best = ["merged_p95", "p95"]
        .iter()
        .filter_map(|key| figures.iter().find(|f| f.key == *key)?.reading.estimate().map(|e| e.value))
        .min_by(f64::total_cmp);
    figures.extend(APPLICATIONS.iter().map(|application| verdict(application, best, &why)));
    let reason = "a classifier answers with one label, not token by token";
    for (key, label) in [("first_token", "First token"), ("next_token", "Next token")] {
        figures.push(Figure::new(key, label, Unit::Seconds, Direction::Lower, Reading::unavailable(reason)));
    }
    figures
}

fn verdict(application: &Application, p95: Option<f64>, why: &str) -> Figure {
    let reading = match p95 {
        Some(seconds) => {
            let (verdict, good) = if seconds <= application.good_seconds {
                ("good", true)
            } else if seconds <= application.target_seconds {
                ("within target", true)
            } else {
                ("too slow", false)
            };
            let because = format!(
                "p95 {} against {} (good: {})",
                Unit::Seconds.write(seconds),
                Unit::Seconds.write(application.target_seconds),
                Unit::Seconds.write(application.good_seconds)
            );
            Reading::Judged { verdict: verdict.to_owned(), good: Some(good), because }
        }
        None => Reading::unavailable(why),
    };
    Figure::new(application.key, application.title, Unit::Number, Direction::Neither, reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_targets() {
        let word = |seconds| match verdict(&APPLICATIONS[1], Some(seconds), "").reading {
            Reading::Judged { verdict, .. } => verdict,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [word(0.2), word(0.21), word(0.5), word(0.51)],
            ["good", "within target", "within target", "too slow"]
        );
    }
}
