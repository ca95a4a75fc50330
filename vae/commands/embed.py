"""`embed`: the posterior of every image of a split, as arrays and as a map in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vae.commands.session import Session, file_stem
from vae.config.options import Embed
from vae.evaluation.latents import project_2d
from vae.plots import charts
from vae.runs.trained import Embedding
from vae.system.files import write_csv, write_npz


def write(embedding: Embedding, npz_path: Path, csv_path: Path, *, class_names: Sequence[str]) -> None:
    """Write an embedding as a NumPy archive and as CSV, one line per image."""
    write_npz(npz_path, {**embedding._asdict(), "class_names": np.array(class_names or [""])})
    dims = range(1, embedding.mu.shape[1] + 1)
    header = ["index", "label", "class", *(f"mu_{i}" for i in dims), *(f"logvar_{i}" for i in dims)]
    images = zip(*(part.tolist() for part in (embedding.labels, embedding.mu, embedding.logvar)), strict=True)
    names = [_as_text(name) for name in class_names]
    rows = (
        [index, label, names[label] if names else "", *(f"{value:.9g}" for value in [*mu, *logvar])]
        for index, (label, mu, logvar) in enumerate(images)
    )
    write_csv(csv_path, header, rows)


def _as_text(name: str) -> str:
    """A class name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


METHODS = {"tsne": "t-SNE", "pca": "Principal components"}
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def run(session: Session, options: Embed) -> None:
    """Write a split's latents as arrays and, unless told not to, draw a map of them."""
    trained, with_map = session.trained, options.picture != "none"
    embedding = trained.embed(options.split)
    suffixes = (".npz", ".csv", ".png") if with_map else (".npz", ".csv")
    stem = file_stem(
        f"{options.split}_latents",
        options.picture if with_map else "",
        f"{options.size}images" if with_map and options.size != Embed.size else "",
        f"seed{options.seed}" if with_map and options.seed else "",
    )
    paths = session.paths(*(f"{stem}{suffix}" for suffix in suffixes))
    write(embedding, paths[0], paths[1], class_names=trained.class_names)
    if with_map:
        if options.picture == "tsne":
            session.console.status(f"t-SNE of {min(options.size, len(embedding.mu)):,} images")
        count = len(embedding.mu)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(options.seed))[: options.size]
        points, axes = project_2d(embedding.mu[order].numpy(), options.picture, seed=options.seed)
        charts.draw_scatter(
            paths[2],
            points,
            embedding.labels[order].numpy(),
            class_names=trained.class_names,
            title=f"{METHODS[options.picture]} of the posterior means of {len(order):,} {SPLITS[options.split]} images",
            subtitle=trained.subtitle(f"seed {options.seed}"),
            axis_labels=axes,
        )
        if len(order) < count:
            session.console.say(f"the map shows {len(order):,} of {count:,} images (--size)")
    session.wrote(*paths)
