"""What a `VAE` asks of its parts. Each is a `torch.nn.Module`; the built-in ones are examples.

Shapes: B batch, C channels, H height, W width, D latent_dim, K num_classes, S samples, N draws, Q quantiles.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class EncoderLike(Protocol):
    """q(z|x), or q(z|x, y)."""

    def __call__(self, x: Tensor, y: Tensor = ..., /) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1] to mu and logvar = log sigma², (B, D) each.

        A conditional model's net is given the classes too, y (B, K) one-hot.
        """


class DecoderLike(Protocol):
    """The net of p(x|z), or p(x|z, y)."""

    def __call__(self, z: Tensor, y: Tensor = ..., /) -> Tensor:
        """Latents (B, D) to what the likelihood takes: logits (B, C, H, W) for the built-in ones.

        A conditional model's net is given the classes too, y (B, K) one-hot.
        """


class PriorLike(Protocol):
    """p(z). A subclass of `priors.Prior` has `quantiles`, and `sample` if it has `from_noise`."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (B,) or (S, B), for latents (B, D) or (S, B, D)."""

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw latents, (N, D), on the device; `temperature` scales their spread. See `priors.Prior.sample`."""

    def quantiles(self, levels: Tensor) -> Tensor:
        """Each latent's marginal quantiles, (Q, D), at `levels` (Q,) in [0, 1]."""


class LikelihoodLike(Protocol):
    """p(x|z). A subclass of `likelihoods.Likelihood` has all but `name` and `recon`, and says what each is."""

    name: str
    support: str
    log_normalizer: float

    def output_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """What a built-in decoder returns for an image of shape (C, H, W)."""

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), nats per image, (B,) or (S, B), of images (B, C, H, W) in [0, 1]."""

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z] for pictures, (..., C, H, W) in [0, 1]."""

    def draw(self, logits: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Binary images drawn from p(x|z), (..., C, H, W), on the CPU."""

    def least_recon(self, x: Tensor) -> Tensor | None:
        """The least `recon` that any decoder can reach, (B,); `None` if there is no bound."""


METHODS = {
    "encoder": (),
    "decoder": (),
    "prior": ("log_prob", "sample", "quantiles"),
    "likelihood": ("name", "recon", "mean", "draw", "least_recon", "support", "output_shape", "log_normalizer"),
}
