"""A run in words and plain figures: config.json, the header, results.json, the closing table."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from vae.config import Config
from vae.data.datasets import Splits
from vae.evaluation.elbo import EVAL_SEED
from vae.model.losses import Terms
from vae.system.console import Table, short_path
from vae.system.machine import git_commit, peak_memory_mb, versions

SPLITS = ("train", "val", "test")
COLLAPSED = (
    "No latent carries anything about the image: posterior collapse, or training that has hardly begun.",
    "Train for longer, or try --kl_warmup_epochs 10, a smaller --beta or, with the standard prior, --free_bits 0.1.",
)


def protocol(config: Config, splits: Splits) -> str:
    """How pixels are made into targets and scored, of these images; no likelihood is printed without it."""
    pixels = config.protocol if splits.image_shape[0] == 1 else config.protocol.replace("grey", "colour")
    given = "given the class" if config.conditional else ""
    return ", ".join(filter(None, [pixels, splits.note, given]))


def facts(config: Config, splits: Splits, *, protocol: str, parameters: int, device: str) -> dict[str, Any]:
    """What defines a run and where it ran, as config.json holds it."""
    return {
        "config": config.to_dict(),
        "dataset": splits.title,
        "fallback": splits.fallback,
        "protocol": protocol,
        "parameters": parameters,
        "seed": config.seed,
        "device": device,
        "versions": versions(),
        "git_commit": git_commit(),
    }


def header(config: Config, splits: Splits, known: dict[str, Any], *, run_dir: Path, done: int) -> Table:
    """What a person should know before the first epoch ends; `known` are the run's `facts`."""
    sizes = [f"{len(splits.train):,} train", f"{len(splits.test):,} test"]
    if splits.val:
        sizes.insert(1, f"{len(splits.val):,} validation")
    shape = "×".join(map(str, splits.image_shape[1:] + splits.image_shape[:1]))
    table = [
        ("data", f"{splits.title}, {', '.join(sizes)}, {shape.removesuffix('×1')}, {known['protocol']}"),
        ("model", f"{config.model_name}, {known['parameters']:,} parameters"),
        ("recipe", config.recipe),
        ("device", f"{known['device']}; training {config.precision}, evaluation fp32"),
        ("output", short_path(run_dir)),
        ("watch", f"tensorboard --logdir {short_path(Path(config.log_dir))}"),
    ]
    if done:
        table.insert(0, ("resume", f"{done} of {config.num_epochs} epochs are done"))
    return table


def results(splits: Splits, rows: list[dict[str, Any]], *, protocol: str, parameters: int) -> dict[str, Any]:
    """The closing figures, as results.json holds them.

    Args:
        splits: the data.
        rows: metrics.jsonl, an epoch each.
        protocol: how pixels are made into targets and scored.
        parameters: number of the model's parameters.
    """
    last = rows[-1]
    found: dict[str, Any] = {
        "dataset": splits.title,
        "protocol": protocol,
        "unit": "nats per image",
        "evaluation": f"float32, beta 1, one posterior sample per image, noise seed {EVAL_SEED}",
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


def epoch_line(row: dict[str, Any], num_epochs: int) -> str:
    """One epoch in one line: losses with their terms (nats per image), seconds and speed."""
    width = len(str(num_epochs))
    parts = [f"epoch {row['epoch']:>{width}}/{num_epochs}"]
    for split in ("train", "val", "test"):
        if f"{split}/loss" in row:
            parts.append(f"{split} {Terms.of(row, split)}")
    parts.append(f"{row['seconds']:.1f} s, {row['images_per_second']:,.0f} images/s")
    return "  ".join(parts)


def closing_table(found: dict[str, Any], run_dir: Path) -> Table:
    """What came of the run and where it lies."""
    table: Table = []
    for split in SPLITS:
        if split in found:
            terms = found[split]
            table.append((split, Terms(terms["recon"], terms["kl"]).named()))
    if "best" in found:
        best = found["best"]
        table.append(("best", f"epoch {best['epoch']}: val {best['val/loss']:.2f}, test {best['test/loss']:.2f}"))
    test = found["test"]
    active, latents = test["active_units"], len(test["kl_per_dim"])
    idle = "" if active == latents else "; the rest carry nothing (--free_bits and --kl_warmup_epochs keep more alive)"
    train = found["train"]
    if abs(train["loss"] + train["elbo"]) > 1e-3 * abs(train["loss"]):
        table.append(("loss", f"{train['loss']:.2f} as minimised in the last epoch, with its weight of the KL"))
    speed = f"{found['seconds_per_epoch']:.2f} s per epoch, {found['images_per_second']:,.0f} images/s"
    return [
        *table,
        ("latents", f"{active} of {latents} active{idle}"),
        ("speed", speed),
        ("pictures", ", ".join(sorted(path.name for path in run_dir.glob("*.png")))),
        ("report", f"{short_path(run_dir / 'report.html')}: open it in a browser"),
        ("files", f"{short_path(run_dir)} (checkpoints/last.pt, metrics.jsonl, results.json)"),
    ]
