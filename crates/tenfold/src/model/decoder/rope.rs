//! Rotary position embeddings (Su et al. 2021, arXiv:2104.09864) and the ways they are stretched to longer contexts.

use crate::error::Result;
use crate::model::config::Config;
use serde_json::{Map, Value};
use std::f64::consts::PI;
use std::sync::Arc;
use tenfold_tensor::{Backend, Class, Tensor};

/// The angles of one kind of layer.
#[derive(Debug, Clone)]
pub(in crate::model) struct Rope {
    /// Numbers of a head that turn: pairs times two.
    pub rotated: usize,
    pub theta: f64,
    pub stretch: Stretch,
    max_positions: usize,
}

/// How frequencies are changed for contexts longer than those of training.
#[derive(Debug, Clone)]
pub(in crate::model) enum Stretch {
    /// Not.
    None,
    /// All divided by a factor (Chen et al. 2023).
    Linear { factor: f64 },
    /// The base grows with the length of the sequence ("NTK-aware").
    Dynamic { factor: f64 },
    /// Low frequencies divided, high ones kept, those between mixed (Llama 3.1).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// The same by a ramp over the pairs, and softer attention (Peng et al. 2023, arXiv:2309.00071).
    Yarn { factor: f64, original: f64, fast: f64, slow: f64, truncate: bool, attention: f64 },
    /// A factor for each pair, for long and for short sequences (Ding et al. 2024, arXiv:2402.13753).
    Long { short: Vec<f64>, long: Vec<f64>, original: usize, attention: f64 },
}

/// Kinds of layers that turn by ropes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Kind {
    /// Queries see all tokens before them.
    Full,
    /// Queries see a window.
    Sliding,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Full => "full_attention",
            Kind::Sliding => "sliding_attention",
        }
    }
}

impl Rope {
    /// The one rope of all layers, read as Transformers does: of `rope_scaling`, or else of `rope_parameters`, and where
    /// these are silent of the keys beside them. `theta` is the family's default; `share` is the part of a head that turns
    /// where the configuration does not say, none where the family turns whole heads.
    pub fn read(config: &Config, head_dim: usize, theta: f64, share: Option<f64>) -> Result<Rope> {
        let keys = Keys::of_all(config)?;
        let theta = keys.number("rope_theta")?.map_or_else(|| config.or("rope_theta", theta), Ok)?;
        let stated = keys.number("partial_rotary_factor")?;
        if share.is_none() && stated.is_some_and(|stated| stated != 1.0) {
            let place = format!("{}.partial_rotary_factor", keys.key);
            let expected = "1, or none, for the family turns whole heads";
            return Err(config.fault(&place, expected, stated.unwrap_or_default()));
        }
        keys.rope(head_dim, theta, stated.or(share).unwrap_or(1.0))
    }

    /// The rope of layers of one kind, which `rope_parameters` states below the kind's name. What `rope_scaling` says is
    /// of layers that see all tokens.
    pub fn of_kind(config: &Config, kind: Kind, head_dim: usize) -> Result<Rope> {
        let keys = Keys::of_kind(config, kind)?;
        let (key, theta) = match kind {
            Kind::Full => ("rope_theta", 1_000_000.0),
            Kind::Sliding => ("rope_local_base_freq", 10_000.0),
        };
        let theta = keys.number("rope_theta")?.map_or_else(|| config.or(key, theta), Ok)?;
        keys.rope(head_dim, theta, keys.number("partial_rotary_factor")?.unwrap_or(1.0))
    }

    /// Angles without any stretch.
    pub fn plain(rotated: usize, theta: f64, max_positions: usize) -> Rope {
        Rope { rotated, theta, stretch: Stretch::None, max_positions }
    }

    /// Cosines and sines of all positions: \[positions, rotated / 2\] each.
    pub fn angles(&self, backend: &Arc<dyn Backend>, positions: &[u32]) -> Result<[Tensor; 2]> {
        let length = positions.iter().max().map_or(0, |last| *last as usize + 1);
        let frequencies = self.frequencies(length);
        let attention = self.attention();
        let table = |turn: fn(f64) -> f64| -> Result<Tensor> {
            // The product is rounded to f32 before the turn, as where the models were trained.
            let angles = positions.iter().flat_map(|place| {
                frequencies.iter().map(move |frequency| f64::from(*place as f32 * *frequency as f32))
            });
            let numbers = angles.map(|angle| (turn(angle) * attention) as f32).collect();
            let shape = [positions.len(), frequencies.len()];
            Ok(Tensor::new(backend, Class::Activations, &shape, numbers)?)
        };
        Ok([table(f64::cos)?, table(f64::sin)?])
    }

    /// Radians each pair turns a place further, in sequences of up to `length` tokens.
    fn frequencies(&self, length: usize) -> Vec<f64> {
        let dim = self.rotated as f64;
        let powers = |theta: f64| {
            (0..self.rotated / 2)
                .map(move |pair| theta.powf(-(2.0 * pair as f64) / dim))
                .collect::<Vec<f64>>()
        };
        let plain = powers(self.theta);
        match &self.stretch {
            Stretch::None => plain,
            Stretch::Linear { factor } => plain.iter().map(|f| f / factor).collect(),
            Stretch::Dynamic { factor } => {
                let share = length.max(self.max_positions) as f64 / self.max_positions as f64;
                powers(self.theta * (factor * share - (factor - 1.0)).powf(dim / (dim - 2.0)))
            }
            Stretch::Llama3 { factor, low, high, original } => {
                plain.iter().map(|f| llama3(*f, *factor, *low, *high, *original)).collect()
            }
            Stretch::Yarn { factor, original, fast, slow, truncate, .. } => {
                let pair = |turns: f64| dim * (original / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut low, mut high) = (pair(*fast), pair(*slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min(dim - 1.0));
                let width = if low == high { 0.001 } else { high - low };
                let ramp = |pair: usize| ((pair as f64 - low) / width).clamp(0.0, 1.0);
                plain.iter().enumerate().map(|(i, f)| f / factor * ramp(i) + f * (1.0 - ramp(i))).collect()
            }
            Stretch::Long { short, long, original, .. } => {
                let factors = if length > *original { long } else { short };
                plain.iter().zip(factors).map(|(f, factor)| f / factor).collect()
            }
        }
    }

    /// What each pair's frequency is divided by, in sequences that are not stretched further: \[pairs\].
    pub fn divisors(&self) -> Vec<f32> {
        let plain = Rope::plain(self.rotated, self.theta, self.max_positions).frequencies(1);
        plain.iter().zip(self.frequencies(1)).map(|(plain, stretched)| (plain / stretched) as f32).collect()
    }

    /// What cosines and sines are multiplied with.
    fn attention(&self) -> f64 {
        match self.stretch {
            Stretch::Yarn { attention, .. } | Stretch::Long { attention, .. } => attention,
            _ => 1.0,
        }
    }
}

fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let turns = original * frequency / (2.0 * PI);
    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 - kept) * frequency / factor + kept * frequency
}

/// The keys of one kind of rope.
struct Keys<'a> {
    config: &'a Config,
    key: String,
    keys: Map<String, Value>,
    /// Whether they are of one kind of layers alone.
    of_kind: bool,
}

impl<'a> Keys<'a> {
    fn of_all(config: &'a Config) -> Result<Keys<'a>> {
        let stated = |key: &str| -> Result<Option<(String, Map<String, Value>)>> {
            let keys = config.optional::<Map<String, Value>>(key)?.filter(|keys| !keys.is_empty());
            Ok(keys.map(|keys| (key.to_owned(), keys)))
        };
        let scaling = stated("rope_scaling")?;
        let found = if scaling.is_some() { scaling } else { stated("rope_parameters")? };
        let (key, keys) = found.unwrap_or_else(|| ("rope_parameters".into(), Map::new()));
        if let Some(kind) = [Kind::Full, Kind::Sliding].iter().find(|kind| keys.contains_key(kind.name())) {
            let found = format!("one for {}", kind.name());
            return Err(config.fault(&key, "one rope for all layers, as the family has it", found));
        }
        Ok(Keys { config, key, keys, of_kind: false })
    }

    fn of_kind(config: &'a Config, kind: Kind) -> Result<Keys<'a>> {
        let all = config.optional::<Map<String, Value>>("rope_parameters")?.unwrap_or_default();
        let known = |kind: Kind| all.contains_key(kind.name());
        if !all.is_empty() && !known(Kind::Full) && !known(Kind::Sliding) {
            let expected = "full_attention and sliding_attention, each with a rope of its own";
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            return Err(config.fault("rope_parameters", expected, names.join(", ")));
        }
        let key = format!("rope_parameters.{}", kind.name());
        let mut keys = match all.get(kind.name()) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(keys)) => keys.clone(),
            Some(other) => return Err(config.fault(&key, "the keys of a rope", other)),
        };
        if kind == Kind::Full {
            keys.extend(config.optional::<Map<String, Value>>("rope_scaling")?.unwrap_or_default());
        }
        Ok(Keys { config, key, keys, of_kind: true })
    }

    /// The rope of heads of that width.
    fn rope(&self, head_dim: usize, theta: f64, share: f64) -> Result<Rope> {
        let config = self.config;
        if !(theta > 1.0 && theta.is_finite() && share > 0.0 && share <= 1.0) {
            let expected = "rope_theta above 1, a share of 0 to 1";
            return Err(config.fault(&self.key, expected, format!("{theta}, {share}")));
        }
        let max_positions = config.extent("max_position_embeddings")?;
        let rotated = ((head_dim as f64 * share) as usize) / 2 * 2;
        if rotated == 0 {
            return Err(config.fault("partial_rotary_factor", "a pair of each head or more", share));
        }
        let stretch = self.stretch(rotated, max_positions)?;
        Ok(Rope { rotated, theta, stretch, max_positions })
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.keys.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.config.fault(&format!("{}.{name}", self.key), "a number", value)),
            },
        }
    }

    /// A number above 0 that must be there.
    fn positive(&self, name: &str) -> Result<f64> {
        let found = self.number(name)?;
        found.filter(|number| *number > 0.0).ok_or_else(|| {
            let found = found.map_or("nothing".to_owned(), |number| number.to_string());
            self.config.fault(&format!("{}.{name}", self.key), "a number above 0", found)
        })
    }

    /// A factor for each of `pairs` pairs.
    fn factors(&self, name: &str, pairs: usize) -> Result<Vec<f64>> {
        let numbers = self.keys.get(name).and_then(Value::as_array).map(|list| {
            list.iter().filter_map(Value::as_f64).filter(|number| *number > 0.0).collect::<Vec<f64>>()
        });
        numbers.filter(|numbers| numbers.len() == pairs).ok_or_else(|| {
            self.config.fault(&format!("{}.{name}", self.key), format!("{pairs} numbers above 0"), "other")
        })
    }

    fn stretch(&self, rotated: usize, max_positions: usize) -> Result<Stretch> {
        let phi3 = self.config.model_type()? == "phi3";
        let kind = self.keys.get("rope_type").or(self.keys.get("type"));
        let kind = match kind.and_then(Value::as_str).unwrap_or("default") {
            // Phi-3's first files have the two older names for its own way.
            "su" | "yarn" if phi3 => "longrope",
            kind => kind,
        };
        if phi3 && !["default", "longrope"].contains(&kind) {
            return Err(self.config.fault(&self.key, "a rope_type of default or longrope", kind));
        }
        let original = || -> Result<f64> {
            let own = self.number("original_max_position_embeddings")?;
            let beside = match self.config.optional_extent("original_max_position_embeddings")? {
                None if phi3 => Some(4096),
                beside => beside,
            };
            // What stands beside the ropes wins where all layers have one.
            let beside = beside.filter(|_| !self.of_kind).map(|extent| extent as f64);
            Ok(beside.or(own).unwrap_or(max_positions as f64))
        };
        match kind {
            "default" => Ok(Stretch::None),
            "linear" => Ok(Stretch::Linear { factor: self.positive("factor")? }),
            "dynamic" => Ok(Stretch::Dynamic { factor: self.positive("factor")? }),
            "llama3" => {
                let (low, high) = (self.positive("low_freq_factor")?, self.positive("high_freq_factor")?);
                let factor = self.positive("factor")?;
                Ok(Stretch::Llama3 { factor, low, high, original: original()? })
            }
            "yarn" => {
                let factor = self.positive("factor")?;
                Ok(Stretch::Yarn {
                    factor,
                    original: original()?,
                    fast: self.number("beta_fast")?.filter(|turns| *turns != 0.0).unwrap_or(32.0),
                    slow: self.number("beta_slow")?.filter(|turns| *turns != 0.0).unwrap_or(1.0),
                    truncate: self.keys.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                    attention: self.yarn_attention(factor)?,
                })
            }
            "longrope" => {
                let original = original()?;
                let factor = self.number("factor")?.unwrap_or(max_positions as f64 / original);
                let stretched = (1.0 + factor.ln() / original.ln()).sqrt();
                let attention = if factor <= 1.0 { 1.0 } else { stretched };
                Ok(Stretch::Long {
                    short: self.factors("short_factor", rotated / 2)?,
                    long: self.factors("long_factor", rotated / 2)?,
                    original: original as usize,
                    attention: self.number("attention_factor")?.unwrap_or(attention),
                })
            }
            other => Err(self.config.fault(
                &self.key,
                "a rope_type of default, linear, dynamic, llama3, yarn or longrope",
                other,
            )),
        }
    }

    fn yarn_attention(&self, factor: f64) -> Result<f64> {
        let scale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
        let own = self.number("attention_factor")?;
        let pair = (self.number("mscale")?, self.number("mscale_all_dim")?);
        Ok(match (own, pair) {
            (Some(own), _) => own,
            (None, (Some(one), Some(all))) if one != 0.0 && all != 0.0 => scale(one) / scale(all),
            _ => scale(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(json: &str) -> Config {
        let mut keys: Map<String, Value> = serde_json::from_str(json).unwrap();
        keys.entry("model_type").or_insert("llama".into());
        keys.entry("max_position_embeddings").or_insert(64.into());
        Config::new(Path::new("config.json"), keys)
    }

    fn read(json: &str) -> Result<Rope> {
        Rope::read(&config(json), 8, 10_000.0, None)
    }

    fn rope(json: &str) -> Rope {
        read(json).unwrap()
    }

    fn near(numbers: &[f64], expected: &[f64]) {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs();
        assert!(numbers.len() == expected.len() && numbers.iter().zip(expected).all(close), "{numbers:?}");
    }

    #[test]
    fn old_and_new_spellings_mean_the_same() {
        let old = rope(
            r#"{"max_position_embeddings": 64, "rope_theta": 500.0,
                "rope_scaling": {"type": "linear", "factor": 4.0}}"#,
        );
        let new = rope(
            r#"{"max_position_embeddings": 64,
                "rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 4.0}}"#,
        );
        assert_eq!(old.frequencies(10), new.frequencies(10));
        assert_eq!(old.frequencies(10)[0], 0.25);
    }

    /// Frequencies by Transformers 5.24 of the same keys.
    #[test]
    fn the_older_key_wins_over_the_newer_and_what_stands_beside_them_fills_the_gaps() {
        for (json, expected) in [
            (
                r#"{"rope_scaling": {"rope_type": "linear", "factor": 2.0},
                    "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}}"#,
                [0.5, 0.05, 0.005, 0.0005],
            ),
            (
                r#"{"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 300.0,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}"#,
                [0.5, 0.120140575, 0.028867511, 0.0069363192],
            ),
            (
                r#"{"rope_scaling": {}, "rope_theta": 300.0,
                    "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}}"#,
                [0.25, 0.05286856, 0.01118034, 0.002364354],
            ),
            (
                r#"{"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
                    "original_max_position_embeddings": 16}"#,
                [1.0, 0.025, 0.0025, 0.00025],
            ),
            (
                r#"{"rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}"#,
                [1.0, 0.02546479, 0.0025, 0.00025],
            ),
            (
                r#"{"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 0}}"#,
                [1.0, 0.0625, 0.0025, 0.00025],
            ),
        ] {
            near(&rope(json).frequencies(1), &expected);
        }
    }

    #[test]
    fn ropes_of_kinds_have_bases_of_their_own() {
        let keys = r#"{"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_theta": 77.0,
            "rope_local_base_freq": 33.0}"#;
        let [full, sliding] =
            [Kind::Full, Kind::Sliding].map(|kind| Rope::of_kind(&config(keys), kind, 8).unwrap());
        near(&sliding.frequencies(1), &[1.0, 0.41722617, 0.17407766, 0.07262975]);
        assert_eq!((full.theta, full.frequencies(1)[0]), (77.0, 0.125));
        let nested = r#"{"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 500.0}},
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_theta": 77.0}"#;
        let full = Rope::of_kind(&config(nested), Kind::Full, 8).unwrap();
        assert_eq!((full.theta, full.frequencies(1)[0]), (500.0, 0.125));
        let flat = r#"{"rope_parameters": {"rope_type": "linear", "factor": 8.0}}"#;
        let error = Rope::of_kind(&config(flat), Kind::Full, 8).unwrap_err().to_string();
        assert!(error.contains("expected full_attention and sliding_attention"), "{error}");
    }

    #[test]
    fn what_the_family_cannot_do_is_refused() {
        for (json, expected) in [
            (r#"{"rope_parameters": {"partial_rotary_factor": 0.5}}"#, "the family turns whole heads"),
            (r#"{"rope_parameters": {"full_attention": {}}}"#, "one rope for all layers"),
            (r#"{"rope_scaling": {"type": "proportional"}}"#, "a rope_type of default"),
            (
                r#"{"model_type": "phi3", "rope_scaling": {"type": "linear", "factor": 2}}"#,
                "a rope_type of default or longrope",
            ),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_divides_slow_ones() {
        let kept = llama3(1.0, 8.0, 1.0, 4.0, 64.0);
        let slow = llama3(0.01, 8.0, 1.0, 4.0, 64.0);
        assert_eq!((kept, slow), (1.0, 0.01 / 8.0));
        let between = llama3(0.25, 8.0, 1.0, 4.0, 64.0);
        assert!(between > 0.25 / 8.0 && between < 0.25);
    }

    #[test]
    fn a_dynamic_base_grows_only_beyond_the_trained_length() {
        let rope = rope(
            r#"{"max_position_embeddings": 64, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}"#,
        );
        let plain = Rope::plain(8, 10_000.0, 64);
        assert_eq!(rope.frequencies(64), plain.frequencies(64));
        assert!(rope.frequencies(128)[3] < plain.frequencies(128)[3]);
    }
}
