"""The price book as it is published: what anybody can make the price tracker from again.

Rule 1: what a published book says is what is charged: it is read by the functions that read the
operator's own.
Rule 2: it has the models that are sold, their prices through time, and the factors in force; not
how an operator names a model at the upstream.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Period
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import PricingSettings

SCHEMA = "1.0"
_DAYS = ("checked", "until", "from", "announced")
_OWN = ("upstream_model",)


class Published(NamedTuple):
    """A published book, read."""

    day: date
    """The day on which it was published; its tracker is that day's."""
    publisher: Mapping[str, str]
    """Name, addresses and support of who sells at these prices."""
    rows: tuple[tuple[Period, ...], ...]
    """The stretches of time of each model."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The file's own shape."""

    schema_version: str
    published_on: date
    site: dict[str, str]
    factor: dict[str, str]
    models: list[dict[str, Any]]


def publish(
    pricing: PricingSettings, sold: Iterable[str], day: date, publisher: Mapping[str, str]
) -> dict[str, Any]:
    """The book of the settings, as far as it is sold, as a document. Raises ConfigurationError."""
    slugs = frozenset(sold)
    models = [row for row in book.read(pricing) if row.get("slug") in slugs]
    families = {row["family"] for row in models}
    return {
        "schema_version": SCHEMA,
        "published_on": str(day),
        "site": dict(publisher),
        "factor": {name: share for name, share in pricing.factor.items() if name in families},
        "models": [_without(row, _OWN) for row in models],
    }


def read(data: bytes) -> Published:
    """A published book from its bytes. Raises ConfigurationError."""
    try:
        found = msgspec.json.decode(data, type=_File)
        models = [_with_days(row) for row in found.models]
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise ConfigurationError(f"this is no published price book: {error}") from None
    if found.schema_version != SCHEMA:
        raise ConfigurationError(f"a published price book of version {found.schema_version}")
    rows = tuple(book.periods(row, found.factor) for row in models)
    return Published(found.published_on, found.site, rows)


def _without(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A row as JSON has it: days as text."""
    return {
        name: [_without(one, ()) for one in value] if _is_list_of_rows(value) else _plain(value)
        for name, value in row.items()
        if name not in names
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, date) else value


def _with_days(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as TOML has it."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if _is_list_of_rows(value):
            found[name] = [_with_days(one) for one in value]
        else:
            found[name] = date.fromisoformat(value) if name in _DAYS else value
    return found


def _is_list_of_rows(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)
