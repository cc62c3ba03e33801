"""Where a day's drift sits, in sentences. Pure.

Of what differs the costliest stands first, valued at the vendor's price and the credential's
factor; where the tokens agree and the money does not, the price is what differs.
"""

from collections.abc import Iterable
from typing import NamedTuple

from corvus_proxy.books.reconciling import Row
from corvus_proxy.catalogue.book import Book
from corvus_proxy.money.amount import PICOS_PER_NANO, format_usd, per_million, round_to_nanos
from corvus_proxy.service.reconciling.comparing import HOURS, canonical

NAMES = {"anthropic": "Anthropic", "openai": "OpenAI"}
SHOWN = 3
"""Lines that are told of; the rest is summed."""
MOST_PERCENT = 80
"""Hours are named once they have so much of a difference."""
ROUNDING_NANOS = 10_000_000
"""A cent, or a thousandth of a line, may be rounding."""
_WORDS = {
    "input": "input tokens",
    "output": "output tokens",
    "cache_read": "tokens read from the cache",
    "cache_write_5m": "tokens written to the 5-minute cache",
    "cache_write_1h": "tokens written to the 1-hour cache",
    "cache_write_other": "tokens written to the cache",
    "searches": "searches",
}
_PPM = 1_000_000


class Difference(NamedTuple):
    """One model and class. Amounts in nanos."""

    model: str
    usage_class: str
    ours: int
    reported: int
    by_hour: tuple[int, ...]
    """Reported less ours."""
    value_nanos: int
    """What the difference costs; 0 where there is no price for it."""
    price_nanos: int
    """What is billed beyond the reported tokens at the price that the books reckon with."""
    picos: int
    """That price, per token."""

    @property
    def more(self) -> int:
        """Reported less ours."""
        return self.reported - self.ours


def differences(row: Row, book: Book, cost_ppm: int) -> list[Difference]:
    """Every line that differs, the costliest first."""
    found = []
    split = any(
        model and line["billed_nanos"] for model, of in row.lines.items() for line in of.values()
    )
    for model, classes in row.lines.items():
        for usage_class, line in classes.items():
            picos = _picos(book, model, usage_class) * cost_ppm // _PPM
            ours, reported = sum(line["ours"]), sum(line["reported"])
            more = reported - ours
            value = round_to_nanos(abs(more) * picos)
            # A bill that names no model says nothing about anyone's price.
            price = line["billed_nanos"] - round_to_nanos(reported * picos) if split else 0
            by_hour = tuple(line["reported"][at] - line["ours"][at] for at in range(HOURS))
            if any(by_hour) or price:
                found.append(
                    Difference(
                        model, usage_class, ours, reported, by_hour,
                        value if more > 0 else -value, price, picos,
                    )
                )  # fmt: skip
    return sorted(found, key=lambda one: (-abs(one.value_nanos), -abs(one.price_nanos), one[:2]))


def told(row: Row, book: Book, cost_ppm: int) -> list[str]:
    """The day in sentences."""
    name = NAMES.get(row.family, row.family)
    if row.reported_nanos is None:
        return [f"{row.problem}. The books have {format_usd(row.cost_nanos)} USD of that day."]
    drift = row.reported_nanos - row.cost_nanos
    said = [
        f"{name} bills {format_usd(row.reported_nanos)} USD for {row.credential} on {row.day}, the"
        f" books have {format_usd(row.cost_nanos)} USD: {_drift(drift, row)}."
    ]
    found = differences(row, book, cost_ppm)
    moved = [one for one in found if one.more]
    said += [_tokens(one, name) for one in moved[:SHOWN]]
    if rest := moved[SHOWN:]:
        value = sum(one.value_nanos for one in rest)
        said.append(f"{len(rest)} further lines differ, worth {format_usd(value)} USD together.")
    said += [_price(one, name) for one in _by_price(found)[:SHOWN]]
    shifted = [one for one in found if not one.more and any(one.by_hour)]
    if shifted and not moved:
        said.append("Each model's tokens agree over the day, and lie in other hours.")
    if drift and not moved and not _by_price(found):
        said.append("All tokens agree at their prices; the rest is rounding.")
    if row.uncounted_nanos:
        said.append(
            f"{format_usd(row.uncounted_nanos)} USD of the books' cost are of requests whose tokens"
            " the provider did not tell, or nobody was charged for; those tokens are missing on our"
            " side."
        )
    return said


def _drift(drift: int, row: Row) -> str:
    if not drift:
        return "they agree to the nano-dollar"
    larger = max(row.cost_nanos, row.reported_nanos or 0)
    share = abs(drift) * 10_000 // max(1, larger)
    side = "more than we know of" if drift > 0 else "less than we reckoned"
    alarm = "" if row.state == "differs" else ", within the limits"
    return f"{format_usd(abs(drift))} USD ({share // 100}.{share % 100:02} %) {side}{alarm}"


def _tokens(one: Difference, name: str) -> str:
    words = _WORDS.get(one.usage_class, f"of {one.usage_class}")
    side = "more" if one.more > 0 else "fewer"
    share = f" ({abs(one.more) * 1000 // one.ours / 10:g} %)" if one.ours else ""
    worth = f", worth {format_usd(abs(one.value_nanos))} USD" if one.picos else ", without a price"
    return (
        f"{name} counts {abs(one.more):,} {side} {words} of {one.model or 'no model'} than the"
        f" books{share}{worth}, {_hours(one)}."
    )


def _hours(one: Difference) -> str:
    """The shortest stretch of hours that has most of a difference."""
    size = [max(0, step if one.more > 0 else -step) for step in one.by_hour]
    need = sum(size) * MOST_PERCENT
    stretches = (
        (length, start) for length in range(1, HOURS + 1) for start in range(HOURS - length + 1)
    )
    length, start = next(
        (length, start)
        for length, start in stretches
        if sum(size[start : start + length]) * 100 >= need
    )
    if length > HOURS // 2:
        return "spread over the day"
    return f"nearly all between {start:02}:00 and {start + length:02}:00 UTC"


def _by_price(found: Iterable[Difference]) -> list[Difference]:
    """Lines that are billed at another price, the costliest first."""
    other = [
        one
        for one in found
        if abs(one.price_nanos)
        > max(ROUNDING_NANOS, round_to_nanos(one.reported * one.picos) // 1000)
    ]
    return sorted(other, key=lambda one: -abs(one.price_nanos))


def _price(one: Difference, name: str) -> str:
    words = _WORDS.get(one.usage_class, one.usage_class)
    if not one.reported:
        return (
            f"{name} bills {format_usd(one.price_nanos)} USD for {words} of"
            f" {one.model or 'no model'}, of which it counts none."
        )
    billed = round_to_nanos(one.reported * one.picos) + one.price_nanos
    at = per_million(billed * PICOS_PER_NANO // one.reported)
    return (
        f"{name} bills its own {one.reported:,} {words} of {one.model} at {at} USD per million, the"
        f" price book reckons with {per_million(one.picos)}: {format_usd(one.price_nanos)} USD."
    )


def _picos(book: Book, model: str, usage_class: str) -> int:
    names = {one.upstream_model: one for one in book.models}
    found = book.find(model) or names.get(canonical(model, names))
    if found is None:
        return 0
    return int(getattr(found.official.base, usage_class, 0))
