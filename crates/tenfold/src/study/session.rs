//! What all trials of a study share: the frozen base, the tokenizer and the encoded rows.

use super::config::Study;
use crate::adapter::{Context, Method, Tuning};
use crate::bytes::Bytes;
use crate::data::Example;
use crate::data::language::{self, LanguageExample, LengthReport, SequenceSettings};
use crate::error::{Error, Result};
use crate::model::tokenizer::Tokenizer;
use crate::model::wording::Wording;
use crate::model::{self, Model, TaskType, store};
use crate::progress::{Event, Progress};
use crate::record::{DataIdentity, ModelIdentity};
use crate::score::Scoring;
use crate::task::Task;
use crate::train::{Features, Fitted, Rows, Subject, Target, TrainSettings, fit};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold_tensor::{Backend, Cpu, Dry, Dtype};

/// A study's model and data, ready.
pub(super) struct Session {
    pub model: Arc<dyn Model>,
    pub tokenizer: Tokenizer,
    /// The model's folder, and the format of its frozen matrices.
    located: (PathBuf, Option<Dtype>),
    pub model_identity: ModelIdentity,
    pub data_identity: DataIdentity,
    /// The labels' names, one for each output of the head.
    pub labels: Vec<String>,
    /// What answers are worth.
    pub scoring: &'static Scoring,
    /// Who published the rows, and under which licence.
    pub task_source: String,
    /// The training rows of a task with labels, of which small draws are made.
    pub train_examples: Vec<Example>,
    pub train: Rows,
    pub validation: Rows,
    pub tests: Vec<(String, Rows)>,
    /// How long the training rows of a language task are.
    pub lengths: Option<LengthReport>,
    /// What heads see of the rows, for methods that leave it alone.
    pub features: Features,
    /// Tokens of a row at the most.
    pub length: usize,
    /// Texts as users would send them, for latency.
    pub requests: Vec<String>,
    /// What a reader of the results should know about the rows.
    pub notes: Vec<String>,
}

/// The part that does not depend on the rows.
struct Base {
    model: Arc<dyn Model>,
    tokenizer: Tokenizer,
    located: (PathBuf, Option<Dtype>),
    identity: ModelIdentity,
}

/// Rows of a task, encoded.
struct Encoded {
    train: Rows,
    validation: Rows,
    tests: Vec<(String, Rows)>,
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
        let model = model::load(&located.dir, task_type, backend, dtype)?;
        let tokenizer = model::tokenizer(&located.dir)?;
        tokenizer.check(&model.extents())?;
        let parameters = model.weights().iter().map(|weight| weight.tensor.len() as u64).sum();
        let base = Base {
            model,
            tokenizer,
            located: (located.dir, dtype),
            identity: ModelIdentity {
                name: study.model.clone(),
                sha256: located.sha256,
                parameters,
                weights: study.weights.clone(),
            },
        };
        let rows = [study.train_rows, study.validation_rows, study.test_rows];
        Session::encode(study, base, &task, rows, progress)
    }

    /// The same model with a standard benchmark's rows: as many to train on, all of its test rows.
    pub(super) fn benchmark(&self, study: &Study, task: &str, progress: &dyn Progress) -> Result<Session> {
        let task = Task::load(task)?;
        if task.is_language() != self.model.task().is_language_modelling() {
            let why = "its rows are not of the kind that this study's model is made for".into();
            return Err(Error::Unsupported { what: format!("the benchmark {}", task.name), why });
        }
        let base = Base {
            model: self.model.clone(),
            tokenizer: self.tokenizer.clone(),
            located: self.located.clone(),
            identity: self.model_identity.clone(),
        };
        Session::encode(study, base, &task, [study.train_rows, study.validation_rows, 0], progress)
    }

    fn encode(
        study: &Study,
        base: Base,
        task: &Task,
        counts: [usize; 3],
        progress: &dyn Progress,
    ) -> Result<Session> {
        let length = room(study, &base)?;
        let mut session = Session {
            labels: Vec::new(),
            scoring: task.scoring()?,
            task_source: format!("{}; {}", task.source, task.licence),
            data_identity: DataIdentity { task: task.name.clone(), sha256: String::new() },
            train_examples: Vec::new(),
            train: Rows::default(),
            validation: Rows::default(),
            tests: Vec::new(),
            lengths: None,
            features: Features::default(),
            length,
            requests: Vec::new(),
            notes: Vec::new(),
            model: base.model.clone(),
            tokenizer: base.tokenizer.clone(),
            located: base.located.clone(),
            model_identity: base.identity.clone(),
        };
        let encoded = match task.is_language() {
            true => session.language(study, &base, task, counts, progress)?,
            false => session.labelled(study, task, counts, progress)?,
        };
        let scored = |rows: Rows| rows.scored_by(session.scoring);
        let tests = encoded.tests.into_iter().map(|(name, rows)| (name, scored(rows))).collect();
        Ok(Session { train: scored(encoded.train), validation: scored(encoded.validation), tests, ..session })
    }

    /// Reads and encodes rows with labels.
    fn labelled(
        &mut self,
        study: &Study,
        task: &Task,
        [train_rows, validation_rows, test_rows]: [usize; 3],
        progress: &dyn Progress,
    ) -> Result<Encoded> {
        let data = task.read()?;
        let length = self.length;
        let target = |label: u32| match data.values.get(label as usize) {
            Some(number) => Target::Number(*number as f32),
            None => Target::Label(label),
        };
        let encode = |examples: &[Example], rows: usize| {
            Rows::encode_as(&self.tokenizer, first(examples, rows), length, target)
        };
        let train = encode(&data.train, train_rows)?;
        let validation = encode(&data.validation, validation_rows)?;
        let tests = (data.tests.iter())
            .map(|domain| Ok((domain.name.clone(), encode(&domain.examples, test_rows)?)))
            .collect::<Result<Vec<_>>>()?;
        let truncated = train.truncated() + tests.iter().map(|(_, rows)| rows.truncated()).sum::<usize>();
        if truncated > 0 {
            let why = if length < study.train.max_length {
                "the model has no more positions beside the virtual tokens of the methods"
            } else {
                "train.max_length"
            };
            let note = format!("{}: {truncated} rows were cut to {length} tokens ({why})", task.name);
            progress.event(Event::Note(note));
        }
        let requests = data.tests.first().map_or(&[][..], |domain| &domain.examples);
        self.requests = requests.iter().take(200).map(|example| example.text.clone()).collect();
        self.data_identity.sha256 = data.sha256;
        self.labels = if data.values.is_empty() { data.labels } else { vec![NUMBER.into()] };
        self.train_examples = data.train.into_iter().take(train.len()).collect();
        self.notes = data.notes;
        Ok(Encoded { train, validation, tests })
    }

    /// Reads and encodes rows for a language model.
    fn language(
        &mut self,
        study: &Study,
        base: &Base,
        task: &Task,
        [train_rows, validation_rows, test_rows]: [usize; 3],
        progress: &dyn Progress,
    ) -> Result<Encoded> {
        let data = task.read_language()?;
        let template = model::chat_template(&base.located.0)?;
        let wording = Wording::new(&self.tokenizer, template.as_ref());
        let settings = SequenceSettings {
            max_length: self.length,
            train_on: study.train.train_on,
            overlong: study.train.overlong,
        };
        let encode = |examples: &[LanguageExample], rows: usize| -> Result<(Rows, LengthReport)> {
            let start = self.model.decoder_start();
            let encode = if start.is_some() { language::encode_answers } else { language::encode };
            let encoded = encode(&wording, first(examples, rows), &settings)?;
            Ok((Rows::sequences(encoded.sequences, start), encoded.lengths))
        };
        let (train, lengths) = encode(&data.train, train_rows)?;
        progress.event(Event::Note(format!("training rows of {}\n{lengths}", task.name)));
        let (validation, _) = encode(&data.validation, validation_rows)?;
        let tests = (data.tests.iter())
            .map(|domain| Ok((domain.name.clone(), encode(&domain.examples, test_rows)?.0)))
            .collect::<Result<Vec<_>>>()?;
        self.lengths = Some(lengths);
        self.data_identity.sha256 = data.sha256;
        self.notes = data.notes;
        Ok(Encoded { train, validation, tests })
    }

    /// How a method is trained on `rows` of the rows within a limit of memory.
    pub(super) fn fit(
        &self,
        method: &'static Method,
        settings: &Value,
        rows: usize,
        train: &TrainSettings,
        limit: Bytes,
    ) -> Result<Fitted> {
        let (dir, dtype) = &self.located;
        let model = model::load(dir, self.model.task(), &Dry::new(), *dtype)?;
        // Any rows may be drawn: the longest ones may be among them.
        let rows = self.train.longest(rows);
        let subject = Subject {
            model: &*model,
            method,
            settings,
            labels: self.labels.len(),
            rows: &rows,
            tokenize: &|text| self.tokenizer.words(text),
            keeps_base: true,
        };
        fit(&subject, train, limit)
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

/// The one output of a head that foretells numbers.
const NUMBER: &str = "a number";

/// The backend of a trial or a study.
pub(super) fn backend() -> Arc<dyn Backend> {
    Cpu::new()
}

/// What the rows of a task ask of the model in a folder.
fn task_type(task: &Task, dir: &Path) -> Result<TaskType> {
    if !task.is_language() {
        return Ok(TaskType::SequenceClassification);
    }
    let usual = model::usual_task(dir)?;
    match usual.is_language_modelling() {
        true => Ok(usual),
        false => Err(Error::Unsupported {
            what: format!("the language task {}", task.name),
            why: "the model is an encoder, which classifies; take a decoder such as smollm2-135m".into(),
        }),
    }
}

/// Tokens of a row at the most. The same rows for every method, so what one of them needs is taken from all. One that
/// needs more than there is gets nothing here and is refused when it is made.
fn room(study: &Study, base: &Base) -> Result<usize> {
    let positions = base.model.extents().max_positions;
    let taken = study.methods.values().map(|method| method.virtual_tokens());
    let taken = taken.collect::<Result<Vec<usize>>>()?.into_iter().filter(|taken| *taken < positions).max();
    Ok(study.train.max_length.min(positions - taken.unwrap_or(0)))
}

/// The first `rows` of them; all for 0.
fn first<T>(examples: &[T], rows: usize) -> &[T] {
    &examples[..if rows == 0 { examples.len() } else { rows.min(examples.len()) }]
}
