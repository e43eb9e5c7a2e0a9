//! Files that are not what their names say, change while they are in use, or speak to the terminal; and ends of pipes,
//! disks and memory: one line, an exit code, and nothing of anyone else's touched.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Ended, Fixture, Process, write_language_model};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A file of someone else that must stay as it is.
const PRECIOUS: &str = "precious\n";

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs to its end, which must come soon.
fn soon(command: Command) -> Ended {
    Process::start(command).wait_for(Duration::from_secs(60)).expect("it does not end")
}

fn language_model(name: &str) -> Fixture {
    let fixture = Fixture::new();
    write_language_model(&fixture.path(name));
    fixture
}

#[test]
fn links_and_pipes_inside_of_a_run_are_refused_and_lead_nowhere() {
    let fixture = Fixture::new();
    fixture.short_run("a").done();
    let trial = fixture.only_trial("a");
    let record = format!("{trial}/record.json");
    fixture.write("precious", PRECIOUS);
    fs::create_dir(fixture.path("elsewhere")).unwrap();
    let kept = fixture.read(&record);
    for name in ["a/lock".to_owned(), record.clone(), format!("{trial}/events.jsonl")] {
        let path = fixture.path(&name);
        let before = fs::read(&path).unwrap();
        // Without its record the trial is run again and adds to its events.
        if !name.ends_with("record.json") {
            fs::remove_file(fixture.path(&record)).unwrap();
        }
        fs::remove_file(&path).unwrap();
        symlink(fixture.path("precious"), &path).unwrap();
        fixture.short_run("a").is_refused(&name, &[name.rsplit('/').next().unwrap(), "a symbolic link"]);
        fs::remove_file(&path).unwrap();
        make_pipe(&path);
        let refused = fixture.command(&[&["run", "study.toml", "--out", "a"][..], &fixture::SHORT].concat());
        soon(refused).is_refused(&name, &["a named pipe"]);
        fs::remove_file(&path).unwrap();
        fs::write(&path, before).unwrap();
        fixture.write(&record, &kept);
    }
    fs::remove_dir_all(fixture.path(&trial)).unwrap();
    symlink(fixture.path("elsewhere"), fixture.path(&trial)).unwrap();
    fixture.short_run("a").is_refused("a trial elsewhere", &["a symbolic link"]);
    assert_eq!(fs::read_dir(fixture.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(fixture.path(&trial)).unwrap();
    // What is written anew takes the place of a link.
    fs::remove_file(fixture.path("a/report.html")).unwrap();
    symlink(fixture.path("precious"), fixture.path("a/report.html")).unwrap();
    fixture.short_run("a").done();
    assert!(fs::symlink_metadata(fixture.path("a/report.html")).unwrap().is_file());
    assert_eq!(fixture.read("precious"), PRECIOUS.as_bytes());
}

#[test]
fn what_is_no_plain_file_or_too_large_is_refused_at_once() {
    let fixture = language_model("language");
    make_pipe(&fixture.path("pipe.toml"));
    let large = |name: &str, bytes: u64| File::create(fixture.path(name)).unwrap().set_len(bytes).unwrap();
    large("large.toml", 3 << 30);
    let refused = |arguments: &[&str], words: &[&str]| {
        soon(fixture.command(arguments)).is_refused(&arguments.join(" "), words);
    };
    for (task, words) in [
        ("/dev/zero", "a device, not a plain file"),
        ("./pipe.toml", "a named pipe, not a plain file"),
        ("./model", "a folder, not a plain file"),
        ("./large.toml", "larger than 16.0 MiB"),
    ] {
        refused(&["run", "study.toml", "--out", "a", &format!("--set=task={task:?}")], &[words]);
    }
    // A study that is refused takes no place in the folder, and moves nothing that is there.
    assert_eq!(fixture.files("a"), Vec::<PathBuf>::new());
    fs::remove_file(fixture.path("train.tsv")).unwrap();
    make_pipe(&fixture.path("train.tsv"));
    refused(&["run", "study.toml", "--out", "b"], &["train.tsv", "a named pipe, not a plain file"]);
    refused(&["run", "/dev/zero", "--out", "a"], &["a device, not a plain file"]);
    refused(&["run", "pipe.toml", "--out", "a"], &["a named pipe, not a plain file"]);
    refused(&["generate", "--model", "language", "--prompts", "/dev/zero"], &["a device, not a plain file"]);
    large("language/config.json", 3 << 30);
    refused(&["generate", "--model", "language", "--prompt", "w3"], &["config.json", "larger than"]);
    // Of weights without a header not even the beginning is hashed.
    large("model/model.safetensors", 1 << 40);
    refused(&["model", "inspect", "model"], &["model.safetensors", "header"]);
}

#[test]
fn prompts_come_through_a_pipe() {
    let fixture = language_model("language");
    for pipe in ["/dev/stdin", "-"] {
        let script = format!(
            "printf 'w3 w4\\nw5\\n' | tenfold generate --model language --max-new-tokens 2 --json --prompts {pipe}"
        );
        let ended = Ended::of(fixture.shell(&script).output().unwrap()).done();
        assert_eq!(ended.stdout.lines().count(), 2, "{}", ended.stdout);
    }
}

#[test]
fn a_full_disk_behind_the_output_fails_every_command_and_a_closed_pipe_none() {
    let fixture = language_model("language");
    let generate = ["generate", "--model", "language", "--prompt", "w3", "--max-new-tokens", "2"];
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["list", "methods"],
        &["list", "tasks", "--json"],
        &["chat", "--model", "language", "--max-new-tokens", "2"],
        &generate,
        &[&generate[..], &["--json"]].concat(),
    ] {
        let mut command = fixture.command(arguments);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(full).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"w4\nw5\n");
        let ended = Ended::of(child.wait_with_output().unwrap());
        ended.is_refused(&arguments.join(" "), &["cannot write to the standard output"]);
        let mut child = fixture.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let _ = child.stdin.take().unwrap().write_all(b"w4\n");
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && !said.contains("error"), "{arguments:?}: {said}");
    }
}

/// Chats with a model, changes its weights after the first answer, and asks again.
fn chat_over(change: impl Fn(&Path)) -> Ended {
    let fixture = language_model("language");
    let mut command = fixture.command(&["chat", "--model", "language", "--max-new-tokens", "2"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut answer = String::new();
    input.write_all(b"w3\n").unwrap();
    output.read_line(&mut answer).unwrap();
    change(&fixture.path("language/model.safetensors"));
    let _ = input.write_all(b"w4\n");
    let _ = output.read_to_string(&mut answer);
    drop(input);
    Ended::of(child.wait_with_output().unwrap())
}

#[test]
fn weights_that_are_written_to_or_cut_short_end_the_chat_with_one_line() {
    let written = chat_over(|weights| {
        let mut file = fs::OpenOptions::new().write(true).open(weights).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all(&vec![0; length as usize]).unwrap();
    });
    written.is_refused("written to", &["model.safetensors", "changed while it was in use"]);
    let cut = chat_over(|weights| {
        fs::OpenOptions::new().write(true).open(weights).unwrap().set_len(10).unwrap();
    });
    assert_eq!(cut.code, Some(1), "{cut:?}");
    assert!(
        cut.stderr.contains("cut short") || cut.stderr.contains("changed while it was in use"),
        "{cut:?}"
    );
    for ended in [written, cut] {
        let last = ended.stderr.trim_end().rsplit('\n').next().unwrap();
        assert!(
            last.starts_with("error: ") && ended.stderr.matches("error").count() == 1,
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn names_cannot_steer_the_terminal() {
    let fixture = language_model("language");
    let name = "x\u{1b}[31m\u{202e}\nerror: all is well";
    for arguments in [
        &["run", name, "--out", "a"][..],
        &[name],
        &["list", name],
        &["eval", "--task", name, "--model", "language"],
        &["model", "inspect", name],
        &["run", "study.toml", "--out", "a", "--set", &format!("task={name:?}")],
    ] {
        let ended = fixture.run(arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
        let steers = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!ended.stderr.contains(steers), "{arguments:?}: {:?}", ended.stderr);
        assert!(!ended.stdout.contains(steers), "{arguments:?}: {:?}", ended.stdout);
    }
    let adapter = fixture.path("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::write(adapter.join("adapter_config.json"), r#"{"peft_type": "\u001b[2J\nLORA", "\u202ekey": 1}"#)
        .unwrap();
    fs::copy(fixture.path("language/model.safetensors"), adapter.join("adapter_model.safetensors")).unwrap();
    let ended = fixture.run(&["adapter", "inspect", "adapter"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!ended.stderr.contains(['\u{1b}', '\u{202e}']), "{:?}", ended.stderr);
    assert!(ended.stderr.contains("\\u001b[2J\\nLORA"), "{:?}", ended.stderr);
}

#[test]
fn exhausted_memory_is_one_line() {
    let fixture = language_model("language");
    let mut refused = 0;
    for kibibytes in (40_000..400_000).step_by(30_000) {
        let script = format!(
            "ulimit -v {kibibytes}; tenfold generate --model language --prompt w3 --max-new-tokens 2"
        );
        let limited =
            |script: &str| Ended::of(fixture.shell(script).env("RAYON_NUM_THREADS", "2").output().unwrap());
        // Where not even the program itself can be loaded, it has no say.
        let loads = limited(&format!("ulimit -v {kibibytes}; exec tenfold --version")).code == Some(0);
        let ended = limited(&script);
        if ended.code == Some(0) || !loads {
            continue;
        }
        refused += 1;
        assert_eq!(ended.code, Some(1), "{kibibytes}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.lines().count() == 1,
            "{kibibytes}: {ended:?}"
        );
    }
    assert!(refused > 0, "no limit was too low");
}
