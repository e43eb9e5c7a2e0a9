//! An architecture's keys as the config.json that Transformers would have.

use super::architectures::{Architecture, FACTORS, FACTORS_LONG, FACTORS_SHORT};
use super::dtype;
use super::keys::Keys;
use crate::error::{Error, Result};
use crate::model::gguf::{Gguf, Value as Meta};
use serde_json::{Map, Value, json};

/// The configuration of the model in a file.
pub(super) fn of(architecture: &Architecture, keys: &Keys, gguf: &Gguf) -> Result<Map<String, Value>> {
    let reading = Reading { keys, gguf };
    let mut config = match architecture.name {
        "bert" => reading.bert()?,
        "gpt2" => reading.gpt2()?,
        "gptneox" => reading.gpt_neox()?,
        "gemma" => reading.gemma()?,
        "gemma2" => reading.gemma2()?,
        "gemma3" => reading.gemma3()?,
        "phi3" => reading.phi3()?,
        "smollm3" => reading.smollm3()?,
        _ => reading.llama()?,
    };
    config.insert("model_type".into(), architecture.family.into());
    config.insert("vocab_size".into(), reading.vocab_size()?.into());
    reading.check_attention(architecture.name == "bert")?;
    Ok(config)
}

struct Reading<'a> {
    keys: &'a Keys<'a>,
    gguf: &'a Gguf,
}

type Keyed = Map<String, Value>;

fn object(value: Value) -> Keyed {
    match value {
        Value::Object(keys) => keys,
        _ => Keyed::new(),
    }
}

impl Reading<'_> {
    /// Rows of the word embeddings, which the key must agree with.
    fn vocab_size(&self) -> Result<usize> {
        let rows = self.rows("token_embd.weight")?;
        self.keys.agree("vocab_size", rows as u32, "the rows of token_embd.weight")?;
        Ok(rows)
    }

    /// Rows of a table that must be there.
    fn rows(&self, name: &str) -> Result<usize> {
        let rows = self.gguf.get(name).and_then(|view| view.shape.first().copied());
        rows.ok_or_else(|| Error::malformed(self.gguf.file(), name, "a table", "none"))
    }

    fn has(&self, name: &str) -> bool {
        self.gguf.get(name).is_some()
    }

    /// Every model here sees earlier tokens alone, but BERT, which sees all; texts are judged by their last or first token.
    fn check_attention(&self, both_ways: bool) -> Result<()> {
        if let Some(causal) = self.keys.optional_bool("attention.causal")?
            && causal == both_ways
        {
            return Err(self.keys.fault("attention.causal", format!("{}", !both_ways), causal));
        }
        // llama.cpp's numbers: none, mean, first token, last token, rank.
        let fine: &[u32] = if both_ways { &[0, 1, 2, 4] } else { &[0, 3] };
        let pooling = self.keys.optional_number("pooling_type")?.unwrap_or(0);
        if !fine.contains(&pooling) {
            let expected = format!(
                "one of {fine:?}: a text is judged by its {} token",
                if both_ways { "first" } else { "last" }
            );
            return Err(self.keys.fault("pooling_type", expected, pooling));
        }
        Ok(())
    }

    /// What Llama's house has in common.
    fn llama(&self) -> Result<Keyed> {
        let keys = self.keys;
        let head_dim = keys.head_dim()?;
        keys.agree("rope.dimension_count", head_dim, "the width of a head, all of which turns")?;
        Ok(object(json!({
            "hidden_size": keys.number("embedding_length")?,
            "num_hidden_layers": keys.number("block_count")?,
            "intermediate_size": keys.number("feed_forward_length")?,
            "num_attention_heads": keys.number("attention.head_count")?,
            "num_key_value_heads": keys.key_heads()?,
            "head_dim": head_dim,
            "max_position_embeddings": keys.number("context_length")?,
            "rms_norm_eps": keys.f32("attention.layer_norm_rms_epsilon")?,
            "attention_bias": self.has("blk.0.attn_q.bias"),
            "mlp_bias": self.has("blk.0.ffn_up.bias"),
            "tie_word_embeddings": !self.has("output.weight"),
            "rope_parameters": self.rope()?,
        })))
    }

    /// Every fourth block is without rotary positions.
    fn smollm3(&self) -> Result<Keyed> {
        let mut config = self.llama()?;
        config.insert("no_rope_layer_interval".into(), 4.into());
        Ok(config)
    }

    fn gemma(&self) -> Result<Keyed> {
        let mut config = self.llama()?;
        config.insert("hidden_activation".into(), "gelu_pytorch_tanh".into());
        Ok(config)
    }

    fn gemma2(&self) -> Result<Keyed> {
        let mut config = self.gemma()?;
        let window = self.keys.optional_number("attention.sliding_window")?.unwrap_or(4096);
        let cap = |name: &str, usual: f32| -> Result<Value> {
            let cap = self.keys.optional_f32(name)?.unwrap_or(usual);
            Ok(if cap == 0.0 { Value::Null } else { cap.into() })
        };
        // llama.cpp knows the largest of the three by its blocks.
        config.extend(object(json!({
            "sliding_window": window,
            "layer_types": self.layer_types(window > 0, 2, |layer| layer % 2 == 0)?,
            "attn_logit_softcapping": cap("attn_logit_softcapping", 50.0)?,
            "final_logit_softcapping": cap("final_logit_softcapping", 30.0)?,
            "query_pre_attn_scalar": self.query_scalar(46)?,
        })));
        if window == 0 {
            config.remove("sliding_window");
        }
        Ok(config)
    }

    fn gemma3(&self) -> Result<Keyed> {
        let mut config = self.gemma()?;
        let window = self.keys.optional_number("attention.sliding_window")?.unwrap_or(0);
        let cap = self.keys.optional_f32("final_logit_softcapping")?.filter(|cap| *cap != 0.0);
        let local = self.keys.optional_f32("rope.freq_base_swa")?.unwrap_or(10_000.0);
        let global = self.rope()?;
        config.extend(object(json!({
            "layer_types": self.layer_types(window > 0, 6, |layer| layer % 6 < 5)?,
            "final_logit_softcapping": cap,
            "query_pre_attn_scalar": self.query_scalar(62)?,
            "rope_parameters": {"full_attention": global,
                                "sliding_attention": {"rope_type": "default", "rope_theta": local}},
        })));
        if window > 0 {
            config.insert("sliding_window".into(), window.into());
        }
        Ok(config)
    }

    /// The width by whose root the scores of Gemma 2 and 3 are divided: that of a head, but in the model of so many blocks.
    fn query_scalar(&self, largest: u32) -> Result<u32> {
        let (hidden, heads) =
            (self.keys.number("embedding_length")?, self.keys.number("attention.head_count")?);
        let blocks = self.keys.number("block_count")?;
        if blocks == largest { Ok(hidden / heads.max(1)) } else { self.keys.head_dim() }
    }

    /// The kind of each block: by the file's pattern, or `usual`, one block in so many being without a window.
    fn layer_types(
        &self,
        windows: bool,
        period: u32,
        usual: impl Fn(u32) -> bool,
    ) -> Result<Vec<&'static str>> {
        let blocks = self.keys.number("block_count")?;
        let key = self.keys.key("attention.sliding_window_pattern");
        let wrong = |found: String| {
            let expected = format!(
                "the number of blocks after which the pattern repeats (usually {period}), or a truth value for each of {blocks} blocks"
            );
            self.keys.metadata.fault(&key, expected, found)
        };
        let kinds: Vec<bool> = match self.keys.metadata.get(&key) {
            None => (0..blocks).map(usual).collect(),
            Some(Meta::Array(array)) => {
                let kinds = array.truths().filter(|kinds| kinds.len() == blocks as usize);
                kinds.ok_or_else(|| wrong(Meta::Array(array.clone()).to_string()))?
            }
            Some(_) => match self.keys.metadata.u32(&key)? {
                // llama.cpp: every block with a window.
                0 => vec![true; blocks as usize],
                period => (0..blocks).map(|layer| layer % period < period - 1).collect(),
            },
        };
        let name = |sliding: bool| if sliding && windows { "sliding_attention" } else { "full_attention" };
        Ok(kinds.into_iter().map(name).collect())
    }

    /// The keys of the rotary positions, but of how much of a head turns.
    fn rope(&self) -> Result<Value> {
        let keys = self.keys;
        let base = keys.optional_f32("rope.freq_base")?.unwrap_or(10_000.0);
        let kind = keys.optional_text("rope.scaling.type")?;
        let factor = match keys.optional_f32("rope.scaling.factor")? {
            None => keys.optional_f32("rope.scale_linear")?.filter(|factor| *factor != 0.0),
            stated => stated.filter(|factor| *factor != 0.0),
        };
        if let Some(factors) = self.divisors(FACTORS) {
            if let Some(kind) = kind.filter(|kind| *kind != "none") {
                let expected = format!("none beside the tensor {FACTORS}");
                return Err(keys.fault("rope.scaling.type", expected, format!("{kind:?}")));
            }
            // Each frequency has a divisor of its own, whatever the length.
            return Ok(json!({"rope_theta": base, "rope_type": "longrope", "factor": 1.0,
                             "short_factor": factors, "long_factor": factors}));
        }
        match (kind, factor) {
            (Some("none"), _) | (None | Some("linear"), None) => {
                Ok(json!({"rope_theta": base, "rope_type": "default"}))
            }
            // Where there is a factor and no kind, llama.cpp takes the linear one.
            (None | Some("linear"), Some(factor)) => {
                Ok(json!({"rope_theta": base, "rope_type": "linear", "factor": factor}))
            }
            (Some("yarn"), Some(factor)) => self.yarn(base, factor),
            (Some(kind), _) => {
                let expected = "none, linear, yarn with a factor, or the longrope of phi3";
                Err(keys.fault("rope.scaling.type", expected, format!("{kind:?}")))
            }
        }
    }

    fn yarn(&self, base: f32, factor: f32) -> Result<Value> {
        let keys = self.keys;
        for (name, usual) in [
            ("rope.scaling.yarn_ext_factor", 1.0),
            ("rope.scaling.yarn_attn_factor", 1.0),
            ("rope.scaling.attn_factor", 1.0),
            ("rope.scaling.yarn_log_multiplier", 0.0),
        ] {
            if let Some(stated) = keys.optional_f32(name)?.filter(|stated| *stated != usual) {
                return Err(keys.fault(name, format!("{usual}"), stated));
            }
        }
        let mut rope = object(json!({"rope_theta": base, "rope_type": "yarn", "factor": factor,
            "original_max_position_embeddings": keys.optional_number("rope.scaling.original_context_length")?}));
        for (theirs, ours) in
            [("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow")]
        {
            rope.extend(keys.optional_f32(theirs)?.map(|stated| (ours.to_owned(), stated.into())));
        }
        Ok(Value::Object(rope))
    }

    fn divisors(&self, name: &str) -> Option<Vec<f32>> {
        let view = self.gguf.get(name)?;
        Some(dtype(view.dtype).to_f32(view.bytes()))
    }

    fn phi3(&self) -> Result<Keyed> {
        let keys = self.keys;
        let head_dim = keys.head_dim()?;
        let window = keys.optional_number("attention.sliding_window")?.filter(|window| *window > 0);
        let original = keys.optional_number("rope.scaling.original_context_length")?;
        let mut rope = match (self.divisors(FACTORS_SHORT), self.divisors(FACTORS_LONG)) {
            (Some(short), Some(long)) => {
                let base = keys.optional_f32("rope.freq_base")?.unwrap_or(10_000.0);
                if let Some(kind) = keys
                    .optional_text("rope.scaling.type")?
                    .filter(|kind| !["longrope", "su", "none"].contains(kind))
                {
                    return Err(keys.fault(
                        "rope.scaling.type",
                        format!("longrope, for there is {FACTORS_LONG}"),
                        kind,
                    ));
                }
                object(json!({"rope_theta": base, "rope_type": "longrope", "short_factor": short,
                    "long_factor": long, "attention_factor": keys.optional_f32("rope.scaling.attn_factor")?}))
            }
            (None, None) => object(self.rope()?),
            _ => {
                let expected = format!("{FACTORS_SHORT} and {FACTORS_LONG}, or neither");
                return Err(Error::malformed(self.gguf.file(), "tensors", expected, "one of both"));
            }
        };
        rope.insert("partial_rotary_factor".into(), self.rotary_share(head_dim)?.into());
        Ok(object(json!({
            "hidden_size": keys.number("embedding_length")?,
            "num_hidden_layers": keys.number("block_count")?,
            "intermediate_size": keys.number("feed_forward_length")?,
            "num_attention_heads": keys.number("attention.head_count")?,
            "num_key_value_heads": keys.key_heads()?,
            "head_dim": head_dim,
            "max_position_embeddings": keys.number("context_length")?,
            "original_max_position_embeddings": original,
            "rms_norm_eps": keys.f32("attention.layer_norm_rms_epsilon")?,
            "sliding_window": window,
            "tie_word_embeddings": !self.has("output.weight"),
            "rope_parameters": rope,
        })))
    }

    /// The part of a head that turns; all where nothing is said.
    fn rotary_share(&self, head_dim: u32) -> Result<f64> {
        let rotated = self.keys.optional_number("rope.dimension_count")?.unwrap_or(head_dim);
        if rotated == 0 || rotated > head_dim || rotated % 2 == 1 {
            let expected = format!("an even number up to {head_dim}, the width of a head");
            return Err(self.keys.fault("rope.dimension_count", expected, rotated));
        }
        Ok(f64::from(rotated) / f64::from(head_dim))
    }

    /// As many key heads as heads, each of an equal share of the width.
    fn check_plain_heads(&self) -> Result<()> {
        let keys = self.keys;
        let (hidden, heads) = (keys.number("embedding_length")?, keys.number("attention.head_count")?);
        keys.agree("attention.head_count_kv", heads, "as attention.head_count")?;
        let width = keys.head_dim()?;
        if width.checked_mul(heads) != Some(hidden) {
            let expected = format!("embedding_length {hidden} by attention.head_count {heads}");
            return Err(keys.fault("attention.key_length", expected, width));
        }
        Ok(())
    }

    fn gpt2(&self) -> Result<Keyed> {
        let keys = self.keys;
        self.check_plain_heads()?;
        let positions = keys.number("context_length")?;
        let rows = self.rows("position_embd.weight")?;
        if rows != positions as usize {
            return Err(keys.fault(
                "context_length",
                format!("{rows}, the rows of position_embd.weight"),
                positions,
            ));
        }
        Ok(object(json!({
            "n_embd": keys.number("embedding_length")?,
            "n_layer": keys.number("block_count")?,
            "n_inner": keys.number("feed_forward_length")?,
            "n_head": keys.number("attention.head_count")?,
            "n_positions": positions,
            "layer_norm_epsilon": keys.f32("attention.layer_norm_epsilon")?,
            "activation_function": "gelu_new",
            "tie_word_embeddings": !self.has("output.weight"),
        })))
    }

    fn gpt_neox(&self) -> Result<Keyed> {
        let keys = self.keys;
        let head_dim = keys.head_dim()?;
        self.check_plain_heads()?;
        let mut rope = object(self.rope()?);
        rope.insert("partial_rotary_factor".into(), self.rotary_share(head_dim)?.into());
        Ok(object(json!({
            "hidden_size": keys.number("embedding_length")?,
            "num_hidden_layers": keys.number("block_count")?,
            "intermediate_size": keys.number("feed_forward_length")?,
            "num_attention_heads": keys.number("attention.head_count")?,
            "max_position_embeddings": keys.number("context_length")?,
            "layer_norm_eps": keys.f32("attention.layer_norm_epsilon")?,
            "use_parallel_residual": keys.optional_bool("use_parallel_residual")?.unwrap_or(true),
            "attention_bias": self.has("blk.0.attn_qkv.bias"),
            "hidden_act": "gelu",
            "tie_word_embeddings": !self.has("output.weight"),
            "rope_parameters": rope,
        })))
    }

    fn bert(&self) -> Result<Keyed> {
        let keys = self.keys;
        // The file states it; the table of positions is what decides.
        keys.key("context_length");
        self.check_plain_heads()?;
        Ok(object(json!({
            "type_vocab_size": self.rows("token_types.weight")?,
            "max_position_embeddings": self.rows("position_embd.weight")?,
            "hidden_size": keys.number("embedding_length")?,
            "num_hidden_layers": keys.number("block_count")?,
            "intermediate_size": keys.number("feed_forward_length")?,
            "num_attention_heads": keys.number("attention.head_count")?,
            "layer_norm_eps": keys.f32("attention.layer_norm_epsilon")?,
        })))
    }
}
