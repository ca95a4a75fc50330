"""Which pictures a run draws, and of what: the same images and the same noise in every epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.config import Config
from vae.data.pixels import to_pixels
from vae.data.splits import Split, Splits
from vae.evaluation.elbo import posterior
from vae.evaluation.latents import tsne
from vae.model.sampling import interpolate
from vae.model.vae import VAE
from vae.plots import charts
from vae.plots import images as figures
from vae.plots.canvas import shortened, subtitle_of
from vae.plots.snapshots import MAX_MEANS, write_snapshot

GRID = 8  # samples.png is 8×8; of a conditional model, 8 rows with a column for each class
PER_CLASS = 3  # originals of each class in reconstructions.png
UNLABELLED_COLUMNS = 10
MANIFOLD, MANIFOLD_PER_CLASS = 20, 10  # points along each side of manifold.png
LINES, STEPS = 6, 10  # of interpolation.png
FRAME = 5  # an animated scatter goes from -FRAME to FRAME: a standard normal prior's draws and room around them
MAX_COLUMNS = 20  # classes that get a column
END = 16  # letters of a class's name at an end of an interpolation, at most

logger = logging.getLogger(__name__)

Row = dict[str, Any]  # an epoch's figures, as metrics.jsonl holds them


def first_of_each_class(labels: Tensor, classes: Sequence[int], count: int) -> Tensor:
    """Indices of the first images of these classes, row by row, (count · classes): fewer rows where one has fewer."""
    members = [(labels == index).nonzero().flatten()[:count] for index in classes]
    rows = min(map(len, members))
    return torch.stack([indices[:rows] for indices in members], dim=1).flatten()


def pairs_to_join(labels: Sequence[int], *, same: bool) -> list[tuple[int, int]]:
    """Disjoint pairs of indices, of the same class or of different ones."""
    used: set[int] = set()
    pairs = []
    for first in range(len(labels)):
        for step in range(len(labels)):
            second = (first + len(labels) // 2 + step) % len(labels)
            if (labels[first] == labels[second]) == same and second != first and not {first, second} & used:
                used |= {first, second}
                pairs.append((first, second))
                break
    return pairs


class Pictures:
    """Draws a run's pictures, which show the test split, into its folder."""

    def __init__(
        self, run_dir: Path, splits: Splits, *, config: Config, protocol: str, prior_is_standard: bool = True
    ) -> None:
        self.prior_is_standard = prior_is_standard
        self.run_dir, self.splits, self.config, self.protocol = run_dir, splits, config, protocol
        self.seed = config.seed
        names, test = splits.class_names, splits.test
        self.classes = min(len(names), MAX_COLUMNS) if config.conditional else 0
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
    def draw_epoch(self, model: VAE, row: Row) -> dict[str, np.ndarray]:
        """Draw the epoch's sample and reconstruction grids, and keep a snapshot; returns TensorBoard's sheets, by tag.

        Of two latents, there are sheets of the scatter and of the manifold too. `row` holds the epoch's figures.
        """
        samples = self._draw_samples(self._epoch_path("samples", row), model, row)
        reconstructions = self._draw_reconstructions(self._epoch_path("reconstructions", row), model, row)
        first = self.splits.test.take(torch.arange(min(MAX_MEANS, len(self.splits.test))))
        mu, _ = posterior(model, first)
        write_snapshot(self._epoch_path("epochs", row, "npz"), samples, mu, columns=self.classes or GRID)
        pairs = [
            images.unflatten(0, (-1, self.columns)) for images in (to_pixels(self.examples.images), reconstructions)
        ]
        sheets = {
            "samples": figures.tile(samples, self.classes or GRID),
            "reconstructions": figures.tile(torch.cat(pairs, dim=1).flatten(0, 1), self.columns),
        }
        if model.latent_dim == 2:
            sheets |= self._latent_sheets(model, row, first, mu)
        return sheets

    def _latent_sheets(self, model: VAE, row: Row, some: Split, mu: Tensor) -> dict[str, np.ndarray]:
        """Sheets of the scatter of some test images and of the manifold; with `--gif`, draws that of all images.

        `mu` (M, 2) are the means of the images `some`.
        """
        sheets = {"latent_scatter": charts.render_scatter(**self._scatter_of(some, mu, row, limit=FRAME))}
        if not self.classes:
            _, (panel,) = self._manifold(model)
            sheets["manifold"] = figures.tile(panel, MANIFOLD, gap=0)
        if self.config.gif:
            test = self.splits.test
            mu, _ = posterior(model, test)
            charts.draw_scatter(self._epoch_path("latent_scatter", row), **self._scatter_of(test, mu, row, limit=FRAME))
        return sheets

    def closing(self, model: VAE, rows: list[Row], mu: Tensor) -> dict[str, Callable[[], object]]:
        """What draws each picture of a run's end, by its file; `mu` (N, D) are the test split's posterior means."""
        row, run_dir = rows[-1], self.run_dir
        curves = partial(charts.draw_loss_curves, run_dir / "loss_curves.png", rows)
        drawing: dict[str, Callable[[], object]] = {
            "samples.png": partial(self._draw_samples, run_dir / "samples.png", model, row),
            "reconstructions.png": partial(self._draw_reconstructions, run_dir / "reconstructions.png", model, row),
            "loss_curves.png": partial(curves, title="Training", subtitle=self._subtitle(row)),
            "interpolation.png": partial(self._draw_interpolation, model, row),
        }
        if model.latent_dim == 2:
            scatter = self._scatter_of(self.splits.test, mu, row)
            drawing["latent_scatter.png"] = partial(charts.draw_scatter, run_dir / "latent_scatter.png", **scatter)
            drawing["manifold.png"] = partial(self._draw_manifold, model, row, mu)
        return drawing

    def draw_side_by_side(self, model: VAE, row: Row) -> None:
        """Draw originals left, reconstructions right."""
        originals = to_pixels(self.examples.images)
        figures.draw_side_by_side(
            self.run_dir / "side_by_side.png",
            {"original": originals, "reconstruction": model.reconstruct(originals, self.examples.labels)},
            columns=5,
            title="Originals left, reconstructions right",
            subtitle=self._subtitle(row, "from the saved model"),
        )

    def draw_tsne(self, mu: Tensor, row: Row, *, count: int) -> tuple[Tensor, Split]:
        """Draw t-SNE of `count` of the test images' posterior means (N, D); returns these means and the images."""
        order = torch.randperm(len(mu), generator=torch.Generator().manual_seed(self.seed))[:count].to(mu.device)
        mu, images = mu[order], self.splits.test.take(order)
        charts.draw_scatter(
            self.run_dir / "tsne.png",
            tsne(mu.cpu().numpy(), seed=self.seed),
            images.labels.cpu().numpy(),
            class_names=self.splits.class_names,
            title=f"t-SNE of the posterior means of {len(images):,} test images",
            subtitle=self._subtitle(row),
            axis_labels=("t-SNE 1", "t-SNE 2"),
        )
        return mu, images

    def _epoch_path(self, folder: str, row: Row, suffix: str = "png") -> Path:
        (self.run_dir / folder).mkdir(exist_ok=True)
        return self.run_dir / folder / f"epoch_{row['epoch']:03d}.{suffix}"

    def _subtitle(self, row: Row, *more: str) -> str:
        return subtitle_of(
            self.splits.title,
            self.config.model_name,
            seed=self.seed,
            epoch=row["epoch"],
            protocol=self.protocol,
            minus_elbo=-row["test/elbo"],
            more=more,
        )

    def _draw_samples(self, path: Path, model: VAE, row: Row) -> Tensor:
        """Draw samples from the prior; returns them, in [0, 1]."""
        model.eval()
        columns = self.classes or GRID
        labels = torch.arange(self.classes, device=self.examples.device).repeat(GRID) if self.classes else None
        generator = torch.Generator().manual_seed(self.seed)  # the same noise in every epoch
        samples = model.sample(GRID * columns, labels, generator=generator)
        figures.draw_grid(
            path,
            samples,
            columns=columns,
            title="Samples from the prior" + (", a class a column" if self.classes else ""),
            subtitle=self._subtitle(row, "pixel means"),
            headings=self.splits.class_names[: self.classes],
        )
        return samples

    def _draw_reconstructions(self, path: Path, model: VAE, row: Row) -> Tensor:
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
            subtitle=self._subtitle(row, "decoded from the posterior mean"),
        )
        return reconstructions

    def _scatter_of(self, images: Split, mu: Tensor, row: Row, *, limit: float | None = None) -> dict[str, Any]:
        """What a scatter of images' posterior means (N, 2) shows, from -limit to limit so that frames agree."""
        outside = [f"{int((mu.abs() > limit).any(1).sum()):,} lie beyond ±{limit:g}"] if limit else []
        return {
            "points": mu.cpu().numpy(),
            "labels": images.labels.cpu().numpy(),
            "class_names": self.splits.class_names,
            "title": f"Posterior means of {len(mu):,} test images",
            "subtitle": self._subtitle(row, *outside),
            "axis_labels": ("z1", "z2"),
            "limit": limit,
            "circles": self.prior_is_standard,
        }

    def _draw_interpolation(self, model: VAE, row: Row) -> None:
        """Straight lines between two test images' posterior means, of one class where the model is conditional."""
        images, labels, names = self.examples.images, self.examples.labels, self.splits.class_names
        mu, _ = posterior(model, self.examples)
        conditional, single = bool(self.classes), len(labels.unique()) == 1
        pairs = pairs_to_join(labels.tolist(), same=conditional or single)[:LINES]
        if not pairs:
            kind = "images of one class" if conditional else "images"
            logger.warning("no interpolation.png: the examples hold no two %s to go between", kind)
            return
        lines, row_labels = [], []
        for first, second in pairs:
            y = labels[first : first + 1] if self.classes else None
            decoded = interpolate(model, mu[first], mu[second], steps=STEPS, y=y)
            ends = to_pixels(images[[first, second]])
            lines.append(torch.cat([ends[:1], decoded, ends[1:]]))
            if names:
                row_labels.append(" → ".join(shortened(names[labels[end]], END) for end in (first, second)))
        figures.draw_grid(
            self.run_dir / "interpolation.png",
            torch.cat(lines),
            columns=STEPS + 2,
            title="From one test image to another",
            subtitle=self._subtitle(row, "straight lines between posterior means"),
            headings=["image", *[""] * STEPS, "image"],
            row_labels=row_labels,
        )

    def _manifold(self, model: VAE) -> tuple[Tensor, list[Tensor]]:
        """A grid over the two latents: their values (n, 2), and what it decodes to, for each class if conditional."""
        count, device = MANIFOLD_PER_CLASS if self.classes else MANIFOLD, self.examples.device
        latents = model.prior.quantiles((torch.arange(count, device=device) + 0.5) / count)  # (count, 2)
        z1, z2 = latents.unbind(1)
        grid = torch.stack(torch.meshgrid(z1, z2.flip(0), indexing="xy"), dim=-1).flatten(0, 1)  # top row: highest z2
        per_class = [torch.full((len(grid),), y, device=device) for y in range(self.classes)]
        return latents, [model.decode(grid, y) for y in per_class] or [model.decode(grid)]

    def _draw_manifold(self, model: VAE, row: Row, mu: Tensor) -> None:
        """Draw what a grid over the two latents decodes to; `mu` (N, 2) are the test split's posterior means."""
        latents, panels = self._manifold(model)
        outside = ((mu < latents[0]) | (mu > latents[-1])).any(1).double().mean().item()
        figures.draw_manifold(
            self.run_dir / "manifold.png",
            panels,
            latents=latents,
            headings=self.splits.class_names[: self.classes],
            title="What the latent plane decodes to" + (", by class" if self.classes else ""),
            subtitle=self._subtitle(
                row,
                f"{len(latents)}×{len(latents)} quantiles of the prior; "
                f"{100 * outside:.0f} % of the test images lie outside the picture",
            ),
        )
