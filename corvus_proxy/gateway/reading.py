"""From an answer's own counts to what is billed for it: whose prices, at which tier. Pure.

Rule 1: an answer costs the customer what its tier costs, if it is one that was asked for, or the
        ordinary one, or cheaper. Of any other the customer pays what was asked for; the operator,
        who pays what served, sees a flag.
Rule 2: a sampling that the provider bills at another model's price is billed at our price of that
        model. Without one it is listed at zero: nothing is guessed, and the operator bears it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.ending import final_usage
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.money.price import ORDINARY, Terms
from corvus_proxy.money.usage import Part, Usage, UsageInvalid, from_messages
from corvus_proxy.wire import terms
from corvus_proxy.wire.answer import plain_word
from corvus_proxy.wire.dialect import Dialect

Find = Callable[[str], Model | None]
"""The model of the price book with that name."""
_BLANK = Usage()
_CACHE_CONTROL = re.compile(rb'"cache_control"\s*:\s*\{([^{}]*)\}')
_DATE = re.compile(r"-20\d{2}-?\d{2}-?\d{2}\Z")
"""Of a snapshot: `-20261001`, `-2026-10-01`."""
_HOUR = re.compile(rb'"ttl"\s*:\s*"1h"')


class Report(NamedTuple):
    """An answer's own words about itself."""

    dialect: Dialect
    start: Mapping[str, Any] | None
    last: Mapping[str, Any] | None
    model: str
    tier: str
    tools: Mapping[str, Any] | None = None
    """What stands beside the usage for tools that ran at the upstream (responses)."""


class Wanted(NamedTuple):
    """What was asked for, and where the prices of other models stand."""

    model: Model
    asked: Terms
    find: Find
    writes_cache: bool = False
    hour_only: bool = False
    """The request asks for cache writes of an hour and for no others."""


def wanted(exchange: Exchange) -> Wanted:
    """What an admitted request asks for."""
    caches = exchange.asked.scan.cache_control
    return Wanted(
        exchange.model,
        exchange.asked.terms,
        exchange.book.find,
        caches,
        caches and asks_for_hours_only(exchange.body),
    )


def asks_for_hours_only(body: bytes) -> bool:
    """Whether every cache breakpoint of a request names an hour. Text that looks like one does not
    count: its quotes are escaped."""
    if b'"1h"' not in body:
        return False
    breakpoints = _CACHE_CONTROL.findall(body)
    return bool(breakpoints) and all(_HOUR.search(found) for found in breakpoints)


class Reading(NamedTuple):
    """What an answer reports, ready to be charged."""

    usage: Usage | None
    """The final usage; None where none came or it cannot be true."""
    input_usage: Usage | None
    """Input reported ahead of it (`message_start`), where there is no final usage."""
    blank: Usage
    """No counts, at the terms that apply."""
    flags: tuple[str, ...]


def read(report: Report, wanted: Wanted, *, has_output: bool) -> Reading:
    """The usage of an answer at the terms and prices that apply to it."""
    usage, flags = final_usage(
        report.dialect,
        report.start,
        report.last,
        tools=report.tools,
        has_output=has_output,
        hour_only=wanted.hour_only,
    )
    blank, told = _by_terms(report, wanted)
    if usage is None:
        return Reading(None, _started(report, wanted, blank), blank, flags)
    if blank is not _BLANK:
        usage = _at(usage, blank)
    if usage.parts:
        parts, about_parts = _priced(usage.parts, report, wanted)
        usage = msgspec.structs.replace(usage, parts=parts)
        told += about_parts
    told += _about_cache(usage, wanted) + _about_model(report, wanted)
    if usage.searches and not wanted.model.price.base.searches:
        told += ("usage_unpriced",)
    flags += told
    return Reading(usage, None, blank, tuple(dict.fromkeys(flags)) if flags else ())


def _started(report: Report, wanted: Wanted, blank: Usage) -> Usage | None:
    """The input that `message_start` reported."""
    if not report.start or report.dialect is not Dialect.MESSAGES:
        return None
    try:
        return _at(from_messages(report.start, None, hour_only=wanted.hour_only), blank)
    except UsageInvalid:
        return None


def _at(usage: Usage, blank: Usage) -> Usage:
    return msgspec.structs.replace(usage, terms=blank.terms, served=blank.served)


def _by_terms(report: Report, wanted: Wanted) -> tuple[Usage, tuple[str, ...]]:
    """What the customer pays for and what served, and flags where the two differ."""
    price, asked = wanted.model.price, wanted.asked
    served = terms.served(report.dialect, report.start or report.last or {}, report.tier)
    if asked == ORDINARY and not served.mode and not served.geo:
        return _BLANK, ()
    modes = {name: price.is_dearer(name) for name in price.modes}
    mode, about_mode = _paid(asked.mode, served.mode, modes)
    geo, about_geo = _paid(asked.geo, served.geo, dict.fromkeys(price.geos, True))
    flags = tuple(dict.fromkeys(flag for flag in (about_mode, about_geo) if flag))
    blank = Usage(
        terms=Terms(mode, geo),
        served=Terms(
            mode if served.mode is None else served.mode, geo if served.geo is None else served.geo
        ),
    )
    return blank, flags


def _paid(asked: str, served: str | None, dearer: Mapping[str, bool]) -> tuple[str, str]:
    """Which of a price's tiers the customer pays, and a flag. `dearer`: the tiers that have a
    price, and whether they cost more than the ordinary one."""
    cheaper = "" if dearer.get(asked, False) else asked
    if served is None:
        return cheaper, "tier_unreported" if asked else ""
    if served in (asked, ""):
        return served, ""
    if served not in dearer:
        return cheaper, "tier_unpriced"
    if not dearer[served]:
        return served, ""
    return asked, "tier_not_asked"


def _priced(
    parts: tuple[Part, ...], report: Report, wanted: Wanted
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Each part with the prices of the model that made it."""
    fell_back = any(part.kind == "fallback_message" for part in parts)
    found: list[Part] = []
    flags: tuple[str, ...] = ()
    for part in parts:
        own_name = part.kind in ("message", "compaction") and not fell_back
        if _is_own(part.model, wanted.model) or (own_name and part.model == report.model):
            found.append(msgspec.structs.replace(part, model=""))
            continue
        other = wanted.find(part.model)
        if other is None:
            flags = ("model_unpriced",)
        found.append(
            msgspec.structs.replace(
                part,
                model=other.slug if other else plain_word(part.model),
                price=other.price if other else None,
                official=other.official_price if other else None,
            )
        )
    return tuple(found), flags


def _is_own(name: str, model: Model) -> bool:
    """Whether a name is one of the model that was asked for: no name, or its own, dated or not."""
    if not name or name in (model.slug, model.upstream_model) or name in model.aliases:
        return True
    return _DATE.sub("", name) in (model.slug, model.upstream_model)


def _about_cache(usage: Usage, wanted: Wanted) -> tuple[str, ...]:
    cached = usage.input_total - usage.input
    return ("cache_unused",) if wanted.writes_cache and not cached and not usage.parts else ()


def _about_model(report: Report, wanted: Wanted) -> tuple[str, ...]:
    if _is_own(report.model, wanted.model):
        return ()
    return ("model_differs",) if wanted.find(report.model) else ()
