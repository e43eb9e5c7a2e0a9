//! One method trained once: a study of one trial, without a comparison.

use super::answers::{self, Answers};
use super::benchmarks::Benchmarks;
use super::check::check;
use super::config::{MethodSettings, Study};
use super::elapsed::Elapsed;
use super::executor::{Course, Finished, Workers};
use super::facts::Facts;
use super::lease::Machines;
use super::local::Local;
use super::plan::{Chosen, Plan};
use super::run::Options;
use super::session::Session;
use super::store::{ADAPTER, RunFolder};
use super::trial::title;
use crate::adapter::Method;
use crate::error::{Error, Result};
use crate::meter::memory;
use crate::progress::{Event, Progress};
use crate::record::{Candidate, Outcome, Record, Score};
use serde_json::Map;
use std::path::PathBuf;

/// A method that was trained.
#[derive(Debug)]
pub struct Single {
    /// What it left behind.
    pub record: Record,
    /// What the base model scores on the test rows, where it can answer untrained: language models.
    pub base: Option<Score>,
    /// What a language model answers before and after, in words.
    pub answers: Option<Answers>,
    /// What there is to know of the data, such as rows that were left out: sentences.
    pub notes: Vec<String>,
    /// Its adapter's folder.
    pub adapter: PathBuf,
    /// The operating system's peak of this process, where it tells; none if the trial was finished before.
    pub process_peak_bytes: Option<u64>,
}

/// The learning rate of a method that is trained once without one being stated, and where it comes from: the lower middle of
/// the rates that a search tries. Those are what the methods' authors and PEFT's documentation use (LoRA 2e-4 to 1e-3, all
/// parameters 1e-5 to 5e-5, IA³ 3e-3), and the ends of the list are far from it in either direction.
pub fn default_learning_rate(method: &Method) -> (f64, String) {
    let rates = method.learning_rates;
    let rate = rates.get(rates.len().saturating_sub(1) / 2).copied().unwrap_or(1e-4);
    let all: Vec<String> = rates.iter().map(|rate| format!("{rate:e}")).collect();
    let note = format!(
        "The learning rate {rate:e} was not stated: it is the second lowest of those that a search tries for {} ({}).",
        method.name,
        all.join(", ")
    );
    (rate, note)
}

/// Trains the one method of a study with its one seed, or gives what is there if it is finished.
pub fn train(study: &Study, options: &Options, progress: &dyn Progress) -> Result<Single> {
    let folder = RunFolder::made(&options.out)?;
    train_in(&folder, study, options, progress).map_err(|error| folder.blamed(error))
}

fn train_in(folder: &RunFolder, study: &Study, options: &Options, progress: &dyn Progress) -> Result<Single> {
    let (elapsed, backend) = (Elapsed::start(folder), study.device()?.backend());
    let session = Session::open(study, &backend, progress)?;
    check(study, &session, progress)?;
    let benchmarks = Benchmarks::none();
    let facts = Facts::of(study, &session, &benchmarks);
    let _seat = folder.enter(study, &facts, progress)?;
    let plan = Plan { study, facts: &facts };
    let stated = |(name, method): (&String, &MethodSettings)| {
        Some((name.clone(), Candidate { learning_rate: method.learning_rate?, settings: Map::new() }))
    };
    let chosen: Chosen = study.methods.iter().filter_map(stated).collect();
    let jobs = plan.main(&chosen)?;
    let [job] = jobs.as_slice() else {
        let expected = "one method with a learning rate, and one seed";
        return Err(Error::malformed("study", "methods", expected, format!("{} trials", jobs.len())));
    };
    let local = Local {
        plan,
        session: &session,
        benchmarks: &benchmarks,
        folder,
        machines: &Machines::new(folder),
        elapsed: &elapsed,
        probe_command: &options.probe_command,
        progress,
    };
    let workers = Workers { executor: &local, only: &[] };
    let Finished { records, ran, .. } = Course::new(plan, folder, Some(workers)).training(&chosen)?;
    let Some(record) = records.into_iter().next() else {
        return Err(Error::malformed("study", "methods", "a trial", "none"));
    };
    if let Outcome::Failed { reason } = &record.outcome {
        let faults = vec![format!("{}: {reason}", title(&record.trial))];
        return Err(Error::Faults { file: options.out.clone(), faults });
    }
    let process_peak_bytes = if ran > 0 { memory::process_peak_bytes() } else { None };
    let base = match &record.outcome {
        Outcome::Trained(trained) => trained.untuned.as_ref().map(|untuned| untuned.score),
        _ => None,
    };
    let adapter = folder.trial(&job.name).join(ADAPTER);
    let answers = match answers::compare(&session, &adapter, progress) {
        Err(error @ Error::Interrupted) => return Err(error),
        Err(error) => {
            progress
                .event(Event::Note(format!("answers before and after training were not compared: {error}")));
            None
        }
        Ok(answers) => answers,
    };
    Ok(Single {
        record,
        base,
        answers,
        notes: [session.task.notes, session.task.doubts].concat(),
        adapter,
        process_peak_bytes,
    })
}
