"""What lm-evaluation-harness asks about made-up rows of ARC, HellaSwag, PIQA, WinoGrande, OpenBookQA and TruthfulQA. Run by hand.

    python tests/golden_prompts.py

Needs lm_eval; writes crates/tenfold/tests/golden/prompts.json: for each task its rows in the Hub's form and in the
publisher's, and by the harness's own task files and functions the pairs of context and continuation that it weighs and the
right choice. crates/tenfold/src/task/read/hub.rs holds our task files to it. The copy there was written with lm_eval 0.4.13.
"""
import json, os, pathlib, tempfile

os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1")
import lm_eval
from lm_eval.tasks import TaskManager

OUT = pathlib.Path(__file__).parent.parent / "crates/tenfold/tests/golden/prompts.json"
HOME = pathlib.Path(lm_eval.__file__).parent / "tasks"


def listed(labels, texts):
    return dict(text=texts, label=labels)


ARC = [
    dict(id="a", question="Which  is a fluid? ", choices=listed(["A", "B", "C", "D"], ["ice", " water", "rock", "\"sand\""]), answerKey="B"),
    dict(id="b", question="How many legs\nhas a spider?", choices=listed(["1", "2", "3", "4"], ["8", "6", "4", "2"]), answerKey="1"),
    dict(id="c", question="{{ braces }} & <signs>", choices=listed(["A", "B", "C"], ["a < b", "a & b", "it's"]), answerKey="C"),
    dict(id="d", question="Five of them", choices=listed(["A", "B", "C", "D", "E"], ["[1]", "2.0", "true", "null", "é"]), answerKey="E"),
]
OPENBOOKQA = [dict(id=row["id"], question_stem=row["question"], choices=row["choices"], answerKey=before + row["answerKey"])
              for row, before in [(ARC[0], " "), (ARC[2], "")]]
HELLASWAG = [
    dict(ind=i, activity_label=label, ctx_a=a, ctx_b=b, ctx=f"{a} {b}", endings=endings, source_id="x", split="val", split_type="indomain", label=gold)
    for i, (label, a, b, endings, gold) in enumerate([
        ("Roof shingle removal", "A man is sitting on a roof.", "he", ["is using wrap.", " is ripping level tiles off.", "is  holding  a cube.", "starts pulling up roofing."], "3"),
        ("Family Life", "[header] How to dance [title] Choose a song. [step] Pick one [substeps] you like.", "", ["[title] Warm up. [step] Stretch.", "Go [a [b] c] home", "No brackets", "Open [ bracket"], "0"),
        (" Cutting", "McDonald sees  the   SHOW. ", "THEN Bob's DOG (ÉTÉ) barks ", ["a [title]", " [title] b", "c [x]  [y] d", "[x]\n[y] e"], "1"),
        ("Öl", "Ein Auto.", "élan vital ΣΑΣ", ["[multi\nline] f", "g", "h", "i"], "2"),
    ])
]
PIQA = [
    dict(goal="How do I  sharpen a pencil?", sol1="Use a knife.", sol2="Use\na spoon. ", label=0),
    dict(goal="\"To eat\", {{goal}}", sol1=" with a fork", sol2="with a & b", label=1),
]
WINOGRANDE = [
    dict(sentence="The trophy didn't fit in the suitcase because the _ was too big.", option1="trophy", option2="suitcase", answer="1"),
    dict(sentence="_ was late, so Ann left.", option1="Bob", option2="Eve's aunt", answer="2"),
    dict(sentence="Ann gave Bob_'s book and _ left  . ", option1="A", option2="B", answer="2"),
    dict(sentence="He saw_.", option1=" it", option2="him", answer="1"),
]
TRUTHFULQA = [
    dict(question="What  happens if you eat seeds?", mc1_targets=dict(choices=["They pass", "A tree grows", "\"Nothing\" & more"], labels=[1, 0, 0]),
         mc2_targets=dict(choices=["Zero harm", "They pass", "A tree grows", "You die"], labels=[1, 1, 0, 0])),
    dict(question="Why? ", mc1_targets=dict(choices=["z first", "a last"], labels=[1, 0]), mc2_targets=dict(choices=["No", "yes", "Maybe"], labels=[1, 0, 0])),
]


def nested(row):
    choices = [dict(text=text, label=label) for text, label in zip(row["choices"]["text"], row["choices"]["label"])]
    return dict(id=row["id"], question=dict(stem=row.get("question", row.get("question_stem")), choices=choices), answerKey=row["answerKey"])


def keyed(row):
    pairs = lambda targets: dict(zip(targets["choices"], targets["labels"]))
    return dict(question=row["question"], mc1_targets=pairs(row["mc1_targets"]), mc2_targets=pairs(row["mc2_targets"]))


def by_number(row):
    """Published HellaSwag has its label as a number."""
    return row | dict(label=int(row["label"]))


TASKS = {
    "arc_easy": (ARC, nested, "arc/arc_easy.yaml", "test"),
    "arc_challenge": (ARC, nested, "arc/arc_challenge.yaml", "test"),
    "openbookqa": (OPENBOOKQA, nested, "openbookqa/openbookqa.yaml", "test"),
    "hellaswag": (HELLASWAG, by_number, "hellaswag/hellaswag.yaml", "validation"),
    "piqa": (PIQA, dict, "piqa/piqa.yaml", "validation"),
    "winogrande": (WINOGRANDE, dict, "winogrande/default.yaml", "validation"),
    "truthfulqa_mc1": (TRUTHFULQA, keyed, "truthfulqa/truthfulqa_mc1.yaml", "validation"),
    "truthfulqa_mc2": (TRUTHFULQA, keyed, "truthfulqa/truthfulqa_mc2.yaml", "validation"),
}


def main():
    golden = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        for name, (rows, published, include, split) in TASKS.items():
            file = folder / f"{name}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            splits = "".join(f"{key}_split: {split if key == split else 'null'}\n" for key in ["training", "validation", "test"])
            (folder / f"{name}.yaml").write_text(
                f"include: {HOME / include}\ntask: {name}_rows\ndataset_path: json\ndataset_name: null\n"
                f"dataset_kwargs:\n  data_files: {{{split}: {file}}}\n  cache_dir: {folder / 'cache'}\n{splits}")
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        for name, (rows, published, include, split) in TASKS.items():
            [task] = manager.load([f"{name}_rows"])["tasks"].values()
            task.build_all_requests(rank=0, world_size=1)
            asked = {}
            for request in task.instances:
                asked.setdefault(request.doc_id, []).append(list(request.args))
            golds = []
            for number, doc in enumerate(task.eval_docs):
                gold = task.doc_to_text(doc) if name == "winogrande" else task.doc_to_target(doc)
                mc2 = [i for i, label in enumerate(rows[number]["mc2_targets"]["labels"]) if label] if name == "truthfulqa_mc2" else None
                golds.append(mc2 or [int(gold)])
            golden[name] = dict(hub=rows, published=[published(row) for row in rows], pairs=[asked[i] for i in sorted(asked)], golds=golds)
    lines = ",\n".join(f'"{name}": {{\n' + ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in part.items()) + "\n}"
                       for name, part in golden.items())
    OUT.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print({name: len(part["pairs"]) for name, part in golden.items()}, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
