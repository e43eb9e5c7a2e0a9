"""Hugging Face PEFT loads an adapter of a language model that Tenfold wrote, over the same GGUF base. Run by hand.

    python tests/peft_loads_language.py GGUF_FOLDER ADAPTER [--tenfold target/release/tenfold]

Needs torch, transformers, peft, gguf. The base is read by Transformers (widened to float32), the adapter by PEFT;
compared are the log-probabilities of every token of a few texts, and those of the base alone to show that the adapter
does something. Fails beyond 1e-3.
"""
import argparse, json, pathlib, subprocess, sys, tempfile
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["Meaning: name[Blue Spice], eatType[coffee shop], area[city centre]", "The capital of France is Paris, and it rains there.", "def f(x): return x + 1"]

p = argparse.ArgumentParser()
p.add_argument("folder", type=pathlib.Path); p.add_argument("adapter"); p.add_argument("--tenfold", default="target/release/tenfold")
a = p.parse_args()
file = next(a.folder.glob("*.gguf"))
tokenizer = AutoTokenizer.from_pretrained(str(a.folder), gguf_file=file.name)
base = AutoModelForCausalLM.from_pretrained(str(a.folder), gguf_file=file.name, dtype=torch.float32).eval()


def logs(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)


texts = tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False)
texts.write("\n".join(TEXTS)); texts.close()
plain = [logs(base, tokenizer(text).input_ids) for text in TEXTS]
tuned = PeftModel.from_pretrained(base, a.adapter).eval()
out = subprocess.run([a.tenfold, "eval", "--model", str(file), "--adapter", a.adapter, "--texts", texts.name, "--json"],
                     check=True, capture_output=True, text=True).stdout
worst = 0.0
for text, before, line in zip(TEXTS, plain, map(json.loads, out.splitlines())):
    ids = tokenizer(text).input_ids
    assert ids == line["ids"], (ids, line["ids"])
    theirs, ours = logs(tuned, ids), torch.tensor(line["log_probabilities"])
    off = (theirs - ours).abs().max().item()
    worst = max(worst, off)
    print(f"off by {off:.1e}; the adapter moved them by {(theirs - before).abs().max().item():.1e}: {text[:50]}")
print(f"worst {worst:.1e}: {'ok' if worst <= 1e-3 else 'FAILED'}")
sys.exit(worst > 1e-3)
