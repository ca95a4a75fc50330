"""From a Config to the parts of a run, and from a checkpoint back to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vae import checkpoint
from vae.checkpoint import CheckpointError
from vae.config import Config
from vae.errors import UsageError
from vae.model import VAE


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
    )


def build_optimizer(config: Config, model: VAE) -> torch.optim.Optimizer:
    """Fused Adam or AdamW over all parameters."""
    fused = next(model.parameters()).device.type != "mps"
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr, fused=fused)
    return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def model_from_state(state: dict[str, Any], source: Path) -> VAE:
    """The model in a loaded checkpoint, on the CPU, in eval mode.

    Raises:
        CheckpointError: weights that don't fit the stored configuration.
    """
    config = Config.from_dict(state["config"])
    channels, height, width = state["image_shape"]
    weights = state["model_state"]
    misfit = CheckpointError(f"{source}: its weights are not those of a {config.model_name}")
    if not all(isinstance(value, torch.Tensor) and value.dtype == torch.float32 for value in weights.values()):
        raise misfit
    try:
        with torch.device("meta"):  # shapes without memory: what a damaged file claims is never allocated
            model = build_model(config, image_shape=(channels, height, width), num_classes=state["num_classes"])
        # A plain dict: with `assign`, torch leaves a mark in a state dict's metadata, and the next load assigns too.
        model.load_state_dict(dict(weights), assign=True)
    except (RuntimeError, AttributeError, TypeError):
        raise misfit from None
    return model.eval()


def load_model(path: str | Path) -> VAE:
    """Load a trained model from a checkpoint or a run's folder (its `checkpoints/last.pt`).

    Returns:
        The model on the CPU, in eval mode.

    Raises:
        CheckpointError: one line that says why the file can't be used.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoints" / "last.pt"
    return model_from_state(checkpoint.load(path), path)
