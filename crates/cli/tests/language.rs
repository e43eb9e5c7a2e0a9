//! A study of a language model: asked before and after tuning, and timed while it answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, records, write_language_model};
use serde_json::{Value, json};

const TASK: &str = r#"
name = "next"
title = "The word that follows"
source = "made up"
licence = "none"
output_type = "generate_until"
metric = "exact_match"
doc_to_text = "{{question}}"
doc_to_target = "{{answer}}"
target_delimiter = " "
max_gen_toks = 3

[[domains]]
name = "here"
train = "rows.jsonl"
validation = "rows.jsonl"
test = "rows.jsonl"
"#;

const STUDY: &str = r#"
name = "language"
model = "language"
task = "next.toml"
seeds = [0]

[train]
num_train_epochs = 30
batch_size = 8
max_length = 32
early_stopping_patience = 0

[small_data]
examples = []

[probe]
steps = 2
requests = 4
batch_sizes = [2]

[methods.full]
learning_rate = 1e-2
[methods.lora]
learning_rate = 1e-2
"#;

/// What trials of that kind found, by method.
fn found(all: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = all.iter().filter(|record| record["trial"]["role"]["kind"] == kind);
    of_kind.map(|record| record["outcome"].as_object().unwrap().values().next().unwrap().clone()).collect()
}

#[test]
fn a_model_is_asked_before_and_after_tuning_and_timed_word_by_word() {
    let fixture = Fixture::new();
    write_language_model(&fixture.path("language"));
    let row = |i: usize| {
        let question = format!("w{} w{} w{}", 20 + i, 3 + i % 5, 20 + i);
        json!({"question": question, "answer": format!("w{} w{}", 60 + i % 4, 64 + i % 4)}).to_string() + "\n"
    };
    fixture.write("rows.jsonl", (0..12).map(row).collect::<String>());
    fixture.write("next.toml", TASK);
    fixture.write("language.toml", STUDY);
    fixture.write("general.txt", "w1 w2 w3 w4 w5 w6 w7 w8 ".repeat(20));
    fixture.run(&["run", "language.toml", "--out", "run", "--set=forgetting_text='general.txt'"]).done();

    let all: Vec<Value> = records(&fixture.path("run")).into_iter().map(|(_, record)| record).collect();
    let mains = found(&all, "main");
    assert_eq!(mains.len(), 2);
    assert!(mains.iter().all(|main| main["tests"][0]["score"]["examples"] == 12), "{mains:#?}");
    assert!(mains.iter().all(|main| main["forgetting"]["after"].as_f64() > Some(0.0)), "{mains:#?}");
    let untuned: Vec<&Value> =
        mains.iter().map(|main| &main["untuned"]).filter(|test| !test.is_null()).collect();
    assert!(!untuned.is_empty(), "no trial holds what the model could before");
    let score = |test: &Value| test["score"]["value"].as_f64().unwrap();
    let best = mains.iter().map(|main| score(&main["tests"][0])).fold(0.0, f64::max);
    assert!(best > score(untuned[0]), "{mains:#?}");
    let advice: Value = serde_json::from_slice(&fixture.read("run/recommendation.json")).unwrap();
    for method in advice["methods"].as_array().unwrap() {
        let adapter = format!("run/{}/adapter_config.json", method["adapter"].as_str().unwrap());
        assert!(fixture.path(&adapter).is_file(), "{adapter}");
    }
    let probes = found(&all, "probe");
    assert_eq!(probes.len(), 2);
    let report = String::from_utf8(fixture.read("run/report.html")).unwrap();
    for figure in ["Before tuning", "First token, p50", "Next token, p50"] {
        assert!(report.contains(figure), "{figure}");
    }
    // Each of the four requests of a load has one first token.
    let count =
        |histogram: &Value| histogram.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    for load in probes.iter().flat_map(|probe| probe["loads"].as_array().unwrap()) {
        assert_eq!(count(&load["first_token"]), 4, "{load}");
        assert!(count(&load["next_token"]) > 0, "{load}");
    }
}
