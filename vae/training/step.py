"""A training step: the loss of a batch, its gradient, and the update of the weights.

Shapes: B batch, C channels, H height, W width, D latent_dim, S samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vae.config import Config
from vae.data.augment import distort
from vae.data.batches import shuffled_batches
from vae.data.splits import Split
from vae.model.objective import Objective
from vae.model.vae import VAE
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.training.compiled import CompiledStep
from vae.training.divergence import Watch
from vae.training.ema import WeightAverage


class TrainingStep:
    """Moves a model's weights by one batch, with PyTorch's operations or as one compiled graph.

    Attributes:
        scaler: of the loss; it does nothing unless the precision is fp16.
        ema: the averaged weights, updated after every step; `None` without `--ema`.
        compiled: replaces the operations in batches of the full size; `None` until `compile`.

    Args:
        model: trained in place.
        optimizer: of the model's parameters; its learning rate is set before every step.
        config: objective, gradient clipping, averaging and precision; a precision of `auto` is float32.
        processes: each makes every batch, noise included, and trains on its shard of it.
    """

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        config: Config,
        *,
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.model, self.optimizer, self.config, self.processes = model, optimizer, config, processes
        device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.ema = WeightAverage(model, config.ema) if config.ema else None
        self.compiled: CompiledStep | None = None
        self._objective = processes.wrap(Objective(model, config))

    def prepare(self, x: Tensor, generator: torch.Generator, *, augment: float = 0.0) -> tuple[Tensor, Tensor]:
        """A batch as the model sees it, distorted and made binary, and its noise eps, (B, D) or (S, B, D).

        Args:
            x: images in [0, 1], (B, C, H, W).
            generator: of everything that is drawn, on the images' device.
            augment: strength of the distortion; 0 for none.
        """
        if augment:
            x = distort(x, augment, generator=generator)
        if self.config.binarize == "dynamic":
            x = torch.bernoulli(x, generator=generator)
        samples = [self.config.num_samples_train] if self.config.num_samples_train > 1 else []
        return x, torch.randn(*samples, len(x), self.model.latent_dim, generator=generator, device=x.device)

    def __call__(self, x: Tensor, y: Tensor, eps: Tensor, *, lr: float, beta: float, number: int, watch: Watch) -> None:
        """Update the weights by a batch.

        Args:
            x: images in [0, 1], (B, C, H, W).
            y: labels, (B,).
            eps: noise, (B, D) or (S, B, D).
            lr: learning rate.
            beta: the KL's weight.
            number: of the step, counted from the run's first, 1.
            watch: is given the terms, and keeps the weights from moving once these are no longer finite.
        """
        if self.compiled is not None and len(x) == self.config.batch_size:
            watch.record(self.compiled(x, y, eps, lr=lr, beta=beta, number=number, halted=watch.halted))
        else:
            shard = self.processes.shard
            terms = self._objective(shard(x), shard(y), shard(eps, dim=-2), beta)
            watch.record(torch.stack([term.detach().sum() for term in terms]))
            # The gradients are averaged over the processes, so that the sum of a shard counts world_size times.
            self._update(terms[0].sum() * (self.processes.world_size / len(x)), lr)
        if self.ema is not None:
            self.ema.update(number)

    def _update(self, loss: Tensor, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.config.grad_clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def compile(self, split: Split) -> None:
        """Compile the step for full batches of `split`; all weights must have been updated before.

        Raises:
            CompileError: this machine can't compile it.
        """
        generator = torch.Generator(split.device)
        x, y = next(shuffled_batches(split, self.config.batch_size, generator))
        x, eps = self.prepare(x, generator)
        compiled = CompiledStep(self._objective, self.optimizer, self.config.grad_clip)
        compiled.compile(x, y, eps)
        self.compiled = compiled
