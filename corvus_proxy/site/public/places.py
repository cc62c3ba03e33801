"""Where a reader can go: the navigation and the foot of public pages, and the topic map.

Rule: an entry is shown where its page is on the shelf, so none leads nowhere.
"""

from collections.abc import Mapping
from typing import NamedTuple

from corvus_proxy.site.public.page import Page


class Place(NamedTuple):
    """An entry of the navigation."""

    title: str
    path: str
    kinds: tuple[str, ...] = ()
    """Of the pages that stand below it."""


PLACES = (
    Place("Docs", "/docs", ("docs",)),
    Place("Models", "/models", ("models",)),
    Place("Prices", "/pricing/tracker", ("pricing", "landing")),
    Place("Trust", "/trust", ("trust", "legal")),
    Place("Status", "/status", ("status",)),
)
FEET = (
    Place("Trust centre", "/trust"),
    Place("Verify before you buy", "/trust/verify"),
    Place("Status", "/status"),
    Place("Legal notice", "/legal/notice"),
    Place("Privacy", "/legal/privacy"),
    Place("Terms", "/legal/terms"),
    Place("Refunds", "/legal/refunds"),
    Place("FAQ", "/faq"),
)
TOPICS = (
    "/docs/getting-started/quickstart",
    "/docs/api/overview",
    "/docs/api/models",
    "/docs/troubleshooting",
    "/claude-api-pricing",
    "/gpt-api-pricing",
    "/cache-token-pricing",
    "/pricing/tracker",
    "/pricing/calculator",
    "/models",
    "/trust",
    "/trust/verify",
    "/trust/proof",
    "/status",
)
"""The topic map: one page for each question that a buyer has."""


def menu(pages: Mapping[str, Page]) -> list[Place]:
    """The navigation."""
    return [place for place in PLACES if place.path in pages]


def foot(pages: Mapping[str, Page]) -> list[Place]:
    """The foot of each public page."""
    return [place for place in FEET if place.path in pages]


def at(page: Page) -> str:
    """The path of the entry below which a page stands; empty for the home page."""
    if page.path == "/":
        return ""
    return next((place.path for place in PLACES if page.kind in place.kinds), "")


def topics(pages: Mapping[str, Page]) -> list[Page]:
    """The pages of the topic map, in its order."""
    return [pages[path] for path in TOPICS if path in pages]
