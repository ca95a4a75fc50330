"""A run in words and plain figures: the header, results.json, the closing table."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from vae.config import Config
from vae.data import Splits
from vae.evaluate import EVAL_SEED
from vae.machine import peak_memory_mb

SPLITS = ("train", "val", "test")
Table = list[tuple[str, str]]


def header(splits: Splits, config: Config, *, parameters: int, device: str, run_dir: Path, done: int) -> Table:
    """What a person should know before the first epoch ends."""
    sizes = [f"{len(splits.train):,} train", f"{len(splits.test):,} test"]
    if splits.val:
        sizes.insert(1, f"{len(splits.val):,} validation")
    shape = "×".join(map(str, splits.image_shape[1:]))
    table = [
        ("data", f"{splits.title}, {', '.join(sizes)}, {shape}, {config.protocol}"),
        ("model", f"{config.model_name}, {parameters:,} parameters"),
        ("device", f"{device}; training {config.precision}, evaluation fp32"),
        ("output", str(run_dir)),
        ("watch", f"tensorboard --logdir {config.log_dir}"),
    ]
    if done:
        table.insert(0, ("resume", f"{done} of {config.num_epochs} epochs are done"))
    return table


def results(splits: Splits, config: Config, rows: list[dict[str, Any]], *, parameters: int) -> dict[str, Any]:
    """The closing figures, as results.json holds them.

    Args:
        splits: the data.
        config: every knob.
        rows: metrics.jsonl, an epoch each.
        parameters: number of the model's parameters.
    """
    last = rows[-1]
    found: dict[str, Any] = {
        "dataset": splits.title,
        "protocol": config.protocol,
        "unit": "nats per image",
        "evaluation": f"float32, one posterior sample per image, noise seed {EVAL_SEED}",
        "epoch": last["epoch"],
    }
    for split in SPLITS:
        terms = {name.partition("/")[2]: value for name, value in last.items() if name.startswith(f"{split}/")}
        found |= {split: terms} if terms else {}
    if splits.val:
        best = min(rows, key=lambda row: row["val/loss"])
        found["best"] = {name: best[name] for name in ("epoch", "val/loss", "test/loss")}
    return found | {
        "parameters": parameters,
        "train_seconds": sum(row["seconds"] for row in rows),
        "seconds_per_epoch": statistics.median(row["seconds"] for row in rows),
        "images_per_second": statistics.median(row["images_per_second"] for row in rows),
        "peak_memory_mb": peak_memory_mb(),
    }


def closing_table(found: dict[str, Any], run_dir: Path) -> Table:
    """What came of the run and where it lies."""
    table: Table = []
    for split in SPLITS:
        if split in found:
            terms = found[split]
            table.append((split, f"{terms['loss']:.2f} = {terms['recon']:.2f} recon + {terms['kl']:.2f} KL"))
    if "best" in found:
        best = found["best"]
        table.append(("best", f"epoch {best['epoch']}: val {best['val/loss']:.2f}, test {best['test/loss']:.2f}"))
    speed = f"{found['seconds_per_epoch']:.2f} s per epoch, {found['images_per_second']:,.0f} images/s"
    pictures = ", ".join(sorted(path.name for path in run_dir.glob("*.png")))
    files = f"{run_dir} (checkpoints/last.pt, metrics.jsonl, results.json)"
    return [*table, ("speed", speed), ("pictures", pictures), ("files", files)]
