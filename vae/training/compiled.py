"""A training step as one compiled graph: forward pass, gradients and Adam, with their passes over memory merged.

Eager PyTorch runs some eighty operations. Here the matrix products and a handful of loops remain: Adam itself casts the
gradients that it reads, and the loss is one pass over the pixels in each direction. A GPU launches it as one graph.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vae.config import Config
from vae.model.objective import Batch
from vae.system.errors import UsageError, UserError

CUDA: dict[str, Any] = {"triton.cudagraphs": True, "compile_threads": 1}
CPU: dict[str, Any] = {
    "compile_threads": 1,
    "cpp_wrapper": True,
    "cpp_wrapper_build_separate": True,  # g++ -O3 takes longer for the kernels' calls than for the kernels
    "cpp_cache_precompile_headers": False,  # they take longer than the one graph of a run
    "cpp.vec_isa_ok": True,  # the processor's flags tell; else six test programs are compiled
}
DISABLERS = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE")
# Loggers that warn of missing CUDA on machines without a GPU, and print a traceback where there is no compiler.
TALKATIVE = ("torch.utils.cpp_extension", "torch._inductor.scheduler")
WORTH_STEPS = 8000  # in a run: compiling takes 2 to 8 s and saves about a millisecond of a small step


class CompileError(UserError):
    """There is no compiler here, or it can't compile this step."""


def should_compile(config: Config, device: torch.device, *, images: int) -> bool:
    """Whether to compile a run's steps, as `--compile` says; `auto` does so where it saves time.

    Args:
        config: every knob, its precision resolved.
        device: to train on.
        images: in an epoch.

    Raises:
        UsageError: `--compile on` where steps can't be compiled.
    """
    reason = ""
    if device.type not in ("cpu", "cuda"):
        reason = f"not on {device}"
    elif images < config.batch_size:
        reason = f"{images} images are fewer than --batch_size {config.batch_size}"
    elif config.precision == "fp16":
        reason = "not with --precision fp16, whose gradients are checked before each update"
    if reason and config.compile == "on":
        raise UsageError(f"--compile on: {reason}; use auto or off")
    steps = (config.num_epochs - 1) * (images // config.batch_size)  # full batches after the first epoch
    return not reason and (config.compile == "on" or (config.compile == "auto" and steps >= WORTH_STEPS))


class CompiledStep:
    """Replaces a step's operations for batches of one size.

    It changes the model's weights and the optimizer's state in place, so the next step may be an eager one.

    Args:
        objective: the model's `Objective`.
        optimizer: Adam or AdamW, which has updated all its weights at least once.
        size: of the batches, B; of all processes together.
        grad_clip: largest norm of the gradient; 0 for no limit.
    """

    def __init__(
        self, objective: nn.Module, optimizer: torch.optim.Optimizer, *, size: int, grad_clip: float = 0.0
    ) -> None:
        (group,) = optimizer.param_groups
        self._objective, self._size, self._grad_clip = objective, size, grad_clip
        self._decay, self._betas, self._eps = group["weight_decay"], group["betas"], group["eps"]
        self._weights: list[Tensor] = group["params"]
        if unused := sum(weights not in optimizer.state for weights in self._weights):
            raise CompileError(f"the training step can't be compiled: {unused} of the weights get no gradient")
        states = [optimizer.state[weights] for weights in self._weights]
        self._counts = _join(states, "step")
        # Biases and norms are updated as one vector: a loop for each would take the compiler longer than all else.
        vectors = [index for index, weights in enumerate(self._weights) if weights.ndim == 1]
        self._groups = [[index] for index, weights in enumerate(self._weights) if weights.ndim != 1]
        self._groups += [vectors] if vectors else []
        self._means, self._squares = (
            [_join([states[index] for index in group], name) for group in self._groups]
            for name in ("exp_avg", "exp_avg_sq")
        )
        self._device = self._weights[0].device
        for tensor in (self._counts, *self._means, *self._squares):
            torch._dynamo.mark_static_address(tensor)  # a CUDA graph may change it in place
        known = torch._inductor.list_options()
        wished = CUDA if self._device.type == "cuda" else CPU
        options = {name: value for name, value in wished.items() if name in known}  # an older torch lacks some
        self._compiled = partial(torch.compile, fullgraph=True, dynamic=False, options=options)
        self._graph = self._compiled(self._step)

    def compile(self, batch: Batch) -> None:
        """Compile for batches of this one's shapes, without changing the weights or the optimizer's state.

        Raises:
            CompileError: any layer of the compiler failed.
        """
        if any(os.environ.get(name, "0") not in ("", "0") for name in DISABLERS):
            raise CompileError(f"the training step can't be compiled: {' or '.join(DISABLERS)} is set")
        buffers = list(self._objective.buffers())
        before = [buffer.clone() for buffer in buffers]  # such as the means of a batch norm
        self._objective(batch, 1.0)  # makes the checks of a first batch, such as that of the pixels' range
        factors, halted = torch.ones(4, device=self._device), torch.ones((), device=self._device)
        # By default a process may compile this function only a few times; each CompiledStep has a graph of its own.
        settings = {"trace_autograd_ops": True, "recompile_limit": 1000, "accumulated_recompile_limit": 1000}
        try:
            with torch._dynamo.config.patch(settings), _silent(*TALKATIVE):
                for _ in range(3 if batch.x.is_cuda else 1):  # a CUDA graph is warmed up, recorded and replayed
                    self._warm_up(batch, factors, halted)
        except (RuntimeError, OSError, AttributeError) as error:  # the last: an older torch lacks these settings
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CompileError(f"the training step can't be compiled: {reason[:200]}") from None
        finally:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

    def __call__(self, batch: Batch, *, lr: float, beta: float, number: int, halted: Tensor) -> Tensor:
        """Update the weights by a batch.

        Args:
            batch: of the size that was compiled for.
            lr: learning rate.
            beta: the KL's weight.
            number: of the step, counted from the run's first, 1.
            halted: scalar; the weights don't change if it is not 0 or a term is not finite.

        Returns:
            Loss, reconstruction term and KL, summed over the images, (3,).
        """
        beta1, beta2 = self._betas
        factors = (1 - lr * self._decay, lr / (1 - beta1**number), (1 - beta2**number) ** -0.5, beta)
        # Scalars come from outside the graph, which would otherwise compute the powers again for every weight.
        return self._run(batch, torch.tensor(factors).to(self._device, non_blocking=True), halted)

    def _run(self, batch: Batch, factors: Tensor, halted: Tensor) -> Tensor:
        return self._graph(batch, factors, halted)

    _warm_up = _run

    def _step(self, batch: Batch, factors: Tensor, halted: Tensor) -> Tensor:
        gradients, terms = self._gradients(batch, factors)
        with torch.no_grad():
            go = self._goes(terms, halted)
            if self._grad_clip:
                norm = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt()
                gradients = tuple(gradient * (self._grad_clip / (norm + 1e-6)).clamp(max=1) for gradient in gradients)
            self._counts.add_(go)
            for group, mean, square in zip(self._groups, self._means, self._squares, strict=True):
                members = [self._weights[index] for index in group]
                weights, gradient = _concatenate(members), _concatenate([gradients[index].float() for index in group])
                self._adam(weights, gradient, mean, square, go, factors)
                if len(members) > 1:
                    for member, part in zip(members, weights.split([len(member) for member in members]), strict=True):
                        member.copy_(part)
        return terms.sum(1)

    def _gradients(self, batch: Batch, factors: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gradients of the weights, and the terms of each image, (3, B)."""
        parts = self._objective(batch, factors[3])
        gradients = torch.autograd.grad(parts[0].sum() / self._size, self._weights)
        return gradients, torch.stack([part.detach() for part in parts])

    @staticmethod
    def _goes(terms: Tensor, halted: Tensor) -> Tensor:
        """Whether the weights may move. The result of a reduction is stored, and not computed for every weight."""
        return (halted == 0) & terms.isfinite().all()

    def _adam(
        self, weights: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, go: Tensor, factors: Tensor
    ) -> None:
        """Kingma & Ba 2015, algorithm 1, with the weight decay of Loshchilov & Hutter 2019; no change unless `go`."""
        beta1, beta2 = self._betas
        kept, rate, correction, _ = factors
        gradient = gradient.float()
        new_mean = mean.lerp(gradient, 1 - beta1)
        new_square = square.lerp(gradient.square(), 1 - beta2)
        change = rate * new_mean / (new_square.sqrt() * correction + self._eps)
        weights.copy_(torch.where(go, weights * kept - change, weights))
        mean.copy_(torch.where(go, new_mean, mean))
        square.copy_(torch.where(go, new_square, square))


def _concatenate(tensors: list[Tensor]) -> Tensor:
    """Several vectors as one; a tensor that is alone is returned as it is, of any shape."""
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def _join(states: list[dict[str, Tensor]], name: str) -> Tensor:
    """Concatenate the vectors or scalars `name` of all states, which become views of the whole."""
    if len(states) == 1:
        return states[0][name]
    parts = [state[name] for state in states]
    whole = torch.cat([part.reshape(-1) for part in parts])
    for state, part, view in zip(states, parts, whole.split([part.numel() for part in parts]), strict=True):
        state[name] = view.view(part.shape)
    return whole


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Silence loggers for the length of the block."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
