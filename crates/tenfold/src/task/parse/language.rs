//! The keys of a task for language models: what its rows are and which columns they are in.

use super::{Faults, Language};
use crate::data::language::Template;
use crate::data::language::read::Shape;
use crate::data::records::{Column, Header};
use toml::{Table, Value};

/// The keys that only such a task has.
pub(super) const KEYS: [&str; 5] = ["kind", "doc_to_text", "doc_to_target", "target_delimiter", "template"];

/// Each kind with its columns and the further keys that it may have.
const KINDS: [(&str, &[&str], &[&str]); 4] = [
    ("instruction", &["instruction", "input", "output"], &["template"]),
    ("chat", &["messages"], &[]),
    ("prompt_completion", &["prompt", "completion"], &["doc_to_text", "doc_to_target", "target_delimiter"]),
    ("text", &["text"], &[]),
];

/// The names of the columns of all kinds.
#[cfg(test)]
pub(super) fn columns() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().flat_map(|(_, columns, _)| columns).copied()
}

/// What the rows of a task with this `output_type` are.
pub(super) fn language(output_type: &str, table: &Table, faults: &mut Faults) -> Option<Language> {
    if table.contains_key("labels") {
        faults.add("labels", "none, since a language model puts out text", "labels");
    }
    let kind = faults.choice("", table, "kind", &KINDS.map(|(kind, ..)| kind))?;
    if (kind == "text") != (output_type == "loglikelihood_rolling") {
        let fitting = if kind == "text" { "loglikelihood_rolling" } else { "generate_until" };
        faults.add(
            "output_type",
            &format!("\"{fitting}\" for kind = \"{kind}\""),
            &format!("\"{output_type}\""),
        );
    }
    let (_, names, further) = KINDS.into_iter().find(|(name, ..)| *name == kind)?;
    for key in KEYS.iter().filter(|key| **key != "kind" && !further.contains(key)) {
        if table.contains_key(*key) {
            faults.add(key, &format!("none for kind = \"{kind}\""), "one");
        }
    }
    let none = Table::new();
    let columns = match table.get("columns") {
        None => &none,
        Some(Value::Table(columns)) => columns,
        Some(other) => {
            faults.add("columns", "a table", other.type_str());
            &none
        }
    };
    faults.unknown_keys("columns.", columns, &[names, &["header"]].concat());
    let mut chosen = Vec::new();
    for name in names {
        let given = columns.contains_key(*name);
        chosen.push(if given { Some(faults.column(columns, name)?) } else { None });
    }
    let numbered = chosen.iter().flatten().any(|column| matches!(column, Column::Number(_)));
    let named = chosen.iter().flatten().any(|column| matches!(column, Column::Name(_)));
    let header = Header::Given(faults.header(columns, named || !numbered));
    Some(Language { shape: shape(&kind, chosen, names, table, faults)?, header })
}

/// Keys for language models have no business in a classification task.
pub(super) fn refuse_keys(table: &Table, faults: &mut Faults) {
    for key in KEYS.iter().filter(|key| table.contains_key(**key)) {
        faults.add(key, "output_type = \"generate_until\" or \"loglikelihood_rolling\" with it", "neither");
    }
}

fn shape(
    kind: &str,
    mut chosen: Vec<Option<Column>>,
    names: &[&str],
    table: &Table,
    faults: &mut Faults,
) -> Option<Shape> {
    let mut column = |index: usize| {
        let chosen = chosen.get_mut(index).and_then(Option::take);
        chosen.unwrap_or_else(|| Column::Name(names[index].into()))
    };
    Some(match kind {
        "instruction" => {
            let template = faults.choice_or_none("", table, "template", &["alpaca", "chat"]);
            let chat = template.as_deref() == Some("chat");
            let (instruction, output) = (column(0), column(2));
            Shape::Instruction { instruction, input: chosen.swap_remove(1), output, chat }
        }
        "chat" => Shape::Chat { messages: chosen.swap_remove(0) },
        "text" => Shape::Text { text: column(0) },
        _ => {
            let templates =
                [template(table, "doc_to_text", faults), template(table, "doc_to_target", faults)];
            match templates {
                [Some(doc_to_text), Some(doc_to_target)] => {
                    if table.contains_key("columns") {
                        faults.add("columns", "none, since the templates read all columns", "columns");
                    }
                    Shape::Templates { doc_to_text, doc_to_target, delimiter: delimiter(table, " ", faults) }
                }
                [None, None] => {
                    let (prompt, completion) = (column(0), column(1));
                    Shape::PromptCompletion { prompt, completion, delimiter: delimiter(table, "", faults) }
                }
                _ => {
                    faults.add("doc_to_text", "doc_to_text and doc_to_target, or neither", "one of them");
                    return None;
                }
            }
        }
    })
}

/// A template as it is written: white space around it counts.
fn template(table: &Table, key: &str, faults: &mut Faults) -> Option<Template> {
    let source = match table.get(key)? {
        Value::String(source) => source,
        other => {
            faults.add(key, "a template in quotation marks", &other.to_string());
            return None;
        }
    };
    Template::parse(source).map_err(|error| faults.add(key, "a Jinja template", &error)).ok()
}

fn delimiter(table: &Table, usual: &str, faults: &mut Faults) -> String {
    match table.get("target_delimiter") {
        None => usual.to_owned(),
        Some(Value::String(delimiter)) => delimiter.clone(),
        Some(other) => {
            faults.add("target_delimiter", "text in quotation marks", &other.to_string());
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::task::parse::parse;
    use crate::{Error, Result};
    use std::path::Path;

    const HEAD: &str = "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n";
    const DOMAIN: &str = "[[domains]]\nname = \"here\"\ntrain = \"a.jsonl\"\ntest = \"b.jsonl\"\n";

    fn task(keys: &str) -> Result<String> {
        let task = parse(Path::new("t.toml"), None, &format!("{HEAD}{keys}{DOMAIN}"))?;
        match task.kind {
            TaskKind::Language { rows, .. } => Ok(format!("{rows:?}")),
            other => panic!("{other:?}"),
        }
    }

    fn generate(keys: &str) -> Result<String> {
        task(&format!("output_type = \"generate_until\"\nmetric = \"perplexity\"\n{keys}"))
    }

    #[test]
    fn columns_have_the_names_of_their_kind_unless_others_are_given() {
        let shape =
            generate("kind = \"instruction\"\ntemplate = \"chat\"\n[columns]\noutput = \"response\"\n")
                .unwrap();
        for expected in ["Name(\"instruction\")", "input: None", "Name(\"response\")", "chat: true"] {
            assert!(shape.contains(expected), "{shape}");
        }
        assert!(generate("kind = \"chat\"\n").unwrap().contains("messages: None"));
        let shape =
            generate("kind = \"prompt_completion\"\n[columns]\nprompt = 0\ncompletion = 1\n").unwrap();
        assert!(shape.contains("Number(0)") && shape.contains("header: Given(false)"), "{shape}");
        let rolling = "output_type = \"loglikelihood_rolling\"\nmetric = \"perplexity\"\nkind = \"text\"\n";
        assert!(task(rolling).unwrap().contains("Name(\"text\")"));
    }

    #[test]
    fn templates_keep_their_white_space_and_are_set_apart_by_a_space() {
        let keys =
            "kind = \"prompt_completion\"\ndoc_to_text = \"{{q}}\\nA:\\n\"\ndoc_to_target = \"{{a}}\"\n";
        let shape = generate(keys).unwrap();
        assert!(shape.contains(r#"{{q}}\nA:\n""#) && shape.contains("delimiter: \" \""), "{shape}");
        assert!(generate(&format!("{keys}target_delimiter = \"\"\n")).unwrap().contains("delimiter: \"\""));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (keys, expected) in [
            ("", "kind: expected text, found nothing"),
            ("kind = \"chats\"\n", "kind: expected \"chat\", found \"chats\""),
            ("kind = \"text\"\n", "output_type: expected \"loglikelihood_rolling\" for kind"),
            ("kind = \"chat\"\nlabels = [\"a\"]\n", "labels: expected none"),
            ("kind = \"chat\"\ndoc_to_text = \"x\"\n", "doc_to_text: expected none for kind = \"chat\""),
            ("kind = \"chat\"\n[columns]\nmesages = \"m\"\n", "did you mean \"messages\"?"),
            ("kind = \"prompt_completion\"\ndoc_to_text = \"x\"\n", "or neither, found one of them"),
            (
                "kind = \"prompt_completion\"\ndoc_to_text = \"{{ x\"\ndoc_to_target = \"y\"\n",
                "doc_to_text: expected a Jinja template",
            ),
        ] {
            match generate(keys) {
                Err(error @ Error::Faults { .. }) => assert!(error.to_string().contains(expected), "{error}"),
                other => panic!("{keys}: {other:?}"),
            }
        }
        let error =
            task("output_type = \"classification\"\nmetric = \"accuracy\"\nkind = \"chat\"\n").unwrap_err();
        assert!(error.to_string().contains("kind: expected output_type"), "{error}");
    }
}
