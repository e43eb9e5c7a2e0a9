//! Answers that several rows make up: an encoder that judges choices, and one that finds answers in passages.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, VOCABULARY, records};
use serde_json::{Value, json};

/// Full fine-tuning long enough to learn the rows by heart, measured and probed.
const LONG: [&str; 8] = [
    "--set=methods={full={learning_rate=3e-3}}",
    "--set=train.num_train_epochs=20",
    "--set=train.early_stopping_patience=0",
    "--set=train.evaluations_per_epoch=1",
    "--set=train.max_length=16",
    "--set=small_data.examples=[8]",
    "--set=small_data.steps=4",
    "--set=seeds=[0]",
];

const MIXTURE: &str = "--set=mixture={here=0.5, more=0.5}";

fn word(i: usize) -> &'static str {
    VOCABULARY[7 + i % (VOCABULARY.len() - 7)]
}

fn head(output_type: &str, metric: &str) -> String {
    format!(
        "name = \"t\"\ntitle = \"t\"\nsource = \"made up\"\nlicence = \"none\"\noutput_type = \"{output_type}\"\n\
         metric = \"{metric}\"\n"
    )
}

fn domains(ending: &str) -> String {
    format!(
        "[[domains]]\nname = \"here\"\ntrain = \"rows.{ending}\"\nvalidation = \"rows.{ending}\"\ntest = \"rows.{ending}\"\n"
    )
}

fn study(fixture: &Fixture, out: &str, more: &[&str]) {
    let command = [&["run", "study.toml", "--out", out][..], &LONG, more].concat();
    fixture.run(&command).done();
}

/// The evidence of the one trial of that kind.
fn evidence(fixture: &Fixture, run: &str, kind: &str) -> Value {
    let all = records(&fixture.path(run)).into_iter().map(|(_, record)| record);
    let found = all.into_iter().find(|record| record["trial"]["role"]["kind"] == kind).unwrap();
    match kind {
        "probe" => found["measured"]["probe"].clone(),
        _ => found["result"].as_object().unwrap().values().next().unwrap().clone(),
    }
}

#[test]
fn an_encoder_judges_choices_and_the_surest_one_answers() {
    let fixture = Fixture::new();
    // The right choice is the one that is said in the question.
    let row = |i: usize| {
        let (right, wrong) = (word(i * 3), word(i * 3 + 1));
        let choices = if i.is_multiple_of(2) { [right, wrong] } else { [wrong, right] };
        json!({"q": format!("{right} {right}"), "a": choices[0], "b": choices[1], "label": i % 2}).to_string()
            + "\n"
    };
    fixture.write("rows.jsonl", (0..24).map(row).collect::<String>());
    let keys =
        "doc_to_text = \"{{q}}\"\ndoc_to_choice = [\"{{a}}\", \"{{b}}\"]\ndoc_to_target = \"{{label}}\"\n";
    fixture.write("task.toml", head("multiple_choice", "acc_norm") + keys + &domains("jsonl"));
    let task = head("multiple_choice", "acc").replace("\"t\"", "\"more\"") + keys + &domains("jsonl");
    fixture.write("more.toml", task);
    let further = ["--set=train.num_train_epochs=60", "--set=domains=['more.toml']", MIXTURE];
    study(&fixture, "run", &further);
    let main = evidence(&fixture, "run", "main");
    let mixture = evidence(&fixture, "run", "mixture");
    assert_eq!((&mixture["examples"], &mixture["tests"][1]["domain"]), (&main["examples"], &json!("more")));
    assert_eq!(main["tests"][0]["answers"], main["tests"][1]["answers"]);
    let test = &main["tests"][0];
    assert_eq!((&test["metric"], &test["score"]["examples"]), (&json!("accuracy"), &json!(24)));
    assert!(test["score"]["value"].as_f64().unwrap() > 0.9, "{test}");
    // A small draw is of questions, with all of their choices; so is a search's share of the training rows.
    let small = evidence(&fixture, "run", "small_data");
    assert_eq!((&small["train_score"]["examples"], &small["steps"]), (&json!(8), &json!(4)));
    let probe = evidence(&fixture, "run", "probe");
    let round = &probe["rounds"][0];
    assert!(!round["loads"].as_array().unwrap().is_empty());
    // Two choices each.
    let rows = &round["inference"]["speed"]["examples"];
    assert_eq!((rows, &probe["inference_questions"]), (&json!(48), &json!(24)));
    let search = [
        "--set=methods={full={learning_rates=[1e-3]}}",
        "--set=search.candidates=1",
        "--set=search.train_rows=5",
        "--set=search.num_train_epochs=1",
        "--set=train.num_train_epochs=1",
        "--set=small_data.examples=[]",
        "--set=probe.enabled=false",
    ];
    study(&fixture, "searched", &search);
    let search = evidence(&fixture, "searched", "search");
    assert_eq!((&search["train_score"]["examples"], &search["examples"]), (&json!(5), &json!(10)));

    // Every choice by itself, and questions of which none is right.
    let row = |i: usize| {
        let texts = [word(i * 3), word(i * 3 + 1), word(i * 3 + 2)];
        let truths: Vec<u8> =
            (0..3).map(|k| u8::from(!i.is_multiple_of(3) && (k + i).is_multiple_of(2))).collect();
        json!({"q": texts[i % 3], "texts": texts, "truths": truths}).to_string() + "\n"
    };
    fixture.write("rows.jsonl", (0..24).map(row).collect::<String>());
    let keys = "doc_to_text = \"{{q}}\"\ndoc_to_choice = \"{{texts | tojson}}\"\ndoc_to_target = \"{{truths | tojson}}\"\n";
    fixture.write("task.toml", head("multiple_choice", "multirc") + keys + &domains("jsonl"));
    study(&fixture, "judged", &["--set=train.num_train_epochs=1", "--set=probe.enabled=false"]);
    let answers = evidence(&fixture, "judged", "main")["tests"][0]["answers"]["judged"].clone();
    assert_eq!(answers["labels"].as_array().unwrap().len(), 24);
    assert_eq!(answers["labels"][0], json!([0, 0, 0]));
}

#[test]
fn an_encoder_finds_answers_in_passages_that_are_longer_than_it_reads() {
    let fixture = Fixture::new();
    // The answer is the word behind the one that is asked for; every fourth question asks for a word that is not there.
    let row = |i: usize| {
        let words: Vec<&str> = (0..14).map(|k| word(i * 5 + k * 3)).collect();
        let passage = words.join(" ");
        let place = 2 + i % 10;
        let start = words[..=place].iter().map(|word| word.len() + 1).sum::<usize>();
        let absent = i % 4 == 3;
        let asked = if absent { word(i * 5 + 1) } else { words[place] };
        let answers =
            if absent { json!([]) } else { json!([{"text": words[place + 1], "answer_start": start}]) };
        json!({"context": passage, "qas": [{"question": asked, "answers": answers, "is_impossible": absent}]})
    };
    let file = json!({"version": "v2.0", "data": [{"paragraphs": (0..24).map(row).collect::<Vec<_>>()}]});
    fixture.write("rows.json", serde_json::to_string_pretty(&file).unwrap());
    fixture.write("task.toml", head("extractive", "squad2_f1") + "doc_stride = 4\n" + &domains("json"));
    let task = head("extractive", "squad2_f1").replace("\"t\"", "\"more\"") + &domains("json");
    fixture.write("more.toml", task);
    study(&fixture, "run", &["--set=train.num_train_epochs=60", "--set=domains=['more.toml']", MIXTURE]);
    let main = evidence(&fixture, "run", "main");
    // Passages of another task are read in the windows of the study's.
    assert_eq!(main["tests"][0]["answers"], main["tests"][1]["answers"]);
    assert_eq!(evidence(&fixture, "run", "mixture")["tests"].as_array().unwrap().len(), 2);
    let test = &main["tests"][0];
    let answerable = test["answers"]["matches"]["answerable"].as_array().unwrap();
    assert_eq!(
        (answerable.len(), answerable[3].clone(), &test["score"]["examples"]),
        (24, json!(false), &json!(24))
    );
    assert!(test["score"]["value"].as_f64().unwrap() > 0.7, "{}", test["score"]);
    // The training score is of as many questions as the test's, whatever windows they make.
    assert_eq!(main["train_score"]["examples"], 24);
    // Passages of fourteen words make more than one window of sixteen tokens each.
    assert!(main["examples"].as_u64().unwrap() >= 60 * 48, "{}", main["examples"]);
    let summary = String::from_utf8(fixture.read("run/summary.md")).unwrap();
    assert!(summary.contains("24 training questions make"), "{summary}");
    let config = std::fs::read_dir(fixture.path("run/trials")).unwrap().flatten();
    let saved = config.map(|trial| trial.path().join("adapter")).find(|adapter| adapter.is_dir()).unwrap();
    let said: String = std::fs::read_dir(saved)
        .unwrap()
        .flatten()
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    assert!(said.contains("safetensors"), "{said}");

    // Without leave for unanswerable questions they are malformed rows.
    fixture.write("task.toml", head("extractive", "squad_f1") + &domains("json"));
    let refused = fixture.run(&["run", "study.toml", "--out", "refused"]);
    refused.is_refused("no answer", &["6 of 24 rows are malformed", "squad2_f1"]);
}
