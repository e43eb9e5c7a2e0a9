//! Chat templates: a conversation as the text a model was trained on, by the Jinja template that comes with the model.
//!
//! The template is a program of whoever published the model: it runs within limits of steps and sizes, sees nothing but
//! the messages and a few words, and what goes wrong in it is an error.

use super::files::Folder;
use super::gguf::Metadata;
use super::tokenizer::config::SETTINGS;
use crate::data::language::Message;
use crate::jinja::{self, FUEL, LONGEST, Program};
use crate::plain_file;
use crate::{Error, Result, first_bytes};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, context, escape_formatter};
use regex::Regex;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = "chat_template";
/// 26 July 2024 in seconds since 1970: the day that Llama 3's templates fall back to where they are told no other.
const FIXED_DATE: u64 = 1_721_952_000;

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    program: Program,
    file: PathBuf,
    bos_token: String,
    eos_token: String,
    writes_dates: bool,
}

impl ChatTemplate {
    /// The template in chat_template.jinja or tokenizer_config.json of a model's folder; `None` if it has none.
    pub fn from_dir(folder: &Path) -> Result<Option<ChatTemplate>> {
        Self::of_folder(&Folder::new(folder))
    }

    /// The same of a folder whose small files others look into too.
    pub(super) fn of_folder(folder: &Folder) -> Result<Option<ChatTemplate>> {
        let settings = folder.object(SETTINGS)?.unwrap_or_default();
        let token = |key: &str| {
            let value = settings.get(key).map(|value| value.get("content").unwrap_or(value));
            value.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let Some((file, source)) = source(folder)? else { return Ok(None) };
        Self::compile(file, source, token("bos_token"), token("eos_token")).map(Some)
    }

    /// The template in a GGUF file's metadata (`tokenizer.chat_template`); `None` if there is none.
    pub fn from_gguf(metadata: &Metadata) -> Result<Option<ChatTemplate>> {
        let Some(source) = metadata.optional("tokenizer.chat_template", Metadata::string)? else {
            return Ok(None);
        };
        let token = |key: &str| -> Result<String> {
            let Some(id) = metadata.optional(key, Metadata::u32)? else { return Ok(String::new()) };
            let tokens = metadata.strings("tokenizer.ggml.tokens")?;
            let token = tokens.get(id as usize);
            token
                .cloned()
                .ok_or_else(|| metadata.fault(key, format!("an id below {}", tokens.len()), id.to_string()))
        };
        let (bos, eos) = (token("tokenizer.ggml.bos_token_id")?, token("tokenizer.ggml.eos_token_id")?);
        Self::compile(metadata.file().to_owned(), source.to_owned(), bos, eos).map(Some)
    }

    /// The same template on a day that does not pass, and a sentence about it, if it writes the date: rows that are kept
    /// must be the same tomorrow. The day is that of `SOURCE_DATE_EPOCH`, or else [`FIXED_DATE`].
    pub fn of_a_fixed_day(mut self) -> (ChatTemplate, Option<String>) {
        if !self.writes_dates {
            return (self, None);
        }
        let day = source_date().unwrap_or(FIXED_DATE);
        let environment = self.program.environment();
        environment.add_function("strftime_now", move |format: String| strftime(&format, day));
        let date = strftime("%d %B %Y", day).unwrap_or_default();
        let note = format!(
            "{}: the chat template writes the date of the day; here it is {date} in every row, so that the same rows \
             give the same model on any day (SOURCE_DATE_EPOCH sets another date)",
            self.file.display()
        );
        (self, Some(note))
    }

    /// What else than the rows and the model decides a rendering of [`Self::of_a_fixed_day`]: a date that was set.
    pub fn date_set(&self) -> Option<u64> {
        source_date().filter(|_| self.writes_dates)
    }

    /// The conversation as one text, special tokens included: a tokenizer must add none of its own
    /// ([`super::tokenizer::Tokenizer::words`]). `tools` describes the functions that the assistant may call, as JSON Schemas.
    /// With `add_generation_prompt` it ends where the assistant's words begin.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let rendered = self.program.render(context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
            tools => tools.map(|tools| Value::from(Serde(tools))),
            documents => (),
        });
        rendered.map_err(|error| self.fault(&error))
    }

    fn compile(file: PathBuf, source: String, bos_token: String, eos_token: String) -> Result<ChatTemplate> {
        let writes_dates = source.contains("strftime_now");
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let program = syntax.and_then(|syntax| {
            let source = if source.len() > LONGEST { source } else { without_generation_marks(&source) };
            Program::new(environment(), syntax, &source)
        });
        let program = program.map_err(|error| fault(&file, &error))?;
        Ok(ChatTemplate { program, file, bos_token, eos_token, writes_dates })
    }

    fn fault(&self, error: &minijinja::Error) -> Error {
        fault(&self.file, error)
    }
}

/// The text of a folder's template and the file that it stands in; `None` if there is none.
pub(super) fn source(folder: &Folder) -> Result<Option<(PathBuf, String)>> {
    let own = folder.path().join("chat_template.jinja");
    if own.is_file() {
        let source = first_bytes::read_text(&own, "a chat template", plain_file::SETTINGS)?;
        return Ok(Some((own, source)));
    }
    let (file, settings) = (folder.path().join(SETTINGS), folder.object(SETTINGS)?.unwrap_or_default());
    match settings.get(NAME) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(value) => match default_of(value) {
            Some(source) => Ok(Some((file, source.to_owned()))),
            None => {
                let expected = "a template, or a list with one named \"default\"";
                Err(Error::malformed(&file, NAME, expected, value.to_string()))
            }
        },
    }
}

/// A template, or the default one of a list.
fn default_of(value: &serde_json::Value) -> Option<&str> {
    let named =
        |entry: &&serde_json::Value| entry.get("name").and_then(|name| name.as_str()) == Some("default");
    match value {
        serde_json::Value::String(source) => Some(source),
        serde_json::Value::Array(entries) => entries.iter().find(named)?.get("template")?.as_str(),
        _ => None,
    }
}

/// As Transformers sets Jinja up for chat templates.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, state, value| {
        jinja::walk_to_print(state, value)?;
        escape_formatter(out, state, value)
    });
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |words: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, words))
    });
    environment.add_function("strftime_now", |format: String| strftime(&format, now()));
    environment
}

/// `{% generation %}` marks for Transformers' trainers what the assistant said; to the text it does nothing.
fn without_generation_marks(source: &str) -> String {
    match Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})") {
        Ok(mark) => mark.replace_all(source, |found: &regex::Captures| {
            let word = if found.get(2).is_some() { "endif" } else { "if true" };
            format!("{}{word}{}", &found[1], &found[3])
        }),
        Err(_) => source.into(),
    }
    .into_owned()
}

fn fault(file: &Path, error: &minijinja::Error) -> Error {
    let place = error.line().map_or(NAME.to_owned(), |line| format!("{NAME}, line {line}"));
    if error.kind() == ErrorKind::OutOfFuel {
        let found = format!(
            "one that takes more than {FUEL} steps, or {} MB, for these messages",
            FUEL * 64 / 1_000_000
        );
        return Error::malformed(file, place, "a template that comes to an end", found);
    }
    let words = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Error::malformed(file, place, "a template that takes these messages", words)
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=…)`.
fn to_json(value: &Value, arguments: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    // Others would change the text; a template that wants them is better refused.
    let _: Option<bool> = arguments.get("ensure_ascii")?;
    arguments.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    let fault = |error: String| minijinja::Error::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| fault(error.to_string()))?;
    String::from_utf8(out).map_err(|error| fault(error.to_string()))
}

/// A blank after each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// Seconds since 1970 in UTC: of `SOURCE_DATE_EPOCH`, which makes prompts with a date reproducible, or of the clock.
fn now() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    source_date().unwrap_or_else(clock)
}

fn source_date() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Python's `strftime` in its C locale, of a time in seconds since 1970.
fn strftime(format: &str, seconds: u64) -> Result<String, minijinja::Error> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (year, month, day) = civil(days);
    let weekday = DAYS[(days + 3) as usize % 7];
    let name = MONTHS[month - 1];
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('Y') => out += &year.to_string(),
            Some('y') => out += &format!("{:02}", year % 100),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('e') => out += &format!("{day:2}"),
            Some('B') => out += name,
            Some('b') => out += &name[..3],
            Some('A') => out += weekday,
            Some('a') => out += &weekday[..3],
            Some('H') => out += &format!("{hour:02}"),
            Some('I') => out += &format!("{:02}", (hour + 11) % 12 + 1),
            Some('p') => out += if hour < 12 { "AM" } else { "PM" },
            Some('M') => out += &format!("{minute:02}"),
            Some('S') => out += &format!("{:02}", second % 60),
            Some('%') => out.push('%'),
            other => {
                let found = other.map(String::from).unwrap_or_default();
                let words = format!("strftime_now knows no %{found}");
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, words));
            }
        }
    }
    Ok(out)
}

/// Year, month from 1 and day from 1 of a day counted from 1970-01-01 in the Gregorian calendar.
fn civil(mut day: u64) -> (u64, usize, u64) {
    // The calendar repeats after 400 years of 146,097 days.
    let mut year = 1970 + day / 146_097 * 400;
    day %= 146_097;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn template(source: &str) -> Result<ChatTemplate> {
        ChatTemplate::compile("tokenizer_config.json".into(), source.into(), "<s>".into(), "</s>".into())
    }

    fn rendered(source: &str, roles: &[(&str, &str)]) -> Result<String> {
        let messages: Vec<Message> =
            roles.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        template(source)?.render(&messages, None, true)
    }

    #[test]
    fn a_conversation_is_rendered_as_transformers_does() {
        // Blocks at the ends of lines take the line break with them, those at the beginning the blanks before them.
        let source = "{{ bos_token }}{% for message in messages %}\n    {% if loop.index0 == 3 %}{% break %}{% endif %}\n\
            [{{ message['role'].upper() }}] {{ message.content.strip() | trim }}{{ eos_token }}\n{% endfor %}\n\
            {%- if add_generation_prompt and tools is none -%}\n{% generation %}\n[ASSISTANT]{% endgeneration %}{% endif %}\n";
        let conversation =
            [("system", " Be brief. "), ("user", "<b>&\"\u{e9}\u{1f642}\""), ("user", "2"), ("user", "3")];
        let text = rendered(source, &conversation).unwrap();
        assert_eq!(
            text,
            "<s>[SYSTEM] Be brief.</s>\n[USER] <b>&\"\u{e9}\u{1f642}\"</s>\n[USER] 2</s>\n[ASSISTANT]"
        );
    }

    #[test]
    fn filters_and_functions_are_pythons() {
        for (source, expected) in [
            ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": "a<b>'\"\n"}"#),
            ("{{ [1, [], {'k': none, 'a': 1.5}] | tojson }}", r#"[1, [], {"k": null, "a": 1.5}]"#),
            ("{{ {'k': [1]} | tojson(indent=2) }}", "{\n  \"k\": [\n    1\n  ]\n}"),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "1",
            ),
            ("{{ 'a b'.split(' ')[-1] ~ ('x' if messages[1:] else 'y') }}", "by"),
            ("{{ 'abc'.startswith('ab') }}", "True"),
            ("{%- for k, v in messages[0].items() %}{{ k }};{% endfor %}", "role;content;"),
        ] {
            assert_eq!(rendered(source, &[("user", "a<b>'\"\n")]).unwrap(), expected, "{source}");
        }
        let moment = 1_782_914_705; // 2026-07-01 14:05:05, a Wednesday
        let written = strftime("%a %A %d %e %b %B %y %Y-%m-%d %H:%M:%S %I %p %%", moment).unwrap();
        assert_eq!(written, "Wed Wednesday 01  1 Jul July 26 2026-07-01 14:05:05 02 PM %");
        assert_eq!((civil(0), civil(11_016), civil(11_017)), ((1970, 1, 1), (2000, 2, 29), (2000, 3, 1)));
        assert!(strftime("%Q", 0).is_err() && strftime("%", 0).is_err());
    }

    #[test]
    fn tools_reach_the_template_and_are_none_where_a_row_has_none() {
        let source =
            "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% else %}none{% endif %}";
        let tools = serde_json::json!([{"type": "function", "function": {"name": "f"}}]);
        let rendered = |tools| template(source).unwrap().render(&[], tools, false).unwrap();
        // Keys come in alphabetical order, as they are read.
        assert_eq!(rendered(Some(&tools)), r#"{"function": {"name": "f"}, "type": "function"}"#);
        assert_eq!(rendered(None), "none");
    }

    #[test]
    fn calls_of_tools_reach_the_template_and_silence_is_none() {
        let source = "{% for m in messages %}{{ m.role }}:{{ 'none' if m.content is none else m.content }}\
            {% for call in m.tool_calls %} {{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %};{% endfor %}";
        let call: Message = serde_json::from_value(serde_json::json!({"role": "assistant", "content": null,
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"n": 1}}}]}))
        .unwrap();
        let text = template(source).unwrap().render(&[Message::new("user", "q"), call], None, false).unwrap();
        assert_eq!(text, "user:q;assistant:none f{\"n\": 1};");
    }

    #[test]
    fn rows_that_are_kept_have_the_date_of_a_fixed_day() {
        let dated = template("{{ strftime_now('%d %b %Y') }}").unwrap();
        let (fixed, note) = dated.of_a_fixed_day();
        assert!(note.unwrap().contains("writes the date of the day"));
        let text = fixed.render(&[], None, false).unwrap();
        assert!(text == "26 Jul 2024" || source_date().is_some(), "{text}");
        let (_, note) = template("{{ bos_token }}").unwrap().of_a_fixed_day();
        assert_eq!(note, None);
    }

    #[test]
    fn what_a_template_refuses_is_told_in_its_words() {
        let source = "{% for m in messages %}\n{{ raise_exception('roles must alternate') }}{% endfor %}";
        let error = rendered(source, &[("user", "x")]).unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json: chat_template, line 2"), "{error}");
        assert!(error.contains("roles must alternate"), "{error}");
        for source in
            ["{% for %}", "{{ messages", "{{ nothing.at.all }}", "{% include 'x' %}", "{{ 1 | nofilter }}"]
        {
            let error = rendered(source, &[]).unwrap_err().to_string();
            assert!(error.contains("chat_template"), "{error}");
        }
    }

    #[test]
    fn hostile_templates_end_in_errors_and_soon() {
        let start = std::time::Instant::now();
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
        let long = "x".repeat(LONGEST + 1);
        for source in [
            "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
            "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
            "{{ 'x' * 9999999999 }}",
            "{{ [0] * 9999999999 }}",
            "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}",
            "{{ range(100000000000) | list | length }}",
            &deep,
            &long,
        ] {
            let error = rendered(source, &[]).map(|text| text.len()).unwrap_err().to_string();
            assert!(error.contains("chat_template"), "{error}");
        }
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    #[test]
    fn a_folder_has_its_template_in_either_of_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
        let found = || {
            ChatTemplate::from_dir(folder.path())
                .unwrap()
                .map(|template| template.render(&[], None, true).unwrap())
        };
        assert_eq!(found(), None);
        write("tokenizer_config.json", r#"{"eos_token": "</s>"}"#);
        assert_eq!(found(), None);
        write(
            "tokenizer_config.json",
            r#"{"eos_token": {"content": "</s>"}, "chat_template": "old{{ eos_token }}"}"#,
        );
        assert_eq!(found().unwrap(), "old</s>");
        let list = r#"{"chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "listed"}]}"#;
        write("tokenizer_config.json", list);
        assert_eq!(found().unwrap(), "listed");
        write("chat_template.jinja", "new");
        assert_eq!(found().unwrap(), "new");
        fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
        write("tokenizer_config.json", r#"{"chat_template": 7}"#);
        assert!(ChatTemplate::from_dir(folder.path()).unwrap_err().to_string().contains("named \"default\""));
    }
}
