//! What failed, and how everything was measured.

use super::super::recommendation::Recommendation;
use super::super::{format, title};
use crate::metric::{Findings, Unit, role_name};
use maud::{Markup, html};

/// Every failed trial with its reason.
pub(super) fn failures(findings: &Findings) -> Markup {
    let failures = findings.evidence.failures();
    html! {
        section id="failures" {
            h2 { "Failed trials" }
            @if failures.is_empty() {
                p { "None." }
            } @else {
                p { "The study went on without these." }
                ul {
                    @for f in &failures {
                        li { strong { (title(findings, f.method)) } ", " (role_name(f.role)) ", seed " (f.seed) ": " (f.reason) "." }
                    }
                }
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
                dd { "Seeds " (seeds.join(", ")) "; batches of " (study.batch_size) " rows. The whole study took " (Unit::Seconds.write(study.elapsed_seconds)) "." }
                dt { "Fairness" }
                dd { (study.learning_rates) " Test rows played no part in any choice." }
                dt { "Speed, memory, response time, energy" }
                dd { "Each method was probed alone on the machine, in a process of its own. Times taken while trials share the machine are not compared." }
                dt { "Intervals" }
                dd {
                    "All at 95 %. Scores: test rows are drawn anew with replacement, the same ones for every seed, and the seeds' own spread is drawn "
                    "from Student's t, since a handful of seeds cannot be drawn from. Times and draws: Student's t. Quantiles: order statistics. "
                    "One seed has no spread, and none is shown."
                }
                dt { "Telling methods apart" }
                dd {
                    "Every pair is compared row by row on the same test rows, with the spread over seeds added. Holm's correction over all pairs keeps the "
                    "chance of any false claim at 5 %. Methods that share a letter are not shown to be equal: this data cannot tell them apart."
                }
                dt { "Recommendation" }
                dd { "Purpose: " (advice.purpose.name()) ". " (advice.rule) " A method whose deciding figures are missing is not considered." }
            }
            (learning_rates(findings))
        }
    }
}

fn learning_rates(findings: &Findings) -> Markup {
    html! {
        h3 { "Learning rates" }
        div.scroll tabindex="0" {
            table {
                thead { tr { th scope="col" { "Method" } th scope="col" { "Used" } th scope="col" { "Tried: validation " (findings.standing.scoring.noun) } } }
                tbody {
                    @for m in findings.methods() {
                        tr {
                            th scope="row" { (m.title) }
                            td { (m.learning_rate.map_or_else(|| "–".to_owned(), format::learning_rate)) }
                            td.text { (tried(findings, &m.name)) }
                        }
                    }
                }
            }
        }
    }
}

fn tried(findings: &Findings, method: &str) -> String {
    let search = findings.evidence.search(method);
    let scoring = findings.standing.scoring;
    let best = |run: &crate::record::Trained| {
        let values = run.validation.iter().filter_map(|look| look.score.value);
        let best =
            values.reduce(|best, value| if scoring.shortfall(best, value) < 0.0 { value } else { best });
        best.map_or_else(|| "–".to_owned(), |value| scoring.unit.write(value))
    };
    let words: Vec<String> =
        search.iter().map(|(rate, run)| format!("{}: {}", format::learning_rate(*rate), best(run))).collect();
    if words.is_empty() { "no search recorded".to_owned() } else { words.join(" · ") }
}
