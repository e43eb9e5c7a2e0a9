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
        Command::Probe { run, trial, until_stdin_ends } => {
            if until_stdin_ends {
                end_with_stdin()?;
            }
            Ok(tenfold::study::probe(&run, &trial, dashboard)?)
        }
    }
}

/// Ends this process when its standard input ends, that is, when the process that holds the other end does.
fn end_with_stdin() -> Result<()> {
    let watch = || -> () {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        end_at_once()
    };
    std::thread::Builder::new().spawn(watch).map(drop).context("cannot start a thread")
}
