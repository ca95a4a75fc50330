"""NumPy's files as arrays that are mapped, not read: .npy, and the members of .npz. Nothing is ever unpickled."""

from __future__ import annotations

import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from vae.data import cache
from vae.data.errors import DamagedError, DataError
from vae.system.errors import UserError, plain

MAX_MEMBERS = 1000  # of an archive
# What zipfile and NumPy raise for a damaged file, whose headers are parsed as Python's literals.
READ_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, TokenError, EOFError, ValueError, SyntaxError, TypeError, LookupError),
    *(NotImplementedError, RuntimeError, ArithmeticError, MemoryError, AttributeError),
)


def open_arrays(path: Path) -> dict[str, ArrayFile]:
    """The arrays in an .npz by name, or that of an .npy under the name ""; what they hold is not read yet.

    Raises:
        DataError: one line with the name of the file and what is wrong with it.
    """
    if path.is_dir():
        raise DataError(
            f"--dataset arrays: {path} is a folder: name an .npy or .npz with --data_dir; or --dataset folder"
        )
    if not path.exists():
        raise DataError(f"--dataset arrays: there is no {path}: name an .npy or .npz with --data_dir")
    if not path.is_file():  # reading a pipe would wait for ever
        raise DataError(f"can't read {path}: it is not a regular file")
    with _one_line(path):
        with path.open("rb") as stream:
            start = stream.read(6)
        if start == b"\x93NUMPY":
            return {"": ArrayFile(path)}
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path} is no .npy or .npz, or it is damaged: write one with np.save or np.savez")
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        if not members or len(members) > MAX_MEMBERS:
            raise DataError(f"{path} holds {len(members):,} arrays: write it with np.savez")
        return {member.removesuffix(".npy"): ArrayFile(path, member) for member in members}


@contextmanager
def _one_line(source: object) -> Iterator[None]:
    """Turn what zipfile and NumPy raise for a damaged file into one line."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise DataError(f"can't read {source}: {error.strerror or error}") from None
    except READ_ERRORS as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DamagedError(f"{source} is damaged: {reason}; copy or save it anew") from None


class ArrayFile:
    """An array in a file, of which only the dtype and the shape have been read.

    Attributes:
        name: in its archive; empty for an .npy.
        dtype: of the file's numbers, which `map` refuses if they are Python objects.
        shape: as the file states it, which agrees with the file's size.
        is_packed: whether it has to be unpacked before it can be mapped.
    """

    def __init__(self, path: Path, member: str = "") -> None:
        self.path, self._member, self.name = path, member, member.removesuffix(".npy")
        self._start = 0  # of the array in the file
        self.is_packed = False
        if not member:
            with path.open("rb") as stream:
                self._read_header(stream)
            size = path.stat().st_size
        else:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(member)
                with archive.open(info) as packed:
                    self._read_header(packed)
            self.is_packed, size = info.compress_type != zipfile.ZIP_STORED, info.file_size
            if not self.is_packed:
                self._start = _start_of(path, info)
        stated = self._header + self.nbytes
        if not self.dtype.hasobject and (size != stated or min(self.shape, default=0) < 0):
            raise DamagedError(f"{self} is damaged: {size:,} bytes where its header says {stated:,}; copy it anew")

    def __str__(self) -> str:
        return f"{self.path} ({plain(self.name)})" if self.name else str(self.path)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def _read_header(self, stream: IO[bytes]) -> None:
        version = np.lib.format.read_magic(stream)
        readers: dict[Any, Any] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"version {version} of the format")
        self.shape, self._is_fortran, self.dtype = readers[version](stream)
        self._header = stream.tell()

    def map(self) -> np.ndarray:
        """The array, mapped read-only; what is packed is unpacked first, into a file that ends with this process."""
        if self.dtype.hasobject:
            remedy = "save an array of numbers or text, such as np.array(values, dtype=str)"
            raise DataError(f"{self} holds Python objects, which are never loaded, since that can run code: {remedy}")
        with _one_line(self):
            if not self.nbytes:
                return np.empty(self.shape, self.dtype)
            if not self.is_packed:
                return self._map(self.path, self._start + self._header)
            with cache.scratch_file() as stream, zipfile.ZipFile(self.path) as archive:
                cache.require_room(stream, self.nbytes, str(self))
                with archive.open(self._member) as packed:
                    shutil.copyfileobj(packed, stream, 1 << 20)
                stream.flush()
                return self._map(stream, self._header)

    def _map(self, file: Any, offset: int) -> np.ndarray:
        order: Any = "F" if self._is_fortran else "C"
        return np.memmap(file, mode="r", dtype=self.dtype, shape=self.shape, order=order, offset=offset)


def _start_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin in its archive, after a header of 30 bytes, a name and more: APPNOTE 4.3.7."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(30)
    return info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
