//! From a task file's text to a [`Task`], with all of the file's faults listed at once.

mod domains;
mod faults;
mod language;
mod questions;

use faults::Faults;

use super::questions::OutputType;
use super::{Columns, EXTRACTIVE, Extraction, Language, REGRESSION, Rows, Task, TaskKind};
use crate::data::faulty::Malformed;
use crate::data::language::read::Shape;
use crate::data::records::{Column, Header};
use crate::data::rows::Field;
use crate::data::vader;
use crate::error::nearest;
use crate::score::{Kind, SCORINGS};
use crate::words::or;
use crate::{Error, Result};
use std::collections::HashSet;
use std::path::Path;
use toml::{Table, Value};

const KEYS: [&str; 10] = [
    "name",
    "title",
    "source",
    "licence",
    "output_type",
    "metric",
    "labels",
    "malformed",
    "columns",
    "domains",
];
const OUTPUT_TYPES: [&str; 7] = [
    "classification",
    REGRESSION,
    EXTRACTIVE,
    "generate_until",
    "loglikelihood_rolling",
    "multiple_choice",
    "loglikelihood",
];
const COLUMN_KEYS: [&str; 6] = ["text", "text_pair", "label", "weight", "header", "extra_columns"];

/// Scores of the label 1 against the label 0.
pub(super) const F1_OF_TWO: [&str; 2] = ["f1", "accuracy_f1"];

/// Parses the task file `file` whose paths are relative to `folder`.
pub(super) fn parse(file: &Path, folder: Option<&Path>, content: &str) -> Result<Task> {
    let table: Table = content.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| content[..span.start.min(content.len())].lines().count().max(1));
        Error::malformed(file, format!("line {line}"), "TOML", error.message().to_owned())
    })?;
    let mut faults = Faults(Vec::new());
    faults.unknown_keys(
        "",
        &table,
        &[&KEYS[..], &language::KEYS[..], &questions::KEYS[..], &Extraction::KEYS[..]].concat(),
    );
    let name = faults.text("", &table, "name").unwrap_or_default();
    let mut about = |key: &str| table.contains_key(key).then(|| faults.text("", &table, key)).flatten();
    let (title, source, licence) = (about("title"), about("source"), about("licence"));
    let output_type = output_type(&table, &mut faults);
    // Of what is not known nothing else can be told to be wrong than what is so of every type.
    let is_known = !output_type.is_empty();
    let is_language = OUTPUT_TYPES[3..].contains(&output_type.as_str());
    // Rows of which no more than the loss is looked at have no questions.
    let rows_alone = table.get("metric").and_then(Value::as_str).is_none_or(|metric| metric == "perplexity");
    let asked = OutputType::named(&output_type).filter(|asked| {
        !rows_alone || *asked == OutputType::MultipleChoice || *asked == OutputType::Loglikelihood
    });
    let metric = match asked {
        Some(_) => faults.text("", &table, "metric"),
        None if !is_known => faults.text("", &table, "metric"),
        None => {
            let kind = match output_type.as_str() {
                REGRESSION => Kind::Numbers,
                EXTRACTIVE => Kind::Matches,
                _ if is_language => Kind::Nats,
                _ => Kind::Labels,
            };
            let metrics: Vec<&str> =
                SCORINGS.iter().filter(|scoring| scoring.of == kind).map(|scoring| scoring.name).collect();
            faults.choice("", &table, "metric", &metrics)
        }
    };
    let metric = metric.unwrap_or_default();
    let mut questions = None;
    let (labels, columns, language) = match (is_language, asked) {
        (_, Some(output_type)) => {
            questions = questions::questions(output_type, &metric, &table, &mut faults);
            let language = questions.as_ref().map(|questions| Language {
                shape: Shape::Questions { form: questions.form.clone(), unnest: questions.unnest.clone() },
                header: Header::Given(table.get("header").and_then(Value::as_bool).unwrap_or(true)),
            });
            (None, None, language)
        }
        _ if !is_known => (None, None, None),
        (true, None) => (None, None, language::language(&output_type, &table, &mut faults)),
        (false, None) if output_type == EXTRACTIVE => (None, None, None),
        (false, None) => (labels(&table, &mut faults), columns(&table, &mut faults), None),
    };
    if is_known && !is_language {
        language::refuse_keys(&table, &mut faults);
    }
    let extraction = if is_known { extraction(&output_type, &metric, &table, &mut faults) } else { None };
    let needs_none = is_language || extraction.is_some();
    let kind = match (extraction, language) {
        (Some(extraction), _) => TaskKind::Extraction(extraction),
        (None, Some(rows)) => TaskKind::Language { rows: Box::new(rows), questions: questions.map(Box::new) },
        (None, None) if output_type == REGRESSION => TaskKind::Regression(columns),
        // Of what has a fault any kind will do.
        (None, None) => TaskKind::Classification(columns),
    };
    let malformed = faults.choice_or_none("", &table, "malformed", &Malformed::NAMES);
    let domains = domains::domains(&table, &mut faults);
    let task = Task {
        title: title.unwrap_or_else(|| name.clone()),
        name,
        source: source.unwrap_or_default(),
        licence: licence.unwrap_or_default(),
        output_type,
        metric,
        labels,
        malformed: malformed.map(|name| Malformed::named(&name)).unwrap_or_default(),
        file: file.to_owned(),
        folder: folder.map(Path::to_owned),
        kind,
        domains,
    };
    fit_together(
        &task,
        needs_none || !is_known || table.contains_key("columns"),
        asked.is_some(),
        &mut faults,
    );
    if task.is_regression() && task.labels.is_some() {
        faults.add("labels", "none, since numbers are foretold", "labels");
    }
    if let Some(labels) = task.labels.as_ref().filter(|labels| labels.len() != 2)
        && F1_OF_TWO.contains(&task.metric.as_str())
    {
        let expected =
            format!("two for metric = \"{}\", the second of which is the positive one", task.metric);
        faults.add("labels", &expected, &labels.len().to_string());
    }
    if needs_none && task.domains.iter().any(|domain| matches!(domain.rows, Rows::Builtin(_))) {
        faults.add("output_type", "classification, as the built-in rows are for", &task.output_type);
    }
    if faults.0.is_empty() {
        Ok(task)
    } else {
        Err(Error::Faults { file: file.to_owned(), faults: faults.0 })
    }
}

/// What the model puts out; one that is nearly right is taken for what was meant, so that all else can be checked, too.
/// Empty if it is not known.
fn output_type(table: &Table, faults: &mut Faults) -> String {
    let Some(found) = faults.text("", table, "output_type") else { return String::new() };
    if OUTPUT_TYPES.contains(&found.as_str()) {
        return found;
    }
    let meant = nearest(&found, OUTPUT_TYPES);
    let hint = meant.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
    let known = or(&OUTPUT_TYPES.map(|name| format!("\"{name}\"")));
    faults.add("output_type", &known, &format!("\"{found}\"{hint}"));
    meant.unwrap_or_default().to_owned()
}

/// How answers are found in passages, where they are.
fn extraction(output_type: &str, metric: &str, table: &Table, faults: &mut Faults) -> Option<Extraction> {
    let own = Extraction::KEYS.iter().filter(|key| table.contains_key(**key));
    if output_type != EXTRACTIVE {
        own.for_each(|key| faults.add(key, &format!("output_type = \"{EXTRACTIVE}\" with it"), output_type));
        return None;
    }
    for key in ["labels", "columns"] {
        if table.contains_key(key) {
            faults.add(key, "none, since passages, questions and answers are in SQuAD's own columns", key);
        }
    }
    let keys: Table = own.map(|key| ((*key).to_owned(), table[*key].clone())).collect();
    match Value::Table(keys).try_into::<Extraction>() {
        Ok(read) if read.n_best_size > 0 && read.max_answer_length > 0 => {
            Some(Extraction { unanswerable: metric == "squad2_f1", ..read })
        }
        Ok(_) => {
            faults.add("n_best_size, max_answer_length", "numbers above 0", "0");
            None
        }
        Err(error) => {
            faults.add(&Extraction::KEYS.join(", "), "numbers, 0 or more", error.message());
            None
        }
    }
}

/// What no single key can tell.
fn fit_together(task: &Task, has_columns: bool, is_asked: bool, faults: &mut Faults) {
    let builtin = task.domains.iter().any(|domain| matches!(domain.rows, Rows::Builtin(_)));
    let from_files = task.domains.iter().any(|domain| matches!(domain.rows, Rows::Files(_)));
    if from_files && !has_columns {
        faults.add("columns", "[columns] with text and label, since a domain names files", "nothing");
    }
    if builtin && task.labels.as_ref().is_some_and(|labels| *labels != vader::LABELS) {
        let expected = format!("{:?}, the labels of the built-in rows", vader::LABELS);
        faults.add("labels", &expected, &format!("{:?}", task.labels.as_deref().unwrap_or_default()));
    }
    let mut names = HashSet::new();
    for (index, domain) in task.domains.iter().enumerate() {
        let place = format!("domains[{index}]");
        if !names.insert(&domain.name) {
            faults.add(&format!("{place}.name"), "a name of its own", &format!("\"{}\" again", domain.name));
        }
        match &domain.rows {
            Rows::Builtin(name) if index == 0 && name != "vader/movie" => {
                faults.add(&format!("{place}.builtin"), "\"vader/movie\" (the others are tests alone)", name);
            }
            Rows::Files(files) if index == 0 && files.train.is_empty() && !is_asked => {
                faults.add(
                    &format!("{place}.train"),
                    "a file, since the first domain is trained on",
                    "nothing",
                );
            }
            Rows::Files(files) if index > 0 && !files.validation.is_empty() => {
                let expected = "test, and train for mixtures, since the first domain's rows validate";
                faults.add(&place, expected, "validation");
            }
            _ => {}
        }
    }
}

fn labels(table: &Table, faults: &mut Faults) -> Option<Vec<String>> {
    let value = table.get("labels")?;
    let names: Option<Vec<String>> = value
        .as_array()
        .and_then(|list| list.iter().map(|name| Some(name.as_str()?.trim().to_owned())).collect());
    let Some(names) = names else {
        faults.add("labels", "a list of names in quotation marks", &value.to_string());
        return None;
    };
    let distinct: HashSet<&String> = names.iter().collect();
    if names.len() < 2 || distinct.len() < names.len() || names.iter().any(String::is_empty) {
        faults.add("labels", "two or more names, each once", &value.to_string());
    }
    Some(names)
}

fn columns(table: &Table, faults: &mut Faults) -> Option<Columns> {
    let value = table.get("columns")?;
    let Some(columns) = value.as_table() else {
        faults.add("columns", "a table", value.type_str());
        return None;
    };
    faults.unknown_keys("columns.", columns, &COLUMN_KEYS);
    let text = faults.field(columns, "text", true);
    let text_pair = faults.field(columns, "text_pair", false);
    let label = faults.columns(columns, "label", true);
    let weight = faults.columns(columns, "weight", false);
    let fields = [&text, &text_pair].into_iter().flatten();
    let choices: Vec<&[Column]> = fields
        .filter_map(|field| match field {
            Field::Columns(columns) => Some(columns.as_slice()),
            Field::Template(_) => None,
        })
        .chain(label.as_deref())
        .chain(weight.as_deref())
        .collect();
    let templates = [&text, &text_pair].into_iter().any(|field| matches!(field, Some(Field::Template(_))));
    let header = header(columns, &choices, templates, faults);
    let extra_columns = match columns.get("extra_columns") {
        None => false,
        Some(Value::Boolean(extra)) => *extra,
        Some(other) => {
            faults.add("columns.extra_columns", "true or false", &other.to_string());
            false
        }
    };
    Some(Columns { text: text?, text_pair, label: label?, weight, header, extra_columns })
}

/// Where columns go by name in one layout and by number in another, the first row tells which one a file has.
fn header(table: &Table, choices: &[&[Column]], templates: bool, faults: &mut Faults) -> Header {
    let name = |column: &Column| match column {
        Column::Name(name) => Some(name.clone()),
        Column::Number(_) => None,
    };
    let both = |columns: &&[Column]| {
        columns.iter().any(|column| name(column).is_some())
            && columns.iter().any(|column| name(column).is_none())
    };
    let names: Vec<String> = choices.iter().flat_map(|columns| columns.iter().filter_map(name)).collect();
    match !table.contains_key("header") && choices.iter().any(both) {
        true => Header::IfNamed(names),
        false => Header::Given(faults.header(table, templates || !names.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(content: &str) -> Vec<String> {
        match parse(Path::new("t.toml"), None, content) {
            Err(Error::Faults { faults, .. }) => faults,
            other => panic!("expected faults, got {other:?}"),
        }
    }

    #[test]
    fn all_faults_are_listed_at_once_with_the_nearest_valid_name() {
        let faults = faults(
            "name = 3\ntitel = \"x\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n\
             output_type = \"clasification\"\nmetric = \"beauty\"\nlabels = [\"a\"]\n\
             [columns]\ntext = -1\nlabel = \"label\"\nheader = false\n\
             [[domains]]\nname = \"one\"\ntest = \"a.tsv\"\nformat = \"xml\"\n\
             [[domains]]\nname = \"one\"\ntrain = 5\n[[domains]]\nname = \"x\"\nbuiltin = \"vader/tweet\"\n",
        );
        for expected in [
            "name: expected text, found 3",
            "titel: there is no such key; did you mean \"title\"?",
            "output_type: expected \"classification\"",
            "metric: expected accuracy or f1 or f1_macro or balanced_accuracy or matthews or accuracy_f1 or accuracy_f1_macro, found \"beauty\"",
            "labels: expected two or more names",
            "columns.text: expected a column's name, or its number from 0, found -1",
            "columns.header: expected true",
            "domains[0].format: expected tsv or csv or jsonl or json or text or parquet, found \"xml\"",
            "domains[0].train: expected a file, since the first domain is trained on",
            "domains[1].train: expected a path",
            "domains[1].test: expected a file",
            "domains[1].name: expected a name of its own, found \"one\" again",
            "domains[2].builtin: expected \"vader/tweets\"",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
        }
    }

    #[test]
    fn an_output_type_that_is_not_known_is_one_fault_with_all_that_are() {
        let head =
            "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\noutput_type = \"seq2seq\"\n";
        let domain = "[[domains]]\nname = \"d\"\ntrain = \"a.tsv\"\ntest = \"b.tsv\"\n";
        for rest in [
            "metric = \"rouge_l\"\ndoc_to_text = \"{{a}}\"\ndoc_to_target = \"{{b}}\"\nuntil = [\"x\"]\n",
            "metric = \"accuracy\"\nlabels = [\"a\", \"b\"]\n[columns]\ntext = \"text\"\nlabel = \"label\"\n",
            "metric = \"perplexity\"\nkind = \"chat\"\n",
            "metric = \"squad_f1\"\ndoc_stride = 64\n",
        ] {
            let found = faults(&format!("{head}{rest}{domain}"));
            let all = OUTPUT_TYPES.iter().all(|known| found[0].contains(&format!("\"{known}\"")));
            assert!(found.len() == 1 && all, "{found:#?}");
            assert!(found[0].ends_with("found \"seq2seq\""), "{found:#?}");
        }
    }

    #[test]
    fn every_key_is_in_the_reference() {
        let reference = include_str!("../../../../docs/tasks.md");
        let keys = [
            &KEYS[..],
            &COLUMN_KEYS[..],
            &domains::KEYS[..],
            &language::KEYS[..],
            &questions::KEYS[..],
            &Extraction::KEYS[..],
            &OUTPUT_TYPES[..],
            &Malformed::NAMES[..],
            &crate::data::records::Format::NAMES[..],
        ];
        let named = |key: &str| [format!("`{key}"), format!("[{key}]"), format!("\"{key}\"")];
        for key in keys.concat().into_iter().chain(language::columns()) {
            assert!(named(key).iter().any(|name| reference.contains(name)), "docs/tasks.md lacks {key}");
        }
    }

    #[test]
    fn an_empty_file_names_every_key_that_it_needs() {
        assert_eq!(faults("").len(), 4);
    }

    #[test]
    fn text_that_is_no_toml_is_refused_with_its_line() {
        let error = parse(Path::new("t.toml"), None, "name = \"x\"\nlabels = [").unwrap_err().to_string();
        assert!(error.starts_with("t.toml: line 2"), "{error}");
    }
}
