//! The keys of a task that asks a language model: what is asked, how often it is shown, how answers are scored.

use super::Faults;
use crate::data::language::question::{Asks, Choices, Form};
use crate::data::language::{Documents, Sampler, Template};
use crate::score::{ExactMatch, Filter};
use crate::task::questions::{OutputType, QuestionMetric, Questions};
use fancy_regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use toml::{Table, Value};

/// The keys that only such a task has.
pub(super) const KEYS: [&str; 23] = [
    "document_start",
    "document_line",
    "join_references",
    "gather",
    "doc_to_text",
    "doc_to_choice",
    "doc_to_target",
    "doc_to_answer",
    "doc_to_reference",
    "doc_to_words",
    "target_delimiter",
    "description",
    "num_fewshot",
    "fewshot_sampler",
    "fewshot_delimiter",
    "further_metrics",
    "unnest",
    "derive",
    "until",
    "max_gen_toks",
    "filters",
    "exact_match",
    "header",
];

/// Tokens of a generated text, unless the task says otherwise, as in lm-evaluation-harness.
const MAX_GEN_TOKS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedFilter {
    name: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    function: String,
    #[serde(default)]
    regex_pattern: String,
    #[serde(default)]
    group_select: i64,
    fallback: Option<String>,
    k: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Ignored {
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
    regexes_to_ignore: Vec<String>,
}

/// How the task of this `output_type` and `metric` asks.
pub(super) fn questions(
    output_type: OutputType,
    metric: &str,
    table: &Table,
    faults: &mut Faults,
) -> Option<Questions> {
    let mut keys = Keys { table, faults };
    for key in ["labels", "columns", "kind", "template"] {
        if table.contains_key(key) {
            keys.faults.add(key, "none, since doc_to_text and doc_to_target read all columns", key);
        }
    }
    let form = form(output_type, metric == QuestionMetric::Multirc.name(), &mut keys)?;
    let metrics = metrics(output_type, metric, &mut keys);
    if output_type == OutputType::MultipleChoice {
        answers(&metrics, &mut keys);
    }
    let filters = filters(&mut keys);
    let exact_match = exact_match(&mut keys);
    let until: Vec<String> = keys.value("until", "a list of texts").unwrap_or_default();
    let generates = output_type == OutputType::GenerateUntil;
    for key in ["until", "max_gen_toks", "filters", "exact_match"] {
        if table.contains_key(key) && !generates {
            keys.faults.add(key, "output_type = \"generate_until\" with it", output_type.name());
        }
    }
    Some(Questions {
        output_type,
        metrics,
        num_fewshot: keys.value("num_fewshot", "a number, 0 or more").unwrap_or(0),
        sampler: keys
            .value("fewshot_sampler", "\"default\", \"one_more\" or \"first_n\"")
            .unwrap_or(Sampler::Default),
        fewshot_delimiter: keys.value("fewshot_delimiter", "text").unwrap_or_else(|| "\n\n".into()),
        until,
        max_gen_toks: keys.value("max_gen_toks", "a number above 0").unwrap_or(MAX_GEN_TOKS),
        filters,
        exact_match,
        unnest: keys.value("unnest", "a list of [\"name\", \"path.of.a.list\"]").unwrap_or_default(),
        description: keys.template("description"),
        form: Arc::new(form),
    })
}

fn form(output_type: OutputType, none_right: bool, keys: &mut Keys) -> Option<Form> {
    let derive: Vec<(String, String)> =
        keys.value("derive", "a list of [\"name\", \"template\"]").unwrap_or_default();
    let derive = derive
        .into_iter()
        .filter_map(|(name, source)| Some((name, keys.parsed("derive", &source)?)))
        .collect();
    let texts = match keys.table.get("doc_to_text") {
        None => Vec::new(),
        Some(_) => keys.templates("doc_to_text")?,
    };
    let target = keys.template("doc_to_target");
    if target.is_none() && !keys.table.contains_key("doc_to_target") {
        keys.faults.add("doc_to_target", "a template: what is right", "nothing");
    }
    if texts.is_empty() && output_type != OutputType::LoglikelihoodRolling {
        keys.faults.add("doc_to_text", "a template: what the model is given", "nothing");
    }
    let target = target?;
    let (answers, references) = (keys.template("doc_to_answer"), keys.template("doc_to_reference"));
    let asks = match output_type {
        OutputType::LoglikelihoodRolling => Asks::Text { target, counted: keys.template("doc_to_words") },
        OutputType::GenerateUntil | OutputType::Loglikelihood => Asks::Answer { target },
        OutputType::MultipleChoice => {
            let choices = match keys.table.get("doc_to_choice") {
                Some(Value::Array(_)) => Choices::Each(keys.templates("doc_to_choice")?),
                Some(_) => Choices::List(keys.template("doc_to_choice")?),
                None => {
                    keys.faults.add(
                        "doc_to_choice",
                        "a list of templates, or one that writes a JSON list",
                        "nothing",
                    );
                    return None;
                }
            };
            Asks::Choice { choices, target, answers, references, none_right }
        }
    };
    let delimiter = keys.value("target_delimiter", "text").unwrap_or_else(|| " ".to_owned());
    let join_references = keys.value("join_references", "true or false").unwrap_or(false);
    if join_references && output_type != OutputType::GenerateUntil {
        keys.faults.add("join_references", "output_type = \"generate_until\" with it", output_type.name());
    }
    let (documents, gather) = (documents(keys), keys.template("gather"));
    Some(Form { documents, gather, join_references, derive, texts, asks, delimiter })
}

fn documents(keys: &mut Keys) -> Option<Documents> {
    let Some(start) = keys.value::<String>("document_start", "a regular expression in quotation marks")
    else {
        if keys.table.contains_key("document_line") {
            keys.faults.add("document_line", "document_start with it", "document_line alone");
        }
        return None;
    };
    let start = Regex::new(&start)
        .map_err(|error| keys.faults.add("document_start", "a regular expression", &error.to_string()));
    let line = match keys.table.contains_key("document_line") {
        true => keys.template("document_line"),
        false => keys.parsed("document_line", "{{text}}"),
    };
    Some(Documents { start: start.ok()?, line: line? })
}

fn metrics(output_type: OutputType, metric: &str, keys: &mut Keys) -> Vec<QuestionMetric> {
    let further: Vec<String> = keys.value("further_metrics", "a list of metrics").unwrap_or_default();
    let mut metrics = Vec::new();
    for name in std::iter::once(metric).chain(further.iter().map(String::as_str)) {
        let suiting = || QuestionMetric::ALL.into_iter().filter(|(known, _)| known.suits(output_type));
        match suiting().find(|(_, known)| *known == name) {
            Some((known, _)) => metrics.push(known),
            None => {
                let names: Vec<&str> = suiting().map(|(_, name)| name).collect();
                let key = if name == metric { "metric" } else { "further_metrics" };
                keys.faults.add(key, &names.join(" or "), &format!("\"{name}\""));
            }
        }
    }
    metrics
}

/// What choices stand for must be said where that is what is scored.
fn answers(metrics: &[QuestionMetric], keys: &mut Keys) {
    use QuestionMetric::{Em, EmF1, F1};
    let Some(metric) = metrics.iter().find(|metric| matches!(metric, Em | F1 | EmF1)) else { return };
    for (key, what) in
        [("doc_to_answer", "what each choice stands for"), ("doc_to_reference", "the answers that are right")]
    {
        if !keys.table.contains_key(key) {
            let expected =
                format!("a template that writes a JSON list: {what}, which {} is scored by", metric.name());
            keys.faults.add(key, &expected, "nothing");
        }
    }
}

fn filters(keys: &mut Keys) -> Vec<(String, Vec<Filter>)> {
    let named: Vec<NamedFilter> =
        keys.value("filters", "a list of { name, steps = [{ function = … }] }").unwrap_or_default();
    let mut filters = Vec::new();
    for NamedFilter { name, steps } in named {
        let steps = steps.iter().filter_map(|step| filter(step, keys)).collect();
        filters.push((name, steps));
    }
    filters
}

fn filter(step: &Step, keys: &mut Keys) -> Option<Filter> {
    Some(match step.function.as_str() {
        "regex" => {
            let fallback = step.fallback.as_deref().unwrap_or("[invalid]");
            let made = Filter::regex(&step.regex_pattern, step.group_select, fallback);
            return made
                .map_err(|error| keys.faults.add("filters", "a regular expression", &error.to_string()))
                .ok();
        }
        "take_first" => Filter::TakeFirst,
        "take_first_k" => Filter::TakeFirstK(step.k.unwrap_or(1)),
        "majority_vote" => Filter::MajorityVote,
        "remove_whitespace" => Filter::RemoveWhitespace,
        "lowercase" => Filter::Lowercase,
        "uppercase" => Filter::Uppercase,
        other => {
            let known =
                "regex, take_first, take_first_k, majority_vote, remove_whitespace, lowercase or uppercase";
            keys.faults.add("filters", known, &format!("\"{other}\""));
            return None;
        }
    })
}

fn exact_match(keys: &mut Keys) -> ExactMatch {
    let expected = "a table of ignore_case, ignore_punctuation, ignore_numbers, regexes_to_ignore";
    let ignored: Ignored = keys.value("exact_match", expected).unwrap_or_default();
    let patterns: Vec<&str> = ignored.regexes_to_ignore.iter().map(String::as_str).collect();
    let made = ExactMatch::ignoring(&patterns);
    let made = made.map_err(|error| {
        keys.faults.add("exact_match.regexes_to_ignore", "regular expressions", &error.to_string());
    });
    let Ignored { ignore_case, ignore_punctuation, ignore_numbers, .. } = ignored;
    let mut exact_match = made.unwrap_or_default();
    exact_match.ignore_case = ignore_case;
    exact_match.ignore_punctuation = ignore_punctuation;
    exact_match.ignore_numbers = ignore_numbers;
    exact_match
}

/// The task's keys, and the faults found in them so far.
struct Keys<'a> {
    table: &'a Table,
    faults: &'a mut Faults,
}

impl Keys<'_> {
    fn value<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Option<T> {
        let value = self.table.get(key)?;
        match value.clone().try_into() {
            Ok(read) => Some(read),
            Err(error) => {
                self.faults.add(key, expected, &format!("{value} ({})", error.message()));
                None
            }
        }
    }

    /// One template, white space around it included.
    fn template(&mut self, key: &str) -> Option<Template> {
        let source: String = self.value(key, "a template in quotation marks")?;
        self.parsed(key, &source)
    }

    /// One template or a list of them.
    fn templates(&mut self, key: &str) -> Option<Vec<Template>> {
        let sources: Vec<String> = match self.table.get(key) {
            Some(Value::String(source)) => vec![source.clone()],
            _ => self.value(key, "a template, or a list of them")?,
        };
        sources.iter().map(|source| self.parsed(key, source)).collect()
    }

    fn parsed(&mut self, key: &str, source: &str) -> Option<Template> {
        Template::parse(source).map_err(|error| self.faults.add(key, "a Jinja template", &error)).ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::task::Task;
    use crate::task::parse::parse;
    use crate::{Error, Result};
    use std::path::Path;

    fn task(keys: &str) -> Result<Task> {
        let head = "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n";
        let domain = "[[domains]]\nname = \"here\"\ntest = \"b.jsonl\"\n";
        parse(Path::new("t.toml"), None, &format!("{head}{keys}{domain}"))
    }

    #[test]
    fn a_task_that_is_only_asked_needs_no_training_file() {
        let task = task(
            "output_type = \"multiple_choice\"\nmetric = \"acc\"\nfurther_metrics = [\"acc_norm\"]\n\
             doc_to_text = \"{{q}}\"\ndoc_to_choice = [\"a\", \"b\"]\ndoc_to_target = \"{{gold}}\"\nnum_fewshot = 5\n",
        )
        .unwrap();
        let questions = task.questions().unwrap();
        assert_eq!((questions.num_fewshot, questions.metrics.len()), (5, 2));
        assert_eq!(questions.fewshot_delimiter, "\n\n");
    }

    #[test]
    fn all_faults_come_at_once() {
        let keys = "output_type = \"multiple_choice\"\nmetric = \"bleu\"\nfurther_metrics = [\"acc\", \"accnorm\"]\n\
            doc_to_text = \"{{q\"\ndoc_to_choice = 5\nnum_fewshot = -1\nuntil = [\"x\"]\nkind = \"chat\"\n";
        let Err(Error::Faults { faults, .. }) = task(keys) else { panic!() };
        for expected in ["doc_to_text: expected a Jinja template", "kind: expected none"] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
        }
        assert!(faults.iter().all(|fault| !fault.starts_with("domains")), "{faults:#?}");
        let keys = "output_type = \"generate_until\"\nmetric = \"acc\"\ndoc_to_text = \"{{q}}\"\ndoc_to_target = \"{{a}}\"\n\
            [[filters]]\nname = \"f\"\nsteps = [{ function = \"regexp\" }]\n[exact_match]\nregexes_to_ignore = [\"(\"]\n";
        let Err(Error::Faults { faults, .. }) = task(keys) else { panic!() };
        let keys = "output_type = \"multiple_choice\"\nmetric = \"acc\"\ndoc_to_text = \"{{q}}\"\ndoc_to_target = \"{{a}}\"\n\
            doc_to_choice = [\"a\"]\njoin_references = true\ndocument_start = \"(\"\n";
        let Err(Error::Faults { faults: more, .. }) = task(keys) else { panic!() };
        assert_eq!(more.len(), 2, "{more:#?}");
        assert!(
            more[0].starts_with("join_references: expected output_type = \"generate_until\" with it"),
            "{more:#?}"
        );
        assert!(more[1].starts_with("document_start: expected a regular expression"), "{more:#?}");
        let keys = "output_type = \"multiple_choice\"\nmetric = \"acc\"\nfurther_metrics = [\"em\"]\ndoc_to_text = \"{{q}}\"\n\
            doc_to_choice = [\"a\"]\ndoc_to_target = \"{{a}}\"\n";
        let Err(Error::Faults { faults: scored, .. }) = task(keys) else { panic!() };
        let expected = "expected a template that writes a JSON list";
        assert!(scored[0].starts_with(&format!("doc_to_answer: {expected}")), "{scored:#?}");
        assert!(scored[1].starts_with(&format!("doc_to_reference: {expected}")), "{scored:#?}");
        assert_eq!(scored.len(), 2);
        for expected in [
            "metric: expected em or f1 or em_f1 or exact_match or bleu or rouge_l, found \"acc\"",
            "filters: expected regex, take_first",
            "exact_match.regexes_to_ignore: expected regular expressions",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
        }
    }
}
