//! Killed or stopped at any moment, the same command goes on and ends with the same bits.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Ended, Extents, Fixture, Process, Run, VOCABULARY, records, until};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tenfold::model::checkpoint::read_tensors_and_metadata;
use tenfold_tensor::random;

/// Two seeds and enough steps to be disturbed in.
const LONGER: [&str; 4] = [
    "--set=seeds=[0, 1]",
    "--set=train.num_train_epochs=12",
    "--set=train.early_stopping_patience=20",
    "--set=small_data.steps=20",
];

fn longer(out: &str) -> Vec<&str> {
    [&["run", "study.toml", "--out", out][..], &LONGER].concat()
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    let start = Instant::now();
    fixture.run(&longer("undisturbed")).done();
    let whole = start.elapsed();
    let expected = Run::read(&fixture.path("undisturbed"));
    let roles: BTreeSet<&str> = expected.outcomes.values().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, BTreeSet::from(["main", "probe", "search", "small_data"]));
    assert!(expected.outcomes.values().all(|(_, outcome)| outcome != "failed"), "{expected:?}");

    let mut kills = 0;
    loop {
        let mut process = Process::start(fixture.command(&longer("killed")));
        // Steps of a twentieth to a quarter of the whole, so that all its parts are met, whatever they begin with.
        let share = 0.05 + 0.2 * random::unit_f64(random::mix(7, kills));
        let ended = process.wait_for(whole.mul_f64(share));
        if let Some(ended) = ended {
            ended.done();
            break;
        }
        process.kill();
        kills += 1;
        if kills == 15 {
            fixture.run(&longer("killed")).done();
            break;
        }
    }
    assert!(kills >= 3, "only {kills} kills in {whole:?}");
    assert_same(&Run::read(&fixture.path("killed")), &expected);
    let litter = |path: &Path| path.to_string_lossy().ends_with(".tmp");
    assert_eq!(fixture.files("killed").into_iter().find(|path| litter(path)), None);
    for file in ["report.html", "summary.md", "recommendation.json"] {
        assert!(fixture.path("killed").join(file).exists(), "{file}");
    }
    // What is finished is not run again.
    let again = fixture.run(&longer("killed")).done();
    assert!(again.stderr.contains("finished already"), "{again:?}");
}

/// With the names of what differs, since the whole is too long to read.
#[track_caller]
fn assert_same(found: &Run, expected: &Run) {
    assert_eq!(found.outcomes, expected.outcomes);
    for (name, trained) in &expected.trained {
        assert_eq!(&found.trained[name], trained, "{name}");
    }
    let files = |run: &Run| run.adapters.keys().cloned().collect::<Vec<_>>();
    assert_eq!(files(found), files(expected));
    for (file, bytes) in &expected.adapters {
        assert!(found.adapters[file] == *bytes, "{}", file.display());
    }
}

#[test]
fn a_killed_trial_goes_on_from_its_snapshot_and_does_no_step_twice() {
    let fixture = Fixture::new();
    let arguments = |out| {
        let mut arguments =
            vec!["run", "study.toml", "--out", out, "--set=methods={full={learning_rate=2e-1}}"];
        arguments.extend(["--set=small_data.examples=[]", "--set=probe.enabled=false"]);
        arguments.extend(["--set=train.num_train_epochs=60", "--set=train.early_stopping_patience=200"]);
        arguments
    };
    fixture.run(&arguments("undisturbed")).done();
    // At this learning rate the best weights come early: they must go through the snapshot, too.
    let best = records(&fixture.path("undisturbed"))[0].1["result"]["trained"]["best_step"].as_u64().unwrap();
    assert!(best < 400, "{best}");
    let least = best.max(20) + 1;
    let step = |path: &Path| -> u64 {
        let state = read_tensors_and_metadata(path).map(|(_, metadata)| metadata["training"].clone());
        state.map_or(0, |state| {
            serde_json::from_str::<serde_json::Value>(&state).unwrap()["step"].as_u64().unwrap()
        })
    };
    let snapshot =
        |out: &str| fixture.files(out).into_iter().find(|path| path.ends_with("snapshot.safetensors"));
    // On a busy machine a trial may end between two looks at it: then another one is killed.
    let caught = ["killed", "killed-2", "killed-3", "killed-4"].into_iter().find_map(|out| {
        let mut process = Process::start(fixture.command(&arguments(out)));
        while process.wait_for(Duration::ZERO).is_none() {
            if snapshot(out).is_some_and(|path| step(&path) >= least) {
                process.kill();
                return Some(out).zip(snapshot(out));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    let (out, snapshot) = caught.expect("every trial ended before it could be killed");
    let (done, events) = (step(&snapshot) as usize, snapshot.with_file_name("events.jsonl"));
    let before = fs::read_to_string(&events).unwrap();

    fixture.run(&arguments(out)).done();
    assert_same(&Run::read(&fixture.path(out)), &Run::read(&fixture.path("undisturbed")));
    assert!(!snapshot.exists());
    // A step that was done again has other seconds.
    let after = fs::read_to_string(&events).unwrap();
    let before: Vec<&str> = before.lines().filter(|line| !line.is_empty()).take(done).collect();
    assert!(after.lines().take(done).eq(before), "{done} steps");
}

/// Process ids of the probes of a run.
#[cfg(target_os = "linux")]
fn probes(fixture: &Fixture) -> Vec<PathBuf> {
    let here = fs::canonicalize(fixture.path(".")).unwrap();
    let is_ours = |process: &PathBuf| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let probes = command.split(|byte| *byte == 0).any(|word| word == b"probe");
        probes && fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == here)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(is_ours).collect()
}

const LONG_PROBES: [&str; 5] = [
    "--set=methods={bitfit={learning_rate=1e-3}, full={learning_rate=1e-3}}",
    "--set=train.max_steps=2",
    "--set=train.early_stopping_patience=0",
    "--set=small_data.examples=[]",
    "--set=probe.requests=100000000",
];

#[cfg(target_os = "linux")]
#[test]
fn a_probe_does_not_outlive_its_killed_run() {
    let fixture = Fixture::new();
    let arguments = [&["run", "study.toml", "--out", "a"][..], &LONG_PROBES].concat();
    let mut process = Process::start(fixture.command(&arguments));
    until("a probe", || probes(&fixture).len() == 1);
    process.kill();
    until("the probe's end", || probes(&fixture).is_empty());
    assert!(!fixture.files("a").iter().any(|path| {
        path.ends_with("record.json") && fs::read_to_string(path).unwrap().contains("\"probed\"")
    }));
}

/// Interrupts a process, all of its group as a terminal does, and returns what it left and how long it took.
fn interrupt(process: &mut Process) -> (Ended, Duration) {
    let start = Instant::now();
    process.interrupt_group();
    let ended = process.wait_for(Duration::from_secs(20)).expect("the end of an interrupted process");
    (ended, start.elapsed())
}

#[track_caller]
fn assert_stopped(ended: &Ended, took: Duration) -> String {
    assert_eq!(ended.code, Some(130), "{ended:#?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let command = ended.stderr.split("tenfold: stopped; go on with: ").nth(1).expect(&ended.stderr);
    assert_eq!(command.lines().count(), 1, "{command}");
    command.trim().to_owned()
}

#[test]
fn ctrl_c_in_training_stops_within_a_second_and_the_command_it_names_goes_on() {
    let fixture = Fixture::new();
    fixture.run(&longer("undisturbed")).done();
    let name = "a run, isn't it";
    let mut process = Process::start(fixture.command(&longer(name)));
    let snapshot = |path: &PathBuf| path.ends_with("snapshot.safetensors");
    until("a snapshot", || fixture.files(name).iter().any(snapshot));
    let (ended, took) = interrupt(&mut process);
    let command = assert_stopped(&ended, took);
    Ended::of(fixture.shell(&command).output().unwrap()).done();
    assert_same(&Run::read(&fixture.path(name)), &Run::read(&fixture.path("undisturbed")));
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_in_a_probe_stops_within_a_second_and_leaves_no_failure_behind() {
    let fixture = Fixture::new();
    let arguments = [&["run", "study.toml", "--out", "a"][..], &LONG_PROBES].concat();
    let mut process = Process::start(fixture.command(&arguments));
    until("a probe", || probes(&fixture).len() == 1);
    let (ended, took) = interrupt(&mut process);
    assert_stopped(&ended, took);
    until("the probe's end", || probes(&fixture).is_empty());
    let run = Run::read(&fixture.path("a"));
    assert!(run.outcomes.values().all(|(_, outcome)| outcome == "trained"), "{:?}", run.outcomes);
}

/// A batch that takes many seconds cannot be asked to stop in between.
#[test]
fn ctrl_c_within_one_long_batch_stops_within_a_second() {
    // A lone trial has all cores.
    let layers = 48 * std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let fixture = Fixture::of(&Extents { layers, positions: 512, ..Extents::default() });
    let text = VOCABULARY[7..].iter().cycle().take(600).copied().collect::<Vec<_>>().join(" ");
    let rows: String = (0..64).map(|row| format!("{text}\t{}\n", ["bad", "good"][row % 2])).collect();
    fixture.write("train.tsv", format!("text\tlabel\n{rows}"));
    let mut arguments =
        vec!["run", "study.toml", "--out", "a", "--set=methods={linear_probe={learning_rate=1e-3}}"];
    arguments.extend(["--set=train.max_length=512", "--set=seeds=[0]"]);
    let mut process = Process::start(fixture.command(&arguments));
    until("the trial's folder", || fixture.files("a").iter().any(|path| path.ends_with("trial.json")));
    // What is done before the batch asks whether to go on.
    std::thread::sleep(Duration::from_millis(500));
    let (ended, took) = interrupt(&mut process);
    assert_stopped(&ended, took);
    assert!(took > Duration::from_millis(500), "the batch was too short to prove anything: {took:?}");
}

/// A second Ctrl-C ends the process in the middle of a tensor, as the first one does with one that takes long.
#[test]
fn ctrl_c_in_quantizing_leaves_nothing_of_the_model_that_was_being_written() {
    let fixture = Fixture::of(&Extents { hidden: 64, inner: 60_000, layers: 3, ..Extents::default() });
    let before = names(&fixture);
    for (out, weights) in [("quantized", "nf4"), ("quantized.gguf", "q8_0")] {
        let arguments = ["model", "quantize", "model", "--weights", weights, "--out", out];
        let mut process = Process::start(fixture.command(&arguments));
        until("a temporary file", || names(&fixture).len() > before.len());
        process.interrupt_group();
        // Two signals that come at once are one.
        std::thread::sleep(Duration::from_millis(2));
        let (ended, took) = interrupt(&mut process);
        assert_eq!(ended.code, Some(130), "{ended:#?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(names(&fixture), before, "{out}");
    }
}

/// What is in the fixture's folder, hidden files among it.
fn names(fixture: &Fixture) -> BTreeSet<PathBuf> {
    fs::read_dir(fixture.path("")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

const QUESTIONS: &str = r#"
name = "next"
title = "The word that follows"
source = "made up"
licence = "none"
output_type = "loglikelihood"
metric = "acc"
doc_to_text = "{{question}}"
doc_to_target = "{{answer}}"

[[domains]]
name = "here"
test = "rows.jsonl"
"#;

#[test]
fn a_stopped_evaluation_says_how_many_answers_are_kept_and_goes_on_with_them() {
    let fixture = Fixture::new();
    fixture::write_language_model(&fixture.path("language"));
    let row = |i: usize| {
        format!("{{\"question\": \"w{} w{}\", \"answer\": \"w{}\"}}\n", 9 + i % 50, i % 60, i % 70)
    };
    let rows = 40_000;
    fixture.write("rows.jsonl", (0..rows).map(row).collect::<String>());
    fixture.write("next.toml", QUESTIONS);
    let eval = ["eval", "--model", "language", "--task", "next.toml", "--out", "evals"];
    let samples = || fixture.files("evals").into_iter().find(|path| path.ends_with("samples/here.jsonl"));
    let kept =
        || samples().map_or(0, |path| fs::read_to_string(path).unwrap().lines().count().saturating_sub(1));
    let stop = |least: usize| {
        let mut process = Process::start(fixture.command(&eval));
        until("answers", || kept() >= least);
        let (ended, _) = interrupt(&mut process);
        assert_eq!(ended.code, Some(130), "{ended:#?}");
        let words = format!(
            "tenfold: stopped with {} of {rows} rows of next kept, 32 at a time; go on with: ",
            kept()
        );
        assert!(ended.stderr.contains(&words), "{words} is not in {}", ended.stderr);
        ended.stderr
    };
    assert!(!stop(1).contains("there already"));
    let before = kept();
    assert!(before > 0 && before % 32 == 0 && before < rows, "{before}");
    let said = stop(before + 1);
    assert!(said.contains(&format!("next: {before} of {rows} answers were there already")), "{said}");
}

#[test]
fn a_second_process_with_another_study_leaves_and_reports_are_made_meanwhile() {
    let fixture = Fixture::new();
    let endless = ["run", "study.toml", "--out", "a", "--set=train.num_train_epochs=1000000"];
    let mut first = Process::start(fixture.command(&endless));
    until("the first process's trials", || !fixture.files("a/trials").is_empty());
    let start = Instant::now();
    let process = format!("process {}", first.id());
    let second = fixture.run(&["run", "study.toml", "--out", "a"]);
    second.is_refused("second process", &["a is in use by another tenfold process", &process, "--out"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    let report = fixture.run(&["report", "a"]).done();
    assert!(report.stderr.contains("trials of this study are not there"), "{report:#?}");
    assert!(fixture.path("a/report.html").exists());
    fixture.run(&["recommend", "a"]).is_refused("no score yet", &["no method can be recommended"]);
    assert!(first.wait_for(Duration::ZERO).is_none(), "the first process was disturbed");
    first.kill();
    fixture.short_run("a").done();
}

/// Several methods with several seeds, small data among it.
const MANY: [&str; 6] = [
    "--set=methods={lora={learning_rate=1e-3}, bitfit={learning_rate=1e-3}, ia3={learning_rate=1e-2}}",
    "--set=seeds=[0, 1, 2]",
    "--set=small_data.examples=[16, 32]",
    "--set=small_data.draws=2",
    "--set=probe.enabled=false",
    "--set=train.num_train_epochs=4",
];

#[test]
fn three_processes_in_one_folder_with_kills_come_to_what_one_alone_does() {
    let fixture = Fixture::new();
    let run = |out: &'static str| {
        fixture.command(&[&["run", "study.toml", "--out", out][..], &MANY, &["--set=workers=1"]].concat())
    };
    Process::start(run("alone")).wait_for(Duration::from_secs(120)).expect("the end").done();
    let expected = Run::read(&fixture.path("alone"));
    let finished = || fixture.files("a").iter().filter(|path| path.ends_with("record.json")).count();
    let mut processes: Vec<Process> = (0..3).map(|_| Process::start(run("a"))).collect();
    // Two of them die in the middle of a trial; another one takes their trials over, and a new one joins.
    for least in [2, 6] {
        until("some records", || finished() >= least);
        processes.remove(0).kill();
    }
    processes.push(Process::start(run("a")));
    let ends: Vec<Ended> = processes
        .iter_mut()
        .map(|process| process.wait_for(Duration::from_secs(120)).expect("the end").done())
        .collect();
    assert_same(&Run::read(&fixture.path("a")), &expected);
    assert!(!fixture.files("a").iter().any(|path| path.ends_with("lease")), "a lease outlived its process");
    let table = |ended: &Ended| {
        ended.stdout.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(table(&ends[0]), table(&ends[1]));
}
