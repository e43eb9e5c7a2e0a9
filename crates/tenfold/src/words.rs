//! Numbers of things and lists of names, as people write them.

/// "1 trial", "3 trials".
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural_and_the_last_of_a_list_has_its_and() {
        assert_eq!([count(1, "trial"), count(0, "row")], ["1 trial", "0 rows"]);
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a", "b, c", "d"]), "a; b, c; d");
        assert_eq!(list(&[""; 0]), "");
    }
}
