"""The documents for programs: the price book, the tracker, the models, and where their pages are.

Rule 1: `pricing.json` is made from the published price book and nothing else, so that `corvus
prices tracker --from price-book.json` makes the same bytes.
Rule 2: prices are decimal strings of USD per million tokens (`searches`: per thousand calls).
"""

from collections.abc import Mapping
from typing import Any

from corvus_proxy.catalogue import published, tracker
from corvus_proxy.catalogue.book import Model, Period
from corvus_proxy.catalogue.families import VENDORS
from corvus_proxy.catalogue.sides import billed, sides
from corvus_proxy.catalogue.tracker import STALE_DAYS, Change, Key, Pair, Row
from corvus_proxy.money.price import Rates
from corvus_proxy.site.public import envelope, sending
from corvus_proxy.site.public.document import Document, Given
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices.offer import VENDOR_PAGES, Offer, fitting, offer

BOOK = "/data/price-book.json"
PRICING = "/data/pricing.json"
MODELS = "/data/models.json"
PAGES = "/data/model-pages.json"
TOKENS, CALLS = "USD per 1,000,000 tokens", "USD per 1,000 calls"


def pricing(file: bytes) -> bytes:
    """The tracker of a published price book. Raises ConfigurationError."""
    found = published.read(file)
    rows = [row for one in found.rows for row in tracker.rows(one, found.day)]
    changes = tracker.latest_first(change for one in found.rows for change in tracker.changes(one))
    items = [_row(row) for row in rows]
    return sending.encode(
        envelope.envelope(
            envelope.publisher(found.publisher),
            found.day,
            "Every price that is charged, beside the vendor's own: source, day of the last check,"
            " since when, what is announced, and what it was before.",
            [BOOK.removeprefix("/")],
            vendor_pages=VENDOR_PAGES,
            stale_after_days=STALE_DAYS,
            totals={
                "models": len(found.rows),
                "rows": len(items),
                "by_family": envelope.counted(items, "family"),
                "announced": sum(1 for row in rows if row.next),
                "changes": len(changes),
            },
            items=items,
            changes=[_change(one) for one in changes],
            history=[_history(one) for one in found.rows if len(one) > 1],
        )
    )


def models(facts: Facts, found: Offer) -> bytes:
    """What each model is, apart from how it is served and priced here."""
    items = [_model(one, facts, found) for one in found.models]
    return sending.encode(
        envelope.envelope(
            facts.settings.brand,
            facts.day,
            "The models that can be asked here: facts, and under `served` the paths, prices and"
            " clients of this service. Exactly one slug a model; aliases lead to it and are billed"
            " as it.",
            [BOOK.removeprefix("/"), "configuration"],
            totals={
                "models": len(items),
                "by_family": envelope.counted(items, "family"),
                "aliases": sum(len(one["aliases"]) for one in items),
            },
            items=items,
        )
    )


def model_pages(facts: Facts, found: Offer) -> bytes:
    """Which page is which model's, and which others speak of it."""
    items = [
        {
            "slug": one.slug,
            "name": one.display_name,
            "family": one.family,
            "path": f"/models/{one.slug}",
            "markdown": f"/models/{one.slug}.md",
            "related": {
                name: path
                for name, path in related(one, facts).items()
                if path.partition("?")[0] in facts.pages
            },
        }
        for one in found.models
    ]
    return sending.encode(
        envelope.envelope(
            facts.settings.brand,
            facts.day,
            "Where a model has its page, and which other pages have its prices.",
            [MODELS.removeprefix("/")],
            totals={"pages": len(items), "by_family": envelope.counted(items, "family")},
            items=items,
        )
    )


def related(model: Model, facts: Facts) -> dict[str, str]:
    """Pages that speak of a model, by what they say."""
    compared = {"anthropic": "/claude-api-pricing", "openai": "/gpt-api-pricing"}
    found = {
        "directory": "/models",
        "tracker": f"/pricing/tracker?family={model.family}",
        "calculator": f"/pricing/calculator?model={model.slug}",
        "cache": "/cache-token-pricing",
        "slugs": "/docs/api/models",
    }
    if model.family in compared:
        found["comparison"] = compared[model.family]
    return found


def _row(row: Row) -> dict[str, Any]:
    coming = None
    if row.next is not None:
        pair = _pair(row.next.pair, row.key)
        coming = {"from": str(row.next.start), "announced": _day(row.next.announced), **pair}
    return {
        "slug": row.slug,
        "family": row.family,
        **_key(row.key),
        **_pair(row.pair, row.key),
        "factor": tracker.factor(row.pair),
        "source": row.source,
        "checked_at": str(row.checked),
        "effective_from": _day(row.since),
        "announced_next": coming,
        "version": row.version,
    }


def _key(key: Key) -> dict[str, Any]:
    return {
        "component": key.component,
        "mode": key.mode,
        "above_input_tokens": key.above,
        "unit": CALLS if key.component == "searches" else TOKENS,
    }


def _pair(pair: Pair | None, key: Key) -> dict[str, str | None]:
    return {
        "official": tracker.usd(pair.official, key.component) if pair else None,
        "ours": tracker.usd(pair.ours, key.component) if pair else None,
    }


def _change(one: Change) -> dict[str, Any]:
    return {
        "on": str(one.day),
        "announced": _day(one.announced),
        "slug": one.slug,
        "family": one.family,
        **_key(one.key),
        "before": _pair(one.before, one.key) if one.before else None,
        "after": _pair(one.after, one.key) if one.after else None,
    }


def _history(periods: tuple[Period, ...]) -> dict[str, Any]:
    found = []
    for place, one in enumerate(periods):
        until = periods[place + 1].span.start if place + 1 < len(periods) else None
        found.append(
            {
                "from": _day(one.span.start),
                "until": _day(until),
                "announced": _day(one.span.announced),
                "version": one.model.price.version,
                "source": one.model.official.source,
                "checked_at": str(one.model.official.checked),
                "prices": [
                    {**_key(key), **_pair(pair, key)}
                    for key, pair in tracker.prices(one.model).items()
                ],
            }
        )
    return {"slug": periods[0].model.slug, "periods": found}


def _model(model: Model, facts: Facts, found: Offer) -> dict[str, Any]:
    price = model.price
    return {
        "slug": model.slug,
        "name": model.display_name,
        "family": model.family,
        "vendor": VENDORS[model.family],
        "aliases": list(model.aliases),
        "facts": {
            "context_tokens": model.context_tokens,
            "output_tokens_max": model.output_tokens_max,
            "created": model.created,
            "vision": model.vision,
            "tools": model.tools,
            "reasons_before_answering": model.silent_reasoning,
            "embeddings": model.embeddings,
        },
        "served": {
            "paths": found.paths[model.slug],
            "price_version": price.version,
            "unit": TOKENS,
            "prices": [
                {"mode": side.mode, "above_input_tokens": side.above, **_rates(side.ours, model)}
                for side in sides(model)
            ],
            "places": [{"name": name, "percent": rate} for name, rate in price.geos.items()],
            "clients": [one.key for one in fitting(model, facts)],
        },
        "page": f"/models/{model.slug}",
    }


def _rates(rates: Rates, model: Model) -> Mapping[str, str]:
    """What a model reports; a search that has no price is not there, for it is not free."""
    return {
        name: tracker.usd(getattr(rates, name), name)
        for name in billed(model)
        if name != "searches" or rates.searches
    }


def _day(day: object) -> str | None:
    return None if day is None else str(day)


async def _book(given: Given) -> object:
    return offer(given.facts).file


async def _pricing(given: Given) -> object:
    return pricing(offer(given.facts).file)


async def _models(given: Given) -> object:
    return models(given.facts, offer(given.facts))


async def _pages(given: Given) -> object:
    return model_pages(given.facts, offer(given.facts))


DOCUMENTS = (
    Document(
        PRICING,
        "Prices",
        "Every price beside the vendor's: source, day of the check, since when, what is announced,"
        " history.",
        _pricing,
        lasting=True,
    ),
    Document(
        BOOK,
        "Price book",
        "Present, earlier and announced prices of what is sold: what the tracker is made from.",
        _book,
        lasting=True,
    ),
    Document(
        MODELS,
        "Models",
        "Every model that is sold: facts, and the paths, prices and clients of this service.",
        _models,
        lasting=True,
    ),
    Document(
        PAGES,
        "Pages of models",
        "The page of each model, and the other pages that speak of it.",
        _pages,
        lasting=True,
    ),
)
"""Of prices and models."""
