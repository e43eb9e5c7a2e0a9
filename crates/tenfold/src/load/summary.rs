//! What came of a load, in figures for programs.

use crate::histogram::Histogram;
use crate::record::Load;
use serde::Serialize;

/// Seconds that shares of the requests keep to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Times that were counted.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// All.
    pub max: f64,
}

/// A load with what it came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Its histograms: counts by the lowest microsecond of their buckets.
    #[serde(flatten)]
    pub load: Load,
    /// Requests answered in a second.
    pub achieved_rate: f64,
    /// The share of the servers' time that the stated rate asks for; none of clients.
    pub utilisation: Option<f64>,
    /// Whether it can go on for ever.
    pub sustained: bool,
    /// Of the latency, which counts from the moment at which a request was to be sent.
    pub latency_seconds: Option<Quantiles>,
    /// Of the service alone.
    pub service_seconds: Option<Quantiles>,
    /// Of the first token of each answer.
    pub first_token_seconds: Option<Quantiles>,
    /// Of the further tokens.
    pub next_token_seconds: Option<Quantiles>,
}

impl Quantiles {
    /// Of counted times; `None` of nothing.
    pub fn of(times: &Histogram) -> Option<Quantiles> {
        Some(Quantiles {
            count: times.count(),
            mean: times.mean()?,
            p50: times.quantile(0.5)?,
            p90: times.quantile(0.9)?,
            p95: times.quantile(0.95)?,
            p99: times.quantile(0.99)?,
            p99_9: times.quantile(0.999)?,
            max: times.max()?,
        })
    }
}

impl Summary {
    /// Of a load.
    pub fn of(load: Load) -> Summary {
        Summary {
            achieved_rate: load.rate(),
            utilisation: load.utilisation(),
            sustained: load.sustained(),
            latency_seconds: Quantiles::of(&load.latency),
            service_seconds: Quantiles::of(&load.service),
            first_token_seconds: Quantiles::of(&load.first_token),
            next_token_seconds: Quantiles::of(&load.next_token),
            load,
        }
    }
}
