//! What is read first: the recommendation, the main table, and what accuracy costs.

use super::super::format::{self, unbroken};
use super::super::recommendation::Recommendation;
use super::{figure, plot};
use crate::metric::conditions::{MARK, MARK_MEANS};
use crate::metric::{Figure, Findings, METRICS, MethodFacts, Reading};
use maud::{Markup, html};

/// Heading, metric, key of the main table's columns.
const COLUMNS: [(&str, &str, &str); 10] = [
    ("Accuracy", "accuracy", "accuracy"),
    ("Group", "accuracy", "group"),
    ("Share of full", "accuracy", "share_of_full"),
    ("Worst other domain", "cross_domain", "worst"),
    ("Training speed", "speed", "train_examples_per_second"),
    ("Training memory", "memory", "train_peak_bytes"),
    ("Trained", "parameters", "trainable"),
    ("Adapter", "parameters", "adapter_bytes"),
    ("Response p95, not merged", "response_time", "p95"),
    ("Energy, 1,000 examples", "energy", "train_joules"),
];

/// The study's name, and in one line what was compared.
pub(super) fn masthead(findings: &Findings) -> Markup {
    let study = &findings.evidence.study;
    let seeds = match study.seeds.len() {
        1 => "1 seed".to_owned(),
        n => format!("{n} seeds"),
    };
    html! {
        header {
            p.kicker { "Tenfold report · " (study.generated_at) }
            h1 { (study.name) }
            p.lead { (study.methods.len()) " methods, " (seeds) ", ten metrics. " (study.model) }
        }
    }
}

/// The advice, what speaks for it, what comes next, and what to know.
pub(super) fn advice(findings: &Findings, advice: &Recommendation) -> Markup {
    let name = |method: &str| super::super::title(findings, method).to_owned();
    html! {
        section.advice id="recommendation" {
            h2 { "Recommendation" }
            p.verdict { (unbroken(&advice.sentence)) }
            @if !advice.reasons.is_empty() {
                ul { @for reason in &advice.reasons { li { (unbroken(reason)) } } }
            }
            @if let Some(adapter) = &advice.adapter {
                p { "Its adapter, of the seed that did best on the validation rows: " code { (adapter) } "." }
            }
            @if let Some(exported) = &advice.exported {
                p { "Ready for Python, with tokenizer and load.py: " code { (exported) "/" } "." }
            }
            @if !advice.runners_up.is_empty() {
                h3 { "Next in line" }
                ol { @for next in &advice.runners_up { li { strong { (name(&next.method)) } ": " (unbroken(&next.why)) "." } } }
            }
            @if !advice.caveats.is_empty() {
                h3 { "Before you follow it" }
                ul { @for caveat in &advice.caveats { li { (unbroken(caveat)) } } }
            }
            p.small { strong { "Rule. " } (advice.rule) }
        }
    }
}

/// Links to the sections.
pub(super) fn contents() -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#overview" { "Overview" } }
                li { a href="#comparison" { "Against one another" } }
                @for metric in METRICS {
                    li { a href=(format!("#{}", metric.name)) { (metric.number) ". " (metric.title) } }
                }
                li { a href="#search" { "Search" } }
                li { a href="#method" { "How it was measured" } }
            }
        }
    }
}

/// One line a method, the most accurate first.
pub(super) fn main_table(findings: &Findings, advice: &Recommendation) -> Markup {
    let accuracy = |m: &MethodFacts| findings.estimate(&m.name, "accuracy", "accuracy").map(|e| e.value);
    let mut methods: Vec<&MethodFacts> = findings.methods().iter().collect();
    let scoring = findings.standing.scoring;
    methods.sort_by(|a, b| {
        scoring.is_better(accuracy(b), accuracy(a)).cmp(&scoring.is_better(accuracy(a), accuracy(b)))
    });
    let recommended = |m: &MethodFacts| advice.method.as_deref() == Some(m.name.as_str());
    let told = [advice.caveats.clone(), findings.search_cautions()].concat();
    html! {
        section id="overview" {
            h2 { "All methods" }
            div.scroll tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Method" } @for column in COLUMNS { (heading(findings, column)) } } }
                    tbody {
                        @for m in methods {
                            tr.recommended[recommended(m)] {
                                th scope="row" {
                                    (m.title)
                                    @if recommended(m) { span.tag { "recommended" } }
                                }
                                @for (_, metric, key) in COLUMNS { (cell(findings, &m.name, metric, key)) }
                            }
                        }
                    }
                }
            }
            p.small {
                "Under each figure stands its 95 % interval, where it has one. "
                "Methods that share a group letter cannot be told apart in their score by this data. "
                "≈ marks an estimate, – what could not be had; the sections below give the reasons. "
                @if findings.any_disturbed() { (MARK_MEANS) " " }
                @for caution in findings.cautions().iter().filter(|caution| !told.contains(caution)) { " " (caution) }
            }
        }
    }
}

/// The two plots that most choices turn on.
pub(super) fn plots(findings: &Findings) -> Markup {
    html! {
        div.plots {
            (figure(plot::accuracy_against_memory(findings), "Up (of perplexity: down) and to the left is better: a better score for less memory."))
            (figure(plot::accuracy_against_parameters(findings), "Up (of perplexity: down) and to the left is better: a better score for fewer trained numbers."))
        }
    }
}

fn heading(findings: &Findings, (words, metric, key): (&str, &str, &str)) -> Markup {
    let words = if key == "accuracy" { findings.standing.scoring.title } else { words };
    let first = findings.methods().first();
    let figure = first.and_then(|m| findings.figure(&m.name, metric, key));
    html! {
        th scope="col" { (words) @if let Some(unit) = figure.and_then(|f| f.unit.heading()) { small { (unit) } } }
    }
}

fn cell(findings: &Findings, method: &str, metric: &str, key: &str) -> Markup {
    match findings.figure(method, metric, key) {
        Some(figure) => entry(figure),
        None => html! { td { "–" } },
    }
}

/// A figure with its interval below it, and the sign of a disturbance with what it was.
pub(super) fn entry(figure: &Figure) -> Markup {
    let mark = html! {
        @if let Some(disturbed) = figure.mark() { span.mark title=(disturbed) { (MARK) } }
    };
    let unit = figure.unit;
    match &figure.reading {
        Reading::Measured { estimate } => html! {
            td { (unit.write_bare(estimate.value)) (mark) @if let Some(i) = format::bare_interval(unit, estimate) { small { (i) } } }
        },
        Reading::Estimated { estimate, how } => html! {
            td.estimate title=(how) {
                "≈ " (unit.write_bare(estimate.value)) (mark)
                @if let Some(i) = format::bare_interval(unit, estimate) { small { (i) } }
            }
        },
        Reading::Judged { verdict, good, because } => html! {
            td.word.bad[*good == Some(false)] title=(because) { (verdict) (mark) }
        },
        Reading::Unavailable { reason } => html! { td.none title=(reason) { "–" } },
    }
}
