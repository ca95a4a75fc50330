"""Ink on paper: separated from shadows, table edges and ruled lines, and placed as MNIST places it.

Shapes: H, W of the scaled-down picture, h, w of the ink's bounding box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

SIDE, BOX = 28, 20  # LeCun et al. 1998: ink fitted into 20×20, its centre of mass in the middle of 28×28
WORKING = 448  # pixels; larger pictures are scaled down first, which also averages out a photo's noise
SMALL = 100  # pixels; a smaller picture was made for a data set, and its strokes may be of any width
WIDEST = 0.35  # of the picture's longer side: wider than any stroke, narrower than the shadow of a phone or a hand
DARKEST = 0.05  # added to the background's brightness before dividing by it: noise in the dark is no contrast
CONTRAST = 0.1  # the least difference between ink and background, as a share of the background's brightness
PLAIN, LIKE_PAGE = 0.15, 0.25  # least share of the pixels with the page's exact colour; greatest difference from it
INK, STRONG = 0.05, 0.5  # of the strongest contrast: the least that is ink on a clean page, and what is ink on any
FREE, PART = 0.1, 0.1  # least ink away from the edge, of that at the edge; of a part, of the largest part
STEP = 0.5  # difference in brightness between the page and the picture's edge: more is another surface or a frame
TOUCHING = 0.1  # of the picture's edge: the most that a sheet on a table covers
SHEET = 0.25  # of the picture's longer side: the least width of such a sheet, more than any stroke's
WRITTEN, RECTANGULAR = 0.2, 0.85  # of its area: the most that is ink; of its upright box, the least that it fills
STROKE = 0.2  # of the ink's strength: the least that joins two parts of a shape
LARGE = 0.4  # of the ink's height or width: the least that counts as a shape of its own
AROUND = np.ones((3, 3))  # diagonal neighbours belong together


class Ink(NamedTuple):
    """The ink of a picture and what it stands on."""

    strength: np.ndarray  # (h, w), 0 at the background's level and 1 at the strongest ink
    light: bool  # whether the background is light
    edged: bool  # whether something at the picture's edge was ignored: a frame, a table, a thumb
    separate: bool  # whether it consists of several large shapes, side by side or one above the other


def find_ink(picture: Image.Image, *, solid: bool = False) -> Ink | None:
    """Return the ink in a picture; `None` if nothing stands out from the background.

    Args:
        picture: a photo, a scan or a drawing, of any size and colours.
        solid: whether it shows a thing, which may be of any width, rather than strokes.
    """
    small = picture.convert("RGB")
    small.thumbnail((WORKING, WORKING), reducing_gap=3)
    colours = np.asarray(small, dtype=np.float32) / 255
    if not solid and (sheet := _upright_sheet(colours)) is not None and (ink := _find_ink(sheet, solid=False)):
        return ink._replace(edged=True)
    return _find_ink(colours, solid=solid)


def _find_ink(colours: np.ndarray, *, solid: bool) -> Ink | None:
    """Return the ink on a page that fills the picture or reaches its edge; `colours` in [0, 1], (H, W, 3)."""
    if np.ptp(colours) < CONTRAST:
        return None
    side = max(colours.shape)
    window = 2 * side if solid or side < SMALL else round(WIDEST * side)
    light = _is_light(colours, solid=solid)
    for width, on_light in ((window, light), (2 * side, light), (2 * side, not light)):
        background = _background(colours, light=on_light, window=width)
        difference = (background - colours if on_light else colours - background).clip(0)
        contrast = np.sqrt(np.square(difference / (background + DARKEST)).mean(2))  # the same in light and shadow
        if (marked := _mark(contrast)) is not None:
            mask, strength, edged = marked
            brightness = background.mean(2)
            edged |= bool((np.abs(_edge(brightness) - np.median(brightness[mask])) > STEP).mean() > 0.01)
            return Ink(strength, on_light, edged, _is_separate(strength))
    return None


def _upright_sheet(colours: np.ndarray) -> np.ndarray | None:
    """Return a light sheet on a dark table as a page that fills the picture, turned upright; `None` if there is none.

    It is a light rectangle that hardly touches the picture's edge and is wider than any stroke.
    """
    side = max(colours.shape)
    if side < SMALL:
        return None
    grey = ndimage.gaussian_filter(colours.mean(2), _grain(colours))
    table, page = np.median(_edge(grey)), np.percentile(grey, 99)
    light = grey > (table + page) / 2
    labels, _ = ndimage.label(light)
    sheet = ndimage.binary_fill_holes(labels == np.argmax(np.bincount(labels[light])) if light.any() else light)
    if page - table < STEP / 2 or _edge(sheet).mean() > TOUCHING or light[sheet].mean() < 1 - WRITTEN:
        return None
    points = np.argwhere(sheet & ~ndimage.binary_erosion(sheet))
    angle, lengths = min(
        ((angle, np.ptp(points @ _axes(angle), axis=0) + 1) for angle in range(-45, 45)),
        key=lambda turned: float(turned[1].prod()),
    )
    if lengths.min() < SHEET * side or sheet.sum() < RECTANGULAR * lengths.prod():
        return None
    inner = ndimage.binary_erosion(sheet, AROUND, iterations=1 + round(3 * _grain(colours)), border_value=1)
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    return ndimage.rotate(colours[tuple(nearest)], -angle, reshape=False, order=1, mode="nearest")


def _axes(angle: float) -> np.ndarray:
    """The axes of a picture turned by an angle in degrees, (2, 2)."""
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    return np.array([[cosine, -sine], [sine, cosine]])


def _edge(pixels: np.ndarray) -> np.ndarray:
    """Return the outermost pixels."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _plain_page(colours: np.ndarray) -> np.ndarray | None:
    """Return the page's colour if it is the same all over, as in no photo, and ink covers a part of the edge."""
    page = np.median(_edge(colours), axis=0)
    same, like = (np.abs(colours - page).max(2) <= limit for limit in (0, LIKE_PAGE))
    is_plain = same.mean() > max(PLAIN, like.mean() / 2) and not _edge(same).all()
    return page if is_plain else None


def _is_light(colours: np.ndarray, *, solid: bool) -> bool:
    """Return whether the page is light: within reach of a stroke, away from tables, the page is the larger part."""
    grey = colours.mean(2)
    if solid or _plain_page(colours) is not None:
        return bool(np.median(_edge(grey)) > grey.mean())
    window = round(WIDEST * max(grey.shape))
    middle = (ndimage.maximum_filter(grey, window) + ndimage.minimum_filter(grey, window)) / 2
    top, left = (length // 32 for length in grey.shape)
    return bool((grey - middle)[top : -top or None, left : -left or None].mean() > 0)


def _background(colours: np.ndarray, *, light: bool, window: int) -> np.ndarray:
    """Return the colour behind the ink, (H, W, 3).

    A closing fills dark strokes narrower than its window. Padded with the edge's own colours, it keeps what reaches the
    edge, however narrow: shadows, soft or hard, dark corners and tables. For light strokes, an opening does the same.
    """
    if (page := _plain_page(colours)) is not None:  # ink at the edge would pass for a table
        return np.broadcast_to(page, colours.shape)
    smooth = ndimage.gaussian_filter(colours, (_grain(colours), _grain(colours), 0))
    padded = np.pad(smooth, ((window, window), (window, window), (0, 0)), mode="edge")
    fill = ndimage.grey_closing if light else ndimage.grey_opening
    return fill(padded, size=(window, window, 1))[window:-window, window:-window]


def _grain(pixels: np.ndarray) -> float:
    """Return the width, in pixels, of details that are no ink."""
    return max(pixels.shape) / 400


def _mark(contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """Mark the ink that doesn't touch the picture's edge, or all of it where there is no other.

    Returns:
        Where it is, (H, W); its strength within its bounding box, (h, w); and whether anything at the edge was ignored.
        `None` if there is none.
    """
    page = min((contrast.ravel(), _edge(contrast)), key=np.median)
    level = np.median(page)
    noise = 1.4826 * np.median(np.abs(page - level))  # the standard deviation, if it is normal
    contrast = contrast - level
    smooth = ndimage.gaussian_filter(contrast, _grain(contrast))
    least = max(INK * smooth.max(), 4 * noise)
    if smooth.max() < max(CONTRAST, least):
        return None
    mask, outer = _free_ink(smooth, least)
    if not mask.any():
        mask = smooth > least
    near = ndimage.binary_dilation(mask, AROUND, iterations=1 + round(_grain(contrast)))
    strength = (np.where(near, contrast, 0) / np.percentile(contrast[mask], 95)).clip(0, 1)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return mask, strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], bool(outer.any())


def _free_ink(smooth: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Mark ink that doesn't touch the picture's edge, and what does; both (H, W), empty where nothing is free.

    A lower threshold adds faint strokes, until lines on the paper join them to each other and to the edge.
    """
    mask, outer = (np.zeros(smooth.shape, bool) for _ in range(2))
    mass = 0.0
    for threshold in np.geomspace(max(STRONG * smooth.max(), least), least, 8):
        labels, number = ndimage.label(smooth > threshold, AROUND)
        masses = np.bincount(labels.ravel(), np.square(smooth).ravel(), number + 1)
        masses[0] = 0
        at_edge = np.unique(_edge(labels))
        most = masses[at_edge].sum()
        masses[at_edge] = 0
        if masses.max() > max(1.5 * mass, FREE * most):
            mass, reached = masses.max(), threshold
            mask, outer = (masses > PART * mass)[labels], np.isin(labels, at_edge[at_edge > 0])
    if mass:
        beside = ~ndimage.binary_dilation(mask | outer, AROUND, iterations=1 + round(3 * _grain(smooth)))
        clutter = np.percentile(np.append(smooth[beside], 0), 98)
        labels, _ = ndimage.label(smooth > np.clip(1.2 * clutter, least, reached), AROUND)
        mask = np.isin(labels, labels[mask])
    return mask, outer


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
    centres = ndimage.center_of_mass(array) if mass else ((height - 1) / 2, (width - 1) / 2)
    top, left = (  # rounded up, which puts 9,997 of MNIST's 10,000 test images where they are
        int(np.clip(np.ceil((SIDE - 1) / 2 - centre), 0, SIDE - length))
        for centre, length in zip(centres, array.shape, strict=True)
    )
    page = np.zeros((SIDE, SIDE))
    page[top : top + height, left : left + width] = array * (255 / max(array.max(), 1))  # scaling fades thin strokes
    return torch.from_numpy(page.round().astype(np.uint8))[None, None]


def stroke_width(images: np.ndarray) -> float:
    """The usual width of strokes in uint8 images (N, H, W), in pixels; of light shapes on black, or dark on white.

    Across a stroke of width w, the distance to its edge is w / 4 on average.
    """
    ink = images > 127
    ink = ~ink if ink.mean() > 0.5 else ink
    distances = [ndimage.distance_transform_edt(np.pad(each, 1)) for each in ink if each.any()]
    widths = [4 * (distance[distance > 0].mean() - 0.5) for distance in distances]  # from pixel centres: 1/2 too much
    return float(np.median(widths)) if widths else 1.0
