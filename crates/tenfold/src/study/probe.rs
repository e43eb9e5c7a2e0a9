//! Probes: each method in a process of its own, timed in rounds with the others, beside which the study runs nothing. Speed,
//! memory, latency, energy, and what else used the processors meanwhile.

mod bench;
mod child;
mod part;
mod points;
mod requests;
mod rounds;

use super::config::Study;
use super::earlier::STUDY;
use super::local::measured;
use super::plan::{Job, parts};
use super::session::Session;
use super::store::RunFolder;
use crate::error::{Error, Result};
use crate::meter::disturbance::{self, Watch};
use crate::meter::energy;
use crate::meter::{POWERCAP, gpu};
use crate::progress::Progress;
use crate::record::{Energy, Measured, Outcome, Probed, Record, Repeat, Role, SCHEMA, Trial};
use bench::Bench;
use part::{Answer, Part};
use rounds::Rounds;
use serde_json::Value;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// Measures the methods of these probes of a run together, and writes their records. `command` starts the process of one
/// method, [`answer`]; run folder and trial name are appended to it.
pub fn probe(run: &Path, trials: &[String], command: &[OsString], progress: &dyn Progress) -> Result<()> {
    let folder = RunFolder::new(run);
    let study = Study::read(&folder.file(STUDY), &[])?;
    let jobs: Vec<Job> = trials.iter().map(|name| folder.job(name)).collect::<Result<_>>()?;
    for record in probes(&study, &folder, &jobs, command, progress)? {
        folder.keep(&Job::of(record.trial.clone()), &record)?;
    }
    Ok(())
}

/// The records of these probes, measured together.
pub(super) fn probes(
    study: &Study,
    folder: &RunFolder,
    jobs: &[Job],
    command: &[OsString],
    progress: &dyn Progress,
) -> Result<Vec<Record>> {
    let idle_energy = idle(study.energy.idle_seconds, study.probe.retries)?;
    let gpus = gpu::Watch::start(Path::new(gpu::NVIDIA_SMI));
    let seed = study.seeds.first().copied().unwrap_or(0);
    let rounds = Rounds { probing: &study.probe, seed, folder, command, progress };
    let found = rounds.measure(jobs)?;
    let gpu = gpus.and_then(gpu::Watch::stop);
    let record = |(job, found): (&Job, rounds::Measured)| {
        let (outcome, probe) = match found {
            Err(reason) => (Outcome::Failed { reason }, None),
            Ok((probed, losses)) => {
                let probed = Probed { idle_energy: idle_energy.clone(), gpu: gpu.clone(), ..probed };
                let repeated = repeat(&losses, &reference(folder, job)?);
                (Outcome::Probed(repeated), Some(Box::new(probed)))
            }
        };
        let measured = Measured { probe, ..measured() };
        Ok(Record { schema: SCHEMA, trial: job.trial.clone(), outcome, measured })
    };
    jobs.iter().zip(found).map(record).collect()
}

/// Measures parts of the probe `name` of a run as they are asked for, a line of JSON each, and answers each with a line. Meant
/// to be all that its process does.
pub fn answer(
    run: &Path,
    name: &str,
    requests: impl Iterator<Item = String>,
    answers: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    let folder = RunFolder::new(run);
    let study = Study::read(&folder.file(STUDY), &[])?;
    let job = folder.job(name)?;
    let backend = study.device()?.backend();
    let session = Session::open(&study, &backend, progress)?;
    let (method, settings, how) = parts(&job.trial)?;
    let mut say = |answer: Answer| {
        let line = serde_json::to_string(&answer).unwrap_or_default();
        writeln!(answers, "{line}").and_then(|()| answers.flush()).map_err(Error::io("write", "an answer"))
    };
    let fit = match session.fit(&job.trial, study.train.memory_limit)? {
        Ok(fit) => fit,
        Err(reason) => return say(Answer::Failed(reason)),
    };
    let (how, seed, probing) = (how.fitted(&fit), job.trial.seed, &study.probe);
    let tuned = Mutex::default();
    let bench = Bench { session: &session, backend, method, settings, how, seed, probing, progress, tuned };
    say(bench.ready().map_or_else(|error| Answer::Failed(error.to_string()), Answer::Ready))?;
    for request in requests {
        let part: Part = serde_json::from_str(&request).map_err(|error| {
            Error::malformed("probe", "a request", "a part to measure", error.to_string())
        })?;
        match bench.measure(&part) {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => say(Answer::Failed(error.to_string()))?,
            Ok(answer) => say(answer)?,
        }
    }
    Ok(())
}

/// Energy of the idle machine, where it can be measured.
fn idle(seconds: f64, retries: usize) -> Result<Option<Energy>> {
    let (energy, disturbance) = disturbance::least_disturbed(retries, || {
        let watch = Watch::start(1);
        Ok((energy::idle(Path::new(POWERCAP), seconds), watch.stop()))
    })?;
    Ok(energy.map(|energy| Energy { disturbance: Some(disturbance), ..energy }))
}

/// The losses of the trial that a probe repeats the first steps of.
fn reference(folder: &RunFolder, job: &Job) -> Result<Vec<f32>> {
    let mut trial = Trial { role: Role::Main, ..job.trial.clone() };
    if let Value::Object(train) = &mut trial.train {
        train.remove("probe");
    }
    Ok(match folder.record(&Job::of(trial))?.map(|record| record.outcome) {
        Some(Outcome::Trained(trained)) => trained.losses,
        _ => Vec::new(),
    })
}

/// Whether the repeated steps gave the same bits.
fn repeat(losses: &[f32], reference: &[f32]) -> Repeat {
    let steps = losses.len().min(reference.len());
    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
    Repeat { steps, first_difference: losses.iter().zip(reference).position(differs) }
}
