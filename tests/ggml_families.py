"""Tiny GGUF files of the architectures that Tenfold reads, with logits by Transformers. Run by hand.

    python tests/ggml_families.py OUT [NAME ...]

Needs torch, transformers, safetensors and gguf (ggml's own package, which names the tensors and quantizes them). Writes
OUT/<name>.gguf and OUT/<name>.safetensors (input_ids, logits); the copies in crates/tenfold/tests/golden/gguf were written
with torch 2.15.0, transformers 5.24.0, gguf 0.19.0. Weights are random, norms and biases too, and are quantized before
Transformers computes with them, so that both sides have the same numbers. What differs from Hugging Face's files is done as
llama.cpp's convert_hf_to_gguf.py does it. Where Transformers reads the file's tensors itself (by the
model's own configuration, for it leaves out most keys), its logits are compared as well.
"""
import math, pathlib, re, sys, warnings
import gguf, numpy as np, torch, transformers as tf
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
VOCAB, ROWS, LENGTH = 96, 2, 24
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
COMMON = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=64, max_position_embeddings=64, **IDS)
GEMMA = dict(COMMON, head_dim=16, query_pre_attn_scalar=16, sliding_window=5)
rope = lambda base=10000.0, **keys: dict(rope_parameters=dict(rope_theta=base, rope_type="default") | keys)
LLAMA3 = rope(500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8)
YARN = rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
LONG = rope(rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.5, 2.0, 3.0, 5.0])
PARTIAL = rope(partial_rotary_factor=0.5)
TWO = lambda layers: dict(rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                                               full_attention=dict(rope_type="linear", rope_theta=1000000.0, factor=8.0)),
                          layer_types=["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)])
GPT2 = dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, **IDS)
NEOX = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2)

MODELS = {
    "llama": ("LLAMA", lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**COMMON, **LLAMA3, tie_word_embeddings=True))),
    "qwen2": ("QWEN2", lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**COMMON, **YARN, tie_word_embeddings=True))),
    "qwen3": ("QWEN3", lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**COMMON, **rope(1000000.0), head_dim=16))),
    "smollm3": ("SMOLLM3", lambda: tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**(COMMON | dict(num_hidden_layers=5)), **rope(5000000.0)))),
    "gemma": ("GEMMA", lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**COMMON, head_dim=16))),
    "gemma2": ("GEMMA2", lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**(GEMMA | dict(num_hidden_layers=3)), attn_logit_softcapping=2.0, final_logit_softcapping=3.0))),
    "gemma3": ("GEMMA3", lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**(GEMMA | dict(num_hidden_layers=7)), **TWO(7)))),
    "phi3": ("PHI3", lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**COMMON, **LONG, original_max_position_embeddings=16, sliding_window=9))),
    "phi3-partial": ("PHI3", lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**COMMON, **PARTIAL, tie_word_embeddings=True))),
    "gpt2": ("GPT2", lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2))),
    "gptneox": ("GPTNEOX", lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**NEOX, **rope(partial_rotary_factor=0.5)))),
    "gptneox-serial": ("GPTNEOX", lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**NEOX, **rope(partial_rotary_factor=0.25), use_parallel_residual=False))),
}
# A format for each matrix in turn, as the mixtures that are published have.
FORMATS = [Type.Q5_0, Type.Q8_0, Type.Q4_1, Type.Q5_1, Type.F16, Type.Q4_0]


def randomize(model):
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.dim() == 1:
            weight.data.add_(0.2 * noise)
        else:
            weight.data.copy_(noise * (0.4 if "embed" in name or "wte" in name else 1.5 / math.sqrt(weight.shape[-1])))


def layout(arch, name, weight, config):
    """A tensor as llama.cpp stores it, or as it is."""
    head_count = getattr(config, "num_attention_heads", 0)
    if arch in ("LLAMA", "SMOLLM3") and re.search(r"(q|k)_proj", name):
        heads = head_count if "q_proj" in name else config.num_key_value_heads
        return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    if arch == "GPTNEOX" and "query_key_value" in name:
        parts = weight.reshape(head_count, 3, weight.shape[0] // head_count // 3, *weight.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *weight.shape[1:]) for i in range(3)])
    if arch.startswith("GEMMA") and name.endswith("norm.weight"):
        return weight + 1
    if arch == "GPT2" and re.search(r"c_(attn|proj|fc)\.weight", name):
        return weight.T
    return weight


def unlayout(arch, name, weight, config):
    """The way back."""
    if arch in ("LLAMA", "SMOLLM3") and re.search(r"(q|k)_proj", name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    if arch == "GPTNEOX" and "query_key_value" in name:
        parts = weight.reshape(3, config.num_attention_heads, -1, *weight.shape[1:])
        return parts.swapaxes(0, 1).reshape(weight.shape)
    if arch == "GPT2" and re.search(r"c_(attn|proj|fc)\.weight", name):
        return weight.T
    return weight


def keys(writer, arch, config):
    blocks = config.num_hidden_layers
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(blocks)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(VOCAB)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if arch == "GPT2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    ropes = config.rope_parameters
    if arch == "GPTNEOX":
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_parallel_residual(config.use_parallel_residual)
        writer.add_rope_dimension_count(int(ropes["partial_rotary_factor"] * head_dim))
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if arch == "PHI3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_rope_dimension_count(int(ropes.get("partial_rotary_factor", 1.0) * head_dim))
        writer.add_rope_freq_base(ropes["rope_theta"])
        writer.add_sliding_window(config.sliding_window or 0)
        if ropes["rope_type"] == "longrope":
            scale = config.max_position_embeddings / config.original_max_position_embeddings
            writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(config.original_max_position_embeddings)))
            for kind in "long", "short":
                writer.add_tensor(f"rope_factors_{kind}.weight", np.array(ropes[f"{kind}_factor"], np.float32))
        return
    if arch.startswith("GEMMA"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if arch == "GEMMA2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch in ("GEMMA2", "GEMMA3"):
        writer.add_sliding_window(config.sliding_window)
    if arch == "GEMMA3":
        ropes = ropes["full_attention"]
    if arch not in ("GEMMA", "GEMMA2"):
        writer.add_rope_freq_base(ropes["rope_theta"])
    if arch in ("LLAMA", "SMOLLM3"):
        writer.add_rope_dimension_count(head_dim)
    if arch == "QWEN3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if ropes["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(ropes["factor"])
    if ropes["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(ropes["factor"])
        writer.add_rope_scaling_orig_ctx_len(ropes["original_max_position_embeddings"])
    if ropes["rope_type"] == "llama3":
        low, high = (ropes["original_max_position_embeddings"] / ropes[key] for key in ("low_freq_factor", "high_freq_factor"))
        divisors = []
        for frequency in 1.0 / (ropes["rope_theta"] ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)):
            length = 2 * math.pi / frequency
            if length < high:
                divisors.append(1)
            elif length > low:
                divisors.append(ropes["factor"])
            else:
                smooth = (ropes["original_max_position_embeddings"] / length - ropes["low_freq_factor"]) / (ropes["high_freq_factor"] - ropes["low_freq_factor"])
                divisors.append(1 / ((1 - smooth) / ropes["factor"] + smooth))
        writer.add_tensor("rope_freqs.weight", np.array(divisors, np.float32))


def tokenizer(writer):
    """The smallest vocabulary of SentencePiece's kind, filled up to the model's."""
    tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "\u2581a"]
    kinds = [2, 3, 3] + [1] * 4
    while len(tokens) < VOCAB:
        tokens.append(f"[PAD{len(tokens)}]")
        kinds.append(5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(VOCAB)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(0)


def write(name, folder):
    arch, build = MODELS[name]
    torch.manual_seed(0)
    model = build().eval().float()
    randomize(model)
    config, path = model.config, folder / f"{name}.gguf"
    number = gguf.MODEL_ARCH[arch]
    writer = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[number])
    keys(writer, arch, config)
    tokenizer(writer)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    tied = config.tie_word_embeddings
    weights = dict(model.named_parameters())
    for place, (ours, weight) in enumerate(weights.items()):
        if tied and ours in ("lm_head.weight", "embed_out.weight"):
            continue
        numbers = np.ascontiguousarray(layout(arch, ours, weight.data.numpy(), config))
        theirs = names.get_name(ours, try_suffixes=(".weight", ".bias"))
        kind = FORMATS[place % len(FORMATS)] if numbers.ndim == 2 and "position_embd" not in theirs else Type.F32
        packed = gguf.quants.quantize(numbers, kind) if kind != Type.F32 else numbers
        writer.add_tensor(theirs, packed, raw_dtype=kind)
        if kind != Type.F32:
            widened = gguf.quants.dequantize(packed, kind).reshape(numbers.shape)
            weight.data.copy_(torch.from_numpy(np.ascontiguousarray(unlayout(arch, ours, widened, config))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = torch.randint(3, VOCAB, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    save_file({"input_ids": ids, "logits": logits.contiguous()}, folder / f"{name}.safetensors")
    told = "not read by Transformers"
    if arch in ("LLAMA", "QWEN2", "QWEN3", "PHI3", "GPT2", "GEMMA2", "GEMMA3"):
        try:
            theirs = tf.AutoModelForCausalLM.from_pretrained(folder, gguf_file=path.name, config=config, dtype=torch.float32).eval()
            with torch.no_grad():
                told = f"Transformers' reading is off by {(theirs(input_ids=ids).logits - logits).abs().max():.1e}"
        except Exception as error:
            told = f"Transformers cannot read it: {error}"
    print(f"{name}: {path.stat().st_size} bytes, logits up to {logits.abs().max():.2f}; {told}", flush=True)


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or MODELS:
        write(name, folder)
