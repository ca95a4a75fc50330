"""The compiled step of several processes: one graph for the gradients of each process's images, one for the update.

Weights and Adam's means become vectors, in memory that processes on one machine share: each of them updates a shard.

Shapes: R processes, N weights in all, n of a tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae.model.objective import Batch
from vae.system.exchange import Exchange
from vae.training.compiled import CompiledStep


class ParallelStep(CompiledStep):
    """Replaces a step's operations in every process of a group.

    Args:
        objective: the model's `Objective`.
        optimizer: Adam or AdamW, which has updated all its weights at least once; its weights and means become views.
        size: of the batches of all processes together.
        grad_clip: largest norm of the gradient; 0 for no limit.
        exchange: adds up the gradients, and has the stores of weights and means.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        size: int,
        grad_clip: float = 0.0,
        exchange: Exchange,
    ) -> None:
        super().__init__(objective, optimizer, size=size, grad_clip=grad_clip)
        self._exchange, self._optimizer = exchange, optimizer
        self._dtype, self._shard = exchange.part.dtype, exchange.shard
        self._sizes = [weights.numel() for weights in self._weights]
        self._move(exchange.stores)
        self._shards = [store[self._shard] for store in exchange.stores]  # of weights, means and squares
        self._gradient_graph, self._update_graph = map(self._compiled, (self._parts, self._update))

    def leave(self) -> None:
        """Give weights and means memory of their own again."""
        self._move([store.clone() for store in self._exchange.stores])

    @torch.no_grad()
    def _move(self, stores: list[Tensor]) -> None:
        """Make weights and means views of vectors, (N,) each."""
        columns = (store.split(self._sizes) for store in stores)
        for weights, *parts in zip(self._weights, *columns, strict=True):
            state = self._optimizer.state[weights]
            values = weights.data, state["exp_avg"], state["exp_avg_sq"]
            weights.data, state["exp_avg"], state["exp_avg_sq"] = (
                part.view_as(value).copy_(value) for part, value in zip(parts, values, strict=True)
            )

    def _run(self, batch: Batch, factors: Tensor, halted: Tensor) -> Tensor:
        gradients, terms = self._gradient_graph(batch, factors)
        torch.cat(gradients, out=self._exchange.part)
        self._update_graph(self._exchange.add_up(terms), terms, factors, halted)
        self._exchange.wait()
        return terms

    def _warm_up(self, batch: Batch, factors: Tensor, halted: Tensor) -> Tensor:
        """Compile both graphs without waiting for the other processes, which may fail."""
        _, terms = self._gradient_graph(batch, factors)
        self._update_graph(self._exchange.rows, terms, factors, halted)
        return terms

    def _parts(self, batch: Batch, factors: Tensor) -> tuple[list[Tensor], Tensor]:
        """The gradients of this process's images as they are sent, (n,) each, and the sums of their terms, (3,)."""
        gradients, terms = self._gradients(batch, factors)
        return [gradient.to(self._dtype).flatten() for gradient in gradients], terms.sum(1)

    @torch.no_grad()
    def _update(self, rows: Tensor, terms: Tensor, factors: Tensor, halted: Tensor) -> None:
        """Update this process's shard by gradients whose sum is that of the rows, (1 or R, N)."""
        go, gradient = self._goes(terms, halted), _sum(rows[:, self._shard])
        if self._grad_clip:
            gradient = gradient * (self._grad_clip / (_sum(rows).square().sum().sqrt() + 1e-6)).clamp(max=1)
        self._counts.add_(go)
        weights, mean, square = self._shards
        self._adam(weights, gradient, mean, square, go, factors)


def _sum(rows: Tensor) -> Tensor:
    """The sum of the rows in float32, (N,), in their order."""
    first, *others = rows.float().unbind()
    for row in others:
        first = first + row
    return first
