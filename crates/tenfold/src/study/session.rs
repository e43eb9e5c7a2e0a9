//! What all trials of a study share: the frozen base, the tokenizer and the encoded rows.

mod alike;
mod arranged;
mod joined;
mod labelled;
mod language;

use super::config::Study;
use super::fit::Fits;
use crate::adapter::file::{BaseModel, Reads};
use crate::adapter::{Context, Method, Tuning};
use crate::data::language::{LengthReport, Question};
use crate::data::{Example, PassageQuestion};
use crate::error::{Error, Result};
use crate::eval;
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model, TaskType, store};
use crate::progress::{Event, Progress, told_if_slow};
use crate::record::{DataIdentity, Forgetting, ModelIdentity, Test};
use crate::score::Scoring;
use crate::task::{Extraction, Questions, Task};
use crate::train::{Features, Rows, Source};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::{Backend, Cpu, Dry, Dtype};

/// A study's model and data, ready.
pub(super) struct Session {
    pub model: Arc<dyn Model>,
    pub tokenizer: Tokenizer,
    /// The model's folder, and the format of its frozen matrices.
    located: (PathBuf, Option<Dtype>),
    pub model_identity: ModelIdentity,
    /// What adapters say that they were trained over.
    pub base_model: BaseModel,
    /// What a row is.
    pub reads: Reads,
    pub data_identity: DataIdentity,
    /// The labels' names, one for each output of the head.
    pub labels: Vec<String>,
    /// What answers are worth.
    pub scoring: &'static Scoring,
    /// Who published the rows, and under which licence.
    pub task_source: String,
    /// What is trained on, each row or question by its text and label, of which small draws are made.
    pub train_examples: Vec<Example>,
    pub train: Rows,
    pub validation: Rows,
    pub tests: Vec<(String, Rows)>,
    /// Rows of several domains to train on, where the study has a mixture, and their SHA-256.
    pub mixture: Rows,
    pub mixture_sha256: String,
    /// What the base model answers on the first test split, once it was asked.
    untuned: Mutex<Option<Test>>,
    /// The general text on which forgetting is measured.
    pub general: General,
    /// How long the training rows of a language task are.
    pub lengths: Option<LengthReport>,
    /// What heads see of the rows, for methods that leave it alone.
    pub features: Features,
    /// Tokens of a row at the most.
    pub length: usize,
    /// The number that each label stands for, where numbers are foretold.
    values: Vec<f64>,
    /// How trials fit into memory.
    pub fits: Fits,
    /// What users would send, for latency.
    pub requests: Requests,
    /// What a reader of the results should know about the rows.
    pub notes: Vec<String>,
    /// What makes scores on them doubtful: sentences without a full stop.
    pub doubts: Vec<String>,
}

/// Rows as users would send them.
pub(super) enum Requests {
    /// Texts, or pairs of them, to be labelled.
    Texts(Vec<Example>),
    /// Questions with choices to be judged.
    Choices(Arc<Questions>, Vec<Question>),
    /// Questions about passages.
    Passages(Extraction, Vec<PassageQuestion>),
}

/// A text that is not of the task, and what the base model makes of it.
#[derive(Default)]
pub(super) struct General {
    rows: Rows,
    /// SHA-256 of the text, hexadecimal; empty where there is none.
    pub sha256: String,
    base: Mutex<Option<f64>>,
}

/// The part that does not depend on the rows.
struct Base {
    model: Arc<dyn Model>,
    tokenizer: Tokenizer,
    located: (PathBuf, Option<Dtype>),
    identity: ModelIdentity,
    /// What there is to know about its files: sentences.
    notes: Vec<String>,
    base_model: BaseModel,
}

/// Rows of a study, encoded.
struct Encoded {
    train: Rows,
    validation: Rows,
    tests: Vec<(String, Rows)>,
    mixture: Rows,
    mixture_sha256: String,
    /// What makes scores on these rows doubtful: sentences.
    doubts: Vec<String>,
}

impl Encoded {
    /// How many rows to train on and to test on were cut.
    fn truncated(&self) -> usize {
        self.train.truncated() + self.tests.iter().map(|(_, rows)| rows.truncated()).sum::<usize>()
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
        let located = store::locate(&study.model, progress)?;
        let (task_type, dtype) = (task_type(&task, &located.dir)?, study.dtype()?);
        let reading = format!("reading {}", study.name_of_model());
        let model =
            told_if_slow(progress, &reading, || model::load(&located.dir, task_type, backend, dtype))?;
        let tokenizer = model::tokenizer(&located.dir)?;
        tokenizer.check(&model.extents())?;
        let notes = model::notes(&located.dir, task_type, &tokenizer)?;
        for note in &notes {
            progress.event(Event::Note(note.clone()));
        }
        let parameters = model.weights().iter().map(|weight| weight.tensor.len() as u64).sum();
        let base = Base {
            model,
            tokenizer,
            base_model: BaseModel {
                weights_sha256: Some(located.weights_sha256),
                ..BaseModel::of(&study.model, &located.dir)?
            },
            located: (located.dir, dtype),
            identity: ModelIdentity {
                name: study.name_of_model().to_owned(),
                sha256: located.sha256,
                parameters,
                weights: study.weights.clone(),
            },
            notes,
        };
        let rows = [study.train_rows, study.validation_rows, study.test_rows];
        Session::encode(study, base, &task, rows, true, progress)
    }

    /// The same model with a standard benchmark's rows: as many to train on, all of its test rows.
    pub(super) fn benchmark(&self, study: &Study, task: &str, progress: &dyn Progress) -> Result<Session> {
        let task = Task::load(task)?;
        let (dir, dtype) = &self.located;
        let wanted = task_type(&task, dir)?;
        let model = match wanted == self.model.task() {
            true => self.model.clone(),
            // The same base under another head, read once more.
            false => model::load(dir, wanted, self.model.word_embeddings().tensor.backend(), *dtype)?,
        };
        let base = Base {
            model,
            tokenizer: self.tokenizer.clone(),
            located: self.located.clone(),
            identity: self.model_identity.clone(),
            notes: Vec::new(),
            base_model: self.base_model.clone(),
        };
        Session::encode(study, base, &task, [study.train_rows, study.validation_rows, 0], false, progress)
    }

    fn encode(
        study: &Study,
        base: Base,
        task: &Task,
        counts: [usize; 3],
        is_main: bool,
        progress: &dyn Progress,
    ) -> Result<Session> {
        let length = room(study, &base)?;
        let has_head = !base.model.task().is_language_modelling();
        let mut session = Session {
            labels: Vec::new(),
            scoring: if has_head { task.judged_scoring()? } else { task.scoring()? },
            task_source: [task.source.as_str(), &task.licence]
                .into_iter()
                .filter(|said| !said.is_empty())
                .collect::<Vec<_>>()
                .join("; "),
            data_identity: DataIdentity { task: task.name.clone(), sha256: String::new() },
            train_examples: Vec::new(),
            train: Rows::default(),
            validation: Rows::default(),
            tests: Vec::new(),
            mixture: Rows::default(),
            mixture_sha256: String::new(),
            untuned: Mutex::default(),
            general: General::default(),
            lengths: None,
            features: Features::default(),
            length,
            values: Vec::new(),
            fits: Fits::default(),
            requests: Requests::Texts(Vec::new()),
            notes: Vec::new(),
            doubts: Vec::new(),
            model: base.model.clone(),
            tokenizer: base.tokenizer.clone(),
            located: base.located.clone(),
            model_identity: base.identity.clone(),
            base_model: base.base_model.clone(),
            reads: Reads::Text,
        };
        let joined = (has_head && task.is_language()) || task.extraction().is_some();
        let title = format!("reading and encoding the rows of {}", task.name);
        let encoded = told_if_slow(progress, &title, || match (task.is_language(), joined) {
            (true, true) => session.choices(study, task, counts, is_main, progress),
            (false, true) => session.passages(study, task, counts, is_main),
            (true, false) => session.language(study, &base, task, counts, is_main, progress),
            (false, false) => session.labelled(study, task, counts, is_main, progress),
        })?;
        session.notes.extend(base.notes.iter().cloned());
        if let Some(by) = task.questions().filter(|_| !has_head).and_then(Questions::compared_by) {
            session.notes.push(format!("{}: {by}", task.name));
        }
        let scored = |rows: Rows| rows.scored_by(session.scoring);
        let tests = encoded.tests.into_iter().map(|(name, rows)| (name, scored(rows))).collect();
        Ok(Session {
            doubts: encoded.doubts,
            train: scored(encoded.train),
            validation: scored(encoded.validation),
            tests,
            mixture: scored(encoded.mixture),
            mixture_sha256: encoded.mixture_sha256,
            ..session
        })
    }

    /// The model's folder, or its GGUF file.
    pub(super) fn model_dir(&self) -> &Path {
        &self.located.0
    }

    /// The same model on a backend that holds no numbers, to try things on.
    pub(super) fn without_numbers(&self) -> Result<Arc<dyn Model>> {
        let (dir, dtype) = &self.located;
        model::load(dir, self.model.task(), &Dry::new(), *dtype)
    }

    /// What the base model answers on the first test split: the same for all trials, so the first one to want it asks.
    /// `None` of models whose head knows nothing before it is trained.
    pub(super) fn untuned(&self, go_on: impl Fn() -> Result<()>) -> Result<Option<Test>> {
        let Some((domain, rows)) = self.tests.first().filter(|(_, rows)| !rows.is_empty()) else {
            return Ok(None);
        };
        if !self.model.task().is_language_modelling() {
            return Ok(None);
        }
        let mut known = self.untuned.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let source = Source::new(&*self.model, rows);
            let scored = eval::score(&Tuning::untouched(&*self.model), &source, go_on)?;
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
        if self.general.rows.is_empty() {
            return Ok(None);
        }
        let source = Source::new(&*self.model, &self.general.rows);
        let loss = |tuning: &Tuning| Ok::<f64, Error>(eval::score(tuning, &source, &go_on)?.score.loss);
        let mut base = self.general.base.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *base {
            Some(before) => before,
            None => *base.insert(loss(&Tuning::untouched(&*self.model))?),
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
        let tokenize = |text: &str| self.tokenizer.words(text);
        let context = Context { model: &*self.model, backend, seed, tokenize: &tokenize };
        Tuning::new(method, settings, &context, self.labels.len())
    }
}

/// The backend of a trial or a study.
pub(super) fn backend() -> Arc<dyn Backend> {
    Cpu::new()
}

/// What the rows of a task ask of the model in a folder.
fn task_type(task: &Task, dir: &Path) -> Result<TaskType> {
    if task.extraction().is_some() {
        return Ok(TaskType::QuestionAnswering);
    }
    // An encoder's head judges the choices that a language model is asked for.
    if task.is_language() { model::usual_task(dir) } else { Ok(TaskType::SequenceClassification) }
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
