"""Files that are written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from vae.system.errors import UserError


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
        raise FileError(f"can't write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # it is gone where all went well
            scratch.unlink()


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; `?` stands for bytes of a file's name that are no Unicode.

    Raises:
        FileError: it can't be written, or it has NaN or infinite figures, which JSON has no words for.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise FileError(f"{path} is not written: among its figures are some that are no finite numbers") from None
    write_atomic(path, lambda stream: stream.write(text.encode(errors="replace")))


def take_lock(path: Path, *, wait: Callable[[], None] | None = None) -> BinaryIO | None:
    """Hold a lock until the file that is returned is closed, or this process dies, however it dies.

    The file is never emptied and never a link: in a stranger's run it may lead to any file of ours.

    Args:
        path: the lock's file.
        wait: told before the wait for another process to let go of it; `None` is not to wait.

    Raises:
        FileError: another process holds it, or there is no place for it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two processes are kept apart by nothing
        return None
    try:
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "wb")
    except OSError as error:
        raise FileError(f"can't write {path}: {error.strerror or error}") from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        if wait:
            wait()
            fcntl.flock(stream, fcntl.LOCK_EX)
            return stream
        stream.close()
        raise FileError(f"{path.parent} is being trained by another process") from None
    except OSError:  # a file system without locks, as some networks' are: nothing keeps two processes apart there
        stream.close()
        return None
    return stream


def write_npz(path: Path, arrays: Mapping[str, Tensor | np.ndarray]) -> None:
    """Write a compressed NumPy archive atomically; it loads without pickle."""
    import numpy as np  # here, so that --help needs none of it

    buffer = io.BytesIO()
    plain: dict[str, Any] = {name: _on_cpu(array) for name, array in arrays.items()}
    np.savez_compressed(buffer, **plain)
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table atomically, a header line and a line a row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, lambda stream: stream.write(text.getvalue().encode()))


def _on_cpu(array: Tensor | np.ndarray) -> np.ndarray:
    return array.detach().cpu().numpy() if hasattr(array, "detach") else array
