//! The standard benchmarks of a study, read before anything is trained: a slip in a name must not wait for the end.

use super::config::Study;
use super::session::Session;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// Standard benchmarks with their rows.
pub(super) struct Benchmarks {
    /// Those whose rows are here.
    pub sessions: Vec<Session>,
    /// The others, by name, each with why it is not run.
    pub absent: Vec<(String, String)>,
}

impl Benchmarks {
    /// Reads and encodes all that the study names, for the model of its own session.
    pub(super) fn open(study: &Study, session: &Session, progress: &dyn Progress) -> Result<Benchmarks> {
        let mut benchmarks = Benchmarks { sessions: Vec::new(), absent: Vec::new() };
        for name in &study.benchmarks {
            match session.benchmark(study, name, progress) {
                Ok(session) => benchmarks.sessions.push(session),
                Err(error @ Error::MissingData { .. }) => {
                    progress.event(Event::Note(format!("benchmark {name} is not run: {error}")));
                    benchmarks.absent.push((name.clone(), error.to_string()));
                }
                Err(error) => {
                    let found = format!("\"{name}\": {error}");
                    let expected = "tasks that this model can be trained on";
                    return Err(Error::malformed("study", "benchmarks", expected, found));
                }
            }
        }
        Ok(benchmarks)
    }

    /// What a reader should know about their rows, each note with its benchmark.
    pub(super) fn notes(&self) -> Vec<String> {
        let of = |session: &Session| {
            let task = session.data_identity.task.clone();
            session.notes.clone().into_iter().map(move |note| format!("Benchmark {task}: {note}"))
        };
        self.sessions.iter().flat_map(of).collect()
    }
}
