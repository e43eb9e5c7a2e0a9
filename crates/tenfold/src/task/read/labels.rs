//! Labels: which there are, and which one a row has.
//!
//! A row has a label by its name. A number is taken for the place of a label among all only where the task states them in
//! an order: an order that is guessed would give rows the labels of others.

use super::Found;
use crate::data::rows::{FileRows, Row};
use crate::data::{Example, vader};
use crate::task::Task;
use crate::task::parse::F1_OF_TWO;
use crate::words::list;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokenizers::NormalizedString;

/// Labels that an error names; the others are counted.
const SHOWN: usize = 20;

/// The labels: those listed, or those of the built-in rows, or those that occur; of numbers all, of names those that can be
/// learnt.
pub(super) fn of(task: &Task, found: &[Found]) -> Result<Vec<String>> {
    if found.iter().any(|found| matches!(found, Found::Builtin(_))) {
        return Ok(vader::LABELS.map(str::to_owned).to_vec());
    }
    check_classes(task, found.iter().flat_map(Found::files))?;
    let labels = match &task.labels {
        Some(labels) => labels.clone(),
        None => {
            let files = found.iter().flat_map(Found::files);
            let learnt: Vec<&FileRows> =
                files.take(if task.is_regression() { usize::MAX } else { 1 }).collect();
            let labels = collected(learnt.iter().flat_map(|file| &file.rows));
            if let ([only], Some(file), false) = (labels.as_slice(), learnt.first(), task.is_regression()) {
                let found = format!("all {} rows labelled \"{only}\"", file.rows.len());
                return Err(Error::malformed(
                    &file.file,
                    "labels",
                    "rows of two labels or more to train on",
                    found,
                ));
            }
            labels
        }
    };
    if F1_OF_TWO.contains(&task.metric.as_str()) && labels.len() != 2 {
        let expected = format!("two for metric = \"{}\"", task.metric);
        return Err(task.fault("labels", &expected, &labels.join(", ")));
    }
    Ok(labels)
}

/// Refuses files that say that their numbers stand for other labels than those of the files before, or for those of the
/// task in another order. What only has other names is let pass where the task states its own.
fn check_classes<'a>(task: &Task, files: impl Iterator<Item = &'a FileRows>) -> Result<()> {
    let mut first: Option<&FileRows> = None;
    for file in files {
        let Some(classes) = &file.classes else { continue };
        let differs = |stated: &[String]| {
            let same = |names: &[String]| names.iter().map(|name| folded(name)).collect::<Vec<_>>();
            let (own, stated) = (same(classes), same(stated));
            let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<String>>();
            // Without an order of the task's the numbers alone join files.
            own != stated && (task.labels.is_none() || set(&own) == set(&stated))
        };
        let other = match (&task.labels, first.and_then(|first| Some((first, first.classes.as_ref()?)))) {
            (Some(labels), _) if differs(labels) => Some(("the task".to_owned(), labels)),
            (None, Some((first, stated))) if differs(stated) => {
                Some((first.file.display().to_string(), stated))
            }
            _ => None,
        };
        if let Some((whose, names)) = other {
            let expected = format!("numbers that stand for {}, as those of {whose}", names.join(", "));
            return Err(Error::malformed(&file.file, "the column of labels", expected, classes.join(", ")));
        }
        first = first.or(Some(file));
    }
    Ok(())
}

impl Found {
    fn files(&self) -> impl Iterator<Item = &FileRows> {
        let files = match self {
            Found::Files(files) => files.as_slice(),
            Found::Builtin(_) => &[],
        };
        files.iter().flatten()
    }
}

/// The labels that occur: by number if all are numbers, by name otherwise.
fn collected<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let distinct: BTreeSet<&str> = rows.map(|row| row.label.as_str()).collect();
    let mut labels: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
    if labels.iter().all(|label| value(label).is_some()) {
        labels.sort_by(|a, b| value(a).partial_cmp(&value(b)).unwrap_or(std::cmp::Ordering::Equal));
    }
    labels
}

fn value(label: &str) -> Option<f64> {
    label.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A note for labels that are told apart by no more than case, Unicode form, blanks or the way a number is written, and for
/// numbers among names.
pub(super) fn alike(labels: &[String], found: &[Found]) -> Vec<String> {
    let mut rows: HashMap<&str, usize> = HashMap::new();
    for row in found.iter().flat_map(Found::files).flat_map(|file| &file.rows) {
        *rows.entry(row.label.as_str()).or_default() += 1;
    }
    let with_rows = |label: &&str| {
        let count = rows.get(*label).copied().unwrap_or_default();
        format!("\"{}\" ({})", label.escape_debug(), crate::words::count(count, "row"))
    };
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for label in labels {
        groups.entry(folded(label)).or_default().push(label);
    }
    let mut notes: Vec<String> = (groups.values().filter(|group| group.len() > 1))
        .map(|group| {
            let names: Vec<String> = group.iter().map(with_rows).collect();
            format!(
                "the labels {} differ in {} alone and are {} labels: give them one name if they mean the same",
                list(&names),
                difference(group),
                group.len()
            )
        })
        .collect();
    let numbers: Vec<&str> =
        labels.iter().map(String::as_str).filter(|label| value(label).is_some()).collect();
    if !numbers.is_empty() && numbers.len() < labels.len() {
        let names: Vec<String> = numbers.iter().take(SHOWN).map(with_rows).collect();
        notes.push(format!(
            "some labels are numbers and others names: {} are labels of their own",
            list(&names)
        ));
    }
    notes
}

/// What labels that a person takes for the same have in common.
fn folded(label: &str) -> String {
    if let Some(number) = value(label) {
        return (number + 0.0).to_string();
    }
    let visible: String = composed(label).chars().filter(|c| !INVISIBLE.contains(c)).collect();
    composed(&visible.to_lowercase()).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters without a width: soft hyphen, zero-width space, joiners, directional marks, word joiner, byte order mark.
const INVISIBLE: [char; 8] =
    ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];

/// A text in Unicode's form NFC.
fn composed(text: &str) -> String {
    let mut text = NormalizedString::from(text);
    text.nfc();
    text.get().to_owned()
}

/// In what labels of one group differ.
fn difference(group: &[&str]) -> &'static str {
    let same = |of: fn(&str) -> String| group.iter().all(|label| of(label) == of(group[0]));
    if group.iter().all(|label| value(label).is_some()) {
        "the way a number is written"
    } else if same(composed) {
        "Unicode form (NFC, NFD)"
    } else if same(|label| label.split_whitespace().collect::<Vec<_>>().join(" ")) {
        "blanks"
    } else if same(str::to_lowercase) {
        "case"
    } else if same(|label| label.replace(INVISIBLE, "")) {
        "characters that are not to be seen"
    } else {
        "case, blanks, Unicode form or characters that are not to be seen"
    }
}

/// A file's rows with their labels' numbers; those that do not fit are refused, or left out and noted.
pub(super) fn examples(
    task: &Task,
    labels: &[String],
    file: FileRows,
    notes: &mut Vec<String>,
) -> Result<Vec<Example>> {
    let FileRows { file, rows, mut faulty, .. } = file;
    let numbers: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
    let by_number = by_number(task, labels);
    let numbered = |row: Row| match numbers.get(row.label.as_str()).copied().or_else(|| by_number(&row.label))
    {
        Some(label) => Ok(Example { text: row.text, pair: row.text_pair, label, weight: row.weight }),
        None => {
            let (expected, found) = (expected(task, labels, &row.label), unknown(labels, &row.label));
            Err(Error::malformed(&file, format!("{}, label", row.place), expected, found))
        }
    };
    let mut examples = Vec::with_capacity(rows.len());
    for row in rows {
        let place = row.place;
        examples.extend(faulty.keep(place, numbered(row))?);
    }
    notes.extend(faulty.settle(&file, examples.len(), task.malformed)?);
    match examples.is_empty() {
        true => Err(Error::malformed(&file, "after the header", "one row or more", "none")),
        false => Ok(examples),
    }
}

/// The label at the place that a number names; only where the task states an order, and no name is a number.
fn by_number(task: &Task, labels: &[String]) -> impl Fn(&str) -> Option<u32> {
    let count = labels.len();
    let stated = task.labels.is_some() && !labels.iter().any(|name| name.parse::<i64>().is_ok());
    move |label| label.parse().ok().filter(|index| stated && (*index as usize) < count)
}

/// What stands where a label of these is expected.
fn expected(task: &Task, labels: &[String], found: &str) -> String {
    let shown = labels.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if labels.len() > SHOWN { " …" } else { "" };
    let count = labels.len();
    match (&task.labels, value(found)) {
        (Some(_), _) => format!("one of the {count} labels {shown}{more}, or its number from 0"),
        (None, None) => format!("one of the {count} labels of the training rows: {shown}{more}"),
        (None, Some(_)) => format!(
            "one of the {count} labels of the training rows by its name: {shown}{more}; to give labels by number, state \
             them in the task in their order (labels = [\"{}\", …])",
            labels.first().map_or("", String::as_str)
        ),
    }
}

/// A label that is none of these, and the one that it is nearly.
fn unknown(labels: &[String], found: &str) -> String {
    let near = labels.iter().find(|label| folded(label) == folded(found));
    match near {
        Some(label) => {
            let what = difference(&[label, found]);
            format!(
                "\"{}\", which differs from \"{}\" in {what} alone",
                found.escape_debug(),
                label.escape_debug()
            )
        }
        None => format!("\"{found}\""),
    }
}
