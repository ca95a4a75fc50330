"""Files that are written whole or not at all, and a lock."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vae.system.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

logger = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without locks answers


class FileError(UserError):
    """A file or folder that can't be read or written."""


class LockedError(FileError):
    """A lock that another process holds."""


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that `path` holds its old content or all of the new, even if the process is killed."""
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
        with suppress(OSError):  # after a success it is gone
            scratch.unlink()


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; bytes of a file name that are not Unicode become `?`."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise FileError(f"{path} is not written: some of its figures are not finite numbers") from None
    write_atomic(path, lambda stream: stream.write(text.encode(errors="replace")))


def is_folder_name(name: str | Path) -> bool:
    """Whether what a person gave as a place for results is a folder's name and not a file's."""
    return Path(name).is_dir() or not Path(name).suffix or str(name).endswith(("/", os.sep))


def refuse_links(*folders: Path) -> None:
    """Refuse folders to write into that are links: in a stranger's run they may lead to any folder."""
    for folder in folders:
        if folder.is_symlink():
            raise FileError(f"{folder} is a link to {os.path.realpath(folder)}: remove it")


@contextmanager
def take_lock(path: Path) -> Iterator[None]:
    """Lock a file while the `with` block runs; the lock ends with this process, even by SIGKILL.

    The file is removed before the lock is released, so a contender that has opened it holds a file without a name,
    which filelock notices. What a killed process leaves is locked and removed by the next one. An existing file keeps
    its content, and a symbolic link is refused: in a stranger's run it may lead to any file. Nothing is locked on a
    file system without locks.
    """
    from filelock import FileLock, Timeout  # imported here to keep --help fast

    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(f"{path.parent} is being trained by another process") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise FileError(f"can't write {path}: {error.strerror or error}") from None
        _remove_if_empty(path)
    try:
        yield
    finally:
        _remove_if_empty(path)
        lock.release()


@contextmanager
def wait_for_lock(path: Path, *, waiting_for: str) -> Iterator[None]:
    """Lock a file while the `with` block runs, once other processes are done; say so where that takes a while.

    Nothing is locked on a file system without locks.

    Raises:
        OSError: the file can't be written.
    """
    from filelock import FileLock, Timeout  # imported here to keep --help fast

    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=1)
        except Timeout:
            logger.info("waiting for %s ...", waiting_for)
            lock.acquire(timeout=-1)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        _remove_if_empty(path)
        lock.release()


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):  # it is gone with its folder, or Windows removes it on release
        if not path.stat().st_size:
            path.unlink()


def write_npz(path: Path, arrays: Mapping[str, Tensor | np.ndarray]) -> None:
    """Write a compressed NumPy archive atomically; it loads without pickle."""
    import numpy as np  # imported here to keep --help fast

    buffer = io.BytesIO()
    on_cpu: dict[str, Any] = {
        name: array.detach().cpu().numpy() if hasattr(array, "detach") else array for name, array in arrays.items()
    }
    np.savez_compressed(buffer, **on_cpu)
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table atomically: a header line, then one line per row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, lambda stream: stream.write(text.getvalue().encode()))
