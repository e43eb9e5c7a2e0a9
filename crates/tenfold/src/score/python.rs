//! Text as Python reads it, where Rust reads it otherwise: the published scores were defined by Python programs.

use crate::{Error, Result};
use fancy_regex::{Captures, Regex};

/// `str.isspace`: Unicode's white space and four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// A regular expression in Python's dialect (`re`, on `str`). Refused with its fault if it cannot be read.
///
/// `$` also matches before a last line break, and `\Z` only at the end; `\w` holds no combining marks, `\s` the four
/// separators of ASCII; a bracket in a class is a bracket. What still differs: `\b` beside combining marks.
pub(super) fn regex(pattern: &str) -> Result<Regex> {
    Regex::new(&translated(pattern))
        .map_err(|error| fault(pattern, format!("a regular expression of Python's, but {error}")))
}

/// All matches from left to right, as `re.finditer` finds them: one without letters may follow one with some.
pub(super) fn matches<'t>(regex: &Regex, text: &'t str) -> Result<Vec<Captures<'t>>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while from <= text.len() {
        let next = regex.captures_from_pos(text, from);
        let next =
            next.map_err(|error| fault(regex.as_str(), format!("one that comes to an end: {error}")))?;
        let Some((captures, whole)) = next.and_then(|c| c.get(0).map(|m| m.range()).map(|r| (c, r))) else {
            break;
        };
        from = whole.end;
        if whole.is_empty() {
            from += text[from..].chars().next().map_or(1, char::len_utf8);
        }
        found.push(captures);
    }
    Ok(found)
}

/// `re.sub(pattern, "", text)`.
pub(super) fn without_matches(regex: &Regex, text: &str) -> Result<String> {
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    for whole in matches(regex, text)?.iter().filter_map(|captures| captures.get(0)) {
        kept.push_str(&text[from..whole.start()]);
        from = whole.end();
    }
    kept.push_str(&text[from..]);
    Ok(kept)
}

fn fault(pattern: &str, expected: String) -> Error {
    Error::malformed("task", "a regular expression", expected, format!("\"{pattern}\""))
}

fn translated(pattern: &str) -> String {
    let by_line = pattern
        .split("(?")
        .skip(1)
        .any(|flags| flags.chars().take_while(char::is_ascii_alphabetic).any(|flag| flag == 'm'));
    let (mut out, mut in_class, mut opened) = (String::new(), false, false);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let first = std::mem::take(&mut opened);
        match c {
            '\\' => match (chars.next(), in_class) {
                (Some('Z'), false) => out.push_str(r"\z"),
                (Some('w'), false) => out.push_str(r"[\p{L}\p{N}_]"),
                (Some('w'), true) => out.push_str(r"\p{L}\p{N}_"),
                (Some('s'), false) => out.push_str(r"[\s\x1c-\x1f]"),
                (Some('s'), true) => out.push_str(r"\s\x1c-\x1f"),
                (Some(other), _) => out.extend(['\\', other]),
                (None, _) => out.push('\\'),
            },
            '[' if !in_class => {
                (in_class, opened) = (true, true);
                out.push('[');
            }
            '^' if first => {
                opened = true;
                out.push('^');
            }
            // The first bracket of a class does not close it.
            ']' if in_class && first => out.push_str(r"\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '[' | '&' | '~' if in_class => out.extend(['\\', c]),
            '$' if !in_class && !by_line => out.push_str(r"(?=\n?\z)"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        let gone = |pattern: &str, text: &str| without_matches(&regex(pattern).unwrap(), text).unwrap();
        assert_eq!(gone(r"\.$", "72.\n"), "72\n");
        assert_eq!(gone(r"\.\Z", "72.\n"), "72.\n");
        assert_eq!(gone(r"(?m)\.$", "1.\n2."), "1\n2");
        assert_eq!(gone(r"[$.]", "$7.50"), "750");
        assert_eq!(gone(r"[][]", "[a]"), "a");
        assert_eq!(gone(r"[^]]", "[a]"), "]");
        assert_eq!(gone(r"[&&[]", "a&[b"), "ab");
        assert_eq!(gone(r"(?<=is )\w+", "it is e\u{301}"), "it is \u{301}");
        assert_eq!(gone(r"[\s]+|\s", "a\x1c b"), "ab");
        assert!(regex("(").unwrap_err().to_string().contains("\"(\""));
    }

    #[test]
    fn empty_matches_follow_full_ones() {
        let words = |pattern: &str, text: &str| -> Vec<String> {
            let found = regex(pattern).unwrap();
            matches(&found, text).unwrap().iter().map(|c| c[0].to_owned()).collect()
        };
        assert_eq!(words("a*", "baaa"), ["", "aaa", ""]);
        assert_eq!(words(".*", "äb"), ["äb", ""]);
        assert_eq!(words("x", ""), [""; 0]);
    }

    #[test]
    fn a_pattern_that_would_run_for_ever_is_an_error() {
        let hard = regex(r"(?=(a+)+$)(a|aa)+\1\1c").unwrap();
        assert!(matches(&hard, &"a".repeat(60)).is_err());
    }
}
