"""`GET /v1/models` and `/v1/models/{slug}` in the shape that the client's dialect knows."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import NotFound
from corvus_proxy.gateway.admission import Serves, header, paths_of
from corvus_proxy.gateway.front.client import Headers
from corvus_proxy.wire.dialect import Dialect


def dialect_of(headers: Headers) -> Dialect:
    """The dialect a client of a shared path speaks: Anthropic's SDKs always name their version."""
    return Dialect.CHAT if header(headers, b"anthropic-version") is None else Dialect.MESSAGES


def models(book: Book, serves: Serves, headers: Headers) -> bytes:
    """The list of all models that are sold, each with the endpoints that serve it."""
    if dialect_of(headers) is Dialect.MESSAGES:
        rows = [_messages_row(model, serves) for model in book.models]
        return msgspec.json.encode(
            {
                "data": rows,
                "has_more": False,
                "first_id": rows[0]["id"] if rows else None,
                "last_id": rows[-1]["id"] if rows else None,
            }
        )
    return msgspec.json.encode(
        {"object": "list", "data": [_chat_row(m, serves) for m in book.models]}
    )


def model(book: Book, serves: Serves, headers: Headers, name: str) -> bytes:
    """One model by slug or alias. Raises NotFound."""
    found = book.find(name)
    if found is None:
        raise NotFound(f"The model {name!r} does not exist here.", param="model")
    row = _messages_row if dialect_of(headers) is Dialect.MESSAGES else _chat_row
    return msgspec.json.encode(row(found, serves))


def _chat_row(found: Model, serves: Serves) -> dict[str, Any]:
    return {
        "id": found.slug,
        "object": "model",
        "created": found.created,
        "owned_by": found.family,
        "endpoints": paths_of(found, serves),
        "context_window": found.context_tokens,
        "max_output_tokens": found.output_tokens_max,
    }


def _messages_row(found: Model, serves: Serves) -> dict[str, Any]:
    created = datetime.fromtimestamp(found.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model",
        "id": found.slug,
        "display_name": found.display_name,
        "created_at": created,
        "max_input_tokens": found.context_tokens,
        "max_tokens": found.output_tokens_max,
        "endpoints": paths_of(found, serves),
    }
