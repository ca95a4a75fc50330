"""Sums over processes through shared memory; threads stand for the processes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vae.system import exchange
from vae.system.distributed import ProcessGroup, ProcessLostError
from vae.system.exchange import STORES, SharedExchange

SIZE = 10


@pytest.fixture
def together(tmp_path, monkeypatch):
    """Call a function of a SharedExchange in each of three processes, and return what they return."""
    ranks = 3
    monkeypatch.setattr(exchange.dist, "barrier", threading.Barrier(ranks).wait)
    exchange._allocate(tmp_path / "parts", 2 * ranks * SIZE * 4)
    for number in range(STORES):
        exchange._allocate(tmp_path / f"store-{number}", SIZE * 4)

    def join(rank):
        return SharedExchange(ProcessGroup(rank, ranks), tmp_path, b"key", size=SIZE, dtype=torch.float32)

    def call(function):
        with ThreadPoolExecutor(ranks) as threads:
            return list(threads.map(lambda rank: function(join(rank)), range(ranks)))

    return call


def test_parts_and_terms_of_every_step_are_added_up(together):
    """Also where one process has written to its next part before another has read the sum."""

    def train(one):
        sums = []
        for step in range(20):
            one.part.fill_(100 * step + 10**one.processes.rank)
            terms = torch.tensor([1.0, one.processes.rank])
            rows = one.add_up(terms)
            one.part.fill_(-1)  # the next step's
            sums.append((rows.sum(0).tolist(), terms.tolist()))
        return sums

    expected = [([300 * step + 111.0] * SIZE, [3.0, 3.0]) for step in range(20)]
    assert together(train) == [expected] * 3


def test_each_process_updates_a_shard_of_what_all_see(together):
    def update(one):
        one.stores[1][one.shard] += one.processes.rank + 1
        one.wait()
        seen = one.stores[1].tolist()
        one.wait()
        return seen

    assert together(update) == [[1.0] * 3 + [2.0] * 3 + [3.0] * 4] * 3


def test_a_process_that_ends_is_missed_at_once(together):
    def leave_or_wait(one):
        if one.processes.rank == 1:
            for peer in one._peers.values():
                peer.close()
            return None
        with pytest.raises(ProcessLostError, match="another of the 3 processes has ended"):
            one.add_up(torch.zeros(3))
        return "missed"

    assert together(leave_or_wait) == ["missed", None, "missed"]
