"""One pass over the training images: gradients, and plain metrics back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vae.augment import distort
from vae.averaging import WeightAverage
from vae.config import Config
from vae.data import Split, shuffled_batches
from vae.errors import UserError
from vae.losses import elbo
from vae.model import VAE
from vae.objective import Objective
from vae.schedule import learning_rate, warmup
from vae.team import ALONE, Team

CHECK_EVERY = 100  # steps between looks at whether the loss is still a number: each waits for the device


class DivergedError(UserError):
    """The loss is no longer a number."""


def train_epoch(
    model: VAE,
    split: Split,
    optimizer: torch.optim.Optimizer,
    config: Config,
    *,
    epoch: int,
    generator: torch.Generator,
    scaler: torch.amp.GradScaler | None = None,
    average: WeightAverage | None = None,
    objective: nn.Module | None = None,
    team: Team = ALONE,
    on_batch: Callable[[int], None] = lambda count: None,
) -> dict[str, float]:
    """Minimise recon + beta · KL over every image once, in an order drawn from `generator`.

    Args:
        model: trained in place.
        split: the training images, on the model's device.
        optimizer: of the model's parameters; its learning rate is set before every step.
        config: batch size, objective, schedules and precision; a precision of `auto` is float32.
        epoch: counted from 1.
        generator: gives the order, the pixels where they are redrawn, and the noise eps; on the images' device.
        scaler: of the loss, for float16.
        average: of the weights; follows every step.
        objective: the model's `Objective`, wrapped for several processes; `None` makes one.
        team: these processes. Each makes every batch, noise included, and trains on its share of it.
        on_batch: called with each batch's image count; what it raises stops the epoch.

    Returns:
        `loss` (what was minimised), `recon`, `kl` and `elbo`: means over the epoch's images as each was when its batch
        came, nats per image; `lr` and `beta` of the last step.

    Raises:
        DivergedError: a term is NaN or infinite; it names the term and the step.
    """
    device = split.images.device
    objective = objective or Objective(model, config)
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    steps = math.ceil(len(split) / config.batch_size)
    terms = torch.zeros(steps, 3, device=device)  # loss, recon and kl of every step, times its images
    lr = beta = math.nan
    seen = 0
    model.train()
    for step, (x, y) in enumerate(shuffled_batches(split, config.batch_size, generator)):
        lr, beta = _weights(config, epochs_done=epoch - 1 + (seen + len(x) / 2) / len(split))
        x, eps = _drawn(x, config, generator, latent_dim=model.latent_dim)
        parts = objective(team.share(x), team.share(y), team.share(eps, dim=-2), beta)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = parts[0].sum() * (team.size / len(x))  # gradients are averaged over the processes
        _step(model, optimizer, scaler, loss, config.grad_clip)
        if average:
            average.update((epoch - 1) * steps + step + 1)
        terms[step] = torch.stack([part.detach().sum() for part in parts])
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            _check_finite(team.total(terms[: step + 1]), epoch)
        seen += len(x)
        on_batch(len(x))
    terms = team.total(terms)
    _check_finite(terms, epoch)
    loss_mean, recon_mean, kl_mean = terms.sum(0) / len(split)
    return {
        "loss": loss_mean.item(),
        "recon": recon_mean.item(),
        "kl": kl_mean.item(),
        "elbo": elbo(recon_mean, kl_mean).item(),
        "lr": lr,
        "beta": beta,
    }


def _weights(config: Config, epochs_done: float) -> tuple[float, float]:
    """The learning rate and the KL's weight of the step whose middle is at `epochs_done`."""
    lr = learning_rate(
        epochs_done,
        lr=config.lr,
        schedule=config.lr_schedule,
        warmup_epochs=config.lr_warmup_epochs,
        num_epochs=config.num_epochs,
    )
    return lr, config.beta * warmup(epochs_done, config.kl_warmup_epochs)


def _drawn(x: Tensor, config: Config, generator: torch.Generator, *, latent_dim: int) -> tuple[Tensor, Tensor]:
    """A batch as the model is to see it, and its noise eps, (B, D) or (S, B, D)."""
    if config.augment:
        x = distort(x, config.augment, generator=generator)
    if config.binarize == "dynamic":
        x = torch.bernoulli(x, generator=generator)
    samples = [config.num_samples_train] if config.num_samples_train > 1 else []
    return x, torch.randn(*samples, len(x), latent_dim, generator=generator, device=x.device)


def _step(
    model: VAE, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor, grad_clip: float
) -> None:
    """One update; the scaler does nothing unless the products are float16."""
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    if grad_clip:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    scaler.step(optimizer)
    scaler.update()


def _check_finite(terms: Tensor, epoch: int) -> None:
    """Stop at the first step (rows of `terms`) whose loss is not a number, and name the term that is to blame."""
    bad = ~terms.isfinite()
    if not bad.any():
        return
    step = int(bad.any(1).nonzero()[0])
    name = "reconstruction term" if bad[step, 1] else "KL term" if bad[step, 2] else "loss"
    raise DivergedError(
        f"the {name} was no longer a finite number in epoch {epoch}, step {step + 1}: "
        "try a smaller --lr, --grad_clip 1, or --precision fp32"
    )
