"""What a request may cost at most, and what it did cost.

`ceiling`, `charge`, `lines` and `affordable_output` serve the hold, the bill, the quote, the
calculator and the pages alike: one arithmetic, rounded once.
"""

from typing import NamedTuple

import msgspec

from corvus_proxy.money.amount import PICOS_PER_NANO, round_to_nanos
from corvus_proxy.money.price import ORDINARY, Mode, Price, Rates, Terms
from corvus_proxy.money.usage import CLASSES, Usage

__all__ = [
    "Bound",
    "Line",
    "Mode",
    "Price",
    "Rates",
    "Terms",
    "affordable_output",
    "at_cost",
    "ceiling",
    "charge",
    "lines",
    "worst",
]


class Bound(NamedTuple):
    """The most a request can use, known before it is sent."""

    input_tokens: int
    output_tokens: int
    writes_cache: bool = False
    """The request itself asks for cache writes."""
    searches: int = 0
    asked: Terms = ORDINARY
    """How it asks to be served; the provider may serve it in the ordinary way all the same."""


class Line(msgspec.Struct, frozen=True):
    """One line of a bill: `count` at `picos` each; `amount_picos` is not rounded."""

    name: str
    """A class, or `searches`. In a bill of several samplings another model's name, `compaction` or
    `long` may stand before it: `claude-opus-4-8/output`."""
    count: int
    picos: int

    @property
    def amount_picos(self) -> int:
        return self.count * self.picos


def lines(usage: Usage, price: Price) -> list[Line]:
    """The bill's lines whose count is not zero, in the order of `usage.CLASSES`, searches last. No
    two have one name."""
    rates = price.rates(usage.input_total, usage.terms)
    if usage.parts:
        found = [line for line in _lines_of_parts(usage, price) if line.count]
    else:
        found = [
            Line(name, count, getattr(rates, name))
            for name in CLASSES
            if (count := getattr(usage, name))
        ]
    if usage.searches:
        found.append(Line("searches", usage.searches, rates.searches))
    return found


def _lines_of_parts(usage: Usage, price: Price) -> list[Line]:
    """Samplings by model, kind and size, each at its own model's rates; what has one name has one
    rate."""
    found: dict[str, Line] = {}
    for part in usage.parts:
        own = part.price if part.model else price
        total = part.usage.input_total
        words = [part.model, "compaction" if part.kind == "compaction" else ""]
        words.append("long" if own is not None and own.is_long(total) else "")
        prefix = "".join(word + "/" for word in words if word)
        rates = own.rates(total, usage.terms) if own is not None else None
        for name in CLASSES:
            full = prefix + name
            before = found[full].count if full in found else 0
            picos = getattr(rates, name) if rates is not None else 0
            found[full] = Line(full, before + getattr(part.usage, name), picos)
    return list(found.values())


def charge(usage: Usage, price: Price) -> int:
    """Nanos that `usage` costs at `price`: the sum of its `lines`, rounded once."""
    if usage.parts:
        return round_to_nanos(sum(line.amount_picos for line in lines(usage, price)))
    # The same sum without a list of lines: every request is charged, and costed, by this.
    rates = price.rates(usage.input_total, usage.terms)
    return round_to_nanos(
        usage.input * rates.input
        + usage.cache_read * rates.cache_read
        + usage.cache_write_5m * rates.cache_write_5m
        + usage.cache_write_1h * rates.cache_write_1h
        + usage.cache_write_other * rates.cache_write_other
        + usage.output * rates.output
        + usage.searches * rates.searches
    )


def at_cost(usage: Usage) -> Usage:
    """The same usage as the vendor bills it: by what served, parts at their models' official
    prices."""
    if not usage.parts and usage.served == usage.terms:
        return usage
    parts = tuple(msgspec.structs.replace(part, price=part.official) for part in usage.parts)
    return msgspec.structs.replace(usage, terms=usage.served, parts=parts)


def ceiling(bound: Bound, price: Price) -> int:
    """Nanos that a request within `bound` cannot exceed: no cache hit, the dearest write, the
    tier, the dearer of the mode that is asked for and the ordinary one."""
    return worst(bound, price).nanos(bound.output_tokens)


class Worst(NamedTuple):
    """The ceilings of a bound whatever its output."""

    picos: int
    """Of its input and its searches."""
    output_picos: int
    """Of one token of output."""

    def nanos(self, output_tokens: int) -> int:
        """The ceiling with so much output."""
        return -(-(self.picos + output_tokens * self.output_picos) // PICOS_PER_NANO)


def worst(bound: Bound, price: Price) -> Worst:
    """What `ceiling` adds up, for several amounts of output."""
    rates = _worst_rates(bound, price)
    picos = bound.input_tokens * _worst_input(bound, price, rates)
    return Worst(picos + bound.searches * rates.searches, rates.output)


def affordable_output(nanos: int, bound: Bound, price: Price) -> int:
    """The most output tokens that `nanos` pay for after the input of `bound`; negative when even
    the input is not covered. The inverse of `ceiling` in `output_tokens`."""
    most = worst(bound, price)
    picos = nanos * PICOS_PER_NANO - most.picos
    if not most.output_picos:
        return 0 if picos < 0 else bound.output_tokens
    return picos // most.output_picos


def _worst_rates(bound: Bound, price: Price) -> Rates:
    rates = price.rates(bound.input_tokens, bound.asked)
    if bound.asked == ORDINARY:
        return rates
    rates = rates.worst(price.rates(bound.input_tokens, Terms(geo=bound.asked.geo)))
    return rates.worst(price.rates(bound.input_tokens))


def _worst_input(bound: Bound, price: Price, rates: Rates) -> int:
    worst = max(rates.input, rates.cache_read)
    if bound.writes_cache:
        worst = max(worst, rates.cache_write_5m, rates.cache_write_1h)
    if price.charges_writes:
        worst = max(worst, rates.cache_write_other)
    return worst
