"""What is wrong with a price book: one line a problem.

A book that cannot be meant is refused when it is read (`book`); here is what can be meant and
should not be: prices above the vendor's, prices without a source, rises that come too soon.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import MODES, Model, Period
from corvus_proxy.catalogue.sides import sides
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.price import Mode, Price, Rates
from corvus_proxy.settings import PricingSettings

_PRICES = ("official", "official_long")
_KNOWN = (*Rates.__struct_fields__, "long_above", "geos", "model")
"""What `differs` may explain, beside modes."""


def problems(pricing: PricingSettings, today: date) -> list[str]:
    """A sentence for each problem of the book that the settings name, in the file's order."""
    try:
        rows = book.read(pricing)
    except ConfigurationError as error:
        return [str(error)]
    found = [problem for raw in rows for problem in _row(raw, pricing, today)]
    names = Counter(name for raw in rows for name in _names(raw))
    found += [f"price book: {n} models are called {name}" for name, n in names.items() if n > 1]
    return found


def dearer(model: Model) -> list[str]:
    """A sentence for each component that is sold dearer than the vendor sells it."""
    return [
        f"{name}{side.words} is sold at {getattr(side.ours, name)} picos, dearer than the vendor's"
        f" {getattr(side.official, name)}"
        for side in sides(model)
        for name in _dearer_names(side.ours, side.official)
    ]


def rises(old: Price, new: Price) -> list[str]:
    """What some request pays more for at the new price, in a mode or a place that has a price in
    both."""
    before, after = ({"": Mode(one.base, one.long), **one.modes} for one in (old, new))
    found = []
    for name in [name for name in after if name in before]:
        mode = f" as {name}" if name else ""
        was, now = before[name], after[name]
        found += [f"{one}{mode}" for one in _dearer_names(now.base, was.base)]
        if now.long is not None or was.long is not None:
            above = max(new.long_above, old.long_above)
            names = _dearer_names(now.long or now.base, was.long or was.base)
            found += [f"{one}{mode} above {above} tokens" for one in names]
    if new.long is not None and old.long is not None and new.long_above < old.long_above:
        found.append("the long-context prices begin earlier")
    return found + [
        f"every price in {place}"
        for place in new.geos
        if new.geos[place] > old.geos.get(place, 1000)
    ]


def _dearer_names(new: Rates, old: Rates) -> list[str]:
    return [name for name in new.__struct_fields__ if getattr(new, name) > getattr(old, name)]


def _row(raw: dict[str, Any], pricing: PricingSettings, today: date) -> Iterable[str]:
    try:
        periods = book.periods(raw, pricing.factor)
    except ConfigurationError as error:
        yield str(error)
        return
    before: Period | None = None
    for place, period in enumerate(periods):
        when = _when(periods, place)
        for problem in _period(period, today, future=place + 1 < len(periods)):
            yield f"{period.model.slug}{when}: {problem}"
        announced = period.span.announced
        if before is None or announced is None:
            # Only a change is announced; what was in force before this book was written is history.
            if period.span.start is not None and period.span.start > today:
                yield (
                    f"{period.model.slug}{when}: a price that is not in force yet is a"
                    " [[model.change]] with the day it was announced"
                )
        else:
            for problem in _change(before, period, announced, pricing.notice_days, today):
                yield f"{period.model.slug}{when}: {problem}"
        before = period


def _period(period: Period, today: date, *, future: bool) -> Iterable[str]:
    """What is wrong with one stretch of time by itself."""
    span, model = period.span, period.model
    if any(name in span.stated for name in _PRICES):
        for name in {"source", "checked"} - span.stated:
            yield f"it states an official price without `{name}`"
    if not model.official.source.strip():
        yield "source is empty"
    if model.official.checked > today:
        yield f"checked on {model.official.checked}, which is still to come"
    yield from dearer(model)
    yield from _long(model)
    for name, why in span.differs.items():
        if name not in (*_KNOWN, *MODES):
            yield f"differs: there is no component {name!r}"
        if not why.strip():
            yield f"differs: {name} without a reason"


def _long(model: Model) -> Iterable[str]:
    """What is wrong with the long-context prices."""
    official, price = model.official, model.price
    if official.long is None or price.long is None:
        return
    if price.long_above > model.context_tokens:
        yield f"long_above {price.long_above} lies beyond its context of {model.context_tokens}"
    if official.long == official.base:
        yield "official_long is the same as official"
    for name in _dearer_names(official.base, official.long):
        yield f"official {name} is cheaper above {price.long_above} tokens than below"


def _change(
    before: Period, period: Period, announced: date, notice_days: int, today: date
) -> Iterable[str]:
    """What is wrong with how a change was announced."""
    start = period.span.start
    if start is None:
        return
    if announced > today:
        yield f"announced on {announced}, which is still to come"
    notice = (start - announced).days
    if notice < 0:
        yield f"announced on {announced}, after it came into force"
    found = rises(before.model.price, period.model.price)
    if found and notice < notice_days:
        yield (
            f"{', '.join(found)} rises {notice} days after it was announced; rises are announced"
            f" {notice_days} days ahead (pricing.notice_days)"
        )


def _when(periods: tuple[Period, ...], place: int) -> str:
    """Which of a row's stretches of time: nothing for the row itself."""
    span = periods[place].span
    if span.announced is not None:
        return f" from {span.start}"
    following = periods[place + 1].span if place + 1 < len(periods) else None
    if following is not None and following.announced is None:
        return f" until {following.start}"
    return ""


def _names(raw: dict[str, Any]) -> list[str]:
    aliases = raw.get("aliases", [])
    return [raw.get("slug", ""), *(aliases if isinstance(aliases, list) else [])]
