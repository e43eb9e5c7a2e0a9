//! A finished report is not written over by what cannot make it again, and a run does not outlive its folder.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Ended, Fixture, Process, SHORT, records, until};
use std::fs;
use std::time::Duration;

const DOCUMENTS: [&str; 5] =
    ["report.html", "summary.md", "recommendation.json", "metrics.json", "reported.json"];

fn documents(fixture: &Fixture, run: &str) -> Vec<Vec<u8>> {
    DOCUMENTS.iter().map(|name| fixture.read(&format!("{run}/{name}"))).collect()
}

fn append(fixture: &Fixture, file: &str, text: &str) {
    fixture.write(file, [fixture.read(file), text.into()].concat());
}

#[test]
fn a_report_needs_no_model_and_no_data_and_one_of_lost_trials_stays() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let before = documents(&fixture, "a");
    // Wherever the run's folder lies, and whatever became of all else.
    let elsewhere = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([fixture.path("a"), elsewhere.path().join("copy")])
        .status();
    assert!(copied.unwrap().success());
    let rows = fixture.read("test.tsv");
    append(&fixture, "test.tsv", "a good film\tgood\n");
    fs::rename(fixture.path("model"), fixture.path("gone")).unwrap();
    for place in ["a", elsewhere.path().join("copy").to_str().unwrap()] {
        for query in [&["report", place][..], &["recommend", place]] {
            fixture.run(query).done();
        }
        assert!(
            DOCUMENTS
                .iter()
                .zip(&before)
                .all(|(name, bytes)| { fs::read(fixture.path(place).join(name)).unwrap() == *bytes })
        );
    }
    fs::rename(fixture.path("gone"), fixture.path("model")).unwrap();
    fixture.write("test.tsv", &rows);

    let refused = |what: &str, words: &[&str]| {
        let ended = fixture.run(&["report", "a"]);
        let first = "a: its report stays as it is, for it rests on 1 trial that cannot be had now";
        ended.is_refused(what, &[&[first], words].concat());
        assert!(documents(&fixture, "a") == before && ended.stdout.is_empty(), "{what}");
    };
    let record = format!("{}/record.json", fixture.only_trial("a"));
    let text = String::from_utf8(fixture.read(&record)).unwrap();
    fs::remove_file(fixture.path(&record)).unwrap();
    refused("a record that is gone", &["the record of lora-s0-", "is not there any more"]);
    fixture.write(&record, &text);
    fixture.run(&["report", "a"]).done();
    let facts = fixture.read("a/facts.json");
    fs::remove_file(fixture.path("a/facts.json")).unwrap();
    let words = ["a: no facts.json is there", "`tenfold run a/study.toml --out a` writes it"];
    fixture.run(&["report", "a"]).is_refused("a run of before", &words);
    fixture.write("a/facts.json", facts);
    let before = documents(&fixture, "a");

    // To run the study anew keeps the report of before, and says so before anything is trained.
    append(&fixture, "test.tsv", "a good film\tgood\n");
    let said = fixture.short_run("a").done().stderr;
    assert!(said.contains("a held results of before (data: data.sha256 was "), "{said}");
    assert!(said.contains("data: rows.tests was ") && said.contains("are kept in a/earlier-1"), "{said}");
    for (name, bytes) in DOCUMENTS.iter().zip(&before) {
        assert!(fixture.read(&format!("a/earlier-1/{name}")) == *bytes, "{name}");
    }
    assert_eq!(records(&fixture.path("a")).len(), 2);
    fixture.run(&["report", "a"]).done();
    // What is kept there is no run, and a query leaves nothing in it.
    let kept = fixture.files("a/earlier-1");
    fixture
        .run(&["recommend", "a/earlier-1"])
        .is_refused("what is kept", &["a/earlier-1", "of an earlier study"]);
    assert_eq!(fixture.files("a/earlier-1"), kept);
}

#[test]
fn what_a_query_finds_failed_stays_failed() {
    let fixture = Fixture::new();
    let methods = "--set=methods={lora={learning_rate=1e-3}, full={learning_rate=1e300}}";
    let arguments =
        [&["run", "study.toml", "--out", "a", "--set=train.warmup_ratio=0.0", methods][..], &SHORT[1..]];
    fixture.run(&arguments.concat()).done();
    let before = String::from_utf8(fixture.read("a/summary.md")).unwrap();
    assert!(before.contains("lower learning rate than 1e300"), "{before}");
    fixture.run(&["report", "a"]).done();
    assert_eq!(String::from_utf8(fixture.read("a/summary.md")).unwrap(), before);
}

#[test]
fn only_some_methods_are_trained_and_the_report_says_which_are_missing() {
    let fixture = Fixture::new();
    let study = |only: &[&str]| {
        let methods = "--set=methods={lora={}, bitfit={learning_rate=1e-3}, full={learning_rate=1e-3}}";
        let arguments = [&["run", "study.toml", "--out", "a", methods][..], &SHORT[1..], only].concat();
        fixture.run(&arguments).done().stderr
    };
    let trained = || {
        let all = records(&fixture.path("a"));
        let of = |record: &serde_json::Value| record["trial"]["method"].as_str().unwrap().to_owned();
        let mut methods: Vec<String> = all.iter().map(|(_, record)| of(record)).collect();
        methods.dedup();
        methods
    };
    let said = study(&["--only", "bitfit"]);
    assert!(said.contains("comparison, 1 trial\n") && !said.contains("search"), "{said}");
    assert!(said.contains("3 trials of this study are not there (full, lora)"), "{said}");
    assert_eq!(trained(), ["bitfit"]);
    let summary = String::from_utf8(fixture.read("a/summary.md")).unwrap();
    assert!(
        summary.contains("Not all of the study was run: 3 trials of full and lora are missing here."),
        "{summary}"
    );
    let report = fixture.run(&["report", "a"]).done().stderr;
    assert!(report.contains("3 trials of this study are not there (full, lora)"), "{report}");
    let said = study(&["--only", "lora", "--only", "bitfit"]);
    assert!(
        said.contains("search, 2 trials") && said.contains("1 trial of this study is not there (full)"),
        "{said}"
    );
    assert_eq!(trained(), ["bitfit", "lora"]);
    let said = study(&[]);
    assert!(said.contains("comparison, 1 trial\n") && !said.contains("not there"), "{said}");
    assert!(!fixture.path("a/earlier-1").exists(), "the study is the same one");
}

#[test]
fn a_run_whose_folder_is_moved_or_removed_ends_with_a_line_and_leaves_no_half_of_it() {
    let fixture = Fixture::new();
    let endless = ["run", "study.toml", "--out", "a", "--set=train.num_train_epochs=1000000"];
    let probing =
        ["run", "study.toml", "--out", "a", "--set=probe.requests=100000000", "--set=probe.enabled=true"];
    let probing = [&probing[..], &SHORT[..3]].concat();
    let probing = [&probing[..], &["--set=train.early_stopping_patience=0"]].concat();
    for (what, arguments) in [("training", &endless[..]), ("a probe", &probing)] {
        for remove in [false, true] {
            let mut process = Process::start(fixture.command(arguments));
            let begun = || match what {
                "training" => fixture.files("a").iter().any(|path| path.ends_with("snapshot.safetensors")),
                _ => fixture.files("a").iter().any(|path| path.to_string_lossy().contains("probe-")),
            };
            until(what, begun);
            match remove {
                false => fs::rename(fixture.path("a"), fixture.path("moved")).unwrap(),
                true => while fs::remove_dir_all(fixture.path("a")).is_err() {},
            }
            let ended: Ended = process.wait_for(Duration::from_secs(30)).expect("the end of the run");
            ended.is_refused(
                what,
                &["a was moved, removed or replaced while the run was going on", "put it back"],
            );
            assert!(ended.stdout.is_empty() && !ended.stderr.contains("failed"), "{ended:#?}");
            assert!(!fixture.path("a").exists(), "{what}: half a run was left");
            let _ = fs::remove_dir_all(fixture.path("moved"));
        }
    }
}

#[test]
fn a_task_of_any_name_is_trained_with_a_rate_whose_source_is_told() {
    let fixture = Fixture::new();
    fixture.write("my own task.toml", fixture::TASK);
    let train = |more: &[&str]| {
        let short = ["--set=train.max_steps=2", "--set=train.num_train_epochs=0.5", "--json"];
        let all = ["train", "--model", "model", "--task", "my own task.toml"];
        fixture.run(&[&all[..], &short, more].concat()).done()
    };
    let json = |ended: &Ended| -> serde_json::Value { serde_json::from_str(&ended.stdout).unwrap() };
    let ended = train(&[]);
    let words = "The learning rate 1e-3 was not stated: it is the second lowest of those that a search tries for lora";
    assert!(
        ended.stderr.contains(words) && ended.stderr.contains("--learning-rate sets another"),
        "{}",
        ended.stderr
    );
    assert!(json(&ended)["learning_rate_note"].as_str().unwrap().starts_with(words));
    assert_eq!(json(&ended)["learning_rate"], 1e-3);
    let study = String::from_utf8(fixture.read("runs/my_own_task-lora/study.toml")).unwrap();
    assert!(study.contains(words), "{study}");
    for stated in [["--learning-rate", "2e-3"], ["--set", "methods.lora.learning_rate=2e-3"]] {
        let ended = train(&stated);
        let told = ended.stderr.lines().any(|line| line.starts_with("The learning rate"));
        assert!(!told, "{}", ended.stderr);
        assert_eq!(
            (json(&ended)["learning_rate"].as_f64(), json(&ended)["learning_rate_note"].as_str()),
            (Some(2e-3), Some(""))
        );
    }
}
