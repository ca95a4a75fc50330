"""The variational autoencoder: q(z|x), p(z) and p(x|z) in one module (Kingma & Welling 2014).

Shapes: B batch, C channels, H height, W width, P pixels (C·H·W), D latent_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae.networks import MLPDecoder, MLPEncoder


class VAEOutput(NamedTuple):
    """What one pass through the model gives."""

    logits: Tensor  # (B, C, H, W) decoder output before the sigmoid
    mu: Tensor  # (B, D) mean of q(z|x)
    logvar: Tensor  # (B, D) log variance of q(z|x)
    z: Tensor  # (B, D) the sample that was decoded


def reparameterize(mu: Tensor, logvar: Tensor, eps: Tensor | None = None) -> Tensor:
    """z = mu + sigma · eps, (B, D). Kingma & Welling 2014, sec. 2.4.

    Args:
        mu: (B, D).
        logvar: (B, D), log sigma².
        eps: (B, D) standard normal noise; `None` draws it from torch's global generator.
    """
    if eps is None:
        eps = torch.randn_like(mu)
    return mu + torch.exp(0.5 * logvar) * eps


class VAE(nn.Module):
    """Encoder, standard normal prior and decoder. `VAE(latent_dim=2)` alone is the default model.

    Args:
        latent_dim: D.
        hidden_dims: widths of the encoder's hidden layers; the decoder has them in reverse.
        image_shape: (C, H, W).
    """

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        hidden_dims: Sequence[int] = (512,),
        image_shape: tuple[int, int, int] = (1, 28, 28),
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.encoder = MLPEncoder(image_shape, hidden_dims, latent_dim)
        self.decoder = MLPDecoder(latent_dim, tuple(reversed(hidden_dims)), image_shape)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of q(z|x): mu and logvar, (B, D) each, for images x (B, C, H, W) or (B, P) in [0, 1]."""
        mu, logvar = self.encoder(x)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Pixel means E[x|z] in [0, 1], (B, C, H, W), for latents z (B, D). The raw `decoder(z)` gives logits."""
        return torch.sigmoid(self.decoder(z))

    def forward(self, x: Tensor, eps: Tensor | None = None) -> VAEOutput:
        """Encode, sample with noise `eps` (B, D; drawn when `None`) and decode."""
        mu, logvar = self.encode(x)
        z = reparameterize(mu, logvar, eps)
        return VAEOutput(self.decoder(z), mu, logvar, z)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Pixel means of `n` draws from the prior, (n, C, H, W) in [0, 1]."""
        device = next(self.parameters()).device
        return self.decode(torch.randn(n, self.latent_dim, generator=generator, device=device))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixel means decoded from the posterior mean of x, (B, C, H, W) in [0, 1]."""
        mu, _ = self.encode(x)
        return self.decode(mu)
