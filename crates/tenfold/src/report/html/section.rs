//! One metric: what it is, its figures for every method, its plots, and what is missing and why.

use super::overview::entry;
use super::{figure, heat_map, labels, loads, plot};
use crate::metric::conditions::MARK;
use crate::metric::{Figure, Findings, MethodFacts, Metric, Reading, Unit};
use maud::{Markup, html};

/// The most figures that stand side by side.
const WIDEST: usize = 7;

/// The section of a metric.
pub(super) fn section(findings: &Findings, metric: &'static Metric) -> Markup {
    let mut columns = columns(findings, metric);
    let missing: Vec<(Column, String)> = columns
        .iter()
        .filter_map(|column| Some((column.clone(), missing_everywhere(findings, metric, column)?)))
        .collect();
    columns.retain(|column| !missing.iter().any(|(other, _)| other.key == column.key));
    html! {
        section id=(metric.name) {
            h2 { (metric.number) ". " (metric.title) }
            p.small { strong { "Unit: " } (metric.unit) "; " (metric.direction.words()) ". " (metric.source) }
            (plots(findings, metric))
            @for part in parts(&columns) { (table(findings, metric, part)) }
            (notes(findings, metric, &missing))
            @if metric.name == "accuracy" { (labels::labels(findings)) }
        }
    }
}

#[derive(Clone)]
struct Column {
    key: String,
    label: String,
    unit: Unit,
    /// Observations behind each figure, where all methods have the same.
    n: Option<usize>,
}

/// Wide tables are split into parts of about equal width, which fit a page.
fn parts(columns: &[Column]) -> impl Iterator<Item = &[Column]> {
    let count = columns.len().div_ceil(WIDEST).max(1);
    columns.chunks(columns.len().div_ceil(count).max(1))
}

fn plots(findings: &Findings, metric: &Metric) -> Markup {
    match metric.name {
        "memory" => one(
            plot::memory_curves(findings),
            "The engine's own account of the peak, at every batch size and row length that was probed.",
        ),
        "speed" => one(
            plot::speed_curves(findings),
            "Mean of the timed steps at every batch size and row length that was probed.",
        ),
        "small_data" => one(
            plot::small_data_curves(findings),
            "Mean over draws. Bars: Student's t interval over the draws, set side by side.",
        ),
        "cross_domain" => html! {
            (heat_map::heat_map(findings))
            @if !findings.evidence.study.mixture.is_empty() {
                p.small { strong { "Mixture: " } (findings.evidence.study.mixture) ", the same number of rows, seeds and settings." }
            }
        },
        "response_time" => html! {
            div.plots {
                (figure(plot::latency(findings), "One request at a time. Pale boxes: the adapter merged into the base. One request in a hundred takes longer than the mark."))
                (figure(plot::load_curves(findings), "Requests at random moments, timed from when they were to be sent; merged where that is quicker one at a time, not merged elsewhere. A method's line ends where its capacity nears."))
            }
            (loads::loads(findings))
        },
        "consistency" => html! {
            div.plots {
                (figure(plot::learning_curves(findings), "Line: mean over seeds. Band: from the lowest to the highest seed."))
                (figure(plot::loss_curves(findings), "Means of short stretches. Line: mean over seeds. Band: lowest to highest seed."))
            }
        },
        _ => html! {},
    }
}

fn one(drawing: plot::Drawing, caption: &str) -> Markup {
    html! { div.plots { (figure(drawing, caption)) } }
}

/// Every key that any method has, in the order of its first appearance.
fn columns(findings: &Findings, metric: &Metric) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for method in findings.methods() {
        for figure in findings.figures(metric, &method.name) {
            let n = figure.reading.estimate().map(|e| e.n);
            match columns.iter_mut().find(|column| column.key == figure.key) {
                Some(column) if n.is_some() && column.n.is_some() && column.n != n => column.n = Some(0),
                Some(column) => column.n = column.n.or(n),
                None => columns.push(Column {
                    key: figure.key.clone(),
                    label: figure.label.clone(),
                    unit: figure.unit,
                    n,
                }),
            }
        }
    }
    columns
}

/// The reason, if no method has this figure and all give the same one (failed methods aside).
fn missing_everywhere(findings: &Findings, metric: &Metric, column: &Column) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for method in findings.methods() {
        let reason = match find(findings, metric, method, &column.key).map(|figure| &figure.reading) {
            Some(Reading::Unavailable { reason }) => reason,
            _ => return None,
        };
        if lost(findings, metric, method).is_none() && !reasons.contains(&reason.as_str()) {
            reasons.push(reason);
        }
    }
    match reasons.as_slice() {
        [] => {
            find(findings, metric, findings.methods().first()?, &column.key).and_then(|f| match &f.reading {
                Reading::Unavailable { reason } => Some(reason.clone()),
                _ => None,
            })
        }
        [reason] => Some((*reason).to_owned()),
        _ => None,
    }
}

/// The reason why a method has none of the figures that others have.
fn lost(findings: &Findings, metric: &Metric, method: &MethodFacts) -> Option<String> {
    let reasons = findings.figures(metric, &method.name).iter().map(|figure| match &figure.reading {
        Reading::Unavailable { reason } => Some(reason),
        _ => None,
    });
    let reasons: Vec<&String> = reasons.collect::<Option<_>>()?;
    let without = findings.evidence.why_without(&method.name, metric.taken_from);
    without.or_else(|| reasons.first().map(|reason| (*reason).clone()))
}

fn find<'a>(findings: &'a Findings, metric: &Metric, method: &MethodFacts, key: &str) -> Option<&'a Figure> {
    findings.figures(metric, &method.name).iter().find(|figure| figure.key == key)
}

fn table(findings: &Findings, metric: &Metric, columns: &[Column]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Method" }
                        @for column in columns {
                            th scope="col" {
                                (column.label)
                                @if let Some(unit) = column.unit.heading() { small { (unit) } }
                                @if let Some(n) = column.n.filter(|n| *n > 1) { small { "n = " (n) } }
                            }
                        }
                    }
                }
                tbody {
                    @for method in findings.methods() {
                        tr {
                            th scope="row" { (method.title) }
                            @match lost(findings, metric, method) {
                                Some(reason) => td.none.reason colspan=(columns.len()) { span { "unavailable: " (reason) } },
                                None => (entries(findings, metric, method, columns)),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A row's cells; neighbours that are missing for the same reason are one cell.
fn entries(findings: &Findings, metric: &Metric, method: &MethodFacts, columns: &[Column]) -> Markup {
    let read = |column: &Column| find(findings, metric, method, &column.key);
    let missing = |column: &Column| match read(column) {
        Some(Figure { reading: Reading::Unavailable { reason }, .. }) => Some(reason.as_str()),
        None => Some(""),
        Some(_) => None,
    };
    let runs: Vec<&[Column]> =
        columns.chunk_by(|a, b| missing(a).is_some() && missing(a) == missing(b)).collect();
    html! {
        @for run in runs {
            @match (missing(&run[0]), read(&run[0])) {
                (Some(reason), _) => td.none colspan=(run.len()) { "–" small.why { (reason) } },
                (None, Some(found)) => (entry(found)),
                (None, None) => {},
            }
        }
    }
}

/// What no method has, and how estimates were come by.
fn notes(findings: &Findings, metric: &Metric, missing: &[(Column, String)]) -> Markup {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (column, reason) in missing {
        match reasons.iter_mut().find(|(other, _)| other == reason) {
            Some((_, labels)) => labels.push(&column.label),
            None => reasons.push((reason, vec![&column.label])),
        }
    }
    let mut hows: Vec<(&str, Vec<&str>)> = Vec::new();
    for figure in findings.methods().iter().flat_map(|m| findings.figures(metric, &m.name)) {
        if let Reading::Estimated { how, .. } = &figure.reading {
            match hows.iter_mut().find(|(other, _)| other == how) {
                Some((_, labels)) if labels.contains(&figure.label.as_str()) => {}
                Some((_, labels)) => labels.push(&figure.label),
                None => hows.push((how, vec![&figure.label])),
            }
        }
    }
    let disturbed = disturbed(findings, metric);
    html! {
        @if !(reasons.is_empty() && hows.is_empty() && disturbed.is_empty()) {
            ul.small {
                @for (title, words) in disturbed { li { strong { (MARK) " " (title) ": disturbed. " } (sentence(words)) } }
                @for (reason, labels) in reasons { li { strong { (labels.join(", ")) ": unavailable. " } (sentence(reason)) } }
                @for (how, labels) in hows { li { strong { "≈ " (labels.join(", ")) ": estimate. " } (sentence(how)) } }
            }
        }
    }
}

/// Each method with disturbed figures of the metric, and what disturbed them; each told once.
fn disturbed<'a>(findings: &'a Findings, metric: &Metric) -> Vec<(&'a str, &'a str)> {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for method in findings.methods() {
        for words in findings.figures(metric, &method.name).iter().filter_map(Figure::mark) {
            if !told.contains(&(method.title.as_str(), words)) {
                told.push((&method.title, words));
            }
        }
    }
    told
}

/// A reason as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}
