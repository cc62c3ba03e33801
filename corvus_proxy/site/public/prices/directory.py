"""The models: a directory to search in, and a page for each."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from corvus_proxy.catalogue import tracker
from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.catalogue.families import SERIES, VENDORS
from corvus_proxy.catalogue.sides import billed
from corvus_proxy.catalogue.tracker import Key
from corvus_proxy.site.public import served
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices import tracking
from corvus_proxy.site.public.prices.offer import VENDOR_PAGES, WORDS, Offer, fitting, offer

SHOWN = ("input", "output", "cache_read")
SAMPLE_PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/embeddings")


class Entry(NamedTuple):
    """A model in the directory."""

    model: Model
    prices: list[str]
    """Ours of `SHOWN`; empty where it has none."""
    can: str
    """What it does, in words."""


class Stretch(NamedTuple):
    """A stretch of time and the ordinary prices in it."""

    start: date | None
    until: date | None
    announced: date | None
    version: str
    prices: list[tuple[str, str, str]]
    """Component, the vendor's, ours."""


def entries(found: Offer, query: str = "", family: str = "") -> list[tuple[str, list[Entry]]]:
    """The models whose slug, name or alias has all words of a query, by family."""
    words = query.lower().split()
    groups = []
    for name in found.families:
        if family and name != family:
            continue
        models = [one for one in found.of(name) if _matches(one, words)]
        if models:
            groups.append((SERIES[name], [_entry(one) for one in models]))
    return groups


def _matches(model: Model, words: list[str]) -> bool:
    text = " ".join((model.slug, model.display_name, model.family, *model.aliases)).lower()
    return all(word in text for word in words)


def _entry(model: Model) -> Entry:
    prices = tracker.prices(model)
    shown = [prices.get(Key(name, "", 0)) for name in SHOWN]
    return Entry(
        model,
        [
            tracker.usd(pair.ours, name) if pair else ""
            for name, pair in zip(SHOWN, shown, strict=True)
        ],
        ", ".join(abilities(model)),
    )


def abilities(model: Model) -> list[str]:
    """What a model does beside text."""
    if model.embeddings:
        return ["embeddings"]
    found = ["images"] if model.vision else []
    found += ["tools"] if model.tools else []
    found += ["reasons first"] if model.silent_reasoning else []
    return found


def index(facts: Facts) -> Mapping[str, Any]:
    """`/models`, unfiltered."""
    found = offer(facts)
    return {
        "groups": entries(found),
        "count": len(found.models),
        "aliases": sum(len(model.aliases) for model in found.models),
        "families": [(family, SERIES[family]) for family in found.families],
        "query": "",
        "family": "",
        "like": (),
    }


def asked(found: Offer, query: str, family: str) -> dict[str, Any]:
    """What the directory's form asks for, and what it finds."""
    groups = entries(found, query, family)
    like = () if groups else found.book.like(query)
    return {"groups": groups, "query": query, "family": family, "like": like}


def of(slug: str) -> Callable[[Facts], Mapping[str, Any]]:
    """`/models/{slug}`."""

    def view(facts: Facts) -> Mapping[str, Any]:
        found = offer(facts)
        model = found.book.find(slug)
        if model is None:
            unsold = facts.book.find(slug)
            if unsold is None:  # the book was changed while this process runs
                raise HTTPException(404)
            return {"model": unsold, "sold": False}
        return {"model": model, "sold": True, **_sold(facts, found, model)}

    return view


def _sold(facts: Facts, found: Offer, model: Model) -> dict[str, Any]:
    rows = found.rows[model.slug]
    checked = model.official.checked
    native = served.native(model, facts.settings)
    ways = sorted(found.paths[model.slug], key=lambda path: path not in native)
    path = next((one for one in SAMPLE_PATHS if one in native), ways[0])
    return {
        "vendor": VENDORS[model.family],
        "vendor_page": VENDOR_PAGES[model.family],
        "series": SERIES[model.family],
        "rows": [(_where(row.key, model), tracking.cell(row)) for row in rows],
        "unchecked_days": tracker.unchecked_days(checked, facts.day),
        "differs": tracker.span(found.periods[model.slug], facts.day).differs,
        "paths": [(one, one in native) for one in ways],
        "sample": path,
        "clients": fitting(model, facts),
        "reports": billed(model),
        "lines": tracking.lines(found.periods[model.slug], facts.day),
        "stretches": stretches(found, model.slug),
        "changed": [one for one in tracking.news(found.changes) if one.slug == model.slug],
    }


def _where(key: Key, model: Model) -> str:
    """For which requests a price is."""
    above = model.price.long_above
    if key.mode or key.above:
        return tracking.where(key)
    return f"up to {above:,} input tokens" if above and key.component != "searches" else "any"


def stretches(found: Offer, slug: str) -> list[Stretch]:
    """A model's ordinary prices through time, the latest first."""
    periods = found.periods[slug]
    told = []
    for place, one in enumerate(periods):
        until = periods[place + 1].span.start if place + 1 < len(periods) else None
        prices = [
            (WORDS[key.component], tracker.usd(pair.official, key.component),
             tracker.usd(pair.ours, key.component))
            for key, pair in tracker.prices(one.model).items()
            if not key.mode and not key.above
        ]  # fmt: skip
        told.append(
            Stretch(one.span.start, until, one.span.announced, one.model.price.version, prices)
        )
    return told[::-1]


def like(book: Book, name: str) -> list[Model]:
    """Models that somebody may have meant who asked for another."""
    found = (book.find(slug) for slug in book.like(name))
    return [model for model in found if model is not None]
