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

impl Rope {
    /// Reads `rope_parameters` (or `kind` below it, where kinds of layers differ), or the older `rope_theta` and
    /// `rope_scaling`. `theta` is the family's default, `share` that part of a head that turns.
    pub fn read(
        config: &Config,
        kind: Option<&str>,
        head_dim: usize,
        theta: f64,
        share: f64,
    ) -> Result<Rope> {
        let (key, keys) = match config.optional::<Map<String, Value>>("rope_parameters")? {
            Some(keys) => ("rope_parameters", keys),
            None => ("rope_scaling", config.optional("rope_scaling")?.unwrap_or_default()),
        };
        let keys = match kind.and_then(|kind| keys.get(kind)) {
            Some(Value::Object(own)) => own.clone(),
            _ => keys,
        };
        let keys = Keys { config, key, keys };
        let theta = keys.number("rope_theta")?.map_or_else(|| config.or("rope_theta", theta), Ok)?;
        let share = keys.number("partial_rotary_factor")?.unwrap_or(share);
        if !(theta > 1.0 && theta.is_finite() && share > 0.0 && share <= 1.0) {
            return Err(config.fault(
                key,
                "rope_theta above 1, a share of 0 to 1",
                format!("{theta}, {share}"),
            ));
        }
        let max_positions = config.extent("max_position_embeddings")?;
        let rotated = ((head_dim as f64 * share) as usize) / 2 * 2;
        if rotated == 0 {
            return Err(config.fault("partial_rotary_factor", "a pair of each head or more", share));
        }
        let stretch = keys.stretch(rotated, max_positions)?;
        Ok(Rope { rotated, theta, stretch, max_positions })
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
    key: &'static str,
    keys: Map<String, Value>,
}

impl Keys<'_> {
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
        let kind = self.keys.get("rope_type").or(self.keys.get("type"));
        let kind = kind.and_then(Value::as_str).unwrap_or("default");
        let original = || -> Result<f64> {
            let own = self.number("original_max_position_embeddings")?;
            let outer = self.config.optional_extent("original_max_position_embeddings")?;
            let outer = outer.map(|extent| extent as f64);
            // Phi-3's own key, beside the ropes, wins there.
            let phi3 = self.config.model_type()? == "phi3" && kind == "longrope";
            let stated = if phi3 { Some(outer.unwrap_or(4096.0)) } else { own.or(outer) };
            Ok(stated.unwrap_or(max_positions as f64))
        };
        match kind {
            "default" => Ok(Stretch::None),
            "linear" => Ok(Stretch::Linear { factor: self.positive("factor")? }),
            "dynamic" => Ok(Stretch::Dynamic { factor: self.positive("factor")? }),
            "llama3" => {
                let (low, high) = (self.positive("low_freq_factor")?, self.positive("high_freq_factor")?);
                let factor = self.positive("factor")?;
                let original = self.positive("original_max_position_embeddings")?;
                Ok(Stretch::Llama3 { factor, low, high, original })
            }
            "yarn" => {
                let factor = self.positive("factor")?;
                Ok(Stretch::Yarn {
                    factor,
                    original: original()?,
                    fast: self.number("beta_fast")?.unwrap_or(32.0),
                    slow: self.number("beta_slow")?.unwrap_or(1.0),
                    truncate: self.keys.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                    attention: self.yarn_attention(factor)?,
                })
            }
            "longrope" | "su" => {
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
                self.key,
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

    fn rope(json: &str) -> Rope {
        let keys = serde_json::from_str(json).unwrap();
        Rope::read(&Config::new(Path::new("config.json"), keys), None, 8, 10_000.0, 1.0).unwrap()
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
