//! eval: a base model with an adapter over texts.

use super::say;
use crate::dashboard::Dashboard;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use tenfold::adapter::{self, Context, file};
use tenfold::model::{self, Forward, TaskType, store};
use tenfold::train::{EVALUATION_BATCH, Rows, Source, Target};
use tenfold_tensor::{Cpu, Dtype, without_gradients};

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
    let model = model::load(&located.dir, TaskType::SequenceClassification, &backend, Dtype::F32)?;
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
    let taken = adapter::virtual_tokens(&tuning.adapter().config()?);
    let room = model.extents().max_positions.saturating_sub(taken);
    let encodings =
        lines.iter().map(|line| tokenizer.encode(line, None, room)).collect::<tenfold::Result<Vec<_>>>()?;
    let rows = Rows::of(encodings, vec![Target::Label(0); lines.len()]);
    let source = Source::new(&*model, &rows);
    let forward = Forward::evaluation(&tuning);
    let all: Vec<usize> = (0..lines.len()).collect();
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
