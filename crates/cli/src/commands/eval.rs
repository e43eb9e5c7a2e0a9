//! eval: a base model with an adapter over texts.

use super::say;
use crate::dashboard::Dashboard;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use tenfold::adapter::{self, Context, Tuning, file};
use tenfold::model::tokenizer::Tokenizer;
use tenfold::model::{self, Batch, Forward, IGNORE, Model, TaskType, store};
use tenfold::train::{EVALUATION_BATCH, Rows, Source, Target};
use tenfold_tensor::{Cpu, Ragged, without_gradients};

pub struct Request {
    pub model: String,
    pub adapter: PathBuf,
    pub texts: PathBuf,
    pub merged: bool,
    pub json: bool,
}

pub fn eval(request: &Request, dashboard: &Dashboard) -> Result<()> {
    let located = store::locate(&request.model, dashboard)?;
    let backend = Cpu::new();
    let task = file::task_type(&request.adapter)?.unwrap_or(TaskType::SequenceClassification);
    let model = model::load(&located.dir, task, &backend, None)?;
    let tokenizer = model::tokenizer(&located.dir)?;
    tokenizer.check(&model.extents())?;
    let tokenize = |text: &str| tokenizer.words(text);
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &tokenize };
    let mut tuning = file::read(&request.adapter, &context)?;
    if request.merged {
        match tuning.merged(&*model, &backend)? {
            Some(merged) => tuning = merged,
            None => bail!("{} cannot be folded into the base model's weights", tuning.method().title),
        }
    }
    let file = &request.texts;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if task.is_language_modelling() {
        return foretell(request, &*model, &tuning, &tokenizer, &lines);
    }
    let taken = adapter::virtual_tokens(&tuning.adapter().config()?);
    let room = model.extents().max_positions.saturating_sub(taken);
    let encodings =
        lines.iter().map(|line| tokenizer.encode(line, None, room)).collect::<tenfold::Result<Vec<_>>>()?;
    let rows = Rows::of(encodings, vec![Target::Label(0); lines.len()]);
    let source = Source::new(&*model, &rows);
    let forward = Forward::evaluation(&tuning);
    let all: Vec<usize> = (0..lines.len()).collect();
    if task != TaskType::SequenceClassification {
        return each_token(request, task, &source, &forward, &lines);
    }
    for picks in all.chunks(EVALUATION_BATCH) {
        let logits = without_gradients(|| source.logits(&forward, picks))?;
        for (row, logits) in picks.iter().zip(logits.numbers()?.chunks_exact(logits.cols())) {
            if logits.iter().any(|logit| !logit.is_finite()) {
                let adapter = request.adapter.display();
                bail!(
                    "line \"{}\": expected numbers of model {} with {adapter}, found {logits:?}",
                    lines[*row],
                    request.model
                );
            }
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
            if request.json {
                say!("{}", json!({"label": best, "logits": logits}))?;
            } else {
                say!("{best}\t{}", lines[*row])?;
            }
        }
    }
    Ok(())
}

/// Logits of every token of each text, from heads that say something of tokens.
fn each_token(
    request: &Request,
    task: TaskType,
    source: &Source,
    forward: &Forward,
    lines: &[&str],
) -> Result<()> {
    if !request.json {
        bail!(
            "{} was trained for {}, whose answers are no labels of lines; --json prints the logits of every token, and \
             `tenfold run` scores such a task",
            request.adapter.display(),
            task.name()
        );
    }
    for row in 0..lines.len() {
        let logits = without_gradients(|| source.logits(forward, &[row]))?;
        let numbers = logits.numbers()?;
        let tokens: Vec<&[f32]> = numbers.chunks_exact(logits.cols()).collect();
        say!("{}", json!({"ids": source.rows().encoding(row).ids, "logits": tokens}))?;
    }
    Ok(())
}

/// ln p of every token of each text but its first.
fn foretell(
    request: &Request,
    model: &dyn Model,
    tuning: &Tuning,
    tokenizer: &Tokenizer,
    lines: &[&str],
) -> Result<()> {
    if model.task() != TaskType::CausalLm {
        bail!("texts alone are no questions and answers for the family {}", model.family());
    }
    let forward = Forward::evaluation(tuning);
    for line in lines {
        let ids = tokenizer.encode(line, None, model.extents().max_positions)?.ids;
        if ids.len() < 2 {
            bail!("line \"{line}\": expected two tokens or more, found {}", ids.len());
        }
        let labels = ids[1..].iter().copied().chain([IGNORE]).collect();
        let (type_ids, ragged) = (vec![0; ids.len()], Ragged::from_lengths([ids.len()]));
        let batch = Batch { ids, type_ids, ragged, labels, decoder: None };
        let logs = without_gradients(|| model::log_probabilities(model, &forward, &batch))?;
        let loss = -logs.iter().map(|log| f64::from(*log)).sum::<f64>() / logs.len() as f64;
        if !loss.is_finite() {
            bail!("line \"{line}\": expected numbers of model {}, found {logs:?}", request.model);
        }
        match request.json {
            true => say!("{}", json!({"ids": batch.ids, "log_probabilities": logs}))?,
            false => say!("{loss:.4} nats\t{line}")?,
        }
    }
    Ok(())
}
