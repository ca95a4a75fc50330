"""From a Config to the parts of a run, and from a checkpoint back to a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae import checkpoint
from vae.checkpoint import CheckpointError
from vae.config import Config
from vae.data import Splits, load_splits
from vae.errors import UsageError
from vae.model import VAE
from vae.networks import MLPDecoder
from vae.pixels import to_pixels
from vae.priors import VampPrior
from vae.record import stored_config

MEAN_EPS = 0.001  # of a mean image's pixels from 0 and 1: those that are always black keep a finite logit


def build_splits(
    config: Config, data_dir: Path, *, fallback: str = "", say: Callable[[str], None] = lambda line: None
) -> Splits:
    """The data that a Config means, split, on the CPU.

    Args:
        config: what data, how it is split and made binary.
        data_dir: where files are looked for and kept; with the data set `folder`, the images.
        fallback: why the digits stand in for MNIST, where a run that is opened again began so.
        say: told in a line before anything is downloaded.
    """
    splits = load_splits(
        config.dataset,
        data_dir,
        val_split=config.val_split,
        seed=config.seed,
        image_size=config.image_size,
        binarize=config.binarize,
        say=say,
    )
    return splits.standing_in(fallback) if fallback and splits.name == "digits" else splits


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


def build_optimizer(config: Config, model: VAE) -> torch.optim.Optimizer:
    """Fused Adam or AdamW over all parameters."""
    fused = next(model.parameters()).device.type != "mps"
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr, fused=fused)
    return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def restore_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Load the running means from a checkpoint; rates and the like are the configuration's, whatever the file says.

    Raises:
        ValueError: means of other weights.
    """
    means = stored["state"]
    shapes = [weights.shape for group in optimizer.param_groups for weights in group["params"]]
    fitting = isinstance(means, dict) and (not means or means.keys() == set(range(len(shapes))))
    for index, shape in enumerate(shapes if fitting and means else []):
        expected = {"step": torch.Size(), "exp_avg": shape, "exp_avg_sq": shape}
        found = means[index]
        fitting &= isinstance(found, dict) and found.keys() == expected.keys()
        fitting = fitting and all(checkpoint.is_weight(found[name], expected[name]) for name in expected)
        fitting = fitting and all(bool(found[name].isfinite().all()) for name in expected)
    if not fitting:
        raise ValueError("its optimizer's state is that of other weights")
    optimizer.load_state_dict({"state": means, "param_groups": optimizer.state_dict()["param_groups"]})


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
