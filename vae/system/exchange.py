"""What several processes compute of a step, added up: their gradients and their loss terms.

Shapes: R processes, N numbers.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vae.system.distributed import ProcessGroup
from vae.system.machine import num_cores

IN_MEMORY = Path("/dev/shm")  # a file system in memory on Linux; elsewhere the folder of temporary files is taken
PATIENCE = 0.005  # seconds of looking for a message before sleeping: a core that sleeps wakes up slow
STORES = 3  # vectors that processes may share: the weights and Adam's two means


class Exchange:
    """Adds up by all-reduce: through NCCL, gloo or what else connects the processes.

    Attributes:
        shard: of N numbers, those that this process has to update: all of them, since no store is shared.

    Args:
        processes: that compute parts of a sum, at least two.
        size: N, numbers of a part.
        dtype: in which they are sent.
        device: on which they are computed.
    """

    shares_stores = False

    def __init__(self, processes: ProcessGroup, size: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.processes = processes
        self.shard = slice(0, size)
        self.stores = [torch.zeros(size, device=device) for _ in range(STORES)]  # (N,) each
        self._part = torch.zeros(size, dtype=dtype, device=device)

    @property
    def part(self) -> Tensor:
        """Where this process writes its part of the next sum, (N,)."""
        return self._part

    @property
    def rows(self) -> Tensor:
        """All parts as they are now, (1 or R, N)."""
        return self._part.unsqueeze(0)

    def add_up(self, terms: Tensor) -> Tensor:
        """Sum a few `terms` over the processes, in place. Returns rows (1 or R, N) whose sum is that of all parts.

        The rows hold until the next call.
        """
        with self.processes.watched():
            dist.all_reduce(terms)
            dist.all_reduce(self._part)
        return self.rows

    def wait(self) -> None:
        """Wait until all processes have updated their shards of the stores."""


class SharedExchange(Exchange):
    """For CPU processes on one machine: each reads the others' parts in memory that they share.

    The stores are shared as well, so that each process updates a shard of them only. There are two sets of parts, in
    turn: who writes to a set knows by the messages in between that all have read what it held.

    Args:
        processes: that compute parts of a sum, at least two.
        folder: with the files of the shared memory, and for the sockets.
        key: of the connections.
        size: N, numbers of a part.
        dtype: of the parts.
    """

    shares_stores = True

    def __init__(self, processes: ProcessGroup, folder: Path, key: bytes, *, size: int, dtype: torch.dtype) -> None:
        self.processes = processes
        rank, ranks = processes.rank, processes.world_size
        self.shard = slice(rank * size // ranks, (rank + 1) * size // ranks)
        self.stores = [torch.from_file(str(folder / f"store-{n}"), shared=True, size=size) for n in range(STORES)]
        parts = torch.from_file(str(folder / "parts"), shared=True, size=2 * ranks * size, dtype=dtype)
        self._sets, self._turn = parts.view(2, ranks, size), 0
        self._patience = PATIENCE if ranks <= num_cores() else 0.0
        self._peers = dict(self._connect(folder, key))

    def _connect(self, folder: Path, key: bytes) -> Iterator[tuple[int, Connection]]:
        """Connect to every other process, by its rank."""
        rank, ranks = self.processes.rank, self.processes.world_size
        with Listener(str(folder / f"socket-{rank}"), "AF_UNIX", backlog=ranks, authkey=key) as listener:
            dist.barrier()  # all of them listen
            for other in range(rank):
                connection = Client(str(folder / f"socket-{other}"), authkey=key)
                connection.send_bytes(rank.to_bytes(4))
                yield other, connection
            for _ in range(rank + 1, ranks):
                connection = listener.accept()
                yield int.from_bytes(connection.recv_bytes()), connection

    @property
    def part(self) -> Tensor:
        """Where this process writes its part of the next sum, (N,)."""
        return self.rows[self.processes.rank]

    @property
    def rows(self) -> Tensor:
        """All parts as they are now, (R, N)."""
        return self._sets[self._turn]

    def add_up(self, terms: Tensor) -> Tensor:
        """Sum a few `terms` over the processes, in place. Returns rows (R, N) whose sum is that of all parts.

        The rows hold until the next call.
        """
        messages = self._tell_all(terms.numpy().tobytes())
        stacked = torch.stack([torch.frombuffer(message, dtype=terms.dtype) for message in messages])
        torch.sum(stacked, 0, out=terms)
        rows = self.rows
        self._turn = 1 - self._turn
        return rows

    def wait(self) -> None:
        """Wait until all processes have updated their shards of the stores."""
        self._tell_all(b"")

    def _tell_all(self, message: bytes) -> list[bytearray]:
        """Send a message to the other processes. Returns those of all, by rank, once they have come."""
        messages = {self.processes.rank: bytearray(message)}
        with self.processes.watched():
            for peer in self._peers.values():
                peer.send_bytes(message)
            deadline = time.perf_counter() + self._patience
            for rank, peer in self._peers.items():
                while not select.select([peer], [], [], 0)[0] and time.perf_counter() < deadline:
                    pass
                messages[rank] = bytearray(peer.recv_bytes())
        return [messages[rank] for rank in range(self.processes.world_size)]


def make_exchange(processes: ProcessGroup, size: int, *, dtype: torch.dtype, device: torch.device) -> Exchange:
    """Make the quickest exchange for these processes, all of which call this: arguments as those of `Exchange`."""
    if device.type != "cpu" or not processes.on_one_machine:
        return Exchange(processes, size, dtype=dtype, device=device)
    with _shared_folder(processes, parts=2 * processes.world_size * size * dtype.itemsize, store=4 * size) as offer:
        if offer is None:
            return Exchange(processes, size, dtype=dtype, device=device)
        exchange = SharedExchange(processes, *offer, size=size, dtype=dtype)
        dist.barrier()  # all have opened the files
    return exchange


@contextmanager
def _shared_folder(processes: ProcessGroup, *, parts: int, store: int) -> Iterator[tuple[Path, bytes] | None]:
    """A folder with files of so many bytes, and a key, for all processes; `None` if this machine has no room for them.

    The main process makes it, and removes it at the end of the block: what maps a file keeps it.
    """
    offer: list[tuple[Path, bytes] | None] = [None]
    place = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="vae-", dir=place) if processes.is_main else nullcontext() as name:
        if name and hasattr(socket, "AF_UNIX"):
            try:
                _allocate(Path(name, "parts"), parts)
                for number in range(STORES):
                    _allocate(Path(name, f"store-{number}"), store)
                offer = [(Path(name), secrets.token_bytes())]
            except OSError:
                pass
        dist.broadcast_object_list(offer)
        yield offer[0]


def _allocate(path: Path, size: int) -> None:
    """Make a file of zeros that has its room: what a full memory lacks would kill a process that writes to it."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
