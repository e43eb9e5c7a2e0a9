//! Which modules a method steps in at: `target_modules` with PEFT's meaning.

use crate::error::{Error, Result};
use crate::model::{Linear, Model, Role};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A list of module names or suffixes, or one regular expression for whole paths
/// ("all-linear" for every linear map).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// A regular expression that must match the whole path.
    Pattern(String),
    /// Full paths, or suffixes that follow a dot.
    Names(Vec<String>),
}

impl Targets {
    /// The modules in these roles, under the names that the family gives them.
    pub fn roles(model: &dyn Model, roles: &[Role]) -> Targets {
        Targets::Names(roles.iter().filter_map(|role| model.module_name(*role)).map(str::to_owned).collect())
    }

    /// Whether a path is meant.
    pub fn contain(&self, path: &str) -> Result<bool> {
        match self {
            Targets::Pattern(word) if word == "all-linear" => Ok(true),
            Targets::Pattern(pattern) => Ok(whole(pattern)?.is_match(path)),
            Targets::Names(names) => Ok(names.iter().any(|name| is_suffix(name, path))),
        }
    }

    /// The names, or the pattern.
    pub(super) fn entries(&self) -> impl Iterator<Item = &str> {
        match self {
            Targets::Pattern(pattern) => std::slice::from_ref(pattern),
            Targets::Names(names) => names,
        }
        .iter()
        .map(String::as_str)
    }

    /// One of the [`entries`](Targets::entries) alone.
    pub(super) fn only(&self, entry: &str) -> Targets {
        match self {
            Targets::Pattern(_) => Targets::Pattern(entry.to_owned()),
            Targets::Names(_) => Targets::Names(vec![entry.to_owned()]),
        }
    }
}

/// `target_modules` and the keys that narrow it down.
pub struct Selection<'a> {
    /// What is meant.
    pub targets: &'a Targets,
    /// What is not, although it would be.
    pub exclude: Option<&'a Targets>,
    /// Only these layers.
    pub layers: Option<&'a [usize]>,
    /// Names of the lists that layers stand in; none: any list.
    pub layers_pattern: &'a [String],
}

impl Selection<'_> {
    /// The linear maps of a model that are meant; refuses if there are none.
    pub fn linears<'m>(&self, model: &'m dyn Model) -> Result<Vec<&'m Linear>> {
        let mut chosen = Vec::new();
        for linear in model.linears() {
            if self.contains(&linear.site.path)? {
                chosen.push(linear);
            }
        }
        if chosen.is_empty() {
            return Err(self.fits_none(model));
        }
        Ok(chosen)
    }

    /// The fault of a choice that no module is in: of the first key that leaves none.
    fn fits_none(&self, model: &dyn Model) -> Error {
        let paths: Vec<&str> = model.linears().iter().map(|linear| linear.site.path.as_str()).collect();
        let left = |selection: &Selection| -> Vec<&str> {
            paths.iter().copied().filter(|path| selection.contains(path).unwrap_or(false)).collect()
        };
        let fault =
            |place: &str, expected: String, found: String| Error::malformed("method", place, expected, found);
        let targeted = left(&Selection { exclude: None, layers: None, ..*self });
        if targeted.is_empty() {
            let mut names: Vec<&str> = Vec::new();
            for name in paths.iter().map(|path| path.rsplit('.').next().unwrap_or(path)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let first = paths.first().copied().unwrap_or("none");
            let expected = format!("modules of this model ({}; the first is {first})", names.join(", "));
            return fault("target_modules", expected, as_json(self.targets));
        }
        let kept = left(&Selection { layers: None, ..*self });
        if kept.is_empty() {
            let expected = "to leave some of the modules that target_modules chooses".to_owned();
            return fault("exclude_modules", expected, as_json(&self.exclude));
        }
        let lists: BTreeSet<&str> = kept.iter().filter_map(|path| layer_list(path)).collect();
        if !self.layers_pattern.is_empty()
            && !self.layers_pattern.iter().any(|list| lists.contains(list.as_str()))
        {
            let expected = format!(
                "the name of a list of layers ({})",
                lists.into_iter().collect::<Vec<_>>().join(", ")
            );
            return fault("layers_pattern", expected, as_json(&self.layers_pattern));
        }
        let layers: BTreeSet<usize> =
            kept.iter().filter_map(|path| layer(path, self.layers_pattern)).collect();
        let expected = match (layers.first(), layers.last()) {
            (Some(first), Some(last)) => format!("layers {first} to {last}, counted from 0"),
            _ => "none, as the modules of target_modules stand in no layers".to_owned(),
        };
        fault("layers_to_transform", expected, as_json(&self.layers))
    }

    /// Whether the module at `path` is meant.
    pub(super) fn contains(&self, path: &str) -> Result<bool> {
        if let Some(exclude) = self.exclude
            && exclude.contain(path)?
        {
            return Ok(false);
        }
        if !self.targets.contain(path)? {
            return Ok(false);
        }
        // As in PEFT, layers narrow down lists of names alone.
        match (self.layers, self.targets) {
            (Some(layers), Targets::Names(_)) if !layers.is_empty() => {
                Ok(layer(path, self.layers_pattern).is_some_and(|layer| layers.contains(&layer)))
            }
            _ => Ok(true),
        }
    }
}

/// The value for a path in a table of patterns (`rank_pattern`, `alpha_pattern`), where one matches.
pub fn pattern_value<T: Copy>(patterns: &BTreeMap<String, T>, path: &str) -> Result<Option<T>> {
    for (pattern, value) in patterns {
        if whole(&format!(r"(.*\.)?({pattern})"))?.is_match(path) {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn is_suffix(name: &str, path: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The number of the layer in a path: "encoder.layer.3.output" -> 3.
pub(super) fn layer(path: &str, lists: &[String]) -> Option<usize> {
    let parts: Vec<&str> = path.split('.').collect();
    parts.windows(2).enumerate().find_map(|(place, pair)| {
        let listed = if lists.is_empty() { place > 0 } else { lists.iter().any(|list| list == pair[0]) };
        pair[1].parse().ok().filter(|_| listed)
    })
}

/// The name of the list that the layer in a path stands in: "encoder.layer.3.output" -> "layer".
pub(super) fn layer_list(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split('.').collect();
    parts.windows(2).find(|pair| pair[1].parse::<usize>().is_ok()).map(|pair| pair[0])
}

fn whole(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        Error::malformed(
            "method",
            "target_modules",
            "a regular expression",
            format!("\"{pattern}\": {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_suffixes_after_a_dot_and_patterns_match_whole_paths() {
        let path = "bert.encoder.layer.1.attention.self.query";
        for (targets, expected) in [
            (Targets::Names(vec!["query".into()]), true),
            (Targets::Names(vec!["self.query".into()]), true),
            (Targets::Names(vec![path.into()]), true),
            (Targets::Names(vec!["uery".into()]), false),
            (Targets::Pattern(r".*\.(query|value)".into()), true),
            (Targets::Pattern("query".into()), false),
            (Targets::Pattern("all-linear".into()), true),
        ] {
            assert_eq!(targets.contain(path).unwrap(), expected, "{targets:?}");
        }
        assert!(Targets::Pattern("(".into()).contain(path).is_err());
    }

    #[test]
    fn layers_are_the_first_number_in_a_path() {
        assert_eq!(layer("bert.encoder.layer.3.output.dense", &[]), Some(3));
        assert_eq!(layer("model.layers.1.experts.0.up", &[]), Some(1));
        assert_eq!(layer("bert.encoder.layer.3.output", &["blocks".into()]), None);
        assert_eq!(layer("bert.pooler.dense", &[]), None);
    }

    #[test]
    fn rank_patterns_match_ends_of_paths() {
        let patterns =
            BTreeMap::from([("layer.0.attention.self.query".to_owned(), 2), ("value".to_owned(), 16)]);
        let rank = |path| pattern_value(&patterns, path).unwrap();
        assert_eq!(rank("bert.encoder.layer.0.attention.self.query"), Some(2));
        assert_eq!(rank("bert.encoder.layer.0.attention.self.value"), Some(16));
        assert_eq!(rank("bert.encoder.layer.1.attention.self.query"), None);
    }
}
