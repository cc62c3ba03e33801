"""`GET /v1/models` and `/v1/models/{slug}` in the shape that the client's dialect knows.

Anthropic's shape comes in pages where a client asks for them (`limit`, `after_id`, `before_id`);
Codex, which names itself by `client_version`, expects descriptions of its own and has an empty
list, with which it goes on by itself.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.gateway.admission import Serves, find_sold, header, paths_of, query_value
from corvus_proxy.gateway.front.client import Headers
from corvus_proxy.gateway.refusing import check_allowed
from corvus_proxy.wire.dialect import Dialect


def dialect_of(headers: Headers) -> Dialect:
    """The dialect a client of a shared path speaks: Anthropic's SDKs always name their version."""
    return Dialect.CHAT if header(headers, b"anthropic-version") is None else Dialect.MESSAGES


Allowed = tuple[str, ...]
"""Slugs that the key may use; empty: all."""
PAGE_ROWS_MAX = 1000
"""Of one page, as at Anthropic; without a `limit` all models come at once."""


def models(
    book: Book, serves: Serves, allowed: Allowed, headers: Headers, query: bytes = b""
) -> bytes:
    """The list of the models that this key would be served, each with the endpoints that serve it.
    Raises InvalidRequest for a page that cannot be."""
    usable = tuple(
        one for one in book.models if paths_of(one, serves) and (not allowed or one.slug in allowed)
    )
    if dialect_of(headers) is Dialect.MESSAGES:
        found, more = _page(usable, query)
        rows = [_messages_row(model, serves) for model in found]
        return msgspec.json.encode(
            {
                "data": rows,
                "has_more": more,
                "first_id": rows[0]["id"] if rows else None,
                "last_id": rows[-1]["id"] if rows else None,
            }
        )
    if query_value(query, "client_version") is not None:
        return b'{"models":[]}'
    return msgspec.json.encode({"object": "list", "data": [_chat_row(m, serves) for m in usable]})


def _page(all_models: tuple[Model, ...], query: bytes) -> tuple[tuple[Model, ...], bool]:
    """The models of the page that is asked for, and whether there are more in its direction."""
    given = query_value(query, "limit")
    limit = len(all_models)
    if given is not None:
        if not (given.isascii() and given.isdigit() and 1 <= int(given) <= PAGE_ROWS_MAX):
            raise InvalidRequest(f"limit must be from 1 to {PAGE_ROWS_MAX}.", param="limit")
        limit = int(given)
    start, end = 0, len(all_models)
    slugs = [model.slug for model in all_models]
    for name in ("after_id", "before_id"):
        cursor = query_value(query, name)
        if cursor is None:
            continue
        if cursor not in slugs:
            raise InvalidRequest(f"{name}: there is no model {cursor!r}.", param=name)
        if name == "after_id":
            start = slugs.index(cursor) + 1
        else:
            end = slugs.index(cursor)
            start = max(start, end - limit)
            return all_models[start:end], start > 0
    return all_models[start : min(end, start + limit)], start + limit < end


def model(book: Book, serves: Serves, allowed: Allowed, headers: Headers, name: str) -> bytes:
    """One model by slug or alias. Raises what a request for it would be refused with: NotFound,
    Unpriced, ModelNotAllowed."""
    found = find_sold(book, serves, name)
    check_allowed(found, allowed)
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
