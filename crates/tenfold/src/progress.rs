//! How the library tells what it is doing: events for whoever draws them, and the wish to stop.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// One thing that has a beginning and an end: a download, a trial, a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job(pub u64);

/// Something happened. `tenfold-cli` draws these; tests collect or drop them.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job began. `total` is in the job's own unit, where it is known.
    Started {
        /// The job.
        job: Job,
        /// What it is, for people: "downloading all-minilm-l6-v2", "lora, seed 1".
        title: String,
        /// The unit that `total` and `Advanced::done` count: "bytes", "steps", "rows".
        unit: &'static str,
        /// How many units there are, where it is known.
        total: Option<u64>,
    },
    /// A job came further.
    Advanced {
        /// The job.
        job: Job,
        /// Units done so far.
        done: u64,
        /// A few words on how it stands: "loss 0.412".
        note: String,
    },
    /// A job ended, well or not.
    Finished {
        /// The job.
        job: Job,
        /// What came of it.
        note: String,
    },
    /// So much of a job stands on disk, and is not done again if the process ends now.
    Kept {
        /// The job.
        job: Job,
        /// Units that are kept, of all that there are.
        done: u64,
        /// How many units are kept at a time.
        at_a_time: u64,
    },
    /// A line worth reading that belongs to no job.
    Note(String),
}

/// Receives events, and is asked whether to go on. Called from several threads.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event);

    /// True once the user wants to stop; long work asks at least several times a second.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Does some work, and says what it is if it takes longer than a second: nobody should have to guess what a silent command
/// does.
pub fn told_if_slow<T>(progress: &dyn Progress, title: &str, work: impl FnOnce() -> T) -> T {
    const SILENCE: Duration = Duration::from_secs(1);
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // Without a thread to spare the work goes on untold.
        let _ = std::thread::Builder::new().spawn_scoped(scope, move || {
            if is_done.recv_timeout(SILENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let job = Job::new();
            progress.event(Event::Started { job, title: title.to_owned(), unit: "work", total: None });
            // The channel ends with the work, also with one that panics.
            let _ = is_done.recv();
            progress.event(Event::Finished { job, note: String::new() });
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

/// Drops every event and never asks to stop.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}

impl Job {
    /// A job with a number of its own within this process.
    pub fn new() -> Job {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Job(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Job {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Titles(Mutex<Vec<String>>);

    impl Progress for Titles {
        fn event(&self, event: Event) {
            if let Event::Started { title, .. } = event {
                self.0.lock().unwrap().push(title);
            }
        }
    }

    #[test]
    fn only_work_that_takes_its_time_is_told() {
        let titles = Titles::default();
        assert_eq!(told_if_slow(&titles, "quick", || 3), 3);
        told_if_slow(&titles, "slow", || std::thread::sleep(Duration::from_millis(1300)));
        assert_eq!(*titles.0.lock().unwrap(), ["slow"]);
    }
}
