"""The optimizer a Config asks for, and its state restored from a checkpoint."""

from __future__ import annotations

from typing import Any

import torch

from vae.config import Config
from vae.model.vae import VAE
from vae.system import checkpoint


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
