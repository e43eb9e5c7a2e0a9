"""Transformers and PEFT answer SQuAD's questions with an adapter that Tenfold trained, and score the same. Run by hand.

    python tests/squad_by_transformers.py MODEL_DIR RUN_DIR DEV_FILE [--max-length 128] [--stride 128]

Needs torch, transformers, peft. RUN_DIR is that of `tenfold run` over the task squad or squad2 with PEFT methods. For each
adapter: windows by Transformers' fast tokenizer, logits by PEFT, the best answers as run_qa.py describes them, scores by the
definition of the official scripts. Fails if the exact match or F1 of any question differs from the record's by over 1e-9.
"""
import argparse, collections, json, pathlib, re, string, sys
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForQuestionAnswering, BertTokenizerFast

p = argparse.ArgumentParser()
p.add_argument("model"); p.add_argument("run", type=pathlib.Path); p.add_argument("dev")
p.add_argument("--max-length", type=int, default=128); p.add_argument("--stride", type=int, default=128)
p.add_argument("--n-best", type=int, default=20); p.add_argument("--max-answer", type=int, default=30)
a = p.parse_args()
tokenizer = BertTokenizerFast.from_pretrained(a.model)
rows = [(q["question"].lstrip(), par["context"], [] if q.get("is_impossible") else [x["text"] for x in q["answers"]])
        for art in json.load(open(a.dev))["data"] for par in art["paragraphs"] for q in par["qas"]]


def normal(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def scores(said, answers, second):
    if second:
        answers = [x for x in answers if normal(x)] or [""]
    def f1(gold):
        x, y = normal(said).split(), normal(gold).split()
        if second and (not x or not y):
            return float(x == y)
        same = sum((collections.Counter(x) & collections.Counter(y)).values())
        return 2 * same / (len(x) + len(y)) if same else 0.0
    return max(float(normal(said) == normal(g)) for g in answers), max(f1(g) for g in answers)


def answer(model, question, passage, second):
    room = a.max_length - len(tokenizer(question)["input_ids"]) - 1
    enc = tokenizer(question, passage, truncation="only_second", max_length=a.max_length, stride=min(a.stride, room // 2),
                    return_overflowing_tokens=True, return_offsets_mapping=True)
    found, none = [], float("inf")
    for i in range(len(enc["input_ids"])):
        one = {k: torch.tensor([enc[k][i]]) for k in ("input_ids", "token_type_ids", "attention_mask")}
        with torch.no_grad():
            # PEFT's own forward drops token_type_ids (0.21.2), so the model under it is called.
            out = model.base_model(**one)
        start, end = out.start_logits[0], out.end_logits[0]
        none = min(none, (start[0] + end[0]).item())
        offsets = [o if s == 1 else None for o, s in zip(enc["offset_mapping"][i], enc.sequence_ids(i))]
        for s in torch.argsort(start, descending=True)[: a.n_best].tolist():
            for e in torch.argsort(end, descending=True)[: a.n_best].tolist():
                if offsets[s] and offsets[e] and s <= e < s + a.max_answer:
                    found.append(((start[s] + end[e]).item(), passage[offsets[s][0] : offsets[e][1]]))
    best = max(found, default=(float("-inf"), ""))
    return "" if second and none > best[0] else best[1]


failed = False
for folder in sorted(a.run.glob("trials/*/adapter")):
    record = json.loads((folder.parent / "record.json").read_text())
    test = record["result"]["trained"]["tests"][0]
    second, ours = test["metric"] == "squad2_f1", test["answers"]["matches"]
    base = AutoModelForQuestionAnswering.from_pretrained(a.model, config=AutoConfig.from_pretrained(a.model))
    model = PeftModel.from_pretrained(base, str(folder)).eval()
    theirs = [scores(answer(model, q, c, second), g, second) for q, c, g in rows[: len(ours["f1"])]]
    off = [i for i, (em, f1) in enumerate(theirs) if abs(em - ours["exact"][i]) > 1e-9 or abs(f1 - ours["f1"][i]) > 1e-9]
    mean = lambda x: sum(x) / len(x)
    print(f"{test['metric']:9} {record['trial']['method']:14} {len(theirs)} questions: EM {mean(ours['exact']):.4f} and "
          f"{mean([x[0] for x in theirs]):.4f}, F1 {mean(ours['f1']):.4f} and {mean([x[1] for x in theirs]):.4f}; "
          f"{len(off)} questions differ {off[:5]}")
    failed |= bool(off)
sys.exit(failed)
