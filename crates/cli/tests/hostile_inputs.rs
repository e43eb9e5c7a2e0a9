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
        ("half of UTF-16", b"\xff\xfet\0e\0x".to_vec(), &["UTF-16", "a single byte"]),
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
        ("empty", Vec::new(), &["domains", "metric", "output_type"]),
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
fn settings_that_no_model_can_have_are_refused_with_their_key_before_anything_is_trained() {
    let fixture = Fixture::new();
    let huge = "1152921504606846976";
    for (method, setting, words) in [
        ("lora", "r=0", ".r: expected a whole number of 1 or more, found 0"),
        ("lora", "r=-1", ".r: expected a whole number of 1 or more, found -1"),
        ("lora", &format!("r={huge}"), ".r: expected 1 to 16, the highest rank"),
        ("lora", "r=100000", ".r: expected 1 to 16, the highest rank that the chosen matrices can have"),
        (
            "lora",
            "lora_dropout=1.5",
            ".lora_dropout: expected a probability of 0 or more, below 1, found 1.5",
        ),
        (
            "lora",
            "target_modules=[\"foo\"]",
            ".target_modules: expected modules of this model (query, key, value, dense; the first is",
        ),
        ("lora", "rank_pattern={query=100}", ".rank_pattern: expected 1 to 16"),
        (
            "lora",
            "target_modules=[\"query\",\"valu\"]",
            ".target_modules: \"valu\": no module of this model has this name: did you mean \"value\"?",
        ),
        (
            "lora",
            "target_modules=[\"query\",\"classifier\"]",
            ".target_modules: \"classifier\": a module of this model that",
        ),
        (
            "lora",
            "exclude_modules=[\"foo\"]",
            ".exclude_modules: \"foo\": no module of this model has this name",
        ),
        (
            "lora",
            "layers_to_transform=[0,7]",
            ".layers_to_transform: 7: no module of target_modules stands in this",
        ),
        (
            "lora",
            "alpha_pattern={key=64}",
            ".alpha_pattern: \"key\": none of the modules that target_modules chooses",
        ),
        (
            "ia3",
            "feedforward_modules=[\"query\"]",
            ".feedforward_modules: \"query\": none of the modules that",
        ),
        (
            "lora",
            "use_bdlora=true",
            ".use_bdlora: BD-LoRA: PEFT has this setting, this version does not support it",
        ),
        (
            "lora",
            "modules_to_save=[\"foo\"]",
            ".modules_to_save: modules trained whole besides the head: PEFT has this",
        ),
        ("lora", "rr=1", ".rr: there is no such setting: did you mean \"r\"?"),
        (
            "lora",
            "learning_rat=1",
            ".learning_rat: there is no such setting: did you mean \"learning_rate\"?",
        ),
        ("ia3", "target_modules=\"(\"", ".target_modules: expected a regular expression"),
        (
            "p_tuning",
            &format!("encoder_hidden_size={huge}"),
            ".encoder_hidden_size: expected a whole number from 1 to 16,384",
        ),
        ("prompt_tuning", "num_virtual_tokens=100", ".num_virtual_tokens: expected 1 to 31, found 100"),
        (
            "prompt_tuning",
            "num_virtual_tokens=0",
            ".num_virtual_tokens: expected a whole number of 1 or more",
        ),
        (
            "prompt_tuning",
            "prompt_tuning_init=\"TEXT\"",
            ".prompt_tuning_init_text: expected a text of at least one word",
        ),
    ] {
        // Beside one that could be trained, and would be first.
        let set = format!(
            "--set=methods={{full={{learning_rate=1e-3}},{method}={{learning_rate=1e-3,{setting}}}}}"
        );
        let arguments = [&["run", "study.toml", "--out", "a"][..], &SHORT[1..], &[&set]].concat();
        fixture.run(&arguments).is_refused(setting, &[&format!("methods.{method}{words}")]);
        assert!(fixture.files("a/trials").is_empty(), "{setting}: something was trained");
        let set = format!("methods.{method}.{setting}");
        let train = [
            "train",
            "--model",
            "model",
            "--task",
            "task.toml",
            "--method",
            method,
            "--out",
            "b",
            "--set",
            &set,
        ];
        fixture.run(&train).is_refused(setting, &[&format!("methods.{method}{words}")]);
    }
    let space = "--set=methods={lora={space={target_modules=[[\"query\"],[\"foo\"]]}}}";
    let search = ["--set=search.candidates=8", "--set=search.strategy=grid"];
    let arguments = [&["run", "study.toml", "--out", "a"][..], &SHORT[1..], &search, &[space]].concat();
    fixture.run(&arguments).is_refused("a space", &["methods.lora.target_modules", "found [\"foo\"]"]);
    assert!(fixture.files("a/trials").is_empty(), "a space: something was trained");
    let space =
        "--set=methods={lora={alpha_pattern={key=4},space={target_modules=[[\"query\"],[\"value\"]]}}}";
    let arguments = [&["run", "study.toml", "--out", "a"][..], &SHORT[1..], &search, &[space]].concat();
    fixture.run(&arguments).is_refused("a pattern of no candidate", &["methods.lora.alpha_pattern: \"key\""]);
}

#[test]
fn what_the_model_or_the_rows_cannot_give_is_refused_or_told_before_anything_is_trained() {
    let fixture = Fixture::new();
    fixture.write("general.txt", "a good film");
    let run = |out: &str, set: &str| {
        fixture.run(&[&["run", "study.toml", "--out", out][..], &SHORT, &["--set", set]].concat())
    };
    for (set, words) in [
        (
            "margin=5",
            "margin: expected 0 to 1, as accuracy is a share (0.01 is one point in a hundred), found 5",
        ),
        ("wanted_half_width=2", "wanted_half_width: expected 0 to 1, as accuracy is a share"),
        (
            "forgetting_text=general.txt",
            "forgetting_text: expected none, as a model with a head has no loss of a text",
        ),
        ("forgetting_text=missing.txt", "forgetting_text: expected a file of text, found \"missing.txt\""),
        ("domains=[\"task.toml\"]", "domains: expected other tasks than the study's own"),
    ] {
        run("a", set).is_refused(set, &[words]);
        assert!(fixture.files("a/trials").is_empty(), "{set}: something was trained");
    }
    let ended = run("b", "small_data={examples=[8, 96, 200], draws=1, steps=1}").done();
    let words = "small_data.examples: 96 and 200 are left out, for there are 96 training rows in all";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
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
    let words = ["no longer numbers", "try a lower learning rate than 1e300"];
    fixture.run(&arguments).is_refused("a rate of 1e300", &words);
    assert!(fixture.files("a").iter().all(|file| !file.ends_with("adapter_model.safetensors")));
}

#[test]
fn the_first_rows_of_a_file_that_is_sorted_by_label_are_no_training() {
    let fixture = Fixture::new();
    let text = String::from_utf8(fixture.read("train.tsv")).unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_by_key(|row| row.rsplit('\t').next().unwrap());
    fixture.write("train.tsv", format!("{head}\n{}\n", rows.join("\n")));
    let some = |more: &[&str]| {
        fixture.run(&[&["run", "study.toml", "--out", "a", "--set=train_rows=20"][..], &SHORT, more].concat())
    };
    let words = ["train_rows", "\"bad\" alone", "rows = \"spread\" takes some of each label"];
    some(&[]).is_refused("rows of one label", &words);
    let ended = some(&["--set=rows=spread"]).done();
    // Words of so small a vocabulary meet again: what is trained on and tested on is told where the advice is read.
    let told = "test rows have a text that is also trained on";
    let summary = String::from_utf8(fixture.read("a/summary.md")).unwrap();
    let (_, advice) = summary.split_once("Before you follow it").unwrap();
    assert_eq!(
        ended.stderr.contains(told),
        advice.split("Rule:").next().unwrap().contains(told),
        "{summary}"
    );
    let all =
        fixture.run(&[&["run", "study.toml", "--out", "b", "--set=test_rows=0"][..], &SHORT].concat()).done();
    assert!(all.stdout.contains(told) && all.stderr.contains(told), "{all:#?}");
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
