//! Scores by method and domain. A table with shaded cells: it scales, scrolls and can be read aloud.

use crate::metric::Findings;
use crate::statistics::Estimate;
use maud::{Markup, html};

/// Steps of shading, `.heat0` to `.heat8` in the style sheet.
const STEPS: f64 = 8.0;

/// One row a method, one column a domain, the one trained on first.
pub(super) fn heat_map(findings: &Findings) -> Markup {
    let domains = findings.evidence.domains();
    let scoring = findings.standing.scoring;
    let score = |method: &str, place: usize, domain: &str| match place {
        0 => findings.estimate(method, "accuracy", "accuracy"),
        _ => findings.estimate(method, "cross_domain", &format!("score_{domain}")),
    };
    let rows: Vec<(&str, Vec<Option<Estimate>>)> = findings
        .methods()
        .iter()
        .map(|m| (m.title.as_str(), domains.iter().enumerate().map(|(k, d)| score(&m.name, k, d)).collect()))
        .filter(|(_, cells): &(_, Vec<Option<Estimate>>)| cells.iter().any(Option::is_some))
        .collect();
    let values = || rows.iter().flat_map(|(_, cells)| cells.iter().flatten().map(|e| e.value));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if domains.len() < 2 || rows.is_empty() {
        return html! {};
    }
    let heat = |e: &Estimate| {
        let share = if high > low { (e.value - low) / (high - low) } else { 1.0 };
        format!("heat{}", (share * STEPS).round() as usize)
    };
    html! {
        div.scroll tabindex="0" {
            table.heat {
                caption { (scoring.title) " in every domain. The stronger the shade, the higher: from " (scoring.unit.write(low)) " to " (scoring.unit.write(high)) "." }
                thead {
                    tr {
                        th scope="col" { "Method" }
                        @for (k, domain) in domains.iter().enumerate() {
                            th scope="col" { (domain) @if k == 0 { small { "trained on" } } }
                        }
                    }
                }
                tbody {
                    @for (title, cells) in &rows {
                        tr {
                            th scope="row" { (title) }
                            @for cell in cells {
                                @match cell {
                                    Some(e) => td class=(heat(e)) { (scoring.unit.write(e.value)) },
                                    None => td.none { "–" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
