//! One method trained once: a study of one trial, without a comparison.

use super::check::check;
use super::config::{MethodSettings, Study};
use super::plan::Plan;
use super::run::{Options, Runner};
use super::session::{Session, backend};
use super::store::{ADAPTER, RunFolder};
use super::trial::title;
use crate::atomic;
use crate::error::{Error, Result};
use crate::meter::memory;
use crate::progress::Progress;
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
    /// What there is to know of the data, such as rows that were left out: sentences.
    pub notes: Vec<String>,
    /// Its adapter's folder.
    pub adapter: PathBuf,
    /// The operating system's peak of this process, where it tells; none if the trial was finished before.
    pub process_peak_bytes: Option<u64>,
}

/// Trains the one method of a study with its one seed, or gives what is there if it is finished.
pub fn train(study: &Study, options: &Options, progress: &dyn Progress) -> Result<Single> {
    let folder = RunFolder::new(&options.out);
    let _lock = folder.lock()?;
    atomic::write(&folder.file("study.toml"), study.to_toml().as_bytes())?;
    let backend = backend();
    let session = Session::open(study, &backend, progress)?;
    check(study, &session, progress)?;
    let stated = |(name, method): (&String, &MethodSettings)| {
        Some((name.clone(), Candidate { learning_rate: method.learning_rate?, settings: Map::new() }))
    };
    let jobs = Plan { study, session: &session }.main(&study.methods.iter().filter_map(stated).collect())?;
    let [job] = jobs.as_slice() else {
        let expected = "one method with a learning rate, and one seed";
        return Err(Error::malformed("study", "methods", expected, format!("{} trials", jobs.len())));
    };
    let runner = Runner::new(study, options, progress);
    let (records, ran) = runner.records("training", &session, jobs.clone())?;
    let Some(record) = records.into_iter().next() else {
        return Err(Error::malformed("study", "methods", "a trial", "none"));
    };
    if let Outcome::Failed { reason } = &record.outcome {
        let faults = vec![format!("{}: {reason}", title(&record.trial))];
        return Err(Error::Faults { file: options.out.clone(), faults });
    }
    let process_peak_bytes = if ran { memory::process_peak_bytes() } else { None };
    let base = match &record.outcome {
        Outcome::Trained(trained) => trained.untuned.as_ref().map(|untuned| untuned.score),
        _ => None,
    };
    let adapter = folder.trial(&job.name).join(ADAPTER);
    Ok(Single { record, base, notes: session.notes, adapter, process_peak_bytes })
}
