//! What a tokenizer.json may ask for, checked before it is carried out: patterns whose search takes no more than a few passes
//! over a text, and replacements that do not make it grow without end.
//!
//! The tokenizers library searches by backtracking wherever a pattern looks around itself. A pattern such as `(\s+)+(?!\S)`
//! then takes seconds for a line, or gives up, after which the library splits no further without a word. Patterns without
//! such parts are searched in one pass, whatever they are, but may be unrolled to millions of states.

use crate::{Error, Result};
use fancy_regex::Expr;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Longer than the patterns of tokenizers are, by far.
const LONGEST: usize = 4000;
/// More patterns than tokenizers have, by far.
const MOST: usize = 64;
/// As often as one part of a pattern may be unrolled.
const UNROLLED: usize = 64;
/// How many times its length a text may grow by all replacements. A blank as "▁" takes three bytes for one.
const GROWTH: f64 = 64.0;
/// Deeper than patterns and steps are nested.
const DEEPEST: usize = 64;

/// Those parts of the file that hold patterns.
#[derive(Deserialize)]
struct Steps {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    post_processor: Value,
}

/// Refuses a file that asks for more. What is no tokenizer at all is told when it is loaded.
pub(super) fn check(file: &Path, content: &[u8]) -> Result<()> {
    let Ok(steps) = serde_json::from_slice::<Steps>(content) else { return Ok(()) };
    for (place, step) in [
        ("normalizer", &steps.normalizer),
        ("pre_tokenizer", &steps.pre_tokenizer),
        ("decoder", &steps.decoder),
    ] {
        let mut found = Found { growth: 1.0, patterns: 0 };
        found.step(step, 0).map_err(|(expected, found)| Error::malformed(file, place, expected, found))?;
    }
    let fault = |(expected, found)| Error::malformed(file, "post_processor", expected, found);
    each_text_once(&steps.post_processor, 0).map_err(fault)
}

/// Refuses templates in which a text stands several times, or not at all: a row would be as many times as long.
fn each_text_once(value: &Value, depth: usize) -> Result<(), Fault> {
    if depth > DEEPEST {
        return Err((format!("steps nested at most {DEEPEST} deep"), "more".into()));
    }
    let Value::Object(step) = value else {
        let steps = value.as_array().map_or(&[][..], Vec::as_slice);
        return steps.iter().try_for_each(|step| each_text_once(step, depth + 1));
    };
    for (key, least, texts) in [("single", 1, &["A"][..]), ("pair", 0, &["A", "B"])] {
        let Some(pieces) = step.get(key).and_then(Value::as_array) else { continue };
        let places = |text: &str| pieces.iter().filter(|piece| piece["Sequence"]["id"] == text).count();
        if let Some(text) = texts.iter().find(|text| !(least..=1).contains(&places(text))) {
            return Err((format!("the text {text} once under \"{key}\""), format!("{} times", places(text))));
        }
        if pieces.len() > MOST {
            return Err((format!("at most {MOST} pieces under \"{key}\""), pieces.len().to_string()));
        }
    }
    step.values().try_for_each(|inner| each_text_once(inner, depth + 1))
}

/// What was expected, and what was found.
type Fault = (String, String);

struct Found {
    growth: f64,
    patterns: usize,
}

impl Found {
    fn step(&mut self, value: &Value, depth: usize) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err((format!("steps nested at most {DEEPEST} deep"), "more".into()));
        }
        match value {
            Value::Array(steps) => steps.iter().try_for_each(|step| self.step(step, depth + 1)),
            Value::Object(step) => {
                if let Some(pattern) = step.get("pattern").and_then(Value::as_object) {
                    self.pattern(pattern, step.get("content").and_then(Value::as_str))?;
                }
                step.values()
                    .filter(|value| value.is_array() || value.is_object())
                    .try_for_each(|inner| self.step(inner, depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn pattern(
        &mut self,
        pattern: &serde_json::Map<String, Value>,
        content: Option<&str>,
    ) -> Result<(), Fault> {
        self.patterns += 1;
        if self.patterns > MOST {
            return Err((format!("at most {MOST} patterns"), "more".into()));
        }
        let text = |key: &str| pattern.get(key).and_then(Value::as_str);
        if let Some(regex) = text("Regex") {
            check_regex(regex)?;
        }
        if let Some(content) = content {
            // A regular expression may match a single byte, or nothing between two.
            let (replaced, kept) = text("String").map_or((1, 1), |text| (text.len().max(1), 0));
            self.growth *= (kept as f64 + content.len() as f64 / replaced as f64).max(1.0);
            if self.growth > GROWTH {
                let expected = format!("replacements that make a text at most {GROWTH} times as long");
                return Err((expected, format!("such that may make it {:.0} times as long", self.growth)));
            }
        }
        Ok(())
    }
}

fn check_regex(regex: &str) -> Result<(), Fault> {
    let fault = |expected: &str| {
        let shown: String = regex.chars().take(80).collect();
        let more = if shown.len() < regex.len() { "…" } else { "" };
        (expected.to_owned(), format!("{shown}{more}"))
    };
    if regex.len() > LONGEST {
        return Err(fault(&format!("a pattern of at most {LONGEST} bytes")));
    }
    // What is no pattern is told when the tokenizer is loaded.
    let Ok(tree) = Expr::parse_tree(regex) else { return Ok(()) };
    if unrolled(&tree.expr, 1) > UNROLLED {
        return Err(fault(&format!(
            "a pattern in which nothing is repeated up to more than {UNROLLED} times"
        )));
    }
    if is_searched_back_and_forth(&tree.expr) && !is_searched_soon(&tree.expr) {
        return Err(fault(
            "a pattern that looks around itself behind one repetition at most, and neither refers back nor repeats what \
             is repeated",
        ));
    }
    Ok(())
}

fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Concat(parts) | Expr::Alt(parts) => parts.iter().collect(),
        Expr::Group(inner) | Expr::AtomicGroup(inner) | Expr::LookAround(inner, _) => vec![inner],
        Expr::Repeat { child, .. } => vec![child],
        Expr::Conditional { condition, true_branch, false_branch } => {
            vec![condition, true_branch, false_branch]
        }
        _ => Vec::new(),
    }
}

/// How often the part that is repeated most is written out where repetitions with an upper bound are.
fn unrolled(expr: &Expr, times: usize) -> usize {
    let times = match expr {
        Expr::Repeat { lo, hi, .. } => times.saturating_mul(if *hi == usize::MAX { *lo } else { *hi }.max(1)),
        _ => times,
    };
    parts(expr).into_iter().map(|part| unrolled(part, times)).max().unwrap_or(1).max(times)
}

/// Whether the library searches for it by backtracking.
fn is_searched_back_and_forth(expr: &Expr) -> bool {
    is_hard(expr) || parts(expr).into_iter().any(is_searched_back_and_forth)
}

fn is_hard(expr: &Expr) -> bool {
    !matches!(
        expr,
        Expr::Empty
            | Expr::Any { .. }
            | Expr::Assertion(_)
            | Expr::Literal { .. }
            | Expr::Concat(_)
            | Expr::Alt(_)
            | Expr::Group(_)
            | Expr::Repeat { .. }
            | Expr::Delegate { .. }
    )
}

/// Whether backtracking costs no more than one pass over what a repetition matched. Only looking around is allowed for,
/// and within each sequence one repetition before it.
fn is_searched_soon(expr: &Expr) -> bool {
    match expr {
        Expr::LookAround(inner, _) => !is_searched_back_and_forth(inner) && !varies(inner),
        _ if is_hard(expr) => false,
        Expr::Concat(parts) => {
            let last = parts.iter().rposition(is_searched_back_and_forth);
            let before = last.map_or(&parts[..0], |last| &parts[..last]);
            let mut varying = before.iter().filter(|part| varies(part));
            varying.next().is_none_or(repeats_a_sign)
                && varying.next().is_none()
                && parts.iter().all(is_searched_soon)
        }
        // Of the alternatives those alone are searched back and forth that look around themselves.
        Expr::Alt(parts) => parts.iter().all(is_searched_soon),
        Expr::Repeat { child, .. } => {
            !is_searched_back_and_forth(child) || (!varies(child) && is_searched_soon(child))
        }
        other => parts(other).into_iter().all(is_searched_soon),
    }
}

/// Whether it can match texts of different lengths at one place because something in it is repeated.
fn varies(expr: &Expr) -> bool {
    matches!(expr, Expr::Repeat { lo, hi, .. } if lo != hi) || parts(expr).into_iter().any(varies)
}

/// Whether it repeats one character of some kind, for which there is one way to match a text of a given length.
fn repeats_a_sign(expr: &Expr) -> bool {
    match expr {
        Expr::Repeat { child, .. } => match &**child {
            Expr::Any { .. } | Expr::Delegate { .. } => true,
            Expr::Literal { val, .. } => val.chars().count() == 1,
            _ => false,
        },
        Expr::Group(inner) => repeats_a_sign(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The patterns of GPT-2, GPT-4 (also Llama 3 and Qwen 2), o200k, DeepSeek, Falcon, BLOOM and CLIP.
    const PUBLISHED: [&str; 8] = [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        r"[0-9][0-9][0-9]",
        r" ?[^(\s|[.,!?…。，、।۔،])]+",
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r" {2,}",
    ];

    #[test]
    fn a_template_writes_a_text_once() {
        let of = |single: Value| {
            let template = json!({"type": "TemplateProcessing", "single": single, "pair": []});
            let file = json!({"post_processor": {"type": "Sequence", "processors": [template]}});
            check(Path::new("tokenizer.json"), file.to_string().as_bytes())
        };
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let special = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
        of(json!([special, text, special])).unwrap();
        for (wrong, found) in [(json!([text, text]), "2 times"), (json!([special]), "0 times")] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(
                error.contains("expected the text A once under \"single\"") && error.contains(found),
                "{error}"
            );
        }
        let many: Vec<Value> = [text].into_iter().chain(vec![special; MOST]).collect();
        assert!(of(json!(many)).is_err());
    }

    #[test]
    fn patterns_of_published_tokenizers_are_taken() {
        for regex in PUBLISHED {
            assert_eq!(check_regex(regex), Ok(()), "{regex}");
        }
    }

    #[test]
    fn patterns_that_take_long_are_refused_before_they_are_searched_for() {
        for regex in [
            r"(\s+)+(?!\S)",
            r"(?:a|a|b)+(?!c)",
            r"\s*\s*\s*x(?!y)",
            r"(a*)\1",
            r"(?:(?:\w+\s?)+)(?=!)",
            r"(?>a+)b",
            r"(?!(a+)+b)",
            r"a{1000}",
            r"(?:\w{40}){40}",
        ] {
            assert!(check_regex(regex).is_err(), "{regex}");
        }
        assert!(check_regex(&"a".repeat(LONGEST + 1)).is_err());
    }

    fn checked(normalizers: Vec<Value>) -> Result<()> {
        let file = json!({"version": "1.0", "normalizer": {"type": "Sequence", "normalizers": normalizers}});
        check(Path::new("tokenizer.json"), file.to_string().as_bytes())
    }

    fn replace(pattern: Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    #[test]
    fn replacements_that_grow_a_text_are_refused_and_those_of_published_tokenizers_are_not() {
        let albert = vec![
            replace(json!({"String": "``"}), "\""),
            replace(json!({"String": "''"}), "\""),
            json!({"type": "NFKD"}),
            replace(json!({"Regex": " {2,}"}), " "),
            json!({"type": "Prepend", "prepend": "\u{2581}"}),
            replace(json!({"String": " "}), "\u{2581}"),
        ];
        checked(albert).unwrap();
        let doubling = vec![replace(json!({"String": "a"}), "aa"); 20];
        let error = checked(doubling).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: normalizer") && error.contains("times as long"), "{error}");
        assert!(checked(vec![replace(json!({"Regex": "a"}), &"a".repeat(100))]).is_err());
        assert!(checked(vec![replace(json!({"Regex": r"(\s+)+(?!\S)"}), "")]).is_err());
        assert!(checked(vec![replace(json!({"String": "a"}), ""); MOST + 1]).is_err());
    }
}
