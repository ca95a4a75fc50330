"""Ink on paper: separated from light or dark, framed or uneven backgrounds, and placed as MNIST places it.

Shapes: h, w of the ink's bounding box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import center_of_mass
from torch import Tensor

SIDE, BOX = 28, 20  # LeCun et al. 1998: ink fitted into 20×20, its centre of mass in the middle of 28×28
WORKING = 560  # pixels; larger pictures are scaled down first, which also averages out a photo's noise
CONTRAST = 0.1  # of the range from black to white: the least difference between ink and background
INK, NOISY_INK = 0.05, 0.4  # of the ink's strength: its threshold on a clean background, and at most on an uneven one
# A frame's greatest width, of the shorter side; its greatest unevenness; its least difference from what it surrounds.
FRAME, EVEN, STEP = 0.1, 0.15, 0.3
STROKE = 0.2  # of the ink's strength: the least that joins two parts of a shape
LARGE = 0.4  # of the ink's height or width: the least that counts as a shape of its own


class Ink(NamedTuple):
    """The ink of a picture and what it stands on."""

    strength: np.ndarray  # (h, w), 0 at the background's level and 1 at the strongest ink
    light: bool  # whether the background is light
    framed: bool  # whether a frame around it was removed
    separate: bool  # whether it consists of several large shapes, side by side or one above the other


def find_ink(picture: Image.Image) -> Ink | None:
    """Return the ink in a picture; `None` if nothing stands out from the background."""
    grey = np.asarray(picture.convert("L"))
    for inner in (_without_frame(grey), grey):
        ink = _on_background(inner)
        if ink is not None:
            strength, light = ink
            return Ink(strength, light, inner.shape != grey.shape, _is_separate(strength))
    return None


def _without_frame(grey: np.ndarray) -> np.ndarray:
    """Remove an even frame of another brightness; return the same where there is none."""
    deepest = int(FRAME * min(grey.shape))
    rings = [_ring(grey, depth) for depth in range(deepest + 3)] if min(grey.shape) > 8 else []
    for depth in range(1, min(deepest + 1, len(rings) - 2)):
        outer, inner = rings[depth - 1], rings[depth + 1]  # blurred edges may make the ring between them a mix of both
        if np.percentile(np.abs(outer - np.median(rings[0])), 95) > EVEN:
            break
        if abs(np.median(inner) - np.median(outer)) > STEP:
            return grey[depth + 1 : -depth - 1, depth + 1 : -depth - 1]
    return grey


def _ring(grey: np.ndarray, depth: int) -> np.ndarray:
    """Return the pixels at a distance from the edge, in [0, 1]."""
    part = grey[depth : len(grey) - depth, depth : grey.shape[1] - depth]
    return np.concatenate([part[0], part[-1], part[1:-1, 0], part[1:-1, -1]]) / 255


def _on_background(grey: np.ndarray) -> tuple[np.ndarray, bool] | None:
    """Return the ink's strength within its bounding box, (h, w), and whether the background is light."""
    picture = Image.fromarray(grey)
    picture.thumbnail((WORKING, WORKING))
    ink = np.asarray(picture, dtype=np.float64) / 255
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    light = bool(np.median(border) > 0.5)
    if light:
        ink, border = 1 - ink, 1 - border
    low = np.percentile(border, 75)  # most of the paper's own unevenness lies below
    if ink.max() - low < CONTRAST:
        return None
    noise = (np.percentile(border, 99) - low) / (ink.max() - low)
    ink = np.clip((ink - low) / (ink.max() - low), 0, 1)
    rows, columns = ((ink > np.clip(3 * noise, INK, NOISY_INK)).any(axis).nonzero()[0] for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], light


def _is_separate(strength: np.ndarray) -> bool:
    """Return whether a straight gap through the ink leaves large shapes on both sides."""
    stroke = strength > STROKE
    for across in (stroke, stroke.T):
        filled = across.any(0)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(int))).reshape(-1, 2)
        extents = [np.ptp(np.flatnonzero(across[:, start:end].any(1))) + 1 for start, end in edges]
        if sum(extent > LARGE * len(across) for extent in extents) > 1:
            return True
    return False


def place(strength: np.ndarray, *, mass: bool) -> Tensor:
    """Scale ink to fit a box and place it in the middle of an image, (1, 1, SIDE, SIDE) uint8.

    Args:
        strength: the ink, (h, w) in [0, 1].
        mass: fit it into 20×20 and centre its mass, as in MNIST; otherwise let it fill the image and centre its box.
    """
    box = BOX if mass else SIDE
    scale = box / max(strength.shape)
    height, width = (max(1, round(length * scale)) for length in strength.shape)
    small = Image.fromarray((strength * 255).round().astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(small, dtype=np.float64)
    centres = center_of_mass(array) if mass else ((height - 1) / 2, (width - 1) / 2)
    top, left = (  # rounded up, which puts 9,997 of MNIST's 10,000 test images where they are
        int(np.clip(np.ceil((SIDE - 1) / 2 - centre), 0, SIDE - length))
        for centre, length in zip(centres, array.shape, strict=True)
    )
    page = np.zeros((SIDE, SIDE))
    page[top : top + height, left : left + width] = array * (255 / max(array.max(), 1))  # scaling fades thin strokes
    return torch.from_numpy(page.round().astype(np.uint8))[None, None]
