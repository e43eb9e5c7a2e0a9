//! What people read: a recommendation, a table for the terminal, and one HTML file.

mod account;
mod appendix;
mod candidates;
#[cfg(test)]
mod consistent;
#[cfg(test)]
mod disturbed;
mod figures;
#[cfg(test)]
mod fitted;
mod format;
mod html;
mod labels;
mod markdown;
mod plot;
mod purpose;
mod reasons;
mod recommendation;
#[cfg(test)]
mod scale;
mod table;

pub use account::Account;
pub use candidates::{Cause, Excluded};
pub use figures::metrics_json;
pub use html::html;
pub use purpose::Purpose;
pub use recommendation::{Recommendation, RunnerUp, SCHEMA, recommend};
pub use table::{summary_markdown, summary_table};

use crate::metric::Findings;

/// A figure written with its unit, or a dash.
fn value(findings: &Findings, method: &str, metric: &str, key: &str) -> String {
    match findings.figure(method, metric, key) {
        Some(figure) => match figure.reading.estimate() {
            Some(estimate) => match figure.mark() {
                Some(_) => format!("{} (disturbed)", figure.unit.write(estimate.value)),
                None => figure.unit.write(estimate.value),
            },
            None => "–".to_owned(),
        },
        None => "–".to_owned(),
    }
}

/// A method's name for people.
fn title<'a>(findings: &'a Findings, method: &'a str) -> &'a str {
    findings.evidence.method(method).map_or(method, |facts| &facts.title)
}
