//! Tests of the built-in tasks' files: what a publisher's layout and the Hub's Parquet hold is the same to us, and asked as
//! lm-evaluation-harness asks it (figures of tests/golden_prompts.py).

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use super::*;
use crate::data::Located;
use crate::data::language::{LanguageExample, Question};
use crate::data::parquet::write::write;
use crate::eval::{Answer, tally};
use crate::score;
use serde_json::{Value, json};
use std::fs;

/// A folder of data with these files: Parquet of rows, or text.
fn data(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Value::String(text) => fs::write(path, text).unwrap(),
            rows => write(&path, rows.as_array().unwrap()),
        }
    }
    folder
}

/// The questions of a task's first domain over these files, with so many examples.
fn asked(task: &Task, files: &[(&str, Value)], shots: usize) -> QuestionSet {
    task.read_questions_from(Some(data(files).path()), Some(shots), None, false).unwrap().remove(0)
}

/// The same task without any rows but those of the test.
fn tests_alone(task: &Task) -> Task {
    let mut alone = task.clone();
    for domain in &mut alone.domains {
        if let Rows::Files(files) = &mut domain.rows {
            (files.train, files.validation) = (Vec::new(), Vec::new());
        }
    }
    alone
}

fn lines(rows: &[Value]) -> Value {
    rows.iter().map(|row| format!("{row}\n")).collect::<String>().into()
}

fn csv_lines(rows: &[Value]) -> Value {
    let quoted = |cell: &Value| format!("\"{}\"", cell.as_str().unwrap().replace('"', "\"\""));
    let line = |row: &Value| row.as_array().unwrap().iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
    rows.iter().map(line).collect::<String>().into()
}

/// What a model answers whose log-likelihoods are those of `nats` in tests/golden_prompts.py.
fn weighed(question: &Question, description: &str, delimiter: &str) -> Answer {
    let Question::Choice { contexts, choices, golds, .. } = question else { panic!("{question:?}") };
    let nats = |choice: usize| {
        let context = contexts.get(choice).unwrap_or(&contexts[0]);
        let said = choices.get(choice).unwrap_or(&choices[0]);
        let said = format!("{delimiter}{said}");
        let sum: u64 = said.bytes().map(u64::from).sum();
        let before = (description.len() + context.len()) as f64 / 64.0;
        -(said.len() as f64) - (sum % 7) as f64 / 8.0 - before
    };
    let log_likelihoods: Vec<f64> = (0..contexts.len().max(choices.len())).map(nats).collect();
    Answer::Choice {
        chosen: score::argmax(&log_likelihoods).unwrap(),
        is_greedy: vec![false; log_likelihoods.len()],
        log_likelihoods,
        unconditional: Vec::new(),
        golds: golds.clone(),
    }
}

#[test]
fn prompts_choices_golds_and_scores_are_the_harness_in_both_layouts() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/prompts.json")).unwrap();
    let golden = golden.as_object().unwrap();
    assert_eq!(golden.len(), 17);
    for (name, part) in golden {
        let mut task = Task::load(name).unwrap();
        task.domains.truncate(1);
        let Rows::Files(files) = &task.domains[0].rows else { panic!("{name}") };
        let is_hub = |path: &&PathBuf| path.extension().is_some_and(|end| end == "parquet");
        let hub = files.test.iter().find(is_hub).unwrap().to_str().unwrap();
        let own = files.test.iter().find(|path| !is_hub(path)).unwrap().to_str().unwrap();
        let published = match own.ends_with(".json") {
            true => Value::from(part["published"].to_string()),
            false if own.ends_with(".csv") => csv_lines(part["published"].as_array().unwrap()),
            false => lines(part["published"].as_array().unwrap()),
        };
        for (file, content) in [(own, published), (hub, part["hub"].clone())] {
            let set = asked(&task, &[(file, content)], 0);
            let delimiter = &task.questions().unwrap().form.delimiter;
            let judged = |pairs: Vec<Value>, golds: &Value| -> Vec<(Value, bool)> {
                let is_gold = |choice: usize| golds.as_array().unwrap().contains(&json!(choice));
                let mut judged: Vec<(Value, bool)> =
                    pairs.into_iter().enumerate().map(|(choice, pair)| (pair, is_gold(choice))).collect();
                if name.starts_with("truthfulqa") && file == own {
                    // The answers are the keys of an object, which has no order.
                    judged.sort_by_key(|(pair, _)| pair.to_string());
                }
                judged
            };
            assert_eq!(set.questions.len(), part["pairs"].as_array().unwrap().len());
            let answers = set.questions.iter().map(|question| weighed(question, &set.description, delimiter));
            let answers: Vec<Answer> = answers.collect();
            for tallied in tally(task.questions().unwrap(), &set.questions, &answers).unwrap() {
                let metric = if tallied.metric.name() == "mc2" { "acc" } else { tallied.metric.name() };
                let scores = part["scores"].as_array().unwrap().iter().map(|row| row[metric].as_f64());
                // Averages over rows, such as F1 over labels, have no score of a row.
                let Some(scores) = scores.collect::<Option<Vec<f64>>>() else { continue };
                let found = tallied.rows.unwrap();
                let alike = found.iter().zip(&scores).all(|(found, score)| (found - score).abs() < 1e-12);
                assert!(alike && found.len() == scores.len(), "{file}, {metric}: {found:?} of {scores:?}");
            }
            for (row, question) in set.questions.iter().enumerate() {
                let Question::Choice { contexts, choices, golds, .. } = question else {
                    panic!("{question:?}")
                };
                let pair = |choice: usize| {
                    let context = contexts.get(choice).unwrap_or(&contexts[0]);
                    let said = choices.get(choice).unwrap_or(&choices[0]);
                    json!([format!("{}{context}", set.description), format!("{delimiter}{said}")])
                };
                let pairs = (0..contexts.len().max(choices.len())).map(pair).collect();
                let expected = part["pairs"][row].as_array().unwrap().clone();
                let found = judged(pairs, &json!(golds));
                assert_eq!(found, judged(expected, &part["golds"][row]), "{file}, row {row}");
            }
        }
    }
}

#[test]
fn labels_of_the_hub_are_those_of_the_publisher() {
    let sst2 = |i: usize| {
        (format!("text {i}\t{}\n", i % 2), json!({"idx": i, "sentence": format!("text {i}"), "label": i % 2}))
    };
    // The Hub's numbers: 11 card_arrival, 51 Refund_not_showing_up, 53 reverted_card_payment?.
    let intents = [("card_arrival", 11), ("Refund_not_showing_up", 51), ("reverted_card_payment?", 53)];
    let banking = |i: usize| {
        let (name, label) = intents[i % 3];
        (format!("\"Hi, {i}\",{name}\n"), json!({"text": format!("Hi, {i}"), "label": label}))
    };
    let both = |head: &str, rows: Vec<(String, Value)>| {
        let (own, hub): (Vec<String>, Vec<Value>) = rows.into_iter().unzip();
        (Value::from(format!("{head}{}", own.concat())), Value::from(hub))
    };
    let sst2 = |rows: std::ops::Range<usize>| both("sentence\tlabel\n", rows.map(sst2).collect());
    let banking = |rows: std::ops::Range<usize>| both("text,category\n", rows.map(banking).collect());
    let read = |task: &str, own: [&str; 2], hub: [&str; 2], rows: [(Value, Value); 2]| {
        let [(train, hub_train), (test, hub_test)] = rows;
        let published = data(&[(own[0], train), (own[1], test)]);
        let published = Task::load(task).unwrap().read_from(Some(published.path())).unwrap();
        let of_hub = data(&[(hub[0], hub_train), (hub[1], hub_test)]);
        assert_eq!(published, Task::load(task).unwrap().read_from(Some(of_hub.path())).unwrap(), "{task}");
        published
    };
    let own = ["SST-2/train.tsv", "SST-2/dev.tsv"];
    let hub = ["glue/sst2/train-00000-of-00001.parquet", "glue/sst2/validation-00000-of-00001.parquet"];
    read("sst2", own, hub, [sst2(0..20), sst2(20..24)]);
    let own = ["banking77/train.csv", "banking77/test.csv"];
    let hub = ["banking77/train-00000-of-00001.parquet", "banking77/test-00000-of-00001.parquet"];
    let dataset = read("banking77", own, hub, [banking(0..21), banking(21..24)]);
    let names = dataset.tests[0].examples.iter().map(|row| dataset.labels[row.label as usize].as_str());
    assert_eq!(names.collect::<Vec<_>>(), intents.map(|(name, _)| name));
    let task = Task::load("banking77_lm").unwrap();
    let (published, of_hub) = banking(0..3);
    let set = asked(&task, &[(own[1], published)], 0);
    assert_eq!(set.questions, asked(&task, &[(hub[1], of_hub)], 0).questions);
    let worked = set.questions.iter().map(|question| question.worked(" ").1).collect::<Vec<_>>();
    assert_eq!(worked, [" card arrival", " refund not showing up", " reverted card payment"]);
}

#[test]
fn nested_files_and_flat_rows_make_the_same_questions() {
    let multirc = (
        "MultiRC/val.jsonl",
        json!({"idx": 0, "passage": {"text": "P.", "questions": [{"idx": 0, "question": "Q?", "answers": [
            {"text": "a", "label": 0}, {"text": "b", "label": 1}]}]}}),
        "super_glue/multirc/validation-00000-of-00001.parquet",
        json!([{"paragraph": "P.", "question": "Q?", "answer": "a", "label": 0, "idx": {"paragraph": 0, "question": 0, "answer": 0}},
            {"paragraph": "P.", "question": "Q?", "answer": "b", "label": 1, "idx": {"paragraph": 0, "question": 0, "answer": 1}}]),
    );
    let text = "Né Bo met Al.\n@highlight\nBo left\n@highlight\nAl stayed";
    let article = json!({"passage": {"text": text, "entities": [
        {"start": 3, "end": 4}, {"start": 10, "end": 11}, {"start": 25, "end": 26}]},
        "qas": [{"query": "@placeholder left", "answers": [{"text": "Bo"}, {"text": "Bo"}]}, {"query": "No @placeholder", "answers": [{"text": "Al"}]}]});
    let flat = json!([
        {"passage": text, "query": "@placeholder left", "entities": ["Bo", "Al"], "answers": ["Bo"]},
        {"passage": text, "query": "No @placeholder", "entities": ["Bo", "Al"], "answers": ["Al"]}]);
    let record = |hub| ("ReCoRD/val.jsonl", article.clone(), hub, flat.clone());
    let squad = (
        "squad/dev-v1.1.json",
        json!({"data": [{"title": "T", "paragraphs": [{"context": "C d.", "qas": [{"question": "Q? ", "answers": [
            {"text": "d", "answer_start": 2}]}]}]}]}),
        "squad/plain_text/validation-00000-of-00001.parquet",
        json!([{"title": "T", "context": "C d.", "question": "Q?", "answers": {"text": ["d"], "answer_start": [2]}}]),
    );
    let gsm8k = (
        "gsm8k/test.jsonl",
        json!({"question": "Q?", "answer": "1\n#### 1"}),
        "gsm8k/main/test-00000-of-00001.parquet",
        json!([{"question": "Q?", "answer": "1\n#### 1"}]),
    );
    for (task, (published, nested, hub, flat)) in [
        ("superglue_multirc", multirc.clone()),
        ("multirc", multirc),
        ("superglue_record", record("super_glue/record/validation-00000-of-00001.parquet")),
        ("record", record("record/validation-00000-of-00001.parquet")),
        ("squad_lm", squad),
        ("gsm8k", gsm8k),
    ] {
        let task = Task::load(task).unwrap();
        let [own, hub] = [(published, Value::from(format!("{nested}\n"))), (hub, flat)]
            .map(|file| asked(&task, &[file], 0).questions);
        assert!(!own.is_empty());
        assert_eq!(own, hub, "{}", task.name);
    }
    // As super_glue/record/util.py of the harness has it.
    let set = asked(&Task::load("record").unwrap(), &[("ReCoRD/val.jsonl", lines(&[article]))], 0);
    let [Question::Choice { contexts, choices, golds, .. }, _] = set.questions.as_slice() else { panic!() };
    assert_eq!(contexts[0], "Né Bo met Al.\n\n  - Bo left.\n  - Al stayed.\n");
    assert_eq!((choices.join("|").as_str(), golds.as_slice()), ("  - Al left|  - Bo left", [1].as_slice()));
}

#[test]
fn mmlu_is_read_by_subject_or_out_of_all() {
    let task = Task::load("mmlu").unwrap().only(&["anatomy".into()]).unwrap();
    let row = |subject: &str, i: usize| json!({"question": format!(" {subject} {i}?"), "subject": subject, "choices": ["w", "[1]", "3", "z"], "answer": i % 4});
    let line = |i: usize| format!("\" anatomy {i}?\",w,[1],3,z,{}\n", ["A", "B", "C", "D"][i % 4]);
    let rows = |range: std::ops::Range<usize>| -> Value { range.map(|i| row("anatomy", i)).collect() };
    let mixed = |range: std::ops::Range<usize>| -> Value {
        range.flat_map(|i| [row("virology", i + 1), row("anatomy", i)]).collect()
    };
    let published = asked(
        &task,
        &[
            ("data/test/anatomy_test.csv", (0..3).map(line).collect::<String>().into()),
            ("data/dev/anatomy_dev.csv", (3..5).map(line).collect::<String>().into()),
        ],
        2,
    );
    for [test, dev] in [
        [
            ("mmlu/anatomy/test-00000-of-00001.parquet", rows(0..3)),
            ("mmlu/anatomy/dev-00000-of-00001.parquet", rows(3..5)),
        ],
        [
            ("mmlu/all/test-00000-of-00001.parquet", mixed(0..3)),
            ("mmlu/all/dev-00000-of-00001.parquet", mixed(3..5)),
        ],
    ] {
        let hub = asked(&task, &[test, dev], 2);
        assert_eq!((&hub.questions, &hub.shots), (&published.questions, &published.shots));
    }
    let expected = ("anatomy 1?\nA. w\nB. [1]\nC. 3\nD. z\nAnswer:".to_owned(), " B".to_owned());
    assert_eq!(published.questions[1].worked(" "), expected);
    assert_eq!(published.shots[0].len(), 2);
}

#[test]
fn what_is_kept_of_a_file_is_said_by_true_or_false() {
    let keys = |keep: &str| {
        format!(
            "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\noutput_type = \"generate_until\"\nmetric = \"f1\"\n\
             doc_to_text = \"{{{{q}}}}\"\ndoc_to_target = \"a\"\n[[domains]]\nname = \"d\"\ntest = \"t.jsonl\"\nkeep = {keep}\n"
        )
    };
    let rows = [json!({"q": "one", "of": 1}), json!({"q": "two", "of": 2}), json!({"q": "three"})];
    let read = |keep: &str, skip| {
        let task = crate::task::parse::parse(Path::new("t.toml"), None, &keys(keep)).unwrap();
        task.read_questions_from(Some(data(&[("t.jsonl", lines(&rows))]).path()), None, None, skip)
    };
    let set = read("\"{{ of == 2 }}\"", true).unwrap().remove(0);
    assert_eq!((set.places.as_slice(), set.malformed.len()), (["line 2".to_owned()].as_slice(), 1));
    let error = read("\"{{ of == 2 }}\"", false).unwrap_err().to_string();
    assert!(error.contains("line 3, keep: expected a column named \"of\", found the columns q"), "{error}");
    let error = read("\"{{ of | default(0) }}\"", false).unwrap_err().to_string();
    assert!(error.contains("found \"1\"") && error.contains("3 of 3 rows"), "{error}");
    let error = crate::task::parse::parse(Path::new("t.toml"), None, &keys("5")).unwrap_err().to_string();
    assert!(error.contains("domains[0].keep: expected a template"), "{error}");
}

#[test]
fn wikitext_is_one_text_in_the_publisher_s_files_and_on_the_hub() {
    let task = Task::load("wikitext").unwrap();
    let file = " \n = A 's B = \n \n A @-@ b . \n = = C = = \n \n c , d \n \n \n = E = \n \n e \n \n";
    let row = |line: &str| json!({"text": if line.trim().is_empty() { "" } else { line }});
    let by_lines: Value = file.split_inclusive('\n').map(row).collect();
    let pages = [" = A 's B = \n \n A @-@ b . \n = = C = = \n \n c , d \n \n ", " = E = \n \n e \n \n"];
    let by_pages: Value = pages.iter().map(|page| json!({"page": page})).collect();
    for (name, content) in [
        ("wikitext-2-raw/wiki.test.raw", file.into()),
        ("wikitext-2/wiki.test.tokens", file.into()),
        ("wikitext2_valid_test/test.txt", file.into()),
        ("wikitext/wikitext-2-raw-v1/test-00000-of-00001.parquet", by_lines),
        ("wikitext_document_level/wikitext-2-raw-v1/test-00000-of-00001.parquet", by_pages),
    ] {
        let set = asked(&task, &[(name, content)], 0);
        let counted: Vec<&str> = (set.questions.iter())
            .map(|question| match question {
                Question::Text { counted, .. } => counted.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counted, pages, "{name}");
        let Question::Text { text, .. } = &set.questions[0] else { panic!() };
        assert_eq!(text, " = A's B =\n\nA-b.\n== C ==\n\nc, d\n\n", "{name}");
        if !name.ends_with("parquet") {
            assert_eq!(set.places, ["line 2", "line 10"]);
        }
    }
}

#[test]
fn descriptions_of_one_meaning_are_one_answer_s_references_and_rows_to_learn() {
    let task = Task::load("e2e_nlg").unwrap();
    let rows = [
        ("name[A], area[x]", "A is in x."),
        ("name[A], area[x]", "In x, A."),
        ("name[B]", "B."),
        ("name[A], area[x]", "A, x."),
    ];
    let own: String = rows.iter().map(|(mr, said)| format!("\"{mr}\",\"{said}\"\n")).collect();
    let own = Value::from(format!("mr,ref\n{own}"));
    let hub: Value = rows
        .iter()
        .map(|(mr, said)| json!({"meaning_representation": mr, "human_reference": said}))
        .collect();
    let expected = [
        Question::Answer {
            context: "name[A], area[x]\nDescription:".into(),
            references: ["A is in x.", "In x, A.", "A, x."].map(str::to_owned).into(),
        },
        Question::Answer { context: "name[B]\nDescription:".into(), references: vec!["B.".into()] },
    ];
    for (folder, ends, content) in [
        ("e2e-dataset", ["trainset.csv", "devset.csv", "testset_w_refs.csv"], own),
        (
            "e2e_nlg",
            [
                "train-00000-of-00001.parquet",
                "validation-00000-of-00001.parquet",
                "test-00000-of-00001.parquet",
            ],
            hub,
        ),
    ] {
        let names = ends.map(|end| format!("{folder}/{end}"));
        let files: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), content.clone())).collect();
        let set = asked(&task, &files, 0);
        assert_eq!(set.questions, expected);
        assert_eq!(set.places.len(), 2);
        // Where a question's examples are others of the test, it is none of them.
        let set = asked(&tests_alone(&task), &files, 1);
        assert_eq!(set.shots, [[expected[1].clone()], [expected[0].clone()]]);
        let learnt = task.read_language_from(Some(data(&files).path())).unwrap();
        let questions = |examples: &[Located<LanguageExample>]| -> Vec<Question> {
            let question = |example: &Located<LanguageExample>| match &example.row {
                LanguageExample::Asked { question, .. } => question.clone(),
                other => panic!("{other:?}"),
            };
            examples.iter().map(question).collect()
        };
        let said: Vec<String> =
            questions(&learnt.train).iter().map(|question| question.worked("").1).collect();
        assert_eq!(said, rows.map(|(_, said)| said));
        assert_eq!(questions(&learnt.validation), expected);
        assert_eq!(questions(&learnt.tests[0].examples), expected);
    }
}
