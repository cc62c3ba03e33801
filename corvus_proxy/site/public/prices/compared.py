"""Prices of one family beside its vendor's, and bills that show what they come to.

Rule: a share is our price divided by the vendor's, told where every row says the same; of a family
whose rule the operator sets, a percentage is told only where the configuration states one.
"""

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

from corvus_proxy.catalogue import tracker
from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.families import VENDORS
from corvus_proxy.catalogue.tracker import Key, Row
from corvus_proxy.money.amount import format_picos, format_usd
from corvus_proxy.money.pricing import charge, lines
from corvus_proxy.money.usage import Usage
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices.offer import VENDOR_PAGES, WORDS, offer
from corvus_proxy.site.shop.buys import ASSUMED, TURN

COMPARED = ("input", "output", "cache_read")


class Compared(NamedTuple):
    """One model's row."""

    model: Model
    prices: list[tuple[str, str]]
    """The vendor's and ours of each component of `COMPARED`."""
    share: str
    """In percent; several where they differ."""
    checked: date
    unchecked_days: int
    """More than 0 where that is too long ago."""


class Part(NamedTuple):
    """A line of a worked bill."""

    words: str
    tokens: int
    price: str
    """Ours, USD per million tokens."""
    amount: str
    official: str
    """The same tokens at the vendor's price, USD."""
    percent: int
    """Of the whole bill, rounded down."""


class Bill(NamedTuple):
    """What a usage costs, line by line."""

    usage: Usage
    parts: list[Part]
    charge_nanos: int
    official_nanos: int

    @property
    def usd(self) -> str:
        """What is charged."""
        return format_usd(self.charge_nanos)

    @property
    def official_usd(self) -> str:
        """What the vendor would charge."""
        return format_usd(self.official_nanos)


def claude(facts: Facts) -> Mapping[str, Any]:
    """`/claude-api-pricing`."""
    return _view(facts, "anthropic")


def gpt(facts: Facts) -> Mapping[str, Any]:
    """`/gpt-api-pricing`."""
    return _view(facts, "openai")


def _view(facts: Facts, family: str) -> Mapping[str, Any]:
    found = offer(facts)
    models = [model for model in found.of(family) if not model.embeddings]
    rows = [_compared(model, found.rows[model.slug], facts.day) for model in models]
    shares = {one.share for one in rows}
    stated = facts.settings.pricing.factor.get(family)
    middle = sorted(models, key=lambda one: one.price.base.output)[len(models) // 2 :][:1]
    return {
        "rows": rows,
        "components": [WORDS[name] for name in COMPARED],
        "share": shares.pop() if len(shares) == 1 else "",
        "stated": percent(stated) if stated else "",
        "writes": {name: of_input(models, name) for name in ("cache_write_5m", "cache_write_1h")},
        "vendor": VENDORS[family],
        "vendor_page": VENDOR_PAGES[family],
        "modes": sorted({mode for model in models for mode in model.price.modes}),
        "long": _by_limit(models),
        "worked": [(model, worked(model, TURN)) for model in middle],
        "assumed": ASSUMED,
    }


def _compared(model: Model, rows: tuple[Row, ...], day: date) -> Compared:
    found = {row.key: row for row in rows}
    pairs = [found[Key(name, "", 0)].pair for name in COMPARED]
    shares = dict.fromkeys(percent(tracker.factor(pair) or "0") for pair in pairs)
    checked = model.official.checked
    return Compared(
        model,
        [
            (tracker.usd(pair.official, name), tracker.usd(pair.ours, name))
            for name, pair in zip(COMPARED, pairs, strict=True)
        ],
        ", ".join(shares),
        checked,
        tracker.unchecked_days(checked, day),
    )


def _by_limit(models: list[Model]) -> dict[int, list[Model]]:
    """The models that have dearer prices above a size, by that size."""
    found: dict[int, list[Model]] = {}
    for model in models:
        if model.price.long is not None:
            found.setdefault(model.price.long_above, []).append(model)
    return found


def percent(factor: str) -> str:
    """A factor such as `0.35` as `35 %`, to a tenth."""
    found = (Decimal(factor) * 100).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    return f"{found.normalize():f} %"


def of_input(models: list[Model], component: str) -> str:
    """The share of the input price that a component costs, where all of these models agree."""
    shares = {
        Decimal(getattr(model.price.base, component)) / model.price.base.input
        for model in models
        if model.price.base.input
    }
    return percent(str(shares.pop())) if len(shares) == 1 else ""


def worked(model: Model, usage: Usage) -> Bill:
    """The bill of a usage by the functions that bill."""
    total = charge(usage, model.price)
    theirs = {line.name: line for line in lines(usage, model.official_price)}
    own = lines(usage, model.price)
    picos = sum(line.amount_picos for line in own) or 1
    return Bill(
        usage,
        [
            Part(
                WORDS[line.name],
                line.count,
                tracker.usd(line.picos, line.name),
                format_picos(line.amount_picos),
                format_picos(theirs[line.name].amount_picos),
                line.amount_picos * 100 // picos,
            )
            for line in own
        ],
        total,
        charge(usage, model.official_price),
    )
