"""Several processes that train one model, as torchrun starts them. Alone, everything here is nothing to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae.system.errors import UsageError

ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}  # as torchrun sets it
WAYS = "unset it, or start several processes with torchrun"


@dataclass(frozen=True)
class Team:
    """This process among its fellows.

    Attributes:
        rank: 0 is the leader, which alone writes and speaks.
        size: number of processes.
        device: this process's own; empty for what `--device` says.
    """

    rank: int = 0
    size: int = 1
    device: str = ""

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """This process's part along `dim`: every `size`-th place, so that the parts differ by one at most."""
        if self.size == 1:
            return tensor
        return tensor.index_select(dim, torch.arange(self.rank, tensor.shape[dim], self.size, device=tensor.device))

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in every one."""
        if self.size == 1:
            return tensor
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        dist.barrier()  # a tensor that gloo's threads still hold when Python ends aborts the process
        return tensor

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over all processes."""
        return module if self.size == 1 else DistributedDataParallel(module)


ALONE = Team()


@contextmanager
def together(device: str) -> Iterator[Team]:
    """The team that torchrun's environment tells of, for as long as the block lasts; ALONE without torchrun.

    Args:
        device: as `--device` says it.

    Raises:
        UsageError: more processes than GPUs, one device named for all, or an environment that is not torchrun's.
    """
    try:
        rank, size, local, here = (int(os.environ.get(name, default)) for name, default in ENVIRONMENT.items())
    except ValueError:
        told = " ".join(f"{name}={os.environ[name]}" for name in ENVIRONMENT if name in os.environ)
        raise UsageError(f"the environment has {told}, which must be numbers: {WAYS}") from None
    if size == 1:
        yield ALONE
        return
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if not gpus and device not in ("auto", "cpu"):
        raise UsageError(f"--device {device} is not for {size} processes: use auto, cuda or cpu")
    if gpus and here > gpus:
        raise UsageError(f"{here} processes and {gpus} GPUs: torchrun --nproc_per_node={gpus}, or --device cpu")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(f"the environment has WORLD_SIZE={size} and no {', '.join(missing)}: {WAYS}")
    if gpus:
        torch.cuda.set_device(local)
    try:
        dist.init_process_group("nccl" if gpus else "gloo")
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"the {size} processes can't meet: {next(iter(str(error).splitlines()), '')}") from None
    try:
        yield Team(rank, size, f"cuda:{local}" if gpus else "cpu")
    finally:
        dist.destroy_process_group()
