"""`POST /v1/quote`: what a usage costs exactly, or what a request costs at most.

Rule 1: the functions that bill and hold are the ones that quote: `account.counted` and
        `gateway.quoting`, at the price that is in force now.
Rule 2: nothing is held and nothing is charged; the body of a request goes nowhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.account import counted
from corvus_proxy.account.asking import Ask, bad, choice, reply, standing
from corvus_proxy.account.counted import Given
from corvus_proxy.catalogue.book import Book
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.gateway import admission, quoting
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.gateway.front.listing import dialect_of
from corvus_proxy.money.amount import format_picos, format_usd, per_million
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.pricing import affordable_output
from corvus_proxy.settings import Settings
from corvus_proxy.wire import request as requests
from corvus_proxy.wire.dialect import PATHS, Dialect

_DIALECTS = tuple(dialect.value for dialect in PATHS.values())


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
    found = counted.bill(
        sold.book(),
        Given(asked.model, asked.usage or {}, asked.shape or "", asked.mode, asked.geo),
    )
    return {
        "object": "quote",
        "of": "usage",
        "model": found.model.slug,
        "price_version": found.model.price.version,
        "charge": format_usd(found.charge_nanos),
        "charge_nanos": found.charge_nanos,
        "lines": [
            {
                "name": line.name,
                "tokens": line.count,
                "usd_per_million": per_million(line.picos),
                "picos": line.picos,
                "amount": format_picos(line.amount_picos),
            }
            for line in found.lines
        ],
        "rounding": format_picos(found.rounding_picos),
        "usage": {name: count for name, count in found.usage.counts().items() if count},
        "notes": [FLAGS[flag] for flag in found.flags],
        "unbilled": dict(found.usage.unbilled),
    }


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
