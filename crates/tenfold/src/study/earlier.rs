//! What a run's folder held before: another study, or results of another model, other data or another version of the
//! program. None of it is written over: the folder `earlier-1` keeps the study with the report that was made from it.

use super::config::Study;
use super::kept::Kept;
use super::naming::name;
use super::plan::CODE;
use super::recommended;
use super::store::RunFolder;
use crate::atomic;
use crate::error::{Error, Result};
use crate::plain_file;
use crate::progress::{Event, Progress};
use crate::record::{DataIdentity, ModelIdentity, Role, Trial};
use crate::words::count;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The study of a run, in its folder.
pub(super) const STUDY: &str = "study.toml";
/// What a run came to, in its folder.
pub(super) const DOCUMENTS: [&str; 4] = ["report.html", "summary.md", "recommendation.json", "metrics.json"];
/// Which trials the documents were made from.
const REPORTED: &str = "reported.json";

/// Keys of a study that change neither results nor reports.
const HOW_ALONE: [&str; 2] = ["workers", "snapshot_seconds"];

/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// The trials that the documents of a run were made from, by the names of their folders.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Reported {
    trials: BTreeSet<String>,
}

/// Makes `study` the study of the folder. If another one stands there, it is kept with its report, and what differs is said.
pub(super) fn take_over(study: &Study, folder: &RunFolder, progress: &dyn Progress) -> Result<()> {
    let (path, text) = (folder.file(STUDY), study.to_toml());
    let before = match plain_file::read_own_text(&path, plain_file::SETTINGS) {
        Ok(before) => before,
        Err(error) if error.kind() == ErrorKind::NotFound => return atomic::write(&path, text.as_bytes()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let differing = differing(&path, &before, &text);
    if !differing.is_empty() {
        let place = set_aside(folder)?;
        progress.event(Event::Note(format!(
            "{} held another study ({}); its study.toml, and its report if there was one, are kept in {place}",
            folder.path().display(),
            differing.join("; ")
        )));
    }
    if before == text { Ok(()) } else { atomic::write(&path, text.as_bytes()) }
}

/// Where two studies differ, a key each: "seeds: [0] before, [1] now".
fn differing(path: &Path, before: &str, now: &str) -> Vec<String> {
    // As this version reads it: with the defaults of keys that it did not have then.
    let before = Study::parse(path, before, &[]).map_or_else(|_| before.to_owned(), |study| study.to_toml());
    let Ok(before) = before.parse::<toml::Table>() else {
        return vec!["it cannot be read as TOML".into()];
    };
    let of = |table: toml::Table| leaves(&serde_json::to_value(table).unwrap_or_default());
    let (before, now) = (of(before), of(now.parse().unwrap_or_default()));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let keys = keys.into_iter().filter(|key| !HOW_ALONE.contains(&key.as_str()));
    let differs = keys.filter(|key| before.get(*key) != now.get(*key));
    let shown = |value: Option<&String>| value.map_or_else(|| "nothing".to_owned(), |value| shown(value));
    differs
        .map(|key| format!("{key}: {} before, {} now", shown(before.get(key)), shown(now.get(key))))
        .collect()
}

/// Moves the report, and copies the study it belongs to, into a folder `earlier-N` of their own; returns its path.
pub(super) fn set_aside(folder: &RunFolder) -> Result<String> {
    let free = (1..).map(|number: usize| folder.file(&format!("earlier-{number}")));
    let place = free.into_iter().find(|place| !place.exists()).unwrap_or_default();
    fs::create_dir(&place).and_then(|()| atomic::sync_parent(&place)).map_err(Error::io("create", &place))?;
    let study = folder.file(STUDY);
    let bytes = plain_file::read_own(&study, plain_file::SETTINGS).map_err(Error::io("read", &study))?;
    atomic::write(&place.join(STUDY), &bytes)?;
    for document in DOCUMENTS.into_iter().chain([REPORTED]) {
        let from = folder.file(document);
        match fs::rename(&from, place.join(document)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("move", &from)(error)),
            _ => {}
        }
    }
    // What it recommends goes with it.
    recommended::set_aside(folder, &place)?;
    Ok(place.display().to_string())
}

/// Writes down which trials the documents of a run were made from.
pub(super) fn write_reported<'a>(folder: &RunFolder, trials: impl Iterator<Item = &'a Trial>) -> Result<()> {
    let reported = Reported { trials: trials.map(name).collect() };
    let text = serde_json::to_string_pretty(&reported).unwrap_or_default() + "\n";
    atomic::write(&folder.file(REPORTED), text.as_bytes())
}

/// Says before anything is trained that the documents of a run were made from another model, other data or another version
/// of the program, if they were.
pub(super) fn announce(
    folder: &RunFolder,
    model: &ModelIdentity,
    data: &DataIdentity,
    progress: &dyn Progress,
) -> Result<()> {
    let now = json!({"code": CODE, "model": model, "data": data, "role": Role::Main});
    for name in made_from(folder, false)? {
        let trial = match folder.kept(&name)? {
            Some(Kept::Record(record)) => serde_json::to_value(&record.trial).unwrap_or_default(),
            Some(Kept::OtherCode(mut value)) => value["trial"].take(),
            _ => continue,
        };
        if trial.pointer("/role/kind") != now.pointer("/role/kind") {
            continue;
        }
        let lines = compared(&name, &trial, std::slice::from_ref(&now)).into_iter();
        let lines: Vec<String> = lines
            .filter(|(part, line)| *part < Part::Settings && !line.starts_with("train."))
            .map(|(part, line)| format!("{}: {line}", part.name()))
            .collect();
        if !lines.is_empty() {
            progress.event(Event::Note(format!(
                "{}: the report there was made from other results ({}): the trials are run again, and it is kept",
                folder.path().display(),
                lines.join("; ")
            )));
        }
        return Ok(());
    }
    Ok(())
}

/// Results of a folder that are not those of the study, model, data and program of now.
#[derive(Debug)]
pub(super) struct Outdated {
    /// How many trials.
    pub trials: usize,
    /// What differs, a line each.
    pub differences: Vec<String>,
}

/// What the documents of a run were made from and what is not among the trials `found`, which they would be made from now.
/// `planned` are all trials that the study asks for now.
pub(super) fn outdated(folder: &RunFolder, found: &[&Trial], planned: &[&Trial]) -> Result<Option<Outdated>> {
    let found: BTreeSet<String> = found.iter().map(|trial| name(trial)).collect();
    let lost: Vec<String> =
        made_from(folder, found.is_empty())?.into_iter().filter(|name| !found.contains(name)).collect();
    if lost.is_empty() {
        return Ok(None);
    }
    let planned: Vec<Value> =
        planned.iter().map(|trial| serde_json::to_value(trial).unwrap_or_default()).collect();
    let mut differences: BTreeMap<(Part, String), usize> = BTreeMap::new();
    for name in &lost {
        let lines = match folder.kept(name)? {
            Some(Kept::Record(record)) => {
                compared(name, &serde_json::to_value(&record.trial).unwrap_or_default(), &planned)
            }
            Some(Kept::OtherCode(value)) => compared(name, &value["trial"], &planned),
            Some(Kept::Newer(_) | Kept::Damaged(_)) | None => {
                vec![(Part::Folder, format!("the record of {name} is not there any more"))]
            }
        };
        lines.into_iter().for_each(|line| *differences.entry(line).or_default() += 1);
    }
    let lines = differences.into_iter().map(|((part, line), trials)| match part {
        Part::Settings | Part::Folder => line,
        part => format!("{}: {line} ({})", part.name(), count(trials, "trial")),
    });
    Ok(Some(Outdated { trials: lost.len(), differences: lines.collect() }))
}

/// What of a trial's identity differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Program,
    Model,
    Data,
    Settings,
    Folder,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Program => "program",
            Part::Model => "model",
            Part::Data => "data",
            Part::Settings => "settings",
            Part::Folder => "folder",
        }
    }

    /// The part of a trial that a key of it belongs to.
    fn of(key: &str) -> Part {
        const ROWS: [&str; 5] = [
            "train.train_rows",
            "train.validation_rows",
            "train.test_rows",
            "train.mixture",
            "train.general_text",
        ];
        match key.split('.').next() {
            Some("code") => Part::Program,
            Some("model") => Part::Model,
            Some("data") => Part::Data,
            _ if ROWS.contains(&key) => Part::Data,
            _ => Part::Settings,
        }
    }
}

/// The trials that the documents were made from. Before that was written down, all that another version of the program
/// left; and where nothing is found of a study, all that is there.
fn made_from(folder: &RunFolder, nothing_found: bool) -> Result<BTreeSet<String>> {
    let text = plain_file::read_own_text(&folder.file(REPORTED), plain_file::RECORD).ok();
    if let Some(reported) = text.and_then(|text| serde_json::from_str::<Reported>(&text).ok()) {
        return Ok(reported.trials);
    }
    let is_reported = DOCUMENTS.iter().any(|document| folder.file(document).exists());
    if !is_reported && !nothing_found {
        return Ok(BTreeSet::new());
    }
    let mut trials = BTreeSet::new();
    for name in folder.trials() {
        match folder.kept(&name)? {
            Some(Kept::OtherCode(_)) => drop(trials.insert(name)),
            Some(Kept::Record(_)) if nothing_found => drop(trials.insert(name)),
            _ => {}
        }
    }
    Ok(trials)
}

/// Where a recorded trial differs from the one that is planned in its place.
fn compared(name: &str, recorded: &Value, planned: &[Value]) -> Vec<(Part, String)> {
    let same = |keys: &[&str]| {
        planned.iter().find(|planned| keys.iter().all(|key| recorded.pointer(key) == planned.pointer(key)))
    };
    let exact = same(&["/method", "/role", "/seed"]);
    let Some(place) = exact.or_else(|| same(&["/role/kind", "/role/name"])).or(planned.first()) else {
        return vec![(Part::Settings, format!("settings: the study does not ask for {name}"))];
    };
    let is_like = recorded.pointer("/role/kind") == place.pointer("/role/kind");
    let (before, now) = (leaves(recorded), leaves(place));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut lines = Vec::new();
    for key in keys.into_iter().filter(|key| before.get(*key) != now.get(*key)) {
        let part = Part::of(key);
        let counts = match part {
            Part::Program | Part::Model => true,
            Part::Data => is_like && (exact.is_some() || key.starts_with("data.")),
            Part::Settings => exact.is_some() && !key.starts_with("role."),
            Part::Folder => false,
        };
        let shown = |value: Option<&String>| value.map_or_else(|| "nothing".to_owned(), |value| shown(value));
        if counts {
            let line = format!("{key} was {}, is {}", shown(before.get(key)), shown(now.get(key)));
            let line = if part == Part::Settings { format!("settings of {name}: {line}") } else { line };
            lines.push((part, line));
        }
    }
    if lines.is_empty() {
        lines.push((Part::Settings, format!("settings: the study does not ask for {name}")));
    }
    lines
}

/// All values that are no tables, by their keys: "methods.lora.r".
fn leaves(value: &Value) -> BTreeMap<String, String> {
    fn walk(key: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
        let Value::Object(table) = value else {
            leaves.insert(key.to_owned(), value.to_string());
            return;
        };
        for (name, value) in table {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            walk(&key, value, leaves);
        }
    }
    let mut all = BTreeMap::new();
    walk("", value, &mut all);
    all
}

/// A value for people: of a hash its beginning, of a long text as much as a line holds.
fn shown(value: &str) -> String {
    let bare = value.trim_matches('"');
    let keep = if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) { 12 } else { SHOWN };
    match bare.chars().count() > keep {
        true => bare.chars().take(keep).chain(['…']).collect(),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
