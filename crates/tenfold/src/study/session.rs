//! What all trials of a study share: the frozen base, and a task's rows prepared for it.

mod alike;
mod arranged;
mod choices;
mod labelled;
mod language;
mod passages;
mod prepare;

pub(super) use prepare::PreparedTask;

use super::config::Study;
use super::fit::Fits;
use crate::adapter::file::BaseModel;
use crate::adapter::{Context, Method, Tuning};
use crate::error::{Error, Result};
use crate::eval;
use crate::model::tokenizer::Tokenizer;
use crate::model::{Loaded, Model, ModelFiles, TaskType, store};
use crate::progress::{Event, Progress, told_if_slow};
use crate::record::{Forgetting, ModelIdentity, Test};
use crate::task::{Task, TaskKind};
use crate::train::{Features, Source};
use prepare::{Part, Preparing, prepare};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::{Backend, Dtype, Meta};

/// A study's model and one of its tasks, ready, and what is found out about both when it is first asked for.
pub(super) struct Session {
    pub base: Base,
    pub task: PreparedTask,
    /// What the base model answers on the first test split, once it was asked.
    untuned: Mutex<Option<Test>>,
    /// What heads see of the rows, for methods that leave it alone.
    pub features: Features,
    /// How trials fit into memory.
    pub fits: Fits,
}

/// The frozen base: what does not depend on the rows.
#[derive(Clone)]
pub(super) struct Base {
    pub model: Arc<dyn Model>,
    pub tokenizer: Arc<Tokenizer>,
    pub files: ModelFiles,
    /// The format of its frozen matrices, where that is not the files'.
    dtype: Option<Dtype>,
    pub identity: ModelIdentity,
    /// What there is to know about its files: sentences.
    notes: Vec<String>,
    /// What adapters say that they were trained over.
    pub named: BaseModel,
}

impl Base {
    /// Finds and reads the model of a study for a task. Its bytes are booked with `backend`.
    fn open(study: &Study, task: &Task, backend: &Arc<dyn Backend>, progress: &dyn Progress) -> Result<Base> {
        let located = store::locate(&study.model, progress)?;
        let (task_type, dtype) = (task_type(task, &located.files)?, study.dtype()?);
        let reading = format!("reading {}", study.name_of_model());
        let Loaded { model, mut notes } =
            told_if_slow(progress, &reading, || located.files.load(task_type, backend, dtype))?;
        let tokenizer = located.files.tokenizer()?;
        tokenizer.check(&model.extents())?;
        notes.extend(tokenizer.notes().iter().cloned());
        for note in &notes {
            progress.event(Event::Note(note.clone()));
        }
        let parameters = model.weights().iter().map(|weight| weight.tensor.len() as u64).sum();
        Ok(Base {
            model,
            tokenizer,
            named: BaseModel {
                weights_sha256: Some(located.weights_sha256),
                ..BaseModel::of(&study.model, located.files.dir())?
            },
            files: located.files,
            dtype,
            identity: ModelIdentity {
                name: study.name_of_model().to_owned(),
                sha256: located.sha256,
                parameters,
                weights: study.weights.clone(),
            },
            notes,
        })
    }

    /// The same base under the head that a task asks for.
    fn under_head_of(&self, task: &Task) -> Result<Base> {
        let wanted = task_type(task, &self.files)?;
        let mut base = self.clone();
        if wanted != self.model.task() {
            let backend = self.model.word_embeddings().tensor.backend();
            base.model = self.files.load(wanted, backend, self.dtype)?.model;
        }
        Ok(base)
    }
}

impl Session {
    /// Finds, reads and encodes all that the study names. The base's bytes are booked with `backend`.
    pub(super) fn open(
        study: &Study,
        backend: &Arc<dyn Backend>,
        progress: &dyn Progress,
    ) -> Result<Session> {
        let task = Task::load(&study.task)?;
        let base = Base::open(study, &task, backend, progress)?;
        Session::of(base, study, &task, Part::Main, progress)
    }

    /// The same model with a standard benchmark's rows: as many to train on, all of its test rows.
    pub(super) fn benchmark(&self, study: &Study, task: &str, progress: &dyn Progress) -> Result<Session> {
        let task = Task::load(task)?;
        Session::of(self.base.under_head_of(&task)?, study, &task, Part::Benchmark, progress)
    }

    fn of(base: Base, study: &Study, task: &Task, part: Part, progress: &dyn Progress) -> Result<Session> {
        let length = room(study, &base)?;
        let task = prepare(&Preparing { study, base: &base, task, part, length, progress })?;
        Ok(Session {
            base,
            task,
            untuned: Mutex::default(),
            features: Features::default(),
            fits: Fits::default(),
        })
    }

    /// The same model on a backend that holds no numbers, to try things on.
    pub(super) fn without_numbers(&self) -> Result<Arc<dyn Model>> {
        Ok(self.base.files.load(self.base.model.task(), &Meta::new(), self.base.dtype)?.model)
    }

    /// What the base model answers on the first test split: the same for all trials, so the first one to want it asks.
    /// `None` of models whose head knows nothing before it is trained.
    pub(super) fn untuned(&self, go_on: impl Fn() -> Result<()>) -> Result<Option<Test>> {
        let Some((domain, rows)) = self.task.tests.first().filter(|(_, rows)| !rows.is_empty()) else {
            return Ok(None);
        };
        if !self.base.model.task().is_language_modelling() {
            return Ok(None);
        }
        let mut known = self.untuned.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let source = Source::new(&*self.base.model, rows);
            let scored = eval::score(&Tuning::untouched(&*self.base.model), &source, go_on)?;
            *known = Some(scored.test(domain, rows.scoring().name));
        }
        Ok(known.clone())
    }

    /// What training did to the loss on general text; `None` where there is no text.
    pub(super) fn forgetting(
        &self,
        tuned: &Tuning,
        go_on: impl Fn() -> Result<()>,
    ) -> Result<Option<Forgetting>> {
        let general = &self.task.general;
        if general.rows.is_empty() {
            return Ok(None);
        }
        let source = Source::new(&*self.base.model, &general.rows);
        let loss = |tuning: &Tuning| Ok::<f64, Error>(eval::score(tuning, &source, &go_on)?.score.loss);
        let mut base = general.base.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *base {
            Some(before) => before,
            None => *base.insert(loss(&Tuning::untouched(&*self.base.model))?),
        };
        drop(base);
        Ok(Some(Forgetting { before, after: loss(tuned)? }))
    }

    /// A method as it starts.
    pub(super) fn tuning(
        &self,
        method: &'static Method,
        settings: &Value,
        seed: u64,
        backend: &Arc<dyn Backend>,
    ) -> Result<Tuning> {
        let tokenize = |text: &str| self.base.tokenizer.words(text);
        let context = Context { model: &*self.base.model, backend, seed, tokenize: &tokenize };
        Tuning::new(method, settings, &context, self.task.labels.len())
    }
}

/// What the rows of a task ask of a model.
fn task_type(task: &Task, files: &ModelFiles) -> Result<TaskType> {
    match task.kind() {
        TaskKind::Classification(_) | TaskKind::Regression(_) => Ok(TaskType::SequenceClassification),
        TaskKind::Extraction(_) => Ok(TaskType::QuestionAnswering),
        // An encoder's head judges the choices that a language model is asked for.
        TaskKind::Language { .. } => files.usual_task(),
    }
}

/// Tokens of a row at the most. The same rows for every method, so what one of them needs is taken from all. One that
/// needs more than there is gets nothing here and is refused when it is made.
fn room(study: &Study, base: &Base) -> Result<usize> {
    let positions = base.model.extents().max_positions;
    let taken = study.virtual_tokens()?.into_iter().filter(|taken| *taken < positions).max();
    Ok(study.train.max_length.min(positions - taken.unwrap_or(0)))
}

/// The first `rows` of them; all for 0.
fn first<T>(examples: &[T], rows: usize) -> &[T] {
    &examples[..if rows == 0 { examples.len() } else { rows.min(examples.len()) }]
}

#[cfg(test)]
mod tests;
