//! The command `tenfold`: arguments in, words out.

mod arguments;
mod commands;
mod dashboard;

use arguments::Arguments;
use clap::Parser;
use dashboard::Dashboard;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let dashboard = Dashboard::new();
    dashboard.stop_on_ctrl_c();
    let outcome = commands::run(arguments, &dashboard);
    dashboard.clear();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", if is_interruption(&error) { "tenfold" } else { "error" });
            ExitCode::FAILURE
        }
    }
}

fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(tenfold::Error::Interrupted))
}
