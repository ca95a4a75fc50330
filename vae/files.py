"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vae.errors import UserError


class FileError(UserError):
    """A file or folder that can't be read or written."""


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that `path` holds the old content or the new one, never a part, whatever happens between.

    Raises:
        FileError: no space, no permission, no folder; the old file is untouched.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise FileError(f"can't write {path}: {error.strerror or error}") from None


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically.

    Raises:
        FileError: it can't be written, or it has NaN or infinite figures, which JSON has no words for.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise FileError(f"{path} is not written: among its figures are some that are no finite numbers") from None
    write_atomic(path, lambda stream: stream.write(text.encode()))


def take_lock(path: Path) -> BinaryIO | None:
    """Hold a lock until the file that is returned is closed, or this process dies, however it dies.

    Raises:
        FileError: another process holds it, or there is no place for it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two processes are kept apart by nothing
        return None
    try:
        stream = path.open("wb")
    except OSError as error:
        raise FileError(f"can't write {path}: {error.strerror or error}") from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise FileError(f"{path.parent} is being trained by another process") from None
    return stream
