"""One pass over the training images: gradients, and plain metrics back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from vae.config import Config
from vae.data.batches import shuffled_batches
from vae.data.splits import Split
from vae.model.losses import Terms
from vae.training.divergence import Watch
from vae.training.schedule import learning_rate, phase, warmup
from vae.training.step import TrainingStep


def train_epoch(
    step: TrainingStep,
    split: Split,
    *,
    epoch: int,
    generator: torch.Generator,
    on_batch: Callable[[int], None] = lambda count: None,
) -> dict[str, float]:
    """Minimise the `Objective` over every image once, in an order drawn from `generator`.

    Args:
        step: the model, and all that moves its weights; its config sets batch size and schedules.
        split: the training images, on the model's device.
        epoch: counted from 1.
        generator: of the order, of pixels that are redrawn and of the noise eps; on the images' device.
        on_batch: called with each batch's image count; what it raises stops the epoch.

    Returns:
        `loss` (what was minimised), `recon`, `kl` and `elbo`: means over the epoch's images, each scored when its
        batch came, nats per image; `lr` and `beta` of the last step.

    Raises:
        DivergedError: a term, a gradient or a weight is NaN or infinite; the message names it and the step.
    """
    config = step.config
    steps = math.ceil(len(split) / config.batch_size)
    watch = Watch(step.model, step.optimizer, step.scaler, epoch=epoch, steps=steps)
    current = phase(config, epoch)
    lr = beta = math.nan
    seen, number = 0, (epoch - 1) * steps  # steps of the run so far
    step.model.train()
    for x, y, size in shuffled_batches(split, config.batch_size, generator, processes=step.processes):
        number += 1
        lr, beta = lr_and_beta(config, epoch - 1 + (seen + size / 2) / len(split))
        batch = step.prepare(x, y, generator, size=size, current=current)
        step(batch, size=size, lr=lr, beta=beta, number=number, watch=watch)
        seen += size
        on_batch(size)
    watch.check()
    means = watch.terms.sum(0) / len(split)
    elbo = Terms(*means[1:]).elbo
    named = zip(("loss", "recon", "kl", "elbo"), [*means.tolist(), elbo.item()], strict=True)
    return {**dict(named), "lr": lr, "beta": beta}


def lr_and_beta(config: Config, epochs_done: float) -> tuple[float, float]:
    """The learning rate and the KL's weight of the step whose middle is at `epochs_done`, a fraction."""
    lr = learning_rate(
        epochs_done,
        lr=config.lr,
        schedule=config.lr_schedule,
        warmup_epochs=config.lr_warmup_epochs,
        num_epochs=config.num_epochs,
    )
    return lr, config.beta * warmup(epochs_done, config.kl_warmup_epochs)
