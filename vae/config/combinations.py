"""Flags that exclude or need each other; each message says what to do."""

from __future__ import annotations

import os

from vae.config.fields import Fields
from vae.system.errors import UsageError


def check_model(config: Fields) -> None:
    """Refuse nets, data and priors that don't go together."""
    if config.arch == "conv" and config.image_size % 4:
        raise UsageError(f"--image_size {config.image_size}: must be a multiple of 4 for --arch conv")
    if config.block != "plain" and config.arch == "conv":
        raise UsageError(f"--block {config.block} is for dense nets: use --arch mlp or mixer")
    if config.negative_slope != Fields.negative_slope and config.activation != "leaky_relu":
        raise UsageError(f"--negative_slope is for leaky_relu, and --activation is {config.activation}")
    if config.prior == "vamp" and config.conditional:
        raise UsageError("--prior vamp has pseudo-inputs without a class: use flow or standard with --conditional")
    if config.augment_labels and config.prior != "flow" and not config.nets:
        fix = "give --prior flow, or --no_augment_labels"
        raise UsageError(f"--augment_labels conditions a flow prior on distortions: {fix}")
    if config.prior == "flow" and config.latent_dim < 2:
        raise UsageError("--prior flow couples latents: it needs --latent_dim 2 or more")


def check_patches(config: Fields) -> None:
    """Refuse mixtures of anything but a dense decoder's binary pixels, and patches that are no part of the image."""
    components = f"--mixture_components {config.mixture_components}"
    if config.mixture_components == 1 and config.arch != "mixer":
        if config.patch_size != Fields.patch_size:
            fix = "give --mixture_components 4 or --arch mixer"
            raise UsageError(f"--patch_size {config.patch_size} is for mixtures and mixers: {fix}")
        return
    if config.mixture_components > 1 and config.binarize == "none":
        raise UsageError(f"{components} gives binary pixels a probability: use --binarize")
    if config.mixture_components > 1 and config.arch == "conv":
        raise UsageError(f"{components} is for dense nets: use --arch mlp or mixer")
    if config.image_size % config.patch_size:
        raise UsageError(f"--patch_size {config.patch_size}: must divide --image_size {config.image_size}")


def check_objective(config: Fields) -> None:
    """Refuse bounds, and weights of their parts, that the model or each other rule out."""
    if config.binarize != "none" and config.recon_loss != "bce":
        raise UsageError(f"--recon_loss {config.recon_loss} is a density of grey pixels: use bce with --binarize")
    if config.objective != "elbo" and config.num_samples_train == 1:
        raise UsageError(f"--objective {config.objective} with one sample is the ELBO: give --num_samples_train 5")
    if config.objective == "elbo" and config.elbo_until:
        fix = "give --objective dreg, or --elbo_until 0"
        raise UsageError(f"--elbo_until {config.elbo_until:g} comes before another bound: {fix}")
    has_closed_form = config.prior == "standard" and config.objective == "elbo"
    if config.free_bits and not has_closed_form:
        raise UsageError("--free_bits needs the KL in closed form: use --prior standard and --objective elbo")
    if config.tc_weight != 1:
        if not has_closed_form or config.free_bits:
            fix = "use --prior standard, --objective elbo and no --free_bits"
            raise UsageError(f"--tc_weight weighs a part of the whole KL from a standard prior: {fix}")
        for name in ("latent_dim", "batch_size"):
            if getattr(config, name) == 1:
                raise UsageError(f"--tc_weight needs --{name} 2 or more: it compares latents over a batch's images")


def check_run(config: Fields) -> None:
    """Refuse lengths, optimizers and folders that rule each other out."""
    for name in ("lr_warmup_epochs", "kl_warmup_epochs"):
        value = getattr(config, name)
        if value > config.num_epochs:
            raise UsageError(f"--{name} {value:g} is longer than the run: --num_epochs {config.num_epochs}")
    if config.optimizer == "adam" and config.weight_decay:
        raise UsageError(f"--weight_decay {config.weight_decay}: adam has none here; use --optimizer adamw, or 0")
    if config.gif and not config.sample_every:
        raise UsageError("--gif animates the pictures of --sample_every, which must not be 0")
    if config.overwrite and not config.run_name:
        raise UsageError("--overwrite replaces the run that --run_name names: give both")
    if os.path.realpath(config.output_dir) == os.path.realpath(config.log_dir):
        raise UsageError(f"--output_dir and --log_dir are both {config.output_dir}: give each a folder of its own")
