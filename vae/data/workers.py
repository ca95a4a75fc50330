"""Processes that decode pictures, each fed by a thread of this one.

They run `vae.data.decode` and nothing of the program that started them, so that a script without a main guard isn't run
again; they share no memory with it, and end with it, however it ends.

Shapes: N pictures, C channels, S pixels along a side.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from vae.data.decode import Decoded, decode_block
from vae.data.errors import DataError
from vae.system.machine import num_cores
from vae.system.stopping import raise_if_stopped

BLOCK = 64  # pictures that a process decodes at a time
ALONE = 1000  # pictures that are decoded sooner than processes start
ROOT = Path(__file__).parents[2]  # what the package is imported from


def decode_all(
    paths: Sequence[Path], images: np.ndarray, *, bits: int = 0, on_block: Callable[[list[Decoded]], None]
) -> list[Decoded]:
    """Decode pictures into `images` (N, C, S, S) uint8, on all of the processor's cores if they are many.

    Args:
        paths: of the pictures.
        images: is filled.
        bits: of greys of 16 that are in use.
        on_block: called with what was learned of each block, in any order; what it raises stops the decoding.

    Raises:
        DataError: a process was ended by the system.
    """
    results: list[Decoded] = [Decoded(False, 0, "")] * len(paths)
    settings = {"channels": images.shape[1], "size": images.shape[-1], "bits": bits}
    starts = range(0, len(paths), BLOCK)

    def decode(start: int, worker: _Worker | None = None) -> list[Decoded]:
        block = paths[start : start + BLOCK]
        learned, pixels = worker.decode(block, **settings) if worker else decode_block(block, **settings)
        images[start : start + BLOCK] = pixels
        results[start : start + BLOCK] = learned
        return learned

    if len(paths) < ALONE:
        for start in starts:
            on_block(decode(start))
            raise_if_stopped()
        return results
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def decode_elsewhere(start: int) -> list[Decoded]:
        worker = idle.get()
        try:
            return decode(start, worker)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(num_cores()) as threads:
        try:
            for _ in range(num_cores()):
                workers.append(_Worker())
                idle.put(workers[-1])
            for done in as_completed([threads.submit(decode_elsewhere, start) for start in starts]):
                on_block(done.result())
                raise_if_stopped()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.end()
    return results


class _Worker:
    """A process that runs `decode.serve`."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vae.data.decode"],  # -P: modules don't come from the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )
        assert self._process.stdin and self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def decode(self, paths: Sequence[Path], *, channels: int, size: int, bits: int) -> tuple[list[Decoded], np.ndarray]:
        """`decode_block`, there."""
        request = {"paths": list(map(str, paths)), "channels": channels, "size": size, "bits": bits}
        shape = (len(paths), channels, size, size)
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
            line = self._answers.readline()
            content = self._answers.read(math.prod(shape)) if line else b""
        except (OSError, ValueError):  # a pipe that is broken or closed
            content = b""
        if len(content) < math.prod(shape):
            raise DataError(
                "a process that decodes images was ended, perhaps for want of memory: begin again; "
                "if that is no help, find the picture it ends at by naming parts of the folder with --data_dir"
            )
        return [Decoded(*result) for result in json.loads(line)], np.frombuffer(content, np.uint8).reshape(shape)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with suppress(OSError):  # what was left to be sent
            self._requests.close()
