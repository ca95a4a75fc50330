"""A page taken apart."""

from html.parser import HTMLParser


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
