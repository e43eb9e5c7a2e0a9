//! Numbers of things, lists of names and lines of text, as people write them.

use std::borrow::Cow;
use unicode_width::UnicodeWidthStr;

/// "1 trial", "3 trials".
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// What so many things are or do: "is" of one, "are" of more.
pub fn be(n: usize) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

/// The text; of one that is longer than so many characters its beginning, and how long it is.
pub(crate) fn excerpt(text: String, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text,
        Some((end, _)) => {
            format!("{} … ({} characters)", &text[..end], thousands(text.chars().count() as u64))
        }
    }
}

/// "a", "a and b", "a, b and c"; with semicolons where the items have commas of their own.
pub(crate) fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some(_) if items.len() > 2 && items.iter().any(|item| item.contains(", ")) => items.join("; "),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// "a", "a or b", "a, b or c".
pub(crate) fn or(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// "16,384".
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let comma = |(place, digit): (usize, char)| {
        let before = place > 0 && (digits.len() - place).is_multiple_of(3);
        [before.then_some(','), Some(digit)].into_iter().flatten().collect::<Vec<char>>()
    };
    digits.chars().enumerate().flat_map(comma).collect()
}

/// The text without anything that a terminal obeys or that turns the order of what stands beside it: control characters
/// other than ends of lines and tabs, and marks of the direction of writing. Each is written as JSON writes it, `\u001b`, so
/// that JSON stays what it was. For text that comes from files, before a person reads it.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| steers(c) && !matches!(c, '\n' | '\t'))
}

/// The same for names, which have no ends of lines and no tabs: what looks like another line would pass for one of ours.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, steers)
}

fn escaped(text: &str, unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&unwanted) {
        return text.into();
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 16), |mut out, c| {
            match c {
                '\n' if unwanted(c) => out.push_str("\\n"),
                '\t' if unwanted(c) => out.push_str("\\t"),
                c if unwanted(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
            out
        })
        .into()
}

/// Characters that move the cursor or speak to the terminal, begin a line, or say which way text runs.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text in lines of at most so many columns; a word that is longer has a line of its own. Always one line or more.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last] = word.to_owned();
        } else if lines[last].width() + 1 + word.width() <= width {
            lines[last] = format!("{} {word}", lines[last]);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be_and_long_words_stay_whole() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a seventeen b", 5), ["a", "seventeen", "b"]);
        assert_eq!(wrapped(" ", 5), [""]);
        assert_eq!(wrapped("低秩 適応", 4), ["低秩", "適応"]);
    }

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        let hostile = "a\u{1b}[31mb\r\u{8}\u{9b}2J\u{202e}cba\u{2066}\u{200f}\u{2028}\u{7f}";
        let written = "a\\u001b[31mb\\u000d\\u0008\\u009b2J\\u202ecba\\u2066\\u200f\\u2028\\u007f";
        assert_eq!(printable(hostile), written);
        assert_eq!(one_line("a\nerror: b\t\u{1b}"), "a\\nerror: b\\t\\u001b");
        let harmless = "line\n\tתמר ܐ 👩‍👩‍👧 e\u{301} \u{a0}\u{ad}";
        assert_eq!(printable(harmless), harmless);
        let json = serde_json::to_string(&[hostile]).unwrap();
        assert_eq!(serde_json::from_str::<[String; 1]>(&printable(&json)).unwrap(), [hostile]);
    }

    #[test]
    fn one_is_no_plural_and_the_last_of_a_list_has_its_and() {
        assert_eq!([count(1, "trial"), count(0, "row")], ["1 trial", "0 rows"]);
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a", "b, c", "d"]), "a; b, c; d");
        assert_eq!(list(&[""; 0]), "");
        assert_eq!(excerpt("\u{e9}".repeat(3), 3), "\u{e9}\u{e9}\u{e9}");
        assert_eq!(excerpt("x".repeat(2000), 2), "xx … (2,000 characters)");
        assert_eq!([or(&["a"]), or(&["a", "b", "c"])], ["a", "a, b or c"]);
        assert_eq!([0, 999, 16_384, 1_000_000].map(thousands), ["0", "999", "16,384", "1,000,000"]);
    }
}
