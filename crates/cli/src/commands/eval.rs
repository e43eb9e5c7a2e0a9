//! eval: a base model with an adapter over texts.

use super::generate::note_all;
use super::{print_text, say, texts};
use crate::dashboard::Dashboard;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;
use tenfold::adapter::{self, Context, Tuning, file};
use tenfold::model::tokenizer::Tokenizer;
use tenfold::model::{self, Batch, Forward, IGNORE, Model, TaskType, store};
use tenfold::progress::told_if_slow;
use tenfold::train::{EVALUATION_BATCH, Rows, Source, Target};
use tenfold::words::one_line;
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
    let reading = format!("reading {}", request.model);
    let model = told_if_slow(dashboard, &reading, || model::load(&located.dir, task, &backend, None))?;
    let tokenizer = model::tokenizer(&located.dir)?;
    tokenizer.check(&model.extents())?;
    note_all(model::notes(&located.dir, task, &tokenizer)?, dashboard);
    let tokenize = |text: &str| tokenizer.words(text);
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &tokenize };
    let mut tuning = file::read(&request.adapter, &context)?;
    if request.merged {
        match tuning.merged(&*model, &backend)? {
            Some(merged) => tuning = merged,
            None => bail!("{} cannot be folded into the base model's weights", tuning.method().title),
        }
    }
    let text = texts::read(&request.texts)?;
    let numbered = text.lines().enumerate().map(|(index, text)| Line { number: index + 1, text });
    let lines: Vec<Line> = numbered.filter(|line| !line.text.trim().is_empty()).collect();
    if task.is_language_modelling() {
        return foretell(request, &*model, &tuning, &tokenizer, &lines);
    }
    let taken = adapter::virtual_tokens(&tuning.adapter().config()?);
    let room = model.extents().max_positions.saturating_sub(taken);
    let encodings = lines
        .iter()
        .map(|line| tokenizer.encode(line.text, None, room))
        .collect::<tenfold::Result<Vec<_>>>()?;
    let rows = Rows::of(encodings, vec![Target::Label(0); lines.len()]);
    let source = Source::new(&*model, &rows);
    let forward = Forward::evaluation(&tuning);
    let all: Vec<usize> = (0..lines.len()).collect();
    if task != TaskType::SequenceClassification {
        return each_token(request, task, &source, &forward, &lines);
    }
    let labels = match lines.is_empty() {
        true => None,
        false => file::read_labels(&request.adapter, outputs(&source, &forward)?)?,
    };
    for picks in all.chunks(EVALUATION_BATCH) {
        let logits =
            told_if_slow(dashboard, "computing", || without_gradients(|| source.logits(&forward, picks)))?;
        model::unchanged()?;
        for (row, logits) in picks.iter().zip(logits.numbers()?.chunks_exact(logits.cols())) {
            answer(request, &lines[*row], logits, labels.as_deref())?;
        }
    }
    Ok(())
}

/// A line of the file; blank ones are none, so its number tells which it is.
struct Line<'a> {
    /// From 1.
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    /// The results of this line as JSON, with what they are the results of.
    fn json(&self, mut results: Value) -> Value {
        results["line"] = self.number.into();
        results["text"] = self.text.into();
        results
    }
}

/// How many numbers a head puts out for a text.
fn outputs(source: &Source, forward: &Forward) -> Result<usize> {
    Ok(without_gradients(|| source.logits(forward, &[0]))?.cols())
}

/// Prints what a head says of a line: its number, or the likeliest label by its name where the adapter knows that.
fn answer(request: &Request, line: &Line, logits: &[f32], labels: Option<&[String]>) -> Result<()> {
    let Line { number, text } = line;
    if logits.iter().any(|logit| !logit.is_finite()) {
        let adapter = request.adapter.display();
        bail!("line {number}: expected numbers of model {} with {adapter}, found {logits:?}", request.model);
    }
    if let [foretold] = logits {
        return match request.json {
            true => say!("{}", line.json(json!({"number": foretold}))),
            false => print_text(&format!("{number}\t{foretold}\t{text}\n")),
        };
    }
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
    let name = |index: usize| labels.map_or_else(|| index.to_string(), |labels| labels[index].clone());
    let (label, probabilities) = (name(best), softmax(logits));
    if request.json {
        let by_name: serde_json::Map<String, Value> =
            probabilities.iter().enumerate().map(|(index, one)| (name(index), json!(one))).collect();
        let said = json!({"label": label, "index": best, "logits": logits, "probabilities": by_name});
        return say!("{}", line.json(said));
    }
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|one, other| probabilities[*other].total_cmp(&probabilities[*one]));
    let shown: Vec<String> = (order.iter().take(PROBABILITIES))
        .map(|index| format!("{} {:.4}", name(*index), probabilities[*index]))
        .collect();
    let more = if order.len() > PROBABILITIES { " …" } else { "" };
    let (label, shown) = (one_line(&label), shown.join(", "));
    print_text(&format!("{number}\t{label}\t{}{more}\t{text}\n", one_line(&shown)))
}

/// Labels of a line whose probabilities are printed, the likeliest first.
const PROBABILITIES: usize = 5;

/// What a head that chooses one of its outputs makes of its logits.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Logits of every token of each text, from heads that say something of tokens.
fn each_token(
    request: &Request,
    task: TaskType,
    source: &Source,
    forward: &Forward,
    lines: &[Line],
) -> Result<()> {
    if !request.json {
        bail!(
            "{} was trained for {}, whose answers are no labels of lines; --json prints the logits of every token, and \
             `tenfold run` scores such a task",
            request.adapter.display(),
            task.name()
        );
    }
    for (row, line) in lines.iter().enumerate() {
        let logits = without_gradients(|| source.logits(forward, &[row]))?;
        let numbers = logits.numbers()?;
        model::unchanged()?;
        let tokens: Vec<&[f32]> = numbers.chunks_exact(logits.cols()).collect();
        say!("{}", line.json(json!({"ids": source.rows().encoding(row).ids, "logits": tokens})))?;
    }
    Ok(())
}

/// ln p of every token of each text but its first.
fn foretell(
    request: &Request,
    model: &dyn Model,
    tuning: &Tuning,
    tokenizer: &Tokenizer,
    lines: &[Line],
) -> Result<()> {
    if model.task() != TaskType::CausalLm {
        bail!("texts alone are no questions and answers for the family {}", model.family());
    }
    let forward = Forward::evaluation(tuning);
    for line in lines {
        let Line { number, text } = line;
        let ids = tokenizer.encode(text, None, model.extents().max_positions)?.ids;
        if ids.len() < 2 {
            bail!("line {number}: expected two tokens or more, found {}", ids.len());
        }
        let labels = ids[1..].iter().copied().chain([IGNORE]).collect();
        let (type_ids, ragged) = (vec![0; ids.len()], Ragged::from_lengths([ids.len()]));
        let batch = Batch { ids, type_ids, ragged, labels, decoder: None };
        let logs = without_gradients(|| model::log_probabilities(model, &forward, &batch))?;
        model::unchanged()?;
        let loss = -logs.iter().map(|log| f64::from(*log)).sum::<f64>() / logs.len() as f64;
        if !loss.is_finite() {
            bail!("line {number}: expected numbers of model {}, found {logs:?}", request.model);
        }
        match request.json {
            true => say!("{}", line.json(json!({"ids": batch.ids, "log_probabilities": logs})))?,
            false => print_text(&format!("{number}\t{loss:.4} nats\t{text}\n"))?,
        }
    }
    Ok(())
}
