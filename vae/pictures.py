"""Which pictures a run draws, and of what: the same images and the same z in every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae import figures
from vae.data import Split, Splits, to_pixels
from vae.evaluate import posterior
from vae.model import VAE

GRID = 8  # samples.png is 8×8
PER_CLASS = 3  # originals of each class in reconstructions.png
MANIFOLD = 20  # manifold.png is 20×20


def first_of_each_class(labels: Tensor, classes: int, count: int) -> Tensor:
    """Indices of the first images of every class, row by row: (count · classes), fewer rows where a class has fewer."""
    members = [(labels == index).nonzero().flatten()[:count] for index in range(classes)]
    rows = min(len(found) for found in members)
    return torch.stack([found[:rows] for found in members], dim=1).flatten()


def tsne(points: np.ndarray, *, seed: int) -> np.ndarray:
    """t-SNE of points (N, D) in the plane, (N, 2). van der Maaten & Hinton 2008."""
    from sklearn.manifold import TSNE  # costs a second, paid at the end of a run

    perplexity = min(30.0, (len(points) - 1) / 3)
    init = "pca" if points.shape[1] > 1 else "random"
    return TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(points)


class Pictures:
    """Draws a run's pictures into its folder.

    Args:
        run_dir: the run's folder.
        splits: the data; pictures show its test split.
        latent_dim: D.
        seed: of the fixed z and of t-SNE.
        protocol: how pixels are modelled, for the subtitles.
    """

    def __init__(self, run_dir: Path, splits: Splits, *, latent_dim: int, seed: int, protocol: str) -> None:
        self.run_dir, self.splits, self.seed, self.protocol = run_dir, splits, seed, protocol
        device = splits.test.images.device
        generator = torch.Generator().manual_seed(seed)
        self._z = torch.randn(GRID * GRID, latent_dim, generator=generator).to(device)
        chosen = first_of_each_class(splits.test.labels, len(splits.class_names), PER_CLASS)
        self._originals = to_pixels(splits.test.images[chosen])

    def _subtitle(self, epoch: int, *more: str) -> str:
        return " · ".join([self.splits.title, f"epoch {epoch}", self.protocol, *more])

    @torch.no_grad()
    def draw_epoch(self, model: VAE, epoch: int) -> dict[str, np.ndarray]:
        """Draw the epoch's sample and reconstruction grids; returns both as sheets for TensorBoard, by tag."""
        samples, reconstructions = self.draw_grids(
            model,
            epoch,
            self.run_dir / "samples" / f"epoch_{epoch:03d}.png",
            self.run_dir / "reconstructions" / f"epoch_{epoch:03d}.png",
        )
        classes = len(self.splits.class_names)
        pairs = torch.cat([t.unflatten(0, (-1, classes)) for t in (self._originals, reconstructions)], dim=1)
        return {"samples": figures.tile(samples, GRID), "reconstructions": figures.tile(pairs.flatten(0, 1), classes)}

    @torch.no_grad()
    def draw_grids(
        self, model: VAE, epoch: int, samples_path: Path, reconstructions_path: Path
    ) -> tuple[Tensor, Tensor]:
        """Draw samples from the fixed z and reconstructions of the fixed test images; returns both, in [0, 1]."""
        model.eval()
        samples, reconstructions = model.decode(self._z), model.reconstruct(self._originals)
        for path in (samples_path, reconstructions_path):
            path.parent.mkdir(exist_ok=True)
        figures.draw_samples(
            samples_path, samples, title="Samples from the prior", subtitle=self._subtitle(epoch, "pixel means")
        )
        figures.draw_reconstructions(
            reconstructions_path,
            self._originals,
            reconstructions,
            class_names=self.splits.class_names,
            title="Test images and their reconstructions",
            subtitle=self._subtitle(epoch, "decoded from the posterior mean"),
        )
        return samples, reconstructions

    @torch.no_grad()
    def draw_closing(self, model: VAE, rows: list[dict[str, Any]]) -> None:
        """Draw what stands at the end of a run, t-SNE excepted."""
        epoch = rows[-1]["epoch"]
        self.draw_grids(model, epoch, self.run_dir / "samples.png", self.run_dir / "reconstructions.png")
        figures.draw_loss_curves(
            self.run_dir / "loss_curves.png", rows, title="Training", subtitle=self._subtitle(epoch)
        )
        if model.latent_dim == 2:
            self._draw_plane(model, epoch)

    def _draw_plane(self, model: VAE, epoch: int) -> None:
        mu, _ = posterior(model, self.splits.test.images)
        self._scatter(
            "latent_scatter.png",
            mu.cpu().numpy(),
            self.splits.test.labels,
            f"Posterior means of the {len(mu):,} test images",
            epoch,
            "z",
        )
        quantiles = torch.linspace(0.5 / MANIFOLD, 1 - 0.5 / MANIFOLD, MANIFOLD)
        z = torch.special.ndtri(quantiles).to(mu.device)
        grid = torch.stack(torch.meshgrid(z, z.flip(0), indexing="xy"), dim=-1).flatten(0, 1)  # top row: highest z2
        figures.draw_manifold(
            self.run_dir / "manifold.png",
            model.decode(grid),
            title="What the latent plane decodes to",
            subtitle=self._subtitle(epoch, f"{MANIFOLD}×{MANIFOLD} quantiles of the prior"),
        )

    def draw_tsne(self, model: VAE, epoch: int, *, count: int) -> tuple[Tensor, Split]:
        """Draw t-SNE of `count` test images' posterior means; returns these means (N, D) and the images."""
        test = self.splits.test
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(self.seed))[:count]
        chosen = Split(test.images[order.to(test.images.device)], test.labels[order.to(test.labels.device)])
        mu, _ = posterior(model, chosen.images)
        plane = tsne(mu.cpu().numpy(), seed=self.seed)
        self._scatter(
            "tsne.png",
            plane,
            chosen.labels,
            f"t-SNE of the posterior means of {len(chosen):,} test images",
            epoch,
            "t-SNE ",
        )
        return mu, chosen

    def _scatter(self, file: str, points: np.ndarray, labels: Tensor, title: str, epoch: int, axis: str) -> None:
        figures.draw_scatter(
            self.run_dir / file,
            points,
            labels.cpu().numpy(),
            class_names=self.splits.class_names,
            title=title,
            subtitle=self._subtitle(epoch),
            axis_labels=(f"{axis}1", f"{axis}2"),
        )
