"""Every adapter and export of a run loads with its own load.py, and answers as `tenfold eval` does. Run by hand.

    python tests/load_py.py RUN [--tenfold target/debug/tenfold] [--model BASE]

Needs torch, transformers, peft. For each adapter of the run's comparison, for what `tenfold adapter export` makes of it
(LoRA and IA3 also with --merged), and for `recommended/`: the label that `python load.py "text"` prints against that of
`tenfold eval`, and the logits in Python against those of `tenfold eval --json`, beyond 1e-4 of the largest a failure.
"""
import argparse, contextlib, io, json, pathlib, subprocess, sys, tempfile

TEXTS = ["A gripping, funny film.", "The battery died within a week!", "Not bad, but I would not see it again; dull, dull, dull."]

p = argparse.ArgumentParser()
p.add_argument("run", type=pathlib.Path)
p.add_argument("--tenfold", default="target/debug/tenfold")
p.add_argument("--model", help="the base model [default: where it was in training]")
p.add_argument("--pair", help="a second text for each, for a task of pairs")
a = p.parse_args()
texts = [[text] + ([a.pair] if a.pair else []) for text in TEXTS]

def answers(adapter, base):
    """Labels, or numbers, and logits of `tenfold eval`."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join("\t".join(text) for text in texts)); file.flush()
        out = subprocess.run([a.tenfold, "eval", "--model", base, "--adapter", str(adapter), "--texts", file.name, "--json"],
                             check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in out.splitlines()]
    return [line.get("label", line.get("number")) for line in lines], [line.get("logits", [line.get("number")]) for line in lines]

def python(folder, text, called):
    """What load.py prints, and the logits of the model that it makes: in this process, and once as people call it."""
    base = [] if (folder / "config.json").exists() or not a.model else ["--model", a.model]
    script = folder / "load.py"
    printed, sys.argv, names = io.StringIO(), [str(script), *text, *base], {"__file__": str(script), "__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        exec(compile(script.read_text(), str(script), "exec"), names)
    if called:
        out = subprocess.run([sys.executable, *sys.argv], check=True, capture_output=True, text=True).stdout
        assert out == printed.getvalue(), (out, printed.getvalue())
    return printed.getvalue().strip(), names["logits"].reshape(-1).tolist()

worst, failed = 0.0, []
def check(name, folder, expected):
    global worst
    labels, logits = expected
    off = 0.0
    for place, (text, label, ours) in enumerate(zip(texts, labels, logits)):
        printed, theirs = python(folder, text, called=place == 0)
        off = max(off, max(abs(x - y) for x, y in zip(ours, theirs)) / max(abs(y) for y in theirs))
        same = printed == label if isinstance(label, str) else abs(float(printed) - label) <= 1e-4 * abs(label)
        if not same or len(ours) != len(theirs):
            failed.append(f"{name}: {printed!r} against {label!r}")
    worst = max(worst, off)
    print(f"{name:48} off by {off:.1e}", flush=True)

with tempfile.TemporaryDirectory() as made:
    for adapter in sorted(a.run.glob("trials/*/adapter")):
        about = json.loads((adapter / "tenfold.json").read_text())
        base = a.model or about["base_model"]["path"]
        expected = answers(adapter, base)
        name = about["method"]
        check(f"{name} adapter", adapter, expected)
        for extra in [[], ["--merged"]] if name in ("lora", "ia3") else [[]]:
            out = pathlib.Path(made) / "-".join([adapter.parent.name, *extra])
            subprocess.run([a.tenfold, "adapter", "export", str(adapter), "--out", str(out), "--model", base, *extra], check=True, capture_output=True)
            check(f"{name} export {' '.join(extra)}", out, expected)
    mark = a.run / "recommended" / "exported_from.json"
    if mark.exists():
        adapter = a.run / json.loads(mark.read_text())["adapter"]
        about = json.loads((adapter / "tenfold.json").read_text())
        check(f"recommended ({about['method']})", a.run / "recommended", answers(adapter, a.model or about["base_model"]["path"]))
for failure in failed:
    print("FAILED", failure)
print(f"worst {worst:.1e}: {'ok' if worst <= 1e-4 and not failed else 'FAILED'}")
sys.exit(worst > 1e-4 or bool(failed))
