//! Tasks that the base model and every tuned one are asked without being trained on them, as `tenfold eval --task` asks.

use super::config::Study;
use super::facts::AskedFacts;
use super::session::Session;
use crate::adapter::{Context, Tuning, file};
use crate::data::hexadecimal;
use crate::device;
use crate::error::{Error, Result};
use crate::eval::{Asker, Evaluation, Identity};
use crate::progress::Progress;
use crate::record::{Asked, Said};
use crate::task::Task;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A task to ask, and what the base model said to it.
pub(super) struct Asking {
    task: Task,
    /// How its answers are scored: a name in [`crate::score::SCORINGS`].
    metric: &'static str,
    limit: Option<usize>,
    /// SHA-256 of all that is asked, hexadecimal.
    sha256: String,
    before: Mutex<Vec<Said>>,
}

impl Asking {
    /// Reads the questions of a task.
    pub(super) fn open(study: &Study, session: &Session, name: &str) -> Result<Asking> {
        let unsupported = |why: &str| {
            let what = format!("asking {} for task \"{name}\"", study.name_of_model());
            Err(Error::Unsupported { what, why: why.into() })
        };
        if !session.base.model.task().is_language_modelling() {
            return unsupported("it is no language model; name the task in benchmarks, to be trained on");
        }
        let task = Task::load(name)?;
        let Some(questions) = task.questions() else {
            return unsupported("its rows are no questions; name it in benchmarks, to be trained on");
        };
        questions.check_weighable()?;
        let Some(metric) = questions.metrics.first().and_then(|metric| metric.asked_scoring()) else {
            return unsupported("no study compares by its score; `tenfold eval` computes it");
        };
        let limit = (study.ask_rows > 0).then_some(study.ask_rows);
        let sets = task.read_questions(None, limit, false)?;
        let mut hash = Sha256::new();
        for set in &sets {
            hash.update(format!("{} {} ", set.domain, set.sha256()));
        }
        hash.update(questions.way_of_asking());
        let sha256 = hexadecimal(&hash.finalize());
        Ok(Asking { task, metric, limit, sha256, before: Mutex::default() })
    }

    /// What is asked.
    pub(super) fn facts(&self) -> AskedFacts {
        AskedFacts { name: self.task.name.clone(), sha256: self.sha256.clone() }
    }

    /// What the model with the adapter at `adapter` below `run` says, beside what the base model does: of that the answers
    /// of the first time are kept.
    pub(super) fn ask(
        &self,
        session: &Session,
        run: &Path,
        adapter: &str,
        progress: &dyn Progress,
    ) -> Result<Asked> {
        let mut known = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            *known = self.said(session, &Tuning::untouched(&*session.base.model), run, None, progress)?;
        }
        let before = known.clone();
        drop(known);
        let tokenize = |text: &str| session.base.tokenizer.words(text);
        let backend = device::beside(&*session.base.model)?;
        let context =
            Context { model: &*session.base.model, backend: &backend, seed: 0, tokenize: &tokenize };
        let tuning = file::read(&run.join(adapter), &context)?;
        let after = self.said(session, &tuning, run, Some(adapter), progress)?;
        let num_fewshot = self.task.questions().map_or(0, |questions| questions.num_fewshot);
        Ok(Asked { metric: self.metric.to_owned(), num_fewshot, before, after })
    }

    fn said(
        &self,
        session: &Session,
        tuning: &Tuning,
        run: &Path,
        adapter: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Vec<Said>> {
        let base = &session.base.identity;
        let identity = Identity {
            model: base.name.clone(),
            model_sha256: base.sha256.clone(),
            weights: base.weights.clone(),
            adapter: adapter.map(str::to_owned),
            adapter_sha256: adapter.map(|adapter| file::sha256(&run.join(adapter))).transpose()?,
            merged: false,
        };
        let evaluation = Evaluation {
            task: &self.task,
            num_fewshot: None,
            limit: self.limit,
            skip_malformed: false,
            out: Some(&run.join(ASKED)),
            identity,
        };
        let asker = Asker { model: &*session.base.model, tuning, tokenizer: &session.base.tokenizer };
        let result = evaluation.run(&asker, progress)?;
        let said = result.domains.into_iter().map(|domain| {
            let answers = domain.answers.ok_or_else(|| Error::Unsupported {
                what: format!("asking for task \"{}\" in a study", self.task.name),
                why: "its score is not defined on every row".into(),
            })?;
            Ok(Said { domain: domain.domain, answers })
        });
        said.collect()
    }
}

/// The folder of all that was asked, in that of the run.
const ASKED: &str = "asked";
