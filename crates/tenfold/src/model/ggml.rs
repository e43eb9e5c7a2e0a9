//! GGUF files as checkpoints: ggml's keys and names in Hugging Face's words.
//!
//! Llama, Qwen 2 and 3 and BERT. Weights stay the blocks that they are in the file; only the rows of Llama's queries and
//! keys are put back into the order that Hugging Face has them in, which moves whole rows.

use super::checkpoint::{Checkpoint, Dtype, View};
use super::config::Config;
use super::gguf::{GgmlType, Gguf, Metadata};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The configuration and the weights of a file.
pub(super) fn open(gguf: &Gguf) -> Result<(Config, Checkpoint)> {
    let metadata = gguf.metadata();
    let architecture = metadata.string("general.architecture")?;
    let keys = Keys { metadata, architecture };
    let names = names(architecture)
        .ok_or_else(|| metadata.fault("general.architecture", "llama, qwen2, qwen3 or bert", architecture))?;
    let config = if architecture == "bert" { keys.bert(gguf)? } else { keys.decoder(gguf)? };
    let heads = [keys.number("attention.head_count")?, keys.heads("attention.head_count_kv")?];
    let mut views = BTreeMap::new();
    for name in gguf.names().filter(|name| *name != FACTORS) {
        let (Some(ours), Some(view)) = (our_name(names, name), gguf.get(name)) else {
            let expected = format!("a tensor that {architecture} is known to have");
            return Err(Error::malformed(gguf.file(), name, expected, "another"));
        };
        let view = View::mapped(dtype(view.dtype), view.shape, view.map, view.range);
        let view = match turned(architecture, name, heads.map(|heads| heads as usize)) {
            Some(heads) => reordered(&view, heads, Order::Halves).ok_or_else(|| {
                let expected = format!("rows of {heads} heads of an even width");
                Error::malformed(gguf.file(), name, expected, format!("shape {:?}", view.shape))
            })?,
            None => view,
        };
        views.insert(ours, view);
    }
    Ok((Config::new(gguf.file(), config), Checkpoint::of(gguf.file(), views)))
}

/// ggml's names of an architecture's modules and ours, if it is known.
fn names(architecture: &str) -> Option<&'static [(&'static str, &'static str)]> {
    match architecture {
        "llama" | "qwen2" | "qwen3" => Some(DECODER),
        "bert" => Some(BERT),
        _ => None,
    }
}

/// The names of all tensors that a model of so many blocks could have, ggml's and ours.
pub(super) fn tensors(architecture: &str, blocks: usize) -> impl Iterator<Item = (String, String)> {
    let modules = names(architecture).unwrap_or_default().iter();
    let numbered = modules.flat_map(move |(theirs, ours)| {
        let of_block = ours.contains('#');
        (0..if of_block { blocks } else { 1 }).map(move |number| match of_block {
            true => (format!("blk.{number}.{theirs}"), ours.replace('#', &number.to_string())),
            false => (theirs.to_string(), ours.to_string()),
        })
    });
    numbered.flat_map(|(theirs, ours)| {
        ["weight", "bias"].map(|part| (format!("{theirs}.{part}"), format!("{ours}.{part}")))
    })
}

/// Names of a decoder's tensors; those of a block without its number.
const DECODER: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "model.layers.#.input_layernorm"),
    ("attn_q", "model.layers.#.self_attn.q_proj"),
    ("attn_k", "model.layers.#.self_attn.k_proj"),
    ("attn_v", "model.layers.#.self_attn.v_proj"),
    ("attn_output", "model.layers.#.self_attn.o_proj"),
    ("attn_q_norm", "model.layers.#.self_attn.q_norm"),
    ("attn_k_norm", "model.layers.#.self_attn.k_norm"),
    ("ffn_norm", "model.layers.#.post_attention_layernorm"),
    ("ffn_gate", "model.layers.#.mlp.gate_proj"),
    ("ffn_up", "model.layers.#.mlp.up_proj"),
    ("ffn_down", "model.layers.#.mlp.down_proj"),
];

/// Names of BERT's tensors.
const BERT: &[(&str, &str)] = &[
    ("token_embd", "bert.embeddings.word_embeddings"),
    ("position_embd", "bert.embeddings.position_embeddings"),
    ("token_types", "bert.embeddings.token_type_embeddings"),
    ("token_embd_norm", "bert.embeddings.LayerNorm"),
    ("attn_q", "bert.encoder.layer.#.attention.self.query"),
    ("attn_k", "bert.encoder.layer.#.attention.self.key"),
    ("attn_v", "bert.encoder.layer.#.attention.self.value"),
    ("attn_output", "bert.encoder.layer.#.attention.output.dense"),
    ("attn_output_norm", "bert.encoder.layer.#.attention.output.LayerNorm"),
    ("ffn_up", "bert.encoder.layer.#.intermediate.dense"),
    ("ffn_down", "bert.encoder.layer.#.output.dense"),
    ("layer_output_norm", "bert.encoder.layer.#.output.LayerNorm"),
    ("cls", "bert.pooler.dense"),
    ("cls.output", "classifier"),
];

/// Divisors of the rotary frequencies, a tensor and not a key.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight".
fn our_name(names: &[(&str, &str)], theirs: &str) -> Option<String> {
    let (module, part) = theirs.rsplit_once('.')?;
    let block = module.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let (number, module) = block.map_or((None, module), |(number, module)| (Some(number), module));
    let (_, ours) =
        names.iter().find(|(name, ours)| *name == module && ours.contains('#') == number.is_some())?;
    Some(format!("{}.{part}", ours.replace('#', number.unwrap_or_default())))
}

/// "blk.3.attn_q.weight" -> "attn_q".
fn kind(name: &str) -> &str {
    name.split('.')
        .nth(2)
        .filter(|_| name.ends_with(".weight") || name.ends_with(".bias"))
        .unwrap_or_default()
}

/// ggml's format as a checkpoint's.
pub(super) fn dtype(theirs: GgmlType) -> Dtype {
    use tenfold_tensor::Dtype as Format;
    match theirs {
        GgmlType::F32 => Dtype::F32,
        GgmlType::F16 => Dtype::F16,
        GgmlType::BF16 => Dtype::BF16,
        GgmlType::Q8_0 => Dtype::Blocks(Format::Q8_0),
        GgmlType::Q4_0 => Dtype::Blocks(Format::Q4_0),
        GgmlType::Q4_1 => Dtype::Blocks(Format::Q4_1),
        GgmlType::Q4_K => Dtype::Blocks(Format::Q4K),
        GgmlType::Q6_K => Dtype::Blocks(Format::Q6K),
    }
}

/// Which numbers of a head turn together, and so the order of the rows of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// One of the first half with one of the second: all firsts, then all seconds. Hugging Face's.
    Halves,
    /// Neighbours: first, second, first, second … What llama.cpp has in its architecture "llama".
    Neighbours,
}

/// How many heads the rows of a tensor belong to, if llama.cpp has them in another order; `heads` are those of queries
/// and of keys.
pub(super) fn turned(architecture: &str, name: &str, heads: [usize; 2]) -> Option<usize> {
    match (architecture, kind(name)) {
        ("llama", "attn_q") => Some(heads[0]),
        ("llama", "attn_k") => Some(heads[1]),
        _ => None,
    }
}

/// The tensor with its rows brought into an order from the other one; `None` if they are not so many heads of an even
/// width.
pub(super) fn reordered(view: &View, heads: usize, order: Order) -> Option<View> {
    let rows = *view.shape.first()?;
    let head = rows.checked_div(heads).filter(|head| head * heads == rows && head.is_multiple_of(2))?;
    let view = if view.is_cuttable() { view.clone() } else { view.widened() };
    let whole = view.bytes();
    let row = whole.len().checked_div(rows)?;
    let from = |place: usize| {
        let (first, within) = (place / head * head, place % head);
        match order {
            Order::Halves => first + 2 * (within % (head / 2)) + within / (head / 2),
            Order::Neighbours => first + within % 2 * (head / 2) + within / 2,
        }
    };
    let bytes = (0..rows).flat_map(|place| &whole[from(place) * row..][..row]).copied().collect();
    Some(view.with_bytes(bytes))
}

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn number(&self, name: &str) -> Result<u32> {
        self.metadata.u32(&self.key(name))
    }

    fn optional_number(&self, name: &str) -> Result<Option<u32>> {
        self.metadata.optional(&self.key(name), Metadata::u32)
    }

    /// Key heads; as many as heads where nothing is said.
    fn heads(&self, name: &str) -> Result<u32> {
        match self.optional_number(name)? {
            Some(heads) => Ok(heads),
            None => self.number("attention.head_count"),
        }
    }

    fn decoder(&self, gguf: &Gguf) -> Result<Map<String, Value>> {
        let mut config = Map::new();
        let mut put = |key: &str, value: Value| config.insert(key.to_owned(), value);
        put("model_type", self.architecture.into());
        put("vocab_size", self.rows(gguf, "token_embd.weight")?.into());
        for (key, name) in [
            ("hidden_size", "embedding_length"),
            ("num_hidden_layers", "block_count"),
            ("intermediate_size", "feed_forward_length"),
            ("num_attention_heads", "attention.head_count"),
            ("max_position_embeddings", "context_length"),
        ] {
            put(key, self.number(name)?.into());
        }
        put("num_key_value_heads", self.heads("attention.head_count_kv")?.into());
        if let Some(head_dim) = self.optional_number("attention.key_length")? {
            put("head_dim", head_dim.into());
        }
        put("rms_norm_eps", self.metadata.f32(&self.key("attention.layer_norm_rms_epsilon"))?.into());
        put("attention_bias", gguf.get("blk.0.attn_q.bias").is_some().into());
        put("mlp_bias", gguf.get("blk.0.ffn_up.bias").is_some().into());
        put("tie_word_embeddings", gguf.get("output.weight").is_none().into());
        put("rope_parameters", self.rope(gguf)?);
        Ok(config)
    }

    fn rope(&self, gguf: &Gguf) -> Result<Value> {
        let base = self.metadata.optional(&self.key("rope.freq_base"), Metadata::f32)?.unwrap_or(10_000.0);
        if let Some(factors) = gguf.get(FACTORS) {
            // Each frequency has a divisor of its own, whatever the length.
            let factors = dtype(factors.dtype).to_f32(factors.bytes());
            return Ok(json!({"rope_theta": base, "rope_type": "longrope", "factor": 1.0,
                             "short_factor": factors, "long_factor": factors}));
        }
        let kind = self.metadata.optional(&self.key("rope.scaling.type"), Metadata::string)?;
        let factor = self.metadata.optional(&self.key("rope.scaling.factor"), Metadata::f32)?;
        let original = self.optional_number("rope.scaling.original_context_length")?;
        Ok(match (kind.unwrap_or("none"), factor) {
            ("none", _) | (_, None) => json!({"rope_theta": base, "rope_type": "default"}),
            (kind, Some(factor)) => json!({"rope_theta": base, "rope_type": kind, "factor": factor,
                                           "original_max_position_embeddings": original}),
        })
    }

    fn bert(&self, gguf: &Gguf) -> Result<Map<String, Value>> {
        let eps = self.metadata.f32(&self.key("attention.layer_norm_epsilon"))?;
        let config = json!({
            "model_type": "bert",
            "vocab_size": self.rows(gguf, "token_embd.weight")?,
            "type_vocab_size": self.rows(gguf, "token_types.weight")?,
            "max_position_embeddings": self.rows(gguf, "position_embd.weight")?,
            "hidden_size": self.number("embedding_length")?,
            "num_hidden_layers": self.number("block_count")?,
            "intermediate_size": self.number("feed_forward_length")?,
            "num_attention_heads": self.number("attention.head_count")?,
            "layer_norm_eps": eps,
        });
        match config {
            Value::Object(config) => Ok(config),
            _ => unreachable!("it was just made"),
        }
    }

    /// Rows of a table that must be there.
    fn rows(&self, gguf: &Gguf, name: &str) -> Result<usize> {
        let rows = gguf.get(name).and_then(|view| view.shape.first().copied());
        rows.ok_or_else(|| Error::malformed(gguf.file(), name, "a table", "none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_with_their_block() {
        assert_eq!(
            our_name(DECODER, "blk.12.attn_q.weight").as_deref(),
            Some("model.layers.12.self_attn.q_proj.weight")
        );
        assert_eq!(our_name(DECODER, "output.weight").as_deref(), Some("lm_head.weight"));
        assert_eq!(our_name(BERT, "token_embd_norm.bias").as_deref(), Some("bert.embeddings.LayerNorm.bias"));
        assert_eq!(our_name(DECODER, "attn_q.weight"), None, "a block's tensor without its block");
        assert_eq!(our_name(DECODER, "blk.0.ssm_in.weight"), None);
        for architecture in ["llama", "bert"] {
            let all: Vec<_> = tensors(architecture, 2).collect();
            assert!(all.iter().any(|(theirs, _)| theirs == "blk.1.ffn_up.bias"));
            let names = names(architecture).unwrap();
            assert!(all.iter().all(|(theirs, ours)| our_name(names, theirs).as_ref() == Some(ours)));
        }
    }

    #[test]
    fn rows_of_two_heads_go_into_halves_and_back() {
        let view =
            View::mapped(Dtype::U8, vec![8, 1], empty(), 0..0).with_bytes(vec![0, 2, 1, 3, 4, 6, 5, 7]);
        let halves = reordered(&view, 2, Order::Halves).unwrap();
        assert_eq!(*halves.bytes(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(reordered(&halves, 2, Order::Neighbours).unwrap().bytes(), view.bytes());
        assert!(reordered(&view, 3, Order::Halves).is_none());
    }

    fn empty() -> std::sync::Arc<memmap2::Mmap> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1).unwrap();
        // SAFETY: nobody else knows the file.
        std::sync::Arc::new(unsafe { memmap2::Mmap::map(&file).unwrap() })
    }
}
