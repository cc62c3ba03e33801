"""A usage in anybody's words, and what it is charged: the one way of the quote and the calculator.

Rule 1: the functions that bill are the ones that price: `gateway.reading` and `money.pricing`, at
the prices of the book that is handed in.
Rule 2: what cannot be true or has no price is refused by its name; nothing is guessed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.account.asking import bad
from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import NotFound
from corvus_proxy.gateway import reading
from corvus_proxy.gateway.admission import unknown_model
from corvus_proxy.money.amount import PICOS_PER_NANO
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.price import Terms
from corvus_proxy.money.pricing import Line, at_cost, charge, lines
from corvus_proxy.money.usage import COUNTS, TOKENS_MAX, Usage, UsageInvalid, from_responses
from corvus_proxy.wire.dialect import Dialect

SHAPES = ("classes", "messages", "chat", "responses")


class Given(NamedTuple):
    """What somebody wants to know the charge of."""

    model: str
    """By slug or alias."""
    counts: Mapping[str, Any]
    """A provider's report, or our own classes."""
    shape: str = ""
    """Whose words the counts are, of `SHAPES`; empty: to be seen from their names."""
    mode: str = ""
    """What was asked for and served: a mode of service of the model, or empty."""
    geo: str = ""
    """A place of inference of the model, or empty."""


class Bill(NamedTuple):
    """What a usage costs."""

    model: Model
    usage: Usage
    charge_nanos: int
    lines: list[Line]
    rounding_picos: int
    """What the one rounding to a nano-dollar adds to the sum of the lines, or takes from it."""
    official_nanos: int
    """The same usage at the vendor's own prices."""
    flags: tuple[str, ...]
    """What is remarkable about the counts; `money.flags` says what each means."""


def bill(book: Book, given: Given) -> Bill:
    """The exact charge. Raises NotFound, InvalidRequest."""
    model = find(book, given.model)
    usage, flags = _usage(book, model, given)
    found = lines(usage, model.price)
    total = charge(usage, model.price)
    picos = sum(line.amount_picos for line in found)
    official = charge(at_cost(usage), model.official_price)
    return Bill(model, usage, total, found, total * PICOS_PER_NANO - picos, official, flags)


def find(book: Book, name: str) -> Model:
    """The model of that slug or alias. Raises NotFound."""
    found = book.find(name)
    if found is None:
        raise NotFound(unknown_model(book, name), param="model")
    return found


def _usage(book: Book, model: Model, given: Given) -> tuple[Usage, tuple[str, ...]]:
    """The usage as it would be billed, from a provider's report or our own classes."""
    counts = dict(given.counts)
    for name, known in (("mode", model.price.modes), ("geo", model.price.geos)):
        if getattr(given, name) and getattr(given, name) not in known:
            raise bad(name, f"{getattr(given, name)!r} has no price for {model.slug}")
    terms = Terms(given.mode, given.geo)
    shape = given.shape or _shape(counts, model)
    try:
        match shape:
            case "classes":
                return _of_classes(counts, terms), ()
            case "responses":
                usage = from_responses(counts)
                return msgspec.structs.replace(usage, terms=terms, served=terms), usage.flags
            case "messages":
                counts |= {"speed": given.mode} if given.mode else {}
                counts |= {"inference_geo": given.geo} if given.geo else {}
                report = reading.Report(Dialect.MESSAGES, None, counts, "", "")
            case "chat":
                report = reading.Report(Dialect.CHAT, None, counts, "", given.mode)
            case _:
                raise bad("shape", f"must be one of {', '.join(SHAPES)}")
    except UsageInvalid as error:
        raise bad("usage", f"cannot be true: {error}") from None
    found = reading.read(report, reading.Wanted(model, terms, book.find), has_output=False)
    if found.usage is None:
        why = " and ".join(FLAGS[flag] for flag in found.flags) or "no counts"
        raise bad("usage", f"cannot be true: {why}")
    return found.usage, found.flags


def _shape(counts: Mapping[str, Any], model: Model) -> str:
    """Whose words the counts are. Where two vendors would say the same, so would the bill."""
    if "prompt_tokens" in counts or "completion_tokens" in counts:
        return "chat"
    if any(name.startswith(("cache_", "input_tokens", "output_tokens")) for name in counts):
        of_anthropic = model.family == "anthropic" or any(
            name.startswith("cache_") and name.endswith(("_input_tokens", "_creation"))
            for name in counts
        )
        if not set(counts) <= set(COUNTS):
            return "messages" if of_anthropic else "responses"
    return "classes"


def _of_classes(counts: Mapping[str, Any], terms: Terms) -> Usage:
    for name, count in counts.items():
        if name not in COUNTS:
            raise bad(f"usage.{name}", f"is not known; classes are {', '.join(COUNTS)}")
        if type(count) is not int or not 0 <= count <= TOKENS_MAX:
            raise bad(f"usage.{name}", "is not a count of tokens")
    return Usage(**counts, terms=terms, served=terms)
