"""A page taken apart."""

import base64
from html.parser import HTMLParser

import numpy as np


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text of its data block."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.data, self._inside = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = ("type", "application/json") in attrs

    def handle_data(self, data):
        self.data += data if self._inside else ""

    def handle_endtag(self, tag):
        self._inside = False


def unblob(blob):
    """The numbers of a block that `vae.report.nets.blob` has written."""
    raw = np.frombuffer(base64.b64decode(blob["data"]), np.dtype(blob["dtype"]).newbyteorder("<"))
    return raw.reshape(blob["shape"])
