//! Standard benchmarks beside a study's own task: read first, trained, and what is wrong with them told.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, SHORT, TASK, records, write_language_model};
use serde_json::{Value, json};

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

/// Questions without rows to train on, in two domains.
const ASKED: &str = r#"
name = "asked"
title = "Which word follows"
source = "made up"
licence = "none"
output_type = "multiple_choice"
metric = "acc"
doc_to_text = "{{question}}"
doc_to_choice = ["w60 w64", "w61 w65"]
doc_to_target = "{{label}}"

[[domains]]
names = ["near", "far"]
test = "{name}.jsonl"
"#;

const TRAINED: &str = r#"
name = "trained"
title = "The words that follow"
source = "made up"
licence = "none"
output_type = "generate_until"
metric = "exact_match"
doc_to_text = "{{question}}"
doc_to_target = "{{ ['w60 w64', 'w61 w65'][label] }}"
target_delimiter = " "
max_gen_toks = 3

[[domains]]
name = "here"
train = "near.jsonl"
validation = "near.jsonl"
test = "near.jsonl"
"#;

#[test]
fn tuned_models_are_asked_what_they_were_not_trained_on_and_only_once() {
    let fixture = Fixture::new();
    write_language_model(&fixture.path("language"));
    for (domain, first) in [("near", 20), ("far", 40)] {
        let row = |i: usize| {
            let question = format!("w{} w{} w{}", first + i, 3 + i % 5, first + i);
            json!({"question": question, "label": i % 2}).to_string() + "\n"
        };
        fixture.write(&format!("{domain}.jsonl"), (0..10).map(row).collect::<String>());
    }
    fixture.write("asked.toml", ASKED);
    fixture.write("trained.toml", TRAINED);
    let run = |ask: &str| {
        let ask = format!("--set=ask={ask}");
        let settings = [
            "--set=model='language'",
            "--set=task='trained.toml'",
            "--set=ask_rows=8",
            "--set=methods={full={learning_rate=1e-2}}",
            "--set=train.num_train_epochs=30",
            "--set=small_data.examples=[]",
            "--set=probe.enabled=false",
        ];
        fixture.run(&[&["run", "study.toml", "--out", "run", &ask][..], &settings].concat())
    };
    run("['asked.toml']").done();
    let of_kind = |kind: &str| -> Vec<Value> {
        let all = records(&fixture.path("run")).into_iter().map(|(_, record)| record);
        all.filter(|record| record["trial"]["role"]["kind"] == kind).collect()
    };
    let [record] = of_kind("asked").try_into().unwrap();
    let asked = &record["result"]["asked"];
    let right = |said: &Value| {
        let (labels, predictions) =
            (&said["answers"]["labels"]["labels"], &said["answers"]["labels"]["predictions"]);
        let pairs = labels.as_array().unwrap().iter().zip(predictions.as_array().unwrap());
        assert_eq!(pairs.len(), 8, "{said}");
        pairs.filter(|(label, said)| label == said).count()
    };
    let domains = |when: &str| {
        asked[when].as_array().unwrap().iter().map(|said| said["domain"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (domains("before"), domains("after")),
        (vec![json!("near"), json!("far")], vec![json!("near"), json!("far")])
    );
    // What it was trained on it knows now.
    assert!(right(&asked["after"][0]) == 8 && right(&asked["before"][0]) < 8, "{asked}");
    let report = String::from_utf8(fixture.read("run/report.html")).unwrap();
    for figure in ["asked, asked", "asked, before tuning", "asked, gain"] {
        assert!(report.contains(figure), "{figure}");
    }
    // The answers are those of `eval`, and are not asked for again.
    let adapter = format!("run/{}", advice(&fixture)["methods"][0]["adapter"].as_str().unwrap());
    let eval = [
        "eval",
        "--model",
        "language",
        "--adapter",
        &adapter,
        "--task",
        "asked.toml",
        "--limit",
        "8",
        "--json",
    ];
    let said: Value = serde_json::from_str(&fixture.run(&eval).done().stdout).unwrap();
    let accuracy =
        |domain: usize| said[0]["domains"][domain]["metrics"][0]["estimate"]["value"].as_f64().unwrap();
    for domain in 0..2 {
        assert_eq!(accuracy(domain), right(&asked["after"][domain]) as f64 / 8.0);
    }
    let again = run("['asked.toml']").done();
    assert!(again.stderr.contains("finished already"), "{}", again.stderr);

    // Without the adapter the record is as good as before; without both it is said that nothing was asked.
    let adapter = fixture.path(&adapter);
    std::fs::remove_dir_all(&adapter).unwrap();
    run("['asked.toml']").done();
    let asked = records(&fixture.path("run")).into_iter();
    for (path, _) in asked.filter(|(_, record)| record["trial"]["role"]["kind"] == "asked") {
        std::fs::remove_file(path.join("record.json")).unwrap();
    }
    let ended = run("['asked.toml']").done();
    assert!(ended.stderr.contains("its adapter is not there, so it is not asked"), "{}", ended.stderr);

    run("['trained.toml', 'glue_cola']").is_refused("no questions", &["ask", "\"glue_cola\"", "benchmarks"]);
    run("['superglue_multirc']")
        .is_refused("for a head", &["ask", "\"superglue_multirc\"", "as a head does"]);
    let judged =
        ASKED.replace("\"acc\"", "\"multirc\"").replace("names = [\"near\", \"far\"]", "name = \"near\"");
    let rows = "train = \"near.jsonl\"\nvalidation = \"near.jsonl\"\ntest = \"near.jsonl\"";
    fixture.write("trained.toml", judged.replace("test = \"{name}.jsonl\"", rows));
    run("[]").is_refused("for a head", &["study", "task: metric = \"multirc\" for a language model"]);
    study(&fixture, "encoder", "['asked.toml']")
        .is_refused("nothing to train on", &["benchmarks", "asked.toml", "ask ="]);
    let encoder = fixture
        .run(&[&["run", "study.toml", "--out", "encoder", "--set=ask=['asked.toml']"][..], &SHORT].concat());
    encoder.is_refused("an encoder", &["ask", "asked.toml", "no language model"]);
}

fn advice(fixture: &Fixture) -> Value {
    serde_json::from_slice(&fixture.read("run/recommendation.json")).unwrap()
}
