//! Numbers of things, lists of names and lines of text, as people write them.

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
