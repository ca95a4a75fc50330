"""From a Config to the parts of a run, and from a checkpoint back to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.config.config import Config, stored_config
from vae.data.pixels import to_pixels
from vae.model.networks import MLPDecoder
from vae.model.priors import VampPrior
from vae.model.vae import VAE
from vae.system import checkpoint
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UsageError

MEAN_EPS = 0.001  # of a mean image's pixels from 0 and 1: those that are always black keep a finite logit


def build_model(config: Config, *, image_shape: tuple[int, int, int], num_classes: int) -> VAE:
    """The model that a Config means, for images (C, H, W) of `num_classes` classes (0: unlabelled)."""
    if config.conditional and not num_classes:
        raise UsageError("--conditional needs labels, and these images have none: use class subfolders")
    return VAE(
        config.latent_dim,
        arch=config.arch,
        hidden_dims=config.hidden_dims,
        base_channels=config.base_channels,
        activation=config.activation,
        image_shape=image_shape,
        num_classes=num_classes if config.conditional else 0,
        recon_loss=config.recon_loss,
        block=config.block,
        prior=config.prior,
        num_pseudo_inputs=config.num_pseudo_inputs,
        num_couplings=config.num_couplings,
        prior_width=config.prior_width,
    )


@torch.no_grad()
def start_from_images(model: VAE, images: Tensor, config: Config) -> None:
    """Set what starts from training images, uint8 (N, C, H, W): pseudo-inputs, and the mean image as output bias."""
    if isinstance(model.prior, VampPrior):
        count = len(model.prior.pseudo_logits)
        chosen = torch.randint(len(images), (count,), generator=torch.Generator().manual_seed(config.seed))
        model.prior.start_from(to_pixels(images[chosen.to(images.device)]))
    if config.mean_bias:
        mean = images.double().mean(0) / 255  # (C, H, W)
        bias = torch.logit(mean, eps=MEAN_EPS).float()
        if isinstance(model.decoder, MLPDecoder):
            model.decoder.head.bias.copy_(bias.flatten())
        else:  # a convolution has one bias a channel
            model.decoder.body[-1].get_parameter("bias").copy_(bias.mean((1, 2)))


def model_from_state(state: dict[str, Any], source: Path) -> VAE:
    """The model in a loaded checkpoint, on the CPU, in eval mode; what it gives asks for no gradients.

    Raises:
        CheckpointError: weights that don't fit the stored configuration, or are no numbers.
    """
    config = stored_config(state["config"], source)
    channels, height, width = state["image_shape"]
    weights = state["model_state"]
    misfit = CheckpointError(f"{source}: its weights are not those of a {config.model_name}")
    if not all(map(checkpoint.is_weight, weights.values())):
        raise misfit
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise CheckpointError(f"{source}: its weights are not all finite numbers, so that nothing can be made of them")
    try:
        with torch.device("meta"):  # shapes without memory: what a damaged file claims is never allocated
            model = build_model(config, image_shape=(channels, height, width), num_classes=state["num_classes"])
        # A plain dict: with `assign`, torch leaves a mark in a state dict's metadata, and the next load assigns too.
        model.load_state_dict(dict(weights), assign=True)
    except (RuntimeError, AttributeError, TypeError):
        raise misfit from None
    return model.eval().requires_grad_(False)


def load_model(path: str | Path) -> VAE:
    """Load a trained model from a checkpoint or a run's folder (its `checkpoints/last.pt`).

    Returns:
        The model on the CPU, in eval mode, without gradients.

    Raises:
        CheckpointError: one line that says why the file can't be used.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoints" / "last.pt"
    return model_from_state(checkpoint.load(path), path)
