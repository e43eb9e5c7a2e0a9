//! From records to what people read, report.html and summary.md, and what programs do: recommendation.json, metrics.json.

use super::config::{STORED, Strategy, Study};
use super::earlier;
use super::elapsed;
use super::executor::Finished;
use super::facts::Facts;
use super::naming::name;
use super::plan::Plan;
use super::run::Documents;
use super::search::entrants;
use super::store::RunFolder;
use crate::adapter;
use crate::atomic;
use crate::bytes::Bytes;
use crate::error::Result;
use crate::metric::{Evidence, Findings, MethodFacts, StudyFacts, applications};
use crate::progress::{Progress, told_if_slow};
use crate::record::{Machine, Outcome, Record, Role, Score, Trial};
use crate::report::{self, Purpose, Recommendation};
use crate::score::{Scoring, scoring};
use crate::words::{count, thousands};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a run came to, in words.
#[derive(Debug, Clone)]
pub struct Conclusion {
    /// The table for so many columns of a terminal, the widest first.
    pub tables: [(usize, String); 4],
    /// Which method, and why.
    pub recommendation: Recommendation,
}

/// What is done at the end.
pub(super) struct Ends<'a> {
    /// The folder below the run's that holds a recommended adapter as Python loads it, if there is one in the end.
    pub export: &'a dyn Fn(Option<&str>) -> Option<String>,
    pub documents: Documents,
    pub progress: &'a dyn Progress,
}

/// Computes all metrics of what is there and, if asked to, writes the run's four documents.
pub(super) fn conclude(
    plan: Plan,
    folder: &RunFolder,
    finished: &Finished,
    ends: &Ends,
) -> Result<Conclusion> {
    let evidence = Evidence::new(facts(plan, folder, finished)?, &finished.records);
    let findings = told_if_slow(ends.progress, "working out the report", || Findings::of(&evidence));
    let mut recommendation = report::recommend(&findings, Purpose::named(&plan.study.purpose)?);
    recommendation.exported = (ends.export)(recommendation.adapter.as_deref());
    let tables = [100, 80, 60, 40].map(|width| (width, report::summary_table(&findings, width)));
    if ends.documents == Documents::Written {
        let json = serde_json::to_string_pretty(&recommendation).unwrap_or_default() + "\n";
        atomic::write(&folder.file("recommendation.json"), json.as_bytes())?;
        atomic::write(&folder.file("metrics.json"), report::metrics_json(&findings).as_bytes())?;
        let markdown = report::summary_markdown(&findings, &recommendation);
        atomic::write(&folder.file("summary.md"), markdown.as_bytes())?;
        atomic::write(&folder.file("report.html"), report::html(&findings, &recommendation).as_bytes())?;
        earlier::write_reported(folder, finished.records.iter().map(|record| &record.trial))?;
    }
    Ok(Conclusion { tables, recommendation })
}

fn facts(plan: Plan, folder: &RunFolder, finished: &Finished) -> Result<StudyFacts> {
    let Plan { study, facts } = plan;
    let scoring = scoring(&facts.task.metric)?;
    let mut methods = Vec::new();
    for (name, given) in study.ordered_methods() {
        let method = adapter::method(&given.kind)?;
        let title =
            if *name == given.kind { method.title.into() } else { format!("{} ({name})", method.title) };
        methods.push(MethodFacts {
            name: name.clone(),
            title,
            kind: given.kind.clone(),
            mergeable: method.mergeable,
            chosen: finished.chosen.get(name).cloned(),
            adapter: adapter(scoring, folder, &finished.records, name),
        });
    }
    Ok(StudyFacts {
        name: study.name.clone(),
        purpose: study.purpose.clone(),
        methods,
        seeds: study.seeds.clone(),
        small_data: study.small_data.examples.clone(),
        small_data_draws: study.small_data.draws,
        margin: study.margin,
        wanted_half_width: study.wanted_half_width,
        batch_size: study.train.batch_size,
        applications: applications().into_iter().chain(study.applications.clone()).collect(),
        energy: study.energy.clone(),
        learning_rates: learning_rates(study),
        labels: facts.task.labels.clone(),
        data: data(facts),
        doubts: facts.doubts.clone(),
        model: model(facts),
        machine: machines(&finished.records),
        mixture: mixture(plan),
        forgetting: facts.forgetting.clone(),
        absent_benchmarks: facts.absent_benchmarks.clone(),
        missing: missing(&finished.missing),
        generated_at: today(),
        elapsed_seconds: elapsed::seconds(folder),
    })
}

/// The machines that ran the trials, the one of the most first.
fn machines(records: &[Record]) -> String {
    let mut counts: Vec<(&Machine, usize)> = Vec::new();
    for record in records {
        let machine = &record.measured.machine;
        match counts.iter_mut().find(|(known, _)| *known == machine) {
            Some((_, trials)) => *trials += 1,
            None => counts.push((machine, 1)),
        }
    }
    counts.sort_by_key(|(_, trials)| std::cmp::Reverse(*trials));
    let words = |machine: &Machine| {
        format!(
            "{}, {}, {}, {}, {}",
            machine.processor,
            count(machine.cores, "core"),
            Bytes(machine.memory_bytes).words(),
            machine.simd,
            machine.system
        )
    };
    match counts.as_slice() {
        [] => "none yet".to_owned(),
        [(machine, _)] => words(machine),
        several => {
            let each = several
                .iter()
                .map(|(machine, trials)| format!("{} ({})", words(machine), count(*trials, "trial")));
            format!("{} machines: {}", several.len(), each.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Where the adapter is of the method's seed that did best on the validation rows: the test rows choose nothing.
fn adapter(scoring: &Scoring, folder: &RunFolder, records: &[Record], method: &str) -> Option<String> {
    let mut best: Option<(&Trial, Option<Score>)> = None;
    for Record { trial, outcome, .. } in records {
        let Outcome::Trained(run) = outcome else { continue };
        if trial.role != Role::Main || trial.method != method {
            continue;
        }
        let looks = run.validation.iter();
        let kept = looks.filter(|look| look.step == run.best_step).map(|look| look.score).next_back();
        let better = match (kept, best) {
            (Some(kept), Some((_, Some(known)))) => scoring.is_ahead(&kept, &known),
            (_, known) => known.is_none(),
        };
        if better {
            best = Some((trial, kept));
        }
    }
    folder.adapter(&name(best?.0))
}

fn missing(trials: &[Trial]) -> BTreeMap<String, usize> {
    let mut missing = BTreeMap::new();
    trials.iter().for_each(|trial| *missing.entry(trial.method.clone()).or_default() += 1);
    missing
}

fn learning_rates(study: &Study) -> String {
    if !study.learning_rate_note.is_empty() {
        return study.learning_rate_note.clone();
    }
    let stated = study.methods.values().filter(|method| !method.is_searched()).count();
    if stated == study.methods.len() {
        return "The study states the learning rate of every method; none was searched for here.".into();
    }
    let search = &study.search;
    let how = match search.strategy {
        Strategy::Grid => "a grid".to_owned(),
        Strategy::Random => "drawn at random".to_owned(),
        Strategy::SuccessiveHalving => {
            let rungs: Vec<String> = entrants(search).iter().map(usize::to_string).collect();
            format!(
                "drawn at random and halved successively (eta {}: {} candidates)",
                search.eta,
                rungs.join(", then ")
            )
        }
    };
    let mut words = format!(
        "Searched on the validation rows alone, one seed: {} for each method, {how}.",
        count(search.candidates, "candidate")
    );
    if search.budget > 0 {
        words += &format!(" Each method had {} for it.", count(search.budget, "optimizer step"));
    }
    if stated > 0 {
        words += &format!(" The study states those of {}.", count(stated, "method"));
    }
    words
}

fn mixture(plan: Plan) -> String {
    let study = plan.study;
    if study.mixture.is_empty() {
        return String::new();
    }
    let shares: Vec<String> =
        study.mixture.iter().map(|(domain, weight)| format!("{:.0} % {domain}", weight * 100.0)).collect();
    format!("{} rows, {}", plan.facts.task.mixture, shares.join(", "))
}

fn data(facts: &Facts) -> String {
    let task = &facts.task;
    let tests: Vec<String> = task.tests.iter().map(|(name, rows)| format!("{rows} {name}")).collect();
    // A language model has none.
    let labels = match task.labels.join(", ") {
        none if none.is_empty() => none,
        labels => format!(" Labels: {labels}."),
    };
    let source = match task.source.as_str() {
        "" => String::new(),
        source => format!(" ({source})"),
    };
    let mut words = format!(
        "Task {}{source}: {} training rows, {} validation rows, test rows: {}.{} SHA-256 of all rows {}.",
        task.data.task,
        task.train,
        task.validation,
        tests.join(", "),
        labels,
        task.data.sha256
    );
    for note in &facts.notes {
        words += &format!(" {note}.");
    }
    words
}

fn model(facts: &Facts) -> String {
    let identity = &facts.model;
    format!(
        "{} ({}): {} parameters without a head, frozen matrices {}, SHA-256 {}.",
        identity.name,
        facts.family,
        thousands(identity.parameters),
        if identity.weights == STORED {
            "as the file has them".into()
        } else {
            format!("in {}", identity.weights)
        },
        identity.sha256
    )
}

/// Today's date in UTC as YYYY-MM-DD (Howard Hinnant's civil_from_days).
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = (seconds / 86_400) as i64 + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
