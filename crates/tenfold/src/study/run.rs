//! Running a study to its end: what is finished is kept, what is not goes on.

use super::benchmarks::Benchmarks;
use super::check::check;
use super::conclude::{Circumstances, Conclusion, conclude};
use super::config::Study;
use super::earlier::{self, Outdated};
use super::plan::Plan;
use super::recommended;
use super::runner::Runner;
use super::session::{Session, backend};
use super::store::RunFolder;
use super::trial::title;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::record::{Candidate, Outcome, Record, Role, Trial};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

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
    /// Whether to run what is missing, or to report on what is there.
    pub run_missing: bool,
    /// The methods to train now, by their names in the study; empty: all. Of the others what is there counts.
    pub only: Vec<String>,
    /// Whether the documents are written.
    pub documents: Documents,
    /// A command that probes: run folder and trial name are appended to it. Its standard input ends when this
    /// process does, however it ends.
    pub probe_command: Vec<OsString>,
}

/// A study that ran to its end.
#[derive(Debug, Default)]
pub struct Finished {
    /// All records of the study as it is now.
    pub records: Vec<Record>,
    /// The learning rate that each method took, and what else was found for it.
    pub chosen: BTreeMap<String, Candidate>,
    /// How many trials were run just now; the others were there already.
    pub ran: usize,
    /// The trials that are not there, where not all were to be run. Of a method without a learning rate these are the
    /// trials of its search alone, for the others depend on it.
    pub missing: Vec<Trial>,
}

/// Runs all trials that are not finished, and writes the report.
///
/// Without [`Options::run_missing`] nothing is trained, and no report is written over that could not be made again.
pub fn run(study: &Study, options: &Options, progress: &dyn Progress) -> Result<(Finished, Conclusion)> {
    study.check_only(&options.only)?;
    // A query leaves nothing in a folder that is no run.
    if !options.run_missing && !options.out.join("trials").is_dir() {
        let found = "none: nothing was trained here, or it is kept of an earlier study";
        return Err(Error::malformed(&options.out, "trials", "a run's folder of trials", found));
    }
    let (folder, _lock) = RunFolder::locked(&options.out)?;
    go(study, options, &folder, progress).map_err(|error| folder.blamed(error))
}

fn go(
    study: &Study,
    options: &Options,
    folder: &RunFolder,
    progress: &dyn Progress,
) -> Result<(Finished, Conclusion)> {
    if options.run_missing {
        folder.set_damaged_aside(progress)?;
    } else {
        folder.check_records()?;
    }
    let runner = Runner::new(study, options, folder, progress);
    let base = backend();
    let session = Session::open(study, &base, progress)?;
    if options.run_missing {
        check(study, &session, progress)?;
        // Only now: a study that is refused leaves the folder as it was.
        earlier::take_over(study, folder, progress)?;
        earlier::announce(folder, &session.model_identity, &session.data_identity, progress)?;
    }
    let mut benchmarks = Benchmarks::open(study, &session, progress)?;
    for note in session.notes.iter().chain(&session.doubts).chain(&benchmarks.notes()) {
        progress.event(Event::Note(note.clone()));
    }
    let plan = Plan { study, session: &session };
    let mut finished = Finished::default();
    runner.search(&plan, &mut finished)?;
    let chosen = finished.chosen.clone();
    runner.trials("comparison", &session, plan.main(&chosen)?, &mut finished)?;
    runner.trials("mixture of domains", &session, plan.mixture(&chosen)?, &mut finished)?;
    runner.trials("small data", &session, plan.small_data(&chosen)?, &mut finished)?;
    runner.benchmarks(&benchmarks, &chosen, &mut finished)?;
    runner.asked(&mut benchmarks, &plan, &chosen, &mut finished)?;
    runner.probes(plan.probes(&chosen)?, &mut finished)?;
    let elapsed_seconds = runner.elapsed(&finished)?;
    keep_earlier_report(options, folder, &finished, progress)?;
    let export = |adapter: Option<&str>| match (options.run_missing, options.documents) {
        (true, Documents::Written) => recommended::bring(&session, folder, adapter, progress),
        _ => recommended::found(folder, adapter),
    };
    let (records, missing) = (&finished.records, &finished.missing);
    let circumstances = Circumstances {
        chosen: &chosen,
        benchmarks: &benchmarks,
        elapsed_seconds,
        progress,
        missing,
        export: &export,
    };
    let conclusion = conclude(study, &session, folder, records, &circumstances, options.documents)?;
    if options.documents == Documents::Written {
        earlier::write_reported(folder, records.iter().map(|record| &record.trial))?;
    }
    folder.check_here()?;
    tell_lost_adapters(folder, &finished.records, progress);
    check_trained(&finished, options)?;
    Ok((finished, conclusion))
}

/// A report that was made from other results than those of now is refused to be written over by a query, and kept by a run.
fn keep_earlier_report(
    options: &Options,
    folder: &RunFolder,
    finished: &Finished,
    progress: &dyn Progress,
) -> Result<()> {
    folder.check_here()?;
    let found: Vec<&Trial> = finished.records.iter().map(|record| &record.trial).collect();
    let planned: Vec<&Trial> = found.iter().copied().chain(&finished.missing).collect();
    let Some(Outdated { trials, differences }) = earlier::outdated(folder, &found, &planned)? else {
        return Ok(());
    };
    if !options.run_missing {
        return Err(Error::Outdated { folder: options.out.clone(), trials, differences });
    }
    let place = earlier::set_aside(folder)?;
    progress.event(Event::Note(format!(
        "the report of before was made from other results ({}); it is kept in {place}",
        differences.join("; ")
    )));
    Ok(())
}

/// A record that names an adapter which is not there would send its reader nowhere.
fn tell_lost_adapters(folder: &RunFolder, records: &[Record], progress: &dyn Progress) {
    let is_trained =
        |record: &&Record| record.trial.role == Role::Main && matches!(record.outcome, Outcome::Trained(_));
    for record in records.iter().filter(is_trained) {
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
    let is_trained =
        |record: &Record| record.trial.role == Role::Main && matches!(record.outcome, Outcome::Trained(_));
    if !options.run_missing || finished.records.iter().any(is_trained) {
        return Ok(());
    }
    let faults = finished.records.iter().filter_map(|record| match &record.outcome {
        Outcome::Failed { reason } => Some(format!("{}: {reason}", title(&record.trial))),
        _ => None,
    });
    Err(Error::Faults { file: options.out.clone(), faults: faults.collect() })
}
