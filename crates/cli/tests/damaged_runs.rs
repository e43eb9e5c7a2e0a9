//! A full disk, and run folders that are not as they were left: what is finished stays, what is damaged is done again.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Ended, Fixture, Process, Run, records, until};
use std::fs;

/// A small trial and a large one, one after the other.
const TWO: &str = "tenfold run study.toml --out a --set workers=1 --set 'small_data.examples=[]' \
    --set probe.enabled=false --set train.num_train_epochs=2 \
    --set 'methods={a={type=\"linear_probe\", learning_rate=1e-2}, b={type=\"full\", learning_rate=1e-3}}'";

/// The small trial's record after the disk was full, which must be there still when there was room again.
fn goes_on_after(fixture: &Fixture, small: &str) {
    let kept = records(&fixture.path("a"));
    assert_eq!(kept.len(), 1, "{small}");
    assert_eq!(kept[0].1["trial"]["method"], "a");
    let ended = Ended::of(fixture.shell(TWO).output().unwrap()).done();
    assert!(ended.stderr.contains("comparison, 1 trial\n"), "{ended:#?}");
    assert!(records(&fixture.path("a")).contains(&kept[0]), "a finished trial was run again");
    Ended::of(fixture.shell(&TWO.replace("--out a", "--out b")).output().unwrap()).done();
    assert!(Run::read(&fixture.path("a")) == Run::read(&fixture.path("b")));
}

/// A limit on the size of files refuses writes as a full disk does, in the middle of a file, and needs no rights.
#[test]
fn when_no_more_can_be_written_the_file_is_named_and_what_is_finished_stays() {
    let fixture = Fixture::new();
    let script = format!("trap '' XFSZ; ulimit -f 40; {TWO}");
    let ended = Ended::of(fixture.shell(&script).output().unwrap());
    ended.is_refused("no room", &["cannot write a/trials/", "snapshot.safetensors", "too large"]);
    goes_on_after(&fixture, &ended.stderr);
}

/// The same with a file system that is really full, where one can be had.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_what_is_finished_stays() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("a")).unwrap();
    // The mount is seen by this one process and its children, and goes with them.
    let script = r#"
        alone="unshare --user --map-root-user --mount"
        $alone true || exit 99
        $alone sh -c 'mount -t tmpfs -o size=80k tmpfs a || exit 99
            sh -c "$TWO"; code=$?; cp -r a kept; exit $code'"#;
    let ended = Ended::of(fixture.shell(script).env("TWO", TWO).output().unwrap());
    if ended.code == Some(99) {
        eprintln!("not run: no file system can be mounted here: {}", ended.stderr);
        return;
    }
    ended.is_refused("no room", &["cannot write a/trials/", "No space left on device"]);
    fs::remove_dir(fixture.path("a")).unwrap();
    fs::rename(fixture.path("kept"), fixture.path("a")).unwrap();
    goes_on_after(&fixture, &ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_can_take_is_no_panic() {
    let fixture = Fixture::new();
    let shell = |script: &str| Ended::of(fixture.shell(script).output().unwrap());
    shell("tenfold list methods > /dev/full").is_refused("stdout", &["standard output", "No space left"]);
    shell("tenfold list methods --json > /dev/full").is_refused("stdout", &["standard output"]);
    shell(&format!("{TWO} 2> /dev/full")).done();
    let closed = shell("{ tenfold list methods; echo $? >&2; } | true");
    assert!(["", "0\n"].contains(&&*closed.stderr), "{closed:?}");
    shell(&format!("{} 2>&1 >done | true; test -s done", TWO.replace("--out a", "--out b"))).done();
}

/// A run with two trained trials and two probes.
const DAMAGED: [&str; 6] = [
    "--set=methods={bitfit={learning_rate=1e-3}, full={learning_rate=1e-3}}",
    "--set=small_data.examples=[]",
    "--set=train.num_train_epochs=3",
    "--set=train.early_stopping_patience=20",
    "--set=workers=1",
    "--set=probe.requests=2",
];

fn run(fixture: &Fixture, out: &str) -> Ended {
    fixture.run(&[&["run", "study.toml", "--out", out][..], &DAMAGED].concat())
}

#[test]
fn damaged_records_and_other_files_of_a_run_are_done_again() {
    let fixture = Fixture::new();
    run(&fixture, "a").done();
    let expected = Run::read(&fixture.path("a"));
    let all = records(&fixture.path("a"));
    let name = |place: usize, file: &str| all[place].0.join(file);
    let mut number = 0;
    let record = fs::read(name(0, "record.json")).unwrap();
    let digit = record
        .windows(9)
        .position(|word| word == b"\"losses\":")
        .or(record.windows(10).position(|word| word == b"\"latency\":"))
        .unwrap();
    let digit = digit + record[digit..].iter().position(|byte| (b'1'..=b'9').contains(byte)).unwrap();
    let mut flipped = record.clone();
    flipped[digit] ^= 1;
    let damages: [(&str, Vec<u8>); 8] = [
        ("cut", record[..record.len() / 2].to_vec()),
        ("cut by one", record[..record.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("zeros", vec![0; record.len()]),
        ("not UTF-8", b"\xff".to_vec()),
        ("a list", b"[]".to_vec()),
        ("one digit", flipped),
        ("another trial's", fs::read(name(1, "record.json")).unwrap()),
    ];
    for (what, bytes) in damages {
        fs::write(name(0, "record.json"), &bytes).unwrap();
        let report = fixture.read("a/report.html");
        fixture
            .run(&["report", "a"])
            .is_refused(what, &["1 record cannot be used", "record.json: expected", "found"]);
        assert!(
            fixture.read("a/report.html") == report && fs::read(name(0, "record.json")).unwrap() == bytes,
            "{what}"
        );
        let said = run(&fixture, "a").done().stderr;
        number += 1;
        let aside = format!("record.json.damaged-{number}");
        assert!(
            said.contains(&format!("kept as {aside}")) && said.matches("damaged-").count() == 1,
            "{what}: {said}"
        );
        assert!(fs::read(name(0, &aside)).unwrap() == bytes, "{what}");
        assert!(Run::read(&fixture.path("a")) == expected, "{what}");
    }
    // A record of a newer schema ends the run before anything is trained, and stays.
    let newer = String::from_utf8(record.clone()).unwrap().replacen("\"schema\":", "\"schema\":9", 1);
    fs::write(name(0, "record.json"), &newer).unwrap();
    fs::remove_file(name(1, "record.json")).unwrap();
    for ended in [run(&fixture, "a"), fixture.run(&["report", "a"])] {
        ended.is_refused(
            "a newer schema",
            &["record.json: schema: expected", "at the most, found 9", "newer version"],
        );
    }
    assert!(fs::read_to_string(name(0, "record.json")).unwrap() == newer && !name(1, "record.json").exists());
    fs::write(name(0, "record.json"), &record).unwrap();
    run(&fixture, "a").done();
    for (file, bytes) in [("trial.json", &b"{\"co"[..]), ("events.jsonl", b"\xff\xfe{\"step\":1,\"lo")] {
        for place in 0..all.len() {
            fs::write(name(place, file), bytes).unwrap();
            fs::remove_file(name(place, "record.json")).unwrap();
        }
        run(&fixture, "a").done();
        assert!(Run::read(&fixture.path("a")) == expected, "{file}");
    }
    let seconds = fixture.read("a/elapsed_seconds");
    fixture.run(&["report", "a"]).done();
    assert_eq!(fixture.read("a/elapsed_seconds"), seconds, "a look at the run made it longer");
    for words in ["NaN", "-1", "1e999", "\u{1f642}", ""] {
        fixture.write("a/elapsed_seconds", words);
        run(&fixture, "a").done();
        let seconds = String::from_utf8(fixture.read("a/elapsed_seconds")).unwrap();
        assert!(
            seconds.trim().parse::<f64>().is_ok_and(|seconds| (0.0..60.0).contains(&seconds)),
            "{seconds}"
        );
    }
}

#[test]
fn run_folders_that_cannot_be_used_are_named() {
    let fixture = Fixture::new();
    fixture.run(&["report", "nowhere"]).is_refused("no folder", &["nowhere"]);
    fixture.run(&["recommend", "nowhere"]).is_refused("no folder", &["nowhere"]);
    fixture.write("file", "");
    run(&fixture, "file").is_refused("a file", &["file"]);
    fixture.write("locked/lock/x", "");
    run(&fixture, "locked").is_refused("a folder for a lock", &["locked/lock"]);
    run(&fixture, "a").done();
    fixture.write("a/study.toml", "name = [");
    fixture.run(&["report", "a"]).is_refused("study", &["a/study.toml", "TOML"]);
    fixture.run(&["recommend", "a"]).is_refused("study", &["a/study.toml", "TOML"]);
    fixture.run(&["probe", "a", "nothing"]).is_refused("study", &["a/study.toml"]);
    run(&fixture, "a").done();
    fixture.run(&["probe", "a", "../nothing"]).is_refused("trial", &["nothing"]);
}

#[test]
fn a_damaged_snapshot_is_not_believed() {
    let fixture = Fixture::new();
    run(&fixture, "a").done();
    let expected = Run::read(&fixture.path("a"));
    let endless = ["run", "study.toml", "--out", "b", "--set=train.num_train_epochs=1000000"];
    let mut process = Process::start(fixture.command(&[&endless[..], &DAMAGED[..2], &DAMAGED[3..]].concat()));
    let snapshot = || fixture.files("b").into_iter().find(|path| path.ends_with("snapshot.safetensors"));
    until("a snapshot", || snapshot().is_some());
    process.kill();
    let whole = fs::read(snapshot().unwrap()).unwrap();
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 4;
        bytes
    };
    let trained =
        records(&fixture.path("a")).into_iter().find(|(_, record)| !record["result"]["trained"].is_null());
    let folder = trained.unwrap().0;
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("a flipped bit of a weight", flipped(whole.len() - 200)),
        ("a flipped bit of the header", flipped(40)),
        ("nonsense", b"nonsense, and enough of it".to_vec()),
    ] {
        fs::remove_file(folder.join("record.json")).unwrap();
        fs::write(folder.join("snapshot.safetensors"), bytes).unwrap();
        let ended = run(&fixture, "a").done();
        let words = ["snapshot.safetensors", "expected", "trained anew"];
        assert!(words.iter().all(|word| ended.stderr.contains(word)), "{what}: {}", ended.stderr);
        assert!(Run::read(&fixture.path("a")) == expected, "{what}");
    }
}
