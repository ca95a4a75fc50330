"""A store of keys that the processes of one start share, and no earlier start has written to.

torchrun keeps one store for all restarts (`--max_restarts`), without a prefix for each: processes that come back may
read the addresses of those that were killed, and fail to connect. See pytorch issue 135712.
"""

from __future__ import annotations

import time
import uuid

from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

LOOK_EVERY = 0.02  # seconds


def fresh_store() -> dist.Store:
    """Meet the other processes in the environment's store, and agree on a prefix that is new."""
    store, rank, size = next(rendezvous("env://"))
    return dist.PrefixStore(_invite(store, size) if rank == 0 else _join(store, rank), store)


def _invite(store: dist.Store, size: int) -> str:
    """Tell a new prefix to everyone who asks, until all have heard it; some that ask may be dead."""
    prefix, answered, missing = uuid.uuid4().hex, set(), set(range(1, size))
    while missing:
        for rank in list(missing):
            if store.check([f"vae/{rank}"]) and (asking := store.get(f"vae/{rank}")) not in answered:
                store.set(f"vae/{asking.decode()}", prefix)
                answered.add(asking)
            if store.check([f"vae/{prefix}/{rank}"]):
                missing.remove(rank)
        time.sleep(LOOK_EVERY)
    return prefix


def _join(store: dist.Store, rank: int) -> str:
    """Ask for the prefix under a name that no process has had before."""
    name = uuid.uuid4().hex
    store.set(f"vae/{rank}", name)
    prefix: str = store.get(f"vae/{name}").decode()  # waits for it
    store.set(f"vae/{prefix}/{rank}", "")
    return prefix
