//! Standard benchmarks beside a study's own task: read first, trained, and what is wrong with them told.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, SHORT, TASK};

fn study(fixture: &Fixture, out: &str, benchmarks: &str) -> fixture::Ended {
    let benchmarks = format!("--set=benchmarks={benchmarks}");
    fixture.run(&[&["run", "study.toml", "--out", out, &benchmarks][..], &SHORT].concat())
}

#[test]
fn a_benchmark_that_cannot_be_run_is_refused_before_anything_is_trained() {
    let fixture = Fixture::new();
    study(&fixture, "a", "['glue_coala']").is_refused(
        "a wrong name",
        &["study", "benchmarks", "\"glue_coala\"", "did you mean \"glue_cola\"?"],
    );
    study(&fixture, "a", "['sst2', 'sst2']").is_refused("one twice", &["benchmarks", "\"sst2\" twice"]);
    assert!(fixture.files("a/trials").is_empty());
}

#[test]
fn a_benchmark_says_which_rows_it_left_out_and_one_that_is_not_here_why() {
    let fixture = Fixture::new();
    let other = TASK.replacen("name = \"", "malformed = \"skip\"\nname = \"other_", 1);
    fixture.write("other.toml", other.replace("\"train.tsv\"", "\"faulty.tsv\""));
    let good = String::from_utf8(fixture.read("train.tsv")).unwrap();
    fixture.write("faulty.tsv", good + "film\tsplendid\n");
    let ended = study(&fixture, "run", "['other.toml', 'glue_cola']").done();
    assert!(ended.stderr.contains("benchmark glue_cola is not run: "), "{}", ended.stderr);
    let summary = String::from_utf8(fixture.read("run/summary.md")).unwrap();
    let note = summary.lines().find(|line| line.contains("Benchmark other_")).unwrap_or_default();
    assert!(note.contains("faulty.tsv") && note.contains("line 98"), "{summary}");
    let html = String::from_utf8(fixture.read("run/report.html")).unwrap();
    assert!(html.contains("<strong>glue_cola: unavailable. </strong>Not run: "), "why glue_cola was not run");
}
