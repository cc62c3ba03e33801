"""A visitor of the public pages: the real application, without stores, and what a page has."""

import re
from functools import cache
from html.parser import HTMLParser

import httpx
from starlette.applications import Starlette

from corvus_proxy.books.db import Books
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import BrandSettings, Settings
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till

BRAND = BrandSettings(
    name="Rook",
    support="help@rook.example",
    independence="Rook is independent of every vendor.",
    refunds="Unspent balance, within 14 days.",
    api_url="https://api.rook.example",
    site_url="https://rook.example",
)
SETTINGS = Settings(brand=BRAND)


def site(settings: Settings = SETTINGS) -> httpx.AsyncClient:
    """The site, with neither Redis nor Postgres: public pages need none. The site of `SETTINGS` is
    made once, and so are its pages."""
    application = _usual() if settings is SETTINGS else _made(settings)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=settings.brand.site_url)


def _made(settings: Settings) -> Starlette:
    stores = Stores(
        Till.open("redis://127.0.0.1:1", timeout_ms=100), Books("postgresql://127.0.0.1:1/x"),
        b"p" * 32,
    )  # fmt: skip
    return create(stores, settings)


@cache
def _usual() -> Starlette:
    return _made(SETTINGS)


class Reader(HTMLParser):
    """Addresses, anchors and words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.names: list[tuple[str, str]] = []
        """Elements that have a name for those who do not see them."""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what leads somewhere and what can be led to."""
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("href", "src", "action") if name in found]
        if "id" in found:
            self.anchors.add(found["id"])
        if "aria-label" in found:
            self.names.append((tag, found["aria-label"]))


def sections(markdown: str) -> dict[str, str]:
    """A twin's text below each of its second-level headings."""
    parts = re.split(r"^## (.+)$", markdown, flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def table(text: str) -> list[list[str]]:
    """The rows of the first table in a text, cell by cell, the head first."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [row for row in cells if set("".join(row)) - set("-: ")]
