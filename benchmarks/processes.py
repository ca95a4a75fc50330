"""What several processes gain on one machine: `make bench`.

One process of one thread, and two and more of them that share each batch, take turns epoch by epoch. Both train
compiled, and really: their losses stand beside the speed. Medians are compared; the first epoch, and the compiling
after it, are left out.

    python benchmarks/processes.py --write             # mlp-2d and mlp-20d at batches of 256 and 1,024
    python benchmarks/processes.py --presets mlp-2d    # one of them, to look at
    python benchmarks/processes.py --table             # only rewrite the table of docs/scale.md
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import count, product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from results import write_table
from throughput import ask

from vae.config.presets import configure
from vae.system.files import write_json

STORE = ROOT / "benchmarks" / "processes.json"
TABLE = "docs/scale.md", "<!-- processes: written by `make bench` -->", "<!-- end of processes -->"
PRESETS, BATCH_SIZES = ("mlp-2d", "mlp-20d"), (256, 1024)

Entry = dict[str, Any]


def serve(preset: str, batch_size: int) -> None:
    """Train an epoch for every line that comes in, and answer with a line of JSON: what torchrun starts."""
    import torch
    import torch.distributed as dist

    from vae.data.datasets import load_splits
    from vae.model.build import build_model
    from vae.system import memory
    from vae.system.distributed import process_group
    from vae.system.machine import resolve_precision
    from vae.training.epoch import train_epoch
    from vae.training.optimizer import build_optimizer
    from vae.training.step import TrainingStep

    config = configure({"preset": preset, "batch_size": batch_size, "device": "cpu"})
    config = dataclasses.replace(config, precision=resolve_precision("auto", torch.device("cpu")))
    split = load_splits("mnist", ROOT / "data").train
    torch.set_num_threads(1)
    memory.keep_freed()  # as a run does
    torch.manual_seed(0)
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10)
    generator = torch.Generator().manual_seed(0)
    with process_group("cpu") as processes:
        step = TrainingStep(model, build_optimizer(config, model), config, processes=processes)
        answer: dict[str, float] = {}  # ready
        for number in count(1):
            if processes.is_main:
                print(json.dumps(answer), flush=True)
            line = [sys.stdin.readline() if processes.is_main else ""]
            if processes.world_size > 1:
                dist.broadcast_object_list(line)
            if not line[0]:
                return
            started = time.perf_counter()
            metrics = train_epoch(step, split, epoch=number, generator=generator)
            answer = {"seconds": time.perf_counter() - started, "loss": metrics["loss"]}
            if step.compiled is None:
                step.compile(split, epoch=number + 1)


def compare(preset: str, batch_size: int, *, sizes: list[int], num_epochs: int) -> list[Entry]:
    """Let one process and more of them take turns for `num_epochs` epochs."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    work = [__file__, "--serve", "--presets", preset, "--batch_sizes", str(batch_size)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    servers = {
        size: subprocess.Popen(
            [*torchrun, "--nproc_per_node", str(size), *work],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for size in sizes
    }
    answers: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    try:
        for server in servers.values():
            ask(server, None)
        for _ in range(num_epochs):
            for size, server in servers.items():
                answers[size].append(ask(server, "go"))
    finally:
        for server in servers.values():
            server.communicate()  # at the end of its input it leaves
    return [
        {
            "preset": preset,
            "batch_size": batch_size,
            "world_size": size,
            "threads": 1,
            "device": "cpu",
            "images": 60_000,
            "seconds": [answer["seconds"] for answer in given[1:]],
            "loss": given[-1]["loss"],
        }
        for size, given in answers.items()
    ]


def table(entries: list[Entry]) -> str:
    """The table: medians over the epochs, ratios of medians to those of one process."""
    lines = [
        "| preset | batch | processes | s per epoch | images/s | against one | loss after the epochs |",
        "|---|---|---|---|---|---|---|",
    ]
    one: dict[tuple[str, int], float] = {}
    for entry in sorted(
        entries, key=lambda entry: (PRESETS.index(entry["preset"]), entry["batch_size"], entry["world_size"])
    ):
        seconds, group = statistics.median(entry["seconds"]), (entry["preset"], entry["batch_size"])
        ratio = one.setdefault(group, seconds) / seconds
        lines.append(
            f"| `{entry['preset']}` | {entry['batch_size']:,} | {entry['world_size']} | {seconds:.2f} "
            f"| {entry['images'] / seconds:,.0f} | {ratio:.2f}× | {entry['loss']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for and print it; with `--write`, keep it and write the table of docs/scale.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2], help="numbers of processes, 1 first")
    parser.add_argument("--num_epochs", type=int, default=6, help="the first of them is not timed")
    parser.add_argument("--write", action="store_true", help="keep the measurements, and write docs/scale.md")
    parser.add_argument("--table", action="store_true", help="rewrite the table of docs/scale.md from what was kept")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.presets[0], args.batch_sizes[0])
    kept: list[Entry] = json.loads(STORE.read_text()) if STORE.exists() and (args.write or args.table) else []
    for preset, batch_size in () if args.table else product(args.presets, args.batch_sizes):
        entries = compare(preset, batch_size, sizes=args.processes, num_epochs=args.num_epochs)
        print(table(entries), flush=True)
        kept = [old for old in kept if (old["preset"], old["batch_size"]) != (preset, batch_size)] + entries
        if args.write:
            write_json(STORE, kept)
    if args.write or args.table:
        write_table(*TABLE, table(kept))
    return None


if __name__ == "__main__":
    main()
