"""Where a training step's time goes, without and with `--compile`: a table of microseconds.

python benchmarks/profile_step.py                    # mlp-2d
python benchmarks/profile_step.py --preset mlp-32d
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import torch._inductor.config
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from throughput import ours

from vae.config.presets import PRESETS, configure

STEPS = 300
# The first kind with a word that is in an operation's name; Inductor names its loops after what is in them.
KINDS: dict[str, tuple[str, ...]] = {
    "matrix products": ("mm", "convolution", "mkldnn"),
    "Adam, which casts the gradients too when compiled": ("adam", "lerp"),
    "loss and activations": ("Recon", "sigmoid", "log", "prod", "clamp", "relu", "threshold", "sum", "mul", "abs"),
    "casts between float32 and bfloat16": ("copy", "graph_"),
    "the batch: gather, scale, noise": ("index", "div", "normal", "rand"),
}
REST = "all else: calls, checks, allocation"


def kind_of(name: str) -> str:
    """What an operation of that name is for."""
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)


def measure(preset: str, *, compiles: bool) -> dict[str, float]:
    """Microseconds of a step by kind, medians of five goes; what no operation accounts for is in REST."""
    torch._inductor.config.cpp.enable_kernel_profile = True
    images = STEPS * configure({"preset": preset}).batch_size
    train = ours(preset, 0, images, "cpu", compiles=compiles)
    train(1)

    def epoch() -> float:
        started = time.perf_counter()
        train(2)
        return (time.perf_counter() - started) / STEPS * 1e6

    wall = sorted(epoch() for _ in range(5))[2]
    with profile(activities=[ProfilerActivity.CPU]) as found:
        profiled = epoch()
    times: Counter[str] = Counter()
    for operation in found.key_averages():
        times[kind_of(operation.key)] += operation.self_cpu_time_total / STEPS
    del times[REST]
    slower = min(1.0, wall / profiled)  # the profiler's own share is taken off everything alike
    times = Counter({kind: value * slower for kind, value in times.items()})
    return {**{kind: times[kind] for kind in KINDS}, REST: wall - times.total(), "a step": wall}


def main() -> None:
    """Print both profiles side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="mlp-2d")
    args = parser.parse_args()
    before, after = (measure(args.preset, compiles=compiles) for compiles in (False, True))
    print(f"| `{args.preset}`, µs of a step | uncompiled | compiled |\n|---|---|---|")
    for kind in before:
        print(f"| {kind} | {before[kind]:,.0f} | {after[kind]:,.0f} |")


if __name__ == "__main__":
    main()
