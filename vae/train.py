"""One pass over the training images: gradients, and plain metrics back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae.augment import distort
from vae.averaging import WeightAverage
from vae.config import Config
from vae.data import Split, shuffled_batches
from vae.divergence import Watch
from vae.losses import RECON_LOSSES, elbo, free_bits_kl, gaussian_kl_per_dim, iwae_bound
from vae.model import VAE, VAEOutput
from vae.schedule import learning_rate, warmup

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of the matrix products; all else is float32


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
        on_batch: called with each batch's image count; what it raises stops the epoch.

    Returns:
        `loss` (what was minimised), `recon`, `kl` and `elbo`: means over the epoch's images as each was when its batch
        came, nats per image; `lr` and `beta` of the last step.

    Raises:
        DivergedError: a term, a gradient or a weight is NaN or infinite; it names what was the first, and the step.
    """
    device = split.images.device
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    steps = math.ceil(len(split) / config.batch_size)
    watch = Watch(model, optimizer, scaler, epoch=epoch, steps=steps)
    lr = beta = math.nan
    seen = 0
    model.train()
    for step, (x, y) in enumerate(shuffled_batches(split, config.batch_size, generator)):
        lr, beta = _weights(config, epochs_done=epoch - 1 + (seen + len(x) / 2) / len(split))
        loss, recon, kl = _objective(model, x, y, config, beta=beta, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = lr
        watch.record(loss, recon, kl, images=len(x))
        _step(model, optimizer, scaler, loss, config.grad_clip)
        if average:
            average.update((epoch - 1) * steps + step + 1)
        seen += len(x)
        on_batch(len(x))
    watch.check()
    loss_mean, recon_mean, kl_mean = watch.terms.sum(0) / len(split)
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


def _objective(
    model: VAE, x: Tensor, y: Tensor, config: Config, *, beta: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of one batch, its reconstruction term and its KL: scalars, means over the batch, nats per image."""
    if config.augment:
        x = distort(x, config.augment, generator=generator)
    if config.binarize == "dynamic":
        x = torch.bernoulli(x, generator=generator)
    samples = [config.num_samples_train] if config.num_samples_train > 1 else []
    eps = torch.randn(*samples, len(x), model.latent_dim, generator=generator, device=x.device)
    dtype = AUTOCAST_DTYPES.get(config.precision)
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
        output = model(x, y, eps)
        recon = RECON_LOSSES[config.recon_loss](output.logits.float(), x)  # (B,) or (S, B)
        if config.objective != "elbo":
            kl = model.sampled_kl(output if config.objective == "iwae" else _held_posterior(output))
            loss = _importance_weighted(output, -(recon + beta * kl), doubly=config.objective == "dreg")
            return loss, recon.mean(), kl.mean()
        kl = model.kl(output)
    recon, kl = recon.mean(), kl.mean()
    charged = free_bits_kl(gaussian_kl_per_dim(output.mu, output.logvar), config.free_bits) if config.free_bits else kl
    return recon + beta * charged, recon, kl


def _held_posterior(output: VAEOutput) -> VAEOutput:
    """The same output with gradients to the posterior through z alone, as DReG wants them."""
    return output._replace(mu=output.mu.detach(), logvar=output.logvar.detach())


def _importance_weighted(output: VAEOutput, log_weights: Tensor, *, doubly: bool) -> Tensor:
    """Minus the importance-weighted bound, a scalar.

    Args:
        output: its z carries the gradient to the encoder.
        log_weights: (S, B), with the KL's weight in them.
        doubly: have doubly reparameterised gradients, Tucker et al. 2019, eq. 8: an encoder's gradient weighted by the
            squares of the normalised weights. The value is the same.
    """
    bound = iwae_bound(log_weights).mean()
    if not doubly:
        return -bound
    weights = torch.softmax(log_weights.detach(), dim=0)
    output.z.register_hook(lambda gradient: gradient * weights.unsqueeze(-1))
    surrogate = (weights * log_weights).sum(0).mean()
    return surrogate.detach() - surrogate - bound.detach()


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
