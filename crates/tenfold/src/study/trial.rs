//! One trial: train, score, keep.

use super::plan::{Job, TrialSettings, parts, rung_before};
use super::search;
use super::session::Session;
use super::store::{ADAPTER, SNAPSHOT};
use crate::adapter::Tuning;
use crate::adapter::file::{self, About};
use crate::atomic;
use crate::data::subset;
use crate::device;
use crate::error::{Error, Result};
use crate::eval;
use crate::meter::disturbance::Watch;
use crate::model::{self, Forward};
use crate::plain_file;
use crate::progress::{Event, Job as Bar, Progress};
use crate::record::{Fit, Parameters, Role, Test, Trained, TrainingTime};
use crate::train::{CrossEntropy, Looks, Order, Progressed, Rows, Source, Trainer, Training};
use crate::words::count;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// A line for each step, in the trial's folder.
const EVENTS: &str = "events.jsonl";

/// A trial at work in its folder.
pub(super) struct Work<'a> {
    pub session: &'a Session,
    pub job: &'a Job,
    /// How it fits into memory.
    pub fit: &'a Fit,
    pub folder: &'a Path,
    pub snapshot_every: Duration,
    pub progress: &'a dyn Progress,
    /// Threads of the process that compute, those of trials beside this one included.
    pub threads: usize,
}

impl Work<'_> {
    /// Trains and scores; goes on from a snapshot where there is one.
    pub(super) fn run(&self) -> Result<(Trained, TrainingTime)> {
        let (method, settings, how) = parts(&self.job.trial)?;
        let how = how.fitted(self.fit);
        let backend = device::beside(&*self.session.base.model)?;
        let seed = self.job.trial.seed;
        let tuning = self.session.tuning(method, &settings, seed, &backend)?;
        if let Some(format) = tuning.widened_from(&*self.session.base.model) {
            let note = format!(
                "its copy of the base's weights is widened from {} to f32 once, to be trained",
                format.name()
            );
            self.progress.event(Event::Note(format!("{}: {note}", title(&self.job.trial))));
        }
        let (train, validation) = self.rows(&how);
        let go_on = || if self.progress.stop_requested() { Err(Error::Interrupted) } else { Ok(()) };
        let forward = Forward::evaluation(&tuning);
        let source = |rows| {
            Source::new(&*self.session.base.model, rows).cache_features(
                &forward,
                &self.session.features,
                go_on,
            )
        };
        let (train_source, validation_source) = (source(&train)?, source(&validation)?);
        let snapshot = self.folder.join(SNAPSHOT);
        self.take_over(&snapshot)?;
        let steps = Order::new(&how.train, &train, seed).steps();
        let stops = search::stops(&how.rungs, steps);
        let events = Events::open(self, stops.last().copied().unwrap_or(steps))?;
        let score = || Ok(eval::score(&tuning, &validation_source, go_on)?.score);
        let trainer = Trainer {
            backend: backend.clone(),
            tuning: &tuning,
            objective: &CrossEntropy { label_smoothing_factor: how.train.label_smoothing_factor },
            settings: &how.train,
            learning_rate: how.learning_rate,
            seed,
            train: &train_source,
            looks: (!validation.is_empty()).then_some(Looks { scoring: validation.scoring(), score: &score }),
            stops: &stops,
            snapshot: Some(snapshot.clone()),
            snapshot_every: self.snapshot_every,
            go_on: &go_on,
            on_step: &|progressed| events.step(progressed),
        };
        let watch = Watch::start(self.threads);
        let training = match trainer.run() {
            Err(error @ Error::Malformed { .. }) if is_about(&error, &snapshot) => {
                let note = format!("{}: {error}; it is trained anew", title(&self.job.trial));
                self.progress.event(Event::Note(note));
                fs::remove_file(&snapshot).map_err(Error::io("remove", &snapshot))?;
                trainer.run()
            }
            other => other,
        }?;
        let disturbance = watch.stop();
        events.finish(&training)?;
        let tests = self.tests(&tuning, &how, &source, go_on)?;
        // As many of its own questions as of the first test's: the two scores are set side by side.
        let shown = self.session.task.tests.first().map_or(usize::MAX, |(_, rows)| rows.questions());
        let shown = train.first_questions(shown);
        let train_score = eval::score(&tuning, &source(&shown)?, go_on)?.score;
        let time = TrainingTime { seconds: training.seconds, disturbance: Some(disturbance) };
        let mut trained = self.trained(&tuning, training, tests, train_score)?;
        if self.job.trial.role == Role::Main {
            trained.untuned = self.session.untuned(go_on)?;
            trained.forgetting = self.session.forgetting(&tuning, go_on)?;
        }
        // The record is written by the caller; until then the snapshot stays.
        Ok((trained, time))
    }

    /// A candidate that goes on to the next rung goes on from where it stands; where that is lost it trains anew, to the
    /// same bits.
    fn take_over(&self, snapshot: &Path) -> Result<()> {
        let before = rung_before(&self.job.trial).and_then(|name| Some(self.folder.parent()?.join(name)));
        let there = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        let Some(before) = before.filter(|before| there(&before.join(SNAPSHOT)) && !there(snapshot)) else {
            return Ok(());
        };
        let (from, to) = (before.join(EVENTS), self.folder.join(EVENTS));
        let events = plain_file::read_own(&from, plain_file::RECORD).map_err(Error::io("read", &from))?;
        atomic::write(&to, &events)?;
        // Last: a process that is killed in between does both again.
        let moved = fs::rename(before.join(SNAPSHOT), snapshot).and_then(|()| atomic::sync_parent(snapshot));
        moved.map_err(Error::io("move", snapshot))
    }

    /// Training and validation rows of this trial.
    fn rows(&self, how: &TrialSettings) -> (Rows, Rows) {
        let validation = self.session.task.validation.first_questions(how.validation_rows);
        let train = match self.job.trial.role {
            Role::SmallData { examples, draw } => self.session.task.train.select_questions(&subset(
                &self.session.task.train_examples,
                examples,
                draw as u64,
            )),
            Role::Mixture => self.session.task.mixture.clone(),
            _ => self.session.task.train.first_questions(how.train_rows),
        };
        (train, validation)
    }

    /// All domains for a main trial, the trained one for a small-data trial, none for a search.
    fn tests<'s>(
        &'s self,
        tuning: &Tuning,
        how: &TrialSettings,
        source: &impl Fn(&'s Rows) -> Result<Source<'s>>,
        go_on: impl Fn() -> Result<()> + Copy,
    ) -> Result<Vec<Test>> {
        let domains = match self.job.trial.role {
            Role::Search { .. } => 0,
            Role::SmallData { .. } => 1,
            _ => self.session.task.tests.len(),
        };
        (self.session.task.tests.iter().take(domains).filter(|_| how.test_rows > 0))
            .map(|(domain, rows)| {
                let scored = eval::score(tuning, &source(rows)?, go_on)?;
                let test = scored.test(domain, rows.scoring().name);
                if let Some(note) = eval::cut_note(domain, test.cut, test.score.examples) {
                    self.progress.event(Event::Note(format!("{}: {note}", title(&self.job.trial))));
                }
                Ok(test)
            })
            .collect()
    }

    fn trained(
        &self,
        tuning: &Tuning,
        training: Training,
        tests: Vec<Test>,
        train_score: crate::record::Score,
    ) -> Result<Trained> {
        let adapter_bytes = match self.job.trial.role {
            Role::Main => {
                model::unchanged()?;
                let session = self.session;
                let about = About::of(tuning, &session.base.named, Some(session.task.reads));
                let base = (&*session.base.model, &session.base.files);
                let adapter = atomic::create_own_folders(self.folder, [ADAPTER])?;
                file::save(&adapter, tuning, &about, &session.task.labels, base)?
            }
            _ => 0,
        };
        let parameters = Parameters {
            trainable: tuning.len() as u64,
            head: tuning.head_len() as u64,
            base: self.job.trial.model.parameters,
            adapter_bytes,
        };
        Ok(Trained {
            parameters,
            steps: training.step,
            examples: training.examples,
            tokens: training.tokens,
            losses: training.losses,
            validation: training.validation,
            best_step: training.best_step,
            stopped_early: training.stopped_early,
            metric: self.session.task.scoring.name.to_owned(),
            train_score,
            tests,
            untuned: None,
            forgetting: None,
        })
    }
}

fn is_about(error: &Error, path: &Path) -> bool {
    matches!(error, Error::Malformed { file, .. } if file == path)
}

/// `events.jsonl`: a line for each step, and the progress bar.
struct Events<'a> {
    path: std::path::PathBuf,
    lines: Mutex<fs::File>,
    bar: Bar,
    progress: &'a dyn Progress,
}

impl<'a> Events<'a> {
    fn open(work: &Work<'a>, steps: usize) -> Result<Events<'a>> {
        let path = work.folder.join(EVENTS);
        let open = plain_file::open_own(&path, fs::OpenOptions::new().create(true).append(true));
        let mut lines = open.map_err(Error::io("write", &path))?;
        // A killed process may have left half a line, which must not swallow the next one.
        let _ = lines.write_all(b"\n");
        let bar = Bar::new();
        let title = title(&work.job.trial);
        work.progress.event(Event::Started { job: bar, title, unit: "steps", total: Some(steps as u64) });
        Ok(Events { path, lines: Mutex::new(lines), bar, progress: work.progress })
    }

    fn step(&self, progressed: &Progressed) {
        let line = serde_json::to_string(progressed).unwrap_or_default();
        let mut lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The events are a convenience: a full disk shows itself when the record is written.
        let _ = writeln!(lines, "{line}");
        let Progressed { step, loss, .. } = progressed;
        let note = format!("loss {loss:.3}");
        self.progress.event(Event::Advanced { job: self.bar, done: *step as u64, note });
    }

    /// A run that was killed did some steps twice: the later line of each step stays.
    fn finish(&self, training: &Training) -> Result<()> {
        let bytes = plain_file::read_own(&self.path, plain_file::RECORD);
        let bytes = bytes.map_err(Error::io("read", &self.path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut last = vec![None; training.step];
        for line in text.lines() {
            let step =
                serde_json::from_str::<serde_json::Value>(line).ok().and_then(|event| event["step"].as_u64());
            if let Some(slot) = step.and_then(|step| last.get_mut((step as usize).wrapping_sub(1))) {
                *slot = Some(line);
            }
        }
        let lines: Vec<&str> = last.into_iter().flatten().collect();
        atomic::write(&self.path, (lines.join("\n") + "\n").as_bytes())
    }
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        self.progress.event(Event::Finished { job: self.bar, note: String::new() });
    }
}

/// A trial in a few words.
pub(super) fn title(trial: &crate::record::Trial) -> String {
    let (method, seed) = (&trial.method, trial.seed);
    match &trial.role {
        Role::Main => format!("{method}, seed {seed}"),
        Role::Mixture => format!("{method}, mixture, seed {seed}"),
        Role::Search { candidate, rung: 0 } => format!("{method}, learning rate {candidate}"),
        Role::Search { candidate, rung } => format!("{method}, learning rate {candidate}, rung {}", rung + 1),
        Role::SmallData { examples, draw } => {
            format!("{method}, {}, draw {draw}", count(*examples, "example"))
        }
        Role::Probe => format!("{method}, probe"),
        Role::Benchmark { name } => format!("{method}, {name}, seed {seed}"),
        Role::Asked { name } => format!("{method}, asked {name}, seed {seed}"),
    }
}
