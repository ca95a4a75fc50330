"""The objective's terms, one number per image. Nothing here averages over the batch; whoever reports does.

Shapes: B batch, D latent_dim; images are (B, ...) of any shape.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bernoulli_recon(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) with p = Bernoulli(sigmoid(logits)), summed over pixels: nats per image, (B,).

    Kingma & Welling 2014, App. C.1. With grey x in [0, 1] it is the cross-entropy that the common scripts minimise.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)), nats per image, (B,). Kingma & Welling 2014, App. B."""
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar).sum(1)


def elbo(recon: Tensor, kl: Tensor) -> Tensor:
    """Evidence lower bound from its terms, nats per image, (B,); larger is better. Kingma & Welling 2014, eq. 3."""
    return -(recon + kl)
