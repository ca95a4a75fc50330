"""What a training step costs in p processes, as a model: held against the measured points, and for 8, 64 and 512 GPUs.

    python benchmarks/scale_model.py          # print the tables of docs/scale.md
    python benchmarks/scale_model.py --write  # write them

step(p) = fixed + row · B / p + all_reduce(p): `fixed` is what each process does whatever its rows (launches, the
optimizer's walk over the weights), `row` the time of an image, B the images of all processes together.

benchmarks/processes.json is a list of measurements: {"preset", "batch_size", "world_size", "threads", "images" of an
epoch, "seconds" of each epoch, "comm_bytes" that a process reduces in a step, "parameters", "device"}.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

ROOT = Path(__file__).resolve().parent.parent
PAGE, POINTS = ROOT / "docs" / "scale.md", ROOT / "benchmarks" / "processes.json"
BLOCK = re.compile(r"(<!-- (?P<name>\w+): .*? -->\n).*?(\n<!-- end of (?P=name) -->)", re.DOTALL)


class Link(NamedTuple):
    """What connects the processes."""

    bandwidth: float  # bytes per second that a process sends while it receives as many
    latency: float  # seconds of a message


# Public figures of an H100 SXM node, and assumptions; nothing of this was measured here.
NODE = 8  # GPUs
NVLINK = Link(450e9, 3e-6)  # 900 GB/s in both directions together (NVIDIA's data sheet); latency assumed
INFINIBAND = Link(8 * 50e9, 8e-6)  # eight 400 Gb/s ports of a node (NDR), shared by its eight rings; latency assumed
FLOPS = 0.4 * 989e12  # bf16, dense (data sheet); two fifths of it assumed
MEMORY = 3.35e12  # bytes per second (data sheet)
LAUNCHES = 100e-6  # seconds of a step's kernels however small its batch; assumed
ADAM_BYTES = 30  # of a weight in a step: weight and two means read and written in float32, gradient in bf16 twice


def all_reduce(processes: int, size: float, link: Link) -> float:
    """Seconds to sum `size` bytes over processes: by a ring or a tree, whichever is quicker, as NCCL chooses."""
    if processes == 1:
        return 0.0
    ring = 2 * (processes - 1) / processes * size / link.bandwidth + 2 * (processes - 1) * link.latency
    return min(ring, 2 * size / link.bandwidth + 2 * math.log2(processes) * link.latency)


def gpu_step(parameters: float, batch_size: float, processes: int) -> float:
    """Seconds of a step on GPUs: 6 flops per weight and image, as in dense nets."""
    fixed = LAUNCHES + ADAM_BYTES * parameters / MEMORY
    rows = 6 * parameters / FLOPS * batch_size / processes
    return fixed + rows + all_reduce(processes, 2 * parameters, NVLINK if processes <= NODE else INFINIBAND)


def fit(points: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Seconds of each point's steps, and the fitted ones: fixed and row by preset, one link, none negative."""
    presets = sorted({point["preset"] for point in points})
    steps = [statistics.median(p["seconds"]) / math.ceil(p["images"] / p["batch_size"]) for p in points]
    table = np.zeros((len(points), 2 * len(presets) + 2))
    for row, point in zip(table, points, strict=True):
        processes, place = point["world_size"], 2 * presets.index(point["preset"])
        row[place : place + 2] = 1, point["batch_size"] / processes
        row[-2:] = 2 * (processes - 1) / processes * point["comm_bytes"], 2 * (processes - 1)
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
        cells += [f"{point['comm_bytes'] / 1e6:.2f}", f"{1e6 * measured:,.0f}", f"{1e6 * model:,.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def predicted_table() -> str:
    """Steps of dense nets on 1, 8, 64 and 512 GPUs, and how many times as fast that is as one."""
    counts = (1, 8, 64, 512)
    lines = [f"| weights | batch | {' | '.join(f'{count} GPUs' for count in counts)} |", "|---" * 6 + "|"]
    for parameters in (0.8e6, 1e8, 2e9):
        for batch_size in (1024, 16_384, 262_144):
            times = [gpu_step(parameters, batch_size, p) for p in counts]
            cells = [f"{1e3 * t:,.2f} ms" + (f", {times[0] / t:.3g}×" if t != times[0] else "") for t in times]
            lines.append(f"| {parameters / 1e6:,.3g} M | {batch_size:,} | {' | '.join(cells)} |")
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
