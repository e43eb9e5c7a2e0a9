use super::*;
use crate::data::records::{self, Header, Reading};
use serde_json::json;

fn template(source: &str) -> Template {
    Template::parse(source).unwrap()
}

fn choice(texts: &[&str], choices: Choices, target: &str) -> Form {
    Form {
        documents: None,
        gather: None,
        join_references: false,
        derive: Vec::new(),
        texts: texts.iter().map(|text| template(text)).collect(),
        asks: Asks::Choice {
            choices,
            target: template(target),
            answers: None,
            references: None,
            none_right: false,
        },
        delimiter: " ".into(),
    }
}

fn ask(form: &Form, row: Value) -> Result<Question, Fault> {
    form.question(row.as_object().unwrap().clone())
}

fn golds_of(question: Question) -> Vec<usize> {
    match question {
        Question::Choice { golds, .. } => golds,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_is_a_number_a_choice_or_truth_values() {
    let each = || Choices::Each(vec![template("no"), template("yes")]);
    let form = |target| choice(&["{{q}}?"], each(), target);
    let row = json!({"q": "Is it", "label": 1, "word": "yes", "truth": [0, 1]});
    for target in ["{{label}}", "{{word}}", "{{truth|tojson}}", "{{ 1 if label else 0 }}"] {
        assert_eq!(golds_of(ask(&form(target), row.clone()).unwrap()), [1], "{target}");
    }
    for target in ["2", "maybe", "[true]", "[0, 0]", ""] {
        let (key, expected, _) = ask(&form(target), row.clone()).unwrap_err();
        assert_eq!(key, "doc_to_target", "{target}");
        assert!(expected.contains("one of 2 choices"), "{expected}");
    }
}

#[test]
fn a_question_has_an_answer_that_is_right() {
    let fault = |key| Err((key, "an answer or more".to_owned(), "an empty list".to_owned()));
    let mut form = choice(&["{{q}}"], Choices::List(template("{{ a | tojson }}")), "0");
    let row = json!({"q": "Q", "a": ["x"], "nothing": []});
    let empty = || Some(template("{{ nothing | tojson }}"));
    form.asks = Asks::Answer { target: template("{{ nothing | tojson }}") };
    assert_eq!(ask(&form, row.clone()), fault("doc_to_target"));
    for (key, [answers, references]) in
        [("doc_to_answer", [empty(), None]), ("doc_to_reference", [None, empty()])]
    {
        let choices = Choices::List(template("{{ a | tojson }}"));
        form.asks = Asks::Choice { choices, target: template("0"), answers, references, none_right: false };
        assert_eq!(ask(&form, row.clone()), fault(key));
    }
}

#[test]
fn choices_come_from_a_list_and_contexts_may_differ_instead() {
    let form = choice(&["{{q}}"], Choices::List(template("{{ c.text | tojson }}")), "{{ gold }}");
    let row = json!({"q": "Which?", "c": {"text": ["<a> & 'b'", "c"]}, "gold": "c"});
    let question = ask(&form, row).unwrap();
    assert_eq!(question.worked(" "), ("Which?".into(), " c".into()));
    assert!(format!("{question:?}").contains("<a> & 'b'"), "{question:?}");

    let form = choice(&["The {{a}}", "The {{b}}"], Choices::Each(vec![template("ran.")]), "{{ answer }}");
    let question = ask(&form, json!({"a": "cat", "b": "dog", "answer": 1})).unwrap();
    assert_eq!(question.worked(" "), ("The dog".into(), " ran.".into()));
    assert!(ask(&choice(&["x"], Choices::List(template("none")), "0"), json!({})).is_err());
}

#[test]
fn records_that_follow_one_another_with_one_key_are_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = [
        r#"{"q": "one", "a": "x", "idx": {"q": 0}}"#,
        r#"{"q": "one", "a": "y", "idx": {"q": 0}}"#,
        r#"{"q": "two", "a": "z", "idx": {"q": 1}}"#,
        r#"{"q": "nested", "idx": 7}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let reading = Reading::with(Header::Given(true));
    let mut found = records::read(&path, &reading).unwrap();
    let list = Choices::List(template("{{ rows | map(attribute='a') | list | tojson }}"));
    let mut form = choice(&["{{q}}"], list, "0");
    form.gather = Some(template("{{idx.q}}"));
    form.arrange(&mut found).unwrap();
    let asked: Vec<_> =
        found.records.iter().map(|record| form.questions(&found, record, &[]).remove(0)).collect();
    let Question::Choice { choices, .. } = asked[0].1.as_ref().unwrap() else { panic!("{asked:?}") };
    assert_eq!(
        (choices.as_slice(), asked[1].0.as_str()),
        (["x".to_owned(), "y".into()].as_slice(), "line 3")
    );
    assert_eq!(asked.len(), 3);
    assert!(asked[2].1.is_err(), "a record without the key has no rows");
}

#[test]
fn derived_columns_may_be_lists() {
    let mut form = choice(&["{{n}}"], Choices::List(template("{{ all | tojson }}")), "0");
    form.derive = vec![
        ("all".into(), template("{% set l = ['b', 'a', 'b'] %}{{ l | unique | sort | tojson }}")),
        ("n".into(), template("{{ all | length }} of them")),
    ];
    let question = ask(&form, json!({})).unwrap();
    assert_eq!(question.worked(""), ("2 of them".into(), "a".into()));
}
