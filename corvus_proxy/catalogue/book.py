"""The price book: from `models.toml` to `Model` rows with integer prices.

Rule 1: a price version is the hash of its content; the same version prices the same usage for ever.
Rule 2: where a row states no cache price, the family's default applies to our input price.
Rule 3: a model without a price is not in the book, so it is refused; nothing is guessed.
Rule 4: a long-context price is never below the base price, a mode of service is dearer than the
ordinary one in every rate or in none, a place never cheaper, and a cache write dearer than input is
one that the row says it charges; else a hold would not cover every charge (`pricing.ceiling`).
Rule 5: a row's earlier and announced prices are held to the same rules as its present ones.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from corvus_proxy import clock
from corvus_proxy.catalogue import history
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.price import TOKEN_RATES, Mode, Price, Rates
from corvus_proxy.settings import PricingSettings

_READ_SHARE = {"anthropic": "0.10", "openai": "0.10", "glm": "0.20"}
_MODES = {"anthropic": {"fast"}, "openai": {"flex", "priority", "ultrafast"}, "glm": set[str]()}
"""Which modes of service a family's requests and answers can name."""
_COMPONENTS = (*TOKEN_RATES, "searches")
PICOS_PER_USD_PER_MILLION = 1_000_000
_ModeName = Literal["fast", "flex", "priority", "ultrafast"]
MODES = get_args(_ModeName)
LIKE_MAX = 3
"""Models that are named to one who mistyped."""
_LIKENESS = 0.6
_NAME_MAX = 60
"""Characters of a name that are compared: nobody's time is spent on a longer one."""


class _Mode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `[model.modes.<name>]` of the file: one way of service that has its own prices."""

    official: dict[str, str]
    price: dict[str, str]
    official_long: dict[str, str] = {}
    price_long: dict[str, str] = {}


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `[[model]]` of the file as it stands there, prices in USD per million tokens."""

    slug: str
    family: str
    name: str
    context_tokens: Annotated[int, msgspec.Meta(ge=1)]
    output_tokens_max: Annotated[int, msgspec.Meta(ge=0)]
    created: int
    source: str
    checked: date
    official: dict[str, str]
    price: dict[str, str]
    aliases: tuple[str, ...] = ()
    upstream_model: str = ""
    vision: bool = False
    image_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    tools: bool = False
    silent_reasoning: bool = False
    completion_tokens_only: bool = False
    embeddings: bool = False
    charges_writes: bool = False
    long_above: Annotated[int, msgspec.Meta(ge=0)] = 0
    official_long: dict[str, str] = {}
    price_long: dict[str, str] = {}
    modes: dict[_ModeName, _Mode] = {}
    geos: dict[Literal["us"], Annotated[int, msgspec.Meta(ge=100, le=1000)]] = {}


class Official(msgspec.Struct, frozen=True):
    """What the vendor charges, where that was read, and when."""

    base: Rates
    long: Rates | None
    source: str
    checked: date
    modes: Mapping[str, Mode] = {}


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
    image_tokens: int
    """The most that one image counts, where it is not what its family counts; else 0."""
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
            self.slug,
            "official",
            self.official.base,
            self.official.long,
            self.price.long_above,
            modes=self.official.modes,
            geos=self.price.geos,
        )


class Period(msgspec.Struct, frozen=True):
    """A model at the prices of one stretch of time."""

    span: history.Span
    model: Model


class Book:
    """All models, found by slug or alias."""

    def __init__(self, models: tuple[Model, ...], unsold: frozenset[str] = frozenset()) -> None:
        self.models = models
        self.unsold = unsold
        """Names that are priced and not sold here."""
        self._by_name: dict[str, Model] = {}
        for model in models:
            for name in (model.slug, *model.aliases):
                if name in self._by_name:
                    raise ConfigurationError(f"price book: two models are called {name}")
                self._by_name[name] = model

    def find(self, name: str) -> Model | None:
        """The model of that slug or alias."""
        return self._by_name.get(name)

    def like(self, name: str) -> tuple[str, ...]:
        """Slugs whose names are most like one that is not in the book, the likest first."""
        meant = name[:_NAME_MAX].lower().rpartition("/")[2]
        found = get_close_matches(meant, self._by_name, LIKE_MAX, _LIKENESS)
        return tuple(dict.fromkeys(self._by_name[one].slug for one in found))


def load(pricing: PricingSettings, day: date | None = None) -> Book:
    """The book that the settings name as it is in force on a day (UTC; today where it is left out).
    Raises ConfigurationError with the row's slug."""
    day = day or clock.utc_now().date()
    found = [periods(raw, pricing.factor) for raw in read(pricing)]
    return Book(tuple(row[history.in_force([one.span for one in row], day)].model for row in found))


def read(pricing: PricingSettings) -> list[dict[str, Any]]:
    """The rows of the file that the settings name, as they stand there. Raises
    ConfigurationError."""
    if pricing.book:
        try:
            text = Path(pricing.book).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"pricing.book: {pricing.book}: {error}") from None
    else:
        text = (resources.files(__package__) / "models.toml").read_text()
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"price book: {error}") from None
    rows = tree.pop("model", None)
    if tree or not isinstance(rows, list):
        raise ConfigurationError("price book: it is a list of [[model]] and nothing else")
    return rows


def stamp(pricing: PricingSettings) -> tuple[int, int]:
    """Another pair for another state of the file that the settings name; the package's own never
    changes. Raises ConfigurationError."""
    if not pricing.book:
        return (0, 0)
    try:
        found = Path(pricing.book).stat()
    except OSError as error:
        raise ConfigurationError(f"pricing.book: {pricing.book}: {error}") from None
    return (found.st_mtime_ns, found.st_size)


def periods(raw: dict[str, Any], factors: dict[str, str]) -> tuple[Period, ...]:
    """A row's prices through time, the earliest first. Raises ConfigurationError."""
    try:
        spans = history.spans(raw)
    except (ValueError, TypeError) as error:
        slug = raw.get("slug", "a row without slug")
        raise ConfigurationError(f"price book: {slug}: {error}") from None
    return tuple(Period(span, _model(span.row, factors)) for span in spans)


def _model(raw: dict[str, Any], factors: dict[str, str]) -> Model:
    try:
        row = msgspec.convert(raw, _Row, builtin_types=(date,))
        price = _price(row, factors.get(row.family))
        official = Official(
            _official_rates(row.official),
            _official_rates(row.official_long) if row.official_long else None,
            row.source,
            row.checked,
            {
                name: Mode(
                    _official_rates(mode.official),
                    _official_rates(mode.official_long) if mode.official_long else None,
                )
                for name, mode in row.modes.items()
            },
        )
    except (msgspec.ValidationError, ValueError, ArithmeticError) as error:
        slug = raw.get("slug", "a row without slug")
        raise ConfigurationError(f"price book: {slug}: {error}") from None
    return Model(
        slug=row.slug,
        aliases=row.aliases,
        family=row.family,
        upstream_model=row.upstream_model or row.slug,
        display_name=row.name,
        context_tokens=row.context_tokens,
        output_tokens_max=row.output_tokens_max,
        vision=row.vision,
        image_tokens=row.image_tokens,
        tools=row.tools,
        silent_reasoning=row.silent_reasoning,
        completion_tokens_only=row.completion_tokens_only,
        embeddings=row.embeddings,
        created=row.created,
        official=official,
        price=price,
    )


def _price(row: _Row, factor: str | None) -> Price:
    """Our price of a row, or the factor's share of the official one. Raises ValueError."""
    if row.family not in _READ_SHARE:
        raise ValueError(f"there is no family {row.family!r}")
    if len({bool(row.long_above), bool(row.official_long), bool(row.price_long)}) > 1:
        raise ValueError("long_above, official_long and price_long stand together or not at all")
    for name in set(row.modes) - _MODES[row.family]:
        raise ValueError(f"{row.family} models have no mode {name}")
    if row.geos and row.family != "anthropic":
        raise ValueError(f"{row.family} models have no geos")
    ours = _Mode(row.official, row.price, row.official_long, row.price_long)
    base = _our_mode(ours, row, factor)
    price = Price(
        slug=row.slug,
        version="",
        base=base.base,
        long=base.long,
        long_above=row.long_above,
        charges_writes=row.charges_writes,
        modes={name: _our_mode(mode, row, factor) for name, mode in row.modes.items()},
        geos=dict(row.geos.items()),
    )
    _check_holds(price, may_write=row.family == "anthropic" or row.charges_writes)
    digest = hashlib.sha256(msgspec.json.encode(price, order="deterministic")).hexdigest()
    return msgspec.structs.replace(price, version=digest[:12])


def _our_mode(mode: _Mode, row: _Row, factor: str | None) -> Mode:
    """Our rates of one way of service."""
    base, long = mode.price, mode.price_long
    if bool(mode.official_long) != bool(long) or (long and not row.long_above):
        raise ValueError("long_above, official_long and price_long stand together or not at all")
    if factor is not None:
        base, long = _scaled(mode.official, factor), _scaled(mode.official_long, factor)
    return Mode(_rates(base, row), _rates(long, row) if long else None)


def _check_holds(price: Price, *, may_write: bool) -> None:
    """Rule 4. Raises ValueError with what breaks it."""
    ordinary = Mode(price.base, price.long)
    for name, mode in {"": ordinary, **price.modes}.items():
        said = f" of mode {name}" if name else ""
        for rates in (mode.base, mode.long or mode.base):
            for percent in price.geos.values():
                rates.times(percent)
            for component in rates.__struct_fields__:
                if getattr(rates, component) < getattr(mode.base, component):
                    raise ValueError(f"{component}{said} is cheaper above long_above than below")
            if rates.cache_write_other > rates.input and not may_write:
                raise ValueError(f"cache_write_other{said} above input needs charges_writes = true")
        pairs = [(mode.base, price.base), (mode.long or mode.base, price.long or price.base)]
        if not all(ours.covers(other) for ours, other in pairs) and not all(
            other.covers(ours) for ours, other in pairs
        ):
            raise ValueError(f"mode {name} is neither dearer nor cheaper in every price")


def _scaled(official: dict[str, str], factor: str) -> dict[str, str]:
    return {
        name: value if name == "searches" else str(Decimal(value) * Decimal(factor))
        for name, value in official.items()
    }


def _official_rates(row: dict[str, str]) -> Rates:
    """The vendor's rates; a component it does not name costs what input costs."""
    _check_names(row)
    full = {name: row.get(name, row["input"]) for name in TOKEN_RATES}
    return _to_rates({**full, "searches": row.get("searches", "0")})


def _rates(prices: dict[str, str], row: _Row) -> Rates:
    """Our rates with the family's defaults for cache prices that the row does not state: Anthropic
    bills writes at 125 % and 200 % of input, OpenAI at 125 % on models that report them."""
    _check_names(prices)
    given = Decimal(prices["input"])
    claude = row.family == "anthropic"
    dearer = claude or (row.family == "openai" and row.charges_writes)
    defaults = {
        "cache_read": given * Decimal(_READ_SHARE[row.family]),
        "cache_write_5m": given * Decimal("1.25") if claude else given,
        "cache_write_1h": given * 2 if claude else given,
        "cache_write_other": given * Decimal("1.25") if dearer else given,
        "searches": Decimal(0),
    }
    return _to_rates({**{name: str(value) for name, value in defaults.items()}, **prices})


def _check_names(prices: dict[str, str]) -> None:
    for name in prices:
        if name not in _COMPONENTS:
            raise ValueError(f"there is no price component {name!r}")
    for name in ("input", "output"):
        if name not in prices:
            raise ValueError(f"a price without {name}")


def _to_rates(row: dict[str, str]) -> Rates:
    picos = {name: _picos(row[name]) for name in TOKEN_RATES}
    return Rates(**picos, searches=_picos(row["searches"]) * 1000)


def _picos(usd_per_million: str) -> int:
    """Picos per token of USD per million tokens; exact, or a ValueError."""
    value = Decimal(usd_per_million) * PICOS_PER_USD_PER_MILLION
    if value != value.to_integral_value() or value < 0:
        raise ValueError(f"{usd_per_million} USD per million is no whole number of picos")
    return int(value)
