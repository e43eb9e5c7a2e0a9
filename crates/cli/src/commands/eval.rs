//! eval: a base model with an adapter over texts.

use super::generate::note_all;
use super::{print_text, say, texts};
use crate::dashboard::Dashboard;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;
use tenfold::adapter::file::{About, Reads};
use tenfold::adapter::{self, Context, Tuning, file};
use tenfold::device;
use tenfold::model::tokenizer::Encoding;
use tenfold::model::{self, Batch, Forward, IGNORE, Model, TaskType, store};
use tenfold::progress::told_if_slow;
use tenfold::score::argmax;
use tenfold::train::{EVALUATION_BATCH, Rows, Source, Target};
use tenfold::words::{self, one_line};
use tenfold_tensor::{Ragged, without_gradients};

pub struct Request {
    pub model: String,
    pub adapter: PathBuf,
    pub texts: PathBuf,
    pub merged: bool,
    pub json: bool,
}

pub fn eval(request: &Request, dashboard: &Dashboard) -> Result<()> {
    let located = store::locate(&request.model, dashboard)?;
    let backend = device::usual().backend();
    let task = file::task_type(&request.adapter, located.files.usual_task()?)?;
    let reading = format!("reading {}", request.model);
    let loaded = told_if_slow(dashboard, &reading, || located.files.load(task, &backend, None))?;
    let (model, tokenizer) = (loaded.model, located.files.tokenizer()?);
    tokenizer.check(&model.extents())?;
    note_all(loaded.notes.iter().chain(tokenizer.notes()), dashboard);
    let tokenize = |text: &str| tokenizer.words(text);
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &tokenize };
    let mut tuning = file::read(&request.adapter, &context)?;
    if request.merged {
        match tuning.merged(&*model, &backend)? {
            Some(merged) => tuning = merged,
            None => bail!("{} cannot be folded into the base model's weights", tuning.method().title),
        }
    }
    file::notes(&request.adapter, &tuning, &*model, &located)?.iter().for_each(|note| dashboard.say(note));
    let text = texts::read(&request.texts)?;
    let lines = lines(request, &text, dashboard)?;
    let taken = adapter::virtual_tokens(&tuning.adapter().config()?);
    let room = model.extents().max_positions.saturating_sub(taken);
    let encodings = (lines.iter())
        .map(|line| tokenizer.encode(line.first, line.second, room))
        .collect::<tenfold::Result<Vec<_>>>()?;
    let cut = lines.iter().zip(&encodings).filter(|(_, encoding)| encoding.truncated);
    tell_cut(&cut.map(|(line, _)| line.number).collect::<Vec<_>>(), room, dashboard);
    if task.is_language_modelling() {
        return foretell(request, &*model, &tuning, &lines, encodings);
    }
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
            let is_cut = rows.encoding(*row).truncated;
            answer(request, (&lines[*row], is_cut), logits, labels.as_deref())?;
        }
    }
    Ok(())
}

/// A line of the file; blank ones are none, so its number tells which it is.
struct Line<'a> {
    /// From 1.
    number: usize,
    text: &'a str,
    /// The text that the model reads first, and the other one of a pair.
    first: &'a str,
    second: Option<&'a str>,
}

impl Line<'_> {
    /// The results of this line as JSON, with what they are the results of.
    fn json(&self, mut results: Value, is_cut: bool) -> Value {
        results["line"] = self.number.into();
        results["text"] = self.text.into();
        if is_cut {
            results["cut"] = true.into();
        }
        results
    }
}

/// The lines of a file: two texts each, a tab between them, where the adapter was trained on pairs.
fn lines<'a>(request: &Request, text: &'a str, dashboard: &Dashboard) -> Result<Vec<Line<'a>>> {
    let reads = About::read(&request.adapter)?.and_then(|about| about.reads);
    let file = request.texts.display();
    let mut lines = Vec::new();
    for (number, text) in text.lines().enumerate().map(|(index, text)| (index + 1, text)) {
        if text.trim().is_empty() {
            continue;
        }
        let (first, second) = match (reads, text.split_once('\t')) {
            (Some(Reads::Pair), Some((first, second)))
                if !second.contains('\t') && ![first, second].iter().any(|text| text.trim().is_empty()) =>
            {
                (first.trim(), Some(second.trim()))
            }
            (Some(Reads::Pair), _) => {
                let found = text.split('\t').filter(|text| !text.trim().is_empty()).count();
                bail!(
                    "{file}: line {number}: expected two texts with a tab between them, as the adapter was trained on \
                     pairs (tenfold.json); found {}",
                    words::count(found, "text")
                );
            }
            _ => (text, None),
        };
        lines.push(Line { number, text, first, second });
    }
    let tabs = lines.iter().filter(|line| line.text.contains('\t')).count();
    if reads.is_none() && tabs > 0 {
        dashboard.say(&format!(
            "{file}: {} {} a tab; the adapter has no tenfold.json that says whether it was trained on pairs, so each line \
             is read as one text",
            words::count(tabs, "line"),
            if tabs == 1 { "has" } else { "have" }
        ));
    }
    Ok(lines)
}

/// Says which lines were longer than what the model reads.
fn tell_cut(lines: &[usize], room: usize, dashboard: &Dashboard) {
    const SHOWN: usize = 10;
    if lines.is_empty() {
        return;
    }
    let shown: Vec<String> = lines.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if lines.len() > SHOWN { " …" } else { "" };
    let were = if lines.len() == 1 { "was" } else { "were" };
    dashboard.say(&format!(
        "{} {were} cut to {room} tokens, the most that the model reads: {}{more}",
        words::count(lines.len(), "line"),
        shown.join(", ")
    ));
}

/// How many numbers a head puts out for a text.
fn outputs(source: &Source, forward: &Forward) -> Result<usize> {
    Ok(without_gradients(|| source.logits(forward, &[0]))?.cols())
}

/// Prints what a head says of a line: its number, or the likeliest label by its name where the adapter knows that.
fn answer(
    request: &Request,
    (line, is_cut): (&Line, bool),
    logits: &[f32],
    labels: Option<&[String]>,
) -> Result<()> {
    let Line { number, text, .. } = line;
    if logits.iter().any(|logit| !logit.is_finite()) {
        let adapter = request.adapter.display();
        bail!("line {number}: expected numbers of model {} with {adapter}, found {logits:?}", request.model);
    }
    if let [foretold] = logits {
        return match request.json {
            true => say!("{}", line.json(json!({"number": foretold}), is_cut)),
            false => print_text(&format!("{number}\t{foretold}\t{text}\n")),
        };
    }
    let best = argmax(logits).unwrap_or(0);
    let name = |index: usize| labels.map_or_else(|| index.to_string(), |labels| labels[index].clone());
    let (label, probabilities) = (name(best), softmax(logits));
    if request.json {
        let by_name: serde_json::Map<String, Value> =
            probabilities.iter().enumerate().map(|(index, one)| (name(index), json!(one))).collect();
        let said = json!({"label": label, "index": best, "logits": logits, "probabilities": by_name});
        return say!("{}", line.json(said, is_cut));
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
        let encoding = source.rows().encoding(row);
        say!("{}", line.json(json!({"ids": encoding.ids, "logits": tokens}), encoding.truncated))?;
    }
    Ok(())
}

/// ln p of every token of each text but its first.
fn foretell(
    request: &Request,
    model: &dyn Model,
    tuning: &Tuning,
    lines: &[Line],
    encodings: Vec<Encoding>,
) -> Result<()> {
    if model.task() != TaskType::CausalLm {
        bail!("texts alone are no questions and answers for the family {}", model.family());
    }
    let forward = Forward::evaluation(tuning);
    for (line, Encoding { ids, truncated, .. }) in lines.iter().zip(encodings) {
        let Line { number, text, .. } = line;
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
            true => say!("{}", line.json(json!({"ids": batch.ids, "log_probabilities": logs}), truncated))?,
            false => print_text(&format!("{number}\t{loss:.4} nats\t{text}\n"))?,
        }
    }
    Ok(())
}
