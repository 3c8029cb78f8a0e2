"""What must hold of every page: well formed, harmless, self-contained, readable without seeing it."""

import base64
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}
MOST_BYTES = 5_000_000


class Page(HTMLParser):
    """``images``, ``ids`` and ``links`` of a page, and its ``words`` outside style sheets."""

    def __init__(self):
        super().__init__()
        self.stack, self.images, self.ids, self.links, self.words = [], [], [], [], ""

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "link", "iframe", "object", "embed", "form"}
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag == "img":
            self.images.append(dict(attrs))
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words += f" {data}"


def parsed(text):
    """The page, which must be as every page must be."""
    assert not re.search(r"https?:|url\(|@import", text)
    assert text.count("</style>") == 1
    assert len(text) < MOST_BYTES
    page = Page()
    page.feed(text)
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    for image in page.images:
        assert image["alt"]
        kind, _, content = image["src"].partition(";base64,")
        assert kind in ("data:image/png", "data:image/svg+xml")
        assert base64.b64decode(content, validate=True)
    page.words = " ".join(page.words.split())
    return page
