//! The standard benchmarks of a study, read before anything is trained: a slip in a name must not wait for the end.

use super::asking::Asking;
use super::check::answerable;
use super::config::Study;
use super::session::Session;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// Standard benchmarks with their rows.
pub(super) struct Benchmarks {
    /// Those whose rows are here.
    pub sessions: Vec<Session>,
    /// Tasks to ask without training on them, whose rows are here.
    pub asked: Vec<Asking>,
    /// The others, by name, each with why it is not run.
    pub absent: Vec<(String, String)>,
}

impl Benchmarks {
    /// Of a study that names none.
    pub(super) fn none() -> Benchmarks {
        Benchmarks { sessions: Vec::new(), asked: Vec::new(), absent: Vec::new() }
    }

    /// Reads and encodes all that the study names, for the model of its own session.
    pub(super) fn open(study: &Study, session: &Session, progress: &dyn Progress) -> Result<Benchmarks> {
        let mut benchmarks = Benchmarks::none();
        for name in &study.benchmarks {
            let found = session.benchmark(study, name, progress);
            let found = found.and_then(|found| answerable(&found, name).map(|()| found));
            let expected = "tasks that this model can be trained on (others to ask = [...])";
            let found = benchmarks.here(name, "benchmarks", expected, found, progress)?;
            benchmarks.sessions.extend(found);
        }
        for name in &study.ask {
            let found = Asking::open(study, session, name);
            let expected = "tasks that this model can be asked";
            let found = benchmarks.here(name, "ask", expected, found, progress)?;
            benchmarks.asked.extend(found);
        }
        Ok(benchmarks)
    }

    /// What was opened; none, and told, if its rows are not here.
    fn here<T>(
        &mut self,
        name: &str,
        key: &str,
        expected: &str,
        found: Result<T>,
        progress: &dyn Progress,
    ) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error @ Error::MissingData { .. }) => {
                progress.event(Event::Note(format!("benchmark {name} is not run: {error}")));
                self.absent.push((name.to_owned(), error.to_string()));
                Ok(None)
            }
            Err(error) => Err(Error::malformed("study", key, expected, format!("\"{name}\": {error}"))),
        }
    }

    /// What a reader should know about their rows, each note with its benchmark.
    pub(super) fn notes(&self) -> Vec<String> {
        let of = |session: &Session| {
            let task = session.task.data_identity.task.clone();
            session
                .task
                .notes
                .iter()
                .chain(&session.task.doubts)
                .cloned()
                .collect::<Vec<_>>()
                .into_iter()
                .map(move |note| format!("Benchmark {task}: {note}"))
        };
        self.sessions.iter().flat_map(of).collect()
    }
}
