"""What is sold here at which prices, as it is published: what every page of this package shows.

Rule: pages and documents are made from the published price book as it is read back, so that whoever
reads that file sees what the pages say.
"""

from collections.abc import Mapping
from typing import NamedTuple

from corvus_proxy.catalogue import margin, published, tracker
from corvus_proxy.catalogue.book import Book, Model, Period
from corvus_proxy.catalogue.tracker import Change, Row
from corvus_proxy.settings import FAMILIES
from corvus_proxy.site.public import envelope, sending, served
from corvus_proxy.site.public.docs import setups
from corvus_proxy.site.public.docs.setups.steps import Setup
from corvus_proxy.site.public.page import Facts

VENDOR_PAGES = {
    "anthropic": "https://www.anthropic.com/pricing#api",
    "openai": "https://openai.com/api/pricing/",
    "glm": "https://docs.z.ai/guides/overview/pricing",
}
"""Where a vendor states its own prices, for whoever wants to compare."""
WORDS = {
    "input": "Input",
    "output": "Output",
    "cache_read": "Cache read",
    "cache_write_5m": "Cache write, 5 minutes",
    "cache_write_1h": "Cache write, 1 hour",
    "cache_write_other": "Cache write",
    "searches": "Web search",
}
"""A component of a price in words."""


class Offer(NamedTuple):
    """The models that are sold, embeddings included, with their prices through time."""

    file: bytes
    """The published price book."""
    models: tuple[Model, ...]
    """At today's prices, in the order of the book."""
    periods: Mapping[str, tuple[Period, ...]]
    """By slug."""
    rows: Mapping[str, tuple[Row, ...]]
    """Today's prices by slug."""
    changes: tuple[Change, ...]
    """Of all models, the latest day first."""
    paths: Mapping[str, list[str]]
    """Our paths on which each slug is served."""

    @property
    def book(self) -> Book:
        """These models as a price book: what the biller's functions take."""
        return Book(self.models)

    @property
    def families(self) -> list[str]:
        """The families that have a model here."""
        sold = {model.family for model in self.models}
        return [family for family in FAMILIES if family in sold]

    def of(self, family: str) -> list[Model]:
        """The models of one family."""
        return [model for model in self.models if model.family == family]


def publish(facts: Facts) -> bytes:
    """The published price book: the models that a request can be made to. Raises
    ConfigurationError."""
    settings = facts.settings
    below = {one.slug for one in margin.below_cost(facts.book, settings)}
    families = {one.family for one in settings.upstream if one.credential} or set(FAMILIES)
    sold = [
        model.slug
        for model in facts.book.models
        if model.family in families and model.slug not in below and served.paths(model, settings)
    ]
    publisher = envelope.site(settings.brand)
    return sending.encode(published.publish(settings.pricing, sold, facts.day, publisher))


_known: list[tuple[Facts, Offer]] = []
"""The last offer that was made, and what from."""


def offer(facts: Facts) -> Offer:
    """What is sold, made once for the same facts."""
    if not _known or _known[0][0] is not facts:
        _known[:] = [(facts, _offer(facts))]
    return _known[0][1]


def _offer(facts: Facts) -> Offer:
    file = publish(facts)
    found = published.read(file)
    models: list[Model] = []
    rows: dict[str, tuple[Row, ...]] = {}
    periods: dict[str, tuple[Period, ...]] = {}
    for one in found.rows:
        model = tracker.at(one, found.day)
        models.append(model)
        periods[model.slug] = one
        rows[model.slug] = tuple(tracker.rows(one, found.day))
    changes = tracker.latest_first(change for one in found.rows for change in tracker.changes(one))
    paths = {model.slug: served.paths(model, facts.settings) for model in models}
    return Offer(file, tuple(models), periods, rows, tuple(changes), paths)


def fitting(model: Model, facts: Facts) -> list[Setup]:
    """The clients that a model fits best, of those that the documentation sets up."""
    if model.embeddings:
        return []
    return [one for one in setups.table(facts) if model.family in one.families]
