"""What lm-evaluation-harness asks about made-up rows of its multiple-choice tasks, and how it scores them. Run by hand.

    python tests/golden_prompts.py

Needs lm_eval, and transformers 4 for ReCoRD; writes crates/tenfold/tests/golden/prompts.json. For each task the file holds made-up rows,
ordinary and odd ones (empty and equal choices, stray blanks, texts that look like JSON), in the Hub's form and in the
publisher's. Beside them stand what the harness's own task files and functions make of them: the pairs of context and
continuation that it weighs, the right choice, and the score of each row where a pair's log-likelihood is `nats(pair)`.
crates/tenfold/src/task/read/hub.rs tests our task files against it. The copy there was written with lm_eval 0.4.13.
"""
import json, os, pathlib, tempfile

os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1")
import lm_eval
from lm_eval.tasks import TaskManager

OUT = pathlib.Path(__file__).parent.parent / "crates/tenfold/tests/golden/prompts.json"
HOME = pathlib.Path(lm_eval.__file__).parent / "tasks"


def nats(context, continuation):
    """A log-likelihood that depends on the pair alone, so that equal choices tie; exact in binary."""
    return -len(continuation.encode()) - sum(continuation.encode()) % 7 / 8 - len(context.encode()) / 64


def listed(labels, texts):
    return dict(text=texts, label=labels)


ARC = [
    dict(id="a", question="Which  is a fluid? ", choices=listed(["A", "B", "C", "D"], ["ice", " water", "rock", "\"sand\""]), answerKey="B"),
    dict(id="b", question="How many legs\nhas a spider?", choices=listed(["1", "2", "3", "4"], ["8", "6", "4", "2"]), answerKey="1"),
    dict(id="c", question="{{ braces }} & <signs>", choices=listed(["A", "B", "C"], ["a < b", "a & b", "it's"]), answerKey="C"),
    dict(id="e", question="None of these has a text.", choices=listed(["A", "B", "C", "D"], ["", "", "", ""]), answerKey="C"),
    dict(id="f", question="[1, 2]", choices=listed(["A", "B", "C"], ["same", "same", ""]), answerKey="B"),
    dict(id="g", question=" ", choices=listed(["1", "1", "2"], [" x", "x ", "\t"]), answerKey="1"),
    dict(id="h", question='{"a": "b"}', choices=listed(["A", "B"], ['"quoted"', "it's \\n one \"line\""]), answerKey="B"),
    dict(id="d", question="Five of them", choices=listed(["A", "B", "C", "D", "E"], ["[1]", "2.0", "true", "null", "é"]), answerKey="E"),
]
OPENBOOKQA = [dict(id=row["id"], question_stem=row["question"], choices=row["choices"], answerKey=before + row["answerKey"])
              for row, before in [(ARC[0], " "), (ARC[2], ""), (ARC[3], ""), (ARC[4], "")]]
HELLASWAG = [
    dict(ind=i, activity_label=label, ctx_a=a, ctx_b=b, ctx=f"{a} {b}", endings=endings, source_id="x", split="val", split_type="indomain", label=gold)
    for i, (label, a, b, endings, gold) in enumerate([
        ("Roof shingle removal", "A man is sitting on a roof.", "he", ["is using wrap.", " is ripping level tiles off.", "is  holding  a cube.", "starts pulling up roofing."], "3"),
        ("Family Life", "[header] How to dance [title] Choose a song. [step] Pick one [substeps] you like.", "", ["[title] Warm up. [step] Stretch.", "Go [a [b] c] home", "No brackets", "Open [ bracket"], "0"),
        (" Cutting", "McDonald sees  the   SHOW. ", "THEN Bob's DOG (ÉTÉ) barks ", ["a [title]", " [title] b", "c [x]  [y] d", "[x]\n[y] e"], "1"),
        ("", "", "", ["", "", "", ""], "1"),
        ("Brackets alone", " ", "[x]", ["[title]", "[step] [a]", "b", "b"], "3"),
        ("Öl", "Ein Auto.", "élan vital ΣΑΣ", ["[multi\nline] f", "g", "h", "i"], "2"),
    ])
]
PIQA = [
    dict(goal="How do I  sharpen a pencil?", sol1="Use a knife.", sol2="Use\na spoon. ", label=0),
    dict(goal="", sol1="", sol2="", label=1),
    dict(goal="Twice", sol1="the same", sol2="the same", label=1),
    dict(goal="[]", sol1="[]", sol2=" ", label=0),
    dict(goal="\"To eat\", {{goal}}", sol1=" with a fork", sol2="with a & b", label=1),
]
WINOGRANDE = [
    dict(sentence="The trophy didn't fit in the suitcase because the _ was too big.", option1="trophy", option2="suitcase", answer="1"),
    dict(sentence="_ was late, so Ann left.", option1="Bob", option2="Eve's aunt", answer="2"),
    dict(sentence="Ann gave Bob_'s book and _ left  . ", option1="A", option2="B", answer="2"),
    dict(sentence="It ends with a _", option1="gap", option2="", answer="1"),
    dict(sentence="Ann saw _ .", option1="Bob", option2="Bob", answer="2"),
    dict(sentence="[_]", option1="1", option2="2, 3", answer="2"),
    dict(sentence="He saw_.", option1=" it", option2="him", answer="1"),
]
TRUTHFULQA = [
    dict(question="What  happens if you eat seeds?", mc1_targets=dict(choices=["They pass", "A tree grows", "\"Nothing\" & more"], labels=[1, 0, 0]),
         mc2_targets=dict(choices=["Zero harm", "They pass", "A tree grows", "You die"], labels=[1, 1, 0, 0])),
    dict(question="[]", mc1_targets=dict(choices=["b", "", " c"], labels=[1, 0, 0]), mc2_targets=dict(choices=["b", "", " c"], labels=[1, 1, 0])),
    dict(question="Why? ", mc1_targets=dict(choices=["z first", "a last"], labels=[1, 0]), mc2_targets=dict(choices=["No", "yes", "Maybe"], labels=[1, 0, 0])),
]

BOOLQ = [dict(question=question, passage=passage, idx=i, label=label) for i, (question, passage, label) in enumerate([
    ("is it so", "It is so.", 1), ("", "", 0), (" is it [so]?", "[1, 2]", 1), ("?", " \n", 0)])]
CB = [dict(premise=premise, hypothesis=hypothesis, idx=i, label=label) for i, (premise, hypothesis, label) in enumerate([
    ("A: I think so. ", "so", 0), ("", "", 1), ("{\"a\": 1}", " \"quoted\"", 2)])]
RTE = [dict(row, label=row["label"] % 2) for row in CB]
COPA = [dict(premise=premise, choice1=a, choice2=b, question=question, idx=i, label=label)
        for i, (premise, a, b, question, label) in enumerate([
            ("The man fell. ", "He slipped.", "HE ran.", "cause", 0), ("", "Same.", "Same.", "effect", 1),
            (".", "Élan.", " blank first", "effect", 1), ("No stop", "[1]", "\"Q\"", "cause", 0)])]
MULTIRC = [dict(paragraph=paragraph, question=question, answer=answer, label=label, idx=dict(paragraph=i, question=0, answer=0))
           for i, (paragraph, question, answer, label) in enumerate([
               ("P one.", "Q? ", "yes", 1), ("", "", "", 0), ("[1]", "{}", "'tis the dogs'", 0), ("P", "Q", " two\nlines ", 1)])]
WIC = [dict(word=word, sentence1=a, sentence2=b, start1=a.find(word), end1=a.find(word) + len(word), start2=0, end2=0, idx=i, label=label)
       for i, (word, a, b, label) in enumerate([
           ("bank", "Élan at the bank .", "A bank", 1), ("go", "Let's  go", "", 0), ("]", "[a]", "{\"b\": 2}", 0)])]
WSC = [dict(text=text, span1_index=0, span1_text=noun, span2_index=place, span2_text=pronoun, idx=i, label=label)
       for i, (text, noun, place, pronoun, label) in enumerate([
           ("Ann asked Bob if he could n't come , but \"he\" stayed ( home ) .", "Bob", 4, "he", 1),
           ("It ends with him", "", 3, "him", 0), ("It was  so \" big \" .", "a [big] one", 0, "It", 1)])]
RECORD_TEXT = "Né Bo met Al and Bo.\n@highlight\nBo left\n@highlight\n\n@highlight\nAl stayed"
RECORD = [dict(passage=RECORD_TEXT, query=query, entities=entities, answers=answers, idx=dict(passage=i, query=0))
          for i, (query, entities, answers) in enumerate([
              ("@placeholder left and @placeholder stayed", ["Bo", "Al", "Bo"], ["Bo", "Bo"]),
              ("nobody is asked for", ["Al", "Bo", "Né"], ["Né"]), ("\"@placeholder\" [left]", ["and Bo", "Bo", "Bo met Al"], ["Al", "Bo"])])]
MMLU = [dict(question=question, subject="abstract_algebra", choices=choices, answer=gold) for question, choices, gold in [
    (" What is 1 + 1?\n", ["1", "2", "3", "4"], 1), ("", ["", "", "", ""], 0), ("[1, 2]", ["a, \"b\"", "a, \"b\"", " c ", "None"], 3)]]


def nested(row):
    choices = [dict(text=text, label=label) for text, label in zip(row["choices"]["text"], row["choices"]["label"])]
    return dict(id=row["id"], question=dict(stem=row.get("question", row.get("question_stem")), choices=choices), answerKey=row["answerKey"])


def keyed(row):
    pairs = lambda targets: dict(zip(targets["choices"], targets["labels"]))
    return dict(question=row["question"], mc1_targets=pairs(row["mc1_targets"]), mc2_targets=pairs(row["mc2_targets"]))


def named(*labels):
    return lambda row: row | dict(label=labels[row["label"]])


def in_paragraphs(row):
    answers = [dict(text=row["answer"], label=row["label"])]
    return dict(passage=dict(text=row["paragraph"], questions=[dict(question=row["question"], answers=answers)]))


def with_target(row):
    target = {key: row[key] for key in row if key.startswith("span")}
    return dict(text=row["text"], target=target, label=bool(row["label"]))


def with_spans(row):
    """SuperGLUE's own file says where in the text each entity stands, its end included."""
    text = row["passage"]
    spans = [dict(start=text.index(name), end=text.index(name) + len(name) - 1) for name in row["entities"]]
    asked = dict(query=row["query"], answers=[dict(text=text) for text in row["answers"]])
    return dict(passage=dict(text=text, entities=spans), qas=[asked])


def without_names(row):
    """A row of MMLU's CSV."""
    return [row["question"], *row["choices"], "ABCD"[row["answer"]]]


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
    "boolq": (BOOLQ, named(False, True), "super_glue/boolq/default.yaml", "validation"),
    "cb": (CB, named("entailment", "contradiction", "neutral"), "super_glue/cb/default.yaml", "validation"),
    "copa": (COPA, dict, "super_glue/copa/default.yaml", "validation"),
    "sglue_rte": (RTE, named("entailment", "not_entailment"), "super_glue/rte/default.yaml", "validation"),
    "multirc": (MULTIRC, in_paragraphs, "super_glue/multirc/default.yaml", "validation"),
    "wic": (WIC, named(False, True), "super_glue/wic/default.yaml", "validation"),
    "wsc": (WSC, with_target, "super_glue/wsc/default.yaml", "validation"),
    "record": (RECORD, with_spans, "super_glue/record/default.yaml", "validation"),
    "mmlu": (MMLU, without_names, "mmlu/default/mmlu_abstract_algebra.yaml", "test"),
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
                f"dataset_kwargs:\n  data_files: {{{split}: {file}, dev: {file}}}\n  cache_dir: {folder / 'cache'}\n{splits}")
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        for name, (rows, published, include, split) in TASKS.items():
            [task] = manager.load([f"{name}_rows"])["tasks"].values()
            task.build_all_requests(rank=0, world_size=1)
            asked = {}
            for request in task.instances:
                asked.setdefault(request.doc_id, []).append(list(request.args))
            golds, scores = [], []
            for number, doc in enumerate(task.eval_docs):
                gold = task.doc_to_text(doc) if name == "winogrande" else task.doc_to_target(doc)
                if name == "record":
                    doc_golds = [i for i, entity in enumerate(doc["entities"]) if entity in doc["answers"]]
                mc2 = [i for i, label in enumerate(rows[number]["mc2_targets"]["labels"]) if label] if name == "truthfulqa_mc2" else None
                if isinstance(gold, str) and name != "record":
                    gold = task.doc_to_choice(doc).index(gold)
                golds.append(doc_golds if name == "record" else mc2 or [int(gold)])
                weighed = [(nats(*pair), False) for pair in asked[number]]
                found = task.process_results(doc, weighed)
                scores.append({key: float(value) for key, value in found.items() if isinstance(value, (int, float))})
            golden[name] = dict(hub=rows, published=[published(row) for row in rows], pairs=[asked[i] for i in sorted(asked)],
                                golds=golds, scores=scores)
    lines = ",\n".join(f'"{name}": {{\n' + ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in part.items()) + "\n}"
                       for name, part in golden.items())
    OUT.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print({name: len(part["pairs"]) for name, part in golden.items()}, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
