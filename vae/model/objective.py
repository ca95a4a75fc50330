"""The loss of a batch: a bound on log p(x) and its terms, one number per image, ready for several processes.

Shapes: B batch, D latent_dim, S samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae.config import Config
from vae.model.losses import RECON_LOSSES, free_bits_kl, gaussian_kl_per_dim, iwae_bound
from vae.model.vae import VAE, VAEOutput

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of the matrix products; all else is float32


class Objective(nn.Module):
    """What a step minimises, as a module, so that a wrapper can gather its gradients.

    Args:
        model: the VAE.
        config: the bound, its weights and the precision; a precision of `auto` is float32.
    """

    def __init__(self, model: VAE, config: Config) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, x: Tensor, y: Tensor, eps: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, reconstruction term and KL, (B,) each, nats.

        Args:
            x: images in [0, 1], (B, C, H, W).
            y: labels, (B,).
            eps: noise, (B, D) or (S, B, D).
            beta: the KL's weight.
        """
        config, model = self.config, self.model
        dtype = AUTOCAST_DTYPES.get(config.precision)
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
            output = model(x, y, eps)
            recon = RECON_LOSSES[config.recon_loss](output.logits.float(), x)  # (B,) or (S, B)
            if config.objective != "elbo":
                doubly = config.objective == "dreg"
                kl = model.sampled_kl(_held_posterior(output) if doubly else output)
                log_weights = -(recon + beta * kl)
                loss = _dreg_loss(output, log_weights, beta) if doubly else -iwae_bound(log_weights)
                return loss, recon.mean(0), kl.mean(0)
            kl = model.kl(output)
        if eps.ndim > 2:
            recon, kl = recon.mean(0), kl.mean(0) if kl.ndim > 1 else kl
        if config.free_bits:
            charged = free_bits_kl(gaussian_kl_per_dim(output.mu, output.logvar), config.free_bits)
            return recon + beta * charged, recon, kl
        return recon + beta * kl, recon, kl


def _held_posterior(output: VAEOutput) -> VAEOutput:
    """The same output with gradients to the posterior through z alone, as DReG wants them."""
    return output._replace(mu=output.mu.detach(), logvar=output.logvar.detach())


def _dreg_loss(output: VAEOutput, log_weights: Tensor, beta: float) -> Tensor:
    """Minus the importance-weighted bound, (B,), with doubly reparameterised gradients. Tucker et al. 2019, eq. 8.

    A sample's gradient to the encoder is weighted by the square of its normalised weight w in place of w. Where the
    KL is weighted by beta, so is the posterior's log density in it, which leaves beta · w² + (1 - beta) · w.

    Args:
        output: its z carries the gradient to the encoder.
        log_weights: (S, B), with the KL's weight in them, and gradients to the posterior through z alone.
        beta: that weight.
    """
    weights = torch.softmax(log_weights.detach(), dim=0)
    factors = beta * weights + (1 - beta)  # the gradient that comes to z has been weighted once
    output.z.register_hook(lambda gradient: gradient * factors.unsqueeze(-1))
    surrogate = (weights * log_weights).sum(0)
    return surrogate.detach() - surrogate - iwae_bound(log_weights).detach()
