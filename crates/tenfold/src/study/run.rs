//! Running a study to its end, where what is finished is kept and what is not goes on; and reporting on what is on disk.

use super::benchmarks::Benchmarks;
use super::check::check;
use super::conclude::{Conclusion, Ends, conclude};
use super::config::Study;
use super::earlier::{self, STUDY};
use super::elapsed::Elapsed;
use super::executor::{Course, Finished, Workers, is_trained};
use super::facts::Facts;
use super::lease::Machines;
use super::local::Local;
use super::plan::{CODE, Plan};
use super::recommended;
use super::session::Session;
use super::store::RunFolder;
use super::trial::title;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::record::{Outcome, Record, Trial};
use crate::report::Purpose;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What becomes of report.html, summary.md, recommendation.json and metrics.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// They are written.
    Written,
    /// They are left as they are: a query prints.
    Left,
}

/// Where and how to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The run's folder.
    pub out: PathBuf,
    /// The methods to train now, by their names in the study; empty: all. Of the others what is there counts.
    pub only: Vec<String>,
    /// A command that probes: run folder and trial name are appended to it. Its standard input ends when this
    /// process does, however it ends.
    pub probe_command: Vec<OsString>,
}

/// Runs all trials that are not finished, and writes the report. Several processes may do so in one folder: each trial is
/// run by one of them.
pub fn run(study: &Study, options: &Options, progress: &dyn Progress) -> Result<(Finished, Conclusion)> {
    study.check_only(&options.only)?;
    let folder = RunFolder::made(&options.out)?;
    run_in(study, options, &folder, progress).map_err(|error| folder.blamed(error))
}

fn run_in(
    study: &Study,
    options: &Options,
    folder: &RunFolder,
    progress: &dyn Progress,
) -> Result<(Finished, Conclusion)> {
    let elapsed = Elapsed::start(folder);
    let base = study.device()?.backend();
    let session = Session::open(study, &base, progress)?;
    check(study, &session, progress)?;
    let benchmarks = Benchmarks::open(study, &session, progress)?;
    let facts = Facts::of(study, &session, &benchmarks);
    for note in facts.notes.iter().chain(&facts.doubts) {
        progress.event(Event::Note(note.clone()));
    }
    // Only now: a study that is refused leaves the folder as it was.
    let seat = folder.enter(study, &facts, progress)?;
    let plan = Plan { study, facts: &facts };
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
    let workers = Workers { executor: &local, only: &options.only };
    let finished = Course::new(plan, folder, Some(workers)).whole()?;
    match finished.ran {
        0 => elapsed.leave(),
        _ => elapsed.add(),
    }?;
    let closing = folder.closing(seat)?;
    let export = |adapter: Option<&str>| match &closing {
        Some(_) => recommended::bring(&session, folder, adapter, progress),
        None => recommended::found(folder, adapter),
    };
    if closing.is_none() {
        let words = "another process still works on this run: the last one writes recommended/";
        progress.event(Event::Note(words.into()));
    }
    let ends = Ends { export: &export, documents: Documents::Written, progress };
    let conclusion = conclude(plan, folder, &finished, &ends)?;
    folder.check_here()?;
    tell_lost_adapters(folder, &finished.records, progress);
    check_trained(&finished, options)?;
    Ok((finished, conclusion))
}

/// Reports on what is in a run's folder, for a purpose of its own or that of the study: without the model and the data,
/// and also while the run goes on.
///
/// # Errors
///
/// [`Error::WithoutFacts`] for a run that no report can be made of; [`Error::DamagedRecords`] where records cannot be believed; [`Error::Outdated`]
/// if documents that are to be written rest on trials that are not there any more.
pub fn report(
    run: &Path,
    purpose: Option<Purpose>,
    documents: Documents,
    progress: &dyn Progress,
) -> Result<(Finished, Conclusion)> {
    if !run.join("trials").is_dir() {
        let found = "none: nothing was trained here, or it is kept of an earlier study";
        return Err(Error::malformed(run, "trials", "a run's folder of trials", found));
    }
    let folder = RunFolder::new(run);
    let facts = Facts::of_run(&folder)?;
    let folder = folder.of_code(&facts.code);
    let mut study = Study::read(&folder.file(STUDY), &[])?;
    if let Some(purpose) = purpose {
        study.purpose = purpose.name().to_owned();
    }
    folder.check_records()?;
    let plan = Plan { study: &study, facts: &facts };
    let finished = Course::new(plan, &folder, None).whole()?;
    let found: Vec<&Trial> = finished.records.iter().map(|record| &record.trial).collect();
    let missing: Vec<&Trial> = finished.missing.iter().collect();
    let lost = earlier::lost(&folder, &found, &missing);
    if documents == Documents::Written && !lost.is_empty() {
        return Err(Error::Outdated { folder: run.to_owned(), lost });
    }
    if facts.code != CODE {
        let words = format!("the trials were run by {}; this is {CODE}", facts.code);
        progress.event(Event::Note(words));
    }
    let export = |adapter: Option<&str>| recommended::found(&folder, adapter);
    let conclusion = conclude(plan, &folder, &finished, &Ends { export: &export, documents, progress })?;
    tell_lost_adapters(&folder, &finished.records, progress);
    Ok((finished, conclusion))
}

/// A record that names an adapter which is not there would send its reader nowhere.
fn tell_lost_adapters(folder: &RunFolder, records: &[Record], progress: &dyn Progress) {
    for record in records.iter().filter(|record| is_trained(record)) {
        let name = super::naming::name(&record.trial);
        if folder.adapter(&name).is_none() {
            let (title, place) = (title(&record.trial), folder.trial(&name));
            progress.event(Event::Note(format!(
                "{title}: its adapter is not there any more; remove {} to train it again",
                place.display()
            )));
        }
    }
}

/// One failed method is a line in the report; a study that trained none has failed itself.
fn check_trained(finished: &Finished, options: &Options) -> Result<()> {
    if finished.records.iter().any(is_trained) {
        return Ok(());
    }
    let faults = finished.records.iter().filter_map(|record| match &record.outcome {
        Outcome::Failed { reason } => Some(format!("{}: {reason}", title(&record.trial))),
        _ => None,
    });
    Err(Error::Faults { file: options.out.clone(), faults: faults.collect() })
}
