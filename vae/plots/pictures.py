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

GRID = 8  # samples.png is 8×8; of a conditional model, 8 rows with a column for each class
PER_CLASS = 3  # originals of each class in reconstructions.png
UNLABELLED_COLUMNS = 10
MANIFOLD, MANIFOLD_PER_CLASS = 20, 10  # points along each side of manifold.png
LINES, STEPS = 6, 10  # of interpolation.png
FRAME = 5  # an animated scatter goes from -FRAME to FRAME: a standard normal prior's draws and room around them
MAX_COLUMNS = 20  # classes that get a column


def first_of_each_class(labels: Tensor, classes: Sequence[int], count: int) -> Tensor:
    """Indices of the first images of these classes, row by row, (count · classes): fewer rows where one has fewer."""
    members = [(labels == index).nonzero().flatten()[:count] for index in classes]
    rows = min(map(len, members))
    return torch.stack([indices[:rows] for indices in members], dim=1).flatten()


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
    """Draws a run's pictures, which show the test split, into its folder.

    `each_scatter` tells whether to draw the scatter of two latents after every epoch too, for an animation.
    """

    def __init__(
        self, run_dir: Path, splits: Splits, *, conditional: bool, seed: int, protocol: str, each_scatter: bool = False
    ) -> None:
        self.run_dir, self.splits, self.seed, self.protocol = run_dir, splits, seed, protocol
        self.each_scatter = each_scatter
        names, test = splits.class_names, splits.test
        self.classes = min(len(names), MAX_COLUMNS) if conditional else 0
        present = test.labels.unique().tolist()[:MAX_COLUMNS] if names else []
        if present:
            examples = first_of_each_class(test.labels, present, PER_CLASS)
            self.columns = len(present)
        else:
            self.columns = min(len(test), UNLABELLED_COLUMNS)
            examples = torch.arange(min(PER_CLASS, len(test) // self.columns) * self.columns)
        self.headings = [names[index] for index in present]  # over the columns of examples
        self.examples = test.take(examples)

    @torch.no_grad()
    def draw_epoch(self, model: VAE, epoch: int) -> dict[str, np.ndarray]:
        """Draw the epoch's sample and reconstruction grids; returns both as sheets for TensorBoard, by tag."""
        samples = self._draw_samples(self._epoch_path("samples", epoch), model, epoch)
        reconstructions = self._draw_reconstructions(self._epoch_path("reconstructions", epoch), model, epoch)
        if self.each_scatter and model.latent_dim == 2:
            mu, _ = posterior(model, self.splits.test)
            outside = f"{int((mu.abs() > FRAME).any(1).sum()):,} lie beyond ±{FRAME}"
            self._draw_latents(self._epoch_path("latent_scatter", epoch), mu, epoch, outside, limit=FRAME)
        rows = [
            images.unflatten(0, (-1, self.columns)) for images in (to_pixels(self.examples.images), reconstructions)
        ]
        return {
            "samples": figures.tile(samples, self.classes or GRID),
            "reconstructions": figures.tile(torch.cat(rows, dim=1).flatten(0, 1), self.columns),
        }

    @torch.no_grad()
    def draw_closing(self, model: VAE, rows: list[dict[str, Any]], mu: Tensor) -> None:
        """Draw the pictures of a run's end, except t-SNE; `mu` (N, D) are the test split's posterior means."""
        epoch = rows[-1]["epoch"]
        self._draw_samples(self.run_dir / "samples.png", model, epoch)
        self._draw_reconstructions(self.run_dir / "reconstructions.png", model, epoch)
        curves = self.run_dir / "loss_curves.png"
        charts.draw_loss_curves(curves, rows, title="Training", subtitle=self._subtitle(epoch))
        self._draw_interpolation(model, epoch)
        if model.latent_dim == 2:
            self._draw_latents(self.run_dir / "latent_scatter.png", mu, epoch)
            self._draw_manifold(model, epoch)

    def draw_side_by_side(self, model: VAE, epoch: int) -> None:
        """Draw originals left, reconstructions right."""
        originals = to_pixels(self.examples.images)
        figures.draw_side_by_side(
            self.run_dir / "side_by_side.png",
            {"original": originals, "reconstruction": model.reconstruct(originals, self.examples.labels)},
            columns=5,
            title="Originals left, reconstructions right",
            subtitle=self._subtitle(epoch, "from the saved model"),
        )

    def draw_tsne(self, mu: Tensor, epoch: int, *, count: int) -> tuple[Tensor, Split]:
        """Draw t-SNE of `count` of the test images' posterior means (N, D); returns these means and the images."""
        order = torch.randperm(len(mu), generator=torch.Generator().manual_seed(self.seed))[:count].to(mu.device)
        mu, images = mu[order], self.splits.test.take(order)
        charts.draw_scatter(
            self.run_dir / "tsne.png",
            tsne(mu.cpu().numpy(), seed=self.seed),
            images.labels.cpu().numpy(),
            class_names=self.splits.class_names,
            title=f"t-SNE of the posterior means of {len(images):,} test images",
            subtitle=self._subtitle(epoch),
            axis_labels=("t-SNE 1", "t-SNE 2"),
        )
        return mu, images

    def _epoch_path(self, folder: str, epoch: int) -> Path:
        (self.run_dir / folder).mkdir(exist_ok=True)
        return self.run_dir / folder / f"epoch_{epoch:03d}.png"

    def _subtitle(self, epoch: int, *more: str) -> str:
        return " · ".join([self.splits.title, f"epoch {epoch}", self.protocol, *more])

    def _draw_samples(self, path: Path, model: VAE, epoch: int) -> Tensor:
        """Draw samples from the prior; returns them, in [0, 1]."""
        model.eval()
        columns = self.classes or GRID
        labels = torch.arange(self.classes, device=self.examples.images.device).repeat(GRID) if self.classes else None
        generator = torch.Generator().manual_seed(self.seed)  # the same noise in every epoch
        samples = model.sample(GRID * columns, labels, generator=generator)
        figures.draw_grid(
            path,
            samples,
            columns=columns,
            title="Samples from the prior" + (", a class a column" if self.classes else ""),
            subtitle=self._subtitle(epoch, "pixel means"),
            headings=self.splits.class_names[: self.classes],
        )
        return samples

    def _draw_reconstructions(self, path: Path, model: VAE, epoch: int) -> Tensor:
        """Draw the examples over their reconstructions; returns the latter, in [0, 1]."""
        model.eval()
        originals = to_pixels(self.examples.images)
        reconstructions = model.reconstruct(originals, self.examples.labels)
        figures.draw_comparison(
            path,
            {"original": originals, "reconstruction": reconstructions},
            columns=self.columns,
            headings=self.headings,
            title="Test images and their reconstructions",
            subtitle=self._subtitle(epoch, "decoded from the posterior mean"),
        )
        return reconstructions

    def _draw_latents(self, path: Path, mu: Tensor, epoch: int, *more: str, limit: float | None = None) -> None:
        """Draw the test split's posterior means (N, 2), from -limit to limit so that an animation's frames agree."""
        charts.draw_scatter(
            path,
            mu.cpu().numpy(),
            self.splits.test.labels.cpu().numpy(),
            class_names=self.splits.class_names,
            title=f"Posterior means of the {len(mu):,} test images",
            subtitle=self._subtitle(epoch, *more),
            axis_labels=("z1", "z2"),
            limit=limit,
        )

    def _draw_interpolation(self, model: VAE, epoch: int) -> None:
        """Straight lines between two test images' posterior means, of one class where the model is conditional."""
        images, labels = self.examples.images, self.examples.labels
        mu, _ = posterior(model, self.examples)
        same = bool(self.classes) if self.splits.class_names else None
        lines = []
        for first, second in pairs_to_join(labels.tolist(), same=same)[:LINES]:
            y = labels[first : first + 1] if self.classes else None
            decoded = interpolate(model, mu[first], mu[second], steps=STEPS, y=y)
            ends = to_pixels(images[[first, second]])
            lines.append(torch.cat([ends[:1], decoded, ends[1:]]))
        if not lines:  # a conditional model with one image of each class: no pair shares a class
            return
        figures.draw_grid(
            self.run_dir / "interpolation.png",
            torch.cat(lines),
            columns=STEPS + 2,
            title="From one test image to another",
            subtitle=self._subtitle(epoch, "straight lines between posterior means"),
            headings=["image", *[""] * STEPS, "image"],
        )

    def _draw_manifold(self, model: VAE, epoch: int) -> None:
        """Draw what a grid over the two latents decodes to, for each class of a conditional model."""
        count, device = MANIFOLD_PER_CLASS if self.classes else MANIFOLD, self.examples.images.device
        latents = model.prior.quantiles((torch.arange(count, device=device) + 0.5) / count)  # (count, 2)
        z1, z2 = latents.unbind(1)
        grid = torch.stack(torch.meshgrid(z1, z2.flip(0), indexing="xy"), dim=-1).flatten(0, 1)  # top row: highest z2
        per_class = [torch.full((len(grid),), y, device=device) for y in range(self.classes)]
        figures.draw_manifold(
            self.run_dir / "manifold.png",
            [model.decode(grid, y) for y in per_class] or [model.decode(grid)],
            latents=latents,
            headings=self.splits.class_names[: self.classes],
            title="What the latent plane decodes to" + (", by class" if self.classes else ""),
            subtitle=self._subtitle(epoch, f"{count}×{count} quantiles of the prior"),
        )
