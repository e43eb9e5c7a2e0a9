"""Training speed and peak memory against a plain Transformers + PEFT loop, in turns on one quiet machine.

    tenfold run studies/peer.toml --out RUN
    python tests/vader_as_tsv.py DATA 2000
    python tests/against_peer.py TENFOLD RUN PEER_STUDY.py MODEL_DIR DATA [TURNS]

PEER_STUDY.py prints one JSON line for MODEL TRAIN.tsv EVAL.tsv METHOD; it runs with this Python, on two threads. The
medians of the turns and their ratios are printed. Tenfold's figures are those of its probe: the examples of the timed
steps by their seconds, and the operating system's peak of the probe's process.
"""
import json
import pathlib
import statistics
import subprocess
import sys

PEERS = {"full": "full", "linear_probe": "head", "bitfit": "bitfit", "lora": "lora", "ia3": "ia3",
         "prefix_tuning": "prefix", "prompt_tuning": "prompt", "p_tuning": "p_tuning"}
ROWS = 640


def records(run):
    for path in run.glob("trials/*/record.json"):
        yield path.parent.name, json.loads(path.read_text())


def ours(tenfold, run, trial):
    subprocess.run([tenfold, "probe", run, trial], check=True, capture_output=True)
    probed = json.loads((run / "trials" / trial / "record.json").read_text())["measured"]["probe"]
    speeds, memory = [one["training"]["speed"] for one in probed["rounds"]], probed["training_memory"]
    seconds = sum(sum(speed["batch_seconds"]) for speed in speeds)
    return sum(speed["examples"] for speed in speeds) / seconds, memory["process_peak_bytes"]


def theirs(study, model, data, method):
    command = [sys.executable, study, model, data / "movie_train.tsv", data / "few.tsv", method,
               "--epochs", "1", "--max-train", str(ROWS)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = json.loads(printed.strip().splitlines()[-1])
    return line["examples_per_second"], line["peak_memory_bytes"]


def main():
    tenfold, run, study, model, data = sys.argv[1], *map(pathlib.Path, sys.argv[2:6])
    turns = int(sys.argv[6]) if len(sys.argv) > 6 else 3
    (data / "few.tsv").write_text("".join((data / "movie.tsv").read_text().splitlines(True)[:64]))
    probes = {r["trial"]["method"]: name for name, r in records(run) if "probe" in r["measured"]}
    print(f"{'method':14} {'ours':>7} {'peer':>7} {'ratio':>6}  {'ours':>8} {'peer':>8} {'ratio':>6}")
    print(f"{'':14} {'ex/s':>7} {'ex/s':>7} {'':>6}  {'MB':>8} {'MB':>8}")
    for method, peer in PEERS.items():
        pairs = [(ours(tenfold, run, probes[method]), theirs(study, model, data, peer)) for _ in range(turns)]
        (speed, memory), (peer_speed, peer_memory) = (
            [statistics.median(figures) for figures in zip(*side)] for side in zip(*pairs))
        ratio = statistics.median(a[0] / b[0] for a, b in pairs)
        print(f"{method:14} {speed:7.1f} {peer_speed:7.1f} {ratio:6.2f}  "
              f"{memory / 1e6:8.0f} {peer_memory / 1e6:8.0f} {memory / peer_memory:6.3f}", flush=True)


main()
