//! Tests of what a study makes of its model and its tasks.

use super::*;
use crate::adapter::export::{Export, export};
use crate::adapter::file::{self, About};
use crate::device;
use crate::plain_file::READ;
use crate::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A folder with a tiny language model that has a tokenizer and a chat template, and rows of several kinds for it.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let (model, golden) =
        (home.path().join("model"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny"));
    fs::create_dir(&model).unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(golden.join("llama/model").join(name), model.join(name)).unwrap();
    }
    let words: Vec<String> = (0..90).map(|word| format!("\"w{word}\": {}", word + 3)).collect();
    let vocab = format!(r#"{{"<unk>": 0, "<s>": 1, "</s>": 2, {}}}"#, words.join(", "));
    let tokenizer = format!(
        r#"{{"version": "1.0", "pre_tokenizer": {{"type": "WhitespaceSplit"}},
            "model": {{"type": "WordLevel", "vocab": {vocab}, "unk_token": "<unk>"}}}}"#
    );
    fs::write(model.join("tokenizer.json"), tokenizer).unwrap();
    let settings =
        r#"{"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ messages[0].content }}"}"#;
    fs::write(model.join("tokenizer_config.json"), settings).unwrap();
    let line = |row: usize| format!("{{\"prompt\": \"w{row} w1\", \"completion\": \" w{}\"}}\n", row % 7);
    fs::write(home.path().join("rows.jsonl"), (0..24).map(line).collect::<String>()).unwrap();
    let domain =
        |end: &str| format!("[[domains]]\nname = \"here\"\ntrain = \"rows.{end}\"\ntest = \"rows.{end}\"\n");
    let task = "name = \"words\"\noutput_type = \"generate_until\"\nmetric = \"perplexity\"\nkind = \"prompt_completion\"\n";
    fs::write(home.path().join("words.toml"), format!("{task}{}", domain("jsonl"))).unwrap();
    let row = |row: usize| format!("w{row} w2,{},{}\n", ["no", "yes"][row % 2], 1 + row % 3);
    let rows: String = (0..24).map(row).collect();
    fs::write(home.path().join("rows.csv"), format!("text,label,weight\n{rows}")).unwrap();
    let task = |columns: &str| {
        let keys = "name = \"labels\"\noutput_type = \"classification\"\nmetric = \"accuracy\"\n[columns]\ntext = \"text\"\n";
        format!("{keys}label = \"label\"\n{columns}{}", domain("csv"))
    };
    fs::write(home.path().join("labels.toml"), task("")).unwrap();
    fs::write(home.path().join("weighted.toml"), task("weight = \"weight\"\n")).unwrap();
    home
}

fn study(home: &Path, task: &str) -> Study {
    let text = format!(
        "name = \"t\"\nmodel = \"{}\"\ntask = \"{}\"\n[methods.lora]\nlearning_rate = 1e-3\nr = 2\n",
        home.join("model").display(),
        home.join(task).display()
    );
    let path = home.join("study.toml");
    fs::write(&path, text).unwrap();
    Study::read(&path, &[]).unwrap()
}

#[test]
fn a_study_reads_each_file_of_its_model_once() {
    let home = home();
    let study = study(home.path(), "words.toml");
    let backend = device::usual().backend();
    let session = Session::open(&study, &backend, &Silent).unwrap();
    let labels = home.path().join("labels.toml").display().to_string();
    let benchmark = session.benchmark(&study, &labels, &Silent).unwrap();
    assert_eq!(benchmark.base.model.task(), TaskType::SequenceClassification);
    session.without_numbers().unwrap();
    benchmark.without_numbers().unwrap();
    let lora = crate::adapter::method("lora").unwrap();
    let tuning = session.tuning(lora, &(lora.defaults)(), 0, &backend).unwrap();
    let about = About::of(&tuning, &session.base.named, Some(session.task.reads));
    let adapter = home.path().join("adapter");
    file::save(&adapter, &tuning, &about, &[], (&*session.base.model, &session.base.files)).unwrap();
    let tokenize = |text: &str| session.base.tokenizer.words(text);
    let context = Context { model: &*session.base.model, backend: &backend, seed: 0, tokenize: &tokenize };
    for merged in [false, true] {
        let what = Export { adapter: &adapter, model_files: &session.base.files, merged };
        export(&what, &context, &home.path().join(format!("out-{merged}")), &Silent).unwrap();
    }
    let model = home.path().join("model");
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let read: BTreeMap<String, usize> = (read.iter())
        .filter_map(|(path, times)| Some((path.strip_prefix(&model).ok()?.display().to_string(), *times)))
        .collect();
    let names = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(read, names.map(|name| (name.to_owned(), 1)).into());
}

#[test]
fn a_column_of_weights_reaches_the_rows_that_are_trained_on_and_no_others() {
    let home = home();
    let open = |task: &str| {
        Session::open(&study(home.path(), task), &device::usual().backend(), &Silent).unwrap().task
    };
    let (plain, weighted) = (open("labels.toml"), open("weighted.toml"));
    let picks: Vec<usize> = (0..plain.train.len()).collect();
    assert_eq!(plain.train.label_weight(&picks), picks.len() as f64);
    let expected = |examples: &[crate::data::Example]| -> f64 {
        examples.iter().map(|example| f64::from(example.weight.unwrap())).sum()
    };
    assert_eq!(weighted.train.label_weight(&picks), expected(&weighted.train_examples));
    assert!(weighted.train.label_weight(&picks) > 1.5 * picks.len() as f64);
    let (_, tests) = &weighted.tests[0];
    let all: Vec<usize> = (0..tests.len()).collect();
    assert_eq!(tests.label_weight(&all), all.len() as f64);
    // Rows with weights are other data: their trials have names of their own.
    assert_ne!(plain.data_identity.sha256, weighted.data_identity.sha256);
}
