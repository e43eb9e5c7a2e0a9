//! What the program says: on stdout results, every write of which is checked, on stderr all else. Whatever files brought
//! into it cannot steer the terminal.

use anyhow::Result;
use std::fmt;
use std::io::{self, IsTerminal, Write, stderr, stdout};
use tenfold::words::printable;

/// The standard output takes no more.
#[derive(Debug)]
pub struct Unwritable(io::Error);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "cannot write to the standard output: {}", self.0)
    }
}

impl std::error::Error for Unwritable {}

/// A line on stdout, as `println!`, but a full disk behind it is an error and no panic.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::print(format_args!($($words)*)) };
}
pub(crate) use say;

/// A line of words or of JSON. What a terminal would obey is written as JSON writes it: `\u001b`.
pub fn print(words: fmt::Arguments) -> Result<()> {
    write(&printable(&format!("{words}\n")))
}

/// A text that a model wrote or a file holds, as it is; in a terminal only what a terminal does not obey. It is not followed
/// by the end of a line, and is shown at once.
pub fn print_text(text: &str) -> Result<()> {
    match stdout().is_terminal() {
        true => write(&printable(text)),
        false => write(text),
    }
}

/// Prints a value as JSON on stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?)
}

/// Brings to the file or pipe behind stdout what still waits.
pub fn flush() -> Result<()> {
    checked(stdout().flush())
}

/// A line on stderr; unlike `eprintln!`, work goes on if nobody can read it any more.
pub fn tell(line: &str) {
    let _ = writeln!(stderr(), "{}", printable(line));
}

fn write(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    checked(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

pub fn checked(written: io::Result<()>) -> Result<()> {
    match written {
        // Whoever read this has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Unwritable(error).into()),
        Ok(()) => Ok(()),
    }
}
