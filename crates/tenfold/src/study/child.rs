//! A probe from outside: its process, its end and its last words.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often to look whether the process has ended or is to be stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `command` on a trial of a run; returns what it said if it failed. It is killed when `stop_requested`.
pub(super) fn probe(
    command: &[OsString],
    run_folder: &Path,
    trial: &str,
    stop_requested: impl Fn() -> bool,
) -> Result<Option<String>> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(Some("no command to probe with was given".into()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .arg(run_folder)
        .arg(trial)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io("start", program))?;
    let stderr = child.stderr.take();
    std::thread::scope(|scope| {
        // Read while it runs: a full pipe would hold it up.
        let words = std::thread::Builder::new()
            .spawn_scoped(scope, || stderr.map(last_line).unwrap_or_default())
            .map_err(|error| {
                end(&mut child);
                Error::io("start", "a thread")(error)
            })?;
        let status = loop {
            let ended = child.try_wait().map_err(Error::io("wait for", program))?;
            if let Some(status) = ended.filter(|status| status.success() || !stop_requested()) {
                break status;
            }
            if stop_requested() {
                end(&mut child);
                return Err(Error::Interrupted);
            }
            std::thread::sleep(LOOK);
        };
        let words = words.join().unwrap_or_default();
        let words = if words.is_empty() { words } else { format!(": {words}") };
        Ok((!status.success()).then(|| format!("the probe ended with {status}{words}")))
    })
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The last line that says something.
fn last_line(stream: impl Read) -> String {
    let lines = BufReader::new(stream).split(b'\n').map_while(std::io::Result::ok);
    let words = lines.map(|line| String::from_utf8_lossy(&line).trim().to_owned());
    words.filter(|line| !line.is_empty()).last().unwrap_or_default()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).to_vec()
    }

    #[test]
    fn a_failure_comes_with_its_last_words_however_many_there_were() {
        let talk =
            "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; echo enough >&2; exit 3";
        let said = probe(&shell(talk), Path::new("run"), "trial", || false).unwrap().unwrap();
        assert!(said.contains("exit status: 3") && said.ends_with("enough"), "{said}");
        let said = probe(&shell("kill -9 $$"), Path::new("run"), "trial", || false).unwrap().unwrap();
        assert!(said.starts_with("the probe ended with signal: 9") && !said.contains(": \n"), "{said}");
        assert!(!said.trim_end().ends_with(':'), "{said}");
        assert_eq!(probe(&shell("exit 0"), Path::new("run"), "trial", || false).unwrap(), None);
    }

    #[test]
    fn a_stop_ends_it() {
        let stopped = probe(&shell("sleep 60"), Path::new("run"), "trial", || true);
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
