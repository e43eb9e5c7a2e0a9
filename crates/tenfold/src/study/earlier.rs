//! What a run's folder held before: another study, or results of another model, other data or another version of the
//! program. None of it is written over: the folder `earlier-1` keeps the study with the report that was made from it.

use super::config::Study;
use super::facts::{FACTS, Facts};
use super::naming::name;
use super::recommended;
use super::store::RunFolder;
use crate::atomic;
use crate::error::{Error, Result};
use crate::plain_file;
use crate::progress::{Event, Progress};
use crate::record::Trial;
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

/// How what a folder holds differs from what it is to hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    /// Of the study, a key each: "seeds: [0] before, [1] now".
    study: Vec<String>,
    /// Of the program, the model and the data: "data: data.sha256 was …, is …".
    facts: Vec<String>,
}

impl Differences {
    fn of(study: &Study, facts: &Facts, folder: &RunFolder) -> Result<Differences> {
        let path = folder.file(STUDY);
        let study = match plain_file::read_own_text(&path, plain_file::SETTINGS) {
            Ok(before) => differing(&path, &before, &study.to_toml()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Differences::default()),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let facts = match Facts::read(folder) {
            Ok(Some(before)) => changed(&identity(&before), &identity(facts)),
            Ok(None) if is_reported(folder) => vec!["program: an earlier version of Tenfold wrote it".into()],
            Ok(None) => Vec::new(),
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => vec![format!("{FACTS}: it cannot be read")],
        };
        Ok(Differences { study, facts })
    }

    fn is_none(&self) -> bool {
        self.study.is_empty() && self.facts.is_empty()
    }
}

/// Makes `study` the study of the folder, and `facts` its facts. If others stand there, they are kept with their report,
/// and what differs is told.
pub(super) fn take_over(
    study: &Study,
    facts: &Facts,
    folder: &RunFolder,
    progress: &dyn Progress,
) -> Result<()> {
    let differences = Differences::of(study, facts, folder)?;
    if !differences.is_none() {
        let place = set_aside(folder)?;
        let what = if differences.study.is_empty() { "results of before" } else { "another study" };
        let all = [differences.study, differences.facts].concat();
        progress.event(Event::Note(format!(
            "{} held {what} ({}); its study.toml, and its report if there was one, are kept in {place}",
            folder.path().display(),
            all.join("; ")
        )));
    }
    let (path, text) = (folder.file(STUDY), study.to_toml());
    if plain_file::read_own_text(&path, plain_file::SETTINGS).ok().is_none_or(|before| before != text) {
        atomic::write(&path, text.as_bytes())?;
    }
    facts.write(&folder.file(FACTS))
}

/// Whether the folder holds this study with these facts.
pub(super) fn is_same(study: &Study, facts: &Facts, folder: &RunFolder) -> Result<bool> {
    let is_there = [STUDY, FACTS].iter().all(|file| folder.file(file).exists());
    Ok(is_there && Differences::of(study, facts, folder)?.is_none())
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
    differs
        .map(|key| format!("{key}: {} before, {} now", shown(before.get(key)), shown(now.get(key))))
        .collect()
}

/// What of the facts decides results.
fn identity(facts: &Facts) -> Value {
    json!({
        "program": {"code": facts.code},
        "model": {"model": facts.model},
        "data": {"data": facts.task.data, "rows": facts.task.rows(), "benchmarks": facts.benchmarks, "asked": facts.asked},
    })
}

/// What differs in each part of two such identities: "model: model.sha256 was …, is …".
fn changed(before: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for part in ["program", "model", "data"] {
        let (before, now) = (leaves(&before[part]), leaves(&now[part]));
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let differs = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
        lines.extend(
            differs.map(|key| {
                format!("{part}: {key} was {}, is {}", shown(before.get(key)), shown(now.get(key)))
            }),
        );
    }
    lines
}

fn is_reported(folder: &RunFolder) -> bool {
    DOCUMENTS.iter().any(|document| folder.file(document).exists())
}

/// Moves the report, and copies the study it belongs to, into a folder `earlier-N` of their own; returns its path.
fn set_aside(folder: &RunFolder) -> Result<String> {
    let free = (1..).map(|number: usize| folder.file(&format!("earlier-{number}")));
    let place = free.into_iter().find(|place| !place.exists()).unwrap_or_default();
    fs::create_dir(&place).and_then(|()| atomic::sync_parent(&place)).map_err(Error::io("create", &place))?;
    for file in [STUDY, FACTS] {
        let from = folder.file(file);
        match plain_file::read_own(&from, plain_file::RECORD) {
            Ok(bytes) => atomic::write(&place.join(file), &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &from)(error)),
        }
    }
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

/// What the documents of a run were made from and is not among the trials `found`, of which they would be made now: a line
/// each. A trial that is planned and missing has lost its record.
pub(super) fn lost(folder: &RunFolder, found: &[&Trial], missing: &[&Trial]) -> Vec<String> {
    let text = plain_file::read_own_text(&folder.file(REPORTED), plain_file::RECORD).ok();
    let reported = text.and_then(|text| serde_json::from_str::<Reported>(&text).ok()).unwrap_or_default();
    let names = |trials: &[&Trial]| trials.iter().map(|trial| name(trial)).collect::<BTreeSet<String>>();
    let (found, missing) = (names(found), names(missing));
    let lost = reported.trials.into_iter().filter(|name| !found.contains(name));
    lost.map(|name| match missing.contains(&name) {
        true => format!("the record of {name} is not there any more"),
        false => format!("{STUDY} does not ask for {name}"),
    })
    .collect()
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
fn shown(value: Option<&String>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let bare = value.trim_matches('"');
    let keep = if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) { 12 } else { SHOWN };
    match bare.chars().count() > keep {
        true => bare.chars().take(keep).chain(['…']).collect(),
        false => value.clone(),
    }
}

#[cfg(test)]
mod tests;
