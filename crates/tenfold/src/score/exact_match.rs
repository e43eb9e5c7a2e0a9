//! `exact_match` of generated texts, as lm-evaluation-harness (after Hugging Face's evaluate) defines it.

use super::python;
use crate::Result;
use fancy_regex::Regex;

/// What two texts may differ in and still be the same; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct ExactMatch {
    /// `ignore_case`.
    pub ignore_case: bool,
    /// `ignore_punctuation`: that of ASCII.
    pub ignore_punctuation: bool,
    /// `ignore_numbers`: the digits of ASCII.
    pub ignore_numbers: bool,
    ignored: Vec<Regex>,
}

impl ExactMatch {
    /// `regexes_to_ignore`: what these match, in Python's dialect, is taken out of both texts first, one after the
    /// other. Fails if one cannot be read.
    pub fn ignoring(patterns: &[&str]) -> Result<ExactMatch> {
        let ignored = patterns.iter().map(|pattern| python::regex(pattern)).collect::<Result<_>>()?;
        Ok(ExactMatch { ignored, ..ExactMatch::default() })
    }

    /// 1 if the prediction is one of the references, else 0; higher is better. `None` without references. Fails where
    /// a pattern takes too long.
    pub fn score(&self, prediction: &str, references: &[&str]) -> Result<Option<f64>> {
        let prediction = self.bared(prediction)?;
        let mut found = (!references.is_empty()).then_some(0.0);
        for reference in references {
            if self.bared(reference)? == prediction {
                found = Some(1.0);
            }
        }
        Ok(found)
    }

    fn bared(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for pattern in &self.ignored {
            text = python::without_matches(pattern, &text)?;
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        text.retain(|c| {
            !(self.ignore_punctuation && c.is_ascii_punctuation()
                || self.ignore_numbers && c.is_ascii_digit())
        });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_reference_will_do_and_none_is_no_score() {
        let exact = ExactMatch { ignore_case: true, ..ExactMatch::default() };
        assert_eq!(exact.score("Paris", &["London", "PARIS"]).unwrap(), Some(1.0));
        assert_eq!(exact.score("Paris", &["London"]).unwrap(), Some(0.0));
        assert_eq!(exact.score("Paris", &[]).unwrap(), None);
        assert!(ExactMatch::ignoring(&["["]).is_err());
    }
}
