"""Pictures made square, upright and of one size, in this process and in others, which decode their blocks of it.

No torch is imported here, so that a process that decodes starts in a moment. It reads a request a line and answers each
with a line of what it learned and the pixels.

Shapes: N pictures, C channels, S pixels along a side.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from vae.data.errors import DataError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # by content: Pillow hands PostScript to Ghostscript
GREY_MODES, COLOUR_MODES = {"1", "L", "LA", "I;16", "I;16B"}, {"P", "RGB", "RGBA", "CMYK"}
MAX_PIXELS = 50_000_000  # of one image; a larger one is taken for a decompression bomb

# Pillow's decoders count, index and unpack what a damaged file says, mostly unchecked.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, AttributeError),
    *(struct.error, Image.DecompressionBombError),
)


class Decoded(NamedTuple):
    """What is known of a picture once it is decoded."""

    is_colour: bool
    bits: int  # in use, of greys of 16; else 0
    problem: str  # why it can't be used; empty if it can


def decode_block(paths: Sequence[Path], *, channels: int, size: int, bits: int) -> tuple[list[Decoded], np.ndarray]:
    """Decode pictures into (N, channels, size, size) uint8, each cropped to a square about its centre and resized.

    `bits` is `read_upright`'s. The pixels of a picture that can't be used are 0.
    """
    pixels = np.zeros((len(paths), channels, size, size), dtype=np.uint8)
    results = []
    for row, path in enumerate(paths):
        try:
            upright, result = _read(path, bits)
            pixels[row] = fit_square(upright, size=size, channels=channels)
        except DataError as error:
            result = Decoded(False, 0, str(error))
        results.append(result)
    return results, pixels


def open_image(path: Path) -> Image.Image:
    """Open an image and check its header; its pixels are not read yet."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise DataError(f"{path} can't be read as an image: it is not a regular file")
    with _pillow_errors(path, "can't be read as an image"):
        picture = Image.open(path, formats=FORMATS)
        problem = _problem(picture)
    if problem:
        picture.close()
        raise DataError(f"{path} {problem}")
    return picture


@contextmanager
def _pillow_errors(path: Path, what: str) -> Iterator[None]:
    """Turn what Pillow raises for a damaged file into one line, and silence its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of decompression bombs, which `MAX_PIXELS` refuses
            yield
    except PILLOW_ERRORS as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} {what}: {reason}; delete or replace it") from None


def _problem(picture: Image.Image) -> str:
    """Return why an image can't be used, going by its header; empty if it can."""
    if picture.width * picture.height > MAX_PIXELS:
        return f"has {picture.width:,}×{picture.height:,} pixels: more than {MAX_PIXELS:,}"
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # MPO: a phone's photo followed by its preview
        return "is animated: keep one of its frames"
    if picture.mode not in GREY_MODES | COLOUR_MODES:
        return f"has colour mode {picture.mode}: convert it to greyscale of 8 or 16 bits, or to RGB"
    return ""


def _bits(deep: np.ndarray) -> int:
    """Return how many bits greys of up to 16 use: an even number, as those of cameras and scanners; 8 or more.

    The largest of 16 bits doesn't count: it also marks hot and overexposed pixels among greys of fewer bits.
    """
    return max(8, int(deep.max(where=deep < 65535, initial=0)).bit_length() + 1 & ~1)


def read_upright(path: Path, *, bits: int = 0) -> Image.Image:
    """Read a picture into memory and apply its EXIF rotation; 16-bit grey becomes 8-bit, CMYK becomes RGB.

    Args:
        path: of the picture.
        bits: of 16-bit greys that are in use; the picture's own if they are more.

    Raises:
        DataError: one line with the file's name and why it can't be used.
    """
    return _read(path, bits)[0]


def _read(path: Path, bits: int) -> tuple[Image.Image, Decoded]:
    with open_image(path) as picture, _pillow_errors(path, "is damaged"):
        is_colour, own_bits = picture.mode in COLOUR_MODES, 0
        if picture.mode.startswith("I;16"):
            deep = np.asarray(picture)
            own_bits = _bits(deep)
            picture = Image.fromarray((deep >> max(bits, own_bits) - 8).clip(max=255).astype(np.uint8))
        upright = ImageOps.exif_transpose(picture)
        return upright.convert("RGB") if upright.mode == "CMYK" else upright, Decoded(is_colour, own_bits, "")


def fit_square(picture: Image.Image, *, size: int, channels: int) -> np.ndarray:
    """Put a picture on white, crop it to a square about its centre and resize it: (channels, size, size) uint8."""
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    square = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (size, size))
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def serve() -> None:
    """Answer each request on standard input on standard output, until there are no more."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        results, pixels = decode_block([Path(path) for path in request.pop("paths")], **request)
        sys.stdout.buffer.write(json.dumps(results).encode() + b"\n" + pixels.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        serve()
    except BrokenPipeError:  # the program that asked is gone
        os._exit(1)
