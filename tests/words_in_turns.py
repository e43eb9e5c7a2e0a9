"""Words of a GGUF model against llama.cpp, in turns on one quiet machine, without and with a LoRA on. Run by hand.

    python tests/words_in_turns.py TENFOLD MODEL.gguf [--turns 3] [--out benches/results/generation.json]

Needs `xllamacpp` (llama.cpp as a Python package) and `gguf`. Both sides read 128 tokens, write 64 and use two threads; the
LoRA has rank 8 on all linear maps, with random numbers. Rates are medians of a process's repetitions, the first left out;
ratios are medians of each turn's own.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import urllib.request

PROMPT, WORDS, REPETITIONS, RANK = 128, 64, 4, 8
LINEAR = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]


def write_lora(model, path):
    """A llama.cpp adapter with random numbers for all linear maps of the model."""
    import gguf
    import numpy as np
    reader, draw = gguf.GGUFReader(model), np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, bytes(reader.get_field("general.architecture").parts[-1]).decode())
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for tensor in reader.tensors:
        if any(f".{name}.weight" in tensor.name for name in LINEAR):
            inputs, outputs = (int(n) for n in tensor.shape)
            a, b = draw.normal(0, 0.02, (RANK, inputs)), draw.normal(0, 0.02, (outputs, RANK))
            writer.add_tensor(tensor.name + ".lora_a", a.astype(np.float32))
            writer.add_tensor(tensor.name + ".lora_b", b.astype(np.float32))
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()


def serve(model, lora):
    """Prints words a second and prompt tokens a second of each repetition."""
    import xllamacpp as llama
    params = llama.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.cpuparams.n_threads = str(model), 512, 1, 2
    if lora:
        params.lora_adapters = [llama.CommonAdapterLoraInfo(str(lora), 1.0)]
    server = llama.Server(params)
    body = {"prompt": " ".join(["word"] * PROMPT), "n_predict": WORDS, "temperature": 0, "top_k": 1, "cache_prompt": False,
            "ignore_eos": True}
    for _ in range(REPETITIONS):
        request = urllib.request.Request(server.listening_address + "/completion", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        timings = json.load(urllib.request.urlopen(request))["timings"]
        print("TURN", timings["predicted_per_second"], timings["prompt_per_second"], timings["prompt_n"], flush=True)
    import os
    os._exit(0)


def theirs(model, lora):
    command = [sys.executable, "-u", __file__, "--serve", str(model)] + (["--lora", str(lora)] if lora else [])
    printed = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    turns = [line.split() for line in printed.splitlines() if line.startswith("TURN")][1:]
    return tuple(statistics.median(float(turn[i]) for turn in turns) for i in (1, 2))


def ours(program, model, lora):
    method = ["--method", "lora", "--set", 'target_modules="all-linear"'] if lora else []
    command = [program, "bench", "generate", "--model", str(model), *method, "--threads", "2", "--prompt-tokens", str(PROMPT),
               "--new-tokens", str(WORDS), "--repetitions", str(REPETITIONS), "--json"]
    line = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return line["new_tokens_per_second"]["median"], line["prompt_tokens_per_second"]["median"], line


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program", nargs="?"); p.add_argument("model", nargs="?", type=pathlib.Path)
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benches/results/generation.json"))
    p.add_argument("--serve"); p.add_argument("--lora")
    a = p.parse_args()
    if a.serve:
        return serve(a.serve, a.lora)
    results = json.loads(a.out.read_text()) if a.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        adapter = pathlib.Path(folder) / "lora.gguf"
        write_lora(a.model, adapter)
        for name, lora in [("base", None), ("lora", adapter)]:
            turns = [(ours(a.program, a.model, lora), theirs(a.model, lora)) for _ in range(a.turns)]
            middle = lambda numbers: round(statistics.median(numbers), 3)
            result = {
                "model": a.model.name, "turns": a.turns, "new_tokens_per_second": middle(o[0] for o, _ in turns),
                "peer_new_tokens_per_second": middle(t[0] for _, t in turns), "ratio": middle(o[0] / t[0] for o, t in turns),
                "prompt_tokens_per_second": middle(o[1] for o, _ in turns),
                "peer_prompt_tokens_per_second": middle(t[1] for _, t in turns),
                "prompt_ratio": middle(o[1] / t[1] for o, t in turns), "ours": turns[-1][0][2],
            }
            results[f"{a.model.stem}/{name}"] = result
            a.out.parent.mkdir(parents=True, exist_ok=True)
            a.out.write_text(json.dumps(results, indent=2) + "\n")
            print(name, *(f"{key} {value}" for key, value in result.items() if key != "ours"), sep="\n  ", flush=True)


main()
