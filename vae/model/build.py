"""From a Config to a model, and from a checkpoint back to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vae.config.config import Config, stored_config
from vae.data.download import FOLDERS
from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.model.likelihoods import is_built_in
from vae.model.nets import BUILT_IN
from vae.model.own import Nets, call_nets, load_nets, missing_nets
from vae.model.priors import VampPrior
from vae.model.vae import VAE
from vae.system import checkpoint, weights
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UsageError

LARGEST = 1e18  # of weights: products of two larger ones overflow
MEAN_EPS = 0.001  # the mean image is kept this far from 0 and 1: pixels that are always black get a finite logit


def build_model(
    config: Config, *, image_shape: tuple[int, int, int], num_classes: int, nets: Nets | None = None
) -> VAE:
    """Build the model that a Config describes.

    Args:
        config: every knob.
        image_shape: (C, H, W).
        num_classes: of the data, 0 if it has no labels.
        nets: makes the model in place of this function; `--nets`.

    Raises:
        UsageError: the knobs, the data and the nets don't go together.
    """
    if config.conditional and not num_classes:
        raw = Path(config.data_dir) / FOLDERS["mnist"] / "raw"
        ways_out = {"folder": "use class subfolders", "arrays": "save labels beside the images"}
        fix = ways_out.get(config.dataset, f"put MNIST's files into {raw}")
        raise UsageError(f"--conditional needs labels, and these images have none: {fix}")
    num_classes = num_classes if config.conditional else 0
    if nets is not None:
        return call_nets(nets, config, image_shape=image_shape, num_classes=num_classes)
    return VAE(
        config.latent_dim,
        arch=config.arch,
        hidden_dims=config.hidden_dims,
        base_channels=config.base_channels,
        activation=config.activation,
        negative_slope=config.negative_slope,
        image_shape=image_shape,
        num_classes=num_classes,
        recon_loss=config.recon_loss,
        block=config.block,
        prior=config.prior,
        num_pseudo_inputs=config.num_pseudo_inputs,
        num_couplings=config.num_couplings,
        prior_width=config.prior_width,
        augment_labels=config.augment_labels,
        mixer_blocks=config.mixer_blocks,
        patch_width=config.patch_width,
        mixture_components=config.mixture_components,
        patch_size=config.patch_size,
    )


@torch.no_grad()
def start_from_images(model: VAE, split: Split, config: Config) -> None:
    """Initialise the pseudo-inputs and, with `--mean_bias`, the output bias from training images.

    The bias is the logit of the mean image, so that training starts from a decoder that draws it.

    Raises:
        UsageError: `--mean_bias` for a decoder or a likelihood that is not built in.
    """
    if isinstance(model.prior, VampPrior):
        count = len(model.prior.pseudo_logits)
        index = torch.randint(len(split), (count,), generator=torch.Generator().manual_seed(config.seed))
        model.prior.start_from(to_pixels(split.gather(index)))
    if config.mean_bias:
        total = torch.zeros(split.image_shape, dtype=torch.int64, device=split.device)
        for images, _ in split.in_file_order().chunks():
            total += images.sum(0)
        mean = total.double() / len(split) / 255  # (C, H, W)
        logits = model.likelihood.logits_of(mean.clamp(MEAN_EPS, 1 - MEAN_EPS)).float()
        if not isinstance(model.decoder, BUILT_IN) or not is_built_in(model.likelihood):
            raise UsageError("--mean_bias is for the built-in decoders and likelihoods: turn it off for your own")
        model.decoder.set_bias(logits)


def model_from_state(state: dict[str, Any], source: Path, nets: Nets | str | None = None) -> VAE:
    """Build the model of a loaded checkpoint: on the CPU, in eval mode, its parameters without gradients.

    Args:
        state: of the checkpoint. It names the nets that the model was trained with, and nothing is run by that name.
        source: the file, for messages.
        nets: those nets: a function as `build_model` is, or its place, `FILE.py:FUNCTION`.

    Raises:
        CheckpointError: the weights don't fit the stored configuration, or are too large or no numbers, or nets are
            missing; the message names `source`.
    """
    config = stored_config(state["config"], source)
    if config.nets and nets is None:
        raise CheckpointError(f"{source} was trained with {missing_nets(config)}")
    make = (load_nets(nets) if isinstance(nets, str) else nets) if config.nets else None
    channels, height, width = state["image_shape"]
    tensors = state["model_state"]
    misfit = CheckpointError(f"{source}: its weights are not those of a {config.model_name}")
    is_usable = checkpoint.is_dense if make else checkpoint.is_weight  # nets of one's own may count in integers
    if not all(isinstance(name, str) and is_usable(tensor) for name, tensor in tensors.items()):
        raise misfit
    layers = len(config.hidden_dims) * (config.arch != "conv") + config.mixer_blocks * (config.arch == "mixer")
    layers += config.num_couplings * (config.prior == "flow")
    if layers > len(tensors) and not make:  # a file of few bytes can claim many; each of them would be made
        raise misfit
    if not all((tensor.abs() < LARGEST).all() for tensor in tensors.values() if tensor.is_floating_point()):
        raise CheckpointError(
            f"{source}: its weights are not all finite numbers below {LARGEST:g}, so the model is useless"
        )
    sizes: dict[str, Any] = {"image_shape": (channels, height, width), "num_classes": state["num_classes"]}
    if make:  # not without memory: they may have tensors that are in no checkpoint
        with torch.random.fork_rng(devices=[]):
            model = build_model(config, nets=make, **sizes)
    try:
        if make is None:
            with torch.device("meta"):  # shapes without memory: a damaged file can't make us allocate what it claims
                model = build_model(config, **sizes)
        # As a plain dict: `assign` marks the metadata of a state dict, and the next load of it would assign too.
        model.load_state_dict(dict(tensors), assign=make is None)
    except (RuntimeError, TypeError, ValueError):  # the last two: impossible sizes
        raise misfit from None
    return model.eval().requires_grad_(False)


def load_model(path: str | Path, *, nets: Nets | str | None = None) -> VAE:
    """Load a trained model from a checkpoint, a run's folder (its `checkpoints/last.pt`) or an exported .safetensors.

    Args:
        path: of the file or folder.
        nets: for a model with nets of its own, the function that makes it, or its place, `FILE.py:FUNCTION`.

    Returns:
        The model on the CPU, in eval mode, without gradients.

    Raises:
        CheckpointError: one line that says why the file can't be used.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoints" / "last.pt"
    return model_from_state(weights.load(path), path, nets)
