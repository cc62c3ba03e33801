"""The price book: from `models.toml` to `Model` rows with integer prices.

Rule 1: a price version is the hash of its content; the same version prices the same usage for ever.
Rule 2: where a row states no cache price, the family's default applies to our input price.
Rule 3: a model without a price is not in the book, so it is refused; nothing is guessed.
"""

import hashlib
import tomllib
from datetime import date
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.pricing import Price, Rates
from corvus_proxy.settings import PricingSettings

_READ_SHARE = {"anthropic": "0.10", "openai": "0.10", "glm": "0.20"}
_WRITE_SHARE = {"5m": "1.25", "1h": "2"}
_COMPONENTS = (
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_other",
    "searches",
)
PICOS_PER_USD_PER_MILLION = 1_000_000


class Official(msgspec.Struct, frozen=True):
    """What the vendor charges, where that was read, and when."""

    base: Rates
    long: Rates | None
    source: str
    checked: date


class Model(msgspec.Struct, frozen=True):
    """One model that is sold."""

    slug: str
    aliases: tuple[str, ...]
    family: str
    upstream_model: str
    display_name: str
    context_tokens: int
    output_tokens_max: int
    vision: bool
    tools: bool
    silent_reasoning: bool
    """Its reasoning is billed and not shown: a stream is metered by time while nothing comes."""
    completion_tokens_only: bool
    """It refuses `max_tokens` and takes `max_completion_tokens`."""
    embeddings: bool
    created: int
    official: Official
    price: Price

    @property
    def official_price(self) -> Price:
        """The vendor's own price in the form that `money.pricing` takes."""
        return Price(
            self.slug, "official", self.official.base, self.official.long, self.price.long_above
        )


class Book:
    """All models, found by slug or alias."""

    def __init__(self, models: tuple[Model, ...]) -> None:
        self.models = models
        self._by_name: dict[str, Model] = {}
        for model in models:
            for name in (model.slug, *model.aliases):
                if name in self._by_name:
                    raise ConfigurationError(f"price book: two models are called {name}")
                self._by_name[name] = model

    def find(self, name: str) -> Model | None:
        """The model of that slug or alias."""
        return self._by_name.get(name)


def load(pricing: PricingSettings) -> Book:
    """The book that the settings name. Raises ConfigurationError with the row's slug."""
    if pricing.book:
        try:
            text = Path(pricing.book).read_text()
        except OSError as error:
            raise ConfigurationError(f"pricing.book: {pricing.book}: {error.strerror}") from None
    else:
        text = (resources.files(__package__) / "models.toml").read_text()
    try:
        rows = tomllib.loads(text).get("model", [])
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"price book: {error}") from None
    models = []
    for row in rows:
        try:
            models.append(_model(row, pricing.factor))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ConfigurationError(
                f"price book: {row.get('slug', 'a row without slug')}: {error!r}"
            ) from None
    return Book(tuple(models))


def _model(row: dict[str, Any], factors: dict[str, str]) -> Model:
    family = row["family"]
    if family not in _READ_SHARE:
        raise ValueError(f"there is no family {family!r}")
    long = row.get("official_long")
    official = Official(
        _official_rates(row["official"]),
        _official_rates(long) if long else None,
        row["source"],
        row["checked"],
    )
    ours, ours_long = row["price"], row.get("price_long")
    if family in factors:
        ours = _scaled(row["official"], factors[family])
        ours_long = _scaled(long, factors[family]) if long else None
    price = Price(
        slug=row["slug"],
        version="",
        base=_rates(ours, family),
        long=_rates(ours_long, family) if ours_long else None,
        long_above=row.get("long_above", 0) if ours_long else 0,
        charges_writes=row.get("charges_writes", False),
    )
    digest = hashlib.sha256(msgspec.json.encode(price)).hexdigest()
    return Model(
        slug=row["slug"],
        aliases=tuple(row.get("aliases", ())),
        family=family,
        upstream_model=row.get("upstream_model", row["slug"]),
        display_name=row["name"],
        context_tokens=row["context_tokens"],
        output_tokens_max=row["output_tokens_max"],
        vision=row.get("vision", False),
        tools=row.get("tools", False),
        silent_reasoning=row.get("silent_reasoning", False),
        completion_tokens_only=row.get("completion_tokens_only", False),
        embeddings=row.get("embeddings", False),
        created=row["created"],
        official=official,
        price=msgspec.structs.replace(price, version=digest[:12]),
    )


def _scaled(official: dict[str, str], factor: str) -> dict[str, str]:
    return {
        name: value if name == "searches" else str(Decimal(value) * Decimal(factor))
        for name, value in official.items()
    }


def _official_rates(row: dict[str, str]) -> Rates:
    """The vendor's rates; a component it does not name costs what input costs."""
    full = {name: row.get(name, row["input"]) for name in _COMPONENTS[:-1]}
    return _to_rates({**full, "searches": row.get("searches", "0")})


def _rates(row: dict[str, str], family: str) -> Rates:
    """Our rates with the family's defaults for cache prices that the row does not state."""
    unknown = set(row) - set(_COMPONENTS)
    if unknown:
        raise ValueError(f"there is no price component {sorted(unknown)[0]!r}")
    given = Decimal(row["input"])
    defaults = {
        "cache_read": given * Decimal(_READ_SHARE[family]),
        "cache_write_5m": given * Decimal(_WRITE_SHARE["5m"]),
        "cache_write_1h": given * Decimal(_WRITE_SHARE["1h"]),
        "cache_write_other": given * (Decimal("1.25") if family == "anthropic" else 1),
        "searches": Decimal(0),
    }
    return _to_rates({**{name: str(value) for name, value in defaults.items()}, **row})


def _to_rates(row: dict[str, str]) -> Rates:
    picos = {name: _picos(row[name]) for name in _COMPONENTS[:-1]}
    return Rates(**picos, searches=_picos(row["searches"]) * 1000)


def _picos(usd_per_million: str) -> int:
    """Picos per token of USD per million tokens; exact, or a ValueError."""
    value = Decimal(usd_per_million) * PICOS_PER_USD_PER_MILLION
    if value != value.to_integral_value() or value < 0:
        raise ValueError(f"{usd_per_million} USD per million is no whole number of picos")
    return int(value)
