//! The search of a study: rungs, records, costs, and the same bits whether a candidate goes on or trains anew.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, Run, records};
use serde_json::Value;
use std::fs;

/// LoRA alone, over learning rates and ranks, four candidates halved twice.
const HALVING: [&str; 8] = [
    "--set=methods={lora={lora_dropout=0.1, space={learning_rate={low=1e-4, high=1e-2, scale='log'}, r=[2, 4], train={weight_decay=[0.0, 0.1]}}}}",
    "--set=search.strategy=successive_halving",
    "--set=search.candidates=4",
    "--set=search.eta=2",
    "--set=search.num_train_epochs=2",
    "--set=small_data.examples=[]",
    "--set=probe.enabled=false",
    "--set=train.num_train_epochs=2",
];

fn halving<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "study.toml", "--out", out, "--json"][..], &HALVING, more].concat()
}

fn of_search(fixture: &Fixture, run: &str) -> Vec<(std::path::PathBuf, Value)> {
    let all = records(&fixture.path(run)).into_iter();
    all.filter(|(_, record)| record["trial"]["role"]["kind"] == "search").collect()
}

#[test]
fn fewer_candidates_go_further_and_the_cost_stands_beside_the_winner() {
    let fixture = Fixture::new();
    let ended = fixture.run(&halving("a", &[])).done();
    // 32 rows in batches of 8, two epochs: eight steps, after two and four of which half is given up.
    let mut rungs: Vec<(u64, u64)> = of_search(&fixture, "a")
        .iter()
        .map(|(_, record)| {
            let steps = record["result"]["trained"]["steps"].as_u64().unwrap();
            (record["trial"]["role"]["rung"].as_u64().unwrap(), steps)
        })
        .collect();
    rungs.sort_unstable();
    assert_eq!(rungs, [(0, 2), (0, 2), (0, 2), (0, 2), (1, 4), (1, 4), (2, 8)]);
    let advice: Value = serde_json::from_str(&ended.stdout).unwrap();
    let (took, search) = (&advice["methods"][0]["took"], &advice["methods"][0]["search"]);
    let tried = search["tried"].as_array().unwrap();
    assert_eq!((tried.len(), search["steps"].as_u64()), (4, Some(2 + 2 + 4 + 8)));
    assert!(search["tokens"].as_u64().unwrap() > 0);
    let chosen: Vec<&Value> = tried.iter().filter(|tried| tried["chosen"] == true).collect();
    assert_eq!(chosen.len(), 1);
    assert_eq!((&chosen[0]["rung"], &chosen[0]["learning_rate"]), (&2.into(), &took["learning_rate"]));
    let main = records(&fixture.path("a"))
        .into_iter()
        .find(|(_, record)| record["trial"]["role"]["kind"] == "main")
        .unwrap()
        .1;
    assert_eq!(main["trial"]["adapter"]["r"], took["settings"]["r"]);
    assert_eq!(main["trial"]["train"]["weight_decay"], took["settings"]["train.weight_decay"]);
    let left = fixture.files("a").into_iter().find(|path| path.to_string_lossy().contains("snapshot"));
    assert_eq!(left, None);
    let summary = String::from_utf8(fixture.read("a/summary.md")).unwrap();
    assert!(
        summary.contains("## Search") && summary.contains("eta 2: 4, then 2, then 1 candidates"),
        "{summary}"
    );
}

#[test]
fn a_candidate_that_lost_its_snapshot_trains_anew_to_the_same_bits() {
    let fixture = Fixture::new();
    fixture.run(&halving("a", &[])).done();
    fixture.copy("a", "b");
    for (trial, record) in of_search(&fixture, "b") {
        if record["trial"]["role"]["rung"] != 0 {
            fs::remove_dir_all(trial).unwrap();
        }
    }
    fixture.run(&halving("b", &[])).done();
    assert_eq!(Run::read(&fixture.path("b")), Run::read(&fixture.path("a")));
}

#[test]
fn a_budget_of_steps_is_shared_out_among_the_candidates() {
    let fixture = Fixture::new();
    fixture.run(&halving("a", &["--set=search.strategy=random", "--set=search.budget=13"])).done();
    let steps: Vec<Value> = of_search(&fixture, "a")
        .iter()
        .map(|(_, record)| record["result"]["trained"]["steps"].clone())
        .collect();
    assert_eq!(steps, [3, 3, 3, 3]);
}

#[test]
fn other_tasks_are_further_domains_and_a_mixture_is_trained_once_more() {
    let fixture = Fixture::new();
    let task =
        fixture::TASK.replace("\"words\"", "\"shop\"").replace("[\"bad\", \"good\"]", "[\"good\", \"bad\"]");
    let alone = task.split("\n[[domains]]\nname = \"there\"").next().unwrap();
    fixture.write("shop.toml", alone);
    let arguments = [
        "run",
        "study.toml",
        "--out",
        "a",
        "--json",
        "--set=domains=[\"shop.toml\"]",
        "--set=mixture={here=0.75, shop=0.25}",
    ];
    fixture.run(&[&arguments[..], &fixture::SHORT].concat()).done();
    let records = records(&fixture.path("a"));
    assert_eq!(records.len(), 2);
    for (_, record) in &records {
        let tests = record["result"]["trained"]["tests"].as_array().unwrap();
        let names: Vec<&str> = tests.iter().map(|test| test["domain"].as_str().unwrap()).collect();
        assert_eq!(names, ["here", "there", "shop"]);
        // The same rows under the same names, whatever the labels' order in the other file.
        assert_eq!(tests[0]["answers"]["labels"]["labels"], tests[2]["answers"]["labels"]["labels"]);
    }
    let page = String::from_utf8(fixture.read("a/report.html")).unwrap();
    assert!(page.contains("shop: gain") && page.contains("75 % here, 25 % shop"));
    fixture.write("other.toml", alone.replace("\"bad\"]", "\"bad\", \"so so\"]"));
    let refused = ["run", "study.toml", "--out", "b", "--set=domains=[\"other.toml\"]"];
    fixture.run(&refused).is_refused("other labels", &["labels", "those of the study's task: bad, good"]);
}
