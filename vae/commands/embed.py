"""Where a split's images lie in latent space, as arrays, and as a map in the plane.

Shapes: N images, D latent_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae.commands.session import Session
from vae.config import options
from vae.evaluation.elbo import posterior
from vae.evaluation.latents import project_2d
from vae.plots import charts
from vae.runs.trained import Trained
from vae.system.files import write_csv, write_npz


class Embedding(NamedTuple):
    """q(z|x) of every image of a split, in its order, on the CPU."""

    mu: Tensor  # (N, D)
    logvar: Tensor  # (N, D)
    labels: Tensor  # (N,), 0 where there are no classes


def embed(trained: Trained, split: str = "test") -> Embedding:
    """Encode the split `train`, `val` or `test`."""
    chosen = trained.split(split)
    mu, logvar = posterior(trained.model, chosen)
    return Embedding(mu.cpu(), logvar.cpu(), chosen.labels.cpu())


def write(found: Embedding, npz_path: Path, csv_path: Path, *, class_names: Sequence[str]) -> None:
    """Leave an embedding as a NumPy archive and as CSV, a line an image."""
    write_npz(npz_path, {**found._asdict(), "class_names": np.array(class_names or [""])})
    dims = range(1, found.mu.shape[1] + 1)
    header = ["index", "label", "class", *(f"mu_{i}" for i in dims), *(f"logvar_{i}" for i in dims)]
    rows = zip(found.labels.tolist(), found.mu.tolist(), found.logvar.tolist(), strict=True)
    named = (
        [
            index,
            label,
            _as_text(class_names[label]) if class_names else "",
            *(f"{value:.9g}" for value in [*mu, *logvar]),
        ]
        for index, (label, mu, logvar) in enumerate(rows)
    )
    write_csv(csv_path, header, named)


def _as_text(name: str) -> str:
    """A class name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


WORDS = {"train": "training", "val": "validation", "test": "test"}


def run(session: Session, chosen: options.Embed) -> None:
    """Write a split's latents as arrays and, unless asked not to, a map of them."""
    trained = session.trained
    found = embed(trained, chosen.split)
    stem = f"{chosen.split}_latents"
    files = (f"{stem}.npz", f"{stem}.csv") + (() if chosen.picture == "none" else (f"{stem}.png",))
    paths = session.paths(*files)
    write(found, paths[0], paths[1], class_names=trained.class_names)
    if chosen.picture != "none":
        order = torch.randperm(len(found.mu), generator=torch.Generator().manual_seed(chosen.seed))[: chosen.size]
        points, axes = project_2d(found.mu[order].numpy(), chosen.picture, seed=chosen.seed)
        how = {"tsne": "t-SNE", "pca": "Principal components"}[chosen.picture]
        charts.draw_scatter(
            paths[2],
            points,
            found.labels[order].numpy(),
            class_names=trained.class_names,
            title=f"{how} of the posterior means of {len(order):,} {WORDS[chosen.split]} images",
            subtitle=trained.subtitle(f"seed {chosen.seed}"),
            axis_labels=axes,
        )
        if len(order) < len(found.mu):
            session.console.say(f"the map shows {len(order):,} of {len(found.mu):,} images (--size)")
    session.wrote(*paths)
