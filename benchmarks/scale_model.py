"""What a training step costs in p processes: a model held against measured points, and predictions for GPUs.

    python benchmarks/scale_model.py --write  # the tables of docs/scale.md, which has the model; else print them

benchmarks/processes.json, which processes.py writes, is a list of measurements: {"preset", "batch_size", "world_size",
"threads", "images" of an epoch, "seconds" of each epoch, "device"}. A step sums a bfloat16 gradient of every weight.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vae.config.presets import configure
from vae.model.build import build_model

PAGE, POINTS = ROOT / "docs" / "scale.md", ROOT / "benchmarks" / "processes.json"
BLOCK = re.compile(r"(<!-- (?P<name>measured|predicted): .*? -->\n).*?(\n<!-- end of (?P=name) -->)", re.DOTALL)


# Public figures of an H100 SXM node, and assumptions; nothing of this was measured here.
NODE = 8  # GPUs
Link = tuple[float, float]  # bytes per second that a process sends while it receives as many; seconds of a message
NVLINK: Link = (450e9, 3e-6)  # 900 GB/s in both directions together (NVIDIA's data sheet); latency assumed
INFINIBAND: Link = (8 * 50e9, 8e-6)  # eight 400 Gb/s ports of a node (NDR), shared by its eight rings; latency assumed
FLOPS = 0.4 * 989e12  # bf16, dense (data sheet); two fifths of it assumed
MEMORY = 3.35e12  # bytes per second (data sheet)
LAUNCHES = 100e-6  # seconds of a step's kernels however small its batch; assumed
ADAM_BYTES = 30  # of a weight in a step: weight and two means read and written in float32, gradient in bf16 twice


def all_reduce(processes: int, size: float, link: Link) -> float:
    """Seconds to sum `size` bytes over processes: by a ring or a tree, whichever is quicker, as NCCL chooses."""
    if processes == 1:
        return 0.0
    bandwidth, latency = link
    ring = 2 * (processes - 1) / processes * size / bandwidth + 2 * (processes - 1) * latency
    return min(ring, 2 * size / bandwidth + 2 * math.log2(processes) * latency)


def gpu_step(parameters: float, batch_size: float, processes: int) -> float:
    """Seconds of a step on GPUs: 6 flops per weight and image, as in dense nets."""
    rows = 6 * parameters / FLOPS * batch_size / processes
    return (
        LAUNCHES
        + ADAM_BYTES * parameters / MEMORY
        + rows
        + all_reduce(processes, 2 * parameters, NVLINK if processes <= NODE else INFINIBAND)
    )


def comm_bytes(preset: str) -> int:
    """Bytes of the gradients that are summed in a step of a preset on MNIST."""
    model = build_model(configure({"preset": preset}), image_shape=(1, 28, 28), num_classes=10)
    return 2 * sum(weights.numel() for weights in model.parameters())


def fit(points: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Seconds of each point's steps, and the fitted ones: fixed and row by preset, one link, none negative."""
    presets = sorted({point["preset"] for point in points})
    steps = [statistics.median(p["seconds"]) / math.ceil(p["images"] / p["batch_size"]) for p in points]
    table = np.zeros((len(points), 2 * len(presets) + 2))
    for row, point in zip(table, points, strict=True):
        processes, place = point["world_size"], 2 * presets.index(point["preset"])
        row[place : place + 2] = 1, point["batch_size"] / processes
        row[-2:] = 2 * (processes - 1) / processes * comm_bytes(point["preset"]), 2 * (processes - 1)
    scales = table.max(0) + (table.max(0) == 0)
    weights = 1 / np.array(steps)  # relative errors count
    solution, _ = nnls(table / scales * weights[:, None], np.ones(len(points)))
    return steps, list(table / scales @ solution)


def measured_table() -> str:
    """The model held against the measured points."""
    if not POINTS.exists():
        return "No points have been measured yet."
    points = [point for point in json.loads(POINTS.read_text("utf-8")) if point["device"] == "cpu"]
    lines = [
        "| preset | batch | processes | MB summed | measured µs per step | model µs |",
        "|---|---|---|---|---|---|",
    ]
    for point, measured, model in zip(points, *fit(points), strict=True):
        cells = [f"`{point['preset']}`", f"{point['batch_size']:,}", point["world_size"]]
        cells += [f"{comm_bytes(point['preset']) / 1e6:.2f}", f"{1e6 * measured:,.0f}", f"{1e6 * model:,.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def predicted_table() -> str:
    """Steps of dense nets on 1, 8, 64 and 512 GPUs, and how many times as fast that is as one."""
    counts = (1, 8, 64, 512)
    lines = ["| weights | batch | 1 GPU | 8 GPUs | 64 GPUs | 512 GPUs |", "|---" * 6 + "|"]
    for parameters in (0.8e6, 1e8, 2e9):
        for batch_size in (1024, 16_384, 262_144):
            times = [gpu_step(parameters, batch_size, p) for p in counts]
            cells = [f"{1e3 * t:,.2f} ms" + (f", {times[0] / t:.3g}×" if t != times[0] else "") for t in times]
            lines.append(f"| {parameters / 1e6:,.1f} M | {batch_size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {"measured": measured_table, "predicted": predicted_table}


def rewritten(page: str) -> str:
    """The page with its tables made anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block['name']]()}\n{block[3]}", page)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
    else:
        print("\n\n".join(table() for table in TABLES.values()))
