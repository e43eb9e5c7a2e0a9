//! Damaged and malicious data, tasks, studies, settings and caches: an error that says what to mend, never a panic.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, SHORT, STUDY, TASK};
use std::fs;

#[test]
fn rows_that_cannot_be_read_are_refused_with_their_line() {
    let fixture = Fixture::new();
    let good = String::from_utf8(fixture.read("train.tsv")).unwrap();
    let with = |tail: &[u8]| [good.as_bytes(), tail].concat();
    let lines = good.lines().count();
    let next = format!("line {}", lines + 1);
    let cases: [(&str, Vec<u8>, &[&str]); 10] = [
        ("a missing column", with(b"film\n"), &[&next, "expected 2 columns", "found 1"]),
        ("a column too many", with(b"a\tgood\tb\n"), &[&next, "expected 2 columns", "found 3"]),
        ("an unknown label", with(b"film\tsplendid\n"), &[&next, "labels bad, good", "\"splendid\""]),
        ("a label that is no number of one", with(b"film\t2\n"), &[&next, "\"2\""]),
        ("bytes that are not UTF-8", with(b"caf\xe9\tgood\n"), &[&next, "UTF-8", "0xe9", "latin-1"]),
        ("UTF-16", b"\xff\xfet\0e\0x\0t\0".to_vec(), &["UTF-16"]),
        ("no text", with(b" \tgood\n"), &[&next, "expected some text"]),
        ("no bytes", Vec::new(), &["expected"]),
        ("no rows", b"text\tlabel\n".to_vec(), &["expected one row or more"]),
        (
            "other columns",
            b"words\tlabel\nfilm\tgood\n".to_vec(),
            &["a column named \"text\"", "words, label"],
        ),
    ];
    for (what, bytes, words) in cases {
        fixture.write("train.tsv", bytes);
        fixture.short_run("a").is_refused(what, &[&["train.tsv"], words].concat());
    }
    fs::remove_file(fixture.path("train.tsv")).unwrap();
    fixture.short_run("a").is_refused("no file", &["train.tsv", "TENFOLD_DATA"]);
    fs::create_dir(fixture.path("train.tsv")).unwrap();
    fixture.short_run("a").is_refused("a folder", &["train.tsv"]);
}

#[test]
fn strange_but_readable_rows_are_trained_on() {
    let fixture = Fixture::new();
    let good = fixture.read("train.tsv");
    // Prompt tuning has to leave room for its own tokens among the model's positions.
    let methods = "--set=methods={lora={learning_rate=1e-3},prompt_tuning={learning_rate=1e-3}}";
    let probe = ["--set=probe.enabled=true", "--set=train.max_length=1000", methods];
    for (what, row) in [
        ("zero bytes", b"film\0was\0good\tgood\n".to_vec()),
        ("a word without end", [&b"x".repeat(200_000)[..], b"\tgood\n"].concat()),
        ("a line without end", ["good film ".repeat(5_000).as_bytes(), b"\tgood\n"].concat()),
        ("signs of all kinds", "\u{202e}\u{0}\u{1f642}\u{feff}\u{3042}\u{301}\tbad\n".into()),
    ] {
        fixture.write("train.tsv", [&good[..], &row].concat());
        fixture.write("test.tsv", [b"text\tlabel\n", &row[..]].concat());
        let arguments = [&["run", "study.toml", "--out", "a"][..], &SHORT, &probe].concat();
        let ended = fixture.run(&arguments).done();
        assert!(!ended.stderr.contains("failed"), "{what}: {}", ended.stderr);
    }
}

#[test]
fn broken_tasks_are_refused_with_the_key() {
    let fixture = Fixture::new();
    let swap = |from: &str, to: &str| TASK.replace(from, to).into_bytes();
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("broken TOML", swap("[columns]", "[columns"), &["line 10", "TOML"]),
        ("not UTF-8", b"name = \"\xff\"".to_vec(), &["UTF-8"]),
        ("empty", Vec::new(), &["domains", "metric", "licence"]),
        ("unknown key", swap("licence =", "license ="), &["license", "did you mean \"licence\"?"]),
        ("unknown metric", swap("\"accuracy\"", "\"beauty\""), &["metric", "accuracy"]),
        ("wrong type", swap("\"text\"", "{}"), &["columns.text"]),
        ("one label", swap("[\"bad\", \"good\"]", "[\"bad\"]"), &["labels", "two or more"]),
        ("no test", swap("test = \"there.tsv\"", ""), &["domains[1].test"]),
    ];
    for (what, bytes, words) in cases {
        fixture.write("task.toml", bytes);
        fixture.short_run("a").is_refused(what, &[&["task.toml"], words].concat());
    }
    fs::remove_file(fixture.path("task.toml")).unwrap();
    fixture.short_run("a").is_refused("no file", &["task.toml"]);
}

#[test]
fn broken_studies_are_refused_with_every_key() {
    let fixture = Fixture::new();
    let swap = |from: &str, to: &str| {
        assert!(STUDY.contains(from));
        STUDY.replace(from, to).into_bytes()
    };
    let huge = i64::MAX.to_string();
    let cases: [(&str, Vec<u8>, &[&str]); 22] = [
        ("broken TOML", swap("seeds = [0]", "seeds = ["), &["line", "TOML"]),
        ("not UTF-8", b"name = \"\xff\"".to_vec(), &["UTF-8"]),
        ("empty", Vec::new(), &["name", "model", "task", "methods"]),
        ("unknown key", swap("batch_size = 8", "batch_sise = 8"), &["did you mean \"train.batch_size\"?"]),
        ("unknown method", swap("[methods.full]", "[methods.ful]"), &["did you mean \"full\"?"]),
        ("unknown setting", swap("lora_dropout", "lora_dropuot"), &["did you mean \"lora_dropout\"?"]),
        ("wrong type", swap("seeds = [0]", "seeds = \"x\""), &["seeds"]),
        ("a table that is none", swap("[train]", "train = 3\n[x]"), &["train", "expected a table"]),
        ("negative", swap("batch_size = 8", "batch_size = -8"), &["train.batch_size"]),
        ("zero", swap("batch_size = 8", "batch_size = 0"), &["train.batch_size"]),
        ("huge batches", swap("batch_size = 8", &format!("batch_size = {huge}")), &["train.batch_size"]),
        ("endless", swap("epochs = 4", &format!("epochs = {huge}")), &["train.num_train_epochs"]),
        (
            "looks without end",
            swap("per_epoch = 2", &format!("per_epoch = {huge}")),
            &["train.evaluations_per_epoch"],
        ),
        ("no time", swap("snapshot_seconds = 0", "snapshot_seconds = -1"), &["snapshot_seconds"]),
        ("all time", swap("snapshot_seconds = 0", "snapshot_seconds = 1e300"), &["snapshot_seconds"]),
        ("no number", swap("snapshot_seconds = 0", "snapshot_seconds = nan"), &["snapshot_seconds"]),
        ("small data without end", swap("steps = 6", &format!("steps = {huge}")), &["small_data.steps"]),
        ("draws without end", swap("draws = 1", &format!("draws = {huge}")), &["small_data.draws"]),
        ("probes without end", swap("steps = 1", &format!("steps = {huge}")), &["probe.steps"]),
        (
            "infinite rate",
            swap("learning_rate = 1e-3", "learning_rate = inf"),
            &["methods.full", "learning_rate"],
        ),
        ("a name that leads elsewhere", swap("\"tiny\"", "\"../tiny\""), &["name"]),
        ("a model that is none", swap("\"model\"", "\"no/such/model\""), &["no/such/model", "Tried"]),
    ];
    for (what, bytes, words) in cases {
        fixture.write("study.toml", bytes);
        let file: &[&str] = if what == "a model that is none" { &[] } else { &["study.toml"] };
        fixture.run(&["run", "study.toml", "--out", "a"]).is_refused(what, &[file, words].concat());
    }
    fixture.run(&["run", "missing.toml"]).is_refused("no file", &["missing.toml"]);
    fixture.run(&["run", "."]).is_refused("a folder", &["cannot read"]);
}

#[test]
fn settings_that_no_model_can_have_are_refused_with_the_method() {
    let fixture = Fixture::new();
    let huge = "1152921504606846976";
    for (method, setting, word) in [
        ("lora", format!("r={huge}"), "lora_A"),
        ("lora", "r=0".into(), "r: expected"),
        ("lora", "lora_dropout=1.5".into(), "lora_dropout: expected"),
        ("lora", "target_modules=[\"nowhere\"]".into(), "target_modules: expected"),
        ("lora", format!("rank_pattern={{query={huge}}}"), "lora_A"),
        ("p_tuning", format!("encoder_hidden_size={huge}"), "mlp_head"),
        ("prefix_tuning", format!("encoder_hidden_size={huge},prefix_projection=true"), "expected at most"),
        ("prompt_tuning", format!("num_virtual_tokens={huge}"), "num_virtual_tokens: expected 1 to 31"),
        ("prompt_tuning", "num_virtual_tokens=0".into(), "num_virtual_tokens: expected 1 to 31"),
    ] {
        let set = format!("--set=methods={{{method}={{learning_rate=1e-3,{setting}}}}}");
        let arguments = [&["run", "study.toml", "--out", "a"][..], &SHORT[1..], &[&set]].concat();
        fixture.run(&arguments).is_refused(&setting, &[method, word]);
    }
}

/// The cache is where a model that is not a folder is looked for.
#[test]
fn weights_that_the_last_step_drives_beyond_all_numbers_are_no_adapter() {
    let fixture = Fixture::new();
    let far = [
        "--set=methods={lora={learning_rate=1e300}}",
        "--set=train.max_steps=1",
        "--set=train.warmup_ratio=0.0",
    ];
    let arguments = [&["run", "study.toml", "--out", "a"][..], &SHORT, &far].concat();
    fixture.run(&arguments).is_refused("a rate of 1e300", &["no longer numbers", "lower learning rate"]);
    assert!(fixture.files("a").iter().all(|file| !file.ends_with("adapter_model.safetensors")));
}

#[test]
fn a_cache_that_cannot_be_used_is_named() {
    let fixture = Fixture::new();
    let run = || fixture.run(&["run", "study.toml", "--out", "a", "--set=model=all-minilm-l6-v2"]);
    run().is_refused("nothing there", &["all-minilm-l6-v2", "Tried", "HF_HUB_OFFLINE"]);
    fs::remove_dir_all(fixture.path("cache")).unwrap();
    fixture.write("cache", "a file");
    run().is_refused("a file", &["cache", "cannot create"]);
    fs::remove_file(fixture.path("cache")).unwrap();
    fixture.write("cache/models/all-minilm-l6-v2/config.json", "{}");
    fixture.write("cache/models/all-minilm-l6-v2/tokenizer.json", "{}");
    fixture.write("cache/models/all-minilm-l6-v2/model.safetensors", "not it");
    run().is_refused("another model", &["SHA-256", "Tried"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |mode| fs::set_permissions(fixture.path("cache"), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o000);
        let readable = fs::read_dir(fixture.path("cache")).is_ok();
        let ended = run();
        mode(0o755);
        // Nothing is forbidden to root; what was said above holds for it, too.
        let words: &[&str] = if readable { &["Tried"] } else { &["cache", "ermission denied"] };
        ended.is_refused("no permission", words);
    }
}

#[test]
fn texts_that_cannot_be_read_are_named() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let adapter = format!("{}/adapter", fixture.only_trial("a"));
    let eval = || fixture.run(&["eval", "--model", "model", "--adapter", &adapter, "--texts", "texts.txt"]);
    eval().is_refused("no file", &["texts.txt"]);
    fixture.write("texts.txt", b"good\ncaf\xe9\n");
    eval().is_refused("not UTF-8", &["texts.txt", "UTF-8"]);
    fixture.write("texts.txt", "");
    assert_eq!(eval().done().stdout, "");
    fixture.write("texts.txt", format!("\0\n{}\n{}\n", "good ".repeat(10_000), "x".repeat(1_000_000)));
    assert_eq!(eval().done().stdout.lines().count(), 3);
}
