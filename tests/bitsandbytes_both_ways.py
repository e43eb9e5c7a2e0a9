"""Transformers and bitsandbytes load the folders that `tenfold model quantize` writes, and Tenfold reads theirs. Run by hand.

    python tests/bitsandbytes_both_ways.py MODEL [--tenfold target/release/tenfold] [--golden FIGURES.json]
    python tests/bitsandbytes_both_ways.py MODEL --save OUT

Needs torch, transformers, accelerate, bitsandbytes, safetensors. MODEL is a Hugging Face folder or a GGUF file of a language
model or an encoder, its tokenizer with it. Ours: the folder in nf4 gives the logits of its matrices widened, in f32, to 1e-5 of the largest; those in f32 and bf16
load with the numbers they hold; with --golden (of a GGUF file's tests) log-probabilities, token ids and the chat template
are those of the figures. Theirs: what Transformers quantises and saves is read with the numbers that bitsandbytes widens, bit for bit.
--save writes such a folder and the widened numbers (widened.safetensors): crates/tenfold/tests/golden/bitsandbytes
was written with bitsandbytes 0.50.2.
"""
import argparse, json, pathlib, shutil, subprocess, sys, tempfile
import bitsandbytes as bnb, torch, transformers as tf
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from safetensors.torch import load_file, save_file

p = argparse.ArgumentParser()
p.add_argument("model"); p.add_argument("--tenfold", default="target/release/tenfold"); p.add_argument("--golden"); p.add_argument("--save")
a = p.parse_args()
failed = []


def check(what, fine, figure=""):
    print(f"{'ok    ' if fine else 'FAILED'} {what} {figure}")
    failed.extend([] if fine else [what])


def quantize(model, weights, out):
    subprocess.run([a.tenfold, "model", "quantize", str(model), "--weights", weights, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    return out


def load(folder, **settings):
    """The model as its configuration says; linear maps in 4 bits compute in f32, which on some processors is not bitsandbytes' choice."""
    language = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in json.loads((folder / "config.json").read_text())["architectures"])
    model, about = (tf.AutoModelForCausalLM if language else tf.AutoModel).from_pretrained(folder, device_map="cpu", output_loading_info=True, **settings)
    check(f"{folder.name}: every tensor has its place", not about["missing_keys"] and not about["mismatched_keys"] and not about["unexpected_keys"])
    for module in four_bit(model).values():
        module.support_avx512bf16_for_cpu = False
    return model.eval()


def four_bit(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}


def widened(model):
    """The matrices' numbers. bitsandbytes' own kernel for CPUs takes each row's first scale for the wrong block if rows are no
    whole blocks; its general form does not."""
    numbers = {}
    for name, module in four_bit(model).items():
        data, state = module.weight.data, module.weight.quant_state
        scales = bnb.functional.dequantize_blockwise(state.absmax, state.state2) + state.offset if state.nested else state.absmax
        numbers[name + ".weight"] = _dequantize_4bit_compute(data.reshape(-1), scales, state.code, state.blocksize, state.shape, state.dtype).contiguous()
        if state.shape[-1] % state.blocksize == 0:
            assert torch.equal(numbers[name + ".weight"], bnb.functional.dequantize_4bit(data, state))
    return numbers


def logits(model):
    ids = torch.randint(4, model.config.vocab_size, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model(input_ids=ids)
    return (out.logits if "logits" in out else out.last_hidden_state).float()


def theirs(folder, out, double):
    settings = tf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=torch.float32)
    model = load(folder, quantization_config=settings, dtype=torch.float32)
    model.save_pretrained(out)
    return widened(model)


def equal(found, expected):
    return all(torch.equal(found[name].view(torch.int32), numbers.view(torch.int32)) for name, numbers in expected.items())


if a.save:
    out = pathlib.Path(a.save)
    save_file(theirs(pathlib.Path(a.model), out, True), out / "widened.safetensors")
    sys.exit()

temporary = tempfile.TemporaryDirectory()
home = pathlib.Path(temporary.name)
ours = quantize(a.model, "nf4", home / "nf4")
plain = quantize(ours, "f32", home / "nf4-widened")
model = load(ours)
reference = load(plain)
print(len(four_bit(model)), "matrices in 4 bits")
state = reference.state_dict()
turned = lambda name, numbers: numbers.T if state[name].shape != numbers.shape or "transformer.h." in name else numbers  # Conv1D
check("nf4: bitsandbytes widens to our numbers", equal(state, {name: turned(name, x).contiguous() for name, x in widened(model).items()}))
off = ((logits(model) - logits(reference)).abs().max() / logits(reference).abs().max()).item()
check("nf4: logits", off <= 1e-5, f"off by {off:.1e}")
f32 = quantize(a.model, "f32", home / "f32")
held, rounded = load(f32).state_dict(), load(quantize(a.model, "bf16", home / "bf16")).state_dict()
files = load_file(f32 / "model.safetensors")
check("f32: Transformers has the file's numbers", all(torch.equal(numbers, files[name]) for name, numbers in held.items() if name in files))
check("bf16: rounded as PyTorch does", all(torch.equal(rounded[name], x.bfloat16()) for name, x in held.items() if x.is_floating_point()))
for double in (True, False):
    name = "their nf4, " + ("double" if double else "plain")
    expected = theirs(f32, home / name, double)
    for file in [f for f in f32.iterdir() if f.name.startswith(("tokenizer", "vocab", "merges", "spiece"))]:
        shutil.copy(file, home / name)  # Without them it is no model that the command would take.
    read = load_file(quantize(home / name, "f32", home / f"{name}, widened") / "model.safetensors")
    prefix = "" if set(expected) <= set(read) else model.base_model_prefix + "."
    check(f"{name}: read bit for bit", equal(read, {prefix + n: turned(n, x).contiguous() for n, x in expected.items()}), f"{len(expected)} matrices")
if a.golden:
    golden, reference = json.loads(pathlib.Path(a.golden).read_text()), load(f32)
    figures, tokenizer = load_file(pathlib.Path(a.golden).with_suffix(".safetensors")), tf.AutoTokenizer.from_pretrained(f32)
    for number, case in enumerate(golden["cases"]):
        ids = tokenizer(case["text"])["input_ids"]
        check(f"case {number}: token ids", ids == case["input_ids"])
        with torch.no_grad():
            out = reference(input_ids=torch.tensor([ids])).logits[0]
        off = ((out[-1] - figures[f"{number}.last_logits"]).abs().max() / out[-1].abs().max()).item()
        check(f"case {number}: last logits", off <= 1e-5, f"off by {off:.1e}")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False)
    check("chat template", chat == golden["chat_template_rendered"])
sys.exit(bool(failed))
