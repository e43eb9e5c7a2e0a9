//! What each method took, what was tried for it, and what that cost.

use super::{figure, plot};
use crate::metric::{Findings, MethodFacts, Searched, Tried, Unit, digits, searched};
use crate::words::count;
use maud::{Markup, html};

/// The section, with a plot where anything was searched for.
pub(super) fn section(findings: &Findings) -> Markup {
    let all: Vec<(&MethodFacts, Option<Searched>)> =
        findings.methods().iter().map(|m| (m, searched(findings.evidence, &m.name))).collect();
    let scoring = findings.standing.scoring;
    let any = all.iter().any(|(_, search)| search.is_some());
    html! {
        section id="search" {
            h2 { "Search" }
            p.small { (findings.evidence.study.learning_rates) " Test rows played no part in any choice." }
            @for caution in findings.search_cautions() { p.small { strong { "Mind: " } (caution) } }
            @if any {
                div.plots {
                    (figure(plot::search_curves(findings), "Score on the validation rows of every candidate, as far as it was trained."))
                }
            }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Method" }
                            th scope="col" { "Learning rate and settings taken" }
                            @if any {
                                @for heading in ["Candidates", "Steps", "Tokens", "Time, machine shared"] { th scope="col" { (heading) } }
                                th scope="col" { "Tried: " (scoring.noun) " on validation rows" }
                            }
                        }
                    }
                    tbody { @for (facts, search) in &all { (row(facts, search.as_ref(), any, scoring.unit)) } }
                }
            }
        }
    }
}

fn row(facts: &MethodFacts, search: Option<&Searched>, any: bool, unit: Unit) -> Markup {
    html! {
        tr {
            th scope="row" { (facts.title) }
            td.text { (facts.chosen.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string)) }
            @match search {
                Some(search) => {
                    td { (search.tried.len()) }
                    td { (digits(search.steps as f64)) }
                    td { (Unit::Parameters.write(search.tokens as f64)) }
                    td { (Unit::Seconds.write(search.seconds)) }
                    td.text { (search.tried.iter().map(|tried| words(tried, unit)).collect::<Vec<_>>().join(" · ")) }
                }
                None if any => td.none colspan="5" { "not searched for" },
                None => {}
            }
        }
    }
}

fn words(tried: &Tried, unit: Unit) -> String {
    let score = match tried.score {
        Some(score) => unit.write(score),
        None if tried.steps == 0 => "failed".to_owned(),
        None => "not defined".to_owned(),
    };
    let far = if tried.rung > 0 { format!(" after {}", count(tried.steps, "step")) } else { String::new() };
    format!("{}: {score}{far}", tried.candidate)
}
