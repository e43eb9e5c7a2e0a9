//! The architectures of GGUF files that are read, and the names of their tensors.

/// An architecture of ggml.
#[derive(Debug)]
pub(in crate::model) struct Architecture {
    /// ggml's name, which `general.architecture` states.
    pub name: &'static str,
    /// Hugging Face's `model_type`.
    pub family: &'static str,
    /// The class of Transformers that its files are for.
    pub class: &'static str,
    /// Modules by ggml's name and by Hugging Face's, `#` for the block's number.
    modules: &'static [(&'static str, &'static str)],
}

const ARCHITECTURES: [Architecture; 11] = [
    Architecture { name: "llama", family: "llama", class: "LlamaForCausalLM", modules: LLAMA },
    Architecture { name: "qwen2", family: "qwen2", class: "Qwen2ForCausalLM", modules: LLAMA },
    Architecture { name: "qwen3", family: "qwen3", class: "Qwen3ForCausalLM", modules: LLAMA },
    Architecture { name: "smollm3", family: "smollm3", class: "SmolLM3ForCausalLM", modules: LLAMA },
    Architecture { name: "gemma", family: "gemma", class: "GemmaForCausalLM", modules: LLAMA },
    Architecture { name: "gemma2", family: "gemma2", class: "Gemma2ForCausalLM", modules: GEMMA },
    Architecture { name: "gemma3", family: "gemma3_text", class: "Gemma3ForCausalLM", modules: GEMMA },
    Architecture { name: "phi3", family: "phi3", class: "Phi3ForCausalLM", modules: PHI3 },
    Architecture { name: "gpt2", family: "gpt2", class: "GPT2LMHeadModel", modules: GPT2 },
    Architecture { name: "gptneox", family: "gpt_neox", class: "GPTNeoXForCausalLM", modules: GPT_NEOX },
    Architecture { name: "bert", family: "bert", class: "BertModel", modules: BERT },
];

impl Architecture {
    /// The architecture of that name.
    pub fn named(name: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name)
    }

    /// The names of all, for messages.
    pub fn known() -> String {
        ARCHITECTURES.map(|architecture| architecture.name).join(", ")
    }

    /// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; none for other tensors than those of a model of
    /// so many blocks.
    pub fn our_name(&self, theirs: &str, blocks: usize) -> Option<String> {
        let (module, part) = theirs.rsplit_once('.')?;
        if !PARTS.contains(&part) {
            return None;
        }
        let block = module.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let (number, module) = block.map_or((None, module), |(number, module)| (Some(number), module));
        // A number has one spelling: "blk.01" would be a second tensor of block 1.
        let plain = |number: &str| number.parse().is_ok_and(|n: usize| n < blocks && n.to_string() == number);
        if number.is_some_and(|number| !plain(number)) {
            return None;
        }
        let known = |(name, ours): &&(&str, &str)| *name == module && ours.contains('#') == number.is_some();
        let (_, ours) = self.modules.iter().find(known)?;
        Some(format!("{}.{part}", ours.replace('#', number.unwrap_or_default())))
    }
}

const PARTS: [&str; 2] = ["weight", "bias"];

/// The names of all tensors that a model of so many blocks could have, ggml's and ours.
pub(in crate::model) fn tensors(
    architecture: &str,
    blocks: usize,
) -> impl Iterator<Item = (String, String)> + use<> {
    let modules = Architecture::named(architecture).map_or(&[][..], |architecture| architecture.modules);
    let numbered = modules.iter().flat_map(move |(theirs, ours)| {
        let of_block = ours.contains('#');
        (0..if of_block { blocks } else { 1 }).map(move |number| match of_block {
            true => (format!("blk.{number}.{theirs}"), ours.replace('#', &number.to_string())),
            false => (theirs.to_string(), ours.to_string()),
        })
    });
    numbered
        .flat_map(|(theirs, ours)| PARTS.map(|part| (format!("{theirs}.{part}"), format!("{ours}.{part}"))))
}

/// Divisors of the rotary frequencies: tensors that stand for a key.
pub(in crate::model) const FACTORS: &str = "rope_freqs.weight";
/// The same of Phi-3, for sequences that are longer than those of its first training …
pub(in crate::model) const FACTORS_LONG: &str = "rope_factors_long.weight";
/// … and for others.
pub(in crate::model) const FACTORS_SHORT: &str = "rope_factors_short.weight";

/// Whether a tensor holds divisors of rotary frequencies.
pub(super) fn is_divisors(name: &str) -> bool {
    [FACTORS, FACTORS_LONG, FACTORS_SHORT].contains(&name)
}

/// Llama's house, and Gemma 1.
const LLAMA: &[(&str, &str)] = &[
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

/// Gemma 2 and 3, whose norm behind the attention has the name that Llama has for the one before the feed-forward part.
const GEMMA: &[(&str, &str)] = &[
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
    ("post_attention_norm", "model.layers.#.post_attention_layernorm"),
    ("ffn_norm", "model.layers.#.pre_feedforward_layernorm"),
    ("ffn_gate", "model.layers.#.mlp.gate_proj"),
    ("ffn_up", "model.layers.#.mlp.up_proj"),
    ("ffn_down", "model.layers.#.mlp.down_proj"),
    ("post_ffw_norm", "model.layers.#.post_feedforward_layernorm"),
];

const PHI3: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "model.layers.#.input_layernorm"),
    ("attn_qkv", "model.layers.#.self_attn.qkv_proj"),
    ("attn_output", "model.layers.#.self_attn.o_proj"),
    ("ffn_norm", "model.layers.#.post_attention_layernorm"),
    ("ffn_up", "model.layers.#.mlp.gate_up_proj"),
    ("ffn_down", "model.layers.#.mlp.down_proj"),
];

const GPT2: &[(&str, &str)] = &[
    ("token_embd", "transformer.wte"),
    ("position_embd", "transformer.wpe"),
    ("output_norm", "transformer.ln_f"),
    ("output", "lm_head"),
    ("attn_norm", "transformer.h.#.ln_1"),
    ("attn_qkv", "transformer.h.#.attn.c_attn"),
    ("attn_output", "transformer.h.#.attn.c_proj"),
    ("ffn_norm", "transformer.h.#.ln_2"),
    ("ffn_up", "transformer.h.#.mlp.c_fc"),
    ("ffn_down", "transformer.h.#.mlp.c_proj"),
];

const GPT_NEOX: &[(&str, &str)] = &[
    ("token_embd", "gpt_neox.embed_in"),
    ("output_norm", "gpt_neox.final_layer_norm"),
    ("output", "embed_out"),
    ("attn_norm", "gpt_neox.layers.#.input_layernorm"),
    ("attn_qkv", "gpt_neox.layers.#.attention.query_key_value"),
    ("attn_output", "gpt_neox.layers.#.attention.dense"),
    ("ffn_norm", "gpt_neox.layers.#.post_attention_layernorm"),
    ("ffn_up", "gpt_neox.layers.#.mlp.dense_h_to_4h"),
    ("ffn_down", "gpt_neox.layers.#.mlp.dense_4h_to_h"),
];

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
