//! What a run leaves for others to load: adapters that name their base, exports, the recommended one; and pairs of texts.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, SHORT};
use serde_json::{Value, json};

fn json_of(fixture: &Fixture, name: &str) -> Value {
    serde_json::from_slice(&fixture.read(name)).unwrap()
}

/// One short run of these methods.
fn run(fixture: &Fixture, out: &str, methods: &str, more: &[&str]) -> fixture::Ended {
    let methods = format!("--set=methods={methods}");
    let start = ["run", "study.toml", "--out", out, "--set=purpose=accuracy", &methods];
    fixture.run(&[&start[..], &SHORT[1..], more].concat())
}

const LORA: &str = "{lora={learning_rate=1e-3}}";
const FULL: &str = "{full={learning_rate=1e-3}}";

#[test]
fn an_adapter_names_its_base_and_brings_what_python_needs() {
    let fixture = Fixture::new();
    fixture.write("model/tokenizer_config.json", "{}");
    fixture.write("model/README.md", "of the base model");
    run(&fixture, "a", LORA, &[]).done();
    let folder = format!("{}/adapter", fixture.only_trial("a"));
    let base = std::fs::canonicalize(fixture.path("model")).unwrap();
    let config = json_of(&fixture, &format!("{folder}/adapter_config.json"));
    let named = std::fs::canonicalize(config["base_model_name_or_path"].as_str().unwrap()).unwrap();
    assert_eq!((named, config["base_model_name_or_path"].as_str().unwrap().starts_with('/')), (base, true));
    let about = json_of(&fixture, &format!("{folder}/tenfold.json"));
    assert_eq!(
        (&about["method"], &about["task_type"], &about["reads"]),
        (&json!("lora"), &json!("SEQ_CLS"), &json!("text"))
    );
    let script = String::from_utf8(fixture.read(&format!("{folder}/load.py"))).unwrap();
    assert!(script.contains("PeftModel") && script.contains("num_labels=2"), "{script}");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(
            fixture.read(&format!("{folder}/{name}")),
            fixture.read(&format!("model/{name}")),
            "{name}"
        );
    }
    assert!(!fixture.path(&format!("{folder}/README.md")).exists());
}

#[test]
fn an_adapter_that_was_changed_or_is_applied_to_another_base_is_told() {
    let fixture = Fixture::new();
    run(&fixture, "a", LORA, &[]).done();
    let folder = format!("{}/adapter", fixture.only_trial("a"));
    fixture.write("texts.txt", "a good film\n");
    let eval =
        |model: &str| fixture.run(&["eval", "--model", model, "--adapter", &folder, "--texts", "texts.txt"]);
    // The last bytes of a file of tensors are a number.
    let change = |name: &str| {
        let (before, mut bytes) = (fixture.read(name), fixture.read(name));
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fixture.write(name, bytes);
        before
    };
    fixture.copy("model", "other");
    change("other/model.safetensors");
    let words = "whose weights are others than those of other";
    assert!(eval("other").done().stderr.contains(words) && !eval("model").done().stderr.contains(words));
    fixture.write(&format!("{folder}/labels.json"), r#"["bad", "bad"]"#);
    eval("model").is_refused("a label's name twice", &["labels.json", "\"bad\" twice"]);
    fixture.write(&format!("{folder}/labels.json"), r#"["bad", "good"]"#);
    let tensors = format!("{folder}/adapter_model.safetensors");
    let before = change(&tensors);
    eval("model").is_refused("a changed adapter", &["adapter_model.safetensors", "it was changed"]);
    // The recommended copy is not made of it either.
    std::fs::remove_dir_all(fixture.path("a/recommended")).unwrap();
    let ended = run(&fixture, "a", LORA, &[]).done();
    assert!(ended.stderr.contains("recommended/ was not written") && !fixture.path("a/recommended").exists());
    fixture.write(&tensors, before);
    eval("model").done();
}

#[test]
fn the_recommended_adapter_is_exported_and_follows_the_recommendation() {
    let fixture = Fixture::new();
    let ended = run(&fixture, "a", LORA, &[]).done();
    assert!(ended.stdout.contains("Recommended, ready for Python: a/recommended"), "{}", ended.stdout);
    assert_eq!(json_of(&fixture, "a/recommendation.json")["exported"], "recommended");
    let summary = String::from_utf8(fixture.read("a/summary.md")).unwrap();
    assert!(summary.contains("`recommended/`") && summary.contains("What loads the adapters"), "{summary}");
    let mark =
        |name: &str| json_of(&fixture, "a/recommended/exported_from.json")[name].as_str().unwrap().to_owned();
    let first = mark("adapter");
    assert!(fixture.path("a").join(&first).join("adapter_config.json").exists());
    assert!(fixture.path("a/recommended/adapter_config.json").exists());
    assert!(!fixture.path("a/recommended/config.json").exists());
    // Of full fine-tuning it is the whole model, and nothing of the other is left.
    run(&fixture, "a", FULL, &[]).done();
    assert_ne!(mark("adapter"), first);
    assert!(!fixture.path("a/recommended/adapter_config.json").exists());
    let config = json_of(&fixture, "a/recommended/config.json");
    assert_eq!(config["id2label"], json!({"0": "bad", "1": "good"}));
    // What was damaged, or left by a process that was killed, is made anew, or goes.
    let (size, left) = (fixture.read("a/recommended/config.json").len(), "a/..recommended.new.tmp.7.0.tmp/x");
    fixture.write("a/recommended/config.json", "");
    fixture.write(left, "left");
    run(&fixture, "a", FULL, &[]).done();
    assert_eq!(fixture.read("a/recommended/config.json").len(), size);
    assert!(!fixture.path(left).exists());
    // Somebody else's folder is left alone, and told.
    std::fs::remove_dir_all(fixture.path("a/recommended")).unwrap();
    fixture.write("a/recommended/mine.txt", "mine");
    let ended = run(&fixture, "a", FULL, &[]).done();
    assert!(ended.stderr.contains("recommended/ was not written"), "{}", ended.stderr);
    assert_eq!(fixture.read("a/recommended/mine.txt"), b"mine");
    assert_eq!(json_of(&fixture, "a/recommendation.json")["exported"], Value::Null);
}

#[test]
fn exports_find_the_base_model_or_ask_for_it() {
    let fixture = Fixture::new();
    run(&fixture, "a", FULL, &[]).done();
    let adapter = format!("{}/adapter", fixture.only_trial("a"));
    let inspected = fixture.run(&["adapter", "inspect", &adapter]).done().stdout;
    assert!(inspected.starts_with("full, ") && inspected.contains("loads in: Transformers"), "{inspected}");
    let ended = fixture.run(&["adapter", "export", &adapter, "--out", "whole"]).done();
    assert!(ended.stdout.contains("whole: a whole model for Transformers"), "{}", ended.stdout);
    let again = fixture.run(&["adapter", "export", &adapter, "--out", "whole"]);
    again.is_refused("twice", &["whole: the folder: expected none, or an empty one"]);
    // The exported model is one to train, and to be asked.
    fixture.run(&["model", "inspect", "whole"]).done();
    let eval = ["eval", "--model", "model", "--adapter", "whole", "--texts", "train.tsv"];
    fixture.run(&eval).is_refused("a whole model", &["give this folder as --model"]);
    std::fs::rename(fixture.path("model"), fixture.path("elsewhere")).unwrap();
    let lost = fixture.run(&["adapter", "export", &adapter, "--out", "other"]);
    lost.is_refused("no base", &["tenfold.json", "say where it is with --model"]);
    fixture.run(&["adapter", "export", &adapter, "--out", "other", "--model", "elsewhere"]).done();
    assert_eq!(fixture.read("other/model.safetensors"), fixture.read("whole/model.safetensors"));
}

#[test]
fn an_adapter_of_pairs_reads_pairs_and_cut_lines_are_told() {
    let fixture = Fixture::new();
    let task = String::from_utf8(fixture.read("task.toml")).unwrap();
    fixture.write("task.toml", task.replace("text = \"text\"", "text = \"text\"\ntext_pair = \"other\""));
    for name in ["train.tsv", "validation.tsv", "test.tsv", "there.tsv"] {
        let rows = String::from_utf8(fixture.read(name)).unwrap();
        let paired = rows.replace("text\tlabel", "text\tother\tlabel").replace("\tbad", "\tfilm\tbad");
        fixture.write(name, paired.replace("\tgood\n", "\tbook\tgood\n"));
    }
    run(&fixture, "a", LORA, &[]).done();
    let adapter = format!("{}/adapter", fixture.only_trial("a"));
    let eval = |texts: &str| {
        fixture.write("texts.txt", texts);
        fixture.run(&["eval", "--model", "model", "--adapter", &adapter, "--texts", "texts.txt", "--json"])
    };
    let logits = |texts: &str| -> Value {
        let ended = eval(texts).done();
        serde_json::from_str::<Value>(ended.stdout.lines().next().unwrap()).unwrap()["logits"].clone()
    };
    assert_ne!(logits("a good film\tbook"), logits("a good\tfilm book"), "where the tab stands matters");
    for (texts, found) in
        [("a good film", "found 1 text"), ("a\tb\tc", "found 3 texts"), ("a\t \n", "found 1 text")]
    {
        eval(texts)
            .is_refused(texts, &["texts.txt: line 1: expected two texts with a tab between them", found]);
    }
    let long = format!("a film\tbook\n\n{}\tbook\n", "film ".repeat(40));
    let ended = eval(&long).done();
    assert!(
        ended.stderr.contains("1 line was cut to 32 tokens, the most that the model reads: 3"),
        "{}",
        ended.stderr
    );
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0].get("cut"), &lines[1]["cut"]), (None, &json!(true)));
}
