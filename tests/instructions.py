"""Instructions of the two hot kernels, counted by callgrind: the same on a busy machine as on a quiet one.

    cargo build --release -p tenfold-kernels --example hot_kernel
    python tests/instructions.py [--write]

Fails if a kernel takes over 2 % more than benches/results/instructions.json says; --write replaces that. Callgrind knows
no AVX-512: counted are the AVX2 kernels, which share all but their vectors' width with the others.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent
PROGRAM = ROOT / "target/release/examples/hot_kernel"
KNOWN = ROOT / "benches/results/instructions.json"


def instructions(kernel, times):
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", PROGRAM, kernel, str(times)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", said).group(1))


def main():
    # The difference leaves out what comes before and after.
    counts = {kernel: (instructions(kernel, 3) - instructions(kernel, 1)) // 2 for kernel in ["matmul", "attention"]}
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    for kernel, count in counts.items():
        more = count / known.get(kernel, count) - 1
        print(f"{kernel:10} {count:>14,} instructions ({more:+.1%})")
    if "--write" in sys.argv:
        KNOWN.parent.mkdir(parents=True, exist_ok=True)
        KNOWN.write_text(json.dumps(counts, indent=2) + "\n")
    elif any(count > 1.02 * known.get(kernel, count) for kernel, count in counts.items()):
        sys.exit("a kernel takes more instructions than before")


main()
