//! `doc_to_text` and `doc_to_target`: Jinja templates over a row's columns, as lm-evaluation-harness has them.

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};
use std::fmt;

/// Steps that rendering one row may take; a template that loops without end is stopped.
const FUEL: u64 = 1_000_000;

/// A template that is known to parse.
#[derive(Clone)]
pub(crate) struct Template(Box<Environment<'static>>);

const NAME: &str = "template";

impl Template {
    /// Parses `source`, or says what is wrong with it.
    pub(crate) fn parse(source: &str) -> Result<Template, String> {
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        let syntax = syntax.map_err(|error| error.to_string())?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("regex_replace", regex_replace);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| error.to_string())?;
        Ok(Template(Box::new(environment)))
    }

    /// The text for one row, or why there is none: a name that is no column is not taken for nothing.
    pub(crate) fn render(&self, columns: &Map<String, Value>) -> Result<String, String> {
        let rendered = self.0.get_template(NAME).and_then(|template| template.render(Serde(columns)));
        rendered.map_err(|error| {
            let mut said = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                said = format!("{said}: {error}");
                cause = error.source();
            }
            said
        })
    }
}

/// `text | regex_replace(pattern, replacement)`: all matches replaced, `$1` in the replacement being the first group.
fn regex_replace(text: &str, pattern: &str, replacement: &str) -> Result<String, minijinja::Error> {
    let fault =
        |error: fancy_regex::Error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string());
    let pattern = Regex::new(pattern).map_err(fault)?;
    Ok(pattern.try_replacen(text, 0, replacement).map_err(fault)?.into_owned())
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let source = self.0.get_template(NAME).map(|template| template.source().to_owned());
        f.debug_tuple("Template").field(&source.unwrap_or_default()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str) -> Result<String, String> {
        let columns = json!({"question": " Why? ", "choices": ["a", "b"], "html": "<b>&"});
        Template::parse(source)?.render(columns.as_object().unwrap())
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
            render(r#"{{ "( c )" | regex_replace("\\(\\s*([^)]*?)\\s*\\)", "($1)") }}"#).unwrap(),
            "(c)"
        );
        assert!(render(r#"{{ "a" | regex_replace("(", "") }}"#).is_err());
        assert_eq!(render("{{ choices | tojson }}").unwrap(), r#"["a", "b"]"#);
    }

    #[test]
    fn faults_are_said_and_endless_loops_end() {
        assert!(Template::parse("{{ question").is_err());
        assert!(render("{{ qestion }}").unwrap_err().contains("undefined"));
        assert!(
            render("{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}").is_err()
        );
    }
}
