"""A training step as one compiled graph: forward pass, gradients and Adam, with their passes over memory merged.

What eager PyTorch does in some eighty operations are the matrix products and a handful of loops here: Adam itself casts
the gradients that it reads, and the loss is one pass over the pixels in each direction. A GPU launches it as one graph.
"""

from __future__ import annotations

import logging
import os

import torch
from torch import Tensor

from vae.config import Config
from vae.model.objective import Objective
from vae.system.distributed import ProcessGroup
from vae.system.errors import UsageError, UserError

DISABLERS = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE")
WORTH_STEPS = 8000  # of a run: compiling takes 5 to 10 s, and saves a millisecond of a small step


class CompileError(UserError):
    """There is no compiler, or it can't make this step."""


def should_compile(config: Config, device: torch.device, processes: ProcessGroup, *, images: int) -> bool:
    """Whether a run's steps are to be compiled, if that can be done here; `images` are those of an epoch.

    Raises:
        UsageError: `--compile on` where it can't be.
    """
    reason = ""
    if device.type not in ("cpu", "cuda"):
        reason = f"not on {device}"
    elif processes.world_size > 1:
        reason = "not with several processes"
    elif images < config.batch_size:
        reason = f"no step of {images} images is whole with --batch_size {config.batch_size}"
    elif config.precision == "fp16":
        reason = "not with --precision fp16, whose gradients have to be looked at"
    if reason and config.compile == "on":
        raise UsageError(f"--compile on: {reason}; use auto or off")
    steps = (config.num_epochs - 1) * (images // config.batch_size)  # whole ones, after the first epoch
    return not reason and (config.compile == "on" or (config.compile == "auto" and steps >= WORTH_STEPS))


class CompiledStep:
    """Takes the place of a step's operations, for batches of one size.

    Works on the model's weights and the optimizer's state where they lie: the next step may be an eager one.

    Args:
        objective: the model's.
        optimizer: Adam or AdamW, all of whose weights have been updated before.
        grad_clip: largest norm of the gradient, 0 for any.
    """

    def __init__(self, objective: Objective, optimizer: torch.optim.Optimizer, grad_clip: float = 0.0) -> None:
        (group,) = optimizer.param_groups
        self._objective, self._grad_clip = objective, grad_clip
        self._decay, self._betas, self._eps = group["weight_decay"], group["betas"], group["eps"]
        self._weights: list[Tensor] = group["params"]
        states = [optimizer.state[weights] for weights in self._weights]
        self._counts, self._means, self._squares = (
            [s[name] for s in states] for name in ("step", "exp_avg", "exp_avg_sq")
        )
        self._device = self._weights[0].device
        for tensor in (*self._counts, *self._means, *self._squares):
            torch._dynamo.mark_static_address(tensor)  # what a CUDA graph may change in place
        options = {"triton.cudagraphs": True} if self._device.type == "cuda" else {"cpp_wrapper": True}
        self._graph = torch.compile(
            self._step, fullgraph=True, dynamic=False, options={**options, "compile_threads": 1}
        )

    def compile(self, x: Tensor, y: Tensor, eps: Tensor) -> None:
        """Compile for batches such as this one, and leave weights and state as they are.

        Raises:
            CompileError: of whatever layer of the compiler.
        """
        if any(os.environ.get(name, "0") not in ("", "0") for name in DISABLERS):
            raise CompileError(f"the training step can't be compiled: {' or '.join(DISABLERS)} is set")
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses CUDA where there is no GPU
        self._objective(x, y, eps, 1.0)  # what is looked at once, such as the pixels' range
        factors, halted = torch.ones(4, device=x.device), torch.ones((), device=x.device)
        # As many steps as a process likes to make, each with its own graph.
        settings = {"trace_autograd_ops": True, "recompile_limit": 1000, "accumulated_recompile_limit": 1000}
        try:
            with torch._dynamo.config.patch(settings):
                for _ in range(3 if x.is_cuda else 1):  # a CUDA graph is warmed up, recorded and played
                    self._graph(x, y, eps, factors, halted)
        except (RuntimeError, OSError, AttributeError) as error:  # the last: a torch without these settings
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CompileError(f"the training step can't be compiled: {reason[:200]}") from None

    def __call__(
        self, x: Tensor, y: Tensor, eps: Tensor, *, lr: float, beta: float, number: int, halted: Tensor
    ) -> Tensor:
        """Update the weights by a batch, as `Objective` takes it.

        Args:
            x: images.
            y: labels.
            eps: noise.
            lr: learning rate.
            beta: the KL's weight.
            number: of the step, counted from the run's first, 1.
            halted: scalar; where it is not 0, or the loss is no number, the weights stay as they are.

        Returns:
            Loss, recon and KL, summed over the images, (3,).
        """
        beta1, beta2 = self._betas
        factors = (1 - lr * self._decay, lr / (1 - beta1**number), (1 - beta2**number) ** -0.5, beta)
        # The graph is made of scalars from outside: powers of a step's number would be taken anew for every weight.
        return self._graph(x, y, eps, torch.tensor(factors).to(self._device, non_blocking=True), halted)

    def _step(self, x: Tensor, y: Tensor, eps: Tensor, factors: Tensor, halted: Tensor) -> Tensor:
        kept, rate, correction, beta = factors
        parts = self._objective(x, y, eps, beta)
        gradients = torch.autograd.grad(parts[0].sum() / len(x), self._weights)
        terms = torch.stack([part.detach() for part in parts])  # (3, B)
        with torch.no_grad():
            # A reduction, whose result is stored: sums of a few scalars would be taken anew for every weight.
            go = (halted == 0) & terms.isfinite().all()
            if self._grad_clip:
                norm = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt()
                gradients = tuple(gradient * (self._grad_clip / (norm + 1e-6)).clamp(max=1) for gradient in gradients)
            self._adam(gradients, go, kept, rate, correction)
        return terms.sum(1)

    def _adam(self, gradients: tuple[Tensor, ...], go: Tensor, kept: Tensor, rate: Tensor, correction: Tensor) -> None:
        """Kingma & Ba 2015, algorithm 1, the weights decayed as in Loshchilov & Hutter 2019; nothing without `go`."""
        beta1, beta2 = self._betas
        for count in self._counts:
            count.add_(go)
        parts = zip(self._weights, gradients, self._means, self._squares, strict=True)
        for weights, gradient, mean, square in parts:
            gradient = gradient.float()
            new_mean = mean.lerp(gradient, 1 - beta1)
            new_square = square.lerp(gradient.square(), 1 - beta2)
            change = rate * new_mean / (new_square.sqrt() * correction + self._eps)
            weights.copy_(torch.where(go, weights * kept - change, weights))
            mean.copy_(torch.where(go, new_mean, mean))
            square.copy_(torch.where(go, new_square, square))
