"""Answers of a language model against lm-evaluation-harness's, row by row. Run by hand.

    python tests/against_lm_eval.py TENFOLD MODEL DATA WORK [--limit 100] [--only mmlu …] [--double]

MODEL is a Hugging Face folder with float32 weights, DATA a folder with BoolQ, CB, COPA, MultiRC, RTE, WSC and WiC in
SuperGLUE's JSON lines, `gsm8k`, `mmlu.zip` and WikiText-2's `test.txt` or `wiki.test.*` (anywhere below it). The harness runs
its own task files over the same rows, which are brought into the Hub's form in WORK; ours reads the publishers' files. Needs
lm_eval, torch, transformers. Prints the largest difference of a log-likelihood and how many decisions differ; of texts, whose
log-likelihoods are sums over thousands of tokens, also the largest relative difference. With --double the harness computes
with the same weights in float64, which tells whose rounding a difference is.
"""
import argparse
import csv
import json
import os
import pathlib
import subprocess
import zipfile

SUBJECTS = ["abstract_algebra", "anatomy", "astronomy", "college_physics", "computer_security", "econometrics", "formal_logic",
            "global_facts", "marketing", "professional_law"]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def load(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def find(data, *names):
    for name in names:
        for path in sorted(data.rglob(name)):
            return path
    raise SystemExit(f"none of {names} below {data}")


def super_glue(data, folder, split):
    """Rows in the Hub's form: labels by number, nested rows flat."""
    rows = load(find(data, f"{folder}/{split}.jsonl"))
    labels = {"CB": ["entailment", "contradiction", "neutral"], "RTE": ["entailment", "not_entailment"]}.get(folder)
    if folder == "MultiRC":
        return [dict(paragraph=row["passage"]["text"], question=q["question"], answer=a["text"], label=a["label"])
                for row in rows for q in row["passage"]["questions"] for a in q["answers"]]
    for row in rows:
        row.update(row.pop("target", {}))
        row["label"] = labels.index(row["label"]) if labels else int(row["label"])
    return rows


def documents(text):
    """WikiText's articles, as the dataset EleutherAI/wikitext_document_level has them: a title is a line between single signs of
    equality, once those of sections, which have a blank between them, are drawn together."""
    pages = [[]]
    for line in text.split("\n"):
        drawn = line.replace("= = =", "===").replace("= =", "==").strip()
        if drawn[:2] == "= " and drawn[-2:] == " =":
            pages.append([])
        pages[-1].append(line)
    return [page for page in map("\n".join, pages) if page.strip()]


def prepare(data, work):
    """The harness's task files over local rows, and a data folder for ours."""
    import lm_eval
    home = pathlib.Path(lm_eval.__file__).parent / "tasks"
    ours, tasks = work / "data", work / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)

    def task(name, include, files, more=""):
        (tasks / f"{name}.yaml").write_text(
            f"include: {home / include}\ntask: {name}_rows\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs:\n  data_files: {json.dumps(files)}\n{more}")

    for folder, name, include in [("BoolQ", "boolq", "super_glue/boolq/default.yaml"), ("CB", "cb", "super_glue/cb/default.yaml"),
                                  ("COPA", "copa", "super_glue/copa/default.yaml"), ("RTE", "sglue_rte", "super_glue/rte/default.yaml"),
                                  ("MultiRC", "multirc", "super_glue/multirc/default.yaml"), ("WiC", "wic", "super_glue/wic/default.yaml"),
                                  ("WSC", "wsc", "super_glue/wsc/default.yaml")]:
        files = {long: lines(work / "rows" / f"{name}_{short}.jsonl", super_glue(data, folder, short))
                 for long, short in [("train", "train"), ("validation", "val")]}
        task(name, include, files)
        target = ours / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(find(data, f"{folder}/val.jsonl").parent)
    with zipfile.ZipFile(find(data, "mmlu.zip")) as archive:
        archive.extractall(ours)
    for subject in SUBJECTS:
        files = {}
        for split in ["dev", "test"]:
            with open(ours / "data" / split / f"{subject}_{split}.csv", newline="") as file:
                rows = [dict(question=q, choices=[a, b, c, d], answer="ABCD".index(gold)) for q, a, b, c, d, gold in csv.reader(file)]
            files[split] = lines(work / "rows" / f"mmlu_{subject}_{split}.jsonl", rows)
        about = subject.replace("_", " ")
        task(f"mmlu_{subject}", "mmlu/default/_default_template_yaml", files,
             f'description: "The following are multiple choice questions (with answers) about {about}.\\n\\n"\n')
    gsm = find(data, "gsm8k/test.jsonl").parent
    if not (ours / "gsm8k").exists():
        (ours / "gsm8k").symlink_to(gsm)
    task("gsm8k", "gsm8k/gsm8k.yaml", {split: str(gsm / f"{split}.jsonl") for split in ["train", "test"]})
    published = find(data, "wiki.test.raw", "wiki.test.tokens", "wikitext*/test.txt")
    target = ours / "wikitext-2-raw" / "wiki.test.raw"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(published)
    rows = lines(work / "rows" / "wikitext_test.jsonl", [dict(page=page) for page in documents(published.read_text())])
    task("wikitext", "wikitext/wikitext.yaml", {"test": rows}, "training_split: null\nvalidation_split: null\n")
    return tasks, ours


def theirs(model, tasks, names, limit, shots, batch, dtype):
    import lm_eval
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    torch.set_num_threads(os.cpu_count())
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
    wrapped = HFLM(pretrained=loaded, tokenizer=transformers.AutoTokenizer.from_pretrained(model), batch_size=batch, device="cpu")
    manager = TaskManager(include_path=str(tasks))
    found = lm_eval.simple_evaluate(wrapped, tasks=[f"{name}_rows" for name in names], task_manager=manager, limit=limit,
                                    num_fewshot=shots, log_samples=True, bootstrap_iters=0)
    samples = {}
    for name in names:
        rows = {}
        for sample in found["samples"][f"{name}_rows"]:
            rows.setdefault(sample["doc_id"], sample)
        samples[name] = [rows[i] for i in sorted(rows)]
    return samples, found["results"]


def ours(program, model, data, task, limit, shots, out, domains=()):
    command = [program, "eval", "--model", str(model), "--task", task, "--limit", str(limit), "--out", str(out), "--json"]
    command += ["--num-fewshot", str(shots)] if shots is not None else []
    command += [word for domain in domains for word in ("--domain", domain)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ, TENFOLD_DATA=str(data)))
    [result] = json.loads(printed.stdout)
    folder = pathlib.Path(result["folder"])
    domains = {}
    for domain in result["domains"]:
        rows = load(folder / "samples" / f"{domain['domain']}.jsonl")[1:]
        domains[domain["domain"]] = (rows, {m["metric"] + "," + m.get("filter", "none"): m["estimate"]["value"] for m in domain["metrics"]})
    return domains


def compare(name, rows, scores, samples, results):
    worst, relative, decisions = 0.0, 0.0, 0
    assert len(rows) == len(samples), (name, len(rows), len(samples))
    for row, sample in zip(rows, samples):
        said = [response[0] for response in sample["resps"]]
        if row["kind"] == "choice":
            worst = max(worst, *(abs(a - b[0]) for a, b in zip(row["log_likelihoods"], said, strict=True)))
            greatest = max(range(len(said)), key=lambda i: said[i][0])
            decisions += greatest != row["chosen"] or row["is_greedy"] != [bool(one[1]) for one in said]
        elif row["kind"] == "text":
            value = said[0] if isinstance(said[0], float) else said[0][0]
            worst = max(worst, abs(row["log_likelihood"] - value))
            relative = max(relative, abs(row["log_likelihood"] - value) / abs(value))
        else:
            decisions += row["text"] != said[0]
    of_texts = f" (relative to themselves within {relative:.1e})" if relative else ""
    print(f"{name:28} {len(rows):5} rows, log-likelihoods within {worst:.1e}{of_texts}, {decisions} decisions differ", flush=True)
    harness = {key: value for key, value in results.items() if isinstance(value, float)}
    for key, value in scores.items():
        metric, kind = key.split(",")
        their = harness.get(key, harness.get(metric.replace("f1_macro_all", "f1") + "," + kind))
        print(f"{'':28} {key} {value:.6f} {'?' if their is None else f'{their:.6f}'}", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program"); p.add_argument("model", type=pathlib.Path); p.add_argument("data", type=pathlib.Path)
    p.add_argument("work", type=pathlib.Path); p.add_argument("--limit", type=int, default=100); p.add_argument("--only", nargs="*")
    p.add_argument("--double", action="store_true")
    a = p.parse_args()
    tasks, data = prepare(a.data, a.work)
    jobs = [("boolq", 0), ("copa", 0), ("wic", 0), ("wsc", 0), ("cb", 0), ("sglue_rte", 0), ("multirc", 0), ("boolq", 2), ("mmlu", 0), ("mmlu", 5),
            ("wikitext", 0), ("gsm8k", 5)]
    for task, shots in jobs:
        if a.only and task not in a.only:
            continue
        names = [f"mmlu_{subject}" for subject in SUBJECTS] if task == "mmlu" else [task]
        limit = {"wikitext": min(a.limit, 8), "gsm8k": min(a.limit, 50)}.get(task, a.limit)
        if task in ("boolq", "mmlu") and shots:
            limit = min(limit, 20)
        # Windows of whole articles times the vocabulary are gigabytes there.
        samples, results = theirs(a.model, tasks, names, limit, shots or None, 1 if task == "wikitext" else 8,
                                  "float64" if a.double else "float32")
        domains = ours(a.program, a.model, data, task, limit, shots, a.work / f"ours-{shots}",
                       SUBJECTS if task == "mmlu" else ())
        for name in names:
            rows, scores = domains[name.removeprefix("mmlu_")]
            compare(f"{name}, {shots} shots", rows, scores, samples[name], results[f"{name}_rows"])


main()
