"""The ELBO of a split: always in float32 with beta 1, from one posterior sample per image and a fixed seed.

Shapes: N images, B images of a chunk, D latent_dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.model.linear import scoring
from vae.model.losses import Terms, gaussian_kl, gaussian_kl_per_dim
from vae.model.vae import VAE, reparameterize
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.errors import UserError

EVAL_SEED = 0
CHUNK = 1000  # images at a time; the scores don't depend on it
ACTIVE = 0.01  # a latent is active if its posterior mean varies by more: Burda et al. 2015, sec. 5.2


class Scores(NamedTuple):
    """Scores of a split: means over its images, in nats per image."""

    recon: float
    kl: float
    active_units: int  # latents whose posterior mean has a variance above ACTIVE over the split
    kl_per_dim: list[float]  # (D,), KL from N(0, 1); adds up to kl if that is the prior

    @property
    def elbo(self) -> float:
        """The evidence lower bound."""
        return Terms(self.recon, self.kl).elbo

    def as_dict(self) -> dict[str, Any]:
        """The scores as files and logs name them; `loss` is minus the ELBO."""
        return {
            "loss": -self.elbo,
            "recon": self.recon,
            "kl": self.kl,
            "elbo": self.elbo,
            "active_units": self.active_units,
            "kl_per_dim": self.kl_per_dim,
        }


@scoring()
def evaluate(model: VAE, split: Split, *, seed: int = EVAL_SEED, processes: ProcessGroup = SINGLE_PROCESS) -> Scores:
    """Compute the one-sample ELBO of a split, its terms, and what each latent carries.

    Args:
        model: left in eval mode.
        split: on the model's device.
        seed: of the noise, drawn once for the whole split.
        processes: they share the images, and each returns the scores of the whole split.
    """
    model.eval()
    device = split.device
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device scores with the same noise
    noise = torch.randn(len(split), model.latent_dim, generator=generator).to(device)
    per_image = torch.zeros(len(split), 2 + 2 * model.latent_dim, device=device)  # recon, kl, kl_per_dim, mu
    chunk = split.chunk_size(CHUNK)
    for index in processes.shard(torch.arange(len(split), device=device)).split(chunk):
        x = to_pixels(split.gather(index))
        output = model(x, split.labels[index], noise[index])
        terms = torch.stack([model.recon(output.logits, x), model.kl(output)], dim=1)  # (B, 2)
        per_image[index] = torch.cat([terms, gaussian_kl_per_dim(output.mu, output.logvar), output.mu], dim=1)
    per_image = processes.all_reduce(per_image).cpu().double()  # every row is zero in all processes but one
    recon, kl = per_image[:, :2].mean(0).tolist()
    kl_per_dim, mu = per_image[:, 2:].chunk(2, dim=1)
    active_units = int((mu.var(0, correction=0) > ACTIVE).sum())
    return Scores(recon, kl, active_units, kl_per_dim.mean(0).tolist())


def least_recon(model: VAE, split: Split) -> float | None:
    """The least reconstruction term that any decoder can reach, nats per image, mean over a split.

    `None` if the model's likelihood has no such bound, as a density of the pixels.
    """
    total = 0.0
    for images, _ in split.chunks(CHUNK):
        bounds = model.likelihood.least_recon(to_pixels(images))
        if bounds is None:
            return None
        total += bounds.double().sum().item()
    return total / len(split)


@scoring()
def score_images(model: VAE, x: Tensor, y: Tensor | None = None, *, samples: int = 1, seed: int = EVAL_SEED) -> Terms:
    """Compute each image's reconstruction term and KL, (N,) each, nats, float64 on the CPU.

    Args:
        model: left in eval mode.
        x: (N, C, H, W) in [0, 1], on the model's device.
        y: labels (N,) for a conditional model.
        samples: number of draws from q(z|x); both terms are means over them.
        seed: of the draws.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    recons, kls = [], []
    for index in torch.arange(len(x)).split(CHUNK):
        chunk, labels = x[index], None if y is None else y[index]
        recon, kl = torch.zeros(2, len(chunk), dtype=torch.float64)
        for _ in range(samples):
            eps = torch.randn(len(chunk), model.latent_dim, generator=generator).to(chunk.device)
            output = model(chunk, labels, eps)
            recon += model.recon(output.logits, chunk).cpu().double() / samples
            kl += model.kl(output).cpu().double() / samples
        recons.append(recon)
        kls.append(kl)
    return Terms(torch.cat(recons), torch.cat(kls))


class EvaluationError(UserError):
    """A model whose latents or scores are not finite."""


@scoring()
def posterior(model: VAE, split: Split) -> tuple[Tensor, Tensor]:
    """mu and logvar of q(z|x) for every image of a split, (N, D) each, float32.

    Raises:
        EvaluationError: the KL from a standard normal is not finite, so neither are squares of distances.
    """
    model.eval()
    mu, logvar = codes = torch.empty(2, len(split), model.latent_dim, device=split.device)
    start = 0  # codes of chunks, kept one by one, would lie between the chunks and keep memory from being used again
    for images, y in split.chunks(CHUNK):
        codes[:, start : start + len(y)] = torch.stack(model.encode(to_pixels(images), y))
        start += len(y)
    if not gaussian_kl(mu, logvar).isfinite().all():
        raise EvaluationError("this model is useless: its latents are too large, or no numbers at all")
    return mu, logvar


def sampled_posterior(model: VAE, split: Split, *, seed: int = EVAL_SEED) -> tuple[Tensor, Tensor, Tensor]:
    """`posterior`'s mu and logvar, and a sample z of every image's q(z|x), (N, D) each; `seed` is the noise's."""
    mu, logvar = posterior(model, split)
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed)).to(mu.device)
    return mu, logvar, reparameterize(mu, logvar, eps)
