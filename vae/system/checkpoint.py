"""Checkpoints: tensors and plain Python only, written whole or not at all, loaded without running code."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from vae.system.files import FileError, write_atomic
from vae.system.memory import is_out_of_memory
from vae.system.schema import find_misfit

MAX_ENTRIES = 50_000  # of an archive, about one for each tensor: reading many more takes seconds
FORMAT = 1  # raised when an older reader would misread a newer file
MODEL: dict[str, Any] = {
    "format": int,
    "model_state": dict,
    "latent_dim": int,
    "image_shape": [int],
    "num_classes": int,
    "config": dict,
    "epoch": int,
    "fallback": str,
    "places": dict,
}  # what a model is built from
SCHEMA: dict[str, Any] = {
    **MODEL,
    "trained_state": dict,
    "optimizer_state": dict,
    "scaler_state": dict,
    "random_state": dict,
}  # what a run goes on from


class CheckpointError(FileError):
    """A checkpoint that can't be used."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a run's checkpoint atomically; `format` is added."""
    write(path, {"format": FORMAT, **state})


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a file for `read`, atomically."""
    buffer = io.BytesIO()  # torch would wrap the OSError of a full disk in an error of its own
    torch.save(state, buffer)
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))


def read(path: Path) -> Any:
    """Read a file of tensors and plain Python onto the CPU, without running code from it."""
    damaged = CheckpointError(f"{path} is not a checkpoint of this program, or it is damaged")
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"can't read {path}: it is not a file")
        if path.exists() and not _is_uncompressed_archive(path):
            raise damaged
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from None
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, LookupError, EOFError, ValueError) as error:
        if is_out_of_memory(error):
            raise CheckpointError(f"{path} doesn't fit into this machine's memory") from None
        raise damaged from None


def _is_uncompressed_archive(path: Path) -> bool:
    """Whether a file is an undamaged ZIP archive as torch writes them: a compressed one could unpack to any size."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            return False
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        fits = sum(entry.file_size for entry in entries) <= path.stat().st_size
        return stored and fits and archive.testzip() is None  # torch itself never looks at the checksums


def load(path: Path) -> dict[str, Any]:
    """Read a run's checkpoint onto the CPU; a `CheckpointError` says in one line why it can't be used."""
    state = read(path)
    state = state if isinstance(state, dict) else {}
    state.setdefault("trained_state", {})  # missing in files from before there were averaged weights
    return check(state, SCHEMA, path)


def check(state: dict[str, Any], schema: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what was read from `path` if it fits MODEL or SCHEMA; a `CheckpointError` says in one line why not."""
    missing = [name for name in schema if name not in state]
    if missing:
        raise CheckpointError(f"{path} is not a checkpoint of this program: it lacks {', '.join(missing)}")
    if type(state["format"]) is int and state["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, this version reads {FORMAT}: update the program")
    if misfit := find_misfit(state, schema):
        raise CheckpointError(f"{path} is damaged: its {misfit} has the wrong type")
    sizes = [state["num_classes"] + 1, state["epoch"] + 1, state["latent_dim"], *state["image_shape"]]
    if len(state["image_shape"]) != 3 or not all(0 < size < 2**31 for size in sizes):
        raise CheckpointError(f"{path} is damaged: its sizes are impossible")
    if not all(isinstance(text, str) for place in state["places"].items() for text in place):
        raise CheckpointError(f"{path} is damaged: its places are not paths")
    return state


def is_dense(value: object) -> bool:
    """Whether a file's entry is a dense tensor whose numbers are all in the file."""
    return (
        isinstance(value, torch.Tensor)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()  # strides of 0 repeat a number
    )


def is_weight(value: object) -> bool:
    """Whether a file's entry is dense and float32."""
    return is_dense(value) and isinstance(value, torch.Tensor) and value.dtype == torch.float32
