"""Reference figures of families and heads that tests/golden has not from elsewhere. Run by hand.

    python tests/golden_families.py OUT [NAME ...]

Needs torch, transformers, peft, safetensors; writes the layout that crates/tenfold/tests/golden.rs reads:
OUT/<name>/model/ (config.json, model.safetensors), OUT/<name>/base.safetensors (inputs, logits, loss, grad.<parameter>,
and full.losses: five AdamW steps of full fine-tuning), and for those in ADAPTED OUT/<name>/<method>/
initial, trained (as PEFT saves them) and figures.safetensors. Tiny random weights, no dropout, seed 0; sizes are such
that windows, scalings and rotary parts matter. The copies in tests/golden were written with torch 2.15.0,
transformers 5.23.0, PEFT 0.21.2.
"""
import copy, pathlib, sys, warnings
import peft, torch
import transformers as tf
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
VOCAB, ROWS, LENGTH, LABELS, STEPS = 96, 3, 12, 3, 5
ENCODER = dict(vocab_size=VOCAB, num_labels=LABELS)
BERT = dict(ENCODER, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=40)
DECODER = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
               max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
GEMMA = dict(DECODER, num_hidden_layers=4, head_dim=8, query_pre_attn_scalar=16, sliding_window=5)
NEOX = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64,
            rotary_pct=0.5, bos_token_id=1, eos_token_id=2)
T5 = dict(ENCODER, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4, relative_attention_num_buckets=8,
          decoder_start_token_id=0)
GPT2 = dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
rope = lambda **keys: dict(rope_parameters=dict(rope_theta=10000.0, **keys))
LLAMA3 = rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8)
YARN = rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
DYNAMIC = dict(rope(rope_type="dynamic", factor=2.0), max_position_embeddings=6)
SHORT = rope(rope_type="longrope", partial_rotary_factor=0.75, short_factor=[1.2, 1.5, 2.0], long_factor=[2.0, 3.0, 5.0])
# As Gemma 3 is published: layers with a window turn by a rope of their own, the others by a stretched one.
TWO = dict(rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=100.0),
                                full_attention=dict(rope_type="linear", rope_theta=10000.0, factor=8.0)))
LONG = rope(rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.5, 2.0, 3.0, 5.0], original_max_position_embeddings=8)

CLS, TOKENS, ANSWER, LM, S2S = "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM", "SEQ_2_SEQ_LM"
MODELS = {
    "distilbert": (CLS, lambda: tf.DistilBertForSequenceClassification(tf.DistilBertConfig(**ENCODER, dim=32, n_heads=4, hidden_dim=64, n_layers=2, max_position_embeddings=40))),
    "mistral": (LM, lambda: tf.MistralForCausalLM(tf.MistralConfig(**DECODER, sliding_window=4))),
    "llama-llama3": (LM, lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**DECODER, **LLAMA3, attention_bias=True, mlp_bias=True))),
    "llama-linear": (LM, lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**DECODER, **rope(rope_type="linear", factor=4.0)))),
    "llama-dynamic": (LM, lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**{**DECODER, **DYNAMIC}))),
    "qwen2-yarn": (LM, lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**DECODER, **YARN, use_sliding_window=True, sliding_window=4, max_window_layers=1))),
    "gemma": (LM, lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**DECODER, head_dim=8))),
    "gemma2": (LM, lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=3.0))),
    "gemma3": (LM, lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**GEMMA, layer_types=["sliding_attention"] * 3 + ["full_attention"]))),
    "gemma3-ropes": (LM, lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**{**GEMMA, **TWO, "num_hidden_layers": 2}, layer_types=["sliding_attention", "full_attention"], final_logit_softcapping=3.0))),
    "phi3": (LM, lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**DECODER, **LONG, original_max_position_embeddings=8, sliding_window=9))),
    "phi3-short": (LM, lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**DECODER, **SHORT, original_max_position_embeddings=16, tie_word_embeddings=True))),
    "smollm3": (LM, lambda: tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**dict(DECODER, num_hidden_layers=4)))),
    "smollm3-window": (LM, lambda: tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**DECODER, no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=4, attention_bias=True, mlp_bias=True))),
    "gpt2-scaled": (LM, lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2, n_inner=48, scale_attn_by_inverse_layer_idx=True, activation_function="relu"))),
    "gpt_neox": (LM, lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**NEOX))),
    "gpt_neox-serial": (LM, lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**NEOX, use_parallel_residual=False))),
    "bert-tokens": (TOKENS, lambda: tf.BertForTokenClassification(tf.BertConfig(**BERT))),
    "bert-answer": (ANSWER, lambda: tf.BertForQuestionAnswering(tf.BertConfig(**dict(BERT, num_labels=2)))),
    "roberta-tokens": (TOKENS, lambda: tf.RobertaForTokenClassification(tf.RobertaConfig(**BERT, type_vocab_size=1, pad_token_id=1))),
    "distilbert-answer": (ANSWER, lambda: tf.DistilBertForQuestionAnswering(tf.DistilBertConfig(**dict(ENCODER, num_labels=2), dim=32, n_heads=4, hidden_dim=64, n_layers=2, max_position_embeddings=40))),
    "llama-classes": (CLS, lambda: tf.LlamaForSequenceClassification(tf.LlamaConfig(**DECODER, num_labels=LABELS))),
    "llama-tokens": (TOKENS, lambda: tf.LlamaForTokenClassification(tf.LlamaConfig(**DECODER, num_labels=LABELS))),
    "mistral-answer": (ANSWER, lambda: tf.MistralForQuestionAnswering(tf.MistralConfig(**DECODER, sliding_window=4))),
    "llama-answer": (ANSWER, lambda: tf.LlamaForQuestionAnswering(tf.LlamaConfig(**DECODER))),
    "gpt2-classes": (CLS, lambda: tf.GPT2ForSequenceClassification(tf.GPT2Config(**GPT2, num_labels=LABELS))),
    "gpt2-tokens": (TOKENS, lambda: tf.GPT2ForTokenClassification(tf.GPT2Config(**GPT2, num_labels=LABELS))),
    "gpt_neox-classes": (CLS, lambda: tf.GPTNeoXForSequenceClassification(tf.GPTNeoXConfig(**NEOX, num_labels=LABELS, pad_token_id=0))),
    "t5-three": (S2S, lambda: tf.T5ForConditionalGeneration(tf.T5Config(**dict(T5, d_model=16, num_heads=2, d_ff=32, num_layers=3, num_decoder_layers=3, feed_forward_proj="gated-silu")))),
    "t5-classes": (CLS, lambda: tf.T5ForSequenceClassification(tf.T5Config(**T5))),
    "t5-tokens": (TOKENS, lambda: tf.T5ForTokenClassification(tf.T5Config(**T5))),
    "t5-answer": (ANSWER, lambda: tf.T5ForQuestionAnswering(tf.T5Config(**dict(T5, num_labels=2)))),
}
TARGETS = {"distilbert": ["q_lin", "v_lin"], "phi3": ["qkv_proj", "gate_up_proj"], "gpt_neox": ["query_key_value", "dense"],
           "bert-tokens": ["query", "value"], "bert-answer": ["query", "value"], "roberta-tokens": ["query", "value"], "gpt2-classes": ["c_attn"]}
IA3 = {"distilbert": (["k_lin", "v_lin", "lin2"], ["lin2"]), "phi3": (["qkv_proj", "down_proj"], ["down_proj"]),
       "gpt_neox": (["query_key_value", "dense_4h_to_h"], ["dense_4h_to_h"])}

# Models with adapters: all methods for families, those that differ from task to task for heads.
EVERY, HEADS = ("lora", "ia3", "prefix_tuning", "prompt_tuning"), ("lora", "prefix_tuning")
ADAPTED = dict(dict.fromkeys(("distilbert", "phi3", "gpt_neox", "mistral", "gemma", "gemma2", "gemma3", "smollm3"), EVERY),
               **dict.fromkeys(("bert-tokens", "bert-answer", "roberta-tokens", "llama-classes", "llama-tokens", "gpt2-classes"), HEADS),
               **{"llama-answer": ("lora",), "t5-three": ("prefix_tuning",)})


def methods(name, task):
    targets, (scaled, inner) = TARGETS.get(name, ["q_proj", "v_proj"]), IA3.get(name, (["k_proj", "v_proj", "down_proj"], ["down_proj"]))
    extra = dict(modules_to_save=["pre_classifier", "classifier"]) if name == "distilbert" else {}
    every = {
        "lora": lambda: peft.LoraConfig(task_type=task, r=4, lora_alpha=8, target_modules=targets, **extra),
        "ia3": lambda: peft.IA3Config(task_type=task, target_modules=scaled, feedforward_modules=inner, **extra),
        "prefix_tuning": lambda: peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=5),
        "prompt_tuning": lambda: peft.PromptTuningConfig(task_type=task, num_virtual_tokens=5),
    }
    return {method: every[method] for method in ADAPTED.get(name, ())}


def still(model):
    """Switches every dropout off."""
    for module in model.modules():
        for key in ("p", "dropout", "attention_dropout"):
            if isinstance(getattr(module, key, None), float):
                setattr(module, key, 0.0)
    for key in list(vars(model.config)):
        if "dropout" in key or key.endswith("pdrop"):
            if isinstance(getattr(model.config, key), (int, float)):
                setattr(model.config, key, 0.0)
    return model


def roughen(model):
    """Random numbers everywhere: no norm is hidden by its ones, no bias by its zeros."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.1 * noise if parameter.dim() == 1 else 0.15 * noise)


def batch(name, task):
    """Rows padded on the right, as trainers send them."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, VOCAB, (ROWS, LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    # Transformers lets answers lie in the padding: those rows have none.
    for row, short in enumerate([0, 0, 0] if task == ANSWER else [0, 3, 5]):
        if short:
            mask[row, LENGTH - short:] = 0
            ids[row, LENGTH - short:] = 1 if name.startswith("roberta") else 0
        if name == "t5-classes":
            ids[row, LENGTH - short - 1] = 1  # the end token that T5 classifies by
    inputs = dict(input_ids=ids, attention_mask=mask)
    if task == CLS:
        return dict(inputs, labels=torch.randint(0, LABELS, (ROWS,), generator=generator))
    if task == TOKENS:
        labels = torch.randint(0, LABELS, (ROWS, LENGTH), generator=generator)
        labels[mask == 0] = -100
        labels[:, 0] = -100
        return dict(inputs, labels=labels)
    if task == ANSWER:
        return dict(inputs, start_positions=torch.tensor([1, 2, 3]), end_positions=torch.tensor([4, 6, 5]))
    if task == S2S:
        labels = torch.randint(3, VOCAB, (ROWS, 7), generator=generator)
        labels[1, 5:] = -100
        return dict(inputs, labels=labels)
    labels = ids.clone()
    labels[mask == 0] = -100
    labels[:, :4] = -100
    return dict(inputs, labels=labels)


def train(model, inputs):
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.01)
    losses = []
    for _ in range(STEPS):
        loss = model(**inputs).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return torch.tensor(losses)


def figures(model, inputs):
    model.eval().zero_grad()
    out = model(**inputs)
    out.loss.backward()
    logits = dict(logits=out.logits) if "logits" in out else dict(start_logits=out.start_logits, end_logits=out.end_logits)
    gradients = {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    return dict(logits, loss=out.loss, **gradients)


def write(path, tensors):
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, str(path))


def main():
    out, names = pathlib.Path(sys.argv[1]), sys.argv[2:] or list(MODELS)
    for name in names:
        task, build = MODELS[name]
        torch.manual_seed(0)
        base = still(build())
        roughen(base)
        inputs, home = batch(name, task), out / name
        (home / "model").mkdir(parents=True, exist_ok=True)
        base.save_pretrained(home / "model")
        losses = train(copy.deepcopy(base), inputs)
        write(home / "base.safetensors", {**inputs, **figures(copy.deepcopy(base), inputs), "full.losses": losses})
        print(name, losses.tolist(), flush=True)
        for method, config in methods(name, task).items():
            folder = home / method
            try:
                torch.manual_seed(3)
                model = peft.get_peft_model(copy.deepcopy(base), config())
                model.save_pretrained(str(folder / "initial"))
                added = {n: p for n, p in model.named_parameters() if p.requires_grad}
                write(folder / "initial" / "raw.safetensors", added)
                losses = train(model, inputs)
                model.save_pretrained(str(folder / "trained"))
                numbers = dict(figures(model, inputs), losses=losses)
                if method in ("lora", "ia3") and task != ANSWER:
                    numbers["merged.logits"] = model.merge_and_unload().eval()(**inputs).logits
                write(folder / "figures.safetensors", numbers)
                print(" ", method, losses.tolist(), flush=True)
            except Exception as error:  # what PEFT itself cannot do has no figures
                import shutil
                shutil.rmtree(folder, ignore_errors=True)
                print(" ", method, "not by PEFT:", type(error).__name__, str(error)[:120], flush=True)
            for readme in folder.rglob("README.md"):
                readme.unlink()


main()
