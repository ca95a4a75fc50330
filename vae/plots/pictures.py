"""Which pictures a run draws, and of what: the same images and the same noise in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.data.datasets import Split, Splits
from vae.data.pixels import to_pixels
from vae.evaluation.elbo import posterior
from vae.evaluation.latents import tsne
from vae.model.vae import VAE, interpolate
from vae.plots import charts
from vae.plots import images as figures

GRID = 8  # samples.png is 8×8; of a conditional model, 8 rows with a column a class
PER_CLASS = 3  # originals of each class in reconstructions.png
UNLABELLED_COLUMNS = 10
MANIFOLD, MANIFOLD_PER_CLASS = 20, 10  # points along each side of manifold.png
LINES, STEPS = 6, 10  # of interpolation.png
FRAME = 5  # of an animated scatter, from -FRAME to FRAME: a standard normal prior's draws and room around them
MAX_COLUMNS = 20  # classes that get a column


def first_of_each_class(labels: Tensor, classes: Sequence[int], count: int) -> Tensor:
    """Indices of the first images of these classes, row by row, (count · classes): fewer rows where one has fewer."""
    members = [(labels == index).nonzero().flatten()[:count] for index in classes]
    rows = min(len(found) for found in members)
    return torch.stack([found[:rows] for found in members], dim=1).flatten()


def pairs_to_join(labels: Sequence[int], *, same: bool | None) -> list[tuple[int, int]]:
    """Disjoint pairs of indices, of the same class or of different ones; of any with `None`."""
    used: set[int] = set()
    pairs = []
    for first in range(len(labels)):
        for step in range(len(labels)):
            second = (first + len(labels) // 2 + step) % len(labels)
            fits = same is None or (labels[first] == labels[second]) == same
            if fits and second != first and not {first, second} & used:
                used |= {first, second}
                pairs.append((first, second))
                break
    return pairs


class Pictures:
    """Draws a run's pictures into its folder.

    Args:
        run_dir: the run's folder.
        splits: the data; pictures show its test split.
        conditional: whether the model takes labels.
        seed: of the samples and of t-SNE.
        protocol: how pixels are modelled, for the subtitles.
        each_scatter: whether each epoch's pictures have the scatter of two latents among them.
    """

    def __init__(
        self,
        run_dir: Path,
        splits: Splits,
        *,
        conditional: bool,
        seed: int,
        protocol: str,
        each_scatter: bool = False,
    ) -> None:
        self._each_scatter = each_scatter
        self.run_dir, self.splits, self.seed, self.protocol = run_dir, splits, seed, protocol
        names, test = splits.class_names, splits.test
        device = test.images.device
        self.classes = min(len(names), MAX_COLUMNS) if conditional else 0
        self._class_headings = list(names[: self.classes])
        self._columns = self.classes or GRID
        self._sample_labels = torch.arange(self.classes, device=device).repeat(GRID) if self.classes else None
        present = test.labels.unique().tolist()[:MAX_COLUMNS] if names else []
        if present:
            chosen = first_of_each_class(test.labels, present, PER_CLASS)
            self._shown_columns = len(present)
        else:
            self._shown_columns = min(len(test), UNLABELLED_COLUMNS)
            chosen = torch.arange(min(PER_CLASS, len(test) // self._shown_columns) * self._shown_columns)
        self._headings = [names[index] for index in present]
        self._shown = test.take(chosen)

    def _subtitle(self, epoch: int, *more: str) -> str:
        return " · ".join([self.splits.title, f"epoch {epoch}", self.protocol, *more])

    @torch.no_grad()
    def draw_epoch(self, model: VAE, epoch: int) -> dict[str, np.ndarray]:
        """Draw the epoch's sample and reconstruction grids; returns both as sheets for TensorBoard, by tag."""
        folders = [self.run_dir / name for name in ("samples", "reconstructions")]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        samples, reconstructions = self._draw_grids(model, epoch, *(f / f"epoch_{epoch:03d}.png" for f in folders))
        if self._each_scatter and model.latent_dim == 2:
            self._draw_scatter_of(model, epoch)
        columns = self._shown_columns
        pairs = [t.unflatten(0, (-1, columns)) for t in (to_pixels(self._shown.images), reconstructions)]
        return {
            "samples": figures.tile(samples, self._columns),
            "reconstructions": figures.tile(torch.cat(pairs, dim=1).flatten(0, 1), columns),
        }

    def _draw_scatter_of(self, model: VAE, epoch: int) -> None:
        """Draw an epoch's posterior means within the same frame as every other epoch's."""
        (self.run_dir / "latent_scatter").mkdir(exist_ok=True)
        mu, _ = posterior(model, self.splits.test)
        beyond = int((mu.abs() > FRAME).any(1).sum())
        title = f"Posterior means of the {len(mu):,} test images"
        more = f"{beyond:,} lie beyond ±{FRAME}"
        file = f"latent_scatter/epoch_{epoch:03d}.png"
        self._scatter(file, mu.cpu().numpy(), self.splits.test.labels, title, epoch, "z", more, limit=FRAME)

    def _draw_grids(self, model: VAE, epoch: int, samples_path: Path, shown_path: Path) -> tuple[Tensor, Tensor]:
        """Draw the samples, and reconstructions of the fixed test images; returns both, in [0, 1]."""
        model.eval()
        generator = torch.Generator().manual_seed(self.seed)  # the same noise in every epoch
        samples = model.sample(GRID * self._columns, self._sample_labels, generator=generator)
        reconstructions = model.reconstruct(to_pixels(self._shown.images), self._shown.labels)
        figures.draw_grid(
            samples_path,
            samples,
            columns=self._columns,
            title="Samples from the prior" + (", a class a column" if self.classes else ""),
            subtitle=self._subtitle(epoch, "pixel means"),
            headings=self._class_headings,
        )
        figures.draw_comparison(
            shown_path,
            {"original": to_pixels(self._shown.images), "reconstruction": reconstructions},
            columns=self._shown_columns,
            headings=self._headings,
            title="Test images and their reconstructions",
            subtitle=self._subtitle(epoch, "decoded from the posterior mean"),
        )
        return samples, reconstructions

    @torch.no_grad()
    def draw_closing(self, model: VAE, rows: list[dict[str, Any]], mu: Tensor) -> None:
        """Draw what stands at the end of a run, t-SNE excepted; `mu` (N, D) are the test split's posterior means."""
        epoch = rows[-1]["epoch"]
        self._draw_grids(model, epoch, self.run_dir / "samples.png", self.run_dir / "reconstructions.png")
        charts.draw_loss_curves(
            self.run_dir / "loss_curves.png", rows, title="Training", subtitle=self._subtitle(epoch)
        )
        self._draw_interpolation(model, epoch)
        if model.latent_dim == 2:
            self._draw_plane(model, epoch, mu)

    def _draw_interpolation(self, model: VAE, epoch: int) -> None:
        """Straight lines between two test images' posterior means, of one class where the model is conditional."""
        images, labels = self._shown.images, self._shown.labels
        mu, _ = posterior(model, self._shown)
        same = bool(self.classes) if self.splits.class_names else None
        lines = []
        for first, second in pairs_to_join(labels.tolist(), same=same)[:LINES]:
            y = labels[first : first + 1] if self.classes else None
            decoded = interpolate(model, mu[first], mu[second], steps=STEPS, y=y)
            ends = to_pixels(images[[first, second]])
            lines.append(torch.cat([ends[:1], decoded, ends[1:]]))
        if not lines:  # one image of each class, and a model that must stay within one
            return
        figures.draw_grid(
            self.run_dir / "interpolation.png",
            torch.cat(lines),
            columns=STEPS + 2,
            title="From one test image to another",
            subtitle=self._subtitle(epoch, "straight lines between posterior means"),
            headings=["image", *[""] * STEPS, "image"],
        )

    def draw_side_by_side(self, model: VAE, epoch: int) -> None:
        """Draw originals left, reconstructions right."""
        pair = [to_pixels(self._shown.images), model.reconstruct(to_pixels(self._shown.images), self._shown.labels)]
        figures.draw_grid(
            self.run_dir / "side_by_side.png",
            torch.cat(pair, dim=3),
            columns=5,
            title="Originals left, reconstructions right",
            subtitle=self._subtitle(epoch, "from the saved model"),
            gap=4,
        )

    def _draw_plane(self, model: VAE, epoch: int, mu: Tensor) -> None:
        test = self.splits.test
        title = f"Posterior means of the {len(mu):,} test images"
        self._scatter("latent_scatter.png", mu.cpu().numpy(), test.labels, title, epoch, "z")
        count = MANIFOLD_PER_CLASS if self.classes else MANIFOLD
        latents = model.prior.quantiles((torch.arange(count, device=mu.device) + 0.5) / count)  # (count, 2)
        z1, z2 = latents.unbind(1)
        grid = torch.stack(torch.meshgrid(z1, z2.flip(0), indexing="xy"), dim=-1).flatten(0, 1)  # top row: highest z2
        per_class = [torch.full((len(grid),), y, device=mu.device) for y in range(self.classes)]
        figures.draw_manifold(
            self.run_dir / "manifold.png",
            [model.decode(grid, y) for y in per_class] or [model.decode(grid)],
            latents=latents,
            headings=self._class_headings,
            title="What the latent plane decodes to" + (", by class" if self.classes else ""),
            subtitle=self._subtitle(epoch, f"{count}×{count} quantiles of the prior"),
        )

    def draw_tsne(self, mu: Tensor, epoch: int, *, count: int) -> tuple[Tensor, Split]:
        """Draw t-SNE of `count` of the test images' posterior means (N, D); returns these means and the images."""
        order = torch.randperm(len(mu), generator=torch.Generator().manual_seed(self.seed))[:count].to(mu.device)
        mu, chosen = mu[order], self.splits.test.take(order)
        plane = tsne(mu.cpu().numpy(), seed=self.seed)
        title = f"t-SNE of the posterior means of {len(chosen):,} test images"
        self._scatter("tsne.png", plane, chosen.labels, title, epoch, "t-SNE ")
        return mu, chosen

    def _scatter(
        self,
        file: str,
        points: np.ndarray,
        labels: Tensor,
        title: str,
        epoch: int,
        axis: str,
        *more: str,
        limit: float | None = None,
    ) -> None:
        charts.draw_scatter(
            self.run_dir / file,
            points,
            labels.cpu().numpy(),
            class_names=self.splits.class_names,
            title=title,
            subtitle=self._subtitle(epoch, *more),
            axis_labels=(f"{axis}1", f"{axis}2"),
            limit=limit,
        )
