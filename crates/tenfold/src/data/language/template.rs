//! `doc_to_text` and `doc_to_target`: Jinja templates over a row's columns, as lm-evaluation-harness has them.

use crate::error::nearest;
use crate::jinja::{self, Program};
use crate::score::python;
use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, escape_formatter};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::LazyLock;

/// A template that is known to parse.
#[derive(Clone)]
pub(crate) struct Template {
    program: Program,
    /// What it looks up, as far as can be told before it is rendered: "question", "passage.text".
    used: Vec<String>,
    /// Whether it may ask what a value is, so that a null can have a meaning.
    asks: bool,
    /// Whether what it writes is meant to be JSON.
    writes_json: bool,
}

/// Why there is no text: what was expected, and what came.
pub(crate) type Unrendered = (String, String);

/// Words within tags by which a template can tell a null from other values.
static ASKING: LazyLock<Regex> = LazyLock::new(|| match Regex::new(ASKING_WORDS) {
    Ok(asking) => asking,
    Err(error) => unreachable!("a pattern of our own: {error}"),
});
const ASKING_WORDS: &str =
    r"(?s)\{[{%](?:(?!%\}|\}\}).)*\b(?:if|elif|or|and|not|is|none|default|d|tojson|select|reject)\b";

impl Template {
    /// Parses `source`, or says what is wrong with it.
    pub(crate) fn parse(source: &str) -> Result<Template, String> {
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        let syntax = syntax.map_err(|error| error.to_string())?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("regex_replace", regex_replace);
        // Written out, a null would be the word "None".
        environment.set_formatter(|out, state, value| {
            jinja::walk_to_print(state, value)?;
            match value.is_none() {
                true => Err(minijinja::Error::new(ErrorKind::InvalidOperation, "null is no text")),
                false => escape_formatter(out, state, value),
            }
        });
        let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        let program = Program::new(environment, syntax, source);
        let program = program.map_err(|error| error.to_string())?;
        let is_global =
            |path: &String| globals.iter().any(|name| path.split('.').next() == Some(name.as_str()));
        let used = program.undeclared().map_err(|error| error.to_string())?;
        let used = used.into_iter().filter(|path| !is_global(path));
        let mut used: Vec<String> = used.collect();
        used.sort_unstable();
        let asks = ASKING.is_match(source).unwrap_or(true);
        let writes_json = source.contains("tojson") || is_json_by_hand(source);
        Ok(Template { program, used, asks, writes_json })
    }

    /// Whether what it writes is meant to be JSON: it uses `tojson`, or begins with a bracket of its own.
    pub(crate) fn writes_json(&self) -> bool {
        self.writes_json
    }

    /// The text for one row, or why there is none: neither a name that is no column is taken for nothing, nor a null that
    /// the template does not ask about.
    pub(crate) fn render(&self, columns: &Map<String, Value>) -> Result<String, Unrendered> {
        if !self.asks {
            self.no_nulls(columns)?;
        }
        let rendered = self.program.render(minijinja::Value::from(Serde(columns)));
        rendered.map_err(|error| self.fault(columns, &error))
    }

    /// Refuses a row any of whose columns that the template looks up is null: what is right hangs on no null.
    pub(crate) fn no_nulls(&self, columns: &Map<String, Value>) -> Result<(), Unrendered> {
        let null = |path: &&str| looked_up(columns, path) == Some(&Value::Null);
        match self.used.iter().flat_map(|path| beginnings(path)).find(null) {
            Some(path) => Err((format!("something in column \"{path}\""), "null".into())),
            None => Ok(()),
        }
    }

    fn fault(&self, columns: &Map<String, Value>, error: &minijinja::Error) -> Unrendered {
        let names: Vec<&str> = columns.keys().map(String::as_str).collect();
        let absent = |path: &&str| looked_up(columns, path).is_none();
        let kinds = [ErrorKind::UndefinedError, ErrorKind::UnknownMethod];
        let absent = self.used.iter().flat_map(|path| beginnings(path)).find(absent);
        if let Some(name) = absent.filter(|_| kinds.contains(&error.kind())) {
            let hint = nearest(name, names.iter().copied());
            let hint = hint.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            return (format!("a column named \"{name}\""), format!("the columns {}{hint}", names.join(", ")));
        }
        if let Err(null) = self.no_nulls(columns) {
            return null;
        }
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            said = format!("{said}: {error}");
            cause = error.source();
        }
        (format!("a template over the columns {}", names.join(", ")), said)
    }
}

/// Whether a template begins with a bracket that is no tag's.
fn is_json_by_hand(source: &str) -> bool {
    let source = source.trim_start();
    source.starts_with('[')
        || source.starts_with('{') && !["{{", "{%", "{#"].iter().any(|tag| source.starts_with(tag))
}

/// "a", "a.b" and "a.b.c" of "a.b.c".
fn beginnings(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(end, _)| &path[..end]).chain([path])
}

/// The value that a path leads to; none where a column or a key is missing.
fn looked_up<'v>(columns: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let mut keys = path.split('.');
    let mut value = columns.get(keys.next()?)?;
    for key in keys {
        match value {
            Value::Object(fields) => value = fields.get(key)?,
            // A method of a text or of a list.
            _ => break,
        }
    }
    Some(value)
}

/// `text | regex_replace(pattern, replacement, count)`: Python's `re.sub`, as in the harness; `count` may be left out.
fn regex_replace(
    text: &str,
    pattern: &str,
    replacement: &str,
    count: Option<usize>,
    named: Kwargs,
) -> Result<String, minijinja::Error> {
    let count = count.or(named.get("count")?).unwrap_or(0);
    named.assert_all_used()?;
    let replaced = python::regex(pattern).and_then(|pattern| python::sub(&pattern, replacement, text, count));
    replaced.map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Template").field(&self.program.source()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str) -> Result<String, String> {
        let columns = json!({
            "question": " Why? ", "choices": ["a", "b"], "html": "<b>&", "angry": "0", "context": null,
            "passage": {"text": null, "title": "T"},
        });
        let rendered = Template::parse(source)?.render(columns.as_object().unwrap());
        rendered.map_err(|(expected, found)| format!("expected {expected}, found {found}"))
    }

    #[test]
    fn templates_read_columns_with_pythons_methods_and_keep_their_text() {
        assert_eq!(render("Q: {{question.strip()}}\nA:\n").unwrap(), "Q: Why?\nA:\n");
        assert_eq!(render("{% for c in choices %}{{c}};{% endfor %}{{html}}").unwrap(), "a;b;<b>&");
    }

    #[test]
    fn patterns_are_replaced_and_lists_written_as_json() {
        assert_eq!(render(r#"{{ "a [b] (c )" | regex_replace("\\[.*?\\] ", "") }}"#).unwrap(), "a (c )");
        assert_eq!(
            render(r#"{{ "( c )" | regex_replace("\\(\\s*([^)]*?)\\s*\\)", "(\\1)") }}"#).unwrap(),
            "(c)"
        );
        assert_eq!(render(r#"{{ "aab" | regex_replace("a", "$0", count=1) }}"#).unwrap(), "$0ab");
        assert_eq!(render(r#"{{ "aab" | regex_replace("(a)", "\g<1>!", 1) }}"#).unwrap(), "a!ab");
        assert!(render(r#"{{ "a" | regex_replace("(", "") }}"#).is_err());
        assert_eq!(render("{{ choices | tojson }}").unwrap(), r#"["a", "b"]"#);
    }

    #[test]
    fn faults_are_said_and_endless_loops_end() {
        assert!(Template::parse("{{ question").is_err());
        assert!(
            render("{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}").is_err()
        );
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let columns = "found the columns angry, choices, context, html, passage, question";
        for (source, name) in [
            ("{{ qestion }}", "qestion"),
            ("{{ qestion.strip() }}", "qestion"),
            ("{% if qestion %}x{% endif %}", "qestion"),
            ("{{ passage.txet }}", "passage.txet"),
        ] {
            let said = render(source).unwrap_err();
            assert!(
                said.starts_with(&format!("expected a column named \"{name}\", {columns}")),
                "{source}: {said}"
            );
        }
        assert!(render("{{ qestion }}").unwrap_err().ends_with("did you mean \"question\"?"));
    }

    #[test]
    fn a_null_is_no_text_unless_the_template_says_what_it_means() {
        for source in [
            "{{ context }}",
            "{{ context | trim }}",
            "{{ 'C: ' ~ context }}",
            "{{ context.strip() }}",
            "{% if angry %}{{ context }}{% endif %}",
        ] {
            let said = render(source).unwrap_err();
            assert_eq!(said, "expected something in column \"context\", found null", "{source}");
        }
        assert!(
            render("{{ passage.title }}{{ passage.text }}").unwrap_err().contains("column \"passage.text\"")
        );
        assert_eq!(render("{% if context %}C: {{ context }}{% endif %}Q").unwrap(), "Q");
        assert_eq!(
            render("{{ context or '' }}{{ 'none' if context is none else context }}").unwrap(),
            "none"
        );
        assert_eq!(render("{{ context | tojson }}").unwrap(), "null");
        assert_eq!(render("Is it or is it not? {{ passage.title }}").unwrap(), "Is it or is it not? T");
    }

    #[test]
    fn values_of_tables_are_texts_and_become_numbers_on_demand() {
        assert_eq!(render("{{ 1 if angry else 0 }}").unwrap(), "1", "a text that is not empty is true");
        assert_eq!(render("{{ 1 if angry | int else 0 }}").unwrap(), "0");
    }
}
