//! The command `tenfold`: arguments in, words out.

mod arguments;
mod commands;
mod dashboard;
mod last_words;
mod numbers;
mod output;

use arguments::Arguments;
use clap::Parser;
use dashboard::{Dashboard, STOPPED};
use output::tell;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    last_words::tell_of_lost_pages();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return answered(&error),
    };
    let dashboard = Arc::new(Dashboard::new(arguments.log_format));
    // Started here, a lack of memory for its threads is an error; where it is first used it would be a panic.
    if let Err(error) = rayon::ThreadPoolBuilder::new().build_global() {
        dashboard.fail(&format!("cannot start the threads to compute with: {error}"));
        return ExitCode::FAILURE;
    }
    dashboard.stop_on_ctrl_c();
    let outcome = commands::run(arguments, &dashboard).and_then(|()| output::flush());
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

/// Prints what the arguments asked for instead of a command, help or the version, or what is wrong with them.
fn answered(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        tell(error.render().to_string().trim_end());
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    match output::checked(error.print()).and_then(|()| output::flush()) {
        Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
        Err(unwritable) => {
            tell(&format!("error: {unwritable}"));
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
