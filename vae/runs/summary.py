"""A run in words and figures: what config.json and results.json hold, and what the screen shows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae.config import Config, presets
from vae.data.splits import Splits
from vae.evaluation.elbo import EVAL_SEED
from vae.model.losses import Terms
from vae.system.console import Line, Span, Table, short_path
from vae.system.machine import git_commit, peak_memory_mb, versions

SPLITS = ("train", "val", "test")
EVALUATION = f"float32, beta 1, one posterior sample per image, noise seed {EVAL_SEED}"
COLLAPSED = (
    "No latent carries information about the image: posterior collapse, or training that has hardly begun.",
    "Train for longer, or try --kl_warmup_epochs 10, a smaller --beta or, with the standard prior, --free_bits 0.1.",
)


def protocol(config: Config, splits: Splits, likelihood: str) -> str:
    """How pixels are made into targets and scored by the likelihood of this name; printed with every figure of it."""
    pixels = config.protocol_with(likelihood)
    pixels = pixels if splits.image_shape[0] == 1 else pixels.replace("grey", "colour", 1)
    given = "given the class" if config.conditional else ""
    return ", ".join(filter(None, [pixels, splits.note, given]))


def captions(config: Config, splits: Splits, likelihood: str) -> dict[str, Any]:
    """What pictures of a model say about its data, as a checkpoint holds it."""
    words = protocol(config, splits, likelihood)
    return {"title": splits.title, "protocol": words, "class_names": list(splits.class_names)}


def describe_run(config: Config, splits: Splits, *, likelihood: str, parameters: int, device: str) -> dict[str, Any]:
    """What defines a run and where it ran, as config.json holds it."""
    return {
        "config": config.to_dict(),
        "dataset": splits.title,
        "fallback": splits.fallback,
        "protocol": protocol(config, splits, likelihood),
        "likelihood": likelihood,
        "parameters": parameters,
        "seed": config.seed,
        "device": device,
        "versions": versions(),
        "git_commit": git_commit(),
    }


def markdown(config: Config, description: dict[str, Any]) -> str:
    """The command that trains a run again, what defines the run, and every knob; in bold, those changed in its preset.

    `description` is `describe_run`'s.
    """
    about = {"data": description["dataset"], "protocol": description["protocol"], "model": config.model_name}
    about |= {"recipe": config.recipe, "parameters": f"{description['parameters']:,}", "device": description["device"]}
    usual = presets.configure({"preset": config.preset}).to_dict()
    lines = ["| knob | value |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in about.items())]
    for name, value in config.to_dict().items():
        lines.append(f"| {name} | {f'**{_cell(value)}**' if value != usual[name] else _cell(value)} |")
    origin = {"commit": description["git_commit"] or "unknown", **description["versions"]}
    lines += [f"| {name} | {_cell(value)} |" for name, value in origin.items()]
    return "\n".join([f"    {presets.command_line(config)}", "", *lines])


def _cell(value: Any) -> str:
    """A value in a table's cell, in Markdown."""
    return presets.knob_text(value).replace("|", r"\|")


def header(config: Config, splits: Splits, description: dict[str, Any], run_dir: Path, epochs_done: int) -> Table:
    """What a person should know before the first epoch ends; `description` is `describe_run`'s."""
    sizes = [f"{len(splits.train):,} train", f"{len(splits.test):,} test"]
    if splits.val:
        sizes.insert(1, f"{len(splits.val):,} validation")
    shape = "×".join(map(str, splits.image_shape[1:] + splits.image_shape[:1]))
    table = [
        ("data", f"{splits.title}, {', '.join(sizes)}, {shape.removesuffix('×1')}, {description['protocol']}"),
        ("model", f"{config.model_name}, {description['parameters']:,} parameters"),
        *([("nets", f"run from {config.nets}")] if config.nets else []),
        ("recipe", config.recipe),
        ("device", f"{description['device']}; training {config.precision}, evaluation fp32"),
        ("output", short_path(run_dir)),
        ("watch", f"tensorboard --logdir {short_path(Path(config.log_dir))}"),
    ]
    if epochs_done:
        table.insert(0, ("resume", f"after epoch {epochs_done} of {config.num_epochs}"))
    return table


def results(splits: Splits, rows: list[dict[str, Any]], *, protocol: str, parameters: int) -> dict[str, Any]:
    """The closing figures, as results.json holds them, from the rows of metrics.jsonl."""
    last = rows[-1]
    scores = {
        split: {tag.partition("/")[2]: value for tag, value in last.items() if tag.startswith(f"{split}/")}
        for split in SPLITS
        if f"{split}/loss" in last
    }
    if "val" in scores:
        best = min(rows, key=lambda row: row["val/loss"])
        scores["best"] = {tag: best[tag] for tag in ("epoch", "val/loss", "test/loss")}
    return {
        "dataset": splits.title,
        "protocol": protocol,
        "unit": "nats per image",
        "evaluation": EVALUATION,
        "epoch": last["epoch"],
        **scores,
        "parameters": parameters,
        "train_seconds": sum(row["seconds"] for row in rows),
        "seconds_per_epoch": statistics.median(row["seconds"] for row in rows),
        "images_per_second": statistics.median(row["images_per_second"] for row in rows),
        "peak_memory_mb": peak_memory_mb(),
    }


def epoch_lines(row: dict[str, Any], num_epochs: int, *, is_best: bool) -> list[Line]:
    """An epoch in a line, from the fullest form to the shortest: losses with their terms in nats per image, and times.

    `is_best` marks the lowest loss so far: of the validation images, or of the test images if there are none.
    """
    splits = [split for split in SPLITS if f"{split}/loss" in row]
    marked = splits[1] if is_best else ""
    seconds, speed = f"  {row['seconds']:.1f} s", f", {row['images_per_second']:,.0f} images/s"

    def line(with_terms: Sequence[str], times: str) -> Line:
        spans = [Span(f"epoch {row['epoch']:>{len(str(num_epochs))}}/{num_epochs}")]
        for split in splits:
            total, _, terms = str(Terms.of(row, split)).partition(" ")
            spans += [Span(f"  {split} ", "faint"), Span(total, "best" if split == marked else "bold")]
            spans += [Span(f" {terms}")] * (split in with_terms) + [Span(" *", "best")] * (split == marked)
        return [*spans, Span(times, "faint")]

    shorter = [(splits[number:], "") for number in range(len(splits) + 1)]  # without the terms of more and more splits
    return [line(*form) for form in ((splits, seconds + speed), (splits, seconds), *shorter)]


def is_best(row: dict[str, Any], earlier: Sequence[dict[str, Any]]) -> bool:
    """Whether an epoch has the lowest validation loss so far, or test loss if no images are held out."""
    tag = "val/loss" if "val/loss" in row else "test/loss"
    return row[tag] < min((past[tag] for past in earlier), default=float("inf"))


def closing_table(results: dict[str, Any], run_dir: Path) -> Table:
    """The figures that a run ended with, and where its files are."""
    table = [
        (split, Terms(results[split]["recon"], results[split]["kl"]).named()) for split in SPLITS if split in results
    ]
    if "best" in results:
        best = results["best"]
        table.append(("best", f"epoch {best['epoch']}: val {best['val/loss']:.2f}, test {best['test/loss']:.2f}"))
    train, test = results["train"], results["test"]
    if abs(train["loss"] + train["elbo"]) > 1e-3 * abs(train["loss"]):
        table.append(("loss", f"{train['loss']:.2f} as minimised in the last epoch, with the KL's weights"))
    active, latents = test["active_units"], len(test["kl_per_dim"])
    idle = "" if active == latents else "; the rest carry nothing (--free_bits and --kl_warmup_epochs keep more alive)"
    speed = f"{results['seconds_per_epoch']:.2f} s per epoch, {results['images_per_second']:,.0f} images/s"
    return [
        *table,
        ("latents", f"{active} of {latents} active{idle}"),
        ("speed", speed),
        ("pictures", ", ".join(sorted(path.name for path in run_dir.glob("*.png")))),
        ("report", f"{short_path(run_dir / 'report.html')}, for the browser"),
        ("files", f"{short_path(run_dir)} (checkpoints/last.pt, metrics.jsonl, results.json)"),
    ]
