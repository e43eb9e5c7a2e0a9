//! quickstart, run, report, recommend.

use super::{print_json, say};
use crate::arguments::RunOptions;
use crate::dashboard::Dashboard;
use anyhow::Result;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tenfold::bytes::Bytes;
use tenfold::report::{Purpose, Recommendation};
use tenfold::study::{self, Conclusion, Documents, Finished, Options, Study};
use tenfold::words::{be, count, wrapped};

const QUICKSTART: &str = include_str!("../../../../studies/quickstart.toml");

pub fn quickstart(options: &RunOptions, dashboard: &Dashboard) -> Result<()> {
    let study = Study::parse(
        Path::new("studies/quickstart.toml"),
        QUICKSTART,
        &changes(&options.set, options.memory_limit),
    )?;
    run(&study, options, "tenfold quickstart", dashboard)
}

pub fn study(path: &Path, options: &RunOptions, dashboard: &Dashboard) -> Result<()> {
    let study = Study::read(path, &changes(&options.set, options.memory_limit))?;
    run(&study, options, &format!("tenfold run {}", quoted(&path.display().to_string())), dashboard)
}

pub fn report(folder: &Path, json: bool, dashboard: &Dashboard) -> Result<()> {
    let (finished, conclusion) = study::report(folder, None, Documents::Written, dashboard)?;
    tell_missing(&finished, dashboard);
    show(folder, &conclusion, json)
}

/// Answers from what the run measured; with `write` the run's documents are then those of this purpose.
pub fn recommend(
    folder: &Path,
    purpose: Purpose,
    write: bool,
    json: bool,
    dashboard: &Dashboard,
) -> Result<()> {
    let documents = if write { Documents::Written } else { Documents::Left };
    let (_, conclusion) = study::report(folder, Some(purpose), documents, dashboard)?;
    let recommendation = &conclusion.recommendation;
    if json {
        print_json(recommendation)?;
    } else {
        explain(recommendation, &recommendation.cautions)?;
    }
    if write {
        dashboard.say(&format!("written: {}", folder.join("recommendation.json").display()));
    }
    check_recommended(recommendation)
}

/// Whoever starts a script by the recommendation must not start it by none.
fn check_recommended(recommendation: &Recommendation) -> Result<()> {
    match recommendation.method {
        Some(_) => Ok(()),
        None => anyhow::bail!(
            "no method can be recommended for the purpose \"{}\"",
            recommendation.purpose.name()
        ),
    }
}

fn run(study: &Study, options: &RunOptions, command: &str, dashboard: &Dashboard) -> Result<()> {
    let folder = options.out.clone().unwrap_or_else(|| Path::new("runs").join(&study.name));
    dashboard.goes_on_with(format!("{command}{}", typed(options)));
    let places = Options { out: folder.clone(), only: options.only.clone(), probe_command: probe_command() };
    let (finished, conclusion) = study::run(study, &places, dashboard)?;
    match (finished.ran, finished.missing.is_empty()) {
        (0, true) => dashboard.say("every trial of this study was finished already"),
        (0, false) => dashboard.say("every trial of these methods was finished already"),
        _ => {}
    }
    tell_missing(&finished, dashboard);
    show(&folder, &conclusion, options.json)?;
    check_recommended(&conclusion.recommendation)
}

/// The command that starts a probe's process: run folder and trial follow.
pub(super) fn probe_command() -> Vec<OsString> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tenfold"));
    vec![program.into(), "probe".into(), "--parts".into()]
}

/// Says which trials of the study the report is without.
fn tell_missing(finished: &Finished, dashboard: &Dashboard) {
    if finished.missing.is_empty() {
        return;
    }
    let methods: BTreeSet<&str> = finished.missing.iter().map(|trial| trial.method.as_str()).collect();
    let methods: Vec<&str> = methods.into_iter().collect();
    let (trials, are) = (count(finished.missing.len(), "trial"), be(finished.missing.len()));
    dashboard.say(&format!(
        "{trials} of this study {are} not there ({}): the report is of the others; `tenfold run` without --only \
         runs what is missing",
        methods.join(", ")
    ));
}

/// All changes to the study that were typed.
pub(super) fn changes(set: &[String], memory_limit: Option<Bytes>) -> Vec<String> {
    let limit = memory_limit.map(|limit| format!("train.memory_limit={limit}"));
    set.iter().cloned().chain(limit).collect()
}

/// The options as they were typed, to type them again.
fn typed(options: &RunOptions) -> String {
    let out = options.out.iter().map(|out| format!(" --out {}", quoted(&out.display().to_string())));
    let set = options.set.iter().map(|set| format!(" --set {}", quoted(set)));
    let json = options.json.then(|| " --json".to_owned());
    let limit = options.memory_limit.map(|limit| format!(" --memory-limit {limit}"));
    let only = options.only.iter().map(|name| format!(" --only {}", quoted(name)));
    out.chain(set).chain(only).chain(limit).chain(json).collect()
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=,:@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn show(folder: &Path, conclusion: &Conclusion, json: bool) -> Result<()> {
    if json {
        return print_json(&conclusion.recommendation);
    }
    let columns = columns().unwrap_or(usize::MAX);
    let [.., narrowest] = &conclusion.tables;
    let (_, table) = conclusion.tables.iter().find(|(width, _)| *width <= columns).unwrap_or(narrowest);
    say!("{table}")?;
    explain(&conclusion.recommendation, &[])?;
    say!("\nReport: {}", folder.join("report.html").display())?;
    if let Some(exported) = &conclusion.recommendation.exported {
        let folder = folder.join(exported);
        say!("Recommended, ready for Python: {} (try load.py \"some text\" there)", folder.display())?;
    }
    for account in &conclusion.recommendation.methods {
        if let Some(adapter) = &account.adapter {
            let is_it = conclusion.recommendation.method.as_ref() == Some(&account.method);
            let mark = if is_it { ", recommended" } else { "" };
            say!("Adapter of {}{mark}: {}", account.method, folder.join(adapter).display())?;
        }
    }
    Ok(())
}

/// The advice and why; `cautions` where no table before it has told them.
fn explain(recommendation: &Recommendation, cautions: &[String]) -> Result<()> {
    let width = columns().map_or(80, |columns| columns.clamp(40, 80));
    say!("{}", wrapped(&recommendation.sentence, width).join("\n"))?;
    let points = recommendation.reasons.iter().map(|reason| ('·', reason));
    let caveats = recommendation.caveats.iter();
    let cautions = cautions.iter().filter(|caution| !recommendation.caveats.contains(caution));
    for (sign, words) in points.chain(caveats.chain(cautions).map(|caveat| ('!', caveat))) {
        say!("  {sign} {}", wrapped(words, width - 4).join("\n    "))?;
    }
    Ok(())
}

/// Columns of a line: as many as `COLUMNS` says, or the terminal on stdout has; none if neither does.
fn columns() -> Option<usize> {
    let stated = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    let terminal = console::Term::stdout();
    stated.or_else(|| terminal.is_term().then(|| usize::from(terminal.size().1)))
}
