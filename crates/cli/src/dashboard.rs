//! Progress on stderr: bars in a terminal, plain lines elsewhere; and Ctrl-C.

use crate::arguments::LogFormat;
use crate::output::tell;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenfold::bytes::Bytes;
use tenfold::progress::{Event, Job, Progress};
use tenfold::unfinished;
use tenfold::words::{count, one_line, printable};

/// Draws the library's events.
pub struct Dashboard {
    bars: MultiProgress,
    /// Whether every line is a JSON object, for programs.
    is_json: bool,
    /// Whether bars are drawn.
    is_terminal: bool,
    jobs: Mutex<HashMap<Job, Shown>>,
    stop: AtomicBool,
    /// Whether Ctrl-C stops what is being done and not the process.
    converses: AtomicBool,
    again: Mutex<Option<String>>,
    /// What stands on disk of the job that keeps its work bit by bit.
    kept: Mutex<Option<(Job, String)>>,
}

struct Shown {
    title: String,
    unit: &'static str,
    total: Option<u64>,
    bar: ProgressBar,
    said: Instant,
}

/// The exit code of a process that was asked to stop, as shells have it for Ctrl-C.
pub const STOPPED: u8 = 130;

/// Work that has not ended by itself so long after Ctrl-C is left as it stands: to be killed harms nothing.
const PATIENCE: Duration = Duration::from_millis(600);

/// Plain lines about one job come no more often than this.
const QUIET: Duration = Duration::from_secs(10);

/// Ends the process without waiting for its threads, and leaves nothing behind that they are writing.
pub fn end_at_once() -> ! {
    unfinished::remove_all();
    std::process::exit(STOPPED.into())
}

impl Dashboard {
    pub fn new(format: LogFormat) -> Dashboard {
        let is_json = format == LogFormat::Json;
        Dashboard {
            bars: MultiProgress::new(),
            is_json,
            is_terminal: stderr().is_terminal() && !is_json,
            jobs: Mutex::default(),
            stop: AtomicBool::new(false),
            converses: AtomicBool::new(false),
            again: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The first Ctrl-C asks all work to stop, and ends the process if it takes too long, as one batch of a large
    /// model does; a second one ends the process at once.
    pub fn stop_on_ctrl_c(self: &Arc<Self>) {
        let dashboard = self.clone();
        let installed = ctrlc::set_handler(move || {
            if dashboard.stop.swap(true, Ordering::SeqCst) {
                end_at_once();
            }
            if dashboard.converses.load(Ordering::SeqCst) {
                return;
            }
            let dashboard = dashboard.clone();
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                dashboard.clear();
                dashboard.say(&dashboard.farewell());
                end_at_once();
            });
        });
        if let Err(error) = installed {
            self.say(&format!("Ctrl-C will end the process without a word: {error}"));
        }
    }

    /// From now on Ctrl-C stops the answer that is being given; a second one, with none under way, ends the process.
    pub fn next_answer(&self) {
        self.converses.store(true, Ordering::SeqCst);
        self.stop.store(false, Ordering::SeqCst);
    }

    /// Remembers the command that goes on if this one is stopped.
    pub fn goes_on_with(&self, command: String) {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
    }

    /// The last words of a process that was asked to stop.
    pub fn farewell(&self) -> String {
        let kept = self.kept();
        let kept = kept.as_ref().map(|(_, kept)| format!(" with {kept}")).unwrap_or_default();
        match &*self.again.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(command) => format!("tenfold: stopped{kept}; go on with: {command}"),
            None => format!("tenfold: stopped{kept}"),
        }
    }

    /// Takes all bars away.
    pub fn clear(&self) {
        for (_, shown) in self.jobs().drain() {
            shown.bar.finish_and_clear();
        }
    }

    /// A line above the bars.
    pub fn say(&self, line: &str) {
        if self.is_json {
            tell(&json!({"event": "note", "message": line}).to_string());
        } else if self.is_terminal {
            let _ = self.bars.println(printable(line));
        } else {
            tell(line);
        }
    }

    /// The last line of a command that failed.
    pub fn fail(&self, why: &str) {
        match self.is_json {
            true => tell(&json!({"event": "error", "message": why}).to_string()),
            false => tell(&format!("error: {why}")),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<Job, Shown>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, job: Job, title: &str, unit: &'static str, total: Option<u64>) {
        let title = one_line(title).into_owned();
        let bar = if self.is_terminal { self.bars.add(bar(unit, total)) } else { ProgressBar::hidden() };
        bar.set_prefix(shorten(&title, 34));
        if total.is_none() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        if self.is_json {
            let event =
                json!({"event": "started", "job": job.0, "title": title, "unit": unit, "total": total});
            tell(&event.to_string());
        } else if !self.is_terminal && unit != "steps" {
            let total = total.map(|total| format!(", {}", amount(total, unit)));
            tell(&format!("{title}{}", total.unwrap_or_default()));
        }
        self.jobs().insert(job, Shown { title, unit, total, bar, said: Instant::now() });
    }

    fn advance(&self, job: Job, done: u64, note: &str) {
        let note = one_line(note).into_owned();
        let mut jobs = self.jobs();
        let Some(shown) = jobs.get_mut(&job) else { return };
        shown.bar.set_position(done);
        shown.bar.set_message(note.clone());
        if !self.is_terminal && shown.said.elapsed() >= QUIET {
            shown.said = Instant::now();
            if self.is_json {
                let event = json!({"event": "advanced", "job": job.0, "done": done, "note": note});
                return tell(&event.to_string());
            }
            let total = shown.total.map(|total| format!(" of {}", amount(total, shown.unit)));
            let done = if shown.total.is_some() { done.to_string() } else { amount(done, shown.unit) };
            let note = if note.is_empty() { note } else { format!(", {note}") };
            tell(&format!("{}: {done}{}{note}", shown.title, total.unwrap_or_default()));
        }
    }

    fn keep(&self, job: Job, done: u64, at_a_time: u64) {
        let jobs = self.jobs();
        let Some(shown) = jobs.get(&job) else { return };
        let all = shown.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let words = format!("{done}{all} {} of {} kept, {at_a_time} at a time", shown.unit, shown.title);
        *self.kept() = Some((job, words));
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Job, String)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, job: Job, note: &str) {
        // What was stopped ends, too, and is what the last words are about.
        if !self.stop_requested() {
            self.kept().take_if(|(kept, _)| *kept == job);
        }
        let Some(shown) = self.jobs().remove(&job) else { return };
        shown.bar.finish_and_clear();
        if self.is_json {
            tell(&json!({"event": "finished", "job": job.0, "note": note}).to_string());
        } else if !note.is_empty() {
            self.say(&format!("{}: {note}", shown.title));
        }
    }
}

impl Progress for Dashboard {
    fn event(&self, event: Event) {
        match event {
            Event::Started { job, title, unit, total } => self.start(job, &title, unit, total),
            Event::Advanced { job, done, note } => self.advance(job, done, &note),
            Event::Finished { job, note } => self.finish(job, &note),
            Event::Kept { job, done, at_a_time } => self.keep(job, done, at_a_time),
            Event::Note(line) => self.say(&line),
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn bar(unit: &str, total: Option<u64>) -> ProgressBar {
    let template = match (unit, total) {
        ("bytes", _) => "{prefix:34} {bar:20} {bytes:>10} of {total_bytes:<10} {eta}",
        (_, Some(_)) => "{prefix:34} {bar:20} {pos:>5} of {len:<5} {msg} {eta}",
        (_, None) => "{prefix:34} {spinner} {elapsed}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style.progress_chars("━╸─"))
}

fn amount(number: u64, unit: &str) -> String {
    match unit {
        "bytes" => Bytes(number).words(),
        _ => count(number as usize, unit.trim_end_matches('s')),
    }
}

fn shorten(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
