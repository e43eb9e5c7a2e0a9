//! eval --task: a language model, with or without an adapter, asked a task's questions.

use super::generate::note_all;
use super::run::quoted;
use super::{print_json, say};
use crate::arguments::EvalOptions;
use crate::dashboard::Dashboard;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use tenfold::adapter::{Context, Tuning, file};
use tenfold::device;
use tenfold::eval::{Asker, Evaluation, Identity, Tallied, TaskResult};
use tenfold::model::store;
use tenfold::progress::told_if_slow;
use tenfold::study::format_of_weights;
use tenfold::task::Task;
use tenfold::words::count;

pub fn eval_tasks(request: &EvalOptions, dashboard: &Dashboard) -> Result<()> {
    let format = format_of_weights(&request.weights)?;
    let tasks = (request.task.iter())
        .map(|name| Task::load(name)?.only(&request.domain))
        .collect::<tenfold::Result<Vec<_>>>()?;
    if let Some(task) = tasks.iter().find(|task| task.questions().is_none()) {
        bail!(
            "task \"{}\": expected questions (output_type multiple_choice, loglikelihood, loglikelihood_rolling or \
             generate_until with a metric of answers), found output_type = \"{}\" with metric = \"{}\"; it is trained \
             and scored by `tenfold run`",
            task.name,
            task.output_type,
            task.metric
        );
    }
    // What one of them is missing is better known before the first has taken its time.
    for task in &tasks {
        told_if_slow(dashboard, &format!("reading the questions of {}", task.name), || {
            task.read_questions(request.num_fewshot, request.limit, request.skip_malformed)
        })?;
    }
    let located = store::locate(&request.model, dashboard)?;
    let usual = located.files.usual_task()?;
    if !usual.is_language_modelling() {
        bail!(
            "{} is no language model: it cannot be asked; take a decoder such as smollm2-135m",
            request.model
        );
    }
    let backend = device::usual().backend();
    let reading = format!("reading {}", request.model);
    let loaded = told_if_slow(dashboard, &reading, || located.files.load(usual, &backend, format))?;
    let (model, tokenizer) = (loaded.model, located.files.tokenizer()?);
    note_all(loaded.notes.iter().chain(tokenizer.notes()), dashboard);
    tokenizer.check(&model.extents())?;
    let tuning = match &request.adapter {
        None => Tuning::untouched(&*model),
        Some(adapter) => {
            let tokenize = |text: &str| tokenizer.words(text);
            let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &tokenize };
            let tuning = file::read(adapter, &context)?;
            file::notes(adapter, &tuning, &*model, &located)?.iter().for_each(|note| dashboard.say(note));
            match request.merged {
                false => tuning,
                true => match tuning.merged(&*model, &backend)? {
                    Some(merged) => merged,
                    None => bail!("{} cannot be folded into the base model's weights", tuning.method().title),
                },
            }
        }
    };
    let identity = Identity {
        model: request.model.clone(),
        model_sha256: located.sha256.clone(),
        weights: request.weights.clone(),
        adapter: request.adapter.as_ref().map(|adapter| adapter.display().to_string()),
        adapter_sha256: request.adapter.as_deref().map(file::sha256).transpose()?,
        merged: request.merged,
    };
    let out = request.out.clone().unwrap_or_else(|| usual_folder(&request.model));
    let typed: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
    dashboard.goes_on_with(format!("tenfold {}", typed.join(" ")));
    let asker = Asker { model: &*model, tuning: &tuning, tokenizer: &tokenizer };
    let mut results = Vec::new();
    for task in &tasks {
        let evaluation = Evaluation {
            task,
            num_fewshot: request.num_fewshot,
            limit: request.limit,
            skip_malformed: request.skip_malformed,
            out: Some(&out),
            identity: identity.clone(),
        };
        let result = evaluation.run(&asker, dashboard)?;
        if !request.json {
            show(&result)?;
        }
        results.push(result);
    }
    if request.json {
        let with_folder = |result: &TaskResult| {
            let mut line = serde_json::to_value(result)?;
            line["folder"] = serde_json::to_value(&result.folder)?;
            Ok(line)
        };
        print_json(&results.iter().map(with_folder).collect::<Result<Vec<_>>>()?)?;
    }
    Ok(())
}

fn usual_folder(model: &str) -> PathBuf {
    let name =
        Path::new(model).file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Path::new("runs").join(format!("eval-{name}"))
}

/// One line for each figure, at most 80 columns wide with names as the tasks here have them.
fn show(result: &TaskResult) -> Result<()> {
    let limit =
        result.limit.map(|limit| format!(", at most {} each", count(limit, "row"))).unwrap_or_default();
    let shown = count(result.num_fewshot, "example");
    say!("\n{} · {shown} before each question{limit}", result.task)?;
    say!("{:32} {:>10} {:>9} {:>18} {:>7}", "", "score", "± s. e.", "95 % of rows", "rows")?;
    for domain in &result.domains {
        for tallied in &domain.metrics {
            let name = label(&domain.domain, tallied.metric.name(), tallied.filter.as_deref(), &result.task);
            let (value, interval) = figures(tallied);
            say!(
                "{name:32} {value:>10} {:>9} {interval:>18} {:>7}",
                error(tallied.standard_error),
                domain.rows
            )?;
        }
        if !domain.malformed.is_empty() {
            say!("{:32} {} malformed rows were left out", "", domain.malformed.len())?;
        }
        if !domain.malformed_examples.is_empty() {
            let left_out = domain.malformed_examples.len();
            say!("{:32} {left_out} malformed rows are not among the examples", "")?;
        }
        if domain.cut > 0 {
            say!("{:32} {} prompts were cut to the model's window", "", domain.cut)?;
        }
    }
    for whole in &result.all {
        let name = label("all", whole.metric.name(), whole.filter.as_deref(), &result.task);
        say!(
            "{name:32} {:>10.4} {:>9} {:>18} {:>7}",
            whole.value,
            error(whole.standard_error),
            "",
            whole.rows
        )?;
    }
    if let Some(mmlu) = &result.mmlu {
        for (category, value) in &mmlu.categories {
            say!("{category:32} {value:>10.4}")?;
        }
        say!("{:32} {:>10.4}", "mean of subjects", mmlu.mean_of_subjects)?;
    }
    if let Some(folder) = &result.folder {
        say!("{}", folder.display())?;
    }
    Ok(())
}

fn label(domain: &str, metric: &str, filter: Option<&str>, task: &str) -> String {
    let metric = filter.map_or(metric.to_owned(), |filter| format!("{metric}, {filter}"));
    if domain == task { metric } else { format!("{domain} {metric}") }
}

fn figures(tallied: &Tallied) -> (String, String) {
    let Some(estimate) = &tallied.estimate else { return ("undefined".into(), String::new()) };
    let interval = match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{low:.4} … {high:.4}"),
        _ => String::new(),
    };
    (format!("{:.4}", estimate.value), interval)
}

fn error(error: Option<f64>) -> String {
    error.map(|error| format!("{error:.4}")).unwrap_or_default()
}
