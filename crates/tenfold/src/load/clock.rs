//! The time that a load is measured by: the wall's, or in tests one that only servers move.

use std::time::{Duration, Instant};

/// Waking up is late by up to so much: the rest of a wait is spent awake.
const LATE: Duration = Duration::from_micros(300);

/// A clock.
pub trait Clock: Sync {
    /// Seconds since it was started.
    fn now(&self) -> f64;

    /// Returns when it shows `seconds`, at once if it is later.
    fn wait_until(&self, seconds: f64);
}

/// The wall's.
pub struct Wall(Instant);

impl Wall {
    /// Starts it.
    pub fn start() -> Wall {
        Wall(Instant::now())
    }
}

impl Clock for Wall {
    fn now(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn wait_until(&self, seconds: f64) {
        let Ok(until) = Duration::try_from_secs_f64(seconds) else { return };
        if let Some(rest) = until.checked_sub(self.0.elapsed() + LATE) {
            std::thread::sleep(rest);
        }
        while self.0.elapsed() < until {
            std::thread::yield_now();
        }
    }
}
