"""What one model's tokens cost: rates by class, by mode of service, by size and by place.

Rule 1: every rate is a whole number of picos before a bill is made; a bill multiplies and adds.
Rule 2: within one price, a mode is dearer than the ordinary service in every rate or in none, and a
long rate is never below its base: so the worst that a request can reach is one of a few rates.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

TOKEN_RATES = (
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_other",
)


class Rates(msgspec.Struct, frozen=True):
    """Picos per token of each class, and per search."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    cache_write_other: int
    searches: int = 0

    def times(self, percent: int) -> "Rates":
        """Every rate of a token at so many percent; searches cost what they cost. Raises ValueError
        where that is no whole number of picos."""
        found = {}
        for name in TOKEN_RATES:
            found[name], rest = divmod(getattr(self, name) * percent, 100)
            if rest:
                raise ValueError(f"{percent} % of {name} is no whole number of picos")
        return Rates(**found, searches=self.searches)

    def worst(self, other: "Rates") -> "Rates":
        """The dearer of two, rate by rate."""
        return Rates(
            **{
                name: max(getattr(self, name), getattr(other, name))
                for name in self.__struct_fields__
            }
        )

    def covers(self, other: "Rates") -> bool:
        """Whether no rate of `other` is dearer."""
        return all(getattr(self, name) >= getattr(other, name) for name in self.__struct_fields__)


class Terms(NamedTuple):
    """How an answer is served where that has a price: empty is the ordinary way."""

    mode: str = ""
    """OpenAI's service tier or Anthropic's speed: `flex`, `priority`, `ultrafast`, `fast`."""
    geo: str = ""
    """Anthropic's place of inference: `us`."""


ORDINARY = Terms()


class Mode(msgspec.Struct, frozen=True):
    """The rates of one mode of service; without `long` they hold for any size."""

    base: Rates
    long: Rates | None = None


class Price(msgspec.Struct, frozen=True):
    """One slug's price at one version."""

    slug: str
    version: str
    """Hash of the content: the same version always prices the same usage alike."""
    base: Rates
    long: Rates | None = None
    long_above: int = 0
    """Total input above this many tokens moves the whole request to `long` (exactly this:
    `base`)."""
    charges_writes: bool = False
    """Whether this model bills cache writes that no request asked for (OpenAI from GPT-5.6)."""
    modes: Mapping[str, Mode] = {}
    """Modes of service beside the ordinary one."""
    geos: Mapping[str, int] = {}
    """Percent of every token's rate, by place of inference."""

    def is_long(self, input_total: int) -> bool:
        """Whether so much input, cached tokens included, is above the threshold."""
        return self.long is not None and input_total > self.long_above

    def rates(self, input_total: int, terms: Terms = ORDINARY) -> Rates:
        """The rates of a request with that much input, cached tokens included. A mode or a place
        without a price is the ordinary one."""
        base, long = self.base, self.long
        if terms.mode in self.modes:
            mode = self.modes[terms.mode]
            base, long = mode.base, mode.long
        found = long if long is not None and input_total > self.long_above else base
        return found.times(self.geos[terms.geo]) if terms.geo in self.geos else found

    def is_dearer(self, mode: str) -> bool:
        """Whether a mode with a price costs more than the ordinary one."""
        return not self.base.covers(self.modes[mode].base)
