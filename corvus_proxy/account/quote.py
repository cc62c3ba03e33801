"""`POST /v1/quote`: what a usage costs exactly, or what a request costs at most.

Rule 1: the functions that bill and hold are the ones that quote: `gateway.reading`, `money.pricing`
        and `gateway.quoting`, at the price that is in force now.
Rule 2: nothing is held and nothing is charged; the body of a request goes nowhere.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.account.asking import Ask, bad, choice, reply, standing
from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import InvalidRequest, NotFound
from corvus_proxy.gateway import admission, quoting, reading
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.gateway.front.listing import dialect_of
from corvus_proxy.money.amount import (
    PICOS_PER_NANO,
    format_picos,
    format_usd,
    per_million,
)
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.price import Terms
from corvus_proxy.money.pricing import affordable_output, charge, lines
from corvus_proxy.money.usage import COUNTS, TOKENS_MAX, Usage, UsageInvalid, from_responses
from corvus_proxy.settings import Settings
from corvus_proxy.wire import request as requests
from corvus_proxy.wire.dialect import PATHS, Dialect

_DIALECTS = tuple(dialect.value for dialect in PATHS.values())
_SHAPES = ("classes", "messages", "chat", "responses")


class Sold(NamedTuple):
    """What is sold here, and how requests are held for."""

    settings: Settings
    book: Callable[[], Book]
    """The price book in force."""
    serves: admission.Serves


class _Body(msgspec.Struct):
    model: str
    usage: dict[str, Any] | None = None
    messages: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")
    shape: str | None = None
    mode: str = ""
    geo: str = ""


async def quote(sold: Sold, ask: Ask) -> Reply:
    """A quote. Raises InvalidRequest, NotFound, WrongDialect, Unpriced, BodyTooLarge,
    BodyTimeout, ClientGone."""
    body = await admission.read_body(ask.client, sold.settings.gateway)
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid: {error}.") from None
    if found.usage is not None:
        return reply(_of_usage(sold, found))
    if bytes(found.messages) or bytes(found.input):
        return reply(_of_request(sold, ask, found, body))
    raise bad("usage", "is needed, or else a whole request with its messages or its input")


def _of_usage(sold: Sold, asked: _Body) -> dict[str, Any]:
    """The exact charge of a usage, with its lines."""
    book = sold.book()
    model = _model(book, asked.model)
    usage, flags = _usage(book, model, asked)
    bill = lines(usage, model.price)
    total = charge(usage, model.price)
    return {
        "object": "quote",
        "of": "usage",
        "model": model.slug,
        "price_version": model.price.version,
        "charge": format_usd(total),
        "charge_nanos": total,
        "lines": [
            {
                "name": line.name,
                "tokens": line.count,
                "usd_per_million": per_million(line.picos),
                "picos": line.picos,
                "amount": format_picos(line.amount_picos),
            }
            for line in bill
        ],
        "rounding": format_picos(total * PICOS_PER_NANO - sum(line.amount_picos for line in bill)),
        "usage": {name: count for name, count in usage.counts().items() if count},
        "notes": [FLAGS[flag] for flag in flags],
        "unbilled": dict(usage.unbilled),
    }


def _model(book: Book, name: str) -> Model:
    found = book.find(name)
    if found is None:
        raise NotFound(
            f"The model {name!r} does not exist here; GET /v1/models lists those that do.",
            param="model",
        )
    return found


def _usage(book: Book, model: Model, asked: _Body) -> tuple[Usage, tuple[str, ...]]:
    """The usage as it would be billed, from a provider's report or our own classes."""
    counts = dict(asked.usage or {})
    for name, known in (("mode", model.price.modes), ("geo", model.price.geos)):
        if getattr(asked, name) and getattr(asked, name) not in known:
            raise bad(name, f"{getattr(asked, name)!r} has no price for {model.slug}")
    terms = Terms(asked.mode, asked.geo)
    shape = asked.shape or _shape(counts, model)
    try:
        match shape:
            case "classes":
                return _of_classes(counts, terms), ()
            case "responses":
                usage = from_responses(counts)
                return msgspec.structs.replace(usage, terms=terms, served=terms), usage.flags
            case "messages":
                counts |= {"speed": asked.mode} if asked.mode else {}
                counts |= {"inference_geo": asked.geo} if asked.geo else {}
                report = reading.Report(Dialect.MESSAGES, None, counts, "", "")
            case "chat":
                report = reading.Report(Dialect.CHAT, None, counts, "", asked.mode)
            case _:
                raise bad("shape", f"must be one of {', '.join(_SHAPES)}")
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


def _of_request(sold: Sold, ask: Ask, given: _Body, body: bytes) -> dict[str, Any]:
    """The upper bound of a request, and what the key's balance would make of it."""
    book = sold.book()
    dialect = Dialect(choice(ask, "dialect", _DIALECTS, _dialect(book, ask, given).value))
    asked = requests.read(dialect, body)
    model = admission.find_model(book, sold.serves, asked.model, dialect)
    asked = admission.in_upstreams_words(
        body, asked, model, sold.serves, request_id="", created_s=0
    ).asked
    admission.check_terms(asked, model.price)
    clamps = admission.clamps(ask.client)
    found = quoting.quote(asked, model, sold.settings.hold, clamp=clamps)
    available = standing(ask.look).available_nanos
    affordable = affordable_output(available, found.bound, model.price) // asked.choices
    verdict = "refused"
    if available >= found.full_nanos:
        verdict = "served"
    elif available >= found.least_nanos:
        verdict = "lowered"
    amounts = {
        "ceiling": found.full_nanos,
        "hold": found.most_nanos,
        "least": found.least_nanos,
        "available": available,
    }
    return {
        "object": "quote",
        "of": "request",
        "model": model.slug,
        "dialect": dialect.value,
        "price_version": model.price.version,
        **{name: format_usd(nanos) for name, nanos in amounts.items()},
        **{f"{name}_nanos": nanos for name, nanos in amounts.items()},
        "input_tokens_max": found.bound.input_tokens,
        "output_tokens_max": found.bound.output_tokens,
        "verdict": verdict,
        "affordable_max_tokens": max(0, affordable),
    }


def _dialect(book: Book, ask: Ask, given: _Body) -> Dialect:
    """The dialect of a body that does not say: by its members, of the client, else of the model's
    family."""
    model = book.find(given.model)
    if not bytes(given.messages):
        return Dialect.EMBEDDINGS if model and model.embeddings else Dialect.RESPONSES
    if dialect_of(ask.client.headers) is Dialect.MESSAGES:
        return Dialect.MESSAGES
    return Dialect.MESSAGES if model and model.family == "anthropic" else Dialect.CHAT
