"""One pass over the training images: gradients, and plain metrics back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae.data import shuffled_batches
from vae.errors import UserError
from vae.losses import bernoulli_recon, gaussian_kl
from vae.model import VAE


class DivergedError(UserError):
    """The loss is no longer a number."""


def train_epoch(
    model: VAE,
    images: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int,
    generator: torch.Generator,
    autocast_dtype: torch.dtype | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> dict[str, float]:
    """Minimise recon + kl over every image once, in an order drawn from `generator`.

    Args:
        model: trained in place.
        images: (N, C, H, W) uint8, on the model's device.
        optimizer: of the model's parameters.
        batch_size: images per step; the last step may have fewer.
        generator: gives the order and the noise eps; on the images' device.
        autocast_dtype: of the matrix products; `None` is float32. Loss, weights and optimizer are float32 always.
        on_batch: called with each batch's image count; what it raises stops the epoch.

    Returns:
        `loss`, `recon` and `kl`: means over the epoch's images as each was when its batch came, nats per image.

    Raises:
        DivergedError: a term is NaN or infinite; it names the term.
    """
    device = images.device
    sums = torch.zeros(2, device=device)  # of recon and kl; read once, after the last step
    model.train()
    for x in shuffled_batches(images, batch_size, generator):
        eps = torch.randn(len(x), model.latent_dim, generator=generator, device=device)
        with torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
            output = model(x, eps)
        terms = torch.stack([bernoulli_recon(output.logits.float(), x), gaussian_kl(output.mu, output.logvar)])
        optimizer.zero_grad()
        terms.sum(0).mean().backward()
        optimizer.step()
        sums += terms.detach().sum(1)
        on_batch(len(x))
    recon, kl = (sums / len(images)).tolist()
    for name, value in (("reconstruction term", recon), ("KL term", kl)):
        if not math.isfinite(value):
            raise DivergedError(f"the {name} became {value}: try a smaller --lr, or --precision fp32")
    return {"loss": recon + kl, "recon": recon, "kl": kl}
