"""Standard streams that may be closed, or go away during a run: a terminal, the reader of a pipe."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

GONE = (errno.EPIPE, errno.EIO)  # a pipe that nobody reads, a terminal that was closed


class Screen(io.FileIO):
    """A standard stream; once nobody can read it any more, what is written to it goes nowhere."""

    def write(self, data: object) -> int:
        """Write bytes, as `io.RawIOBase` says."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in GONE:
                raise
            _lead_nowhere(self.fileno())
            return super().write(data)  # type: ignore[arg-type]


def outlive_screen() -> None:
    """Let this program go on when its screen is closed, now or later."""
    for descriptor in range(3):  # else the next file that is opened would take a closed one's place
        try:
            os.fstat(descriptor)
        except OSError:
            _lead_nowhere(descriptor)
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


def _lasting(stream: Any, descriptor: int) -> Any:
    """The same stream, or one in place of a closed one; a console of Windows stays as it is."""
    if stream is not None and type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO:
        return stream
    screen = Screen(descriptor, "w", closefd=False)
    is_unbuffered = stream is not None and isinstance(stream.buffer, io.FileIO)  # python -u
    return io.TextIOWrapper(
        screen if is_unbuffered else io.BufferedWriter(screen),
        encoding=stream.encoding if stream else "utf-8",
        errors=stream.errors if stream else "replace",
        line_buffering=stream.line_buffering if stream else True,
        write_through=stream.write_through if stream else False,
    )


def _lead_nowhere(descriptor: int) -> None:
    """Open the null device in a descriptor's place."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    os.set_inheritable(descriptor, True)  # as programs that this one starts expect
