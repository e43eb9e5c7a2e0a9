//! Keys of config.json that would change what a model computes and that no family here follows.
//!
//! Whatever Transformers (5.24, each family's modeling file) reads of a configuration is either read where the family's
//! plan is made, or stands here and must have a value that changes nothing. Keys of other architectures stand here too:
//! Transformers passes over them, but a file that has them describes another model than its `model_type` says. All other
//! keys change nothing in Transformers, and change nothing here.

use super::Config;
use crate::error::Result;
use serde_json::{Map, Value};

const ENCODERS: &[&str] = &["bert", "roberta", "distilbert", "mpnet"];
const ENCODERS_AND_T5: &[&str] = &["bert", "roberta", "distilbert", "mpnet", "t5"];
const SOFT_CAPPED: &[&str] = &["gemma2", "gemma3_text"];
const PARTLY_ROTARY: &[&str] = &["phi3", "gpt_neox"];

/// The families that a rule is for.
enum Families {
    All,
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// The values of a key that change nothing, besides null.
enum Neutral {
    False,
    True,
    /// A factor of 1.
    One,
    /// A count of 0.
    Zero,
    /// An empty list or object.
    Empty,
    /// Null alone.
    Null,
}

const RULES: &[(&str, Families, Neutral)] = &[
    ("add_cross_attention", Families::All, Neutral::False),
    ("is_encoder_decoder", Families::AllBut(&["t5"]), Neutral::False),
    ("per_layer_config", Families::All, Neutral::Empty),
    ("pruned_heads", Families::All, Neutral::Empty),
    // An encoder that is a decoder masks what follows a token; a decoder that is not causal does not.
    ("is_decoder", Families::Only(ENCODERS), Neutral::False),
    ("is_causal", Families::AllBut(ENCODERS_AND_T5), Neutral::True),
    ("use_bidirectional_attention", Families::AllBut(ENCODERS_AND_T5), Neutral::False),
    ("token_classification_bias", Families::AllBut(ENCODERS_AND_T5), Neutral::True),
    // Of other architectures.
    ("partial_rotary_factor", Families::AllBut(PARTLY_ROTARY), Neutral::One),
    ("attn_logit_softcapping", Families::AllBut(SOFT_CAPPED), Neutral::Null),
    ("final_logit_softcapping", Families::AllBut(SOFT_CAPPED), Neutral::Null),
    ("query_pre_attn_scalar", Families::AllBut(SOFT_CAPPED), Neutral::Null),
    ("attention_multiplier", Families::All, Neutral::Null),
    ("embedding_multiplier", Families::All, Neutral::One),
    ("residual_multiplier", Families::All, Neutral::One),
    ("logits_scaling", Families::All, Neutral::One),
    ("logit_scale", Families::All, Neutral::One),
    ("lm_head_bias", Families::All, Neutral::False),
    ("use_qk_norm", Families::All, Neutral::False),
    ("qk_layernorm", Families::All, Neutral::False),
    ("clip_qkv", Families::All, Neutral::Null),
    ("alibi", Families::All, Neutral::False),
    ("attention_chunk_size", Families::All, Neutral::Null),
    ("kv_lora_rank", Families::All, Neutral::Null),
    ("num_experts", Families::All, Neutral::Zero),
    ("num_local_experts", Families::All, Neutral::Zero),
    ("n_routed_experts", Families::All, Neutral::Zero),
];

impl Families {
    fn contain(&self, family: &str) -> bool {
        match self {
            Families::All => true,
            Families::Only(families) => families.contains(&family),
            Families::AllBut(families) => !families.contains(&family),
        }
    }
}

impl Neutral {
    fn is(&self, value: &Value) -> bool {
        let empty = || match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(keys) => keys.is_empty(),
            _ => false,
        };
        match self {
            _ if value.is_null() => true,
            Neutral::False => *value == Value::Bool(false),
            Neutral::True => *value == Value::Bool(true),
            Neutral::One => value.as_f64() == Some(1.0),
            Neutral::Zero => value.as_f64() == Some(0.0),
            Neutral::Empty => empty(),
            Neutral::Null => false,
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Neutral::False => "false",
            Neutral::True => "true",
            Neutral::One => "1",
            Neutral::Zero => "0",
            Neutral::Empty => "nothing in it",
            Neutral::Null => "null",
        }
    }
}

/// Further names that Transformers takes for a family's keys (`attribute_map`), and the keys.
fn aliases(family: &str) -> &'static [(&'static str, &'static str)] {
    match family {
        "gpt2" => &[
            ("hidden_size", "n_embd"),
            ("max_position_embeddings", "n_positions"),
            ("num_attention_heads", "n_head"),
            ("num_hidden_layers", "n_layer"),
        ],
        "distilbert" => {
            &[("hidden_size", "dim"), ("num_attention_heads", "n_heads"), ("num_hidden_layers", "n_layers")]
        }
        "t5" => &[
            ("hidden_size", "d_model"),
            ("num_attention_heads", "num_heads"),
            ("num_hidden_layers", "num_layers"),
            ("head_dim", "d_kv"),
        ],
        _ => &[],
    }
}

impl Config {
    /// Refuses what would make another model of it than the family here is.
    pub fn check(&self, family: &str) -> Result<()> {
        for (key, families, neutral) in RULES {
            let value = self.keys().get(*key).filter(|value| !neutral.is(value));
            if let Some(value) = value.filter(|_| families.contain(family)) {
                let expected =
                    format!("{}, or none, for {family} is computed in no other way", neutral.words());
                return Err(self.fault(key, expected, value));
            }
        }
        self.quantization()
    }

    /// Refuses weights that are quantised in a way that cannot be read. They would not always look it: a part of these
    /// formats stores plain numbers that mean others.
    fn quantization(&self) -> Result<()> {
        let stated = ["quantization_config", "compression_config"].into_iter().find_map(|key| {
            let settings = self.keys().get(key)?.as_object().filter(|settings| !settings.is_empty())?;
            Some((key, settings))
        });
        let Some((key, settings)) = stated else { return Ok(()) };
        let stated = settings.get("quant_method").and_then(Value::as_str);
        let four_bit = settings.get("load_in_4bit").and_then(Value::as_bool) == Some(true);
        let method = match stated {
            Some(method) => method,
            None if four_bit => "bitsandbytes",
            None if key == "compression_config" => "compressed-tensors",
            None => "none of a known name",
        };
        if method == "bitsandbytes" {
            return Ok(());
        }
        Err(self.fault(
            &format!("{key}.quant_method"),
            "weights that are not quantised, or by bitsandbytes in 4 bits (nf4); take the model that this one was made \
             from (\"base_model\" in its model card): weights = \"nf4\" or \"q8_0\" quantises it while it is read",
            format!("\"{method}\""),
        ))
    }

    /// The same with each value under the name that the family reads it by.
    pub(super) fn with_own_names(mut self) -> Result<Config> {
        let Ok(family) = self.model_type() else { return Ok(self) };
        for (alias, key) in aliases(&family) {
            let Some(value) = self.keys().get(*alias).cloned() else { continue };
            match self.keys().get(*key) {
                Some(own) if *own != value => {
                    return Err(self.fault(alias, format!("{own}, as {key} is the same"), value));
                }
                _ => self.insert(key, value),
            }
        }
        Ok(self)
    }

    fn insert(&mut self, key: &str, value: Value) {
        let keys: &mut Map<String, Value> = &mut self.keys;
        keys.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn config(keys: Value) -> Config {
        Config::new(Path::new("config.json"), serde_json::from_value(keys).unwrap())
    }

    #[test]
    fn keys_that_nothing_here_follows_are_refused_unless_they_change_nothing() {
        for (family, key, neutral, other) in [
            ("bert", "is_decoder", json!(false), json!(true)),
            ("bert", "pruned_heads", json!({}), json!({"0": [1]})),
            ("roberta", "add_cross_attention", json!(null), json!(true)),
            ("llama", "is_causal", json!(true), json!(false)),
            ("gemma", "use_bidirectional_attention", json!(null), json!(true)),
            ("llama", "partial_rotary_factor", json!(1), json!(0.5)),
            ("llama", "embedding_multiplier", json!(1.0), json!(12.0)),
            ("qwen2", "num_experts", json!(0), json!(8)),
            ("qwen3", "final_logit_softcapping", json!(null), json!(30.0)),
            ("llama", "per_layer_config", json!({}), json!({"0": {"head_dim": 8}})),
            ("gpt2", "quantization_config", json!(null), json!({"quant_method": "gptq", "bits": 4})),
            ("llama", "quantization_config", json!({"load_in_4bit": true}), json!({"quant_method": "fp8"})),
            ("llama", "compression_config", json!({}), json!({"format": "pack-quantized"})),
        ] {
            config(json!({key: neutral})).check(family).unwrap();
            let error = config(json!({key: other})).check(family).unwrap_err().to_string();
            assert!(error.contains(&format!("config.json: {key}")) && error.contains(", found "), "{error}");
        }
        // What one family does not know is another's own.
        config(json!({"final_logit_softcapping": 30.0})).check("gemma2").unwrap();
        config(json!({"is_encoder_decoder": true})).check("t5").unwrap();
        assert!(config(json!({"is_encoder_decoder": true})).check("bert").is_err());
        let awq = config(json!({"quantization_config": {"quant_method": "awq"}})).check("qwen2");
        let error = awq.unwrap_err().to_string();
        assert!(error.contains("found \"awq\"") && error.contains("weights = \"nf4\""), "{error}");
    }

    #[test]
    fn further_names_of_keys_are_read_and_may_not_contradict() {
        let own = |keys| config(keys).with_own_names();
        let gpt2 = own(json!({"model_type": "gpt2", "hidden_size": 8, "n_layer": 2})).unwrap();
        assert_eq!((gpt2.extent("n_embd").unwrap(), gpt2.extent("n_layer").unwrap()), (8, 2));
        let error = own(json!({"model_type": "t5", "d_kv": 4, "head_dim": 8})).unwrap_err().to_string();
        assert!(error.contains("head_dim: expected 4, as d_kv is the same, found 8"), "{error}");
        own(json!({"model_type": "llama", "hidden_size": 8, "n_embd": 4})).unwrap();
    }
}
