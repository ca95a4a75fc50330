"""One pass over the training images: gradients, and plain metrics back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vae.config import Config
from vae.data.augment import distort
from vae.data.datasets import Split, shuffled_batches
from vae.model.losses import Terms
from vae.model.objective import Objective
from vae.model.vae import VAE
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.training.compiled import CompiledStep
from vae.training.divergence import Watch
from vae.training.ema import WeightAverage
from vae.training.schedule import learning_rate, warmup


def train_epoch(
    model: VAE,
    split: Split,
    optimizer: torch.optim.Optimizer,
    config: Config,
    *,
    epoch: int,
    generator: torch.Generator,
    scaler: torch.amp.GradScaler | None = None,
    ema: WeightAverage | None = None,
    objective: nn.Module | None = None,
    compiled: CompiledStep | None = None,
    processes: ProcessGroup = SINGLE_PROCESS,
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
        ema: the averaged weights, updated after every step.
        objective: the model's `Objective`, wrapped for several processes; `None` makes one.
        compiled: takes the place of the operations in steps of whole batches.
        processes: these processes. Each makes every batch, noise included, and trains on its share of it.
        on_batch: called with each batch's image count; what it raises stops the epoch.

    Returns:
        `loss` (what was minimised), `recon`, `kl` and `elbo`: means over the epoch's images as each was when its batch
        came, nats per image; `lr` and `beta` of the last step.

    Raises:
        DivergedError: a term, a gradient or a weight is NaN or infinite; it names what was the first, and the step.
    """
    device = split.images.device
    objective = Objective(model, config) if objective is None else objective
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    steps = math.ceil(len(split) / config.batch_size)
    watch = Watch(model, optimizer, scaler, epoch=epoch, steps=steps, total=processes.all_reduce)
    augment = config.augment if epoch <= config.augment_until * config.num_epochs else 0.0
    lr = beta = math.nan
    seen = 0
    model.train()
    for step, (x, y) in enumerate(shuffled_batches(split, config.batch_size, generator)):
        lr, beta = _weights(config, epochs_done=epoch - 1 + (seen + len(x) / 2) / len(split))
        x, eps = _drawn(x, config, generator, latent_dim=model.latent_dim, augment=augment)
        number = (epoch - 1) * steps + step + 1
        if compiled is not None and len(x) == config.batch_size:
            watch.record(compiled(x, y, eps, lr=lr, beta=beta, number=number, halted=watch.halted))
        else:
            parts = objective(processes.shard(x), processes.shard(y), processes.shard(eps, dim=-2), beta)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = parts[0].sum() * (processes.world_size / len(x))  # gradients are averaged over the processes
            watch.record(torch.stack([part.detach().sum() for part in parts]))
            _step(model, optimizer, scaler, loss, config.grad_clip)
        if ema is not None:
            ema.update(number)
        seen += len(x)
        on_batch(len(x))
    watch.check()
    loss_mean, recon_mean, kl_mean = processes.all_reduce(watch.terms).sum(0) / len(split)
    return {
        "loss": loss_mean.item(),
        "recon": recon_mean.item(),
        "kl": kl_mean.item(),
        "elbo": Terms(recon_mean, kl_mean).elbo.item(),
        "lr": lr,
        "beta": beta,
    }


def compile_step(model: VAE, split: Split, optimizer: torch.optim.Optimizer, config: Config) -> CompiledStep:
    """The step that `train_epoch` takes, compiled for whole batches; all weights must have been updated before.

    Raises:
        CompileError: it can't be done here.
    """
    generator = torch.Generator(split.images.device)
    x, y = next(shuffled_batches(split, config.batch_size, generator))
    x, eps = _drawn(x, config, generator, latent_dim=model.latent_dim, augment=0.0)
    compiled = CompiledStep(Objective(model, config), optimizer, config.grad_clip)
    compiled.compile(x, y, eps)
    return compiled


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


def _drawn(
    x: Tensor, config: Config, generator: torch.Generator, *, latent_dim: int, augment: float
) -> tuple[Tensor, Tensor]:
    """A batch as the model is to see it, and its noise eps, (B, D) or (S, B, D)."""
    if augment:
        x = distort(x, augment, generator=generator)
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
