//! Learning-rate schedules with a linear warm-up, as Transformers defines them.

use serde::{Deserialize, Serialize};

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine (Loshchilov & Hutter 2017).
    Cosine,
    /// It stays.
    Constant,
}

impl Schedule {
    /// Factor of the learning rate at `step` (from 0) of `steps`, the first `warmup` of which rise.
    pub fn factor(self, step: usize, warmup: usize, steps: usize) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => (1.0 - done).max(0.0),
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_rise_from_zero_and_fall_to_zero() {
        for (schedule, middle, last) in
            [(Schedule::Linear, 0.5, 0.1), (Schedule::Cosine, 0.5, 0.024_47), (Schedule::Constant, 1.0, 1.0)]
        {
            assert_eq!(schedule.factor(0, 2, 12), 0.0);
            assert_eq!(schedule.factor(1, 2, 12), 0.5);
            assert_eq!(schedule.factor(2, 2, 12), 1.0);
            assert!((schedule.factor(7, 2, 12) - middle).abs() < 1e-9);
            assert!((schedule.factor(11, 2, 12) - last).abs() < 1e-4, "{schedule:?}");
        }
        assert_eq!(Schedule::Linear.factor(0, 0, 1), 1.0);
    }
}
