"""Weights without a run: a safetensors file whose metadata describes the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from vae.system import checkpoint
from vae.system.checkpoint import CheckpointError
from vae.system.extras import require
from vae.system.files import write_atomic

SUFFIX = ".safetensors"
KEY = "vae"  # of the description, JSON, in the file's metadata


def save(path: Path, weights: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write weights and the entries of `checkpoint.MODEL` that describe them, atomically."""
    require(f"writing {SUFFIX} files", "safetensors")
    from safetensors.torch import save

    metadata = {"format": "pt", KEY: json.dumps({"format": checkpoint.FORMAT, **description}, allow_nan=False)}
    content = save({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, metadata)
    write_atomic(path, lambda stream: stream.write(content))


def load(path: Path) -> dict[str, Any]:
    """Read the entries of `checkpoint.MODEL`, and more, from a run's checkpoint or, by its suffix, from such a file.

    Raises:
        CheckpointError: one line that says why the file can't be used.
    """
    if path.suffix.lower() != SUFFIX:
        return checkpoint.load(path)
    require(f"reading {path}", "safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # its length stands before it
        state = {**json.loads(header["__metadata__"][KEY]), "model_state": tensors}
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from None
    except SafetensorError:
        raise CheckpointError(f"{path} is not a safetensors file, or it is damaged") from None
    except (LookupError, TypeError, ValueError, RecursionError):
        raise CheckpointError(f"{path} doesn't describe its model: it was not exported by this program") from None
    return checkpoint.check(state, checkpoint.MODEL, path)
