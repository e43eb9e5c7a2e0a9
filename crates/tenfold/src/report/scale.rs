//! How long reports of large studies take.
//!
//! `cargo test --release -p tenfold --lib report::scale -- --ignored --nocapture --test-threads 1` prints seconds by part.

use super::{Purpose, html, metrics_json, recommend, summary_markdown};
use crate::metric::synthetic::Sized;
use crate::metric::{Findings, METRICS};
use crate::score::Kind;
use std::time::Instant;

/// Seconds that `work` takes, printed beside what it is.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let found = work();
    println!("  {:28} {:8.2} s", what, start.elapsed().as_secs_f64());
    found
}

/// Builds all documents of a study of this size within so many seconds.
fn report(methods: usize, seeds: usize, rows: usize, answers: (Kind, &str), limit: f64) {
    println!("{methods} methods, {seeds} seeds, {rows} rows, {}", answers.1);
    let study = Sized::new(methods, seeds, rows, answers);
    let parts = study.evidence();
    timed("outcomes", || parts.study.methods.iter().for_each(|m| drop(parts.outcomes(&m.name, None))));
    for metric in METRICS {
        timed(metric.name, || {
            parts
                .study
                .methods
                .iter()
                .map(|method| (metric.compute)(&parts, &method.name).len())
                .sum::<usize>()
        });
    }
    timed("standing", || parts.standing());
    let evidence = study.evidence();
    let start = Instant::now();
    let findings = timed("findings, all of the above", || Findings::of(&evidence));
    let advice = timed("recommendation", || recommend(&findings, Purpose::Balanced));
    timed("html", || html(&findings, &advice).len());
    timed("metrics.json", || metrics_json(&findings).len());
    timed("summary.md", || summary_markdown(&findings, &advice).len());
    let seconds = start.elapsed().as_secs_f64();
    println!("  {:28} {seconds:8.2} s", "the whole report");
    assert!(seconds < limit, "{seconds} s, not {limit}");
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_rows() {
    report(8, 5, 100_000, (Kind::Labels, "accuracy"), 10.0);
}

#[test]
#[ignore = "takes minutes"]
fn a_million_rows() {
    report(8, 5, 1_000_000, (Kind::Labels, "accuracy"), 60.0);
}

#[test]
#[ignore = "takes minutes"]
fn sixty_methods() {
    report(60, 5, 2000, (Kind::Labels, "accuracy"), 10.0);
}

#[test]
#[ignore = "takes minutes"]
fn sixty_methods_by_scores_that_are_no_means() {
    for answers in [(Kind::Labels, "matthews"), (Kind::Nats, "perplexity")] {
        report(60, 5, 2000, answers, 30.0);
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_rows_of_other_scores() {
    let others = [
        (Kind::Worths, "rouge_l"),
        (Kind::Nats, "perplexity"),
        (Kind::Labels, "matthews"),
        (Kind::Labels, "f1_macro"),
    ];
    for answers in others {
        report(8, 5, 100_000, answers, 30.0);
    }
}
