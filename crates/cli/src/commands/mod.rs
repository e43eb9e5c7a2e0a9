//! What the commands do: one function each, words for people or JSON for programs.

mod adapter;
mod bench;
mod chat;
mod eval;
mod eval_tasks;
mod generate;
mod list;
mod model;
mod run;
mod texts;
mod train;

use crate::arguments::{AdapterCommand, Arguments, Command, EvalOptions, ModelCommand};
use crate::dashboard::{Dashboard, end_at_once};
use crate::output::{print_json, print_text, say};
use anyhow::{Context, Result};
use std::io;

pub fn run(arguments: Arguments, dashboard: &Dashboard) -> Result<()> {
    match arguments.command {
        Command::Quickstart { run } => run::quickstart(&run, dashboard),
        Command::Run { study, run } => run::study(&study, &run, dashboard),
        Command::Train(request) => train::train(&request, dashboard),
        Command::Report { run, json } => run::report(&run, json, dashboard),
        Command::Recommend { run, purpose, write, json } => {
            run::recommend(&run, purpose, write, json, dashboard)
        }
        Command::Eval(EvalOptions {
            model,
            adapter: Some(adapter),
            texts: Some(texts),
            merged,
            json,
            ..
        }) => eval::eval(&eval::Request { model, adapter, texts, merged, json }, dashboard),
        Command::Eval(request) => eval_tasks::eval_tasks(&request, dashboard),
        Command::Generate(request) => generate::generate(&request, dashboard),
        Command::Chat(request) => chat::chat(&request, dashboard),
        Command::List { what, json } => list::list(what, json),
        Command::Model { command: ModelCommand::Pull { name, json } } => model::pull(&name, json, dashboard),
        Command::Model { command: ModelCommand::Inspect { name, json } } => {
            model::inspect(&name, json, dashboard)
        }
        Command::Model { command: ModelCommand::Quantize { name, weights, out, json } } => {
            model::quantize(&name, &weights, &out, json, dashboard)
        }
        Command::Adapter { command: AdapterCommand::Inspect { adapter, json } } => {
            adapter::inspect(&adapter, json)
        }
        Command::Adapter { command: AdapterCommand::Export(request) } => adapter::export(&request, dashboard),
        Command::Bench { command } => bench::bench(&command, dashboard),
        Command::Probe { run, trials, parts: false } => {
            Ok(tenfold::study::probe(&run, &trials, &run::probe_command(), dashboard)?)
        }
        Command::Probe { run, trials, parts: true } => {
            let [trial] = trials.as_slice() else { anyhow::bail!("--parts measures one trial") };
            Ok(tenfold::study::answer_probe(&run, trial, lines()?, &mut io::stdout(), dashboard)?)
        }
    }
}

/// The lines of the standard input as they come. This process ends with it, whatever it does then: the process that holds the
/// other end is gone.
fn lines() -> Result<impl Iterator<Item = String>> {
    let (tell, lines) = std::sync::mpsc::channel();
    let read = move || -> () {
        for line in io::stdin().lines().map_while(io::Result::ok) {
            let _ = tell.send(line);
        }
        end_at_once()
    };
    std::thread::Builder::new().spawn(read).context("cannot start a thread")?;
    Ok(lines.into_iter())
}
