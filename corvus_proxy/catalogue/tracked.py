"""Our official prices against the table that the `genai-prices` package carries.

Rule 1: the table is the one in the installed package; nothing is fetched.
Rule 2: a model is always looked up at its vendor: other providers in the table sell the same names
at other prices.
Rule 3: what the table does not name is no disagreement where our official price says the same:
cache tokens are then billed as input, and output and searches are not billed.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module, metadata
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.catalogue import history
from corvus_proxy.catalogue.book import PICOS_PER_USD_PER_MILLION, Model, Period
from corvus_proxy.catalogue.sides import billed, sides
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.pricing import Rates

PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "glm": "zai"}
_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "cache_write_other": "cache_write_mtok",
    "searches": "web_searches_kcount",
}
_SYNONYMS = {("openai", "default"), ("openai", "fast")}
"""Names of the table that stand for another mode: the ordinary one, and priority."""
_PICOS_PER_USD_PER_THOUSAND = 1000 * PICOS_PER_USD_PER_MILLION


class Difference(msgspec.Struct, frozen=True):
    """One component on which the two tables do not agree. `ours` and `theirs`: USD per million
    tokens (searches: per thousand; `long_above`: tokens), None where a table has nothing."""

    slug: str
    component: str
    """Or `long_above`, `model`, `geos`, a mode: what only one side has."""
    mode: str
    """The way of service; empty: the ordinary one."""
    above: int
    """For the prices above so many input tokens; 0: for the base prices."""
    ours: str | None
    theirs: str | None
    source: str
    """Where their table has it from."""
    since: str | None
    """The day on which their price begins, where the table says one."""
    known: str
    """Why we differ, from the row's `differs`; empty: nobody has said so."""


class Comparison(msgspec.Struct, frozen=True):
    """What the two tables say of one day."""

    package: str
    day: str
    models: int
    """Models that both have."""
    differences: tuple[Difference, ...]
    settled: tuple[str, ...]
    """`slug: component` whose `differs` no longer holds: both say the same."""
    theirs_only: dict[str, tuple[str, ...]]
    """Models that only their table has, by provider."""

    @property
    def agree(self) -> bool:
        """Whether every difference is one that a row explains."""
        return all(one.known for one in self.differences)


class _Theirs(NamedTuple):
    """Their prices of one model on one day."""

    rates: Any
    source: str
    since: str | None
    modes: dict[str, tuple[Any, str | None] | None]
    """The rates of each other way of service and since when; None: not yet on that day."""


def compare(rows: list[tuple[Period, ...]], day: date) -> Comparison:
    """The prices of every row that are in force on a day. Raises ConfigurationError where the
    package is not installed."""
    providers = _providers()
    seen: dict[str, set[str]] = {name: set() for name in PROVIDERS.values()}
    differences: list[Difference] = []
    settled: list[str] = []
    both = 0
    for row in rows:
        span, model = _in_force(row, day)
        provider = providers[PROVIDERS[model.family]]
        info = next((one for one in provider.models if one.is_match(model.upstream_model)), None)
        if info is None:
            known = span.differs.get("model", "")
            source = provider.id
            found = [Difference(model.slug, "model", "", 0, "sold", None, source, None, known)]
        else:
            seen[provider.id].add(info.id)
            both += 1
            theirs = _theirs(provider, info, day)
            found = list(_differences(model, span.differs, theirs))
        differences += found
        if "differs" in span.stated:
            different = {one.component for one in found} | {one.mode for one in found}
            settled += [f"{model.slug}: {name}" for name in span.differs if name not in different]
    return Comparison(
        package=f"genai-prices {metadata.version('genai-prices')}",
        day=str(day),
        models=both,
        differences=tuple(differences),
        settled=tuple(settled),
        theirs_only={
            name: tuple(one.id.lower() for one in providers[name].models if one.id not in ids)
            for name, ids in seen.items()
        },
    )


def _providers() -> dict[str, Any]:
    try:
        snapshot = import_module("genai_prices.data_snapshot")
    except ModuleNotFoundError:
        raise ConfigurationError(
            "prices diff compares with the table of the genai-prices package, which is not"
            " installed: pip install 'corvus-proxy[prices]'"
        ) from None
    return {provider.id: provider for provider in snapshot.get_snapshot().providers}


def _in_force(row: tuple[Period, ...], day: date) -> tuple[history.Span, Model]:
    period = row[history.in_force([one.span for one in row], day)]
    return period.span, period.model


def _theirs(provider: Any, info: Any, day: date) -> _Theirs:
    # Midnight UTC, as our own days begin.
    instant = datetime.combine(day, time(), UTC)
    rates, since = info.get_prices(instant), None
    for one in info.prices if isinstance(info.prices, list) else ():
        if one.prices is rates and one.constraint is not None:
            since = _begins(one.constraint)
    modes: dict[str, tuple[Any, str | None] | None] = {}
    for one in info.price_variants or ():
        ((key, name),) = one.when.items() if len(one.when) == 1 else (("", ""),)
        if key in ("service_tier", "speed") and (provider.id, name) not in _SYNONYMS:
            active = one.constraint is None or one.constraint.active(instant)
            told = (info.get_prices(instant, one.when), _begins(one.constraint))
            modes[name] = told if active else modes.get(name)
    return _Theirs(rates, (provider.pricing_urls or [provider.id])[0], since, modes)


def _begins(constraint: Any) -> str | None:
    return str(getattr(constraint, "start_date", "")) or None


def _differences(model: Model, known: dict[str, str], theirs: _Theirs) -> Iterator[Difference]:
    """Of every way of service that either table has."""

    def whole(name: str, ours: str | None, other: str | None) -> Difference:
        source, why = theirs.source, known.get(name, "")
        return Difference(model.slug, name, "", 0, ours, other, source, None, why)

    yield from _of_mode(model, "", known, theirs, theirs.rates, theirs.since)
    for name in model.official.modes:
        if name not in theirs.modes:
            yield whole(name, "sold", None)
        elif (told := theirs.modes[name]) is not None:
            yield from _of_mode(model, name, known, theirs, *told)
    for name, told in theirs.modes.items():
        if told is not None and name not in model.official.modes:
            yield whole(name, None, "listed")
    if model.price.geos:
        places = ", ".join(f"{name} {percent} %" for name, percent in model.price.geos.items())
        yield whole("geos", places, None)


def _of_mode(
    model: Model,
    mode: str,
    known: dict[str, str],
    theirs: _Theirs,
    rates: Any,
    since: str | None,
) -> Iterator[Difference]:
    """One way of service, at every size."""
    components = billed(model)
    found = [side for side in sides(model) if side.mode == mode]
    starts = sorted({tier.start for name in components for tier in _tiers(rates, name)})
    limits = [side.above for side in found if side.above]

    def difference(name: str, above: int, ours: object, other: object) -> Difference:
        told = [None if value is None else str(value) for value in (ours, other)]
        why = known.get(name, "") or known.get(mode, "")
        return Difference(
            model.slug, name, mode, above, told[0], told[1], theirs.source, since, why
        )

    if starts != limits:
        yield difference("long_above", 0, _list(limits), _list(starts))
    for side in found:
        # Prices above two different limits cannot be set side by side.
        for name in components if not side.above or starts == limits else ():
            ours, other = _usd(side.official, name), _at(rates, name, side.above)
            if ours != other:
                yield difference(name, side.above, ours, other)


def _usd(rates: Rates, name: str) -> Decimal:
    per = _PICOS_PER_USD_PER_THOUSAND if name == "searches" else PICOS_PER_USD_PER_MILLION
    return (Decimal(getattr(rates, name)) / per).normalize() + 0


def _at(rates: Any, name: str, above: int) -> Decimal:
    """Their price of a component above a limit, or what stands in for it where they name none."""
    price = getattr(rates, _FIELDS[name], None)
    if price is None:
        return Decimal(0) if name in ("input", "output", "searches") else _at(rates, "input", above)
    found = Decimal(getattr(price, "base", price))
    for tier in getattr(price, "tiers", ()):
        if tier.start <= above and above:
            found = Decimal(tier.price)
    return found.normalize() + 0


def _tiers(rates: Any, name: str) -> list[Any]:
    return list(getattr(getattr(rates, _FIELDS[name], None), "tiers", ()))


def _list(starts: list[int]) -> str | None:
    return ", ".join(str(one) for one in starts) or None
