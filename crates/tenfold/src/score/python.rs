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
pub(crate) fn regex(pattern: &str) -> Result<Regex> {
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
    sub(regex, "", text, 0)
}

/// `re.sub(pattern, replacement, text, count)`: the first `count` matches, all for 0. Refused where Python cannot read the
/// replacement.
pub(crate) fn sub(regex: &Regex, replacement: &str, text: &str, count: usize) -> Result<String> {
    let parts = parts(regex, replacement)?;
    let most = if count == 0 { usize::MAX } else { count };
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    for captures in matches(regex, text)?.iter().take(most) {
        let Some(whole) = captures.get(0) else { continue };
        kept.push_str(&text[from..whole.start()]);
        for part in &parts {
            kept.push_str(match part {
                Part::Text(text) => text,
                Part::Group(number) => captures.get(*number).map_or("", |group| group.as_str()),
            });
        }
        from = whole.end();
    }
    kept.push_str(&text[from..]);
    Ok(kept)
}

/// What a replacement writes.
enum Part {
    Text(String),
    /// What this group matched.
    Group(usize),
}

fn parts(regex: &Regex, replacement: &str) -> Result<Vec<Part>> {
    let (mut parts, mut rest) = (Vec::new(), replacement);
    while let Some((before, escaped)) = rest.split_once('\\') {
        let (part, behind) = escape(regex, escaped).ok_or_else(|| {
            let expected = r"one of Python's, with \1 or \g<name> for a group of the pattern";
            Error::malformed("task", "a replacement", expected, format!("\"{replacement}\""))
        })?;
        parts.extend([Part::Text(before.to_owned()), part]);
        rest = behind;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// What a backslash before this stands for, and the text behind it; none where Python refuses it.
fn escape<'t>(regex: &Regex, escaped: &'t str) -> Option<(Part, &'t str)> {
    let mut chars = escaped.chars();
    let text = match chars.next()? {
        '0'..='9' => return numbered(regex, escaped),
        'g' => {
            let (name, behind) = chars.as_str().strip_prefix('<')?.split_once('>')?;
            return Some((Part::Group(group(regex, name)?), behind));
        }
        'a' => "\x07".to_owned(),
        'b' => "\x08".to_owned(),
        'f' => "\x0c".to_owned(),
        'n' => "\n".to_owned(),
        'r' => "\r".to_owned(),
        't' => "\t".to_owned(),
        'v' => "\x0b".to_owned(),
        '\\' => "\\".to_owned(),
        letter if letter.is_ascii_alphabetic() => return None,
        other => format!("\\{other}"),
    };
    Some((Part::Text(text), chars.as_str()))
}

/// A group by its number; or a character by its own, which is octal: three digits, or fewer behind a 0.
fn numbered<'t>(regex: &Regex, escaped: &'t str) -> Option<(Part, &'t str)> {
    let digits = |most, radix| escaped.chars().take(most).take_while(|c| c.is_digit(radix)).count();
    let octal = digits(3, 8);
    if octal == 3 || escaped.starts_with('0') {
        let (code, behind) = escaped.split_at(octal);
        let character = char::from(u8::from_str_radix(code, 8).ok()?);
        return Some((Part::Text(character.into()), behind));
    }
    let (number, behind) = escaped.split_at(digits(2, 10));
    Some((Part::Group(group(regex, number)?), behind))
}

/// The number of the group of that name or number, if there is one.
fn group(regex: &Regex, name: &str) -> Option<usize> {
    let number = match name.bytes().all(|byte| byte.is_ascii_digit()) {
        true => name.parse().ok(),
        false => regex.capture_names().position(|known| known == Some(name)),
    };
    number.filter(|number| *number < regex.captures_len())
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
    fn replacements_are_those_of_re_sub() {
        let sub = |pattern: &str, replacement: &str, text: &str, count| {
            sub(&regex(pattern).unwrap(), replacement, text, count)
        };
        // Python 3.11's re.sub(pattern, replacement, text, count).
        for (pattern, replacement, text, count, expected) in [
            (r"(\w+) (\w+)", r"\2 $1 ${1} \1", "a b c d", 0, "b $1 ${1} a d $1 ${1} c"),
            (r"(?P<x>b)|a", r"[\g<x>\g<0>\g<01>]", "ab", 0, "[a][bbb]"),
            ("a", r"\\n\n\.\t\0\101\018", "xa", 0, "x\\n\n\\.\t\0A\u{1}8"),
            ("x*", "-", "abxd", 0, "-a-b--d-"),
            ("a", "b", "aaa", 2, "bba"),
            (r"\.$", "!", "1.\n", 0, "1!\n"),
            (r"\((\s*)c\s*\)", r"(\1)", "( c\x1c)", 0, "( )"),
        ] {
            assert_eq!(sub(pattern, replacement, text, count).unwrap(), expected, "{replacement}");
        }
        for replacement in [r"\2", r"\q", "\\", r"\g<x>", r"\g", r"\g<1", r"\11", r"\g<>", r"\777"] {
            // Of a text without matches, too.
            let error = sub("(a)", replacement, "b", 0).unwrap_err().to_string();
            assert!(error.contains(r"with \1 or \g<name>") && error.contains(replacement), "{error}");
        }
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
