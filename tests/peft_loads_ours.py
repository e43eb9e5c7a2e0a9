"""Hugging Face PEFT loads adapters that Tenfold wrote and gives the same logits. Run by hand.

    python tests/peft_loads_ours.py MODEL_DIR RUN_DIR [--tenfold target/release/tenfold]

Needs torch, transformers, peft. For each PEFT adapter of a run's comparison: logits of a few texts by PEFT in
Python, by `tenfold eval` and by `tenfold eval --merged` where the method can; fails beyond 1e-4 of the largest.
"""
import argparse, json, pathlib, subprocess, sys, tempfile
import torch
from peft import PeftModel
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

TEXTS = ["A gripping, funny film.", "The battery died within a week!", "Not bad, but I would not see it again; dull, dull, dull."]

p = argparse.ArgumentParser()
p.add_argument("model"); p.add_argument("run", type=pathlib.Path); p.add_argument("--tenfold", default="target/release/tenfold")
a = p.parse_args()
texts = tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False)
texts.write("\n".join(TEXTS)); texts.close()
tokenizer = BertTokenizerFast.from_pretrained(a.model)
worst = 0.0
for path in sorted(a.run.glob("trials/*/adapter/adapter_config.json")):
    folder, settings = path.parent, json.loads(path.read_text())
    config = BertConfig.from_json_file(a.model + "/config.json"); config.num_labels = 2
    base = BertForSequenceClassification.from_pretrained(a.model, config=config)
    model = PeftModel.from_pretrained(base, str(folder)).eval()
    with torch.no_grad():
        theirs = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    for extra in [[], ["--merged"]] if settings["peft_type"] in ("LORA", "IA3") else [[]]:
        out = subprocess.run([a.tenfold, "eval", "--model", a.model, "--adapter", str(folder), "--texts", texts.name, "--json", *extra],
                             check=True, capture_output=True, text=True).stdout
        ours = torch.tensor([json.loads(line)["logits"] for line in out.splitlines()])
        off = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        worst = max(worst, off)
        print(f"{settings['peft_type']:14} {folder.parent.name} {' '.join(extra):9} off by {off:.1e}")
print(f"worst {worst:.1e}: {'ok' if worst <= 1e-4 else 'FAILED'}")
sys.exit(worst > 1e-4)
