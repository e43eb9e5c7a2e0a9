"""Training steps against Hugging Face PEFT on PyTorch's CPU, in turns on one quiet machine. Run by hand.

    python tests/bench_in_turns.py TENFOLD PEER_BENCH.py CONFIGS [--turns 3] [--only smollm2-135m/lora/]… [--out FILE]

PEER_BENCH.py prints one JSON line for MODEL METHOD BATCH SEQ and runs with this Python; CONFIGS holds <model>.json, from which
both sides draw random weights. PEFT's prefix tuning of BERT needs Transformers before 5.24. Rates are those of the best
step of a process, medians over the turns; ratios are medians of each turn's own. --only names the beginning of
MODEL/METHOD/WEIGHTS/BATCHxTOKENS. Results go to benches/results/training.json, each job replacing its former entry.
"""
import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys

SMOL, MINI, T5 = "smollm2-135m", "minilm-l6", "t5-large"
EVERY = '--set target_modules="all-linear"'
# model, batch, tokens, the peer's method, ours with its settings, format of the frozen base.
JOBS = [
    (SMOL, 8, 128, "lora", f"lora {EVERY}", "f32"),
    (SMOL, 8, 128, "lora-qv", "lora", "f32"),
    (SMOL, 8, 128, "ia3", "ia3", "f32"),
    (SMOL, 8, 128, "prefix", "prefix_tuning --set num_virtual_tokens=20", "f32"),
    (SMOL, 8, 128, "prompt", "prompt_tuning --set num_virtual_tokens=20", "f32"),
    (SMOL, 8, 128, "full", "full", "f32"),
    (SMOL, 8, 128, "lora", f"lora {EVERY}", "q4_1"),
    (MINI, 32, 64, "lora-qv", "lora", "f32"),
    (MINI, 32, 64, "ia3", "ia3", "f32"),
    (MINI, 32, 64, "prefix", "prefix_tuning --set num_virtual_tokens=20", "f32"),
    (MINI, 32, 64, "prompt", "prompt_tuning --set num_virtual_tokens=20", "f32"),
    (MINI, 32, 64, "full", "full", "f32"),
    (T5, 1, 128, "lora-qv", "lora", "f32"),
    (T5, 8, 128, "lora-qv", "lora", "f32"),
    (T5, 1, 128, "ia3", "ia3", "f32"),
    (T5, 1, 128, "full", "full", "f32"),
]


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ours(program, configs, job):
    model, batch, tokens, _, method, weights = job
    name, *settings = method.split()
    task = "SEQ_CLS" if model == MINI else "SEQ_2_SEQ_LM" if model == T5 else "CAUSAL_LM"
    command = [program, "bench", "train", "--model", configs / f"{model}.json", "--random-weights", "--method", name, *settings,
               "--task", task, "--batch", str(batch), "--seq", str(tokens), "--weights", weights, "--json"]
    return run(command)


def theirs(bench, job):
    model, batch, tokens, method, *_ = job
    return run([sys.executable, bench, model, method, str(batch), str(tokens)])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program"); p.add_argument("bench"); p.add_argument("configs", type=pathlib.Path)
    p.add_argument("--turns", type=int, default=3); p.add_argument("--only", action="append")
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benches/results/training.json"))
    a = p.parse_args()
    results = json.loads(a.out.read_text()) if a.out.exists() else {}
    print(f"{'job':38} {'ours':>7} {'peer':>7} {'ratio':>6} {'matmul':>7} {'ours':>7} {'peer':>7} {'ratio':>6}")
    print(f"{'':38} {'tok/s':>7} {'tok/s':>7} {'':>6} {'share':>7} {'MB':>7} {'MB':>7}")
    for job in JOBS:
        model, batch, tokens, method, _, weights = job
        name = f"{model}/{method}/{weights}/{batch}x{tokens}"
        if a.only and not any(name.startswith(only) for only in a.only):
            continue
        turns = [(ours(a.program, a.configs, job), theirs(a.bench, job)) for _ in range(a.turns)]
        rates = [[side["tokens_per_second"]["best"] for side in turn] for turn in turns]
        peaks = [[side["peak_memory_bytes"] for side in turn] for turn in turns]
        middle = lambda numbers: statistics.median(numbers)
        result = {
            "batch": batch, "tokens": tokens, "weights": weights, "turns": a.turns,
            "tokens_per_second": middle(r[0] for r in rates), "peer_tokens_per_second": middle(r[1] for r in rates),
            "speed_ratio": middle(r[0] / r[1] for r in rates),
            "fraction_of_matmul_rate": middle(turn[0]["fraction_of_matmul_rate"] for turn in turns),
            "peak_memory_bytes": middle(m[0] for m in peaks), "peer_peak_memory_bytes": middle(m[1] for m in peaks),
            "memory_ratio": middle(m[0] / m[1] for m in peaks),
            "simd": turns[0][0]["simd"], "threads": turns[0][0]["threads"], "version": turns[0][0]["version"],
            "peer_versions": turns[0][1]["versions"], "machine": platform.machine(),
        }
        results[name] = result
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(results, indent=2) + "\n")
        print(f"{name:38} {result['tokens_per_second']:7.0f} {result['peer_tokens_per_second']:7.0f} "
              f"{result['speed_ratio']:6.2f} {result['fraction_of_matmul_rate']:7.0%} {result['peak_memory_bytes'] / 1e6:7.0f} "
              f"{result['peer_peak_memory_bytes'] / 1e6:7.0f} {result['memory_ratio']:6.3f}", flush=True)


main()
