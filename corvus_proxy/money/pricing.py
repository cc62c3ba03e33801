"""What a request may cost at most, and what it did cost.

`ceiling`, `charge`, `lines` and `affordable_output` serve the hold, the bill, the quote, the
calculator and the pages alike: one arithmetic, rounded once.
"""

from typing import NamedTuple

import msgspec

from corvus_proxy.money.amount import PICOS_PER_NANO, round_to_nanos
from corvus_proxy.money.usage import CLASSES, Usage


class Rates(msgspec.Struct, frozen=True):
    """Picos per token of each class, and per search."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    cache_write_other: int
    searches: int = 0


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

    def rates(self, input_total: int) -> Rates:
        """The rates of a request with that much input, cached tokens included."""
        if self.long is not None and input_total > self.long_above:
            return self.long
        return self.base


class Bound(NamedTuple):
    """The most a request can use, known before it is sent."""

    input_tokens: int
    output_tokens: int
    writes_cache: bool = False
    """The request itself asks for cache writes."""
    searches: int = 0


class Line(msgspec.Struct, frozen=True):
    """One line of a bill: `count` at `picos` each; `amount_picos` is not rounded."""

    name: str
    count: int
    picos: int

    @property
    def amount_picos(self) -> int:
        return self.count * self.picos


def lines(usage: Usage, price: Price) -> list[Line]:
    """The bill's lines whose count is not zero, in the order of `usage.CLASSES`, searches last."""
    rates = price.rates(usage.input_total)
    found = [Line(name, getattr(usage, name), getattr(rates, name)) for name in CLASSES]
    found.append(Line("searches", usage.searches, rates.searches))
    return [line for line in found if line.count]


def charge(usage: Usage, price: Price) -> int:
    """Nanos that `usage` costs at `price`."""
    return round_to_nanos(sum(line.amount_picos for line in lines(usage, price)))


def ceiling(bound: Bound, price: Price) -> int:
    """Nanos that a request within `bound` cannot exceed: no cache hit, the dearest write, the
    tier."""
    rates = price.rates(bound.input_tokens)
    picos = bound.input_tokens * _worst_input(bound, price, rates)
    picos += bound.output_tokens * rates.output + bound.searches * rates.searches
    return -(-picos // PICOS_PER_NANO)


def affordable_output(nanos: int, bound: Bound, price: Price) -> int:
    """The most output tokens that `nanos` pay for after the input of `bound`; negative when even
    the input is not covered. The inverse of `ceiling` in `output_tokens`."""
    rates = price.rates(bound.input_tokens)
    picos = nanos * PICOS_PER_NANO - bound.searches * rates.searches
    picos -= bound.input_tokens * _worst_input(bound, price, rates)
    return picos // rates.output if rates.output else (0 if picos < 0 else bound.output_tokens)


def _worst_input(bound: Bound, price: Price, rates: Rates) -> int:
    worst = max(rates.input, rates.cache_read)
    if bound.writes_cache:
        worst = max(worst, rates.cache_write_5m, rates.cache_write_1h)
    if price.charges_writes:
        worst = max(worst, rates.cache_write_other)
    return worst
