//! Texts of a tiny language model: what `generate` and `chat` print.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::write_language_model;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn model() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_language_model(folder.path());
    folder
}

/// Exit code, stdout, stderr.
fn tenfold(folder: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tenfold"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn generate_prints_a_line_of_json_for_each_prompt_and_the_same_text_alone() {
    let folder = model();
    fs::write(folder.path().join("prompts.txt"), "w3 w4 w5\n\nw6\n").unwrap();
    let drawn = ["--do-sample", "--seed", "4", "--max-new-tokens", "5"];
    let run = |arguments: &[&str]| {
        let all = [&["generate", "--model", "."], arguments, &drawn].concat();
        let (code, out, words) = tenfold(folder.path(), &all, "");
        assert_eq!(code, Some(0), "{words}");
        (out, words)
    };
    let (lines, words) = run(&["--prompts", "prompts.txt", "--json"]);
    assert_eq!(words, "");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, prompt) in lines.iter().zip(["w3 w4 w5", "w6"]) {
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["finish_reason", "prompt", "seconds", "text", "tokens", "tokens_per_second"]);
        assert_eq!(line["prompt"], prompt);
        assert!(line["tokens"].as_u64().unwrap() <= 5);
        let (text, words) = run(&["--prompt", prompt]);
        assert_eq!(text.trim_end(), line["text"].as_str().unwrap());
        // Of JSON the finish reason tells.
        let told = "an answer is cut after 5 tokens (--max-new-tokens)\n";
        assert_eq!(words, if line["finish_reason"] == "length" { told } else { "" });
    }
}

#[test]
fn chat_answers_until_it_is_told_to_quit_and_a_reset_begins_anew() {
    let folder = model();
    let chat = ["chat", "--model", ".", "--max-new-tokens", "4"];
    let (code, out, words) = tenfold(folder.path(), &chat, "w3 w4\nw5\n/reset\nw3 w4\n/quit\nw5\n");
    // The fixture's template ends its turns with a blank, and its model has no token that ends a text.
    let note = "the chat template writes \" \" behind an answer, and no token of that ends a text";
    let cut = "an answer is cut after 4 tokens (--max-new-tokens)";
    let others = words.lines().skip(1).all(|line| line == cut);
    assert!(code == Some(0) && words.starts_with(note) && others, "{words}");
    let answers: Vec<&str> = out.lines().collect();
    assert_eq!(answers.len(), 3, "{out}");
    assert_eq!(answers[0], answers[2]);
    let alone = ["generate", "--model", ".", "--chat", "--prompt", "w3 w4", "--max-new-tokens", "4"];
    assert_eq!(tenfold(folder.path(), &alone, "").1.trim_end(), answers[0]);
}

#[test]
fn what_cannot_be_is_said() {
    let folder = model();
    let run = |arguments: &[&str]| {
        tenfold(folder.path(), &[&["generate", "--model", ".", "--prompt", "w3"], arguments].concat(), "")
    };
    let (code, out, words) = run(&["--max-new-tokens", "1000000"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(words.contains("prompt 1") && words.contains("positions"), "{words}");
    let (code, _, words) = run(&["--temperature", "0.5"]);
    assert!(code == Some(2) && words.contains("--do-sample"), "{words}");
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let (code, _, words) = run(&["--chat"]);
    assert!(code == Some(1) && words.contains("no chat template"), "{words}");
}

#[test]
fn bench_generate_shows_the_first_token_and_the_next_ones_and_a_load() {
    let folder = model();
    let bench = [
        "bench",
        "generate",
        "--model",
        ".",
        "--prompt-tokens",
        "4",
        "--new-tokens",
        "3",
        "--repetitions",
        "2",
    ];
    let run = |more: &[&str]| tenfold(folder.path(), &[&bench[..], more].concat(), "");
    let (code, text, words) = run(&["--rate", "200", "--requests", "5", "--warm-up", "1"]);
    assert_eq!(code, Some(0), "{words}");
    for words in
        ["first token  ms: p50", "next token   ms: p50", "(n = 4)", "200/s", "  first token", "done/s"]
    {
        assert!(text.contains(words), "\"{words}\" is not in\n{text}");
    }
    let (_, text, _) = run(&["--json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["next_token"]["count"], &report["whole"]["count"]), (&json!(4), &json!(2)));
    let (code, _, words) = run(&["--requests", "5", "--seconds", "1"]);
    assert!(code == Some(2) && words.contains("--requests"), "{words}");
}
