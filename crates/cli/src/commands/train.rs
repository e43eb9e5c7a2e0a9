//! train: one method, once.

use super::run::{changes, quoted};
use super::{print_json, say};
use crate::arguments::TrainOptions;
use crate::dashboard::Dashboard;
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use tenfold::adapter;
use tenfold::bytes::Bytes;
use tenfold::record::{Outcome, Score, Trained};
use tenfold::score::scoring;
use tenfold::study::{self, Answers, Options, Single, Study};
use tenfold::words::{count, wrapped};

pub fn train(request: &TrainOptions, dashboard: &Dashboard) -> Result<()> {
    let study = study_of(request)?;
    if !study.learning_rate_note.is_empty() {
        dashboard.say(&format!("{} --learning-rate sets another.", study.learning_rate_note));
    }
    let out = request.out.clone().unwrap_or_else(|| Path::new("runs").join(&study.name));
    dashboard.goes_on_with(typed(request));
    let options = Options { out: out.clone(), only: Vec::new(), probe_command: Vec::new() };
    let single = study::train(&study, &options, dashboard)?;
    let Outcome::Trained(trained) = &single.record.outcome else { return Ok(()) };
    if request.json { print(&study, &single, trained) } else { show(&single, trained) }
}

/// A study of one trial.
fn study_of(request: &TrainOptions) -> Result<Study> {
    let method = adapter::method(&request.method)?;
    let (rate, note) = match request.learning_rate {
        Some(rate) => (rate, String::new()),
        None => study::default_learning_rate(method),
    };
    let task = Path::new(&request.task).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = format!("{}-{}", plain(&task.unwrap_or_default()), method.name);
    let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let text = format!(
        "name = {}\nmodel = {}\ntask = {}\nweights = {}\nseeds = [{}]\nlearning_rate_note = {}\n[probe]\nenabled = false\n[small_data]\n\
         examples = []\n[methods.{}]\nlearning_rate = {rate:e}\n",
        quote(&name),
        quote(&request.model),
        quote(&request.task),
        quote(&request.weights),
        request.seed,
        quote(&note),
        method.name
    );
    let changes = changes(&request.set, request.memory_limit);
    let mut study = Study::parse(Path::new("the command line"), &text, &changes)?;
    // What --set states is no default.
    if study.methods.get(method.name).is_none_or(|given| given.learning_rate != Some(rate)) {
        study.learning_rate_note.clear();
    }
    Ok(study)
}

/// A file's name as the name of a study, which is that of a folder: letters, digits, - and _.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '_' };
    name.trim_start_matches('.').chars().map(keep).collect()
}

/// The command as it was typed, to type it again.
fn typed(request: &TrainOptions) -> String {
    let mut words = vec!["tenfold train".to_owned()];
    let mut option = |name: &str, value: &str| words.push(format!("--{name} {}", quoted(value)));
    option("model", &request.model);
    option("task", &request.task);
    option("method", &request.method);
    if let Some(rate) = request.learning_rate {
        option("learning-rate", &rate.to_string());
    }
    option("weights", &request.weights);
    option("seed", &request.seed.to_string());
    if let Some(out) = &request.out {
        option("out", &out.display().to_string());
    }
    request.set.iter().for_each(|set| option("set", set));
    if let Some(limit) = request.memory_limit {
        option("memory-limit", &limit.to_string());
    }
    words.join(" ")
}

fn print(study: &Study, single: &Single, trained: &Trained) -> Result<()> {
    let tests: Vec<_> = trained
        .tests
        .iter()
        .map(|test| json!({"domain": test.domain, "metric": test.metric, "score": test.score}))
        .collect();
    print_json(&json!({
        "adapter": single.adapter,
        "learning_rate": rate(single),
        "learning_rate_note": study.learning_rate_note,
        "greedy_answers": single.answers,
        "loads": adapter::method(&single.record.trial.method).map_or("", |method| method.loads()),
        "parameters": trained.parameters,
        "steps": trained.steps,
        "examples": trained.examples,
        "tokens": trained.tokens,
        "seconds": seconds(single),
        "disturbance": single.record.measured.training.as_ref().map(|time| time.disturbance),
        "process_peak_bytes": single.process_peak_bytes,
        "base": single.base,
        "metric": trained.metric,
        "train_score": trained.train_score,
        "validation": trained.validation,
        "tests": tests,
        "notes": single.notes,
    }))
}

/// Wall time of training.
fn seconds(single: &Single) -> f64 {
    single.record.measured.training.as_ref().map_or(0.0, |time| time.seconds)
}

fn show(single: &Single, trained: &Trained) -> Result<()> {
    say!(
        "{} in {}, learning rate {}, {:.1} s, {:.0} tokens/s",
        count(trained.examples as usize, "row"),
        count(trained.steps, "step"),
        rate(single).map_or("unknown".into(), |rate| format!("{rate:e}")),
        seconds(single),
        trained.tokens as f64 / seconds(single).max(1e-9)
    )?;
    let disturbance = single.record.measured.training.as_ref().and_then(|time| time.disturbance);
    if let Some(note) = disturbance.and_then(|found| found.note()) {
        say!("training time: {}", wrapped(&note, 65).join("\n"))?;
    }
    if let Some(bytes) = single.process_peak_bytes {
        say!("peak memory of the process {}", Bytes(bytes).words())?;
    }
    let parameters = &trained.parameters;
    let share = 100.0 * parameters.trainable as f64 / parameters.base as f64;
    say!("{} trained numbers, {share:.2} % of the base's {}", parameters.trainable, parameters.base)?;
    if let Some(base) = &single.base {
        say!("{:16} {}", "base model", words(base, &trained.metric))?;
    }
    for test in &trained.tests {
        say!("{:16} {}", test.domain, words(&test.score, &test.metric))?;
    }
    for note in single.notes.iter().chain(&answers(single, trained)) {
        say!("{}", wrapped(note, 80).join("\n"))?;
    }
    say!("Adapter: {}", single.adapter.display())?;
    let method = adapter::method(&single.record.trial.method);
    say!("It loads in: {}", method.map_or("", |method| method.loads()))
}

/// The highest learning rate of the training.
fn rate(single: &Single) -> Option<f64> {
    single.record.trial.train["learning_rate"].as_f64()
}

/// What training did to a language model's answers, in a sentence.
fn answers(single: &Single, trained: &Trained) -> Option<String> {
    let Answers { asked, changed } = single.answers?;
    if changed > 0 {
        let prompts = count(asked, "held-out prompt");
        return Some(format!(
            "Of {prompts} the tuned model answers {changed} otherwise than the base model."
        ));
    }
    let losses = single.base.map(|base| base.loss).zip(trained.tests.first().map(|test| test.score.loss));
    let fell = losses.filter(|(before, after)| after < before);
    let fell = fell.map(|(before, after)| {
        format!("The loss on held-out rows fell from {before:.4} to {after:.4}, yet ")
    });
    let rate = rate(single).map_or(String::new(), |rate| format!(" than {rate:e}"));
    let sentence = format!(
        "{}the greedy answers to {} are the same as before training: for other answers train longer \
         (--set train.num_train_epochs) or with a higher --learning-rate{rate}.",
        fell.unwrap_or_default(),
        count(asked, "held-out prompt")
    );
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect())
}

/// "matthews 0.523, loss 0.4123 nats, 1043 rows"; "pearson 0.812, loss 0.4123 (squared error), 1500 rows".
fn words(score: &Score, metric: &str) -> String {
    let scoring = scoring(metric).ok();
    let value = match (scoring, score.value) {
        (Some(scoring), Some(value)) => scoring.unit.write(value),
        _ => "not defined".to_owned(),
    };
    let unit = match scoring.map_or("nats", |scoring| scoring.loss_unit()) {
        "nats" => "nats".to_owned(),
        other => format!("({other})"),
    };
    format!("{metric} {value}, loss {:.4} {unit}, {}", score.loss, count(score.examples, "row"))
}
