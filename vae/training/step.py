"""A training step: the loss of a batch, its gradient, and the update of the weights.

Shapes: B batch, C channels, H height, W width, D latent_dim, S samples, A amounts of a distortion.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vae.config import Config
from vae.data.augment import NUM_AMOUNTS, distort
from vae.data.batches import shuffled_batches
from vae.data.splits import Split
from vae.model.objective import Batch, Objective
from vae.model.vae import VAE
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.exchange import Exchange, make_exchange
from vae.training.compiled import CompiledStep, CompileError
from vae.training.divergence import Watch
from vae.training.ema import WeightAverage
from vae.training.parallel import ParallelStep
from vae.training.schedule import Phase, phase


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
        num_images: to train on; 0 if a batch is all of them.
        processes: each trains on its shard of a batch.
    """

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        config: Config,
        *,
        num_images: int = 0,
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.model, self.optimizer, self.config, self.processes = model, optimizer, config, processes
        device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.ema = WeightAverage(model, config.ema) if config.ema else None
        self.compiled: CompiledStep | None = None
        self._objective = Objective(model, config, num_images=num_images)
        self._weights: list[Tensor] = list(model.parameters())
        self._exchange: Exchange | None = None
        if processes.world_size > 1:
            size = sum(weights.numel() for weights in self._weights)
            dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
            self._exchange = make_exchange(processes, size, dtype=dtype, device=device)

    def prepare(self, x: Tensor, y: Tensor, generator: torch.Generator, *, size: int, current: Phase) -> Batch:
        """Distort images and make them binary, and draw their noise.

        Noise is drawn for the images of all processes, so that an image gets the same one however many these are.

        Args:
            x: this process's images in [0, 1], (B, C, H, W).
            y: labels, (B,).
            generator: of everything that is drawn, on the images' device.
            size: of the batch in all processes.
            current: what holds in this epoch.
        """
        shard, noise = self.processes.shard, partial(torch.randn, generator=generator, device=x.device)
        amounts, has_labels = None, self.config.augment_labels
        if current.augment:
            amounts = current.augment * shard(noise(NUM_AMOUNTS, size), dim=1).T.contiguous()
            x = distort(x, amounts)
        elif has_labels:
            amounts = x.new_zeros(len(x), NUM_AMOUNTS)  # not None: the compiled step of distorted images goes on
        if self.config.binarize == "dynamic":  # five times as fast as torch.bernoulli
            x = (shard(torch.rand(size, *x.shape[1:], generator=generator, device=x.device)) < x).to(x.dtype)
        samples = [current.num_samples] if current.num_samples > 1 else []
        eps = shard(noise(*samples, size, self.model.latent_dim), dim=-2).contiguous()
        return Batch(x, y, eps, amounts if has_labels else None)

    def __call__(self, batch: Batch, *, size: int, lr: float, beta: float, number: int, watch: Watch) -> None:
        """Update the weights by a batch.

        Args:
            batch: this process's images.
            size: of the batch in all processes.
            lr: learning rate.
            beta: the KL's weight.
            number: of the step, counted from the run's first, 1.
            watch: is given the terms, and keeps the weights from moving once these are no longer finite.
        """
        if self.compiled is not None and size == self.config.batch_size:
            watch.record(self.compiled(batch, lr=lr, beta=beta, number=number, halted=watch.halted))
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.zero_grad()
            terms = self._objective(batch, beta)
            sums = torch.stack([term.detach().sum() for term in terms])
            self.scaler.scale(terms[0].sum() / size).backward()
            if self._exchange is None:
                watch.record(sums)
                self._update()
            else:
                self._add_up(self._exchange, sums)
                watch.record(sums)
                if self.compiled is None or self.processes.is_main or not self._exchange.shares_stores:
                    self._update()
                self._exchange.wait()
        if self.ema is not None:
            self.ema.update(number)

    @torch.no_grad()
    def _add_up(self, exchange: Exchange, sums: Tensor) -> None:
        """Replace the gradients, and the sums of the terms, by those of all processes."""
        sizes = [weights.numel() for weights in self._weights]
        for part, weights in zip(exchange.part.split(sizes), self._weights, strict=True):
            part.zero_() if weights.grad is None else part.copy_(weights.grad.flatten())
        total = exchange.add_up(sums).float().sum(0)
        for part, weights in zip(total.split(sizes), self._weights, strict=True):
            weights.grad = part.view_as(weights)

    def _update(self) -> None:
        if self.config.grad_clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._weights, self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def compile(self, split: Split, *, epoch: int) -> None:
        """Compile the step for full batches of `split` as an epoch has them; all weights must have been updated.

        Raises:
            CompileError: this machine can't compile it.
        """
        generator = torch.Generator(split.device)
        x, y, size = next(shuffled_batches(split, self.config.batch_size, generator, processes=self.processes))
        batch = self.prepare(x, y, generator, size=size, current=phase(self.config, epoch))
        settings: dict[str, Any] = {"size": size, "grad_clip": self.config.grad_clip}
        if self._exchange is None:
            compiled = CompiledStep(self._objective, self.optimizer, **settings)
            compiled.compile(batch)
        else:
            compiled = ParallelStep(self._objective, self.optimizer, exchange=self._exchange, **settings)
            with self._all_or_none(compiled):
                compiled.compile(batch)
        self.compiled = compiled

    def forget_compiled(self) -> None:
        """Go on with PyTorch's operations, as for batches of another shape."""
        if isinstance(self.compiled, ParallelStep):
            self.compiled.leave()
        self.compiled = None

    @contextmanager
    def _all_or_none(self, compiled: ParallelStep) -> Iterator[None]:
        """Let a step be compiled in all processes, or else in none.

        Raises:
            CompileError: it failed within the block, here or in another process.
        """
        error = None
        try:
            yield
        except CompileError as failure:
            error = failure
        if self.processes.all_reduce(torch.tensor(float(error is not None))).item():
            compiled.leave()
            raise error or CompileError("the training step can't be compiled in another process")
