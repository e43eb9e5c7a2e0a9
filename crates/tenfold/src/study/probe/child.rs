//! A probe's process from outside: what it is asked, what it answers, its end and its last words.

use super::part::{Answer, Part, Ready};
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often to look whether the process is to be stopped.
const LOOK: Duration = Duration::from_millis(50);

/// A process that measures one method; it ends when this does.
#[derive(Debug)]
pub(super) struct Prober {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
    /// The last line that it said to people.
    words: Option<JoinHandle<String>>,
}

/// What came of a request: the answer, or why there is none.
pub(super) type Answered = std::result::Result<Answer, String>;

impl Prober {
    /// Starts `command` on a trial of a run.
    pub(super) fn start(command: &[OsString], run: &Path, trial: &str) -> Result<Prober> {
        let missing = || Error::malformed("probe", "the command", "a program", "none");
        let (program, arguments) = command.split_first().ok_or_else(missing)?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(run)
            .arg(trial)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("start", program))?;
        let (requests, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (tell, answers) = channel();
        // Both are read while it runs: a full pipe would hold it up.
        let spawn = |name: &str| std::thread::Builder::new().name(name.into());
        let mut prober = Prober { child, requests, answers, words: None };
        let listening = spawn("answers").spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            lines
                .map_while(std::io::Result::ok)
                .take_while(|line| tell.send(line.clone()).is_ok())
                .for_each(drop);
        });
        listening.map_err(Error::io("start", "a thread"))?;
        let words = spawn("words").spawn(move || stderr.map(last_line).unwrap_or_default());
        prober.words = Some(words.map_err(Error::io("start", "a thread"))?);
        Ok(prober)
    }

    /// Waits until it is ready.
    pub(super) fn ready(&mut self, stop: &dyn Fn() -> bool) -> Result<std::result::Result<Ready, String>> {
        Ok(match self.answer(stop)? {
            Ok(Answer::Ready(ready)) => Ok(ready),
            Ok(_) => Err("the probe did not say that it is ready".to_owned()),
            Err(reason) => Err(reason),
        })
    }

    /// Measures a part.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the user stops it.
    pub(super) fn measure(&mut self, part: &Part, stop: &dyn Fn() -> bool) -> Result<Answered> {
        let line = serde_json::to_string(part).unwrap_or_default();
        // One that died has no answer, and says why there.
        let _ = self.requests.as_mut().map(|requests| writeln!(requests, "{line}"));
        self.answer(stop)
    }

    fn answer(&mut self, stop: &dyn Fn() -> bool) -> Result<Answered> {
        loop {
            if stop() {
                return Err(Error::Interrupted);
            }
            match self.answers.recv_timeout(LOOK) {
                Ok(line) => {
                    let answer = serde_json::from_str(&line);
                    let unread = |error| format!("the probe answered what cannot be read: {error}");
                    return Ok(match answer.map_err(unread) {
                        Ok(Answer::Failed(reason)) | Err(reason) => Err(reason),
                        Ok(answer) => Ok(answer),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(self.last_words())),
            }
        }
    }

    /// Why it ended.
    fn last_words(&mut self) -> String {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let words = if words.is_empty() { words } else { format!(": {words}") };
        format!("the probe ended with {status}{words}")
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.requests.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

    fn prober(script: &str) -> Prober {
        let command = ["sh", "-c", script].map(OsString::from);
        Prober::start(&command, Path::new("run"), "trial").expect("a shell")
    }

    const READY: &str = r#"echo '{"ready":{"threads":2,"loading_peak_bytes":7,"answers_requests":true,"is_merged":false,"longest":64}}';"#;

    #[test]
    fn a_part_is_asked_for_and_answered_and_a_failure_has_its_reason() {
        let mut prober = prober(&format!("{READY} read part; echo \"{{\\\"failed\\\":$part}}\""));
        assert_eq!(prober.ready(&|| false).unwrap().unwrap().threads, 2);
        assert_eq!(prober.measure(&Part::Training, &|| false).unwrap().unwrap_err(), "training");
    }

    #[test]
    fn a_death_comes_with_its_last_words_however_many_there_were() {
        let talk =
            "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; echo enough >&2; exit 3";
        let said = prober(talk).ready(&|| false).unwrap().unwrap_err();
        assert!(said.contains("exit status: 3") && said.ends_with("enough"), "{said}");
        let said = prober("kill -9 $$").ready(&|| false).unwrap().unwrap_err();
        assert!(said.starts_with("the probe ended with signal: 9") && !said.ends_with(':'), "{said}");
        let mut gone = prober(&format!("{READY} exit 0"));
        gone.ready(&|| false).unwrap().unwrap();
        let said = gone.measure(&Part::Inference, &|| false).unwrap().unwrap_err();
        assert_eq!(said, "the probe ended with exit status: 0");
    }

    #[test]
    fn a_stop_ends_it() {
        let mut prober = prober("sleep 60");
        assert!(matches!(prober.ready(&|| true), Err(Error::Interrupted)));
    }
}
