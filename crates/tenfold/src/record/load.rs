//! Requests under a load: what was sent, and how long each took.

use super::Disturbance;
use crate::histogram::Histogram;
use crate::unit::digits;
use serde::{Deserialize, Serialize};

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Arrivals {
    /// From so many clients, each of which sends its next request when the last is answered.
    Closed {
        /// The clients.
        clients: usize,
    },
    /// By a timetable, whether or not earlier ones are answered (Poisson arrivals).
    Open {
        /// Requests a second, on average.
        rate: f64,
        /// The share of the measured capacity that the rate was derived from, where it was.
        share: Option<f64>,
    },
}

/// Requests under one load. Warm-up is left out everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// How they came.
    pub arrivals: Arrivals,
    /// Requests that were worked on side by side.
    pub servers: usize,
    /// Whether the adapter was merged into the base.
    pub merged: bool,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// From the moment at which a request was to be sent, also while all servers were busy, to its answer.
    pub latency: Histogram,
    /// From the moment at which a server took a request up to its answer.
    pub service: Histogram,
    /// From the moment at which a request was to be sent to the first token of its answer; empty where answers have none.
    pub first_token: Histogram,
    /// Between one token of an answer and the next.
    pub next_token: Histogram,
    /// What disturbed the timing; none in records of before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<Disturbance>,
}

impl Load {
    /// Nothing yet under such a load.
    pub fn empty(arrivals: Arrivals, servers: usize) -> Load {
        Load {
            arrivals,
            servers,
            merged: false,
            seconds: 0.0,
            latency: Histogram::default(),
            service: Histogram::default(),
            first_token: Histogram::default(),
            next_token: Histogram::default(),
            disturbance: None,
        }
    }

    /// Requests that were answered in a second; 0 without any.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.latency.count() as f64 / self.seconds } else { 0.0 }
    }

    /// Requests a second that the servers could answer at the most: servers over the mean seconds of service. `None`
    /// without any.
    pub fn capacity(&self) -> Option<f64> {
        self.service.mean().map(|seconds| self.servers as f64 / seconds)
    }

    /// The share of the servers' time that the stated rate asks for, above 1 if it is more than they have. `None` of
    /// clients, who wait.
    pub fn utilisation(&self) -> Option<f64> {
        match self.arrivals {
            Arrivals::Open { rate, .. } => self.capacity().map(|capacity| rate / capacity),
            Arrivals::Closed { .. } => None,
        }
    }

    /// Whether it can go on for ever. If not, the queue grows as long as requests come, and their times say how long that
    /// was, nothing else: a queue is stable if and only if its utilisation is below 1.
    pub fn sustained(&self) -> bool {
        self.utilisation().is_none_or(|share| share < 1.0)
    }

    /// The load in words: "1 client", "98.0/s (50 % of capacity)".
    pub fn words(&self) -> String {
        match self.arrivals {
            Arrivals::Closed { clients: 1 } => "1 client".to_owned(),
            Arrivals::Closed { clients } => format!("{clients} clients"),
            Arrivals::Open { rate, share: None } => format!("{}/s", digits(rate)),
            Arrivals::Open { rate, share: Some(share) } => {
                format!("{}/s ({:.0} % of capacity)", digits(rate), share * 100.0)
            }
        }
    }
}
