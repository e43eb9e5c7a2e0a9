//! Text that Markdown shows as it is.

/// Text on one line in which nothing is taken for HTML. What is no tag for CommonMark stays as it is: "p < 0.001".
pub(super) fn text(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::with_capacity(flat.len());
    let mut rest = flat.as_str();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let next = rest.chars().next();
        let is_tag = c == '<' && next.is_some_and(|next| next.is_alphabetic() || "/!?".contains(next));
        let is_entity = c == '&' && next.is_some_and(|next| next.is_alphabetic() || next == '#');
        if is_tag || is_entity {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The same in a cell of a table.
pub(super) fn cell(words: &str) -> String {
    text(words).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_escaped_for_markdown_and_only_where_it_must_be() {
        assert_eq!(text("p < 0.001, a & b,\n 3<4"), "p < 0.001, a & b, 3<4");
        assert_eq!(text("rank 8 <from 12> </b> &lt; &#60;"), r"rank 8 \<from 12> \</b> \&lt; \&#60;");
        assert_eq!(cell("a|b"), r"a\|b");
    }
}
