"""Admit: who asks, for what, and may they. The checks in their order of precedence.

1 path and method · 2 secret's shape · 3 body · 4 model · 5 dialect of the model's family
The key itself (unknown, frozen, over a limit) is judged in `reserve`, together with the money.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs

import msgspec

from corvus_proxy import secret as secrets
from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import (
    InvalidKey,
    InvalidRequest,
    NotFound,
    Unpriced,
    WrongDialect,
)
from corvus_proxy.gateway.front.client import LARGE_BYTES, Client, Headers
from corvus_proxy.gateway.quoting import input_estimate
from corvus_proxy.money.price import Price
from corvus_proxy.settings import GatewaySettings
from corvus_proxy.wire import encoding, translate
from corvus_proxy.wire import request as requests
from corvus_proxy.wire.dialect import PATHS, Dialect
from corvus_proxy.wire.request import Asked
from corvus_proxy.wire.translate import Translation
from corvus_proxy.wire.translate.reply import Reply

OFF_LOOP_BYTES = 32_768
"""Compressed bodies from this size on are decoded beside the loop: other requests go on."""

Serves = Callable[[str, Dialect], bool]
"""Whether an upstream speaks a dialect for a family."""
Result = TypeVar("Result")


class Caller(NamedTuple):
    """A secret of the right shape, and the digest by which Redis knows it."""

    wallet: str
    digest: str


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def caller(headers: Headers, pepper: bytes) -> Caller:
    """The caller named by `Authorization: Bearer` or `x-api-key`. Raises InvalidKey.

    Both are read on every path: SDKs of one vendor send either. Two different secrets are refused,
    in whichever headers they stand, because charging either of them would be a guess.
    """
    texts = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.strip().partition(b" ")
            if scheme.lower() != b"bearer":
                raise InvalidKey(
                    "The Authorization header must have the form 'Bearer sk-corvus_…'."
                )
            texts.append(token.strip())
        elif name == b"x-api-key":
            texts.append(value.strip())
    if not texts:
        raise InvalidKey(
            "No key was given. Send it as 'Authorization: Bearer sk-corvus_…' or as 'x-api-key'."
        )
    if len(set(texts)) > 1:
        raise InvalidKey("The request carries two different keys; send one of them.")
    known = _known(texts[0], pepper)
    if known is None:
        raise InvalidKey(
            "The key is not complete or was mistyped: it begins with 'sk-corvus_' and has 56"
            " characters in all."
        )
    return known


@lru_cache(maxsize=4096)
def _known(text: bytes, pepper: bytes) -> Caller | None:
    """A pure function of both; remembered, because a client asks with one key again and again."""
    found = secrets.parse(text.decode("latin-1"))
    return None if found is None else Caller(found.wallet, secrets.proof(found.text, pepper))


async def read_body(client: Client, limits: GatewaySettings) -> bytes:
    """The request's body as its client meant it, compressed or not. Raises UnsupportedEncoding
    (before a byte is read), BodyTooLarge, BodyTimeout, InvalidRequest, ClientGone."""
    name = encoding.of(client.headers)
    body = await client.body(limits.body_bytes_max, limits.body_timeout_s)
    if not name:
        return body
    bound = encoding.Bound(limits.body_bytes_max, limits.body_expansion_max)
    if len(body) < OFF_LOOP_BYTES:
        return encoding.decode(name, body, bound)
    return await asyncio.to_thread(encoding.decode, name, body, bound)


def paths_of(model: Model, serves: Serves) -> list[str]:
    """Our paths on which a model is served, be it by translation."""
    return [path for path, dialect in PATHS.items() if asked_in(model, serves, dialect)]


def asked_in(model: Model, serves: Serves, dialect: Dialect) -> Dialect | None:
    """The dialect in which the model's upstream is asked for a client of `dialect`: that one, or
    one that it is translated to. None where the model is not served so: one for embeddings makes
    nothing else, and nothing else makes embeddings."""
    if model.embeddings != (dialect is Dialect.EMBEDDINGS):
        return None
    if serves(model.family, dialect):
        return dialect
    return translate.upstream_dialect(lambda one: serves(model.family, one), dialect)


def find_sold(book: Book, serves: Serves, name: str) -> Model:
    """The model that `name` means, served on some path. Raises NotFound, Unpriced."""
    model = book.find(name)
    if model is None and name in book.unsold:
        raise Unpriced(f"{name} is not sold here at the moment.")
    if model is None:
        raise NotFound(unknown_model(book, name), param="model")
    if not any(asked_in(model, serves, dialect) for dialect in PATHS.values()):
        raise Unpriced(f"{model.slug} has no upstream here at the moment.")
    return model


def unknown_model(book: Book, name: str) -> str:
    """The sentence for a model that the book does not have."""
    like = " or ".join(book.like(name))
    meant = f" Did you mean {like}?" if like else ""
    return f"The model {name!r} does not exist here.{meant} GET /v1/models lists those that do."


def find_model(book: Book, serves: Serves, name: str, dialect: Dialect) -> Model:
    """The model that `name` means on this path. Raises NotFound, WrongDialect, Unpriced."""
    model = book.find(name)
    if model is None or asked_in(model, serves, dialect) is None:
        model = find_sold(book, serves, name)
        hint = " or ".join(f"use POST {path}" for path in paths_of(model, serves))
        raise WrongDialect(f"{model.slug} is not served on this path: {hint}.", param="model")
    return model


class Read(NamedTuple):
    """A request as its upstream is asked, and how the answer is told."""

    body: bytes
    asked: Asked
    translation: Translation | None


def in_upstreams_words(
    body: bytes, asked: Asked, model: Model, serves: Serves, *, request_id: str, created_s: int
) -> Read:
    """The same request where the upstream speaks its dialect, else a translation of it. Raises
    InvalidRequest with the member that has no counterpart."""
    caller, upstream = asked.dialect, asked_in(model, serves, asked.dialect)
    if upstream is None or upstream is caller:
        return Read(body, asked, None)
    found = translate.extras(caller, body)
    session = requests.session_word(asked, body)
    body = translate.request(caller, upstream, body, model)
    theirs = msgspec.structs.replace(requests.read(upstream, body), removed_tools=found.left_out)
    reply = Reply(
        model.slug,
        request_id,
        created_s,
        include_usage=asked.include_usage,
        input_estimate=input_estimate(theirs.scan),
        thinks=asked.thinks,
        family=model.family,
        custom_tools=found.custom,
        namespaced=found.namespaced,
        renamed=found.renamed,
    )
    return Read(body, theirs, Translation(caller, upstream, reply, session))


def understand(
    dialect: Dialect, body: bytes, book: Book, serves: Serves, request_id: str, created_s: int
) -> tuple[Model, Read]:
    """What a body asks for, of which model, in its upstream's words. Raises InvalidRequest and what
    `find_model` raises."""
    asked = requests.read(dialect, body)
    model = find_model(book, serves, asked.model, dialect)
    with requests.refusing_unreadable():
        return model, in_upstreams_words(
            body, asked, model, serves, request_id=request_id, created_s=created_s
        )


async def beside_loop(body: bytes, work: Callable[..., Result], *args: Any) -> Result:
    """`work(*args)`, in a thread where the body is large. Raises what it raises."""
    if len(body) < LARGE_BYTES:
        return work(*args)
    return await asyncio.to_thread(work, *args)


def check_terms(asked: Asked, price: Price) -> None:
    """Refuses a tier, speed or place that this model has no price for. Raises InvalidRequest."""
    if asked.terms.mode and asked.terms.mode not in price.modes:
        member = "speed" if asked.dialect is Dialect.MESSAGES else "service_tier"
        raise InvalidRequest(
            f"{member} {asked.terms.mode!r} is not served: {price.slug} has no price for it here.",
            param=member,
        )
    if asked.terms.geo and asked.terms.geo not in price.geos:
        raise InvalidRequest(
            f"inference_geo {asked.terms.geo!r} is not served: {price.slug} has no price for it"
            " here.",
            param="inference_geo",
        )


def clamps(client: Client) -> bool:
    """Whether the output limit may be lowered to what the balance affords (`x-corvus-clamp`)."""
    return (header(client.headers, b"x-corvus-clamp") or b"").strip().lower() != b"off"


def query_value(query: bytes, name: str) -> str | None:
    """One value of the query string, or None."""
    values = parse_qs(query.decode("latin-1")).get(name)
    return values[0] if values else None
