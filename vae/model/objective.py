"""What a training step minimises: minus a bound on log p(x), one number per image.

Shapes: B batch, C channels, H height, W width, D latent_dim, S samples, A amounts of a distortion.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae.config import Config
from vae.model.losses import free_bits_kl, gaussian_kl_per_dim, iwae_bound, total_correlation
from vae.model.vae import VAE

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of the matrix products; all else is float32


class Batch(NamedTuple):
    """What a step trains on."""

    x: Tensor  # images in [0, 1], (B, C, H, W)
    y: Tensor  # labels, (B,)
    eps: Tensor  # noise, (B, D) or (S, B, D)
    amounts: Tensor | None = None  # how each image was distorted, (B, A); only with `--augment_labels`


class Objective(nn.Module):
    """The loss of a batch; a module, through which the compiled step finds the model's buffers.

    Args:
        model: the VAE, which knows its likelihood and its prior.
        config: the bound, the KL's parts and the precision; a precision of `auto` is float32.
        num_images: to train on; 0 if a batch is all of them.
    """

    def __init__(self, model: VAE, config: Config, *, num_images: int = 0) -> None:
        super().__init__()
        self.model, self.config, self.num_images = model, config, num_images

    def forward(self, batch: Batch, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, reconstruction term and KL, nats per image, (B,) each; beta is the KL's weight in the loss."""
        model, config = self.model, self.config
        x, y, eps, amounts = batch
        condition = {} if amounts is None else {"amounts": amounts}  # which a subclass of one's own needn't take
        dtype = AUTOCAST_DTYPES.get(config.precision)
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
            output = model(x, y, eps)
            recon = model.recon(output.logits.float(), x)  # (B,) or (S, B)
            if config.objective == "elbo" or eps.ndim == 2:  # with one sample, every bound is the ELBO
                kl = charged = model.kl(output, **condition)  # (B,), or as recon
                if config.tc_weight != 1:  # the KL has the total correlation in it once: Chen et al. 2018, eq. 4
                    images = self.num_images or len(x)
                    shared = total_correlation(output.z, output.mu, output.logvar, num_images=images)
                    charged = kl + (config.tc_weight - 1) * shared
                recon, kl, charged = (term.mean(0) if term.ndim > 1 else term for term in (recon, kl, charged))
                if config.free_bits:
                    charged = free_bits_kl(gaussian_kl_per_dim(output.mu, output.logvar), config.free_bits)
                return recon + beta * charged, recon, kl
            if config.objective == "dreg":  # gradients reach the posterior through z alone
                output = output._replace(mu=output.mu.detach(), logvar=output.logvar.detach())
            kl = model.sampled_kl(output, **condition)  # (S, B)
            log_weights = -(recon + beta * kl)
            loss = -iwae_bound(log_weights) if config.objective == "iwae" else _dreg_loss(output.z, log_weights, beta)
            return loss, recon.mean(0), kl.mean(0)


def _dreg_loss(z: Tensor, log_weights: Tensor, beta: float) -> Tensor:
    """Minus the importance-weighted bound, (B,), with doubly reparameterised gradients. Tucker et al. 2019, eq. 8.

    The encoder's gradient through a sample is weighted by w², the square of its normalised weight, instead of by w.
    Where beta weights the KL, it also weights log q(z|x) in it: the factor is then beta · w² + (1 - beta) · w.

    Args:
        z: the samples, (S, B, D), through which the gradients reach the encoder.
        log_weights: (S, B), the KL weighted by beta in them, a function of the encoder through z alone.
        beta: the KL's weight.
    """
    weights = torch.softmax(log_weights.detach(), dim=0)
    factors = beta * weights + (1 - beta)  # times w, which the gradient at z has been multiplied by already
    z.register_hook(lambda gradient: gradient * factors.unsqueeze(-1))
    surrogate = (weights * log_weights).sum(0)  # has the bound's gradient to the decoder and the prior
    return surrogate.detach() - surrogate - iwae_bound(log_weights).detach()
