//! What the commands do: one function each, words for people or JSON for programs.

mod adapter;
mod eval;
mod list;
mod model;
mod run;

use crate::arguments::{AdapterCommand, Arguments, Command, ModelCommand};
use crate::dashboard::Dashboard;
use anyhow::Result;

pub fn run(arguments: Arguments, dashboard: &Dashboard) -> Result<()> {
    match arguments.command {
        Command::Quickstart { run } => run::quickstart(&run, dashboard),
        Command::Run { study, run } => run::study(&study, &run, dashboard),
        Command::Report { run, json } => run::report(&run, json, dashboard),
        Command::Recommend { run, purpose, json } => run::recommend(&run, &purpose, json, dashboard),
        Command::Eval { model, adapter, texts, merged, json } => {
            eval::eval(&eval::Request { model, adapter, texts, merged, json }, dashboard)
        }
        Command::List { what, json } => list::list(what, json),
        Command::Model { command: ModelCommand::Pull { name } } => model::pull(&name, dashboard),
        Command::Model { command: ModelCommand::Inspect { name, json } } => {
            model::inspect(&name, json, dashboard)
        }
        Command::Adapter { command: AdapterCommand::Inspect { adapter, json } } => {
            adapter::inspect(&adapter, json)
        }
        Command::Probe { run, trial } => Ok(tenfold::study::probe(&run, &trial, dashboard)?),
    }
}

/// Prints a value as JSON on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
