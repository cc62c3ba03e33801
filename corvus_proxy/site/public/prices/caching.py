"""What cached tokens cost, and how a short message becomes an expensive request."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.catalogue import tracker
from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.families import SERIES, VENDORS
from corvus_proxy.catalogue.sides import billed
from corvus_proxy.catalogue.tracker import Key
from corvus_proxy.money.usage import Usage
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices.compared import Bill, of_input, worked
from corvus_proxy.site.public.prices.offer import WORDS, offer

TYPED, HISTORY, FRESH, ANSWER = 40, 150_000, 1_200, 300
"""Tokens of the worked example: what is typed, what a long session carries, what of it is new since
the last turn, and what is answered."""


class Family(NamedTuple):
    """A family's table."""

    name: str
    vendor: str
    components: list[str]
    """In words."""
    rows: list[tuple[Model, list[tuple[str, str]]]]
    """Of each model: a component's price, and its share of the input price."""


class Turn(NamedTuple):
    """One of the requests that are compared."""

    title: str
    bill: Bill
    times: str
    """Of the first one's cost."""


def view(facts: Facts) -> Mapping[str, Any]:
    """`/cache-token-pricing`."""
    found = offer(facts)
    families = [
        Family(SERIES[family], VENDORS[family], *_table([one for one in found.of(family)
                                                         if not one.embeddings]))
        for family in found.families
    ]  # fmt: skip
    spoken = [one for one in found.models if not one.embeddings]
    writing = [one for one in spoken if "cache_write_5m" in billed(one)] or spoken
    model = sorted(writing, key=lambda one: one.price.base.output)[len(writing) // 2 :][:1]
    return {
        "families": families,
        "model": model[0] if model else None,
        "turns": turns(model[0]) if model else [],
        "typed": TYPED,
        "history": HISTORY,
        "fresh": FRESH,
        "answer": ANSWER,
        "writes_5m": of_input([one for one in spoken if one.family == "anthropic"],
                              "cache_write_5m"),
    }  # fmt: skip


def turns(model: Model) -> list[Turn]:
    """The same short message in a new chat, in a long session, and there after a pause."""
    writes = next((name for name in ("cache_write_5m", "cache_write_other")
                   if name in billed(model)), "")  # fmt: skip

    def usage(read: int, written: int) -> Usage:
        found = Usage(input=TYPED, cache_read=read, output=ANSWER)
        if not writes:
            return msgspec.structs.replace(found, input=TYPED + written)
        return msgspec.structs.replace(found, **{writes: written})

    told = (
        ("In a new chat", usage(0, 0)),
        ("In a long session, soon after the last turn", usage(HISTORY, FRESH)),
        ("In the same session, after the cache has ended", usage(0, HISTORY + FRESH)),
    )
    bills = [(title, worked(model, one)) for title, one in told]
    first = bills[0][1].charge_nanos or 1
    return [Turn(title, bill, f"{bill.charge_nanos // first:,}") for title, bill in bills]


def _table(
    models: list[Model],
) -> tuple[list[str], list[tuple[Model, list[tuple[str, str]]]]]:
    names = [name for name in WORDS if any(_is_cached(name) and name in billed(one)
                                           for one in models)]  # fmt: skip
    rows = []
    for model in models:
        prices = tracker.prices(model)
        cells = []
        for name in ("input", *names):
            pair = prices.get(Key(name, "", 0))
            share = of_input([model], name) if pair and name != "input" else ""
            cells.append((tracker.usd(pair.ours, name) if pair else "", share))
        rows.append((model, cells))
    return ["Fresh input", *(WORDS[name] for name in names)], rows


def _is_cached(name: str) -> bool:
    return name.startswith("cache_")
