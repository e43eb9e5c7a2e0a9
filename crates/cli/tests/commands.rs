//! What every command promises to scripts: exit codes, JSON and nothing else on stdout, words on stderr.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, SHORT, TASK};
use serde_json::Value;

#[test]
fn wrong_usage_is_exit_code_2_with_a_hint() {
    let fixture = Fixture::new();
    let texts = ["eval", "--model", "model", "--adapter", "a", "--texts", "t.txt"];
    for (option, value) in [
        ("--task", Some("task.toml")),
        ("--domain", Some("here")),
        ("--num-fewshot", Some("1")),
        ("--limit", Some("1")),
        ("--weights", Some("f32")),
        ("--weights", Some("foo")),
        ("--out", Some("b")),
        ("--skip-malformed", None),
    ] {
        let arguments = texts.into_iter().chain([option]).chain(value).collect::<Vec<_>>();
        let ended = fixture.run(&arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        let said = ended.stderr.contains(option) && ended.stderr.contains("--texts");
        assert!(said, "{arguments:?}: {}", ended.stderr);
    }
    let train = ["train", "--model", "model", "--task", "task.toml"];
    for (option, value, expected) in [
        ("--learning-rate", "nan", "expected a number above 0, found nan"),
        ("--learning-rate", "-1", "expected a number above 0, found -1"),
        ("--learning-rate", "1e-3x", "expected a number above 0, found 1e-3x"),
        (
            "--seed",
            "18446744073709551615",
            "expected a whole number from 0 to 9,223,372,036,854,775,807, found 1844",
        ),
        ("--seed", "-1", "expected a whole number from 0 to"),
        ("--memory-limit", "much", "--memory-limit <BYTES>"),
    ] {
        let ended = fixture.run(&[&train[..], &[&format!("{option}={value}")]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{option} {value}");
        assert!(ended.stderr.contains(option) && ended.stderr.contains(expected), "{}", ended.stderr);
    }
    let cases: [(&[&str], &str); 14] = [
        (&["eval", "--model", "model", "--task", "t", "--limit", "0"], "expected 1 or more, found 0"),
        (&[], "Usage"),
        (&["quikstart"], "quickstart"),
        (&["run"], "<STUDY>"),
        (&["run", "study.toml", "--ouut", "a"], "--out"),
        (&["list", "method"], "methods"),
        (&["recommend"], "<RUN>"),
        (
            &["recommend", "a", "--for", "acuracy"],
            "'--for <PURPOSE>': there is no purpose named \"acuracy\": did you mean",
        ),
        (&["recommend", "a", "--for", "cheap"], "'--for <PURPOSE>': there is no purpose named \"cheap\""),
        (&["recommend", "a", "--for", "cheap"], "small-data"),
        (&["eval", "--model", "model"], "--adapter"),
        (&["adapter"], "inspect"),
        (&["model", "inspect"], "<NAME>"),
        (&["model", "quantize", "model", "--out", "x.gguf"], "--weights"),
    ];
    for (arguments, hint) in cases {
        let ended = fixture.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains(hint), "{arguments:?}: {}", ended.stderr);
    }
    for arguments in [["--help"], ["--version"]] {
        assert!(!fixture.run(&arguments).done().stdout.is_empty());
    }
    let help = fixture.run(&["--help"]).stdout;
    assert!(help.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped"), "{help}");
}

#[test]
fn what_was_meant_is_said_with_exit_code_1() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let bench = ["bench", "infer", "--model", "model", "--weights", "foo"];
    let train = ["train", "--model", "model", "--task", "task.toml", "--weights", "foo"];
    let weights = ["no format of weights named \"foo\"", "known are"];
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["run", "study.toml", "--set", "train.batch_size=x"],
            &["train.batch_size: expected a whole number, 0 or more, found \"x\" (--set train.batch_size=x)"],
        ),
        (
            &["run", "study.toml", "--out", "only", "--only", "loar"],
            &["no method of this study named \"loar\": did you mean \"lora\"?"],
        ),
        (&["eval", "--model", "model", "--task", "boolq", "--weights", "foo"], &weights),
        (&bench, &weights),
        (&train, &weights),
        (&["run", "study.toml", "--set", "train.batch_sise=3"], &["did you mean \"train.batch_size\"?"]),
        (&["run", "study.toml", "--set", "train"], &["--set train", "key=value"]),
        (&["model", "inspect", "no/model"], &["no/model", "Tried", "Put config.json"]),
        (&["model", "pull", "../etc"], &["../etc"]),
        (&["adapter", "inspect", "nowhere"], &["nowhere/adapter_config.json"]),
    ];
    for (arguments, words) in cases {
        let ended = fixture.run(arguments);
        ended.is_refused(&arguments.join(" "), words);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn json_is_all_there_is_on_stdout() {
    let fixture = Fixture::new();
    let json = |arguments: &[&str]| -> Value {
        let ended = fixture.run(arguments).done();
        serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", ended.stdout))
    };
    let recommended = json(&[&["run", "study.toml", "--out", "a", "--json"][..], &SHORT].concat());
    assert_eq!(recommended, json(&["report", "a", "--json"]));
    assert_eq!(recommended["purpose"], "balanced");
    assert_eq!(json(&["recommend", "a", "--for", "storage", "--json"])["purpose"], "storage");
    for (what, key) in
        [("methods", "settings"), ("models", "source"), ("tasks", "domains"), ("metrics", "what")]
    {
        let rows = json(&["list", what, "--json"]);
        let rows = rows.as_array().unwrap();
        assert!(
            !rows.is_empty() && rows.iter().all(|row| row["name"].is_string() && !row[key].is_null()),
            "{what}"
        );
    }
    assert_eq!(json(&["model", "inspect", "model", "--json"])["hidden_size"], 16);
    let adapter = format!("{}/adapter", fixture.only_trial("a"));
    assert_eq!(json(&["adapter", "inspect", &adapter, "--json"])["config"]["peft_type"], "LORA");

    fixture.write("texts.txt", "a good film\n\nwe slept\n");
    for merged in [&[][..], &["--merged"]] {
        let arguments = ["eval", "--model", "model", "--adapter", &adapter, "--texts", "texts.txt", "--json"];
        let ended = fixture.run(&[&arguments[..], merged].concat()).done();
        let rows: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(rows.len() == 2 && rows.iter().all(|row| row["logits"].as_array().unwrap().len() == 2));
        for (row, (line, text)) in rows.iter().zip([(1, "a good film"), (3, "we slept")]) {
            assert_eq!((row["line"].as_u64(), row["text"].as_str()), (Some(line), Some(text)), "{row}");
            let label = ["bad", "good"][row["index"].as_u64().unwrap() as usize];
            assert_eq!(row["label"], label);
            let probability = |label: &str| row["probabilities"][label].as_f64().unwrap();
            assert!((probability("bad") + probability("good") - 1.0).abs() < 1e-12, "{row}");
            assert!(probability(label) >= 0.5, "{row}");
        }
    }
}

#[test]
fn progress_is_json_lines_where_a_program_reads_it() {
    let fixture = Fixture::new();
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let ended = fixture.run(arguments);
        ended
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    };
    let run = ["run", "study.toml", "--out", "a", "--log-format", "json"];
    let all = lines(&[&run[..], &SHORT].concat());
    let of = |event: &str| all.iter().filter(|line| line["event"] == event).cloned().collect::<Vec<_>>();
    assert!(of("started").iter().any(|line| line["title"] == "comparison" && line["total"] == 1), "{all:?}");
    assert_eq!(of("started").len(), of("finished").len());
    let failed = lines(&["--log-format", "json", "run", "nothing.toml"]);
    assert!(failed[0]["event"] == "error" && failed[0]["message"].as_str().unwrap().contains("nothing.toml"));
}

#[test]
fn recommend_is_a_query_that_changes_no_file_unless_it_is_told_to() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let documents = || {
        ["recommendation.json", "summary.md", "report.html", "metrics.json", "study.toml"]
            .map(|name| fixture.read(&format!("a/{name}")))
    };
    let before = documents();
    let said = fixture.run(&["recommend", "a", "--for", "accuracy"]).done().stdout;
    assert!(said.starts_with("For the highest accuracy, take "), "{said}");
    assert_eq!(documents(), before);
    fixture.run(&["recommend", "a", "--for", "accuracy", "--write"]).done();
    let after = documents();
    let kept: Value = serde_json::from_slice(&after[0]).unwrap();
    assert_eq!(kept["purpose"], "accuracy");
    assert!(String::from_utf8_lossy(&after[1]).contains("For the highest accuracy, take "));
    assert_eq!(after[4], before[4]);
}

#[test]
fn where_no_method_can_be_recommended_the_exit_code_says_so() {
    let fixture = Fixture::new();
    let probed: Vec<&str> = SHORT.iter().copied().filter(|option| !option.contains("probe")).collect();
    let target = "--set=applications=[{name='wire',target_seconds=1e-9}]";
    let run = [&["run", "study.toml", "--out", "a", target][..], &probed].concat();
    for arguments in [&run[..], &["recommend", "a"]] {
        let ended = fixture.run(arguments);
        // A machine that was disturbed meanwhile shows no target as missed: nothing is left out then.
        let decided = !fixture.is_disturbed("a", "for_wire");
        assert_eq!(ended.code, Some(i32::from(decided)), "{arguments:?}: {ended:#?}");
        for (said, words) in [
            (&ended.stdout, "No method can be recommended"),
            (&ended.stderr, "no method can be recommended for the purpose \"balanced\""),
            (&ended.stdout, "it misses wire (p95 within 0.0010 µs)"),
        ] {
            assert_eq!(said.contains(words), decided, "\"{words}\": {ended:#?}");
        }
    }
    assert!(fixture.path("a/report.html").exists());

    let diverging = "--set=methods={lora={learning_rate=1e300}}";
    fixture.run(&[&["run", "study.toml", "--out", "b"][..], &SHORT, &[diverging]].concat());
    let words = "no method can be recommended for the purpose \"balanced\"";
    fixture.run(&["recommend", "b"]).is_refused("a study without a score", &[words]);
}

#[test]
fn a_tuned_classifier_answers_with_its_labels_and_the_lines_numbers() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let adapter = format!("{}/adapter", fixture.only_trial("a"));
    fixture.write("texts.txt", "a good film\n\nwe slept\n");
    let eval = || fixture.run(&["eval", "--model", "model", "--adapter", &adapter, "--texts", "texts.txt"]);
    let lines = |ended: fixture::Ended| -> Vec<Vec<String>> {
        ended.stdout.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    };
    let named = lines(eval().done());
    assert_eq!([&named[0][0], &named[0][3]], ["1", "a good film"]);
    assert_eq!([&named[1][0], &named[1][3]], ["3", "we slept"]);
    assert!(named.iter().all(|line| line[2].starts_with(&format!("{} 0.", line[1]))), "{named:?}");
    // The same from the standard input, behind a byte order mark; what is no text is refused.
    let mut piped = fixture.command(&["eval", "--model", "model", "--adapter", &adapter, "--texts", "-"]);
    let text = std::fs::read(fixture.path("texts.txt")).unwrap();
    fixture.write("marked.txt", [b"\xef\xbb\xbf", &text[..]].concat());
    let ended = piped.stdin(std::fs::File::open(fixture.path("marked.txt")).unwrap()).output().unwrap();
    assert_eq!(lines(fixture::Ended::of(ended).done()), named);
    fixture.write("texts.txt", b"good\ncaf\xe9\n");
    eval().is_refused("bytes that are no text", &["texts.txt: line 2, byte 8", "0xe9"]);
    fixture.write("texts.txt", text);
    assert!(named.iter().all(|line| ["bad", "good"].contains(&line[1].as_str())), "{named:?}");
    // As of PEFT's own adapters, whose labels nobody knows.
    std::fs::remove_file(fixture.path(&adapter).join("labels.json")).unwrap();
    let numbered = lines(eval().done());
    for (named, numbered) in named.iter().zip(&numbered) {
        assert_eq!(numbered[1], if named[1] == "bad" { "0" } else { "1" });
    }
    fixture.write(&format!("{adapter}/labels.json"), "[\"good\"]");
    eval().is_refused("too few labels", &["labels.json", "expected a list of 2 names", "found 1 names"]);
}

#[test]
fn the_table_is_no_wider_than_columns_says() {
    let fixture = Fixture::new();
    let name = "lora-with-a-name-that-somebody-thought-about-for-a-long-time";
    let methods = format!("--set=methods={{{name}={{type='lora',learning_rate=1e-3}}}}");
    let mut arguments = vec!["run", "study.toml", "--out", "a", &methods];
    arguments.extend(&SHORT[1..]);
    for columns in [100, 80, 60] {
        let mut command = fixture.command(&arguments);
        let ended = fixture::Ended::of(command.env("COLUMNS", columns.to_string()).output().unwrap()).done();
        // Only a word that is longer than a line, the method's name in a sentence, may pass the edge.
        let fits = |line: &str| line.chars().count() <= columns || line.split_whitespace().count() == 1;
        let words = ended.stdout.lines().take_while(|line| !line.starts_with("Report: "));
        assert!(words.into_iter().all(fits), "{columns}\n{}", ended.stdout);
        let table = ended.stdout.lines().take_while(|line| !line.is_empty());
        assert!(table.map(|line| line.chars().count()).max().unwrap() > columns / 2, "{}", ended.stdout);
    }
}

#[test]
fn a_quantised_model_is_a_file_that_is_never_written_over() {
    let fixture = Fixture::new();
    let quantize = |weights: &str, more: &[&str]| {
        fixture.run(
            &[&["model", "quantize", "model", "--weights", weights, "--out", "half.gguf"][..], more].concat(),
        )
    };
    quantize("q5_0", &[])
        .is_refused("q5_0", &["no format of weights named \"q5_0\"", "did you mean \"q8_0\"?"]);
    quantize("nf4", &[]).is_refused("nf4", &["ggml has no such format", "folder"]);
    let written: Value = serde_json::from_str(&quantize("f16", &["--json"]).done().stdout).unwrap();
    assert_eq!(written["out"], "half.gguf");
    assert!(written["bytes"].as_u64().unwrap() < written["bytes_before"].as_u64().unwrap());
    let inspect = |model: &str| -> Value {
        let ended = fixture.run(&["model", "inspect", model, "--json"]).done();
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let (mut file, folder) = (inspect("./half.gguf"), inspect("model"));
    assert_eq!(file["gguf"]["formats"], written["formats"]);
    file["gguf"] = Value::Null;
    assert_eq!(file, folder);
    let before = fixture.read("half.gguf");
    quantize("f32", &[]).is_refused("a file that exists", &["half.gguf", "there already"]);
    assert_eq!(fixture.read("half.gguf"), before);
    let again =
        fixture.run(&["model", "quantize", "half.gguf", "--weights", "bf16", "--out", "other.gguf"]).done();
    assert!(again.stdout.contains("BF16") && again.stdout.contains("of tensors before"), "{}", again.stdout);
}

#[test]
fn a_finished_run_is_not_run_again_and_a_changed_one_is() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let trial = fixture.only_trial("a");
    assert!(fixture.short_run("a").done().stderr.contains("finished already"));
    assert_eq!(fixture.only_trial("a"), trial);
    let (study, report) = (fixture.read("a/study.toml"), fixture.read("a/report.html"));
    let changed =
        fixture.run(&[&["run", "study.toml", "--out", "a", "--set=seeds=[1]"][..], &SHORT].concat()).done();
    assert!(changed.stderr.contains("comparison, 1 trial\n"));
    // A report stays with the study that it is of.
    assert!(
        changed.stderr.contains("a held another study (seeds: [0] before, [1] now)"),
        "{}",
        changed.stderr
    );
    assert!(changed.stderr.contains("kept in a/earlier-1"), "{}", changed.stderr);
    assert_eq!(fixture.read("a/earlier-1/study.toml"), study);
    assert_eq!(fixture.read("a/earlier-1/report.html"), report);
    // `report` shows the study as it was asked for last.
    let report = fixture.run(&["report", "a"]).done();
    assert!(!report.stderr.contains("not there"), "{report:?}");
    // The trial of the first study is there still.
    let first = fixture.short_run("a").done();
    assert!(
        first.stderr.contains("finished already") && first.stderr.contains("earlier-2"),
        "{}",
        first.stderr
    );
}

#[test]
fn a_study_is_run_and_its_run_reported_on_from_anywhere() {
    let fixture = Fixture::new();
    for name in [
        "model/config.json",
        "task.toml",
        "train.tsv",
        "validation.tsv",
        "test.tsv",
        "there.tsv",
        "study.toml",
    ] {
        assert!(fixture.path(name).exists());
    }
    let study = fixture.path("study.toml").to_str().unwrap().to_owned();
    let run = fixture.path("run").to_str().unwrap().to_owned();
    let from = |folder: &str, arguments: &[&str]| {
        std::fs::create_dir_all(fixture.path(folder)).unwrap();
        let mut command = fixture.command(arguments);
        fixture::Ended::of(command.current_dir(fixture.path(folder)).output().unwrap())
    };
    let arguments = [&["run", study.as_str(), "--out", run.as_str()][..], &SHORT].concat();
    from("elsewhere", &arguments).done();
    let report = from("", &["report", "run", "--json"]).done().stdout;
    for folder in ["elsewhere", "quite/elsewhere"] {
        assert_eq!(from(folder, &["report", &run, "--json"]).done().stdout, report);
        from(folder, &["recommend", &run, "--for", "storage"]).done();
    }
    // The same trial from wherever it is asked for, and the model by the name that was typed.
    let again = from("", &[&["run", "study.toml", "--out", "run"][..], &SHORT].concat()).done();
    assert!(again.stderr.contains("finished already"), "{}", again.stderr);
    assert_eq!(fixture::records(&fixture.path("run"))[0].1["trial"]["model"]["name"], "model");
    // A path that leads to something in the current directory alone.
    std::fs::rename(fixture.path("study.toml"), fixture.path("elsewhere/study.toml")).unwrap();
    let again = from("", &[&["run", "elsewhere/study.toml", "--out", "run"][..], &SHORT].concat()).done();
    assert!(again.stderr.contains("finished already"), "{}", again.stderr);
}

/// Every trial is refused before anything is trained, each in a record of its own.
#[test]
fn what_does_not_fit_into_memory_is_refused_with_the_figures() {
    let fixture = Fixture::new();
    let ended = fixture.run(&["run", "study.toml", "--out", "a", "--memory-limit", "1MiB"]);
    ended.is_refused(
        "a limit of memory",
        &["training would take", "1.00 MiB are allowed (base", "What would help"],
    );
    let records = fixture::records(&fixture.path("a"));
    assert!(!records.is_empty());
    for (_, record) in records {
        let reason = record["result"]["failed"]["reason"].as_str().unwrap();
        assert!(reason.contains("the process itself"), "{reason}");
        assert!(record["trial"]["train"]["memory_limit"].is_null(), "the limit is no part of a trial");
    }
}

#[test]
fn a_list_of_tasks_has_headings_and_fits_a_terminal() {
    let list = Fixture::new().run(&["list", "tasks"]).done().stdout;
    for heading in
        ["Labels and numbers: GLUE", "Labels and choices: SuperGLUE", "Language models: perplexity of a text"]
    {
        assert!(list.lines().any(|line| line == heading), "{heading}: {list}");
    }
    // Only a word that is longer than its column, an address, may pass the edge.
    let fits = |line: &str| line.chars().count() <= 80 || line.split_whitespace().count() == 1;
    assert!(list.lines().all(fits), "{list}");
}

#[test]
fn training_tells_programs_of_rows_that_were_left_out_and_counts_a_regressions_loss_in_squares() {
    let fixture = Fixture::new();
    let train = |more: &[&str]| {
        let short = ["--set", "train.max_steps=2", "--set", "train.num_train_epochs=1"];
        fixture
            .run(&[&["train", "--model", "model", "--task", "other.toml"][..], &short, more].concat())
            .done()
    };
    let rows = String::from_utf8(fixture.read("train.tsv")).unwrap() + "good film\tstrange\n";
    fixture.write("train.tsv", rows.as_bytes());
    fixture.write("other.toml", format!("malformed = \"skip\"\n{TASK}").as_bytes());
    let ended = train(&["--out", "labels", "--json"]);
    let notes = serde_json::from_str::<Value>(&ended.stdout).unwrap()["notes"].clone();
    let left_out = |note: &Value| note.as_str().unwrap().contains("malformed and left out");
    assert!(notes.as_array().unwrap().iter().any(left_out), "{notes}");
    assert!(ended.stderr.contains("training, 1 trial\n"), "{}", ended.stderr);
    let numbers = TASK
        .replace("classification", "regression")
        .replace("\"accuracy\"", "\"pearson\"")
        .replace("labels = [\"bad\", \"good\"]\n", "");
    for file in ["train.tsv", "validation.tsv", "test.tsv", "there.tsv"] {
        let text = String::from_utf8(fixture.read(file)).unwrap();
        let text = text.replace("\tstrange", "\t0.5").replace("\tbad", "\t-0.5").replace("\tgood", "\t0.7");
        fixture.write(file, text.as_bytes());
    }
    fixture.write("other.toml", numbers.as_bytes());
    let words = train(&["--out", "numbers"]).stdout;
    assert!(words.contains("(squared error)") && !words.contains("nats"), "{words}");
}

#[test]
fn a_pass_of_no_tokens_is_refused_with_what_may_be_said() {
    let fixture = Fixture::new();
    let passes = ["bench", "train", "--model", "model", "--method", "lora", "--pass-tokens", "0"];
    let ended = fixture.run(&passes);
    assert_eq!(ended.code, Some(2));
    let words = "--pass-tokens <PASS_TOKENS>': expected 1 to 1,000,000,000, found 0";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn rows_that_do_not_fit_into_memory_are_refused_before_they_are_made() {
    let fixture = Fixture::new();
    let bench = |what: &str, more: &[&str]| {
        let model = ["bench", what, "--model", "model", "--batch", "10000000000", "--seq", "16"];
        fixture.run(&[&model[..], more].concat())
    };
    let train = ["--method", "lora", "--memory-limit", "1GiB"];
    bench("train", &["--method", "lora"])
        .is_refused("more rows than are counted", &["batch_size: expected 1 to"]);
    let batch = ["bench", "train", "--model", "model", "--batch", "100000000", "--seq", "16"];
    fixture.run(&[&batch[..], &train].concat()).is_refused(
        "training",
        &["batch: expected rows that fit into the 1.00 GiB that are allowed", "100000000 rows of 16 tokens"],
    );
    bench("infer", &[])
        .is_refused("answering", &["batch: expected rows that fit", "10000000000 rows of 16 tokens"]);
}

#[test]
fn training_all_of_a_narrow_base_says_that_it_is_widened() {
    let fixture = Fixture::new();
    let train = |method: &str| {
        let model = ["train", "--model", "model", "--task", "task.toml", "--weights", "bf16"];
        let short = ["--set", "train.num_train_epochs=1", "--memory-limit", "2GiB", "--method", method];
        fixture.run(&[&model[..], &short].concat()).done().stderr
    };
    let (full, lora) = (train("full"), train("lora"));
    assert!(full.contains("full, seed 0: its copy of the base's weights is widened from bf16"), "{full}");
    assert!(!lora.contains("widened"), "{lora}");
}
