//! A short answer against the true one, by SQuAD's official script (Rajpurkar et al., EMNLP 2016 and ACL 2018).

use super::python;
use regex::Regex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Runs of what Python's `\w` matches.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").ok());

/// The answer in lower case, without ASCII's punctuation, the words "a", "an", "the", and spare white space.
pub fn normalized(answer: &str) -> String {
    let bare: String = answer.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let plain = WORD.as_ref().map_or(Cow::Borrowed(bare.as_str()), |word| {
        word.replace_all(&bare, |found: &regex::Captures| match &found[0] {
            "a" | "an" | "the" => " ".to_owned(),
            other => other.to_owned(),
        })
    });
    python::split(&plain).collect::<Vec<_>>().join(" ")
}

/// 1 if both are the same once normalized, else 0; higher is better.
pub fn exact(prediction: &str, answer: &str) -> f64 {
    f64::from(u8::from(normalized(prediction) == normalized(answer)))
}

/// F1 of the normalized words, with their numbers, 0 to 1, higher is better. Where either has no word left, SQuAD 2.0
/// gives 1 if neither has (`both_empty` = 1); SQuAD 1.1 and ReCoRD give 0.
pub fn f1_of_words(prediction: &str, answer: &str, both_empty: f64) -> f64 {
    let (prediction, answer) = (normalized(prediction), normalized(answer));
    let (words, true_words) =
        (python::split(&prediction).count() as f64, python::split(&answer).count() as f64);
    if words == 0.0 || true_words == 0.0 {
        return if words == true_words { both_empty } else { 0.0 };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in python::split(&answer) {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0.0;
    for word in python::split(&prediction) {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1.0;
        }
    }
    let (precision, recall) = (shared / words, shared / true_words);
    if shared > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// The best over all true answers; `None` without one.
pub(super) fn best(answers: &[&str], score: impl Fn(&str) -> f64) -> Option<f64> {
    answers.iter().map(|answer| score(answer)).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_are_whole_words_as_python_sees_them() {
        assert_eq!(normalized("The  cat, an A-team & théâtre!"), "cat ateam théâtre");
        // A combining mark is no part of a word for Python, so the "a" before it is one.
        assert_eq!(normalized("a\u{301} b"), "\u{301} b");
        assert_eq!(normalized("a_b a1 the"), "ab a1");
        assert!(WORD.is_some());
    }

    #[test]
    fn repeated_words_count_as_often_as_they_stand() {
        assert_eq!(f1_of_words("cat cat", "cat", 0.0), 2.0 / 3.0);
        assert_eq!((f1_of_words("the", "", 1.0), f1_of_words("the", "", 0.0)), (1.0, 0.0));
        assert_eq!((f1_of_words("the cat", "", 1.0), exact("The Cat.", "cat")), (0.0, 1.0));
        assert_eq!(best(&[], |_| 1.0), None);
    }
}
