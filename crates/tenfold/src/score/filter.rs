//! What is taken of a generated text before it is scored: lm-evaluation-harness's filters.

use super::python;
use crate::Result;
use fancy_regex::Regex;

/// One step from a row's responses to those that are scored.
#[derive(Debug, Clone)]
pub enum Filter {
    /// `regex`: a part of each response; made by [`Filter::regex`].
    Regex {
        /// What is looked for.
        pattern: Regex,
        /// Which match is taken, from 0; from the end, −1 the last, if negative.
        group_select: i64,
        /// What stands for a response without that match.
        fallback: String,
    },
    /// `take_first`: the first response alone.
    TakeFirst,
    /// `take_first_k`: so many from the first.
    TakeFirstK(usize),
    /// `majority_vote`: the most frequent response, of equally frequent ones the first.
    MajorityVote,
    /// `remove_whitespace`: without white space at both ends.
    RemoveWhitespace,
    /// `lowercase`.
    Lowercase,
    /// `uppercase`.
    Uppercase,
}

impl Filter {
    /// The filter `regex`, of a pattern in Python's dialect. If it has one group, what this matched is taken; of
    /// several, the first that matched anything; without groups the whole match. `fallback` is "\[invalid\]" in the
    /// harness. GSM8K's `strict-match` is `#### (\-?[0-9\.\,]+)`, 0; its `flexible-extract`
    /// `(-?[$0-9.,]{2,})|(-?[0-9]+)`, −1.
    ///
    /// Fails if the pattern cannot be read.
    pub fn regex(pattern: &str, group_select: i64, fallback: &str) -> Result<Filter> {
        Ok(Filter::Regex { pattern: python::regex(pattern)?, group_select, fallback: fallback.to_owned() })
    }

    fn apply(&self, mut responses: Vec<String>) -> Result<Vec<String>> {
        let each = |f: fn(&str) -> String| responses.iter().map(|response| f(response)).collect();
        Ok(match self {
            Filter::Regex { pattern, group_select, fallback } => responses
                .iter()
                .map(|response| {
                    let found = extract(pattern, *group_select, response)?;
                    Ok(found.unwrap_or_else(|| fallback.clone()))
                })
                .collect::<Result<_>>()?,
            Filter::TakeFirst => responses.into_iter().take(1).collect(),
            Filter::TakeFirstK(count) => {
                responses.truncate(*count);
                responses
            }
            Filter::MajorityVote => majority(&responses).into_iter().collect(),
            Filter::RemoveWhitespace => each(|response| python::strip(response).to_owned()),
            Filter::Lowercase => each(str::to_lowercase),
            Filter::Uppercase => each(str::to_uppercase),
        })
    }
}

/// A row's responses after all filters, one after the other. Fails where a pattern takes too long on a response.
pub fn apply(filters: &[Filter], responses: Vec<String>) -> Result<Vec<String>> {
    filters.iter().try_fold(responses, |responses, filter| filter.apply(responses))
}

fn extract(pattern: &Regex, group_select: i64, response: &str) -> Result<Option<String>> {
    let found = python::matches(pattern, response)?;
    let place = if group_select < 0 { group_select + found.len() as i64 } else { group_select };
    let Some(captures) = usize::try_from(place).ok().and_then(|place| found.get(place)) else {
        return Ok(None);
    };
    let group = |i| captures.get(i).map_or("", |part| part.as_str());
    let taken = match captures.len() {
        1 => Some(group(0)),
        2 => Some(group(1)),
        groups => (1..groups).map(group).find(|part| !part.is_empty()),
    };
    Ok(taken.map(|part| python::strip(part).to_owned()))
}

fn majority(responses: &[String]) -> Option<String> {
    let count = |response: &&String| responses.iter().filter(|other| other == response).count();
    responses.iter().rev().max_by_key(count).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(filters: &[Filter], responses: &[&str]) -> Vec<String> {
        apply(filters, responses.iter().map(|r| (*r).to_owned()).collect()).unwrap()
    }

    #[test]
    fn filters_follow_one_another() {
        let number = Filter::regex(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1, "[invalid]").unwrap();
        let said = ["6 + 7 is 13", "first 1, then 14", "13 it is", "none"];
        assert_eq!(one(std::slice::from_ref(&number), &said), ["13", "14", "13", "[invalid]"]);
        assert_eq!(one(&[number.clone(), Filter::MajorityVote], &said), ["13"]);
        assert_eq!(one(&[number, Filter::TakeFirstK(2), Filter::TakeFirst], &said), ["13"]);
        assert_eq!(one(&[Filter::MajorityVote], &["b", "a", "a", "b"]), ["b"]);
        assert_eq!(one(&[Filter::RemoveWhitespace, Filter::Uppercase], &[" a\x1c"]), ["A"]);
        assert!(one(&[Filter::MajorityVote, Filter::TakeFirst], &[]).is_empty());
    }

    #[test]
    fn a_match_that_is_not_there_is_the_fallback() {
        let second = Filter::regex("[0-9]", 1, "?").unwrap();
        assert_eq!(one(&[second], &["1", "1 2"]), ["?", "2"]);
        assert!(Filter::regex("(", 0, "").is_err());
    }
}
