"""One self-contained HTML page: whatever comes from a run is text in it, never markup, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from vae.system.errors import plain
from vae.system.files import FileError

TEMPLATES, STATIC = (Path(__file__).parent / name for name in ("templates", "static"))
SCRIPTS = ("decoder.js", "map.js", "point.js", "explorer.js", "curves.js", "page.js")  # in this order


def escape(value: object) -> str:
    """Text as it stands between tags or in a quoted attribute."""
    return html.escape(plain(value))


def data_block(value: object) -> str:
    """JSON for a script element of type application/json: it can neither close that element nor open another."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))  # U+2028 and U+2029 too
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str) -> str:
    """A table of class `kind` from headings and cells of HTML; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    lines = [f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows]
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def terms(pairs: Sequence[tuple[str, str]]) -> str:
    """A list of names and what they stand for, the latter as HTML."""
    return "<dl>" + "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in pairs) + "</dl>"


def png(path: Path) -> str:
    """A picture as a data: address.

    Raises:
        FileError: it can't be read, or it is no whole PNG.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError):
        raise FileError(f"{path.name} is no PNG, or it is damaged") from None
    return "data:image/png;base64," + base64.b64encode(content).decode()


def assemble(parts: Mapping[str, str]) -> str:
    """Fill `templates/report.html`: each `{{name}}` by the part of that name, once, so that no part is read for more.

    Its Content-Security-Policy lets run only the scripts and the style that are in `static/`, by their digests.

    Args:
        parts: HTML by name; the style, the scripts and their digests are added.
    """
    style = (STATIC / "report.css").read_text("utf-8")
    scripts = [(STATIC / name).read_text("utf-8") for name in SCRIPTS]
    own = {
        "style": style,
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
        "style_digest": _digest(style),
        "script_digests": " ".join(map(_digest, scripts)),
    }
    known = {**parts, **own}
    template = (TEMPLATES / "report.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: known[match[1]], template)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
