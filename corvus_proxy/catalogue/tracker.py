"""The price tracker: every price that is sold beside the vendor's, since when, and what comes next.

Rule 1: rows are made from a model's stretches of time (`book.periods`) and from nothing else.
Rule 2: a row has its source and the day on which that was read; what nobody has read for longer
than `STALE_DAYS` is marked.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from corvus_proxy.catalogue import history
from corvus_proxy.catalogue.book import Model, Period
from corvus_proxy.catalogue.sides import billed, sides
from corvus_proxy.money.amount import per_million

STALE_DAYS = 7
"""A price that was not compared with the vendor's for longer is marked as unchecked."""
_FACTOR_STEP = Decimal("0.0001")


class Key(NamedTuple):
    """Which price of a model."""

    component: str
    """A class of tokens, or `searches`."""
    mode: str
    """`flex`, `priority`, `fast` …; empty: the ordinary service."""
    above: int
    """For requests with more input tokens than this; 0: for those below the limit, or all."""


class Pair(NamedTuple):
    """The vendor's price and ours, in picos per token (`searches`: per call)."""

    official: int
    ours: int


class Next(NamedTuple):
    """An announced change of a price; None as a pair: it ends."""

    start: date
    announced: date | None
    pair: Pair | None


class Row(NamedTuple):
    """One price as it is in force on a day."""

    slug: str
    family: str
    key: Key
    pair: Pair
    source: str
    checked: date
    since: date | None
    """The first day on which both prices were these; None: as long as they have been tracked."""
    next: Next | None
    version: str


class Change(NamedTuple):
    """A price that became another, or will."""

    day: date
    announced: date | None
    slug: str
    family: str
    key: Key
    before: Pair | None
    """None: there was none."""
    after: Pair | None
    """None: there is none any more."""


def prices(model: Model) -> dict[Key, Pair]:
    """Every price of a model, base prices first. A search that costs the same in every mode and at
    every size stands once."""
    found: dict[Key, Pair] = {}
    searches: set[Pair] = set()
    for side in sides(model):
        for name in billed(model):
            pair = Pair(getattr(side.official, name), getattr(side.ours, name))
            if name == "searches":
                if pair == (0, 0) or pair in searches:
                    continue
                searches.add(pair)
            found[Key(name, side.mode, side.above)] = pair
    return found


def at(periods: Sequence[Period], day: date) -> Model:
    """One model at the prices that are in force on a day (UTC)."""
    return periods[history.in_force([one.span for one in periods], day)].model


def span(periods: Sequence[Period], day: date) -> history.Span:
    """The stretch of time in which a day (UTC) lies."""
    return periods[history.in_force([one.span for one in periods], day)].span


def rows(periods: Sequence[Period], day: date) -> list[Row]:
    """The prices of one model that are in force on a day (UTC)."""
    place = history.in_force([one.span for one in periods], day)
    model = periods[place].model
    known = [prices(one.model) for one in periods]
    return [
        Row(
            slug=model.slug,
            family=model.family,
            key=key,
            pair=pair,
            source=model.official.source,
            checked=model.official.checked,
            since=_since(periods, known, place, key),
            next=_next(periods, known, place, key),
            version=model.price.version,
        )
        for key, pair in known[place].items()
    ]


def changes(periods: Sequence[Period]) -> list[Change]:
    """What has changed from one stretch of time to the next, and what will."""
    found = []
    known = [prices(one.model) for one in periods]
    for place in range(1, len(periods)):
        period, old, new = periods[place], known[place - 1], known[place]
        for key in dict.fromkeys((*old, *new)):
            before, after = old.get(key), new.get(key)
            if before != after and period.span.start is not None:
                found.append(
                    Change(
                        period.span.start,
                        period.span.announced,
                        period.model.slug,
                        period.model.family,
                        key,
                        before,
                        after,
                    )
                )
    return found


def latest_first(found: Iterable[Change]) -> list[Change]:
    """A log of changes: the latest day first, models as they came."""
    return sorted(found, key=lambda one: one.day, reverse=True)


def unchecked_days(checked: date, day: date) -> int:
    """For how many days a price has not been compared, where that is too long; else 0."""
    age = day - checked
    return age.days if age > timedelta(days=STALE_DAYS) else 0


def usd(picos: int, component: str) -> str:
    """A price in USD per million tokens; of `searches`, per thousand calls."""
    return per_million(picos // 1000 if component == "searches" else picos)


def factor(pair: Pair) -> str | None:
    """Our part of the vendor's price to four decimals, such as `0.35`; None where that is free."""
    if not pair.official:
        return None
    share = (Decimal(pair.ours) / pair.official).quantize(_FACTOR_STEP, ROUND_HALF_EVEN)
    return f"{share.normalize():f}"


def _since(
    periods: Sequence[Period], known: Sequence[dict[Key, Pair]], place: int, key: Key
) -> date | None:
    while place and known[place - 1].get(key) == known[place][key]:
        place -= 1
    return periods[place].span.start


def _next(
    periods: Sequence[Period], known: Sequence[dict[Key, Pair]], place: int, key: Key
) -> Next | None:
    for later in range(place + 1, len(periods)):
        pair, start = known[later].get(key), periods[later].span.start
        if pair != known[place][key] and start is not None:
            return Next(start, periods[later].span.announced, pair)
    return None
