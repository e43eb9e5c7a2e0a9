//! train: one method, once.

use super::run::{changes, quoted};
use super::{print_json, say};
use crate::arguments::TrainOptions;
use crate::dashboard::Dashboard;
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use tenfold::adapter;
use tenfold::record::{Outcome, Score, Trained};
use tenfold::score::scoring;
use tenfold::study::{self, Options, Single, Study};
use tenfold::words::{count, wrapped};

pub fn train(request: &TrainOptions, dashboard: &Dashboard) -> Result<()> {
    let study = study_of(request)?;
    let out = request.out.clone().unwrap_or_else(|| Path::new("runs").join(&study.name));
    dashboard.goes_on_with(typed(request));
    let options = Options { out: out.clone(), run_missing: true, probe_command: Vec::new() };
    let single = study::train(&study, &options, dashboard)?;
    let Outcome::Trained(trained) = &single.record.outcome else { return Ok(()) };
    if request.json { print(&single, trained) } else { show(&single, trained) }
}

/// A study of one trial.
fn study_of(request: &TrainOptions) -> Result<Study> {
    let method = adapter::method(&request.method)?;
    let rate = request.learning_rate.or(method.learning_rates.first().copied()).unwrap_or(1e-4);
    let task =
        Path::new(&request.task).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
    let name = format!("{task}-{}", method.name);
    let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let text = format!(
        "name = {}\nmodel = {}\ntask = {}\nweights = {}\nseeds = [{}]\n[probe]\nenabled = false\n[small_data]\n\
         examples = []\n[methods.{}]\nlearning_rate = {rate:e}\n",
        quote(&name),
        quote(&request.model),
        quote(&request.task),
        quote(&request.weights),
        request.seed,
        method.name
    );
    Ok(Study::parse(Path::new("the command line"), &text, &changes(&request.set, request.memory_limit))?)
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

fn print(single: &Single, trained: &Trained) -> Result<()> {
    let tests: Vec<_> = trained
        .tests
        .iter()
        .map(|test| json!({"domain": test.domain, "metric": test.metric, "score": test.score}))
        .collect();
    print_json(&json!({
        "adapter": single.adapter,
        "parameters": trained.parameters,
        "steps": trained.steps,
        "examples": trained.examples,
        "tokens": trained.tokens,
        "seconds": trained.seconds,
        "process_peak_bytes": single.process_peak_bytes,
        "base": single.base,
        "metric": trained.metric,
        "train_score": trained.train_score,
        "validation": trained.validation,
        "tests": tests,
        "notes": single.notes,
    }))
}

fn show(single: &Single, trained: &Trained) -> Result<()> {
    say!(
        "{} in {}, {:.1} s, {:.0} tokens/s",
        count(trained.examples as usize, "row"),
        count(trained.steps, "step"),
        trained.seconds,
        trained.tokens as f64 / trained.seconds.max(1e-9)
    )?;
    if let Some(bytes) = single.process_peak_bytes {
        say!("peak memory of the process {:.0} MB", bytes as f64 / 1e6)?;
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
    for note in &single.notes {
        say!("{}", wrapped(note, 80).join("\n"))?;
    }
    say!("Adapter: {}", single.adapter.display())
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
