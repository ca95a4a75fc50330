"""Photos of handwritten digits made up pixel by pixel, so that what is written on them is known; the same for a seed.

Colours are in [0, 1]. h, w are the height and width of a photo.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, rotate, zoom

SIDES = (640, 480)  # of a photo, in pixels, upright or lying
WHITE, BLACK_PEN = (0.93, 0.93, 0.92), (0.10, 0.10, 0.12)
PENS = {"blue": (0.12, 0.2, 0.62), "red": (0.8, 0.12, 0.15), "green": (0.1, 0.5, 0.2), "orange": (0.95, 0.55, 0.1)}
PAPERS = {
    "yellow": (0.95, 0.88, 0.55),
    "pink": (0.95, 0.75, 0.78),
    "grey": (0.68, 0.67, 0.65),
    "kraft": (0.7, 0.56, 0.4),
}

Draw = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """What is photographed, and how."""

    paper: tuple[float, float, float] = WHITE
    pen: tuple[float, float, float] = BLACK_PEN
    level: float = 0.5  # of a glyph's greys at which its stroke ends: less is a thicker pen
    size: float = 0.45  # the digit's longer side, of the photo's shorter one
    reach: float = 0.1  # how far the digit may stand from the middle, of the photo's sides
    ruled: str = ""  # "lines" or "squares"
    rotation: float = 3.0  # degrees, at most
    keystone: float = 0.0  # by how much one side of the page is shorter than the other, at most
    light: Callable[[tuple[int, int], Draw], np.ndarray] | None = None  # illumination, (h, w) in [0, 1]
    table: tuple[int, ...] = ()  # numbers of sides of the photo on which a dark table lies bare; one is drawn
    tilt: float = 0.0  # degrees, at most, by which a sheet that lies wholly in the photo, on a dark table, is turned
    thumb: bool = False
    blur: float = 0.7  # pixels
    noise: float = 0.012  # standard deviation at full light
    quality: int = 88  # of the JPEG


def soft_shadow(shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """Light that falls by 55 to 70 % from one end to the other, from any side."""
    way = _along(shape, draw)
    way = (way - way.min()) / np.ptp(way)
    return 1 - draw.uniform(0.55, 0.7) * way ** draw.uniform(0.7, 1.5)


def hard_shadow(shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """A shadow's straight edge, through the photo's middle third."""
    way = _along(shape, draw) + draw.uniform(-0.15, 0.15) * min(shape)
    edge = 1 / (1 + np.exp(-np.clip(way / draw.uniform(0.7, 8), -50, 50)))
    return 1 - draw.uniform(0.35, 0.65) * edge


def phone_shadow(shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """The shadow of a phone or a hand, which reaches into the photo from one side."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    half = draw.uniform(0.2, 0.4) * width
    inside = (abs(columns - draw.uniform(0.3, 0.7) * width) < half) & (rows > draw.uniform(0.1, 0.6) * height)
    light = 1 - draw.uniform(0.35, 0.6) * gaussian_filter(inside.astype(float), draw.uniform(2, 15))
    return light[::-1] if draw.random() < 0.5 else light


def dark_corners(shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """A lens that loses 60 to 80 % of the light in the corners."""
    rows, columns = (np.linspace(-1, 1, length) for length in shape)
    away = np.hypot(rows[:, None], columns[None]) / np.sqrt(2)
    return 1 - draw.uniform(0.6, 0.8) * away ** draw.uniform(2, 4)


def _along(shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """Distance from the photo's middle in a direction that is drawn, pixels, (h, w)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    angle = draw.uniform(0, 2 * np.pi)
    return (rows - shape[0] / 2) * np.sin(angle) + (columns - shape[1] / 2) * np.cos(angle)


# Each kind of photo: a scene, or what makes one.
KINDS: dict[str, Callable[[Draw], Scene]] = {
    "clean scan": lambda draw: Scene(rotation=0, blur=0.5, noise=0, quality=95),
    "plain photo": lambda draw: Scene(),
    "soft shadow": lambda draw: Scene(light=soft_shadow),
    "hard shadow": lambda draw: Scene(light=hard_shadow),
    "shadow of a phone": lambda draw: Scene(light=phone_shadow),
    "dark corners": lambda draw: Scene(light=dark_corners),
    "lined paper": lambda draw: Scene(ruled="lines"),
    "squared paper": lambda draw: Scene(ruled="squares"),
    "pencil on lined paper": lambda draw: Scene(ruled=("lines", "squares")[draw.integers(2)], pen=(0.45,) * 3),
    "coloured pen": lambda draw: Scene(pen=_one_of(draw, PENS)),
    "yellow pen": lambda draw: Scene(pen=(0.96, 0.86, 0.12)),
    "pencil": lambda draw: Scene(pen=(0.55,) * 3, level=0.6),
    "tinted paper": lambda draw: Scene(paper=_one_of(draw, PAPERS), pen=_one_of(draw, {**PENS, "black": BLACK_PEN})),
    "blackboard": lambda draw: Scene(paper=(0.13, 0.2, 0.16), pen=(0.82, 0.84, 0.8), noise=0.02),
    "blackboard in shadow": lambda draw: Scene(
        paper=(0.13, 0.2, 0.16), pen=(0.82, 0.84, 0.8), noise=0.02, light=soft_shadow
    ),
    "dark screen": lambda draw: Scene(paper=(0.04, 0.05, 0.07), pen=_one_of(draw, {"": (0.9,) * 3, **PENS})),
    "table edge": lambda draw: Scene(table=(1, 1, 2)),
    "sheet on a table": lambda draw: Scene(table=(4,)),
    "tilted sheet on a table": lambda draw: Scene(tilt=35, rotation=0, reach=0.05),
    "thumb": lambda draw: Scene(thumb=True),
    "perspective": lambda draw: Scene(rotation=9, keystone=0.25),
    "noise and JPEG": lambda draw: Scene(noise=0.06, quality=25),
    "defocus": lambda draw: Scene(blur=5),
    "thin pen": lambda draw: Scene(level=0.75, size=0.6),
    "thick pen": lambda draw: Scene(level=0.2, size=0.6),
    "small, far off": lambda draw: Scene(size=0.13, reach=0.38),
    "large": lambda draw: Scene(size=0.85, reach=0.02),
    "all at once": lambda draw: Scene(
        light=(soft_shadow, hard_shadow, phone_shadow)[draw.integers(3)],
        ruled=("", "lines", "squares")[draw.integers(3)],
        pen=_one_of(draw, {"black": BLACK_PEN, "blue": PENS["blue"], "red": PENS["red"]}),
        table=((), (1,))[draw.integers(2)],
        thumb=bool(draw.random() < 0.3),
        size=draw.uniform(0.25, 0.5),
        level=draw.uniform(0.3, 0.6),
        keystone=0.1,
        noise=0.03,
        quality=60,
    ),
}


def _one_of(draw: Draw, colours: dict[str, tuple[float, float, float]]) -> tuple[float, float, float]:
    return list(colours.values())[draw.integers(len(colours))]


def make(glyph: np.ndarray, kind: str, seed: int) -> Image.Image:
    """Photograph a digit.

    Args:
        glyph: the digit in greys, light on black, (rows, columns) in [0, 1], of few pixels.
        kind: one of `KINDS`.
        seed: of everything that is drawn at random.
    """
    scene, draw = _scene(kind, seed)
    return photograph(glyph, scene, draw)


def level(kind: str, seed: int) -> float:
    """How thick the pen of a photo is, as a `Scene.level` of one digit after the point."""
    return round(_scene(kind, seed)[0].level, 1)


def scan(glyph: np.ndarray, level: float) -> Image.Image:
    """The digit, by the same pen, as a clean scan: the truth of a photo."""
    return photograph(glyph, Scene(level=level, rotation=0, blur=0.5, noise=0), np.random.default_rng(0))


def _scene(kind: str, seed: int) -> tuple[Scene, Draw]:
    draw = np.random.default_rng([seed, *kind.encode()])
    return KINDS[kind](draw), draw


def photograph(glyph: np.ndarray, scene: Scene, draw: Draw) -> Image.Image:
    """Return the photo of a scene."""
    shape = SIDES if draw.random() < 0.5 else SIDES[::-1]
    page = np.ones((*shape, 1)) * scene.paper
    if scene.ruled:
        page = _ruled(page, scene.ruled, draw)
    coverage = _written(glyph, scene, shape, draw)
    pressure = gaussian_filter(draw.normal(1, 1.5, shape), 6)[..., None].clip(0.75, 1)  # ink flows unevenly
    page += (coverage[..., None] * pressure) * (np.array(scene.pen) - page)
    photo = _turned_on_table(page, scene, draw) if scene.tilt else _on_table(page, scene, draw)
    if scene.thumb:
        photo = _with_thumb(photo, draw)
    light = np.ones(shape) if scene.light is None else scene.light(shape, draw)
    if scene.light is None and scene.noise:
        light -= 0.12 * abs(_along(shape, draw)) / max(shape)
    photo = gaussian_filter(photo * light[..., None], (scene.blur, scene.blur, 0))
    photo += (
        scene.noise * np.sqrt(0.2 + 0.8 * photo) * gaussian_filter(draw.normal(size=photo.shape), (0.5, 0.5, 0)) * 1.6
    )
    data = io.BytesIO()
    Image.fromarray((photo.clip(0, 1) * 255).round().astype(np.uint8)).save(data, "JPEG", quality=scene.quality)
    return Image.open(data).convert("RGB")


def _written(glyph: np.ndarray, scene: Scene, shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """How much of each pixel the pen covers, (h, w) in [0, 1]."""
    rows, columns = np.nonzero(glyph > 0.1)
    glyph = np.pad(glyph[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], 2)
    scale = scene.size * min(shape) / (max(glyph.shape) - 4)
    large = zoom(glyph.astype(float), scale, order=3)
    large = rotate(large, draw.uniform(-1, 1) * scene.rotation, order=1)
    sharp = ((large - scene.level) * scale * 0.7 + 0.5).clip(0, 1)
    coverage = np.zeros(shape)
    height, width = (min(length, side) for length, side in zip(sharp.shape, shape, strict=True))
    top, left = (
        int(np.clip((side - length) * 0.5 + draw.uniform(-1, 1) * scene.reach * side, 0, side - length))
        for side, length in zip(shape, (height, width), strict=True)
    )
    coverage[top : top + height, left : left + width] = sharp[:height, :width]
    return coverage


def _ruled(page: np.ndarray, kind: str, draw: Draw) -> np.ndarray:
    """Draw lines or squares, a few degrees from level."""
    height, width = page.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    slope = np.tan(np.radians(draw.uniform(-3, 3)))
    every = draw.uniform(0.06, 0.14) * min(height, width)
    colour = np.array(((0.6, 0.72, 0.86), (0.7, 0.7, 0.72), (0.55, 0.6, 0.75))[draw.integers(3)])
    offset, thickness = draw.uniform(0, every), draw.uniform(0.8, 1.6)
    ways = [rows + slope * columns] + ([columns - slope * rows] if kind == "squares" else [])
    for way in ways:
        away = abs((way + offset) % every - every / 2)
        page = page + (thickness + 0.5 - away).clip(0, 1)[..., None] * (colour - page)
    return page


def _on_table(page: np.ndarray, scene: Scene, draw: Draw) -> np.ndarray:
    """Lay the page on a table and look at it slantwise; without a table the page covers the photo."""
    height, width = page.shape[:2]
    sides = draw.choice(scene.table) if scene.table else 0
    bare = draw.permutation(4)[:sides]
    margins = np.zeros(4)  # above, below, left, right
    margins[bare] = draw.uniform(0.04, 0.16, len(bare))
    if not (sides or scene.keystone):
        return page
    behind = _table((height, width), draw)
    rows, columns = np.mgrid[:height, :width].astype(float)
    pinch = 1 + draw.uniform(-1, 1) * scene.keystone * (rows / height - 0.5)
    angle = np.radians(draw.uniform(-1, 1) * scene.rotation) if sides else 0.0
    y, x = rows - height / 2, (columns - width / 2) * pinch
    y, x = y * np.cos(angle) + x * np.sin(angle) + height / 2, x * np.cos(angle) - y * np.sin(angle) + width / 2
    seen = np.stack([map_coordinates(page[..., c], [y, x], order=1, mode="nearest") for c in range(3)], -1)
    inside = [
        (y - margins[0] * height),
        (height * (1 - margins[1]) - y),
        (x - margins[2] * width),
        (width * (1 - margins[3]) - x),
    ]
    on_page = np.min([way for number, way in enumerate(inside) if number in bare] or [np.ones_like(y)], axis=0)
    return np.where(on_page[..., None] > 0, seen, behind)


def _turned_on_table(page: np.ndarray, scene: Scene, draw: Draw) -> np.ndarray:
    """Lay the page, from farther away, on a table that shows all around it, and turn it."""
    height, width = page.shape[:2]
    angle, scale = np.radians(draw.uniform(-1, 1) * scene.tilt), draw.uniform(0.5, 0.7)
    rows, columns = np.mgrid[:height, :width].astype(float)
    y, x = (rows - height / 2) / scale, (columns - width / 2) / scale
    y, x = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    place = [y + height / 2, x + width / 2]
    seen = np.stack([map_coordinates(page[..., c], place, order=1, mode="nearest") for c in range(3)], -1)
    on_page = (abs(y) < 0.47 * height) & (abs(x) < 0.47 * width)
    return np.where(on_page[..., None], seen, _table((height, width), draw))


def _table(shape: tuple[int, int], draw: Draw) -> np.ndarray:
    """A dark table of wood, (h, w, 3)."""
    grain = gaussian_filter(draw.normal(size=shape), (1.5, 40)) * 12
    colour = np.array(((0.25, 0.16, 0.1), (0.1, 0.1, 0.11), (0.4, 0.28, 0.18))[draw.integers(3)])
    return (colour * (1 + 0.25 * grain[..., None])).clip(0, 1)


def _with_thumb(photo: np.ndarray, draw: Draw) -> np.ndarray:
    """A thumb that holds the page, in from a side or a corner."""
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    centre = [(draw.uniform(0.05, 0.9) * height, draw.choice([0, width])), (height, draw.uniform(0.05, 0.95) * width)][
        draw.integers(2)
    ]
    thick, long = draw.uniform(0.06, 0.09) * max(height, width), draw.uniform(0.1, 0.16) * max(height, width)
    sizes = (thick, long) if centre[0] < height else (long, thick)
    away = ((rows - centre[0]) / sizes[0]) ** 2 + ((columns - centre[1]) / sizes[1]) ** 2
    skin = np.array(((0.8, 0.6, 0.5), (0.45, 0.3, 0.22), (0.25, 0.16, 0.12))[draw.integers(3)])
    shade = (1.1 - 0.3 * away.clip(0, 1))[..., None]
    return np.where(away[..., None] < 1, skin * shade, photo)
