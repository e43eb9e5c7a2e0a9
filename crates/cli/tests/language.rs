//! A study of a language model: asked before and after tuning, and timed while it answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, records, write_language_model};
use serde_json::{Value, json};

const TASK: &str = r#"
name = "next"
title = "The word that follows"
source = "made up"
licence = "none"
output_type = "generate_until"
metric = "exact_match"
doc_to_text = "{{question}}"
doc_to_target = "{{answer}}"
target_delimiter = " "
max_gen_toks = 3

[[domains]]
name = "here"
train = "rows.jsonl"
validation = "rows.jsonl"
test = "rows.jsonl"
"#;

const STUDY: &str = r#"
name = "language"
model = "language"
task = "next.toml"
seeds = [0]

[train]
num_train_epochs = 30
batch_size = 8
max_length = 32
early_stopping_patience = 0

[small_data]
examples = []

[probe]
steps = 2
requests = 4
batch_sizes = [2]

[methods.full]
learning_rate = 1e-2
[methods.lora]
learning_rate = 1e-2
"#;

/// What trials of that kind found, by method.
fn found(all: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = all.iter().filter(|record| record["trial"]["role"]["kind"] == kind);
    of_kind.map(|record| record["result"].as_object().unwrap().values().next().unwrap().clone()).collect()
}

#[test]
fn a_model_is_asked_before_and_after_tuning_and_timed_word_by_word() {
    let fixture = Fixture::new();
    write_language_model(&fixture.path("language"));
    let row = |i: usize| {
        let question = format!("w{} w{} w{}", 20 + i, 3 + i % 5, 20 + i);
        json!({"question": question, "answer": format!("w{} w{}", 60 + i % 4, 64 + i % 4)}).to_string() + "\n"
    };
    fixture.write("rows.jsonl", (0..12).map(row).collect::<String>());
    fixture.write("next.toml", TASK);
    fixture.write("language.toml", STUDY);
    fixture.write("general.txt", "w1 w2 w3 w4 w5 w6 w7 w8 ".repeat(20));
    fixture.run(&["run", "language.toml", "--out", "run", "--set=forgetting_text='general.txt'"]).done();

    let all: Vec<Value> = records(&fixture.path("run")).into_iter().map(|(_, record)| record).collect();
    let mains = found(&all, "main");
    assert_eq!(mains.len(), 2);
    assert!(mains.iter().all(|main| main["tests"][0]["score"]["examples"] == 12), "{mains:#?}");
    assert!(mains.iter().all(|main| main["forgetting"]["after"].as_f64() > Some(0.0)), "{mains:#?}");
    let untuned: Vec<&Value> =
        mains.iter().map(|main| &main["untuned"]).filter(|test| !test.is_null()).collect();
    assert!(!untuned.is_empty(), "no trial holds what the model could before");
    let score = |test: &Value| test["score"]["value"].as_f64().unwrap();
    let best = mains.iter().map(|main| score(&main["tests"][0])).fold(0.0, f64::max);
    assert!(best > score(untuned[0]), "{mains:#?}");
    let advice: Value = serde_json::from_slice(&fixture.read("run/recommendation.json")).unwrap();
    for method in advice["methods"].as_array().unwrap() {
        let adapter = format!("run/{}/tenfold.json", method["adapter"].as_str().unwrap());
        assert!(fixture.path(&adapter).is_file(), "{adapter}");
    }
    let probes: Vec<&Value> =
        all.iter().map(|record| &record["measured"]["probe"]).filter(|probe| !probe.is_null()).collect();
    assert_eq!(probes.len(), 2);
    let rounds = || probes.iter().flat_map(|probe| probe["rounds"].as_array().unwrap());
    for round in rounds() {
        let inference = &round["inference"]["speed"];
        assert!(inference["tokens"] == 0 && inference["examples"].as_u64().unwrap() > 0, "{inference}");
    }
    let report = String::from_utf8(fixture.read("run/report.html")).unwrap();
    for figure in ["Before tuning", "First token, p50", "Next token, p50"] {
        assert!(report.contains(figure), "{figure}");
    }
    // Of the four requests of a load each of the three rounds has two; each has one first token.
    let count =
        |histogram: &Value| histogram.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    for load in rounds().flat_map(|round| round["loads"].as_array().unwrap()) {
        assert_eq!(count(&load["first_token"]), 2, "{load}");
        assert!(count(&load["next_token"]) > 0, "{load}");
    }
}

/// The training rows are those held out, so that their loss falls with any rate.
#[test]
fn a_loss_that_falls_while_no_greedy_answer_changes_is_told() {
    let fixture = Fixture::new();
    write_language_model(&fixture.path("language"));
    let row = |i: usize| {
        json!({"question": format!("w{} w{i}", 20 + i), "answer": format!("w{}", 60 + i % 4)}).to_string()
            + "\n"
    };
    fixture.write("rows.jsonl", (0..8).map(row).collect::<String>());
    fixture.write("next.toml", TASK);
    let train = |rate: &str, more: &[&str]| {
        let task = ["train", "--model", "language", "--task", "next.toml", "--method", "full", "--out", rate];
        let how =
            ["--learning-rate", rate, "--set", "train.num_train_epochs=4", "--set", "train.batch_size=8"];
        fixture.run(&[&task[..], &how, more].concat()).done().stdout
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(&train("1e-5", &[]));
    assert!(said.contains("The loss on held-out rows fell from"), "{said}");
    let same = "yet the greedy answers to 4 held-out prompts are the same as before training";
    assert!(said.contains(same) && said.contains("with a higher --learning-rate than 1e-5"), "{said}");
    let said = words(&train("1e-1", &[]));
    assert!(said.contains("Of 4 held-out prompts the tuned model answers"), "{said}");
    let json: Value = serde_json::from_str(&train("1e-5", &["--json"])).unwrap();
    assert_eq!(json["greedy_answers"], json!({"asked": 4, "changed": 0}));
}

/// A task with these keys over files of these rows, and its name.
fn write_task(fixture: &Fixture, name: &str, keys: &str, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| row.to_string() + "\n").collect();
    fixture.write(&format!("{name}.jsonl"), lines);
    let task = format!(
        "name = \"{name}\"\ntitle = \"t\"\nsource = \"made up\"\nlicence = \"none\"\n{keys}\n[[domains]]\nname = \"{name}\"\n\
         train = \"{name}.jsonl\"\nvalidation = \"{name}.jsonl\"\ntest = \"{name}.jsonl\"\n"
    );
    fixture.write(&format!("{name}.toml"), task);
}

/// One method on the task "home" and a mixture of it and "away", which is tested on as well.
const MIXED: [&str; 7] = [
    "--set=task=home.toml",
    "--set=domains=['away.toml']",
    "--set=mixture={home=0.75, away=0.25}",
    "--set=methods={full={learning_rate=1e-2}}",
    "--set=train.num_train_epochs=2",
    "--set=probe.enabled=false",
    "--set=forgetting_text=general.txt",
];

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    write_language_model(&fixture.path("language"));
    fixture.write("language.toml", STUDY);
    fixture.write("general.txt", "w1 w2 w3 w4 w5");
    fixture
}

/// Runs the mixed study; the one trial on the task alone and the one on the mixture.
fn mixed(fixture: &Fixture, out: &str) -> [Value; 2] {
    fixture.run(&[&["run", "language.toml", "--out", out][..], &MIXED].concat()).done();
    let all: Vec<Value> = records(&fixture.path(out)).into_iter().map(|(_, record)| record).collect();
    let of_kind =
        |kind: &str| all.iter().find(|record| record["trial"]["role"]["kind"] == kind).unwrap().clone();
    let [main, mixture] = ["main", "mixture"].map(of_kind);
    for (settings, trained) in
        [&main, &mixture].map(|record| (&record["trial"]["train"], &record["result"]["trained"]))
    {
        assert_eq!((&settings["train_rows"], &trained["train_score"]["examples"]), (&json!(12), &json!(12)));
        let tested = trained["tests"].as_array().unwrap().iter();
        assert_eq!(tested.map(|test| test["domain"].clone()).collect::<Vec<_>>(), ["home", "away"]);
    }
    assert_ne!(main["result"]["trained"]["losses"], mixture["result"]["trained"]["losses"]);
    assert!(!main["result"]["trained"]["forgetting"].is_null(), "general text is weighed beside questions");
    let page = String::from_utf8(fixture.read(&format!("{out}/report.html"))).unwrap();
    assert!(page.contains("away: gain") && page.contains("12 rows, 25 % away, 75 % home"));
    [main, mixture].map(|record| record["result"]["trained"].clone())
}

#[test]
fn tasks_with_the_same_choices_are_further_domains_and_are_mixed() {
    let fixture = fixture();
    let keys = |choices: &str| {
        format!(
            "output_type = \"multiple_choice\"\nmetric = \"acc\"\ndoc_to_text = \"{{{{q}}}}\"\n\
             doc_to_choice = {choices}\ndoc_to_target = \"{{{{a}}}}\""
        )
    };
    let row = |i: usize| json!({"q": format!("w{} w{}", 20 + i, 3 + i % 5), "a": format!("w{}", 60 + i % 2)});
    let rows: Vec<Value> = (0..12).map(row).collect();
    write_task(&fixture, "home", &keys("[\"w60\", \"w61\"]"), &rows);
    write_task(&fixture, "away", &keys("[\"w61\", \"w60\"]"), &rows);
    for trained in mixed(&fixture, "run") {
        // The same rows have the same numbers, whatever the choices' order in the other file.
        assert_eq!(trained["tests"][0]["answers"], trained["tests"][1]["answers"]);
        let labels = trained["tests"][1]["answers"]["labels"]["labels"].as_array().unwrap();
        assert_eq!(labels[..2], [json!(0), json!(1)]);
    }
    write_task(&fixture, "away", &keys("[\"w60\", \"w62\"]"), &rows);
    let refused = fixture.run(&[&["run", "language.toml", "--out", "refused"][..], &MIXED].concat());
    let expected = ["task \"away\": doc_to_choice", "those of the study's task: w60, w61, found w60, w62"];
    refused.is_refused("other choices", &expected);
}

#[test]
fn tasks_by_one_score_are_further_domains_each_asked_in_its_own_way() {
    let fixture = fixture();
    let keys = |tokens: usize| {
        format!(
            "output_type = \"generate_until\"\nmetric = \"f1\"\ndoc_to_text = \"{{{{q}}}}\"\n\
             doc_to_target = \"{{{{a}}}}\"\nmax_gen_toks = {tokens}"
        )
    };
    let row = |i: usize| {
        json!({"q": format!("w{} w{}", 20 + i, 3 + i % 5), "a": format!("w{} w{}", 60 + i % 2, 62 + i % 2),
               "prompt": format!("w{}", 20 + i), "completion": " w60", "text": format!("w{} w61 w62", 20 + i)})
    };
    let rows: Vec<Value> = (0..12).map(row).collect();
    write_task(&fixture, "home", &keys(2), &rows);
    write_task(&fixture, "away", &keys(1), &rows);
    let [main, _] = mixed(&fixture, "generated");
    let worths = |test: usize| main["tests"][test]["answers"]["worths"].as_array().unwrap().clone();
    assert_eq!((worths(0).len(), worths(1).len()), (12, 12));
    // Of two words one is said there, whose F1 is two thirds at the most.
    assert!(worths(1).iter().all(|worth| worth.as_f64().unwrap() < 0.7), "{:?}", worths(1));

    // Whose likelihood alone is looked at may be of any kind.
    let prompts = "output_type = \"generate_until\"\nmetric = \"perplexity\"\nkind = \"prompt_completion\"";
    let texts = "output_type = \"loglikelihood_rolling\"\nmetric = \"perplexity\"\nkind = \"text\"";
    write_task(&fixture, "away", texts, &rows);
    let refused = fixture.run(&[&["run", "language.toml", "--out", "refused"][..], &MIXED].concat());
    refused.is_refused(
        "another score",
        &["generate_until by f1", "\"home\"", "loglikelihood_rolling by perplexity"],
    );
    write_task(&fixture, "home", prompts, &rows);
    let [main, _] = mixed(&fixture, "weighed");
    assert_eq!(main["tests"][1]["metric"], "perplexity");
}

#[test]
fn small_draws_of_raw_text_are_of_the_sequences_that_it_goes_on_in() {
    let fixture = fixture();
    // Twelve texts of forty words, in two sequences of 32 tokens at the most each.
    let text = |i: usize| (0..40).map(|k| format!("w{}", 10 + (i + k) % 50)).collect::<Vec<_>>().join(" ");
    let rows: Vec<Value> = (0..12).map(|i| json!({"text": text(i)})).collect();
    let keys = "output_type = \"loglikelihood_rolling\"\nmetric = \"perplexity\"\nkind = \"text\"";
    write_task(&fixture, "home", keys, &rows);
    let draws =
        ["--set=small_data.examples=[16, 24]", "--set=small_data.draws=1", "--set=small_data.steps=2"];
    let study = ["run", "language.toml", "--out", "run", MIXED[0], MIXED[3], MIXED[4], MIXED[5]];
    fixture.run(&[&study[..], &draws].concat()).done();
    let all: Vec<Value> = records(&fixture.path("run")).into_iter().map(|(_, record)| record).collect();
    let drawn = found(&all, "small_data");
    assert_eq!(drawn.iter().map(|one| one["train_score"]["examples"].clone()).collect::<Vec<_>>(), [16]);
}

#[test]
fn chats_that_the_template_does_not_take_are_named_and_may_be_skipped() {
    let fixture = fixture();
    let template = "{% for m in messages %}{% if 'w77' in m.content %}{{ raise_exception('no w77 here') }}{% endif %}\
        {{ 'w8' if m.role == 'assistant' else 'w9' }} {{ m.content }} {% endfor %}\
        {% if add_generation_prompt %}w8 {% endif %}";
    fixture.write("language/chat_template.jinja", template);
    let chat = |i: usize| {
        let asked = if i == 4 { "w77".to_owned() } else { format!("w{}", 10 + i) };
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": asked}]},
            {"role": "assistant", "content": "w3"}]})
    };
    let rows: Vec<Value> = (0..12).map(chat).collect();
    let keys = "output_type = \"generate_until\"\nmetric = \"perplexity\"\nkind = \"chat\"";
    write_task(&fixture, "home", keys, &rows);
    let study = ["run", "language.toml", "--out", "run", MIXED[0], MIXED[3], MIXED[4], MIXED[5]];
    let words = ["1 of 12 rows is malformed", "no w77 here", "malformed = \"skip\""];
    fixture.run(&study).is_refused("a chat that the template refuses", &words);
    write_task(&fixture, "home", &format!("{keys}\nmalformed = \"skip\""), &rows);
    fixture.run(&study).done();
    let facts = String::from_utf8(fixture.read("run/report.html")).unwrap();
    assert!(facts.contains("1 of 12 rows is left out"), "{facts}");
    assert!(facts.contains("no token of that ends a text"), "what the template's turns lack is said");
}
