"""Ctrl-C, SIGTERM and a terminal that is closed: finish cleanly at the next batch; a second one acts at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, ClassVar


class Stopped(Exception):
    """The run was asked to stop by `signal_number`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class Stopper:
    """Within its `with` block the first signal is only remembered, until `check` raises `Stopped`.

    A signal that this process was started to ignore stays ignored, as SIGHUP is under nohup.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
    active: ClassVar[Stopper | None] = None  # the one whose `with` block is running

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in self.SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._remember) for number in heard}
        Stopper.active = self
        return self

    def __exit__(self, *error: object) -> None:
        Stopper.active = None
        self._restore()

    def check(self) -> None:
        """Raise `Stopped` if a signal was received."""
        if self.received is not None:
            raise Stopped(self.received)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def raise_if_stopped() -> None:
    """Raise `Stopped` if a signal has come to the `Stopper` whose block is running; do nothing outside of one.

    Long computations call it between their parts, so that Ctrl-C ends them within a moment.
    """
    if Stopper.active is not None:
        Stopper.active.check()
