"""Ink on paper: found on light or dark, framed or uneven backgrounds, and put where MNIST puts it.

Shapes: h, w of the ink's bounding box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE, BOX = 28, 20  # LeCun et al. 1998: ink fitted into 20×20, its centre of mass in the middle of 28×28
WORKING = 560  # pixels; larger pictures are made smaller first, which also evens out a photo's noise
CONTRAST = 0.1  # of the range from black to white: the least that ink stands out
INK, NOISY_INK = 0.05, 0.4  # what counts as ink on a clean background, and at most on an uneven one
FRAME, EVEN, STEP = 0.1, 0.15, 0.3  # the widest frame, of a side; how even it is; how far it is from what it frames
STROKE = 0.2  # of the ink's range: what still joins two parts of a shape
LARGE = 0.4  # of the ink's height or width: what one of several shapes has at least


class Ink(NamedTuple):
    """What stands out in a picture."""

    strength: np.ndarray  # (h, w), 0 where the background is and 1 at its strongest
    light: bool  # whether the background was
    framed: bool  # whether a frame around it was taken off
    separate: bool  # whether it is several large shapes side by side or above each other


def find_ink(picture: Image.Image) -> Ink | None:
    """The ink in a picture; `None` where nothing stands out from the background."""
    grey = np.asarray(picture.convert("L"))
    inner = _unframed(grey)
    found = _on_background(inner) if inner.shape != grey.shape else None
    framed = found is not None
    found = found or _on_background(grey)
    return None if found is None else Ink(*found, framed, _separate(found[0]))


def _unframed(grey: np.ndarray) -> np.ndarray:
    """Without an even frame of another brightness around it; the same where there is none."""
    deepest = int(FRAME * min(grey.shape))
    rings = [_ring(grey, depth) for depth in range(deepest + 3)] if min(grey.shape) > 8 else []
    for depth in range(1, min(deepest + 1, len(rings) - 2)):
        outer, inner = rings[depth - 1], rings[depth + 1]  # the one between may be both, where edges are blurred
        if np.percentile(np.abs(outer - np.median(rings[0])), 95) > EVEN:
            break
        if abs(np.median(inner) - np.median(outer)) > STEP:
            return grey[depth + 1 : -depth - 1, depth + 1 : -depth - 1]
    return grey


def _ring(grey: np.ndarray, depth: int) -> np.ndarray:
    """The pixels at a distance from the edge, in [0, 1]."""
    part = grey[depth : len(grey) - depth, depth : grey.shape[1] - depth]
    return np.concatenate([part[0], part[-1], part[1:-1, 0], part[1:-1, -1]]) / 255


def _on_background(grey: np.ndarray) -> tuple[np.ndarray, bool] | None:
    """The ink's bounding box and whether the background was light."""
    picture = Image.fromarray(grey)
    picture.thumbnail((WORKING, WORKING))
    ink = np.asarray(picture, dtype=np.float64) / 255
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    light = bool(np.median(border) > 0.5)
    if light:
        ink, border = 1 - ink, 1 - border
    low = np.percentile(border, 75)  # above the paper's own unevenness
    if ink.max() - low < CONTRAST:
        return None
    noise = (np.percentile(border, 99) - low) / (ink.max() - low)
    ink = np.clip((ink - low) / (ink.max() - low), 0, 1)
    rows, columns = ((ink > np.clip(3 * noise, INK, NOISY_INK)).any(axis).nonzero()[0] for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], light


def _separate(strength: np.ndarray) -> bool:
    """Whether a gap right through the ink leaves large shapes on both of its sides."""
    stroke = strength > STROKE
    for across in (stroke, stroke.T):
        filled = across.any(0)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(int))).reshape(-1, 2)
        extents = [np.ptp(np.flatnonzero(across[:, start:end].any(1))) + 1 for start, end in edges]
        if sum(extent > LARGE * len(across) for extent in extents) > 1:
            return True
    return False


def place(strength: np.ndarray, *, mass: bool) -> Tensor:
    """Ink (h, w) in [0, 1] scaled into a box by its longer side and put in the middle: (1, 1, SIDE, SIDE) uint8.

    Args:
        strength: of the ink.
        mass: whether its centre of mass goes to the middle, in a box with a margin, as in MNIST; or its box, without.
    """
    box = BOX if mass else SIDE
    scale = box / max(strength.shape)
    height, width = (max(1, round(length * scale)) for length in strength.shape)
    small = Image.fromarray((strength * 255).round().astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(small, dtype=np.float64)
    array = array * (255 / max(array.max(), 1))  # thin strokes fade when they are scaled down
    page = np.zeros((SIDE, SIDE))
    centres = [
        (array.sum(1 - axis) * (np.arange(length) + 0.5)).sum() / array.sum() if mass else length / 2
        for axis, length in enumerate(array.shape)
    ]
    top, left = (
        int(np.clip(np.ceil(SIDE / 2 - centre), 0, SIDE - length))  # as MNIST rounds: every one of its images agrees
        for centre, length in zip(centres, array.shape, strict=True)
    )
    page[top : top + height, left : left + width] = array
    return torch.from_numpy(page.round().astype(np.uint8))[None, None]
