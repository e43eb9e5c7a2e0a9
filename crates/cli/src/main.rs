//! The command `tenfold`: arguments in, words out.

mod arguments;
mod commands;
mod dashboard;
mod numbers;

use arguments::Arguments;
use clap::Parser;
use dashboard::{Dashboard, STOPPED};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let dashboard = Arc::new(Dashboard::new(arguments.log_format));
    dashboard.stop_on_ctrl_c();
    let outcome = commands::run(arguments, &dashboard);
    dashboard.clear();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_interruption(&error) => {
            dashboard.say(&dashboard.farewell());
            STOPPED.into()
        }
        Err(error) => {
            dashboard.fail(&words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that the words before already hold.
fn words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        match (said.is_empty(), said.contains(&cause)) {
            (true, _) => cause,
            (false, true) => said,
            (false, false) => format!("{said}: {cause}"),
        }
    })
}

fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(tenfold::Error::Interrupted))
}
