//! The models that can be asked for by a short name; `catalog.toml` beside this file lists them.

use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// One model of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The short name.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// The model family, as `model_type` in its config.json.
    pub family: String,
    /// How many numbers its weights are.
    pub parameters: u64,
    /// The licence of the weights.
    pub licence: String,
    /// Its id on the Hugging Face Hub, if these very files are there.
    pub hub: Option<String>,
    /// SHA-256 of its model.safetensors or its GGUF file, hexadecimal.
    pub sha256: String,
    /// A Python wheel that carries the same files.
    pub wheel: Option<Wheel>,
    /// Python wheels that carry its one file in parts.
    pub joined: Option<Joined>,
}

impl Entry {
    /// Where it comes from, in words: its id on the Hub, or the packages that carry it.
    pub fn source(&self) -> Option<String> {
        let wheel = self.wheel.as_ref().map(|wheel| wheel.package.clone());
        let joined = self.joined.as_ref().map(|joined| {
            joined.parts.iter().map(|part| part.package.as_str()).collect::<Vec<_>>().join(", ")
        });
        self.hub.clone().or(wheel).or(joined)
    }
}

/// A Python wheel with a model's files in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The package's name on the index.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The folder in the wheel that holds the model, with a slash at its end.
    pub folder: String,
    /// Size of the wheel.
    pub bytes: u64,
}

/// A model's one file, whose parts are files of Python wheels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// The file's name.
    pub file: String,
    /// Its parts, in their order.
    pub parts: Vec<Part>,
}

/// A part of a model's file, as a file of a Python wheel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The package's name on the index.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The file in the wheel.
    pub file: String,
    /// Size of the wheel.
    pub bytes: u64,
}

/// All models of the catalog.
pub fn entries() -> Result<Vec<Entry>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Catalog {
        models: Vec<Entry>,
    }
    let catalog: Catalog = toml::from_str(include_str!("catalog.toml")).map_err(|error| {
        Error::malformed(Path::new("catalog.toml"), "whole file", "the catalog", error.to_string())
    })?;
    Ok(catalog.models)
}

/// The entry that goes by that name, or by that id on the Hub.
pub fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let hub = |entry: &Entry| entry.hub.as_ref().is_some_and(|hub| hub.eq_ignore_ascii_case(name));
    entries.iter().find(|entry| entry.name == name || hub(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_is_well_formed() {
        let entries = entries().unwrap();
        for entry in &entries {
            assert_eq!(find(&entries, &entry.name), Some(entry));
            if let Some(hub) = &entry.hub {
                assert_eq!(find(&entries, &hub.to_lowercase()), Some(entry));
            }
            assert!(entry.sha256.len() == 64 && entry.sha256.bytes().all(|digit| digit.is_ascii_hexdigit()));
            assert!(entry.wheel.as_ref().is_none_or(|wheel| wheel.folder.ends_with('/')));
            assert!(entry.wheel.is_none() || entry.joined.is_none());
            assert!(
                entry
                    .joined
                    .as_ref()
                    .is_none_or(|joined| joined.file.ends_with(".gguf") && joined.parts.len() > 1)
            );
        }
    }
}
