//! bench: how fast, and in how much memory.

use super::{print_json, say};
use crate::arguments::{BenchCommand, BenchGenerate, BenchInfer, BenchLoad, BenchModel, BenchTrain};
use crate::dashboard::Dashboard;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;
use tenfold::bench::{
    self, Base, GenerateReport, GenerateRequest, InferReport, InferRequest, Loads, MatmulReport, Rate,
    RowShape, Setting, Timed, TrainReport, TrainRequest, Tuned,
};
use tenfold::bytes::Bytes;
use tenfold::device::device;
use tenfold::load::{self, Quantiles, Summary};
use tenfold::model::{TaskType, store};
use tenfold::progress::told_if_slow;
use tenfold::record::Disturbance;
use tenfold::study::format_of_weights;
use tenfold::train::TrainSettings;
use tenfold::words::{count, wrapped};

pub fn bench(command: &BenchCommand, dashboard: &Dashboard) -> Result<()> {
    match command {
        BenchCommand::Train(options) => {
            let request = train_request(options, dashboard)?;
            measure(&options.model, dashboard, || bench::train(&request), show_train)
        }
        BenchCommand::Matmul(options) => {
            let request = train_request(options, dashboard)?;
            measure(&options.model, dashboard, || bench::matmul(&request), show_matmul)
        }
        BenchCommand::Infer(options) => {
            let request = infer_request(options, dashboard)?;
            measure(&options.model, dashboard, || bench::infer(&request), show_infer)
        }
        BenchCommand::Generate(options) => {
            let request = generate_request(options, dashboard)?;
            measure(&options.model, dashboard, || bench::generate(&request), show_generate)
        }
    }
}

/// Measures on as many threads as were asked for, and says what came of it.
fn measure<Report: Serialize + Send>(
    options: &BenchModel,
    dashboard: &Dashboard,
    run: impl FnOnce() -> tenfold::Result<Report> + Send,
    show: impl FnOnce(&Report) -> Result<()>,
) -> Result<()> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(options.threads.unwrap_or(0));
    let threads = threads.build().context("cannot start threads")?;
    let title = format!("measuring {}", options.model);
    let report = told_if_slow(dashboard, &title, || threads.install(run))?;
    tenfold::model::unchanged()?;
    if options.json { print_json(&report) } else { show(&report) }
}

fn tuned(options: &BenchModel, method: Option<&str>, dashboard: &Dashboard) -> Result<Tuned> {
    Ok(Tuned {
        base: match options.random_weights {
            true => Base::Drawn(configuration(&options.model)),
            false => Base::Files(store::locate(&options.model, dashboard)?.files),
        },
        task: options.task.as_deref().map(TaskType::named).transpose()?,
        weights: format_of_weights(&options.weights)?,
        device: device(&options.device)?,
        method: method.map(str::to_owned),
        settings: settings(&options.set)?,
        seed: options.seed,
    })
}

/// A model's configuration, or that in its folder.
fn configuration(model: &str) -> PathBuf {
    let path = PathBuf::from(model);
    if path.is_dir() { path.join("config.json") } else { path }
}

fn train_request(options: &BenchTrain, dashboard: &Dashboard) -> Result<TrainRequest> {
    Ok(TrainRequest {
        tuned: tuned(&options.model, Some(&options.method), dashboard)?,
        sequence: options.seq,
        target_sequence: options.target_seq,
        steps: options.steps,
        train: TrainSettings {
            batch_size: options.batch,
            pass_tokens: options.pass_tokens,
            gradient_checkpointing: options.gradient_checkpointing,
            memory_limit: options.memory_limit,
            ..TrainSettings::default()
        },
    })
}

fn infer_request(options: &BenchInfer, dashboard: &Dashboard) -> Result<InferRequest> {
    Ok(InferRequest {
        tuned: tuned(&options.model, options.method.method.as_deref(), dashboard)?,
        merged: options.method.merged,
        rows: RowShape { rows: options.batch, sequence: options.seq, target_sequence: options.target_seq },
        passes: options.passes,
        loads: loads(&options.load),
    })
}

fn generate_request(options: &BenchGenerate, dashboard: &Dashboard) -> Result<GenerateRequest> {
    Ok(GenerateRequest {
        tuned: tuned(&options.model, options.method.method.as_deref(), dashboard)?,
        merged: options.method.merged,
        prompts: options.batch,
        prompt_tokens: options.prompt_tokens,
        new_tokens: options.new_tokens,
        repetitions: options.repetitions,
        loads: loads(&options.load),
    })
}

fn loads(options: &BenchLoad) -> Loads {
    Loads {
        clients: options.clients.clone(),
        rates: options.rate.clone(),
        servers: options.servers,
        requests: options.requests,
        warm_up: options.warm_up,
        seconds: options.seconds,
    }
}

/// The method's settings of `key=value` words: values are JSON, or else strings.
fn settings(set: &[String]) -> Result<Map<String, Value>> {
    let mut settings = Map::new();
    for change in set {
        let Some((key, value)) = change.split_once('=') else { bail!("--set {change}: expected key=value") };
        settings.insert(key.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into()));
    }
    Ok(settings)
}

fn show_train(report: &TrainReport) -> Result<()> {
    let recomputed = if report.gradient_checkpointing { ", blocks recomputed" } else { "" };
    show_setting(&report.setting, false)?;
    let passes = match report.pass_tokens {
        Some(tokens) if (tokens as u64) < report.tokens_per_step => {
            format!("passes of {}", count(tokens, "token"))
        }
        _ => "one pass".to_owned(),
    };
    say!("  {} a step, {passes}{recomputed}", count(report.batch_size, "row"))?;
    if let Some(changed) = &report.changed {
        say!("  {changed}")?;
    }
    say!(
        "  {} numbers trained, {} in the base",
        report.trainable_parameters,
        report.setting.base_parameters
    )?;
    show_rate("tokens", &report.tokens_per_second)?;
    show_rate("examples", &report.examples_per_second)?;
    say!(
        "  {:.0} % of the machine's own rate for its matrix products, {:.1} GFLOP/s",
        100.0 * report.fraction_of_matmul_rate,
        report.matmul_operations_per_second / 1e9
    )?;
    show_disturbance(&report.disturbance)?;
    show_peak(report.peak_memory_bytes, report.training_peak_memory_bytes, "training")?;
    say!("  foreseen of the process {}; the engine's own account:", Bytes(report.foreseen_bytes).words())?;
    for (class, bytes) in &report.memory_by_class {
        let foreseen = report.foreseen_by_class.get(class).copied().unwrap_or(0);
        say!("    {class:12} {:>10}, foreseen {:>10}", Bytes(*bytes).words(), Bytes(foreseen).words())?;
    }
    Ok(())
}

fn show_matmul(report: &MatmulReport) -> Result<()> {
    let rate = report.operations_per_second / 1e9;
    let threads = count(report.threads, "thread");
    say!("{rate:.1} GFLOP/s over the products of a step, {threads}, {}", report.simd)?;
    show_disturbance(&report.disturbance)?;
    say!("{:>6} {:>6} {:>6}  {:8} {:>6} {:>10} {:>9}", "m", "n", "k", "b in", "times", "ms", "GFLOP/s")?;
    report.f32.iter().chain(&report.stored).try_for_each(|timed| {
        let Timed { extents: [m, n, k], transposed, format, count, seconds, operations_per_second } = timed;
        let turned = |turned: bool| if turned { "ᵀ" } else { " " };
        let [a, b] = transposed.map(turned);
        let (ms, rate) = (1e3 * seconds, operations_per_second / 1e9);
        say!("{m:>6} {n:>6} {k:>6}  a{a}b{b} {format:5} {count:>4} {ms:>10.3} {rate:>9.1}")
    })
}

fn show_infer(report: &InferReport) -> Result<()> {
    show_setting(&report.setting, report.merged)?;
    say!("  {} a pass of {:.1} ms", count(report.batch_size, "row"), 1e3 * report.seconds)?;
    show_rate("tokens", &report.tokens_per_second)?;
    show_rate("examples", &report.examples_per_second)?;
    show_disturbance(&report.disturbance)?;
    show_peak(report.peak_memory_bytes, report.pass_peak_memory_bytes, "the passes")?;
    show_loads(&report.loads)
}

fn show_generate(report: &GenerateReport) -> Result<()> {
    show_setting(&report.setting, report.merged)?;
    let (prompts, tokens) = (count(report.batch_size, "prompt"), count(report.prompt_tokens, "token"));
    say!("  {prompts} of {tokens}, answers of {}", report.new_tokens)?;
    show_rate("tokens of prompts", &report.prompt_tokens_per_second)?;
    show_rate("new tokens", &report.new_tokens_per_second)?;
    for (what, times) in
        [("first token", &report.first_token), ("next token", &report.next_token), ("whole", &report.whole)]
    {
        if let Some(Quantiles { count, p50, p95, p99, max, .. }) = times {
            let [p50, p95, p99, max] = [p50, p95, p99, max].map(|seconds| 1e3 * seconds);
            say!("  {what:12} ms: p50 {p50:.2}, p95 {p95:.2}, p99 {p99:.2}, max {max:.2} (n = {count})")?;
        }
    }
    show_disturbance(&report.disturbance)?;
    show_peak(report.peak_memory_bytes, report.answer_peak_memory_bytes, "answering")?;
    show_loads(&report.loads)
}

fn show_loads(loads: &[Summary]) -> Result<()> {
    if loads.is_empty() {
        return Ok(());
    }
    let loads: Vec<_> = loads.iter().map(|summary| summary.load.clone()).collect();
    say!("\n{}", load::table(&loads).trim_end())
}

fn show_setting(setting: &Setting, merged: bool) -> Result<()> {
    let Setting { family, task, method, weights, threads, simd, .. } = setting;
    let method = method.as_deref().unwrap_or("no method");
    let merged = if merged { ", merged" } else { "" };
    let threads = count(*threads, "thread");
    say!("{family} for {task}, {method}{merged} over weights in {weights}: {threads}, {simd}")
}

fn show_rate(name: &str, Rate { median, best }: &Rate) -> Result<()> {
    say!("  {median:.1} {name} a second (median; best {best:.1})")
}

/// The peak of the process, and that of the measured part where loading took more.
fn show_peak(whole: Option<u64>, measured: Option<u64>, part: &str) -> Result<()> {
    let Some(whole) = whole else { return say!("  peak memory of the process unknown") };
    let measured = measured
        .filter(|bytes| *bytes < whole)
        .map_or_else(String::new, |bytes| format!(" while it loaded, {} in {part}", Bytes(bytes).words()));
    say!("  peak memory of the process {}{measured}", Bytes(whole).words())
}

/// What else used the processors meanwhile, if anything did or that could not be checked.
fn show_disturbance(disturbance: &Disturbance) -> Result<()> {
    disturbance.note().map_or(Ok(()), |note| say!("  {}", wrapped(&note, 76).join("\n  ")))
}
