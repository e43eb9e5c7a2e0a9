//! bench train: how fast, and in how much memory.

use super::{print_json, say};
use crate::arguments::BenchTrain;
use crate::dashboard::Dashboard;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use std::path::PathBuf;
use tenfold::bench::{self, Report, Request};
use tenfold::bytes::Bytes;
use tenfold::model::{TaskType, store};
use tenfold::study::format_of_weights;
use tenfold::train::TrainSettings;

pub fn train(arguments: &BenchTrain, dashboard: &Dashboard) -> Result<()> {
    let model = match arguments.random_weights {
        true => PathBuf::from(&arguments.model),
        false => store::locate(&arguments.model, dashboard)?.dir,
    };
    let request = Request {
        model,
        random_weights: arguments.random_weights,
        task: arguments.task.as_deref().map(TaskType::named).transpose()?,
        weights: format_of_weights(&arguments.weights)?,
        method: arguments.method.clone(),
        settings: settings(&arguments.set)?,
        sequence: arguments.seq,
        target_sequence: arguments.target_seq,
        steps: arguments.steps,
        train: TrainSettings {
            batch_size: arguments.batch,
            gradient_checkpointing: arguments.gradient_checkpointing,
            memory_limit: arguments.memory_limit,
            ..TrainSettings::default()
        },
        seed: arguments.seed,
    };
    let threads = arguments.threads.unwrap_or(0);
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
    let report = pool.install(|| bench::train(&request))?;
    if arguments.json { print_json(&report) } else { show(&report) }
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

fn show(report: &Report) -> Result<()> {
    let recomputed = if report.gradient_checkpointing { ", blocks recomputed" } else { "" };
    say!(
        "{} for {}, {} over weights in {}: {} × {} rows a step{recomputed}, {} threads, {}",
        report.family,
        report.task,
        report.method,
        report.weights,
        report.gradient_accumulation_steps,
        report.batch_size,
        report.threads,
        report.simd
    )?;
    if let Some(changed) = &report.changed {
        say!("  {changed}")?;
    }
    say!("  {} numbers trained, {} in the base", report.trainable_parameters, report.base_parameters)?;
    let rate = |name: &str, rate: &bench::Rate| {
        say!("  {:.1} {name} a second (median; best {:.1})", rate.median, rate.best)
    };
    rate("tokens", &report.tokens_per_second)?;
    rate("examples", &report.examples_per_second)?;
    let words = |bytes: u64| Bytes(bytes).words();
    let peak = report.peak_memory_bytes.map_or("unknown".into(), words);
    say!("  peak memory of the process {peak}, foreseen {}", words(report.foreseen_bytes))?;
    for (class, bytes) in &report.memory_by_class {
        let foreseen = report.foreseen_by_class.get(class).copied().unwrap_or(0);
        say!("    {class:12} {:>10}, foreseen {:>10}", words(*bytes), words(foreseen))?;
    }
    Ok(())
}
