//! Names in a method's settings that match nothing in the model, and settings that have no effect.
//!
//! PEFT passes over most of them in silence, so that `target_modules = ["q_proj", "valu_proj"]` trains q_proj alone. A
//! study refuses them; in an adapter's file that is read they are notes.

use super::Tuning;
use super::targets::{Selection, Targets, layer, layer_list, pattern_value};
use crate::error::{Result, nearest};
use crate::model::Model;
use crate::words::list;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One entry of a setting, held against the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The setting: "target_modules".
    pub key: &'static str,
    /// The entry as it is written: "\"q_proj\"".
    pub entry: String,
    /// Why it has no effect; `None` if it has one.
    pub fault: Option<Fault>,
}

/// Why an entry has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It names something that is not there.
    NoMatch(String),
    /// Other settings make it idle.
    Idle(String),
    /// PEFT would not load an adapter with it.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::NoMatch(words) | Fault::Refused(words) => formatter.write_str(words),
            Fault::Idle(words) => write!(formatter, "no effect: {words}"),
        }
    }
}

/// Every entry of the settings `given` for a method, of which `tuning` is made, that names something of the model, and
/// every setting that has no effect beside the others.
pub fn entries(given: &Value, tuning: &Tuning, model: &dyn Model) -> Result<Vec<Entry>> {
    let effective = tuning.adapter().config()?;
    let mut found = Vec::new();
    if let Some(targets) = read::<Targets>(&effective, "target_modules") {
        let names = Names::of(&effective, targets, tuning.adapter().sites(model), model)?;
        names.check(given, &mut found)?;
    }
    found.extend(biases(given, tuning, model));
    found.extend(without_effect(given));
    Ok(found)
}

/// What the settings of a method choose among the modules of a model.
struct Names<'m> {
    targets: Targets,
    exclude: Option<Targets>,
    /// Paths of the modules that the method may step in at.
    sites: Vec<&'m str>,
    /// Those that `target_modules` and `exclude_modules` choose, whatever layers they stand in.
    named: Vec<&'m str>,
    /// Those that are trained.
    chosen: Vec<&'m str>,
    /// Paths of all modules, the head's and the output embeddings' among them.
    modules: BTreeSet<String>,
}

impl<'m> Names<'m> {
    fn of(
        effective: &Map<String, Value>,
        targets: Targets,
        sites: Vec<&'m str>,
        model: &'m dyn Model,
    ) -> Result<Names<'m>> {
        let exclude: Option<Targets> = read(effective, "exclude_modules");
        let layers = numbers(effective.get("layers_to_transform"));
        let lists = texts(effective.get("layers_pattern"));
        let paths = |layers: Option<&[usize]>| -> Result<Vec<&'m str>> {
            let selection =
                Selection { targets: &targets, exclude: exclude.as_ref(), layers, layers_pattern: &lists };
            let mut chosen = Vec::new();
            for path in &sites {
                if selection.contains(path)? {
                    chosen.push(*path);
                }
            }
            Ok(chosen)
        };
        let (named, chosen) = (paths(None)?, paths(layers.as_deref())?);
        Ok(Names { targets, exclude, sites, named, chosen, modules: modules(model) })
    }

    fn check(&self, given: &Value, found: &mut Vec<Entry>) -> Result<()> {
        let is_given = |key: &str| !given[key].is_null();
        if is_given("target_modules")
            && let Targets::Names(names) = &self.targets
        {
            let fault = |name: &String| (!meets(name, &self.sites)).then(|| self.no_target(name));
            found.extend(names.iter().map(|name| entry("target_modules", name, fault(name))));
        }
        if is_given("exclude_modules") {
            self.check_exclusion(found)?;
        }
        if is_given("layers_to_transform") {
            self.check_layers(given, found);
        }
        for name in texts(given.get("layers_pattern")) {
            let lists: BTreeSet<&str> = self.named.iter().filter_map(|path| layer_list(path)).collect();
            let fault = (!lists.contains(name.as_str()))
                .then(|| format!("no list of layers has this name{}", suggestion(&name, &lists)));
            found.push(entry("layers_pattern", &name, fault));
        }
        for key in ["rank_pattern", "alpha_pattern"] {
            // AdaLoRA's tells which ranks training kept, by parameters.
            let patterns = given[key].as_object().into_iter().flatten();
            for (pattern, _) in patterns.filter(|(_, value)| !value.is_array()) {
                let one = BTreeMap::from([(pattern.clone(), ())]);
                let mut met = false;
                for path in &self.chosen {
                    met |= pattern_value(&one, path)?.is_some();
                }
                let fault = (!met).then(|| self.no_chosen(pattern));
                found.push(entry(key, pattern, fault));
            }
        }
        if is_given("feedforward_modules")
            && let Some(feedforward) = targets(&given["feedforward_modules"])
        {
            for name in feedforward.entries() {
                let one = feedforward.only(name);
                let met = self.chosen.iter().map(|path| one.contain(path)).collect::<Result<Vec<_>>>()?;
                let fault = match (&feedforward, &self.targets) {
                    _ if !met.contains(&true) => Some(Fault::NoMatch(self.no_chosen(name))),
                    (Targets::Names(_), Targets::Names(names))
                        if !names.iter().any(|target| target == name) =>
                    {
                        let names = list(names);
                        Some(Fault::Refused(format!(
                            "PEFT wants it to be one of target_modules in the same words: {names}"
                        )))
                    }
                    _ => None,
                };
                found.push(Entry { key: "feedforward_modules", entry: format!("\"{name}\""), fault });
            }
        }
        Ok(())
    }

    fn check_exclusion(&self, found: &mut Vec<Entry>) -> Result<()> {
        let Some(exclude) = &self.exclude else { return Ok(()) };
        for name in exclude.entries() {
            let one = exclude.only(name);
            let mut met = false;
            for path in self.modules.iter().map(String::as_str).chain(self.sites.iter().copied()) {
                met |= one.contain(path)?;
            }
            let fault = || format!("no module of this model has this name{}", self.near(name, &self.sites));
            found.push(entry("exclude_modules", name, (!met).then(fault)));
        }
        Ok(())
    }

    fn check_layers(&self, given: &Value, found: &mut Vec<Entry>) {
        let lists = texts(given.get("layers_pattern"));
        // A list of layers that does not exist is told by itself.
        let there: BTreeSet<usize> = self.named.iter().filter_map(|path| layer(path, &lists)).collect();
        for number in numbers(given.get("layers_to_transform")).unwrap_or_default() {
            let fault = (!there.is_empty() && !there.contains(&number)).then(|| {
                let (first, last) = (there.first().copied().unwrap_or(0), there.last().copied().unwrap_or(0));
                format!("no module of target_modules stands in this layer; they stand in layers {first} to {last}, counted from 0")
            });
            let (entry, fault) = (number.to_string(), fault.map(Fault::NoMatch));
            found.push(Entry { key: "layers_to_transform", entry, fault });
        }
    }

    /// Why a name in `target_modules` targets nothing.
    fn no_target(&self, name: &str) -> String {
        if meets(name, &self.modules.iter().map(String::as_str).collect::<Vec<_>>()) {
            return format!(
                "a module of this model that methods cannot step in at: they do at linear maps inside of the model, {}",
                list(&ends(&self.sites))
            );
        }
        format!("no module of this model has this name{}", self.near(name, &self.sites))
    }

    /// Why a name matches nothing among the modules that are trained.
    fn no_chosen(&self, name: &str) -> String {
        format!("none of the modules that target_modules chooses matches{}", self.near(name, &self.chosen))
    }

    /// The nearest name among paths, or all last components.
    fn near(&self, name: &str, paths: &[&str]) -> String {
        let mut names = ends(paths);
        // A whole path is near to whole paths, a suffix of two components to such.
        let depth = name.split('.').count();
        let deep = |path: &'m str| {
            let parts: Vec<&str> = path.split('.').collect();
            parts[parts.len().saturating_sub(depth)..].join(".")
        };
        let deeper: BTreeSet<String> = self.sites.iter().map(|path| deep(path)).collect();
        if depth > 1
            && let Some(near) = nearest(name, deeper.iter().map(String::as_str))
        {
            return format!(": did you mean \"{near}\"?");
        }
        match nearest(name, names.iter().copied()) {
            Some(near) => format!(": did you mean \"{near}\"?"),
            None => {
                names.truncate(12);
                format!("; there are {}", list(&names))
            }
        }
    }
}

/// Biases that are to be trained along where there are none.
fn biases(given: &Value, tuning: &Tuning, model: &dyn Model) -> Option<Entry> {
    let wanted = given["bias"].as_str().filter(|bias| *bias != "none")?;
    let trained = model.weights().iter().any(|weight| tuning.adapter().unfreezes(&weight.name));
    let fault = (!trained).then(|| {
        let none = match wanted {
            "all" => "this model has no biases",
            _ => "the modules that target_modules chooses have no biases",
        };
        format!("nothing to train: {none}; take bias = \"none\"")
    });
    Some(entry("bias", wanted, fault))
}

/// Settings that do nothing beside the others, as in PEFT.
fn without_effect(given: &Value) -> Vec<Entry> {
    let is_given = |key: &str| match &given[key] {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let number = |key: &str| given[key].as_f64();
    let mut found = Vec::new();
    let mut tell = |key: &'static str, idle: bool, why: &str| {
        let value = &given[key];
        let entry = value.as_str().map_or_else(|| value.to_string(), |text| format!("\"{text}\""));
        found.push(Entry { key, entry, fault: idle.then(|| Fault::Idle(why.to_owned())) });
    };
    if is_given("layers_pattern") {
        let idle = !is_given("layers_to_transform");
        tell("layers_pattern", idle, "it says where the layers of layers_to_transform are, which is not set");
    }
    if is_given("prompt_tuning_init_text") {
        let idle = given["prompt_tuning_init"] != "TEXT";
        tell("prompt_tuning_init_text", idle, "it is for prompt_tuning_init = \"TEXT\"");
    }
    if is_given("tokenizer_name_or_path") {
        tell("tokenizer_name_or_path", true, "the model's own tokenizer reads the text; leave it out");
    }
    if is_given("encoder_hidden_size") && !given["prefix_projection"].is_null() {
        let idle = given["prefix_projection"] != true;
        tell("encoder_hidden_size", idle, "it is the width of the network of prefix_projection = true");
    }
    if number("encoder_num_layers").is_some_and(|layers| layers != 2.0) {
        tell(
            "encoder_num_layers",
            true,
            "the network (MLP) always has 2 inner layers, as in PEFT; leave it out",
        );
    }
    if number("encoder_dropout").is_some_and(|dropout| dropout != 0.0) {
        tell("encoder_dropout", true, "the network (MLP) has no dropout, as in PEFT; leave it out");
    }
    found
}

fn entry(key: &'static str, name: &str, fault: Option<String>) -> Entry {
    Entry { key, entry: format!("\"{name}\""), fault: fault.map(Fault::NoMatch) }
}

/// Whether a name is a path or a suffix of one.
fn meets(name: &str, paths: &[&str]) -> bool {
    let name = Targets::Names(vec![name.to_owned()]);
    paths.iter().any(|path| name.contain(path).is_ok_and(|met| met))
}

/// The last components of paths, each once, in order.
fn ends<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for name in paths.iter().map(|path| path.rsplit('.').next().unwrap_or(path)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn suggestion(name: &str, known: &BTreeSet<&str>) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!(": did you mean \"{near}\"?"),
        None => format!("; there is {}", list(&known.iter().collect::<Vec<_>>())),
    }
}

/// Every module that has weights, and the output embeddings, which may be another module's.
pub(super) fn modules(model: &dyn Model) -> BTreeSet<String> {
    let weights = model.weights().into_iter().map(|weight| weight.name.as_str());
    let owned = |name: &str| name.rsplit_once('.').map(|(module, _)| module.to_owned());
    let mut modules: BTreeSet<String> = weights.filter_map(owned).collect();
    modules.extend(model.head().layers.iter().map(|layer| layer.path.clone()));
    modules.extend(model.head().modules().into_iter().map(str::to_owned));
    if model.vocabulary().is_some() {
        modules.insert("lm_head".into());
    }
    modules
}

fn read<T: DeserializeOwned>(config: &Map<String, Value>, key: &str) -> Option<T> {
    config.get(key).filter(|value| !value.is_null()).and_then(|value| T::deserialize(value).ok())
}

fn targets(value: &Value) -> Option<Targets> {
    serde_json::from_value(value.clone()).ok()
}

/// A text, or a list of them.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A number, or a list of them.
fn numbers(value: Option<&Value>) -> Option<Vec<usize>> {
    let number = |value: &Value| value.as_u64().map(|number| number as usize);
    match value {
        Some(Value::Array(items)) => Some(items.iter().filter_map(number).collect()),
        Some(value) => number(value).map(|number| vec![number]),
        None => None,
    }
}

#[cfg(test)]
mod tests;
