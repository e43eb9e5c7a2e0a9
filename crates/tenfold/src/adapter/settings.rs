//! What the settings of methods may be, checked in one place: before a study trains anything, and of adapters' files.

use super::{Method, peft};
use crate::error::nearest;
use crate::words::{list, or, thousands};
use serde::Serializer;
use serde_json::{Map, Value};

/// What a setting may be. One whose default is null may be null besides.
#[derive(Debug, Clone, Copy)]
pub enum Allowed {
    /// true or false.
    Flag,
    /// true, false or one of these words.
    FlagOr(&'static [&'static str]),
    /// A whole number of so much at the least and at the most.
    Whole(u64, u64),
    /// A whole number of 1 or more, or −1.
    WholeOrMinusOne,
    /// A list of ids of tokens.
    Tokens,
    /// A number above 0.
    Positive,
    /// A number of 0 or more.
    NotNegative,
    /// A number above 0 and below 1.
    Share,
    /// A probability of something that must not be certain.
    Probability,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
    /// One text or a list of them.
    Texts,
    /// Names of modules, or one pattern for whole paths.
    Modules,
    /// The number of a layer, or a list of them.
    Layers,
    /// A list of true and false.
    Flags,
    /// Values of a kind by patterns of modules.
    ByModule(&'static Allowed),
}

/// No upper end that a setting alone would know.
pub(super) const ANY: u64 = u64::MAX;
/// The widest inner layer of a network that makes virtual tokens: as wide as the largest models are.
pub(super) const WIDEST: u64 = 1 << 14;

impl Allowed {
    fn fits(&self, value: &Value) -> bool {
        let texts = |value: &Value| match value {
            Value::Array(items) => items.iter().all(Value::is_string),
            other => other.is_string(),
        };
        match self {
            Allowed::Flag => value.is_boolean(),
            Allowed::FlagOr(words) => {
                let fits = |found: &str| words.iter().any(|word| found.eq_ignore_ascii_case(word));
                value.is_boolean() || value.as_str().is_some_and(fits)
            }
            Allowed::Whole(least, most) => {
                value.as_u64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            Allowed::WholeOrMinusOne => value.as_i64().is_some_and(|number| number == -1 || number > 0),
            Allowed::Tokens => value.as_array().is_some_and(|ids| {
                ids.iter().all(|id| id.as_u64().is_some_and(|id| u32::try_from(id).is_ok()))
            }),
            Allowed::Positive => value.as_f64().is_some_and(|number| number > 0.0 && number.is_finite()),
            Allowed::NotNegative => value.as_f64().is_some_and(|number| number >= 0.0 && number.is_finite()),
            Allowed::Share => value.as_f64().is_some_and(|number| number > 0.0 && number < 1.0),
            Allowed::Flags => {
                value.as_array().is_some_and(|flags| !flags.is_empty() && flags.iter().all(Value::is_boolean))
            }
            Allowed::Probability => value.as_f64().is_some_and(|number| (0.0..1.0).contains(&number)),
            Allowed::Word(words) => value.as_str().is_some_and(|found| words.contains(&found)),
            Allowed::Text => value.is_string(),
            Allowed::Texts | Allowed::Modules => texts(value),
            Allowed::Layers => match value {
                Value::Array(items) => items.iter().all(Value::is_u64),
                other => other.is_u64(),
            },
            Allowed::ByModule(each) => {
                value.as_object().is_some_and(|table| table.values().all(|value| each.fits(value)))
            }
        }
    }

    /// What a person reads behind "expected".
    fn words(&self) -> String {
        match self {
            Allowed::Flag => "true or false".into(),
            Allowed::FlagOr(words) => {
                let words = words.iter().map(|word| format!("\"{word}\""));
                or(&["true".to_owned(), "false".to_owned()].into_iter().chain(words).collect::<Vec<_>>())
            }
            Allowed::Whole(least, ANY) => format!("a whole number of {least} or more"),
            Allowed::Whole(least, most) => format!("a whole number from {least} to {}", thousands(*most)),
            Allowed::WholeOrMinusOne => "a whole number of 1 or more, or -1".into(),
            Allowed::Tokens => "a list of ids of tokens".into(),
            Allowed::Positive => "a number above 0".into(),
            Allowed::NotNegative => "a number of 0 or more".into(),
            Allowed::Share => "a number above 0 and below 1".into(),
            Allowed::Flags => "a list of true and false".into(),
            Allowed::Probability => "a probability of 0 or more, below 1".into(),
            Allowed::Word(words) => or(&words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>()),
            Allowed::Text => "text in quotation marks".into(),
            Allowed::Texts => "a name, or a list of names".into(),
            Allowed::Modules => "a list of modules' names, or one pattern for whole paths".into(),
            Allowed::Layers => "the number of a layer, counted from 0, or a list of them".into(),
            Allowed::ByModule(each) => format!("a table of modules' names, each with {}", each.words()),
        }
    }
}

/// PEFT writes whole numbers without a point.
pub(super) fn as_written<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 1e9 {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

/// What is wrong with settings given for a method: each with its key.
pub fn faults(method: &Method, given: &Map<String, Value>) -> Vec<(String, String)> {
    let defaults = (method.defaults)();
    let fault = |(key, value): (&String, &Value)| {
        let words = match method.settings.iter().find(|(known, _)| known == key) {
            None => unknown(method, key),
            Some(_) if value.is_null() && defaults[key].is_null() => return None,
            Some((_, allowed)) if allowed.fits(value) => return None,
            Some((_, allowed)) => format!("expected {}, found {value}", allowed.words()),
        };
        Some((key.clone(), words))
    };
    given.iter().filter_map(fault).collect()
}

fn unknown(method: &Method, key: &str) -> String {
    let names: Vec<&str> = method.settings.iter().map(|(name, _)| *name).collect();
    if let Some(words) = peft::setting(method.peft_type, key) {
        return words;
    }
    let alias = peft::alias(key).filter(|alias| names.contains(alias));
    match alias.or_else(|| nearest(key, names.iter().copied())) {
        Some(name) => format!("there is no such setting: did you mean \"{name}\"?"),
        None if names.is_empty() => format!("there is no such setting; {} has none", method.title),
        None => format!("there is no such setting; {} has {}", method.title, list(&names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{METHODS, method};
    use serde_json::json;

    #[test]
    fn every_setting_of_every_method_is_checked_and_its_default_passes() {
        for method in METHODS {
            let defaults = (method.defaults)();
            let mut checked: Vec<&str> = method.settings.iter().map(|(key, _)| *key).collect();
            checked.sort_unstable();
            let known: Vec<&String> = defaults.as_object().unwrap().keys().collect();
            assert_eq!(known, checked, "{}", method.name);
            assert_eq!(faults(method, defaults.as_object().unwrap()), [], "{}", method.name);
        }
    }

    #[test]
    fn what_a_setting_cannot_be_is_said_in_peoples_words() {
        for (name, given, expected) in [
            ("lora", json!({"r": 0}), "r: expected a whole number of 1 or more, found 0"),
            ("lora", json!({"r": -1}), "r: expected a whole number of 1 or more, found -1"),
            ("lora", json!({"r": "x"}), "r: expected a whole number of 1 or more, found \"x\""),
            ("lora", json!({"lora_alpha": "x"}), "lora_alpha: expected a number above 0, found \"x\""),
            (
                "lora",
                json!({"lora_dropout": 1.5}),
                "lora_dropout: expected a probability of 0 or more, below 1, found 1.5",
            ),
            (
                "lora",
                json!({"bias": "some"}),
                "bias: expected \"none\", \"all\" or \"lora_only\", found \"some\"",
            ),
            (
                "lora",
                json!({"init_lora_weights": "loftq"}),
                "expected true, false, \"gaussian\", \"pissa\" or \"olora\", found \"loftq\"",
            ),
            (
                "lora",
                json!({"rank_pattern": {"query": 0}}),
                "each with a whole number of 1 or more, found {\"query\":0}",
            ),
            ("lora", json!({"target_modules": 3}), "expected a list of modules' names, or one pattern"),
            ("lora", json!({"layers_to_transform": [-1]}), "the number of a layer, counted from 0"),
            ("ia3", json!({"init_ia3_weights": 1}), "init_ia3_weights: expected true or false, found 1"),
            (
                "p_tuning",
                json!({"encoder_hidden_size": 0}),
                "expected a whole number from 1 to 16,384, found 0",
            ),
            (
                "prefix_tuning",
                json!({"init_weights": "one"}),
                "init_weights: expected \"zero\", found \"one\"",
            ),
            ("prompt_tuning", json!({"num_virtual_tokens": null}), "1 or more, found null"),
            ("lora", json!({"rr": 1}), "rr: there is no such setting: did you mean \"r\"?"),
            ("bitfit", json!({"r": 1}), "r: there is no such setting; BitFit has none"),
            (
                "lora",
                json!({"use_bdlora": true}),
                "use_bdlora: BD-LoRA: PEFT has this setting, this version does not",
            ),
            ("lora", json!({"rank": 4}), "rank: there is no such setting: did you mean \"r\"?"),
            ("lora", json!({"alpha": 4}), "alpha: there is no such setting: did you mean \"lora_alpha\"?"),
            ("ia3", json!({"task_type": "SEQ_CLS"}), "task_type: it follows from the model and the task"),
        ] {
            let found = faults(method(name).unwrap(), given.as_object().unwrap());
            let said: Vec<String> = found.iter().map(|(key, words)| format!("{key}: {words}")).collect();
            assert!(said.len() == 1 && said[0].contains(expected), "{expected}: {said:?}");
        }
        let fine = json!({"target_modules": "all-linear", "layers_pattern": "layer", "init_lora_weights": "Gaussian",
            "layers_to_transform": 1, "lora_alpha": 16, "rank_pattern": {"query": 4}, "exclude_modules": null});
        assert_eq!(faults(method("lora").unwrap(), fine.as_object().unwrap()), []);
    }
}
