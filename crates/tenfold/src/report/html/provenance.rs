//! What failed, and how everything was measured.

use super::super::recommendation::Recommendation;
use super::super::title;
use crate::metric::{Findings, Unit, conditions, role_name};
use crate::words::{count, list};
use maud::{Markup, html};

/// Trials that are named one by one for a reason; further ones are counted.
const NAMED: usize = 8;

/// Every reason for which trials failed, with the trials.
pub(super) fn failures(findings: &Findings) -> Markup {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    let failures = findings.evidence.failures();
    for f in &failures {
        let trial = format!("{} ({}, seed {})", title(findings, f.method), role_name(f.role), f.seed);
        match reasons.iter_mut().find(|(reason, _)| *reason == f.reason) {
            Some((_, trials)) => trials.push(trial),
            None => reasons.push((f.reason, vec![trial])),
        }
    }
    let named = |trials: &[String]| match trials.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {} more", trials[..NAMED].join(", "), count(more, "trial")),
        _ => list(trials),
    };
    html! {
        section id="failures" {
            h2 { "Failed trials" }
            @if reasons.is_empty() {
                p { "None." }
            } @else {
                p { "The study went on without these." }
                ul { @for (reason, trials) in &reasons { li { strong { (named(trials)) } ": " (reason) "." } } }
            }
        }
    }
}

/// Data, model, machine, learning rates and statistics.
pub(super) fn method(findings: &Findings, advice: &Recommendation) -> Markup {
    let study = &findings.evidence.study;
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    html! {
        section id="method" {
            h2 { "How it was measured" }
            dl {
                dt { "Data" } dd { (study.data) }
                dt { "Base model" } dd { (study.model) }
                dt { "Machine" } dd { (study.machine) }
                dt { "Training" }
                dd { "Seeds " (seeds.join(", ")) "; batches of " (study.batch_size) " rows. The whole study took " (Unit::Seconds.write(study.elapsed_seconds)) "." @if let Some(fitted) = conditions::fitted(findings.evidence) { " " (fitted) } }
                dt { "Fairness" }
                dd { (study.learning_rates) " Test rows played no part in any choice. What was tried, and what it cost, stands under Search." }
                dt { "Speed, memory, response time, energy" }
                dd { (conditions::probes(findings.evidence)) @if let Some(trials) = conditions::trials(findings.evidence) { " " (trials) } }
                dt { "Intervals" }
                dd {
                    "All at 95 %. Scores: test rows are drawn anew with replacement, the same ones for every seed, and the seeds' own spread is drawn "
                    "from Student's t, since a handful of seeds cannot be drawn from. Times and draws: Student's t. Quantiles: order statistics. "
                    "One seed has no spread, and none is shown."
                }
                dt { "Telling methods apart" }
                dd {
                    "Every pair is compared row by row on the same test rows, with the spread over seeds added (Student's t; a method's own spread or the mean of all methods', whichever is larger; "
                    "never surer than the number of rows allows). The intervals are simultaneous: all of them hold the true differences in 95 % of studies, so that any pair may be looked at. "
                    "Two methods are told apart where their interval leaves out 0; methods that share a letter are not shown to be equal: this data cannot tell "
                    "them apart. Against full fine-tuning the same interval is held against a margin of "
                    (findings.standing.scoring.unit.of_difference().write(study.margin)) "."
                }
                dt { "What loads the adapters" }
                @for account in &advice.methods {
                    dd { (title(findings, &account.method)) ": " (account.loads) "." }
                }
                dt { "Recommendation" }
                dd { "Purpose: " (advice.purpose.name()) ". " (advice.rule) " A method whose deciding figures are missing is not considered." }
            }
        }
    }
}
