"""Several processes that train one model, started by torchrun. In a single process these are no-ops."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vae.system.errors import UsageError, UserError
from vae.system.rendezvous import fresh_store
from vae.system.stopping import raise_if_stopped

ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}  # as torchrun sets it
WAYS_OUT = "unset it, or start several processes with torchrun"
PATIENCE = timedelta(days=30)  # of `wait_for_all`; a process that ends is noticed at once
LOOK_EVERY = 0.05  # seconds, while waiting
LOST = re.compile(r"connection (closed|reset|refused)|socket|peer|gloo/transport", re.IGNORECASE)

Result = TypeVar("Result")


class ProcessLostError(UserError):
    """Another of the processes that train together has ended."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train one model."""

    rank: int = 0
    world_size: int = 1  # number of processes
    device: str = ""  # the one this process computes on; empty if `--device` decides
    on_one_machine: bool = False  # whether all of them are
    waiting: Any = None  # torch's group for `wait_for_all`

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def shard(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Take every `world_size`-th row along `dim`, from row `rank` on: shards differ in length by at most one."""
        rows = [slice(None)] * tensor.ndim
        rows[dim] = slice(self.rank, None, self.world_size)
        return tensor[tuple(rows)]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes; every process gets the sum."""
        if self.world_size == 1:
            return tensor
        tensor = tensor.clone()
        with self.watched():
            dist.all_reduce(tensor)
            dist.barrier()  # a tensor that gloo's threads still hold when Python ends aborts the process
        return tensor

    def from_main(self, make: Callable[[], Result]) -> Result:
        """Return in all processes what `make` returns in the main one, and raise in all what it refuses there."""
        if self.world_size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.is_main:
            try:
                box[0] = make()
            except (UserError, OSError) as error:
                box[1] = error
        with self.watched():
            dist.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        result: Result = box[0]
        return result

    def wait_for_all(self) -> None:
        """Wait until all processes have come here, however long one of them takes; obey signals meanwhile."""
        if self.world_size == 1:
            return
        with self.watched():
            barrier = dist.barrier(group=self.waiting, async_op=True)
            while not barrier.is_completed():
                raise_if_stopped()
                time.sleep(LOOK_EVERY)
            barrier.wait()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Replace what a broken connection raises within the block, where this process waits for others.

        Raises:
            ProcessLostError: one of them has ended.
            Stopped: likewise, after a signal to this one, which then is why.
        """
        try:
            yield
        except (EOFError, OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not LOST.search(str(error)):
                raise
            raise_if_stopped()
            raise ProcessLostError(
                f"another of the {self.world_size} processes has ended: its message says why"
            ) from None


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, for the length of the block; SINGLE_PROCESS without torchrun."""
    try:
        rank, size, local_rank, local_size = (
            int(os.environ.get(name, default)) for name, default in ENVIRONMENT.items()
        )
    except ValueError:
        settings = " ".join(f"{name}={os.environ[name]}" for name in ENVIRONMENT if name in os.environ)
        raise UsageError(f"the environment has {settings}, which must be numbers: {WAYS_OUT}") from None
    if size == 1:
        yield SINGLE_PROCESS
        return
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if not gpus and device not in ("auto", "cpu"):
        raise UsageError(f"--device {device} is not for {size} processes: use auto, cuda or cpu")
    if gpus and local_size > gpus:
        raise UsageError(f"{local_size} processes and {gpus} GPUs: torchrun --nproc_per_node={gpus}, or --device cpu")
    if gpus:
        torch.cuda.set_device(local_rank)
    try:
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, store=fresh_store(), rank=rank, world_size=size)
        waiting = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UsageError(f"{size} processes, as WORLD_SIZE says, can't connect: {reason}; {WAYS_OUT}") from None
    try:
        own_device = f"cuda:{local_rank}" if gpus else "cpu"
        yield ProcessGroup(rank, size, own_device, on_one_machine=local_size == size, waiting=waiting)
    finally:
        dist.destroy_process_group()
