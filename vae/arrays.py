"""Arrays for other programs: NumPy archives and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vae.files import write_atomic


def write_npz(path: Path, arrays: Mapping[str, Tensor | np.ndarray]) -> None:
    """Write a compressed NumPy archive atomically; it loads without pickle."""
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
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array
