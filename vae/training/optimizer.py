"""The optimizer that a Config asks for, and its state restored from a checkpoint."""

from __future__ import annotations

from typing import Any

import torch

from vae.config import Config
from vae.model.vae import VAE
from vae.system.errors import UsageError

MEANS = ("exp_avg", "exp_avg_sq")  # Adam's running means, of the shape of a weight


def build_optimizer(config: Config, model: VAE) -> torch.optim.Optimizer:
    """Fused Adam or AdamW over all parameters that are not frozen.

    Raises:
        UsageError: all of them are.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weights:
        raise UsageError("all weights are frozen, as an opened run's are: call model.requires_grad_() first")
    fused = weights[0].device.type != "mps"
    if config.optimizer == "adam":
        return torch.optim.Adam(weights, lr=config.lr, fused=fused)
    return torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def restore_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any], *, may_lack: bool = False) -> None:
    """Load Adam's step counts and running means from a checkpoint; its rates remain those of the configuration.

    Args:
        optimizer: of a model's weights.
        stored: its state as a checkpoint holds it.
        may_lack: whether some weights may have no state, as those that get no gradient in nets of one's own.

    Raises:
        ValueError: the state of other weights.
    """
    groups = optimizer.state_dict()["param_groups"]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    expected = [{"step": torch.Size(), **dict.fromkeys(MEANS, weight.shape)} for weight in weights]
    state = stored["state"]
    shapes = {index: {name: value.shape for name, value in entry.items()} for index, entry in state.items()}
    needed = {index: shape for index, shape in enumerate(expected) if index in shapes or not may_lack}
    if shapes and shapes != needed:
        raise ValueError("its optimizer's state is that of other weights")
    dense = {  # laid out as the weights are, which fused Adam takes for granted: a file's strides may repeat a number
        index: {"step": entry["step"], **{name: torch.empty_like(weights[index]).copy_(entry[name]) for name in MEANS}}
        for index, entry in state.items()
    }
    optimizer.load_state_dict({"state": dense, "param_groups": groups})
