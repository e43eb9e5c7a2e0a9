//! What all trials of a study share: the frozen base, the tokenizer and the encoded rows.

use super::config::Study;
use crate::adapter::{Context, Method, Tuning};
use crate::bytes::Bytes;
use crate::data::Example;
use crate::error::Result;
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model, TaskType, store};
use crate::progress::{Event, Progress};
use crate::record::{DataIdentity, ModelIdentity};
use crate::task::Task;
use crate::train::{Features, Fitted, Rows, Subject, TrainSettings, fit};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tenfold_tensor::{Backend, Cpu, Dry, Dtype};

/// A study's model and data, ready.
pub(super) struct Session {
    pub model: Arc<dyn Model>,
    pub tokenizer: Tokenizer,
    /// The model's folder, and the format of its frozen matrices.
    located: (PathBuf, Dtype),
    pub model_identity: ModelIdentity,
    pub data_identity: DataIdentity,
    pub labels: Vec<String>,
    /// Who published the rows, and under which licence.
    pub task_source: String,
    pub train_examples: Vec<Example>,
    pub train: Rows,
    pub validation: Rows,
    pub tests: Vec<(String, Rows)>,
    /// What heads see of the rows, for methods that leave it alone.
    pub features: Features,
    /// Tokens of a row at the most.
    pub length: usize,
    /// Texts as users would send them, for latency.
    pub requests: Vec<String>,
    /// What a reader of the results should know about the rows.
    pub notes: Vec<String>,
}

/// The part that does not depend on the task.
struct Base {
    model: Arc<dyn Model>,
    tokenizer: Tokenizer,
    located: (PathBuf, Dtype),
    identity: ModelIdentity,
}

impl Session {
    /// Finds, reads and encodes all that the study names. The base's bytes are booked with `backend`.
    pub(super) fn open(
        study: &Study,
        backend: &Arc<dyn Backend>,
        progress: &dyn Progress,
    ) -> Result<Session> {
        let located = store::locate(&study.model, progress)?;
        let dtype = study.dtype()?;
        let model = model::load(&located.dir, TaskType::SequenceClassification, backend, dtype)?;
        let tokenizer = Tokenizer::from_dir(&located.dir)?;
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
        Session::encode(study, base, &study.task, rows, progress)
    }

    /// The same model with a standard benchmark's rows: as many to train on, all of its test rows.
    pub(super) fn benchmark(&self, study: &Study, task: &str, progress: &dyn Progress) -> Result<Session> {
        let base = Base {
            model: self.model.clone(),
            tokenizer: self.tokenizer.clone(),
            located: self.located.clone(),
            identity: self.model_identity.clone(),
        };
        Session::encode(study, base, task, [study.train_rows, study.validation_rows, 0], progress)
    }

    fn encode(
        study: &Study,
        base: Base,
        task: &str,
        [train_rows, validation_rows, test_rows]: [usize; 3],
        progress: &dyn Progress,
    ) -> Result<Session> {
        let Base { model, tokenizer, located, identity } = base;
        let task = Task::load(task)?;
        let data = task.read()?;
        // The same rows for every method, so what one of them needs is taken from all. One that needs more than there
        // is gets nothing here and is refused when it is made.
        let positions = model.extents().max_positions;
        let taken = study.methods.values().map(|method| method.virtual_tokens());
        let taken =
            taken.collect::<Result<Vec<usize>>>()?.into_iter().filter(|taken| *taken < positions).max();
        let room = positions - taken.unwrap_or(0);
        let length = study.train.max_length.min(room);
        let encode = |examples: &[Example], rows: usize| {
            let rows = if rows == 0 { examples.len() } else { rows.min(examples.len()) };
            Rows::encode(&tokenizer, &examples[..rows], length)
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
        let requests = requests.iter().take(200).map(|example| example.text.clone()).collect();
        Ok(Session {
            model,
            tokenizer,
            located,
            model_identity: identity,
            data_identity: DataIdentity { task: task.name, sha256: data.sha256 },
            labels: data.labels,
            task_source: format!("{}; {}", task.source, task.licence),
            train_examples: data.train.into_iter().take(train.len()).collect(),
            train,
            validation,
            tests,
            length,
            requests,
            features: Features::default(),
            notes: data.notes,
        })
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

/// The backend of a trial or a study.
pub(super) fn backend() -> Arc<dyn Backend> {
    Cpu::new()
}
